/* Tiles of a matrix product on ordinary cores, shared by the passes of the direct convolution.
 * Arithmetic in fp32 with fused multiply-add, terms in order. Read first: cf_tile_multiply. */
#ifndef CF_KERNELS_CUDA_DIRECT_CUH
#define CF_KERNELS_CUDA_DIRECT_CUH

#include "kernels/cuda/conv.h"
#include "kernels/cuda/device.cuh"

enum { CF_DIRECT_MOST_GROUPS = 65535 }; /* a grid's third dimension */

/* A block's tile of M x N sums, of which a thread keeps ROWS_ x COLUMNS_. */
template <int M_, int N_, int ROWS_, int COLUMNS_> struct cf_tile {
    enum { M = M_, N = N_, ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = 16 };
    enum { THREADS = M_ * N_ / (ROWS_ * COLUMNS_) };
};

/* The operands of one step. A row more than a multiple of the banks spreads the stores. */
template <typename TILE> struct alignas(16) cf_tile_memory {
    float a[TILE::DEPTH][TILE::M + 4];
    float b[TILE::DEPTH][TILE::N + 4];
};

/* First row and column of the calling thread's sums. */
template <typename TILE> __device__ static inline int cf_tile_row()
{
    return (int)threadIdx.x / (TILE::N / TILE::COLUMNS) * TILE::ROWS;
}
template <typename TILE> __device__ static inline int cf_tile_column()
{
    return (int)threadIdx.x % (TILE::N / TILE::COLUMNS) * TILE::COLUMNS;
}

/* sums += a^T b over the step's terms. */
template <typename TILE>
__device__ static inline void cf_tile_multiply(const cf_tile_memory<TILE> &memory,
                                               float sums[TILE::ROWS][TILE::COLUMNS])
{
    int row = cf_tile_row<TILE>(), column = cf_tile_column<TILE>();
#pragma unroll
    for (int d = 0; d < TILE::DEPTH; d++) {
        float a[TILE::ROWS], b[TILE::COLUMNS];
        for (int i = 0; i < TILE::ROWS; i++) a[i] = memory.a[d][row + i];
        for (int j = 0; j < TILE::COLUMNS; j++) b[j] = memory.b[d][column + j];
        for (int i = 0; i < TILE::ROWS; i++)
            for (int j = 0; j < TILE::COLUMNS; j++) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
    }
}

/* direct_weights.cu: the weight gradient's parts, and its launch (errors are left for
 * cudaGetLastError). */
int64_t cf_direct_weight_parts(const cf_geometry *g);
void cf_direct_weights(cudaStream_t stream, const cf_conv_call *call);

#endif
