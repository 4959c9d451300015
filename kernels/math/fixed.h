/* Values as 64-bit fixed point, for host and device: sums of integers do not depend on their order.
 * Read first: cf_fixed_of_float. */
#ifndef CF_KERNELS_MATH_FIXED_H
#define CF_KERNELS_MATH_FIXED_H

#include <math.h>
#include <stdint.h>

#include "kernels/math/philox.h"

/* 1 when |value| <= limit; a NaN compares false. Only such values may be converted. */
CF_HD int cf_fixed_fits(float value, float limit)
{
    return fabsf(value) <= limit;
}

/* value * scale to the nearest integer, the even one on a tie. scale: a power of two, so that the
 * product is exact; at most 2^53 in magnitude. */
CF_HD int64_t cf_fixed_of_float(float value, double scale)
{
#ifdef __CUDA_ARCH__
    return __double2ll_rn((double)value * scale);
#else
    return llrint((double)value * scale);
#endif
}

#endif
