/* Products of the rows of two matrices, on the caller's thread: what searches for neighbours spend
 * their time on. Threads: any; each call is one thread's. Read first: cf_cpu_products. */
#ifndef CF_KERNELS_CPU_DNNL_PRODUCTS_H
#define CF_KERNELS_CPU_DNNL_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

/* out [na][nb] = a [na][d] times b [nb][d] transposed, float, all row by row without gaps. The bits
 * depend on the shapes and on the processor, not on how many threads call this. CF_E_UNEXPECTED
 * when oneDNN refuses. */
CF_CHECKED cf_err cf_cpu_products(const float *a, int64_t na, const float *b, int64_t nb, int64_t d,
                                  float *out);
/* The same of rows rounded to bf16, of one shape, several times as fast where the processor
 * multiplies bf16: `rows` rows with tiles of `columns` rows, each tile packed once beforehand. One
 * thread each. CF_E_DEVICE where oneDNN has no such product. */
typedef struct cf_cpu_tiles cf_cpu_tiles;
CF_CHECKED cf_err cf_cpu_tiles_create(int64_t rows, int64_t columns, int64_t d, cf_cpu_tiles **out);
void cf_cpu_tiles_destroy(cf_cpu_tiles *t);
/* Bytes of a packed tile, a multiple of 64. */
size_t cf_cpu_tiles_bytes(const cf_cpu_tiles *t);
/* b: [columns][d] bf16; packed: cf_cpu_tiles_bytes, 64-byte aligned. */
CF_CHECKED cf_err cf_cpu_tiles_pack(cf_cpu_tiles *t, const uint16_t *b, void *packed);
/* a: [rows][d] bf16, 64-byte aligned; out: [rows][columns]. */
CF_CHECKED cf_err cf_cpu_tiles_run(cf_cpu_tiles *t, const uint16_t *a, const void *packed,
                                   float *out);

#endif
