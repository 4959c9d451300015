/* V elements of a type that a thread loads and stores together (at most 16 bytes an instruction).
 * Read first: cf_lanes_of. */
#ifndef CF_KERNELS_CUDA_LANES_CUH
#define CF_KERNELS_CUDA_LANES_CUH

#include "kernels/cuda/device.cuh"

template <typename T, int V> struct alignas(sizeof(T) * V > 16 ? 16 : sizeof(T) * V) cf_lanes {
    T v[V];
};

/* Elements V i .. V i + V - 1 of p, which must be aligned as the struct is. */
template <int V, typename T>
__host__ __device__ static inline cf_lanes<T, V> *cf_lanes_of(T *p, int64_t i)
{
    return reinterpret_cast<cf_lanes<T, V> *>(p) + i;
}
template <int V, typename T>
__host__ __device__ static inline const cf_lanes<T, V> *cf_lanes_of(const T *p, int64_t i)
{
    return reinterpret_cast<const cf_lanes<T, V> *>(p) + i;
}

/* Host: p may be read as lanes. NULL may. */
static inline bool cf_lanes_fit(const void *p, size_t bytes)
{
    return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

static inline unsigned cf_blocks(int64_t work, int64_t each)
{
    return (unsigned)((work + each - 1) / each);
}

#endif
