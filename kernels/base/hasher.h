/* XXH3 64-bit of data that comes in pieces; the same value as cf_hash64 of all of it at once.
 * Threads: one hasher, one thread. Read first: cf_hasher_add. */
#ifndef CF_KERNELS_BASE_HASHER_H
#define CF_KERNELS_BASE_HASHER_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef struct cf_hasher cf_hasher;

/* Owned by the caller. */
CF_CHECKED cf_err cf_hasher_create(cf_hasher **out);
void cf_hasher_destroy(cf_hasher *h); /* accepts NULL */
void cf_hasher_add(cf_hasher *h, const void *bytes, size_t n);
/* The hash of all added so far; more may be added. */
uint64_t cf_hasher_value(const cf_hasher *h);

#endif
