/* Sixteen floats at a time, from and to fp32 or bf16 memory, as compiler vectors: one AVX-512
 * register where there is one, several smaller ones elsewhere. bf16 is rounded to nearest even.
 *
 * The `dtype` arguments are constants at every call, so that the branch is gone after inlining.
 * Threads: any. Read first: cf_vec_load. */
#ifndef CF_KERNELS_CPU_SIMD_H
#define CF_KERNELS_CPU_SIMD_H

#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "kernels/graph/tensor.h"

/* Vectors are passed between inlined functions only: the calling convention does not matter. */
#pragma GCC diagnostic ignored "-Wpsabi"

enum { CF_LANES = 16 };
#define CF_INLINE static inline __attribute__((always_inline))

typedef float cf_vec __attribute__((vector_size(64)));
typedef int32_t cf_ivec __attribute__((vector_size(64)));
typedef uint32_t cf_uvec __attribute__((vector_size(64)));
typedef uint16_t cf_hvec __attribute__((vector_size(32)));

CF_INLINE cf_vec cf_vec_set(float x)
{
    return x - (cf_vec){0};
}

CF_INLINE cf_vec cf_vec_widen(cf_hvec h)
{
    return (cf_vec)(__builtin_convertvector(h, cf_uvec) << 16);
}

CF_INLINE cf_hvec cf_vec_narrow(cf_vec x)
{
#ifdef __AVX512BF16__
    return (cf_hvec)_mm512_cvtneps_pbh((__m512)x);
#else
    cf_uvec u = (cf_uvec)x;
    u += 0x7fffu + ((u >> 16) & 1u); /* nearest even; a NaN of the processor's making stays one */
    return __builtin_convertvector(u >> 16, cf_hvec);
#endif
}

/* Elements i .. i+15 of an array of `dtype`. No alignment needed. */
CF_INLINE cf_vec cf_vec_load(const void *p, int64_t i, cf_dtype dtype)
{
    if (dtype == CF_BF16) {
        cf_hvec h;
        memcpy(&h, (const uint16_t *)p + i, sizeof h);
        return cf_vec_widen(h);
    }
    cf_vec x;
    memcpy(&x, (const float *)p + i, sizeof x);
    return x;
}

CF_INLINE void cf_vec_store(void *p, int64_t i, cf_dtype dtype, cf_vec x)
{
    if (dtype == CF_BF16) {
        cf_hvec h = cf_vec_narrow(x);
        memcpy((uint16_t *)p + i, &h, sizeof h);
    } else {
        memcpy((float *)p + i, &x, sizeof x);
    }
}

/* As above for the first `lanes` elements; the others are zero and are not written. */
CF_INLINE cf_vec cf_vec_load_part(const void *p, int64_t i, cf_dtype dtype, int lanes)
{
    if (lanes == CF_LANES) return cf_vec_load(p, i, dtype);
    if (dtype == CF_BF16) {
        cf_hvec h = {0};
        for (int l = 0; l < lanes; l++) h[l] = ((const uint16_t *)p)[i + l];
        return cf_vec_widen(h);
    }
    cf_vec x = {0};
    for (int l = 0; l < lanes; l++) x[l] = ((const float *)p)[i + l];
    return x;
}

CF_INLINE void cf_vec_store_part(void *p, int64_t i, cf_dtype dtype, int lanes, cf_vec x)
{
    if (lanes == CF_LANES) {
        cf_vec_store(p, i, dtype, x);
    } else if (dtype == CF_BF16) {
        cf_hvec h = cf_vec_narrow(x);
        for (int l = 0; l < lanes; l++) ((uint16_t *)p)[i + l] = h[l];
    } else {
        for (int l = 0; l < lanes; l++) ((float *)p)[i + l] = x[l];
    }
}

/* a where the mask is all ones, b where it is zero. */
CF_INLINE cf_vec cf_vec_select(cf_ivec mask, cf_vec a, cf_vec b)
{
    return (cf_vec)(((cf_ivec)a & mask) | ((cf_ivec)b & ~mask));
}

/* x, or slope * x where `sign` is not positive. A slope of 0 is the rectifier. */
CF_INLINE cf_vec cf_vec_rectify(cf_vec x, cf_vec sign, float slope)
{
#ifdef __AVX512F__
    __mmask16 low = _mm512_cmp_ps_mask((__m512)sign, _mm512_setzero_ps(), _CMP_NGT_UQ);
    return (cf_vec)_mm512_mask_mul_ps((__m512)x, low, (__m512)x, _mm512_set1_ps(slope));
#else
    return cf_vec_select(sign > 0.0f, x, x * slope);
#endif
}

/* a * b + c, in one rounding where the machine has it. */
CF_INLINE cf_vec cf_vec_fma(cf_vec a, cf_vec b, cf_vec c)
{
#ifdef __AVX512F__
    return (cf_vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
    return a * b + c;
#endif
}

/* Lanes added in a fixed order. */
CF_INLINE float cf_vec_total(cf_vec x)
{
    float sum = 0.0f;
    for (int l = 0; l < CF_LANES; l++) sum += x[l];
    return sum;
}

#endif
