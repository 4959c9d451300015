/* gin[m][c] = sum over (r, s, k) of gy[pixel that reached m by tap (r, s)][k] W[k][r][s][c].
 *
 * The filter is read as it is stored: its rows (r, s, k) lie down a tile and are transposed on the
 * way to the tensor cores. A 1x1 filter with a stride reaches one pixel of each stride x stride
 * cell: rows are then pixels of gy, and the others of the cell become zero at the end.
 * Read first: data_kernel. */
#include "kernels/cuda/gemm_gather.cuh"

struct data_args {
    cf_gemm_shape shape;
    cf_cuda_gradient gy;
    const void *weights;
    void *gin;
    const void *input;                 /* the input node's raw output; NULL: no mask */
    const float *scale, *shift, *mean; /* of it; NULL: none */
    float slope;
    double *partials;
    int steps, down, across, group, stages, stage_bytes;
    bool cells;
};

enum { DATA_WIDTH = CF_GEMM_DEPTH / CF_CHUNK };

template <typename S> struct data_ahead {
    enum { rows = S::rows * DATA_WIDTH / S::threads };
    cf_window window[rows];
    int tile, step, stage;
    uint32_t valid; /* eight bits a step, the latest lowest */
};

/* Here a window is where tap (0, 0) of the filter stood when it reached this pixel, times stride;
 * `pixel` is the first of the image. */
template <cf_gather G>
__device__ static inline cf_window data_window(const cf_gemm_shape &s, int row)
{
    if (G == CF_GATHER_POINT) return {row < s.rows ? row : -1, 0};
    int line = cf_divide(row, s.by_w), w = row - line * s.w;
    int n = cf_divide(line, s.by_h), h = line - n * s.h;
    return {n * s.p * s.q,
            row < s.rows ? cf_corner(h + s.pad_top, w + s.pad_left) : CF_CORNER_NOWHERE};
}

/* The pixel of gy that reached the window's pixel by tap (r, t); negative: none. */
__device__ static inline int data_pixel(const cf_gemm_shape &s, const cf_window &window, int r,
                                        int t)
{
    int h = cf_corner_row(window.corner) - r, w = cf_corner_column(window.corner) - t;
    if (h < 0 || w < 0) return -1;
    int p = cf_divide(h, s.by_stride), q = cf_divide(w, s.by_stride);
    bool reached = p * s.stride == h && q * s.stride == w && p < s.p && q < s.q;
    return reached ? window.pixel + p * s.q + q : -1;
}

template <typename T, typename S, cf_gather G>
__device__ static inline uint32_t copy_gradient(const data_args &a, data_ahead<S> &ahead,
                                                unsigned char *to)
{
    int column = (int)threadIdx.x % DATA_WIDTH, row = (int)threadIdx.x / DATA_WIDTH;
    int depth = ahead.step * CF_GEMM_DEPTH + column * CF_CHUNK;
    int tap = G == CF_GATHER_POINT ? 0 : cf_divide(depth, a.shape.by_k);
    int r = G == CF_GATHER_POINT ? 0 : cf_divide(tap, a.shape.by_kernel);
    int t = tap - r * a.shape.kernel, k = depth - tap * a.shape.k;
    const T *g = static_cast<const T *>(a.gy.g), *y = static_cast<const T *>(a.gy.y);
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < data_ahead<S>::rows; i++) {
        int at = row + i * (S::threads / DATA_WIDTH);
        if (ahead.step == 0) ahead.window[i] = data_window<G>(a.shape, ahead.tile * S::rows + at);
        int pixel = G == CF_GATHER_POINT ? ahead.window[i].pixel
                                         : data_pixel(a.shape, ahead.window[i], r, t);
        bool valid = pixel >= 0 && depth < a.shape.length;
        int64_t from = valid ? (int64_t)pixel * a.shape.k + k : 0;
        unsigned char *chunk = to + cf_chunk_at<DATA_WIDTH>(at, column);
        cf_copy_async_16(chunk, g + from, valid);
        if (a.gy.a != nullptr)
            cf_copy_async_16(chunk + S::rows * CF_GEMM_DEPTH * 2, y + from, valid);
        bits |= (uint32_t)valid << i;
    }
    return bits;
}

template <typename T, typename S, cf_gather G>
__device__ static inline void copy_weights(const data_args &a, int step, int first_column,
                                           unsigned char *to)
{
    constexpr int width = S::columns / CF_CHUNK;
    int column = (int)threadIdx.x % width, row = (int)threadIdx.x / width;
    int c = first_column + column * CF_CHUNK;
#pragma unroll
    for (int i = 0; i < CF_GEMM_DEPTH * width / S::threads; i++) {
        int at = row + i * (S::threads / width), depth = step * CF_GEMM_DEPTH + at;
        bool valid = depth < a.shape.length && c < a.shape.c;
        int tap = G == CF_GATHER_POINT ? 0 : cf_divide(depth, a.shape.by_k);
        int k = depth - tap * a.shape.k, taps = a.shape.kernel * a.shape.kernel;
        int64_t from = ((int64_t)k * taps + tap) * a.shape.c + c;
        cf_copy_async_16(to + cf_chunk_at<width>(at, column),
                         static_cast<const T *>(a.weights) + (valid ? from : 0), valid);
    }
}

/* The pixel of gin that row m of the result is; with `cells` the first of its cell. */
__device__ static inline int data_target(const data_args &a, int m)
{
    if (!a.cells) return m;
    const cf_gemm_shape &s = a.shape;
    int line = cf_divide(m, s.by_q), q = m - line * s.q;
    int n = cf_divide(line, s.by_p), p = line - n * s.p;
    return (n * s.h + p * s.stride) * s.w + q * s.stride;
}

/* What the end of a tile will read, into the cache while the tile is computed. */
template <typename T, typename S>
__device__ static inline void prefetch_input(const data_args &a, int tile, int first_column)
{
    constexpr int each = 16, across = S::columns / each; /* 16 elements are 32 bytes */
    for (int i = (int)threadIdx.x; i < S::rows * across; i += S::threads) {
        int m = tile * S::rows + i / across, c = first_column + i % across * each;
        if (m < a.shape.rows && c < a.shape.c)
            cf_prefetch(static_cast<const T *>(a.input) + (int64_t)data_target(a, m) * a.shape.c +
                        c);
    }
}

template <typename T, typename S, cf_gather G>
__device__ static inline void copy_ahead(const data_args &a, data_ahead<S> &ahead, int last,
                                         int first_column, unsigned char *shared)
{
    uint32_t valid = 0;
    if (ahead.tile < last) {
        unsigned char *to = shared + ahead.stage * a.stage_bytes;
        if (ahead.step == 0 && a.input != nullptr)
            prefetch_input<T, S>(a, ahead.tile, first_column);
        valid = copy_gradient<T, S, G>(a, ahead, to);
        copy_weights<T, S, G>(a, ahead.step, first_column,
                              to + a.stage_bytes - S::columns * CF_GEMM_DEPTH * 2);
        if (++ahead.step == a.steps) {
            ahead.step = 0;
            ahead.tile++;
        }
        if (++ahead.stage == a.stages) ahead.stage = 0;
    }
    ahead.valid = ahead.valid << 8 | valid;
    cf_copy_commit();
}

/* a g + b y + d on the chunks that this thread copied. */
template <typename T, typename S, cf_gather G>
__device__ static inline void join_gradient(const data_args &a, uint32_t valid, int step,
                                            unsigned char *tile)
{
    int column = (int)threadIdx.x % DATA_WIDTH, row = (int)threadIdx.x / DATA_WIDTH;
    int depth = step * CF_GEMM_DEPTH + column * CF_CHUNK;
    int k = G == CF_GATHER_POINT ? depth : depth - cf_divide(depth, a.shape.by_k) * a.shape.k;
    cf_own_chunks<DATA_WIDTH, S::threads / DATA_WIDTH> own = {tile, row, column};
    cf_gradient_chunks<T, data_ahead<S>::rows>(own, valid, a.gy, k, S::rows * CF_GEMM_DEPTH * 2);
}

/* What ends a tile: the mask of the input node's activation, and sums of g and of g x. */
struct data_end {
    float scale[8], shift[8], first[8], second[8];
};

template <typename T>
__device__ static inline void mask_and_sum(const data_args &a, data_end &end,
                                           const uint32_t input[4], uint32_t v[4])
{
    float g[8], x[8];
    cf_unpack<T>(v, g);
    if (a.input != nullptr) {
        cf_unpack<T>(input, x);
#pragma unroll
        for (int e = 0; e < 8; e++)
            g[e] = fmaf(x[e], end.scale[e], end.shift[e]) > 0.0f ? g[e] : g[e] * a.slope;
        cf_pack_eight<T>(g, v);
        cf_unpack<T>(v, g);
#pragma unroll
        for (int e = 0; e < 8; e++) end.second[e] = fmaf(g[e], x[e], end.second[e]);
    }
#pragma unroll
    for (int e = 0; e < 8; e++) end.first[e] += g[e];
}

/* Zeros where no tap reached. */
template <typename T>
__device__ static inline void clear_cell(const data_args &a, int m, int target, int column)
{
    const cf_gemm_shape &s = a.shape;
    int line = cf_divide(m, s.by_q), q = m - line * s.q;
    int p = line - cf_divide(line, s.by_p) * s.p;
    const uint32_t zero[4] = {0, 0, 0, 0};
    for (int i = 0; i < s.stride && p * s.stride + i < s.h; i++)
        for (int j = 0; j < s.stride && q * s.stride + j < s.w; j++)
            if (i + j > 0)
                cf_write_chunk(
                    static_cast<T *>(a.gin) + (int64_t)(target + i * s.w + j) * s.c + column, zero);
}

/* Ends the two rows, eight apart, that this lane has of a fragment: their reads of the input travel
 * together. v: packed, not yet transposed. */
template <typename T>
__device__ static inline void end_rows(const data_args &a, int row, int column, data_end &end,
                                       uint32_t v[2][4])
{
    uint32_t input[2][4] = {};
    int target[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int m = row + 8 * i;
        target[i] = column < a.shape.c && m < a.shape.rows ? data_target(a, m) : -1;
        if (a.input != nullptr && target[i] >= 0)
            cf_read_chunk(static_cast<const T *>(a.input) + (int64_t)target[i] * a.shape.c + column,
                          input[i]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        cf_quad_transpose(v[i]);
        /* Rows past the end are zeros: they add nothing. */
        mask_and_sum<T>(a, end, input[i], v[i]);
        if (target[i] < 0) continue;
        cf_write_chunk(static_cast<T *>(a.gin) + (int64_t)target[i] * a.shape.c + column, v[i]);
        if (a.cells) clear_cell<T>(a, row + 8 * i, target[i], column);
    }
}

template <typename T, typename S>
__device__ static inline void end_tile(const data_args &a, int tile, int first_column,
                                       const float acc[S::fragments][4][4],
                                       const cf_block_sums<S> &sums)
{
    int lane = (int)threadIdx.x % 32;
    int row = tile * S::rows + cf_warp_row<S>() + lane / 4;
    int first = first_column + cf_warp_column<S>() + lane % 4 * CF_CHUNK;
    /* Packed first: that frees half of the accumulators' registers for what follows. */
    uint32_t v[S::fragments][2][4];
#pragma unroll
    for (int i = 0; i < S::fragments; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[i][j / 4][j % 4] = cf_two<T>(acc[i][j % 4][j / 4 * 2], acc[i][j % 4][j / 4 * 2 + 1]);
    data_end end = {};
    if (first < a.shape.c && a.scale != nullptr) {
        cf_read_eight(a.scale + first, end.scale);
        cf_read_eight(a.shift + first, end.shift);
    }
#pragma unroll
    for (int i = 0; i < S::fragments; i++) end_rows<T>(a, row + 16 * i, first, end, v[i]);
    if (a.partials == nullptr) return;
    double g = cf_scatter_sum(end.first), gx = cf_scatter_sum(end.second);
    /* The sum of g (x - mean). What fp32 loses of g x is far below the rounding of x to 16 bits,
     * however large the mean. */
    bool centred = a.mean != nullptr && first < a.shape.c;
    sums.add(g, centred ? gx - (double)a.mean[first + lane / 4] * g : 0.0);
}

template <typename T, typename S, cf_gather G>
__global__ void __launch_bounds__(S::threads, S::resident) data_kernel(data_args a)
{
    CF_SHARED(unsigned char, shared);
    int part = (int)blockIdx.x / a.across;
    int first_column = ((int)blockIdx.x - part * a.across) * S::columns;
    int tile = part * a.group, last = min(tile + a.group, a.down);
    data_ahead<S> ahead = {};
    ahead.tile = tile;
    for (int i = 0; i + 1 < a.stages; i++)
        copy_ahead<T, S, G>(a, ahead, last, first_column, shared);
    float acc[S::fragments][4][4];
    cf_block_sums<S> sums = {reinterpret_cast<double *>(shared + a.stages * a.stage_bytes)};
    sums.clear();
    for (int stage = 0; tile < last; tile++) {
        cf_clear<S>(acc);
        for (int step = 0; step < a.steps; step++) {
            unsigned char *g = shared + stage * a.stage_bytes;
            uint32_t valid = ahead.valid >> 8 * (a.stages - 2) & 0xFFu;
            cf_wait_oldest(a.stages);
            if (a.gy.a != nullptr) join_gradient<T, S, G>(a, valid, step, g);
            __syncthreads();
            copy_ahead<T, S, G>(a, ahead, last, first_column, shared);
            cf_tile_product<T, S, false, true>(
                g, g + a.stage_bytes - S::columns * CF_GEMM_DEPTH * 2, acc);
            if (++stage == a.stages) stage = 0;
        }
        end_tile<T, S>(a, tile, first_column, acc, sums);
    }
    if (a.partials != nullptr) sums.finish(a.partials, part, a.shape.c, first_column);
}

template <typename T, typename S, cf_gather G>
static cf_err data_launch(cudaStream_t s, data_args a, int64_t parts)
{
    void (*kernel)(data_args) = data_kernel<T, S, G>;
    a.stage_bytes = (S::rows * (a.gy.a != nullptr ? 2 : 1) + S::columns) * CF_GEMM_DEPTH * 2;
    a.stages = cf_gemm_stages(a.stage_bytes);
    int bytes = a.stages * a.stage_bytes + cf_block_sums<S>::bytes;
    CF_TRY(cf_cuda_check(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "gemm data"));
    CF_LAUNCH(kernel, dim3((unsigned)(parts * a.across)), dim3(S::threads), (size_t)bytes, s, a);
    return cf_cuda_check(cudaGetLastError(), "gemm data");
}

template <typename T, typename S>
static cf_err data_by_gather(cudaStream_t s, const data_args &a, const cf_gemm_plan &p)
{
    return p.gather == CF_GATHER_POINT ? data_launch<T, S, CF_GATHER_POINT>(s, a, p.parts)
                                       : data_launch<T, S, CF_GATHER_TAPS>(s, a, p.parts);
}

template <typename T>
static cf_err data_by_tile(cudaStream_t s, const data_args &a, const cf_gemm_plan &p)
{
    return p.tile == CF_TILE_WIDE     ? data_by_gather<T, cf_tile_wide>(s, a, p)
           : p.tile == CF_TILE_NARROW ? data_by_gather<T, cf_tile_narrow>(s, a, p)
                                      : data_by_gather<T, cf_tile_small>(s, a, p);
}

cf_err cf_gemm_data(cudaStream_t s, const cf_conv_call *call, const cf_gemm_plan &p)
{
    data_args a = {};
    a.shape = p.shape;
    a.gy = call->gy;
    a.weights = call->weights;
    a.gin = call->gin;
    a.input = call->input_view.x;
    if (a.input != nullptr) {
        a.scale = call->input_view.scale;
        a.shift = call->input_view.shift;
        a.mean = call->input_mean;
        /* A view without scale has no activation. */
        a.slope = a.scale != nullptr ? cf_gemm_slope(&call->input_view) : 1.0f;
    }
    a.partials = call->partials;
    a.steps = (p.shape.length + CF_GEMM_DEPTH - 1) / CF_GEMM_DEPTH;
    a.down = p.down;
    a.across = p.across;
    a.group = p.group;
    a.cells = p.cells;
    return call->geometry->dtype == CF_BF16 ? data_by_tile<cf_bf16>(s, a, p)
                                            : data_by_tile<cf_f16>(s, a, p);
}
