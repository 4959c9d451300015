/* dW[k][(r, s, c)] = sum over pixels m of gy[m][k] x[window of m][(r, s, c)].
 *
 * The reduction runs over pixels, down both tiles, which are transposed on the way to the tensor
 * cores. Pixels are cut into parts; each block writes fp32 sums of its part, joined later in order.
 * Read first: weights_kernel. */
#include "kernels/cuda/gemm_gather.cuh"

struct weights_args {
    cf_gemm_shape shape;
    const void *x;
    const float *scale, *shift; /* NULL: none */
    float slope;
    cf_cuda_gradient gy;
    float *gradient;
    int down, across, rows_per_part, stages, stage_bytes;
};

/* A block's piece: outputs, filter elements, pixels. */
struct weights_piece {
    int first_k, first_depth, first_row, end_row;
};

template <typename S> struct weights_tile {
    enum {
        width_g = S::rows / CF_CHUNK,
        width_x = S::columns / CF_CHUNK,
        copies_g = CF_GEMM_DEPTH * width_g / S::threads,
        copies_x = CF_GEMM_DEPTH * width_x / S::threads,
        bytes_g = S::rows * CF_GEMM_DEPTH * 2,
        bytes_x = S::columns * CF_GEMM_DEPTH * 2
    };
    static_assert(copies_g >= 1 && 2 * copies_x <= 8, "eight bits of validity a step");
};

template <typename T, typename S>
__device__ static inline void copy_gradient(const weights_args &a, const weights_piece &piece,
                                            int row, unsigned char *to)
{
    typedef weights_tile<S> W;
    int column = (int)threadIdx.x % W::width_g, down = (int)threadIdx.x / W::width_g;
    int k = piece.first_k + column * CF_CHUNK;
    const T *g = static_cast<const T *>(a.gy.g), *y = static_cast<const T *>(a.gy.y);
#pragma unroll
    for (int i = 0; i < W::copies_g; i++) {
        int at = down + i * (S::threads / W::width_g);
        bool valid = row + at < piece.end_row && k < a.shape.k;
        int64_t from = valid ? (int64_t)(row + at) * a.shape.k + k : 0;
        unsigned char *chunk = to + cf_chunk_at<W::width_g>(at, column);
        cf_copy_async_16(chunk, g + from, valid);
        if (a.gy.a != nullptr) cf_copy_async_16(chunk + W::bytes_g, y + from, valid);
    }
}

template <typename T, typename S, cf_gather G>
__device__ static inline uint32_t copy_x(const weights_args &a, const weights_piece &piece,
                                         const cf_taps &taps, int row, unsigned char *to)
{
    typedef weights_tile<S> W;
    int column = (int)threadIdx.x % W::width_x, down = (int)threadIdx.x / W::width_x;
    uint32_t valid = 0;
#pragma unroll
    for (int i = 0; i < W::copies_x; i++) {
        int at = down + i * (S::threads / W::width_x);
        /* Rows of the next part multiply zeros of this one's gradient: they must not be there at
         * all, or an infinity would spread. */
        cf_window window =
            cf_window_of<G>(a.shape, row + at < piece.end_row ? row + at : a.shape.rows);
        valid |= cf_gather_chunk<T, G>(a.shape, static_cast<const T *>(a.x), window, taps,
                                       to + cf_chunk_at<W::width_x>(at, column))
                 << 2 * i;
    }
    return valid;
}

/* The prologues on the chunks that this thread copied. */
template <typename T, typename S, cf_gather G>
__device__ static inline void join_operands(const weights_args &a, const weights_piece &piece,
                                            const cf_taps &taps, uint32_t valid, int row,
                                            unsigned char *tile)
{
    typedef weights_tile<S> W;
    if (a.gy.a != nullptr) {
        int column = (int)threadIdx.x % W::width_g, down = (int)threadIdx.x / W::width_g;
        int k = piece.first_k + column * CF_CHUNK;
        uint32_t rows = 0;
#pragma unroll
        for (int i = 0; i < W::copies_g; i++) {
            int at = down + i * (S::threads / W::width_g);
            rows |= (uint32_t)(row + at < piece.end_row && k < a.shape.k) << i;
        }
        cf_own_chunks<W::width_g, S::threads / W::width_g> own = {tile, down, column};
        cf_gradient_chunks<T, W::copies_g>(own, rows, a.gy, k, W::bytes_g);
    }
    if (a.scale != nullptr) {
        cf_own_chunks<W::width_x, S::threads / W::width_x> own = {tile + a.stage_bytes - W::bytes_x,
                                                                  (int)threadIdx.x / W::width_x,
                                                                  (int)threadIdx.x % W::width_x};
        cf_view_chunks<T, G, W::copies_x>(own, valid, a.scale, a.shift, a.slope, taps);
    }
}

template <typename T, typename S, cf_gather G>
__global__ void __launch_bounds__(S::threads, S::resident) weights_kernel(weights_args a)
{
    typedef weights_tile<S> W;
    CF_SHARED(unsigned char, shared);
    /* Neighbours in the grid read the same pixels. */
    int tiles = a.down * a.across, part = (int)blockIdx.x / tiles;
    int tile = (int)blockIdx.x - part * tiles, tile_down = tile / a.across;
    weights_piece piece = {tile_down * S::rows, (tile - tile_down * a.across) * S::columns,
                           part * a.rows_per_part, min((part + 1) * a.rows_per_part, a.shape.rows)};
    cf_taps taps =
        cf_taps_of<G>(a.shape, piece.first_depth + (int)threadIdx.x % W::width_x * CF_CHUNK);
    float acc[S::fragments][4][4];
    cf_clear<S>(acc);
    uint32_t valid = 0;
    int ahead = piece.first_row, to = 0, stage = 0;
    /* Starts some steps early, so that the loop has one place where copies start. */
    for (int row = piece.first_row - (a.stages - 1) * CF_GEMM_DEPTH; row < piece.end_row;
         row += CF_GEMM_DEPTH) {
        bool ready = row >= piece.first_row;
        unsigned char *g = shared + stage * a.stage_bytes;
        if (ready) {
            cf_wait_oldest(a.stages);
            join_operands<T, S, G>(a, piece, taps, valid >> 8 * (a.stages - 2) & 0xFFu, row, g);
            __syncthreads();
        }
        uint32_t bits = 0;
        if (ahead < piece.end_row) {
            unsigned char *next = shared + to * a.stage_bytes;
            copy_gradient<T, S>(a, piece, ahead, next);
            bits = copy_x<T, S, G>(a, piece, taps, ahead, next + a.stage_bytes - W::bytes_x);
        }
        valid = valid << 8 | bits;
        cf_copy_commit();
        ahead += CF_GEMM_DEPTH;
        if (++to == a.stages) to = 0;
        if (!ready) continue;
        /* The last tile of a stem's 196 taps is half empty. */
        if (G != CF_GATHER_IMAGE || piece.first_depth + cf_warp_column<S>() < a.shape.length)
            cf_tile_product<T, S, true, true>(g, g + a.stage_bytes - W::bytes_x, acc);
        if (++stage == a.stages) stage = 0;
    }
    float *out = a.gradient + (int64_t)part * a.shape.k * a.shape.length;
    int lane = (int)threadIdx.x % 32, k = piece.first_k + cf_warp_row<S>() + lane / 4;
    int depth = piece.first_depth + cf_warp_column<S>() + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 2 * S::fragments; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (k + 8 * i < a.shape.k && depth + 8 * j < a.shape.length)
                *reinterpret_cast<float2 *>(out + (int64_t)(k + 8 * i) * a.shape.length + depth +
                                            8 * j) =
                    make_float2(acc[i / 2][j][i % 2 * 2], acc[i / 2][j][i % 2 * 2 + 1]);
}

template <typename T, typename S, cf_gather G>
static cf_err weights_launch(cudaStream_t s, weights_args a, int64_t parts)
{
    void (*kernel)(weights_args) = weights_kernel<T, S, G>;
    a.stage_bytes =
        weights_tile<S>::bytes_g * (a.gy.a != nullptr ? 2 : 1) + weights_tile<S>::bytes_x;
    a.stages = cf_gemm_stages(a.stage_bytes);
    int bytes = a.stages * a.stage_bytes;
    CF_TRY(cf_cuda_check(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "gemm weights"));
    CF_LAUNCH(kernel, dim3((unsigned)(parts * a.down * a.across)), dim3(S::threads), (size_t)bytes,
              s, a);
    return cf_cuda_check(cudaGetLastError(), "gemm weights");
}

template <typename T, typename S>
static cf_err weights_by_gather(cudaStream_t s, const weights_args &a, const cf_gemm_plan &p)
{
    return p.gather == CF_GATHER_POINT ? weights_launch<T, S, CF_GATHER_POINT>(s, a, p.parts)
                                       : weights_launch<T, S, CF_GATHER_TAPS>(s, a, p.parts);
}

template <typename T>
static cf_err weights_by_tile(cudaStream_t s, const weights_args &a, const cf_gemm_plan &p)
{
    if (p.gather == CF_GATHER_IMAGE)
        return weights_launch<T, cf_tile_image, CF_GATHER_IMAGE>(s, a, p.parts);
    return p.tile == CF_TILE_WIDE     ? weights_by_gather<T, cf_tile_wide>(s, a, p)
           : p.tile == CF_TILE_NARROW ? weights_by_gather<T, cf_tile_narrow>(s, a, p)
                                      : weights_by_gather<T, cf_tile_small>(s, a, p);
}

cf_err cf_gemm_weights(cudaStream_t s, const cf_conv_call *call, const cf_gemm_plan &p)
{
    weights_args a = {};
    a.shape = p.shape;
    a.x = call->x.x;
    a.scale = call->x.scale;
    a.shift = call->x.shift;
    a.slope = cf_gemm_slope(&call->x);
    a.gy = call->gy;
    a.gradient = call->gradient;
    a.down = p.down;
    a.across = p.across;
    a.rows_per_part = p.rows_per_part;
    return call->geometry->dtype == CF_BF16 ? weights_by_tile<cf_bf16>(s, a, p)
                                            : weights_by_tile<cf_f16>(s, a, p);
}
