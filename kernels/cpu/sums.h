/* A micro-batch's results into the step's sum: 64-bit fixed point (`exact`) or fp32 (`fast`).
 * Threads: one caller; long tensors use the OpenMP team. Read first: cf_sums_add. */
#ifndef CF_KERNELS_CPU_SUMS_H
#define CF_KERNELS_CPU_SUMS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"

/* sums[offset ..] += values[0 .. n-1], in fixed point with `bits` for `exact`. False, with the sum
 * spoilt, where a value is not finite or above the limit that belongs to `bits`. */
bool cf_sums_add(void *sums, cf_reduce reduce, int bits, int64_t offset, int64_t n,
                 const float *values);

#endif
