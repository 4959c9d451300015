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

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#define CF_MASKS 1 /* parts of vectors are read and written by a mask */
#endif

enum { CF_LANES = 16 };
#define CF_INLINE static inline __attribute__((always_inline))

typedef float cf_vec __attribute__((vector_size(64)));
typedef int32_t cf_ivec __attribute__((vector_size(64)));
typedef uint32_t cf_uvec __attribute__((vector_size(64)));
typedef uint16_t cf_hvec __attribute__((vector_size(32)));
typedef uint8_t cf_bytes __attribute__((vector_size(16)));

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

CF_INLINE float cf_scalar_load(const void *p, int64_t i, cf_dtype dtype)
{
    if (dtype == CF_F32) return ((const float *)p)[i];
    uint32_t u = (uint32_t)((const uint16_t *)p)[i] << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
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

/* As above for the first `lanes` elements, 0 to 16; the others are zero and are not written. Masks
 * keep them in registers: what is put together in memory and read as one waits for its stores. */
CF_INLINE cf_vec cf_vec_load_part(const void *p, int64_t i, cf_dtype dtype, int lanes)
{
    if (lanes == CF_LANES) return cf_vec_load(p, i, dtype);
#ifdef CF_MASKS
    __mmask16 mask = (__mmask16)((1u << lanes) - 1u);
    if (dtype == CF_F32) return (cf_vec)_mm512_maskz_loadu_ps(mask, (const float *)p + i);
    return cf_vec_widen((cf_hvec)_mm256_maskz_loadu_epi16(mask, (const uint16_t *)p + i));
#else
    cf_vec x = {0};
    for (int l = 0; l < lanes; l++) x[l] = cf_scalar_load(p, i + l, dtype);
    return x;
#endif
}

CF_INLINE void cf_vec_store_part(void *p, int64_t i, cf_dtype dtype, int lanes, cf_vec x)
{
    if (lanes == CF_LANES) {
        cf_vec_store(p, i, dtype, x);
        return;
    }
#ifdef CF_MASKS
    __mmask16 mask = (__mmask16)((1u << lanes) - 1u);
    if (dtype == CF_F32)
        _mm512_mask_storeu_ps((float *)p + i, mask, (__m512)x);
    else
        _mm256_mask_storeu_epi16((uint16_t *)p + i, mask, (__m256i)cf_vec_narrow(x));
#else
    cf_hvec h = cf_vec_narrow(x);
    for (int l = 0; l < lanes; l++) {
        if (dtype == CF_BF16) {
            ((uint16_t *)p)[i + l] = h[l];
        } else {
            ((float *)p)[i + l] = x[l];
        }
    }
#endif
}

/* a where the mask is all ones, b where it is zero. */
CF_INLINE cf_vec cf_vec_select(cf_ivec mask, cf_vec a, cf_vec b)
{
    return (cf_vec)(((cf_ivec)a & mask) | ((cf_ivec)b & ~mask));
}

/* sum + x where bytes[0..15] equal `code`. */
CF_INLINE cf_vec cf_vec_add_where(cf_vec sum, cf_vec x, const uint8_t *bytes, uint8_t code)
{
    cf_bytes b;
    memcpy(&b, bytes, sizeof b);
#ifdef CF_MASKS
    __mmask16 won = _mm_cmpeq_epi8_mask((__m128i)b, _mm_set1_epi8((char)code));
    return (cf_vec)_mm512_mask_add_ps((__m512)sum, won, (__m512)sum, (__m512)x);
#else
    cf_ivec won = __builtin_convertvector(b, cf_ivec) == (int32_t)code;
    return sum + (cf_vec)((cf_ivec)x & won);
#endif
}

/* The activation function itself, for slopes from 0 to 1; a NaN stays one. */
CF_INLINE cf_vec cf_vec_activate(cf_vec x, float slope)
{
#ifdef __AVX512F__
    return (cf_vec)_mm512_max_ps((__m512)(x * slope), (__m512)x);
#else
    return cf_vec_select(x > 0.0f, x, x * slope);
#endif
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

/* 32 neighbours at a time. Of bf16 these are the even ones and the odd ones, which costs half the
 * work of two vectors in order: one 32-bit element holds one of each. Of fp32 they are two vectors
 * in order. Arrays of fp32 that go with bf16 ones are sorted alike by cf_pair_sorted. */
typedef struct cf_pair {
    cf_vec a, b;
} cf_pair;
enum { CF_PAIR = 2 * CF_LANES };

CF_INLINE cf_pair cf_pair_split(cf_uvec u)
{
    return (cf_pair){(cf_vec)(u << 16), (cf_vec)(u & 0xffff0000u)};
}

CF_INLINE cf_pair cf_pair_load(const void *p, int64_t i, cf_dtype dtype, int lanes)
{
    if (dtype == CF_F32) {
        if (lanes == CF_PAIR)
            return (cf_pair){cf_vec_load(p, i, dtype), cf_vec_load(p, i + CF_LANES, dtype)};
        int first = lanes < CF_LANES ? lanes : CF_LANES;
        return (cf_pair){cf_vec_load_part(p, i, dtype, first),
                         cf_vec_load_part(p, i + CF_LANES, dtype, lanes - first)};
    }
    cf_uvec u = {0};
    if (lanes == CF_PAIR) {
        memcpy(&u, (const uint16_t *)p + i, sizeof u);
    } else {
#ifdef CF_MASKS
        u = (cf_uvec)_mm512_maskz_loadu_epi16((1u << lanes) - 1u, (const uint16_t *)p + i);
#else
        memcpy(&u, (const uint16_t *)p + i, (size_t)lanes * sizeof(uint16_t));
#endif
    }
    return cf_pair_split(u);
}

CF_INLINE cf_uvec cf_pair_join(cf_pair x)
{
#ifdef __AVX512BF16__
    /* 16 of b, then 16 of a, each rounded; then sorted one by one. */
    const __m512i turn =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)x.b, (__m512)x.a);
    return (cf_uvec)_mm512_permutexvar_epi16(turn, both);
#else
    cf_uvec a = (cf_uvec)x.a, b = (cf_uvec)x.b;
    a = (a + 0x7fffu + ((a >> 16) & 1u)) >> 16;
    b = (b + 0x7fffu + ((b >> 16) & 1u)) & 0xffff0000u;
    return a | b;
#endif
}

CF_INLINE void cf_pair_store(void *p, int64_t i, cf_dtype dtype, int lanes, cf_pair x)
{
    if (dtype == CF_F32) {
        int first = lanes < CF_LANES ? lanes : CF_LANES;
        cf_vec_store_part(p, i, dtype, first, x.a);
        cf_vec_store_part(p, i + CF_LANES, dtype, lanes - first, x.b);
        return;
    }
    cf_uvec u = cf_pair_join(x);
    if (lanes == CF_PAIR) {
        memcpy((uint16_t *)p + i, &u, sizeof u);
    } else {
#ifdef CF_MASKS
        _mm512_mask_storeu_epi16((uint16_t *)p + i, (1u << lanes) - 1u, (__m512i)u);
#else
        memcpy((uint16_t *)p + i, &u, (size_t)lanes * sizeof(uint16_t));
#endif
    }
}

/* Elements i .. of an fp32 array, in the order of a pair of `dtype`. */
CF_INLINE cf_pair cf_pair_sorted(const float *p, int64_t i, cf_dtype dtype, int lanes)
{
    cf_pair x = cf_pair_load(p, i, CF_F32, lanes);
    if (dtype == CF_F32) return x;
    return (cf_pair){__builtin_shufflevector(x.a, x.b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22,
                                             24, 26, 28, 30),
                     __builtin_shufflevector(x.a, x.b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23,
                                             25, 27, 29, 31)};
}

/* Asks for element i, which may lie behind the array's end. */
CF_INLINE void cf_prefetch(const void *p, int64_t i, cf_dtype dtype)
{
    __builtin_prefetch((const char *)p + i * (dtype == CF_F32 ? 4 : 2), 0);
}

CF_INLINE void cf_prefetch_write(void *p, int64_t i, cf_dtype dtype)
{
    __builtin_prefetch((char *)p + i * (dtype == CF_F32 ? 4 : 2), 1);
}

/* The element, counted from a pair's first, that stands at place l of its 32. */
CF_INLINE int cf_pair_element(int l, cf_dtype dtype)
{
    if (dtype == CF_F32) return l;
    return l < CF_LANES ? 2 * l : 2 * (l - CF_LANES) + 1;
}

/* Lanes added in a fixed order. */
CF_INLINE float cf_vec_total(cf_vec x)
{
    float sum = 0.0f;
    for (int l = 0; l < CF_LANES; l++) sum += x[l];
    return sum;
}

#endif
