/* The flat fp32 weights into a program's copy, in the element type of its kernels: one launch for
 * all tensors. A thread writes four elements at a time. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/lanes.cuh"

enum { THREADS = 256, MOST_BLOCKS = 64 /* for one tensor: a big one loops, a small one ends */ };
enum { V = 4 }; /* elements that a thread writes together */

/* Elements V i .. V i + V - 1 of the padded tensor, which has n. */
__device__ static cf_lanes<float, V> padded(const cf_cuda_pack_item &item, const float *from,
                                            int64_t i, int64_t n)
{
    cf_lanes<float, V> x = {};
    uint32_t padded_c = (uint32_t)item.c_stored; /* 64-bit division is a call */
    for (int k = 0; k < V; k++) {
        uint32_t row = (uint32_t)(V * i + k) / padded_c, c = (uint32_t)(V * i + k) % padded_c;
        if (V * i + k < n && c < (uint32_t)item.c) x.v[k] = from[(int64_t)row * item.c + c];
    }
    return x;
}

/* The same without padding: tensors of the flat buffer start at any element. */
__device__ static cf_lanes<float, V> plain(const float *from, int64_t i, int64_t n)
{
    cf_lanes<float, V> x = {};
    if (reinterpret_cast<uintptr_t>(from) % sizeof x == 0 && V * i + V <= n)
        return *cf_lanes_of<V>(from, i);
    for (int k = 0; k < V; k++) x.v[k] = V * i + k < n ? from[V * i + k] : 0.0f;
    return x;
}

template <typename T>
__device__ static void pack_item(const cf_cuda_pack_item &item, const float *flat, void *packed)
{
    const float *from = flat + item.from;
    T *to = reinterpret_cast<T *>(static_cast<unsigned char *>(packed) + item.to);
    int64_t n = (int64_t)((uint32_t)item.n / (uint32_t)item.c) * item.c_stored;
    int64_t stride = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; V * i < n; i += stride) {
        cf_lanes<float, V> x =
            item.c == item.c_stored ? plain(from, i, n) : padded(item, from, i, n);
        cf_lanes<T, V> out;
        for (int k = 0; k < V; k++) cf_from_float(x.v[k], &out.v[k]);
        if (V * i + V <= n) {
            *cf_lanes_of<V>(to, i) = out;
        } else {
            for (int k = 0; k < V; k++)
                if (V * i + k < n) to[V * i + k] = out.v[k];
        }
    }
}

__global__ static void __launch_bounds__(THREADS)
    pack_kernel(const cf_cuda_pack_item *items, const float *flat, void *packed)
{
    cf_cuda_pack_item item = items[blockIdx.y];
    CF_BY_DTYPE(item.dtype, pack_item, item, flat, packed);
}

cf_err cf_cuda_pack(cudaStream_t stream, const cf_cuda_pack_item *items, int n_items, int64_t most,
                    const float *flat, void *packed)
{
    if (n_items == 0 || most == 0) return CF_OK;
    if (most > UINT32_MAX)
        return cf_cuda_check(cudaErrorInvalidValue, "pack of a tensor of 2^32 elements or more");
    unsigned x = cf_blocks(most, V * THREADS);
    dim3 grid(x < MOST_BLOCKS ? x : (unsigned)MOST_BLOCKS, (unsigned)n_items);
    CF_LAUNCH(pack_kernel, grid, THREADS, 0, stream, items, flat, packed);
    return cf_cuda_check(cudaGetLastError(), "pack");
}
