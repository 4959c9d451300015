/* Kernels that test the shim itself, as C functions; n is threads of one block unless said. */
#ifndef CF_TESTS_CUDA_SHIM_KERNELS_H
#define CF_TESTS_CUDA_SHIM_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* out[i] = in[n - 1 - i] through shared memory, with or without the barrier. */
void shim_reverse(cudaStream_t s, const float *in, float *out, int n, bool with_barrier);
/* out[block] = sum of in[block * 256 ...]: shuffles in warps, shared memory between them. */
void shim_sum(cudaStream_t s, const float *in, float *out, int n_blocks);
/* x[i] = x[i] * factor + 1. */
void shim_scale(cudaStream_t s, float *x, int n, float factor);
/* out [32][9]: what each lane got from the shuffles and votes, and of half a warp. */
void shim_shuffles(cudaStream_t s, int *out);
/* c [16][8] += a [16][16] b [16][8]: fragments by hand, or loaded by ldmatrix; b row by row. */
void shim_product(cudaStream_t s, const uint16_t *a, const uint16_t *b, float *c, bool fp16,
                  bool by_ldmatrix);
/* out [groups][128] = in + 1 by asynchronous copies of 16 bytes, three groups under way; lanes past
 * `valid` copy zeros. wait: as is right; else the last groups are read too early. */
void shim_copies(cudaStream_t s, const float *in, float *out, int groups, int valid, bool wait);
/* out[i] = value of threads, blocks and grid: linear index of the thread in the grid. */
void shim_indices(cudaStream_t s, int *out, dim3 grid, dim3 block);
/* A launch of a kernel that does nothing. */
void shim_nothing(cudaStream_t s, dim3 grid, dim3 block, size_t shared_bytes);
cudaError_t shim_nothing_allow(int shared_bytes);
/* What is wrong on purpose. */
typedef enum shim_mistake {
    SHIM_BARRIER_LEFT,      /* half the block leaves before a barrier */
    SHIM_SHUFFLE_LEFT,      /* lane 3 leaves before its warp shuffles */
    SHIM_MIXED,             /* odd lanes shuffle up, even lanes down */
    SHIM_NOT_IN_MASK,       /* a lane shuffles with a mask without it */
    SHIM_SHARED_END,        /* writes past dynamic shared memory */
    SHIM_ROW_NOT_ALIGNED,   /* ldmatrix of an address not divisible by 16 */
    SHIM_COPY_NOT_ALIGNED,  /* asynchronous copy to such an address */
    SHIM_BARRIER_IN_SHUFFLE /* lane 0 waits at a barrier, the others in a shuffle */
} shim_mistake;
void shim_wrong(cudaStream_t s, int *out, shim_mistake m);

#ifdef __cplusplus
}
#endif
#endif
