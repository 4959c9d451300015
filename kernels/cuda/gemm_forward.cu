/* y[m][k] = sum over (r, s, c) of x[window of m][(r, s, c)] W[k][(r, s, c)].
 *
 * Both operands have the reduction along their rows. A block computes `group` tiles, one below the
 * other; copies for the next tile are under way while one ends. Read first: forward_kernel. */
#include "kernels/cuda/gemm_gather.cuh"

struct forward_args {
    cf_gemm_shape shape;
    const void *x, *weights;
    const float *scale, *shift; /* NULL: none */
    float slope;
    void *y;
    double *partials;
    int steps, down, across, group, stages;
};

enum { FORWARD_WIDTH = CF_GEMM_DEPTH / CF_CHUNK };

template <typename S> __host__ __device__ constexpr int forward_stage_bytes()
{
    return (S::rows + S::columns) * CF_GEMM_DEPTH * 2;
}

/* What a thread knows of the copies that it starts ahead. */
template <typename S> struct forward_ahead {
    enum { rows = S::rows * FORWARD_WIDTH / S::threads };
    cf_window window[rows]; /* of the chunks it copies */
    int tile, step, stage;
    uint32_t valid; /* bits of cf_gather_chunk: eight a step, the latest lowest */
};

template <typename T, typename S, cf_gather G>
__device__ static inline uint32_t copy_x(const forward_args &a, forward_ahead<S> &ahead,
                                         unsigned char *to)
{
    int column = (int)threadIdx.x % FORWARD_WIDTH, row = (int)threadIdx.x / FORWARD_WIDTH;
    cf_taps taps = cf_taps_of<G>(a.shape, ahead.step * CF_GEMM_DEPTH + column * CF_CHUNK);
    uint32_t valid = 0;
#pragma unroll
    for (int i = 0; i < forward_ahead<S>::rows; i++) {
        int at = row + i * (S::threads / FORWARD_WIDTH);
        if (ahead.step == 0) ahead.window[i] = cf_window_of<G>(a.shape, ahead.tile * S::rows + at);
        valid |= cf_gather_chunk<T, G>(a.shape, static_cast<const T *>(a.x), ahead.window[i], taps,
                                       to + cf_chunk_at<FORWARD_WIDTH>(at, column))
                 << 2 * i;
    }
    return valid;
}

template <typename T, typename S, cf_gather G>
__device__ static inline void copy_weights(const forward_args &a, int step, int first_column,
                                           unsigned char *to)
{
    int column = (int)threadIdx.x % FORWARD_WIDTH, row = (int)threadIdx.x / FORWARD_WIDTH;
    int depth = step * CF_GEMM_DEPTH + column * CF_CHUNK;
#pragma unroll
    for (int i = 0; i < S::columns * FORWARD_WIDTH / S::threads; i++) {
        int at = row + i * (S::threads / FORWARD_WIDTH), k = first_column + at;
        unsigned char *chunk = to + cf_chunk_at<FORWARD_WIDTH>(at, column);
        const T *from = static_cast<const T *>(a.weights) + (int64_t)k * a.shape.length + depth;
        bool valid = k < a.shape.k && depth < a.shape.length;
        if (G == CF_GATHER_IMAGE) {
            /* A filter's row may end in the middle of a chunk. */
            bool both = valid && depth + 4 < a.shape.length;
            const T *first = static_cast<const T *>(a.weights);
            cf_copy_async_8(chunk, valid ? from : first, valid);
            cf_copy_async_8(chunk + 8, both ? from + 4 : first, both);
        } else {
            cf_copy_async_16(chunk, valid ? from : a.weights, valid);
        }
    }
}

/* Starts the copies of the next step, if there is one, as one group. */
template <typename T, typename S, cf_gather G>
__device__ static inline void copy_ahead(const forward_args &a, forward_ahead<S> &ahead, int last,
                                         int first_column, unsigned char *shared)
{
    uint32_t valid = 0;
    if (ahead.tile < last) {
        unsigned char *to = shared + ahead.stage * forward_stage_bytes<S>();
        valid = copy_x<T, S, G>(a, ahead, to);
        copy_weights<T, S, G>(a, ahead.step, first_column, to + S::rows * CF_GEMM_DEPTH * 2);
        if (++ahead.step == a.steps) {
            ahead.step = 0;
            ahead.tile++;
        }
        if (++ahead.stage == a.stages) ahead.stage = 0;
    }
    ahead.valid = ahead.valid << 8 | valid;
    cf_copy_commit();
}

/* The prologue on the chunks that this thread copied. */
template <typename T, typename S, cf_gather G>
__device__ static inline void view_x(const forward_args &a, uint32_t valid, int step,
                                     unsigned char *tile)
{
    int column = (int)threadIdx.x % FORWARD_WIDTH, row = (int)threadIdx.x / FORWARD_WIDTH;
    cf_taps taps = cf_taps_of<G>(a.shape, step * CF_GEMM_DEPTH + column * CF_CHUNK);
    cf_own_chunks<FORWARD_WIDTH, S::threads / FORWARD_WIDTH> own = {tile, row, column};
    cf_view_chunks<T, G, forward_ahead<S>::rows>(own, valid, a.scale, a.shift, a.slope, taps);
}

/* Writes a finished tile; adds what was written, as rounded, to the sums of this lane's channel.
 * Rows past the end and columns past k are sums of zeros. */
template <typename T, typename S>
__device__ static inline void end_tile(const forward_args &a, int tile, int first_column,
                                       float acc[S::fragments][4][4], const cf_block_sums<S> &sums)
{
    int lane = (int)threadIdx.x % 32;
    int row = tile * S::rows + cf_warp_row<S>() + lane / 4;
    int column = first_column + cf_warp_column<S>() + lane % 4 * CF_CHUNK;
    T *y = static_cast<T *>(a.y);
    float first[8] = {0}, second[8] = {0};
#pragma unroll
    for (int i = 0; i < 2 * S::fragments; i++) {
        uint32_t v[4];
        float x[8];
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = cf_two<T>(acc[i / 2][j][i % 2 * 2], acc[i / 2][j][i % 2 * 2 + 1]);
        cf_quad_transpose(v);
        if (row + 8 * i < a.shape.rows && column < a.shape.k)
            cf_write_chunk(y + (int64_t)(row + 8 * i) * a.shape.k + column, v);
        cf_unpack<T>(v, x);
#pragma unroll
        for (int e = 0; e < 8; e++) {
            first[e] += x[e];
            second[e] = fmaf(x[e], x[e], second[e]);
        }
    }
    if (a.partials == nullptr) return;
    sums.add(cf_scatter_sum(first), cf_scatter_sum(second));
}

template <typename T, typename S, cf_gather G>
__global__ void __launch_bounds__(S::threads, S::resident) forward_kernel(forward_args a)
{
    CF_SHARED(unsigned char, shared);
    /* Neighbours in the grid read the same rows of x, which are then still in the cache. */
    int part = (int)blockIdx.x / a.across;
    int first_column = ((int)blockIdx.x - part * a.across) * S::columns;
    int tile = part * a.group, last = min(tile + a.group, a.down);
    forward_ahead<S> ahead = {};
    ahead.tile = tile;
    for (int i = 0; i + 1 < a.stages; i++)
        copy_ahead<T, S, G>(a, ahead, last, first_column, shared);
    float acc[S::fragments][4][4];
    cf_block_sums<S> sums = {
        reinterpret_cast<double *>(shared + a.stages * forward_stage_bytes<S>())};
    sums.clear();
    for (int stage = 0; tile < last; tile++) {
        cf_clear<S>(acc);
        for (int step = 0; step < a.steps; step++) {
            unsigned char *x = shared + stage * forward_stage_bytes<S>();
            uint32_t valid = ahead.valid >> 8 * (a.stages - 2) & 0xFFu;
            cf_wait_oldest(a.stages);
            if (a.scale != nullptr) view_x<T, S, G>(a, valid, step, x);
            /* Now the step is there for all, and the stage of the one before is free. */
            __syncthreads();
            copy_ahead<T, S, G>(a, ahead, last, first_column, shared);
            cf_tile_product<T, S, false, false, G == CF_GATHER_IMAGE>(
                x, x + S::rows * CF_GEMM_DEPTH * 2, acc, a.shape.length - step * CF_GEMM_DEPTH);
            if (++stage == a.stages) stage = 0;
        }
        end_tile<T, S>(a, tile, first_column, acc, sums);
    }
    if (a.partials != nullptr) sums.finish(a.partials, part, a.shape.k, first_column);
}

template <typename T, typename S, cf_gather G>
static cf_err forward_launch(cudaStream_t s, forward_args a, int64_t parts)
{
    void (*kernel)(forward_args) = forward_kernel<T, S, G>;
    a.stages = cf_gemm_stages(forward_stage_bytes<S>());
    int bytes = a.stages * forward_stage_bytes<S>() + cf_block_sums<S>::bytes;
    CF_TRY(cf_cuda_check(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "gemm forward"));
    CF_LAUNCH(kernel, dim3((unsigned)(parts * a.across)), dim3(S::threads), (size_t)bytes, s, a);
    return cf_cuda_check(cudaGetLastError(), "gemm forward");
}

template <typename T, typename S>
static cf_err forward_by_gather(cudaStream_t s, const forward_args &a, const cf_gemm_plan &p)
{
    return p.gather == CF_GATHER_POINT ? forward_launch<T, S, CF_GATHER_POINT>(s, a, p.parts)
                                       : forward_launch<T, S, CF_GATHER_TAPS>(s, a, p.parts);
}

template <typename T>
static cf_err forward_by_tile(cudaStream_t s, const forward_args &a, const cf_gemm_plan &p)
{
    if (p.gather == CF_GATHER_IMAGE)
        return forward_launch<T, cf_tile_narrow, CF_GATHER_IMAGE>(s, a, p.parts);
    return p.tile == CF_TILE_WIDE     ? forward_by_gather<T, cf_tile_wide>(s, a, p)
           : p.tile == CF_TILE_NARROW ? forward_by_gather<T, cf_tile_narrow>(s, a, p)
                                      : forward_by_gather<T, cf_tile_small>(s, a, p);
}

cf_err cf_gemm_forward(cudaStream_t s, const cf_conv_call *call, const cf_gemm_plan &p)
{
    forward_args a = {};
    a.shape = p.shape;
    a.x = call->x.x;
    a.weights = call->weights;
    a.scale = call->x.scale;
    a.shift = call->x.shift;
    a.slope = cf_gemm_slope(&call->x);
    a.y = call->y;
    a.partials = call->partials;
    a.steps = (p.shape.length + CF_GEMM_DEPTH - 1) / CF_GEMM_DEPTH;
    a.down = p.down;
    a.across = p.across;
    a.group = p.group;
    return call->geometry->dtype == CF_BF16 ? forward_by_tile<cf_bf16>(s, a, p)
                                            : forward_by_tile<cf_f16>(s, a, p);
}
