/* CUDA C++ for a host compiler: qualifiers, built-in variables, and the functions of device code
 * that this project's kernels call. Threads of a block are fibers (shim_block.cpp).
 *
 * Floating-point atomics are left out on purpose: sums must not depend on timing.
 * Read first: CF_LAUNCH. */
#ifndef CF_TESTS_CUDA_RUNTIME_H
#define CF_TESTS_CUDA_RUNTIME_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <cf_host.h>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__    __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
/* One block runs at a time, so a static variable is a block's own. It is not poisoned. */
#define __shared__ static
#define __grid_constant__

#define CF_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                  \
    cf_host::start(#kernel, (kernel), (grid), (block), (shared_bytes), (stream), ##__VA_ARGS__)
#define CF_SHARED(type, name) type *name = static_cast<type *>(cf_host::here->shared)

#define threadIdx (cf_host::here->thread)
#define blockIdx  (cf_host::here->block)
#define blockDim  (cf_host::here->block_size)
#define gridDim   (cf_host::here->grid_size)
static constexpr int warpSize = 32;

#define CF_HOST_VECTOR(T, name, bytes)                                                             \
    struct alignas(bytes) name##2                                                                  \
    {                                                                                              \
        T x, y;                                                                                    \
    };                                                                                             \
    struct alignas(bytes * 2 > 16 ? 16 : bytes * 2) name##4                                        \
    {                                                                                              \
        T x, y, z, w;                                                                              \
    };                                                                                             \
    static inline name##2 make_##name##2(T x, T y)                                                 \
    {                                                                                              \
        return {x, y};                                                                             \
    }                                                                                              \
    static inline name##4 make_##name##4(T x, T y, T z, T w)                                       \
    {                                                                                              \
        return {x, y, z, w};                                                                       \
    }
CF_HOST_VECTOR(float, float, 8)
CF_HOST_VECTOR(int, int, 8)
CF_HOST_VECTOR(unsigned, uint, 8)
CF_HOST_VECTOR(short, short, 4)
CF_HOST_VECTOR(unsigned short, ushort, 4)
CF_HOST_VECTOR(signed char, char, 2)
CF_HOST_VECTOR(unsigned char, uchar, 2)
CF_HOST_VECTOR(double, double, 16)
CF_HOST_VECTOR(long long, longlong, 16)
CF_HOST_VECTOR(unsigned long long, ulonglong, 16)
#undef CF_HOST_VECTOR
struct float3 {
    float x, y, z;
};
struct int3 {
    int x, y, z;
};
struct uchar3 {
    unsigned char x, y, z;
};

/* ---- threads of a block -----------------------------------------------------------------------
 */

static inline void __syncthreads()
{
    cf_host::barrier();
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}

namespace cf_host {
struct shuffle {
    uint64_t bits;
    int source;
};
void combine_sync(void *const operands[32], uint32_t mask);
void combine_shuffle(void *const operands[32], uint32_t mask);
void combine_ballot(void *const operands[32], uint32_t mask);

template <typename T> T exchange(const char *what, unsigned mask, T value, int source, int width)
{
    static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
    int first = here->lane & ~(width - 1);
    shuffle s = {0, source < first || source >= first + width ? here->lane : source};
    std::memcpy(&s.bits, &value, sizeof value);
    meet(what, mask, &s, combine_shuffle);
    std::memcpy(&value, &s.bits, sizeof value);
    return value;
}
} // namespace cf_host

static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu)
{
    cf_host::meet("__syncwarp", mask, nullptr, cf_host::combine_sync);
}
template <typename T> T __shfl_sync(unsigned mask, T x, int source, int width = 32)
{
    int first = cf_host::here->lane & ~(width - 1);
    return cf_host::exchange("__shfl_sync", mask, x, first + (source & (width - 1)), width);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T x, int flip, int width = 32)
{
    return cf_host::exchange("__shfl_xor_sync", mask, x, cf_host::here->lane ^ flip, width);
}
template <typename T> T __shfl_down_sync(unsigned mask, T x, unsigned by, int width = 32)
{
    return cf_host::exchange("__shfl_down_sync", mask, x, cf_host::here->lane + (int)by, width);
}
template <typename T> T __shfl_up_sync(unsigned mask, T x, unsigned by, int width = 32)
{
    return cf_host::exchange("__shfl_up_sync", mask, x, cf_host::here->lane - (int)by, width);
}
static inline unsigned __ballot_sync(unsigned mask, int yes)
{
    unsigned bits = yes != 0;
    cf_host::meet("__ballot_sync", mask, &bits, cf_host::combine_ballot);
    return bits;
}
static inline int __any_sync(unsigned mask, int yes)
{
    return __ballot_sync(mask, yes) != 0;
}
static inline int __all_sync(unsigned mask, int yes)
{
    return __ballot_sync(mask, yes) == mask;
}

/* ---- atomics on integers ----------------------------------------------------------------------
 */

#define CF_HOST_ATOMICS(T)                                                                         \
    static inline T atomicAdd(T *p, T x)                                                           \
    {                                                                                              \
        T old = *p;                                                                                \
        *p = (T)((unsigned long long)old + (unsigned long long)x);                                 \
        return old;                                                                                \
    }                                                                                              \
    static inline T atomicMin(T *p, T x)                                                           \
    {                                                                                              \
        T old = *p;                                                                                \
        if (x < old) *p = x;                                                                       \
        return old;                                                                                \
    }                                                                                              \
    static inline T atomicMax(T *p, T x)                                                           \
    {                                                                                              \
        T old = *p;                                                                                \
        if (x > old) *p = x;                                                                       \
        return old;                                                                                \
    }                                                                                              \
    static inline T atomicOr(T *p, T x)                                                            \
    {                                                                                              \
        T old = *p;                                                                                \
        *p = old | x;                                                                              \
        return old;                                                                                \
    }                                                                                              \
    static inline T atomicExch(T *p, T x)                                                          \
    {                                                                                              \
        T old = *p;                                                                                \
        *p = x;                                                                                    \
        return old;                                                                                \
    }                                                                                              \
    static inline T atomicCAS(T *p, T expected, T x)                                               \
    {                                                                                              \
        T old = *p;                                                                                \
        if (old == expected) *p = x;                                                               \
        return old;                                                                                \
    }
CF_HOST_ATOMICS(int)
CF_HOST_ATOMICS(unsigned)
CF_HOST_ATOMICS(unsigned long long)
#undef CF_HOST_ATOMICS

/* ---- numbers ----------------------------------------------------------------------------------
 */

#define CF_HOST_EXTREMES(T)                                                                        \
    static inline T min(T a, T b)                                                                  \
    {                                                                                              \
        return b < a ? b : a;                                                                      \
    }                                                                                              \
    static inline T max(T a, T b)                                                                  \
    {                                                                                              \
        return a < b ? b : a;                                                                      \
    }
CF_HOST_EXTREMES(int)
CF_HOST_EXTREMES(unsigned)
CF_HOST_EXTREMES(long)
CF_HOST_EXTREMES(unsigned long)
CF_HOST_EXTREMES(long long)
CF_HOST_EXTREMES(unsigned long long)
#undef CF_HOST_EXTREMES
static inline float min(float a, float b)
{
    return fminf(a, b);
}
static inline float max(float a, float b)
{
    return fmaxf(a, b);
}
static inline double min(double a, double b)
{
    return fmin(a, b);
}
static inline double max(double a, double b)
{
    return fmax(a, b);
}

#define CF_HOST_BITS(name, From, To)                                                               \
    static inline To name(From x)                                                                  \
    {                                                                                              \
        To y;                                                                                      \
        static_assert(sizeof x == sizeof y, "a change of type only");                              \
        std::memcpy(&y, &x, sizeof y);                                                             \
        return y;                                                                                  \
    }
CF_HOST_BITS(__float_as_uint, float, unsigned)
CF_HOST_BITS(__float_as_int, float, int)
CF_HOST_BITS(__uint_as_float, unsigned, float)
CF_HOST_BITS(__int_as_float, int, float)
CF_HOST_BITS(__double_as_longlong, double, long long)
CF_HOST_BITS(__longlong_as_double, long long, double)
#undef CF_HOST_BITS

/* The host rounds to nearest even, as these say. */
#define CF_HOST_ROUND(name, To, From, expr)                                                        \
    static inline To name(From x)                                                                  \
    {                                                                                              \
        return (To)(expr);                                                                         \
    }
CF_HOST_ROUND(__double2ll_rn, long long, double, llrint(x))
CF_HOST_ROUND(__float2ll_rn, long long, float, llrintf(x))
CF_HOST_ROUND(__double2int_rn, int, double, lrint(x))
CF_HOST_ROUND(__float2int_rn, int, float, lrintf(x))
CF_HOST_ROUND(__double2float_rn, float, double, x)
CF_HOST_ROUND(__ll2double_rn, double, long long, x)
CF_HOST_ROUND(__ll2float_rn, float, long long, x)
CF_HOST_ROUND(__int2float_rn, float, int, x)
CF_HOST_ROUND(__uint2float_rn, float, unsigned, x)
CF_HOST_ROUND(__fsqrt_rn, float, float, sqrtf(x))
CF_HOST_ROUND(__dsqrt_rn, double, double, sqrt(x))
CF_HOST_ROUND(__frcp_rn, float, float, 1.0f / x)
CF_HOST_ROUND(rsqrtf, float, float, 1.0f / sqrtf(x))
CF_HOST_ROUND(rsqrt, double, double, 1.0 / sqrt(x))
#undef CF_HOST_ROUND
#define __expf(x) expf(x) /* the C library has functions of these names */
#define __logf(x) logf(x)
#define CF_HOST_BINARY(name, T, expr)                                                              \
    static inline T name(T a, T b)                                                                 \
    {                                                                                              \
        return expr;                                                                               \
    }
CF_HOST_BINARY(__fadd_rn, float, a + b)
CF_HOST_BINARY(__fsub_rn, float, a - b)
CF_HOST_BINARY(__fmul_rn, float, a *b)
CF_HOST_BINARY(__fdiv_rn, float, a / b)
CF_HOST_BINARY(__fdividef, float, a / b)
CF_HOST_BINARY(__dadd_rn, double, a + b)
CF_HOST_BINARY(__dsub_rn, double, a - b)
CF_HOST_BINARY(__dmul_rn, double, a *b)
CF_HOST_BINARY(__ddiv_rn, double, a / b)
#undef CF_HOST_BINARY
static inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
static inline double __fma_rn(double a, double b, double c)
{
    return fma(a, b, c);
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz((unsigned)x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}

template <typename T> T __ldg(const T *p)
{
    return *p;
}
template <typename T> T __ldcs(const T *p)
{
    return *p;
}
template <typename T> T __ldcg(const T *p)
{
    return *p;
}
template <typename T> void __stcs(T *p, T x)
{
    *p = x;
}
template <typename T> void __stcg(T *p, T x)
{
    *p = x;
}

/* CUDA's typed forms of its own functions. */
template <typename... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attr, int value)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attr, value);
}
template <typename T> cudaError_t cudaMalloc(T **p, size_t bytes)
{
    return cudaMalloc(reinterpret_cast<void **>(p), bytes);
}
template <typename... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void (*)(P...), int threads,
                                                          size_t)
{
    *blocks = threads > 0 ? 2048 / threads : 0;
    return cudaSuccess;
}

#endif
