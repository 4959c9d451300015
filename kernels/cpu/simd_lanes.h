/* What simd.h's passes over arrays do not need: sixteen places of memory at a time, which of
 * sixteen lanes are meant, products of 64 bits. One AVX-512 instruction or a few where there is
 * one, plain operations with the same result elsewhere.
 *
 * Threads: any. Read first: cf_vec_gather_pairs. */
#ifndef CF_KERNELS_CPU_SIMD_LANES_H
#define CF_KERNELS_CPU_SIMD_LANES_H

#include "kernels/cpu/simd.h"

/* x and y of the pairs index[0..15] of `pairs` [n][2], 0 <= index < n. */
CF_INLINE void cf_vec_gather_pairs(const float *pairs, cf_ivec index, cf_vec *x, cf_vec *y)
{
#ifdef __AVX512F__
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    __m256i low = _mm512_castsi512_si256((__m512i)index);
    __m256i high = _mm512_extracti64x4_epi64((__m512i)index, 1);
    __m512 a = _mm512_castpd_ps(_mm512_i32gather_pd(low, pairs, 8));
    __m512 b = _mm512_castpd_ps(_mm512_i32gather_pd(high, pairs, 8));
    *x = (cf_vec)_mm512_permutex2var_ps(a, even, b);
    *y = (cf_vec)_mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
#else
    for (int i = 0; i < CF_LANES; i++) {
        (*x)[i] = pairs[2 * (int64_t)index[i]];
        (*y)[i] = pairs[2 * (int64_t)index[i] + 1];
    }
#endif
}

/* values[index[0..15]]. */
CF_INLINE cf_ivec cf_ivec_gather(const int32_t *values, cf_ivec index)
{
#ifdef __AVX512F__
    return (cf_ivec)_mm512_i32gather_epi32((__m512i)index, values, 4);
#else
    cf_ivec out = {0};
    for (int i = 0; i < CF_LANES; i++) out[i] = values[index[i]];
    return out;
#endif
}

/* Bit i: lane i of a mask, which is all ones or zero. */
CF_INLINE uint32_t cf_ivec_bits(cf_ivec mask)
{
#ifdef __AVX512F__
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask);
#else
    uint32_t bits = 0;
    for (int i = 0; i < CF_LANES; i++) bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

/* The lanes whose bit is set, one behind the other from `to` on, where room for CF_LANES is needed;
 * how many they are. */
CF_INLINE int cf_ivec_pack(int32_t *to, cf_ivec values, uint32_t bits)
{
#ifdef __AVX512F__
    cf_ivec packed = (cf_ivec)_mm512_maskz_compress_epi32((__mmask16)bits, (__m512i)values);
    memcpy(to, &packed, sizeof packed);
#else
    for (int i = 0, n = 0; i < CF_LANES; i++)
        if (bits >> i & 1) to[n++] = values[i];
#endif
    return __builtin_popcount(bits);
}

/* x, low where it is less, high where it is more. */
CF_INLINE cf_vec cf_vec_limit(cf_vec x, float low, float high)
{
#ifdef __AVX512F__
    return (cf_vec)_mm512_min_ps(_mm512_max_ps((__m512)x, _mm512_set1_ps(low)),
                                 _mm512_set1_ps(high));
#else
    x = cf_vec_select(x > cf_vec_set(low), x, cf_vec_set(low));
    return cf_vec_select(x < cf_vec_set(high), x, cf_vec_set(high));
#endif
}

/* Low and high halves of a * b. */
CF_INLINE cf_uvec cf_uvec_multiply(cf_uvec a, uint32_t b, cf_uvec *high)
{
#ifdef __AVX512F__
    __m512i odd_lanes = _mm512_srli_epi64((__m512i)a, 32), factor = _mm512_set1_epi32((int32_t)b);
    __m512i even = _mm512_mul_epu32((__m512i)a, factor), odd = _mm512_mul_epu32(odd_lanes, factor);
    *high = (cf_uvec)_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
    return (cf_uvec)_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
#else
    cf_uvec low = a * b;
    for (int i = 0; i < CF_LANES; i++) (*high)[i] = (uint32_t)((uint64_t)a[i] * b >> 32);
    return low;
#endif
}

#endif
