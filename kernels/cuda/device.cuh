/* What every .cu file of this room starts with: element types, conversions, launches, reductions.
 *
 * Kernels are launched through CF_LAUNCH and take dynamic shared memory through CF_SHARED, so that
 * the same source also compiles for the host (tests/cuda: threads of a block as fibers), where
 * CF_HOST is defined. Warp-wide instructions are in warp.cuh. Read first: cf_to_float, CF_LAUNCH.
 */
#ifndef CF_KERNELS_CUDA_DEVICE_CUH
#define CF_KERNELS_CUDA_DEVICE_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels/graph/tensor.h"
#include "kernels/math/half.h"

#ifndef CF_HOST
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define CF_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                  \
    kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
/* Dynamic shared memory of the block, 16-byte aligned, as `type *name`. */
#define CF_SHARED(type, name)                                                                      \
    extern __shared__ __align__(16) unsigned char cf_shared_bytes[];                               \
    type *name = reinterpret_cast<type *>(cf_shared_bytes)
#endif

/* Storage types of activations: fp32 is float itself. */
struct cf_bf16 {
    uint16_t bits;
};
struct cf_f16 {
    uint16_t bits;
};

__host__ __device__ static inline float cf_to_float(float x)
{
    return x;
}
__host__ __device__ static inline float cf_to_float(cf_bf16 x)
{
    return cf_bf16_to_float(x.bits);
}
__host__ __device__ static inline float cf_to_float(cf_f16 x)
{
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(x.bits));
#else
    return cf_f16_to_float(x.bits);
#endif
}

/* Rounds to nearest even. */
__host__ __device__ static inline void cf_from_float(float x, float *out)
{
    *out = x;
}
__host__ __device__ static inline void cf_from_float(float x, cf_bf16 *out)
{
#ifdef __CUDA_ARCH__
    out->bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
#else
    out->bits = cf_bf16_from_float(x);
#endif
}
__host__ __device__ static inline void cf_from_float(float x, cf_f16 *out)
{
#ifdef __CUDA_ARCH__
    out->bits = __half_as_ushort(__float2half_rn(x));
#else
    out->bits = cf_f16_from_float(x);
#endif
}

/* Calls f<T>(...) for the element type that a cf_dtype names: CF_BY_DTYPE(d, launch, args). */
#define CF_BY_DTYPE(dtype, function, ...)                                                          \
    ((dtype) == CF_F32    ? function<float>(__VA_ARGS__)                                           \
     : (dtype) == CF_BF16 ? function<cf_bf16>(__VA_ARGS__)                                         \
                          : function<cf_f16>(__VA_ARGS__))

#endif
