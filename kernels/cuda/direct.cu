/* Any convolution in any type on ordinary cores: matrix products over gathered operands.
 *
 * A block computes a tile of rows x columns of the result, in steps of DEPTH terms that it gathers
 * into shared memory; a thread keeps ROWS x COLUMNS sums. Terms are added in one order, by shape
 * alone. Forward: rows are output pixels, columns output channels, terms (r, s, channel). Data: the
 * same with input pixels, input channels and the gradient. Weights (direct_weights.cu): rows output
 * channels, columns (r, s, channel), terms pixels. */
#include "kernels/cuda/direct.cuh"

/* What the gathered product reads and writes. Forward: from x, to y; data: from gy, to gin. */
struct product {
    cf_geometry g;
    const void *from, *weights;
    void *to;
    int h, w;       /* of `from` */
    int rows, cols; /* pixels of `to` in one image: rows x cols */
    int terms, n;   /* a group's channels of `from`, of `to` */
};

/* A pixel of `to`: where its window starts in `from`, in units of `from` times stride (data). */
struct origin {
    int image, y, x; /* image -1: none */
};

template <bool DATA> __device__ static inline origin origin_of(const product &p, int64_t pixel)
{
    origin o = {-1, 0, 0};
    int64_t each = (int64_t)p.rows * p.cols;
    if (pixel >= each * p.g.n) return o;
    o.image = (int)(pixel / each);
    int rest = (int)(pixel % each), y = rest / p.cols, x = rest % p.cols;
    o.y = DATA ? y + p.g.pad_top : y * p.g.stride - p.g.pad_top;
    o.x = DATA ? x + p.g.pad_left : x * p.g.stride - p.g.pad_left;
    return o;
}

/* One element of `from`, or 0 where (r, s) of the window at `o` meets none. */
template <typename T, bool DATA>
__device__ static inline float gathered(const product &p, const origin &o, int r, int s,
                                        int channel)
{
    if (o.image < 0) return 0.0f;
    int y = DATA ? o.y - r : o.y + r, x = DATA ? o.x - s : o.x + s;
    if (DATA) { /* only output pixels that the stride reaches */
        if (y % p.g.stride != 0 || x % p.g.stride != 0) return 0.0f;
        y /= p.g.stride;
        x /= p.g.stride;
    }
    if (y < 0 || x < 0 || y >= p.h || x >= p.w) return 0.0f;
    int64_t at = ((int64_t)o.image * p.h + y) * p.w + x;
    return cf_to_float(static_cast<const T *>(p.from)[at * p.terms * p.g.groups + channel]);
}

/* The filter's element for term (tap, channel) and column `n` of group `group`. */
template <typename T, bool DATA>
__device__ static inline float filter_at(const product &p, int group, int tap, int channel, int n)
{
    int64_t taps = (int64_t)p.g.kernel * p.g.kernel;
    int64_t k = (int64_t)group * (DATA ? p.terms : p.n) + (DATA ? channel : n);
    int64_t at = (k * taps + tap) * (DATA ? p.n : p.terms) + (DATA ? n : channel);
    return cf_to_float(static_cast<const T *>(p.weights)[at]);
}

template <typename T, bool DATA, typename TILE>
__global__ void __launch_bounds__(TILE::THREADS) product_kernel(product p)
{
    __shared__ cf_tile_memory<TILE> memory;
    constexpr int A_LOADS = TILE::M * TILE::DEPTH / TILE::THREADS;
    constexpr int STEP = TILE::THREADS / TILE::DEPTH;
    int t = (int)threadIdx.x, depth = t % TILE::DEPTH, group = (int)blockIdx.z;
    int64_t first = (int64_t)blockIdx.x * TILE::M;
    int first_n = (int)blockIdx.y * TILE::N;
    origin at[A_LOADS];
    for (int i = 0; i < A_LOADS; i++)
        at[i] = origin_of<DATA>(p, first + t / TILE::DEPTH + i * STEP);
    float sums[TILE::ROWS][TILE::COLUMNS] = {};
    int all = p.g.kernel * p.g.kernel * p.terms;
    for (int k = 0; k < all; k += TILE::DEPTH) {
        int term = k + depth, tap = term / p.terms, channel = term % p.terms;
        int r = tap / p.g.kernel, s = tap % p.g.kernel;
        for (int i = 0; i < A_LOADS; i++)
            memory.a[depth][t / TILE::DEPTH + i * STEP] =
                term < all ? gathered<T, DATA>(p, at[i], r, s, group * p.terms + channel) : 0.0f;
        for (int i = t; i < TILE::N * TILE::DEPTH; i += TILE::THREADS) {
            int d = DATA ? i / TILE::N : i % TILE::DEPTH, n = DATA ? i % TILE::N : i / TILE::DEPTH;
            int tap_b = (k + d) / p.terms, channel_b = (k + d) % p.terms;
            bool there = k + d < all && first_n + n < p.n;
            memory.b[d][n] =
                there ? filter_at<T, DATA>(p, group, tap_b, channel_b, first_n + n) : 0.0f;
        }
        __syncthreads();
        cf_tile_multiply<TILE>(memory, sums);
        __syncthreads();
    }
    int64_t pixels = (int64_t)p.g.n * p.rows * p.cols;
    T *to = static_cast<T *>(p.to);
    for (int i = 0; i < TILE::ROWS; i++) {
        int64_t pixel = first + cf_tile_row<TILE>() + i;
        for (int j = 0; j < TILE::COLUMNS; j++) {
            int n = first_n + cf_tile_column<TILE>() + j;
            if (pixel < pixels && n < p.n)
                cf_from_float(sums[i][j], &to[(pixel * p.g.groups + group) * p.n + n]);
        }
    }
}

template <typename T, bool DATA, typename TILE>
static void launch_tile(cudaStream_t stream, const product &p)
{
    int64_t pixels = (int64_t)p.g.n * p.rows * p.cols;
    dim3 grid((unsigned)((pixels + TILE::M - 1) / TILE::M),
              (unsigned)((p.n + TILE::N - 1) / TILE::N), (unsigned)p.g.groups);
    auto *kernel = product_kernel<T, DATA, TILE>;
    CF_LAUNCH(kernel, grid, dim3(TILE::THREADS), 0, stream, p);
}

typedef cf_tile<64, 64, 4, 4> wide_tile;
typedef cf_tile<64, 8, 4, 1> narrow_tile; /* groups of few channels */

template <typename T, bool DATA> static void launch_product(cudaStream_t stream, const product &p)
{
    if (p.n <= 16)
        launch_tile<T, DATA, narrow_tile>(stream, p);
    else
        launch_tile<T, DATA, wide_tile>(stream, p);
}

template <typename T> static void launch_pass(cudaStream_t stream, const cf_conv_call *call)
{
    const cf_geometry &g = *call->geometry;
    if (call->pass == CF_CONV_FORWARD) {
        product p = {g,   call->x.x, call->weights, call->y,        g.h,
                     g.w, g.p,       g.q,           g.c / g.groups, g.k / g.groups};
        launch_product<T, false>(stream, p);
    } else {
        product p = {g,   call->gy.g, call->weights, call->gin,      g.p,
                     g.q, g.h,        g.w,           g.k / g.groups, g.c / g.groups};
        launch_product<T, true>(stream, p);
    }
}

static bool direct_supports(const cf_geometry *g, cf_conv_pass pass)
{
    (void)pass;
    int64_t most = INT32_MAX;
    return g->groups <= CF_DIRECT_MOST_GROUPS && (int64_t)g->n * g->h * g->w < most &&
           (int64_t)g->n * g->p * g->q < most &&
           (int64_t)g->kernel * g->kernel * (g->c > g->k ? g->c : g->k) < most;
}

static int64_t direct_parts(const cf_geometry *g, cf_conv_pass pass)
{
    return pass == CF_CONV_WEIGHTS ? cf_direct_weight_parts(g) : 1;
}

static cf_err direct_run(cudaStream_t s, const cf_conv_call *call)
{
    if (call->x.scale != nullptr || call->gy.a != nullptr || call->input_view.x != nullptr ||
        call->partials != nullptr)
        return cf_cuda_check(cudaErrorInvalidValue, "direct convolution: cannot fuse");
    if (call->pass == CF_CONV_WEIGHTS) {
        cf_direct_weights(s, call);
    } else {
        CF_BY_DTYPE(call->geometry->dtype, launch_pass, s, call);
    }
    return cf_cuda_check(cudaGetLastError(), "direct convolution");
}

const cf_conv_kernel cf_conv_direct = {"direct", false, direct_supports, direct_parts, direct_run};
