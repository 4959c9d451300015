#include "test_shim_kernels.h"

#include "kernels/cuda/warp.cuh"

__global__ void reverse(const float *in, float *out, int n, bool with_barrier)
{
    CF_SHARED(float, kept);
    int i = (int)threadIdx.x;
    kept[i] = in[i];
    if (with_barrier) __syncthreads();
    out[i] = kept[n - 1 - i];
}

void shim_reverse(cudaStream_t s, const float *in, float *out, int n, bool with_barrier)
{
    CF_LAUNCH(reverse, 1, n, (size_t)n * sizeof(float), s, in, out, n, with_barrier);
}

__global__ void sum(const float *in, float *out)
{
    __shared__ float of_warp[8];
    float x = cf_warp_sum(in[blockIdx.x * 256 + threadIdx.x]);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    if (threadIdx.x > 0) return;
    x = 0.0f;
    for (int i = 0; i < 8; i++) x += of_warp[i];
    out[blockIdx.x] = x;
}

void shim_sum(cudaStream_t s, const float *in, float *out, int n_blocks)
{
    CF_LAUNCH(sum, n_blocks, 256, 0, s, in, out);
}

__global__ void scale(float *x, int n, float factor)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) x[i] = x[i] * factor + 1.0f;
}

void shim_scale(cudaStream_t s, float *x, int n, float factor)
{
    CF_LAUNCH(scale, (n + 63) / 64, 64, 0, s, x, n, factor);
}

__global__ void shuffles(int *out)
{
    int lane = (int)threadIdx.x;
    int *mine = out + lane * 9;
    mine[0] = __shfl_xor_sync(0xFFFFFFFFu, lane, 5);
    mine[1] = __shfl_down_sync(0xFFFFFFFFu, lane, 3u);
    mine[2] = __shfl_up_sync(0xFFFFFFFFu, lane, 4u, 8);
    mine[3] = __shfl_sync(0xFFFFFFFFu, lane, 17);
    mine[4] = (int)__shfl_sync(0xFFFFFFFFu, (double)lane + 0.5, 2, 8);
    mine[5] = (int)__ballot_sync(0xFFFFFFFFu, lane % 3 == 0);
    mine[6] = __any_sync(0xFFFFFFFFu, lane == 9) + 2 * __all_sync(0xFFFFFFFFu, lane < 31);
    mine[7] = (int)(__shfl_xor_sync(0xFFFFFFFFu, 1ll << lane, 1) >> (lane ^ 1));
    /* Each half of the warp by itself, the lower one twice. */
    unsigned mask = lane < 16 ? 0xFFFFu : 0xFFFF0000u;
    int x = lane;
    if (lane < 16) x = __shfl_xor_sync(mask, x, 1);
    mine[8] = __shfl_xor_sync(mask, x, 8);
}

void shim_shuffles(cudaStream_t s, int *out)
{
    CF_LAUNCH(shuffles, 1, 32, 0, s, out);
}

/* Two elements as a register holds them. */
__device__ static inline uint32_t pair(uint16_t low, uint16_t high)
{
    return (uint32_t)low | (uint32_t)high << 16;
}

__device__ static inline void load_by_hand(uint32_t a[4], uint32_t b[2], const uint16_t *from_a,
                                           const uint16_t *from_b)
{
    int g = (int)threadIdx.x / 4, t = (int)threadIdx.x % 4;
    for (int i = 0; i < 4; i++) {
        const uint16_t *p = from_a + (g + 8 * (i % 2)) * 16 + 2 * t + 8 * (i / 2);
        a[i] = pair(p[0], p[1]);
    }
    for (int i = 0; i < 2; i++) {
        const uint16_t *p = from_b + (2 * t + 8 * i) * 8 + g;
        b[i] = pair(p[0], p[8]);
    }
}

template <typename T>
__global__ void product(const uint16_t *from_a, const uint16_t *from_b, float *to, bool by_ldmatrix)
{
    CF_SHARED(uint16_t, rows); /* A [16][16], then B [16][8] twice */
    int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
    for (int i = lane; i < 256; i += 32) {
        rows[i] = from_a[i];
        rows[256 + i] = from_b[i % 128];
    }
    __syncwarp();
    uint32_t a[4], b[4];
    if (by_ldmatrix) {
        cf_ldmatrix_x4(a, rows + (lane % 16) * 16 + lane / 16 * 8);
        cf_ldmatrix_x4_trans(b, rows + 256 + lane * 8);
    } else {
        load_by_hand(a, b, rows, rows + 256);
    }
    float c[4];
    for (int i = 0; i < 4; i++) c[i] = to[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2];
    cf_mma<T>(c, a, b);
    for (int i = 0; i < 4; i++) to[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = c[i];
}

void shim_product(cudaStream_t s, const uint16_t *a, const uint16_t *b, float *c, bool fp16,
                  bool by_ldmatrix)
{
    if (fp16)
        CF_LAUNCH(product<cf_f16>, 1, 32, 1024, s, a, b, c, by_ldmatrix);
    else
        CF_LAUNCH(product<cf_bf16>, 1, 32, 1024, s, a, b, c, by_ldmatrix);
}

__global__ void copies(const float *in, float *out, int groups, int valid, bool wait)
{
    CF_SHARED(float, ring); /* [3][128] */
    int lane = (int)threadIdx.x;
    for (int i = 0; i < groups + 2; i++) {
        if (i < groups)
            cf_copy_async_16(ring + i % 3 * 128 + lane * 4, in + i * 128 + lane * 4, lane < valid);
        cf_copy_commit();
        if (i < 2) continue;
        if (wait)
            cf_copy_wait<2>();
        else
            cf_copy_wait<3>();
        __syncwarp();
        const float *from = ring + (i - 2) % 3 * 128;
        for (int j = lane; j < 128; j += 32) out[(i - 2) * 128 + j] = from[j] + 1.0f;
        __syncwarp();
    }
}

void shim_copies(cudaStream_t s, const float *in, float *out, int groups, int valid, bool wait)
{
    CF_LAUNCH(copies, 1, 32, 3 * 128 * sizeof(float), s, in, out, groups, valid, wait);
}

__global__ void indices(int *out)
{
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned i = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
    out[i] = (int)i;
}

void shim_indices(cudaStream_t s, int *out, dim3 grid, dim3 block)
{
    CF_LAUNCH(indices, grid, block, 0, s, out);
}

__global__ void nothing() {}

void shim_nothing(cudaStream_t s, dim3 grid, dim3 block, size_t shared_bytes)
{
    CF_LAUNCH(nothing, grid, block, shared_bytes, s);
}

cudaError_t shim_nothing_allow(int shared_bytes)
{
    return cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
}

__global__ void wrong(int *out, shim_mistake m)
{
    CF_SHARED(int, kept);
    int lane = (int)threadIdx.x;
    uint32_t r[4] = {0, 0, 0, 0};
    if (m == SHIM_BARRIER_LEFT && lane >= 32) return;
    if (m == SHIM_SHUFFLE_LEFT && lane == 3) return;
    if (m == SHIM_BARRIER_LEFT || (m == SHIM_BARRIER_IN_SHUFFLE && lane == 0)) __syncthreads();
    if (m == SHIM_MIXED) {
        if (lane % 2)
            r[0] = __shfl_up_sync(0xFFFFFFFFu, r[0], 1u);
        else
            r[0] = __shfl_down_sync(0xFFFFFFFFu, r[0], 1u);
    }
    if (m == SHIM_NOT_IN_MASK) r[0] = __shfl_xor_sync(0xFFFFu, r[0], 1);
    if (m == SHIM_SHARED_END) kept[60 + lane % 4] = 1;
    if (m == SHIM_ROW_NOT_ALIGNED) cf_ldmatrix_x4(r, kept + lane % 32);
    if (m == SHIM_COPY_NOT_ALIGNED) cf_copy_async_16(kept + 1, out, true);
    if (m == SHIM_SHUFFLE_LEFT || m == SHIM_BARRIER_IN_SHUFFLE)
        r[0] = __shfl_xor_sync(0xFFFFFFFFu, r[0], 1);
    out[lane] = (int)r[0];
}

void shim_wrong(cudaStream_t s, int *out, shim_mistake m)
{
    CF_LAUNCH(wrong, 1, 64, 60 * sizeof(int), s, out, m);
}
