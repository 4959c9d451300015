/* Stains of one image, for host and device: two absorbing dyes and how much of each there is
 * (Macenko et al. 2009), and what a change of them does to a pixel. Compiled by both compilers to
 * the same bits (no fused multiply-add, logarithm and power of two of our own). Read first:
 * cf_stain, cf_stain_map. */
#ifndef CF_KERNELS_MATH_STAIN_H
#define CF_KERNELS_MATH_STAIN_H

#include "kernels/math/half.h"

/* Optical density is OD = -ln((I + 1) / 240) of a channel value I in 0..255; an image's is about
 * od[0] * c0 + od[1] * c1 with concentrations c0, c1 of its two stains. */
typedef struct cf_stain {
    float od[2][3]; /* unit vectors over R, G, B; the one with the larger R first */
    float max[2];   /* 99th percentile of each concentration */
} cf_stain;

/* A change of stains is one affine map of optical density, OD' = M OD + b, whatever it does to the
 * concentrations. Held in terms of a channel's level L = log2(I + 1), 0 to 8, in which it is affine
 * too: OD = ln 240 - L ln 2, hence L' = M L + k, k = log2(240) (1 - M 1) - b / ln 2. */
typedef struct cf_stain_map {
    float m[9]; /* [to][from] over R, G, B */
    float k[3];
    int on; /* 0: pixels stay as they are, to the bit; m and k are not read */
} cf_stain_map;

/* log2(x) for 1 <= x <= 256; log2(1) is 0. Error at most 1e-6: 6e-8 of the polynomial, in log2 of
 * the mantissa, then roundings of values up to 8. */
CF_HD float cf_stain_log2(float x)
{
    uint32_t bits = cf_float_bits(x);
    float whole = (float)((int)(bits >> 23) - 127);
    float t = cf_float_of_bits((bits & 0x7FFFFFu) | 0x3F800000u) - 1.0f;
    /* t times a minimax fit of log2(1 + t) / t over [0, 1] */
    float p = -0.00930914003f;
    p = p * t + 0.0520589165f;
    p = p * t - 0.137521222f;
    p = p * t + 0.241864681f;
    p = p * t - 0.347301036f;
    p = p * t + 0.47868368f;
    p = p * t - 0.721165776f;
    p = p * t + 1.4426899f;
    return whole + p * t;
}

/* 2^y for 0 <= y <= 8; exact at whole y. Relative error at most 3e-7. */
CF_HD float cf_stain_exp2(float y)
{
    int whole = (int)y;
    float t = y - (float)whole;
    /* 1 + t times a minimax fit of (2^t - 1) / t over [0, 1] */
    float p = 0.000217946712f;
    p = p * t + 0.00124149199f;
    p = p * t + 0.00968116987f;
    p = p * t + 0.0554824844f;
    p = p * t + 0.240229905f;
    p = p * t + 0.693147004f;
    return (1.0f + p * t) * cf_float_of_bits((uint32_t)(whole + 127) << 23);
}

/* Level `to` of a pixel whose levels are x, y, z; what is outside 0 to 8 becomes black or white. */
CF_HD float cf_stain_mix(const cf_stain_map *map, int to, float x, float y, float z)
{
    const float *m = map->m + 3 * to;
    float level = m[0] * x + m[1] * y + m[2] * z + map->k[to];
    level = level < 0.0f ? 0.0f : level;
    return level > 8.0f ? 8.0f : level;
}

/* One pixel under a map; in, out: three values of 0..255, may be the same. */
CF_HD void cf_stain_apply(const cf_stain_map *map, const float *in, float *out)
{
    float x = cf_stain_log2(in[0] + 1.0f), y = cf_stain_log2(in[1] + 1.0f);
    float z = cf_stain_log2(in[2] + 1.0f);
    for (int to = 0; to < 3; to++) out[to] = cf_stain_exp2(cf_stain_mix(map, to, x, y, z)) - 1.0f;
}

#endif
