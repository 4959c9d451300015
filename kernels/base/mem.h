/* Memory: checked sizes, zeroed blocks, 64-byte aligned blocks. Release everything with free().
 * Threads: any. Read first: cf_new. */
#ifndef CF_KERNELS_BASE_MEM_H
#define CF_KERNELS_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

/* *out = a * b; false on overflow. */
bool cf_size_mul(size_t a, size_t b, size_t *out);

/* Stores a zeroed block of n * item_bytes bytes in *(T **)out. n == 0 gives a valid pointer.
 * Errors: CF_E_UNEXPECTED when memory is short or the product overflows; *out is then NULL. */
CF_CHECKED cf_err cf_new(void *out, size_t n, size_t item_bytes);

/* As cf_new, aligned to 64 bytes (a cache line, an AVX-512 register). */
CF_CHECKED cf_err cf_new_aligned(void *out, size_t n, size_t item_bytes);

/* Resizes *(T **)inout to n items; the old content stays, what is new is not initialised. */
CF_CHECKED cf_err cf_resize(void *inout, size_t n, size_t item_bytes);

/* Stores a copy of `text` in *out. Owned by the caller. */
CF_CHECKED cf_err cf_strdup(const char *text, char **out);

#endif
