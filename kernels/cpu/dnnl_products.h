/* Products of the rows of two matrices, on the caller's thread: what searches for neighbours spend
 * their time on. Threads: any; each call is one thread's. Read first: cf_cpu_products. */
#ifndef CF_KERNELS_CPU_DNNL_PRODUCTS_H
#define CF_KERNELS_CPU_DNNL_PRODUCTS_H

#include <stdint.h>

#include "kernels/base/err.h"

/* out [na][nb] = a [na][d] times b [nb][d] transposed, float, all row by row without gaps. The bits
 * depend on the shapes and on the processor, not on how many threads call this. CF_E_UNEXPECTED
 * when oneDNN refuses. */
CF_CHECKED cf_err cf_cpu_products(const float *a, int64_t na, const float *b, int64_t nb, int64_t d,
                                  float *out);

#endif
