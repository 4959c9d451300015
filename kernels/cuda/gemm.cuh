/* What the three passes of the implicit matrix product share: tiles in shared memory, gathering of
 * pixels, prologues, the product itself, sums at the end.
 *
 * A block multiplies a tile of S::rows by S::columns, CF_GEMM_DEPTH of the reduction at a time.
 * Both operands come to shared memory by asynchronous copies, some steps ahead; a thread then waits
 * for its own copies, applies the prologue to those chunks in place, and only then meets the
 * others. So the prologue costs no registers while data travels. A chunk is 16 bytes, eight
 * elements. Read first: cf_gemm_tile, cf_chunk_at, cf_tile_product. */
#ifndef CF_KERNELS_CUDA_GEMM_CUH
#define CF_KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/conv.h"
#include "kernels/cuda/warp.cuh"

enum { CF_GEMM_DEPTH = 64, CF_CHUNK = 8, CF_CHUNK_BYTES = 16 };

/* A warp computes ROWS / DOWN by 32. RESIDENT: blocks that shall fit a multiprocessor. */
template <int ROWS, int COLUMNS, int DOWN, int RESIDENT> struct cf_gemm_tile {
    enum {
        rows = ROWS,
        columns = COLUMNS,
        down = DOWN,           /* warps */
        across = COLUMNS / 32, /* warps */
        threads = DOWN * (COLUMNS / 32) * 32,
        warp_rows = ROWS / DOWN,
        fragments = ROWS / DOWN / 16,
        resident = RESIDENT
    };
};
typedef cf_gemm_tile<128, 128, 2, 2> cf_tile_wide;
typedef cf_gemm_tile<128, 64, 4, 2> cf_tile_narrow;
typedef cf_gemm_tile<64, 64, 2, 4> cf_tile_small;
typedef cf_gemm_tile<64, 128, 2, 2> cf_tile_image; /* 64 outputs of a stem, half of its 196 taps */

typedef enum cf_tile_kind {
    CF_TILE_WIDE,
    CF_TILE_NARROW,
    CF_TILE_SMALL,
    CF_TILE_IMAGE
} cf_tile_kind;

/* How the reduction index finds its element. POINT: a 1x1 filter with stride 1, pixel by pixel.
 * TAPS: (r, s, c) with c a multiple of 8, so that a chunk has one tap. IMAGE: c is 4, two taps. */
typedef enum cf_gather { CF_GATHER_POINT, CF_GATHER_TAPS, CF_GATHER_IMAGE } cf_gather;

/* n / divisor for 0 <= n < 2^31 as a product. Source: Granlund, Montgomery, "Division by invariant
 * integers using multiplication", 1994, with l = ceil(log2 divisor), multiplier = 2^(31+l) /
 * divisor
 * + 1. */
struct cf_divider {
    uint32_t multiplier;
    int shift;
};

static inline cf_divider cf_divider_of(int divisor)
{
    int l = 0;
    while ((int64_t)1 << l < divisor) l++;
    return {(uint32_t)(((uint64_t)1 << (31 + l)) / (uint64_t)divisor + 1), 31 + l};
}
__device__ static inline int cf_divide(int n, cf_divider d)
{
    return (int)((uint64_t)(uint32_t)n * d.multiplier >> d.shift);
}

/* The geometry as kernels want it. */
struct cf_gemm_shape {
    int rows;   /* pixels: of the result, or summed over (WEIGHTS) */
    int length; /* the filter's r s c (FORWARD, WEIGHTS) or r s k (DATA) */
    int h, w, c, k, p, q, kernel, stride, pad_top, pad_left;
    cf_divider by_h, by_w, by_c, by_k, by_p, by_q, by_kernel, by_stride;
};

/* What a launch needs beside the shape. */
struct cf_gemm_plan {
    cf_gemm_shape shape;
    cf_gather gather;
    cf_tile_kind tile;
    int down, across;  /* tiles */
    int group;         /* FORWARD, DATA: tiles, one below the other, that a block computes */
    int rows_per_part; /* WEIGHTS */
    int64_t parts;
    bool cells; /* DATA, 1x1 with a stride: rows are pixels of gy; the others of gin become zero */
};

cf_gemm_plan cf_gemm_plan_of(const cf_geometry *g, cf_conv_pass pass);
CF_CHECKED cf_err cf_gemm_forward(cudaStream_t s, const cf_conv_call *call, const cf_gemm_plan &p);
CF_CHECKED cf_err cf_gemm_data(cudaStream_t s, const cf_conv_call *call, const cf_gemm_plan &p);
CF_CHECKED cf_err cf_gemm_weights(cudaStream_t s, const cf_conv_call *call, const cf_gemm_plan &p);

/* Shared memory beside the stages: sums over pixels, and what the system keeps of a block's. */
enum { CF_GEMM_BESIDE = 5 * 1024, CF_GEMM_LEAST_SHARED = 100 * 1024 };

/* What a block may have of shared memory, or a multiprocessor; 0 where nobody can tell. */
static inline int cf_gemm_device(enum cudaDeviceAttr attribute)
{
    int device = 0, value = 0;
    if (cudaGetDevice(&device) != cudaSuccess) return 0;
    return cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess ? value : 0;
}

/* Three stages where two such blocks, with their sums, still fit a multiprocessor. The number does
 * not change a result. */
static inline int cf_gemm_stages(int stage_bytes)
{
    int half = cf_gemm_device(cudaDevAttrMaxSharedMemoryPerMultiprocessor) / 2;
    return 3 * stage_bytes + CF_GEMM_BESIDE <= half ? 3 : 2;
}
/* The factor of negative values: 1 for no activation, 0 for the rectifier. */
static inline float cf_gemm_slope(const cf_cuda_view *view)
{
    return view->act == CF_ACT_NONE ? 1.0f : view->act == CF_ACT_RELU ? 0.0f : view->slope;
}

#ifdef CF_HOST
static inline void cf_copy_async_8(void *to, const void *from, bool valid)
{
    uint2 zero = {0, 0};
    *static_cast<uint2 *>(to) = valid ? *static_cast<const uint2 *>(from) : zero;
}
static inline void cf_prefetch(const void *from)
{
    (void)*static_cast<const volatile unsigned char *>(from); /* must be readable */
}
template <typename T> static inline uint32_t cf_two(float low, float high)
{
    T a, b;
    cf_from_float(low, &a);
    cf_from_float(high, &b);
    return a.bits | (uint32_t)b.bits << 16;
}
#else
/* As cf_copy_async_16. */
__device__ static inline void cf_copy_async_8(void *to, const void *from, bool valid)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    int bytes = valid ? 8 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;\n" ::"r"(at), "l"(from), "r"(bytes)
                 : "memory");
}
/* 32 bytes into the second-level cache; `from` must be readable. */
__device__ static inline void cf_prefetch(const void *from)
{
    asm volatile("prefetch.global.L2 [%0];\n" ::"l"(from));
}
/* Two rounded values, the first in the lower half. */
template <typename T> __device__ static inline uint32_t cf_two(float low, float high);
template <> __device__ inline uint32_t cf_two<cf_bf16>(float low, float high)
{
    __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    return __bfloat16_as_ushort(two.x) | (uint32_t)__bfloat16_as_ushort(two.y) << 16;
}
template <> __device__ inline uint32_t cf_two<cf_f16>(float low, float high)
{
    __half2 two = __floats2half2_rn(low, high);
    return __half_as_ushort(two.x) | (uint32_t)__half_as_ushort(two.y) << 16;
}
#endif

template <typename T> __device__ static inline void cf_unpack(const uint32_t from[4], float to[8])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to[2 * i] = cf_to_float(T{(uint16_t)from[i]});
        to[2 * i + 1] = cf_to_float(T{(uint16_t)(from[i] >> 16)});
    }
}
template <typename T>
__device__ static inline void cf_pack_eight(const float from[8], uint32_t to[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) to[i] = cf_two<T>(from[2 * i], from[2 * i + 1]);
}
__device__ static inline void cf_read_chunk(const void *from, uint32_t to[4])
{
    uint4 v = *static_cast<const uint4 *>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
__device__ static inline void cf_write_chunk(void *to, const uint32_t from[4])
{
    *static_cast<uint4 *>(to) = make_uint4(from[0], from[1], from[2], from[3]);
}
/* Eight of an array [c], 16-byte aligned. */
__device__ static inline void cf_read_eight(const float *from, float to[8])
{
    float4 low = *reinterpret_cast<const float4 *>(from);
    float4 high = *reinterpret_cast<const float4 *>(from + 4);
    to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
    to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}

/* ---- tiles in shared memory -------------------------------------------------------------------
 */

/* Byte of a chunk in a tile of WIDTH chunks a row (8 or 16). Chunks are permuted by the row's
 * last three bits, so that eight rows of one column lie in eight different groups of banks: both
 * copies and ldmatrix run without conflicts. */
template <int WIDTH> __device__ static inline int cf_chunk_at(int row, int chunk)
{
    return (row * WIDTH + (chunk ^ (row & 7))) * CF_CHUNK_BYTES;
}

/* Fragments of A (16 rows from `row`) for elements 16 `step` of the reduction. DOWN: the reduction
 * runs down the tile's rows, and what are rows of A lie along them. */
template <int WIDTH, bool DOWN>
__device__ static inline void cf_load_a(uint32_t r[4], const unsigned char *tile, int row, int step)
{
    int lane = (int)threadIdx.x % 32;
    if (DOWN) {
        int k = step * 16 + lane / 16 * 8 + lane % 8;
        cf_ldmatrix_x4_trans(r, tile + cf_chunk_at<WIDTH>(k, row / 8 + lane / 8 % 2));
    } else {
        cf_ldmatrix_x4(r, tile + cf_chunk_at<WIDTH>(row + lane % 16, step * 2 + lane / 16));
    }
}
/* Fragments of B for 16 columns: r[0..1] of the first eight, r[2..3] of the others. */
template <int WIDTH, bool DOWN>
__device__ static inline void cf_load_b(uint32_t r[4], const unsigned char *tile, int column,
                                        int step)
{
    int lane = (int)threadIdx.x % 32;
    if (DOWN) {
        int k = step * 16 + lane % 16;
        cf_ldmatrix_x4_trans(r, tile + cf_chunk_at<WIDTH>(k, column / 8 + lane / 16));
    } else {
        int n = column + lane / 16 * 8 + lane % 8;
        cf_ldmatrix_x4(r, tile + cf_chunk_at<WIDTH>(n, step * 2 + lane / 8 % 2));
    }
}

template <typename S> __device__ static inline int cf_warp_row()
{
    return (int)threadIdx.x / 32 / S::across * S::warp_rows;
}
template <typename S> __device__ static inline int cf_warp_column()
{
    return (int)threadIdx.x / 32 % S::across * 32;
}

/* acc += A B over the tiles' whole depth, this warp's part. acc[i][j]: fragment of rows 16 i and
 * columns 8 j. PART: only over the first `depth` elements, the others being zeros. */
template <typename T, typename S, bool A_DOWN, bool B_DOWN, bool PART = false>
__device__ static inline void cf_tile_product(const unsigned char *a, const unsigned char *b,
                                              float acc[S::fragments][4][4],
                                              int depth = CF_GEMM_DEPTH)
{
    constexpr int width_a = (A_DOWN ? (int)S::rows : (int)CF_GEMM_DEPTH) / CF_CHUNK;
    constexpr int width_b = (B_DOWN ? (int)S::columns : (int)CF_GEMM_DEPTH) / CF_CHUNK;
    int row = cf_warp_row<S>(), column = cf_warp_column<S>();
#pragma unroll
    for (int step = 0; step < CF_GEMM_DEPTH / 16; step++) {
        if (PART && step * 16 >= depth) break;
        uint32_t fa[S::fragments][4], fb[2][4];
#pragma unroll
        for (int j = 0; j < 2; j++) cf_load_b<width_b, B_DOWN>(fb[j], b, column + 16 * j, step);
#pragma unroll
        for (int i = 0; i < S::fragments; i++)
            cf_load_a<width_a, A_DOWN>(fa[i], a, row + 16 * i, step);
#pragma unroll
        for (int i = 0; i < S::fragments; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) cf_mma<T>(acc[i][j], fa[i], fb[j / 2] + 2 * (j % 2));
    }
}
template <typename S> __device__ static inline void cf_clear(float acc[S::fragments][4][4])
{
#pragma unroll
    for (int i = 0; i < S::fragments; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) acc[i][j][e] = 0.0f;
}

/* Waits until the oldest of stages - 1 groups of copies has come. */
__device__ static inline void cf_wait_oldest(int stages)
{
    if (stages == 3)
        cf_copy_wait<1>();
    else
        cf_copy_wait<0>();
}

/* ---- the end of a tile ------------------------------------------------------------------------
 */

/* Among the four lanes of a row of fragments: v[j], the lane's two columns of fragment j, becomes
 * the two columns of lane j in fragment lane % 4. So a lane holds eight neighbours, 16 bytes. */
__device__ static inline void cf_quad_transpose(uint32_t v[4])
{
    bool second = threadIdx.x & 2, odd = threadIdx.x & 1;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t got = __shfl_xor_sync(0xFFFFFFFFu, second ? v[i] : v[i + 2], 2);
        if (second)
            v[i] = got;
        else
            v[i + 2] = got;
    }
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t got = __shfl_xor_sync(0xFFFFFFFFu, odd ? v[i] : v[i + 1], 1);
        if (odd)
            v[i] = got;
        else
            v[i + 1] = got;
    }
}

/* Sums x[e] over the eight lanes that share lane % 4; a lane gets the sum of element lane / 4. */
__device__ static inline float cf_scatter_sum(float x[8])
{
#pragma unroll
    for (int half = 4; half > 0; half /= 2) {
        bool high = threadIdx.x & (4 * half);
#pragma unroll
        for (int i = 0; i < half; i++) {
            float keep = high ? x[i + half] : x[i], send = high ? x[i] : x[i + half];
            x[i] = keep + __shfl_xor_sync(0xFFFFFFFFu, send, 4 * half);
        }
    }
    return x[0];
}

/* Sums over a block's pixels, [S::down][2][S::columns] in shared memory behind the stages: two
 * slots belong to each lane (that of its channel after cf_scatter_sum), so that they take no
 * registers and meet only at the end. */
template <typename S> struct cf_block_sums {
    enum { bytes = S::down * 2 * S::columns * 8 };
    double *all;

    __device__ double *own(int i) const
    {
        int lane = (int)threadIdx.x % 32, down = (int)threadIdx.x / 32 / S::across;
        return all + (down * 2 + i) * S::columns + cf_warp_column<S>() + lane % 4 * 8 + lane / 4;
    }
    __device__ void clear() const { *own(0) = *own(1) = 0; }
    __device__ void add(double first, double second) const
    {
        *own(0) += first;
        *own(1) += second;
    }
    /* Joins the warps, one below the other in order: partials [part][2][channels]. */
    __device__ void finish(double *partials, int64_t part, int channels, int first_column) const
    {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 2 * S::columns; i += S::threads) {
            int channel = first_column + i % S::columns;
            double sum = 0;
            for (int j = 0; j < S::down; j++) sum += all[j * 2 * S::columns + i];
            if (channel < channels)
                partials[(part * 2 + i / S::columns) * channels + channel] = sum;
        }
    }
};

#endif
