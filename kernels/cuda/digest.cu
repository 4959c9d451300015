/* The digest of a flat buffer. Integer sums: blocks may finish in any order. Formula:
 * kernels/math/digest.h. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/lanes.cuh"
#include "kernels/math/digest.h"
#include "kernels/math/half.h"

enum { THREADS = 256, EACH = 16, MOST_BLOCKS = 4096 };

__global__ static void __launch_bounds__(THREADS)
    digest_kernel(const float *values, int64_t n, uint64_t first, unsigned long long *sum)
{
    __shared__ unsigned long long part[THREADS];
    unsigned long long mine = 0;
    int64_t stride = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += stride)
        mine += cf_digest_element(cf_float_bits(values[i]), first + (uint64_t)i);
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int step = THREADS / 2; step > 0; step /= 2) {
        if ((int)threadIdx.x < step) part[threadIdx.x] += part[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x == 0) atomicAdd(sum, part[0]);
}

cf_err cf_cuda_digest(cudaStream_t stream, const float *values, int64_t n, uint64_t first,
                      void *workspace, uint64_t *sum)
{
    *sum = 0;
    if (n == 0) return CF_OK;
    CF_TRY(cf_cuda_check(cudaMemsetAsync(workspace, 0, sizeof *sum, stream), "digest"));
    unsigned blocks = cf_blocks(n, THREADS * EACH);
    if (blocks > (unsigned)MOST_BLOCKS) blocks = MOST_BLOCKS;
    CF_LAUNCH(digest_kernel, blocks, THREADS, 0, stream, values, n, first,
              static_cast<unsigned long long *>(workspace));
    CF_TRY(cf_cuda_check(cudaGetLastError(), "digest"));
    CF_TRY(cf_cuda_check(
        cudaMemcpyAsync(sum, workspace, sizeof *sum, cudaMemcpyDeviceToHost, stream), "digest"));
    return cf_cuda_check(cudaStreamSynchronize(stream), "digest");
}
