/* bf16 and fp16 as bit patterns, for host and device without a vendor's type: rounding to nearest
 * even, NaN stays NaN. Layouts: IEEE 754 binary16; bfloat16 is the upper half of binary32.
 * Read first: cf_bf16_from_float. */
#ifndef CF_KERNELS_MATH_HALF_H
#define CF_KERNELS_MATH_HALF_H

#include <stdint.h>
#include <string.h>

#include "kernels/math/philox.h"

CF_HD uint32_t cf_float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

CF_HD float cf_float_of_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

CF_HD float cf_bf16_to_float(uint16_t b)
{
    return cf_float_of_bits((uint32_t)b << 16);
}

CF_HD uint16_t cf_bf16_from_float(float x)
{
    uint32_t u = cf_float_bits(x);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

CF_HD float cf_f16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7FFFu;
    if (rest >= 0x7C00u) return cf_float_of_bits(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
    if (rest >= 0x400u) return cf_float_of_bits(sign | ((rest << 13) + (112u << 23)));
    /* Below 2^-14 the value is rest * 2^-24, exact in binary32. */
    float x = (float)rest * (1.0f / 16777216.0f);
    return cf_float_of_bits(sign | cf_float_bits(x));
}

CF_HD uint16_t cf_f16_from_float(float x)
{
    uint32_t u = cf_float_bits(x), sign = u >> 16 & 0x8000u;
    u &= 0x7FFFFFFFu;
    if (u > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (u >> 13 & 0x3FFu));
    if (u >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520 and above round to infinity */
    if (u >= 0x38800000u)
        return (uint16_t)(sign | (u - (112u << 23) + 0xFFFu + (u >> 13 & 1u)) >> 13);
    /* Below 2^-14 a unit is 2^-24: adding 1/2 leaves the rounded count in the low bits (a unit of
     * the last place of [0.5, 1) is 2^-24). */
    float shifted = cf_float_of_bits(u) + 0.5f;
    return (uint16_t)(sign | (cf_float_bits(shifted) - 0x3F000000u));
}

#endif
