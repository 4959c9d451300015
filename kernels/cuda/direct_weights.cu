/* The weight gradient of the direct convolution: rows are a group's output channels, columns its
 * (r, s, channel), terms the output pixels of one part. */
#include "kernels/cuda/direct.cuh"

/* Blocks in all, parts and pixels of a part; terms added before they go into a second sum, so that
 * the error does not grow with the number of pixels. */
enum { BLOCKS = 528, MOST_PARTS = 128, LEAST_PIXELS = 256, FLUSH = 256 };

typedef cf_tile<64, 64, 4, 4> wide_tile;
typedef cf_tile<8, 32, 1, 2> narrow_tile; /* groups of few channels */

static bool is_narrow(const cf_geometry *g)
{
    return g->k / g->groups <= 16;
}

template <typename TILE> static dim3 tiles_of(const cf_geometry *g)
{
    int m = g->k / g->groups, n = g->kernel * g->kernel * (g->c / g->groups);
    return dim3((unsigned)((m + TILE::M - 1) / TILE::M), (unsigned)((n + TILE::N - 1) / TILE::N));
}

int64_t cf_direct_weight_parts(const cf_geometry *g)
{
    dim3 tiles = is_narrow(g) ? tiles_of<narrow_tile>(g) : tiles_of<wide_tile>(g);
    int64_t pixels = (int64_t)g->n * g->p * g->q;
    int64_t parts = BLOCKS / ((int64_t)tiles.x * tiles.y * g->groups);
    int64_t most = (pixels + LEAST_PIXELS - 1) / LEAST_PIXELS;
    if (parts > MOST_PARTS) parts = MOST_PARTS;
    if (parts > most) parts = most;
    return parts < 1 ? 1 : parts;
}

struct weights_product {
    cf_geometry g;
    const void *x, *gy;
    float *gradient;
    int64_t pixels_per_part;
};

/* A column of the tile: an element of a filter. */
struct filter_element {
    int r, s, channel; /* channel over all groups; -1: past the end */
};

__device__ static inline filter_element element_of(const cf_geometry &g, int group, int n)
{
    int each = g.c / g.groups, tap = n / each;
    filter_element f = {tap / g.kernel, tap % g.kernel, group * each + n % each};
    if (tap >= g.kernel * g.kernel) f.channel = -1;
    return f;
}

/* x under the filter's element `f` of the window at output pixel `pixel`. */
template <typename T>
__device__ static inline float under(const weights_product &p, int64_t pixel,
                                     const filter_element &f)
{
    if (f.channel < 0) return 0.0f;
    int each = p.g.p * p.g.q, image = (int)(pixel / each), rest = (int)(pixel % each);
    int y = rest / p.g.q * p.g.stride - p.g.pad_top + f.r;
    int x = rest % p.g.q * p.g.stride - p.g.pad_left + f.s;
    if (y < 0 || x < 0 || y >= p.g.h || x >= p.g.w) return 0.0f;
    int64_t at = ((int64_t)image * p.g.h + y) * p.g.w + x;
    return cf_to_float(static_cast<const T *>(p.x)[at * p.g.c + f.channel]);
}

template <typename TILE>
__device__ static inline void flush(float sums[TILE::ROWS][TILE::COLUMNS],
                                    float total[TILE::ROWS][TILE::COLUMNS])
{
    for (int i = 0; i < TILE::ROWS; i++) {
        for (int j = 0; j < TILE::COLUMNS; j++) {
            total[i][j] += sums[i][j];
            sums[i][j] = 0.0f;
        }
    }
}

/* blockIdx.z counts groups, then parts. */
template <typename T, typename TILE>
__global__ void __launch_bounds__(TILE::THREADS) weights_kernel(weights_product p)
{
    __shared__ cf_tile_memory<TILE> memory;
    constexpr int STEP = TILE::THREADS / TILE::N;
    int t = (int)threadIdx.x, outs = p.g.k / p.g.groups, group = (int)blockIdx.z % p.g.groups;
    int64_t part = blockIdx.z / p.g.groups, pixels = (int64_t)p.g.n * p.g.p * p.g.q;
    int64_t first = part * p.pixels_per_part, end = first + p.pixels_per_part;
    if (end > pixels) end = pixels;
    int first_m = (int)blockIdx.x * TILE::M, first_n = (int)blockIdx.y * TILE::N;
    filter_element f = element_of(p.g, group, first_n + t % TILE::N);
    float sums[TILE::ROWS][TILE::COLUMNS] = {}, total[TILE::ROWS][TILE::COLUMNS] = {};
    for (int64_t k = first; k < end; k += TILE::DEPTH) {
        for (int i = t; i < TILE::M * TILE::DEPTH; i += TILE::THREADS) {
            int d = i / TILE::M, m = i % TILE::M;
            bool there = k + d < end && first_m + m < outs;
            int64_t at = (k + d) * p.g.k + group * outs + first_m + m;
            memory.a[d][m] = there ? cf_to_float(static_cast<const T *>(p.gy)[at]) : 0.0f;
        }
        for (int d = t / TILE::N; d < TILE::DEPTH; d += STEP)
            memory.b[d][t % TILE::N] = k + d < end ? under<T>(p, k + d, f) : 0.0f;
        __syncthreads();
        cf_tile_multiply<TILE>(memory, sums);
        __syncthreads();
        if ((k - first) % FLUSH == FLUSH - TILE::DEPTH) flush<TILE>(sums, total);
    }
    flush<TILE>(sums, total);
    int n_columns = p.g.kernel * p.g.kernel * (p.g.c / p.g.groups);
    for (int i = 0; i < TILE::ROWS; i++) {
        int m = first_m + cf_tile_row<TILE>() + i;
        for (int j = 0; j < TILE::COLUMNS; j++) {
            int n = first_n + cf_tile_column<TILE>() + j;
            int64_t to = (part * p.g.k + group * outs + m) * n_columns + n;
            if (m < outs && n < n_columns) p.gradient[to] = total[i][j];
        }
    }
}

template <typename T, typename TILE>
static void launch_tile(cudaStream_t stream, const weights_product &p, int64_t parts)
{
    dim3 grid = tiles_of<TILE>(&p.g);
    grid.z = (unsigned)(p.g.groups * parts);
    auto *kernel = weights_kernel<T, TILE>;
    CF_LAUNCH(kernel, grid, dim3(TILE::THREADS), 0, stream, p);
}

template <typename T>
static void launch_weights(cudaStream_t stream, const weights_product &p, int64_t parts)
{
    if (is_narrow(&p.g))
        launch_tile<T, narrow_tile>(stream, p, parts);
    else
        launch_tile<T, wide_tile>(stream, p, parts);
}

void cf_direct_weights(cudaStream_t stream, const cf_conv_call *call)
{
    const cf_geometry *g = call->geometry;
    int64_t parts = cf_direct_weight_parts(g), pixels = (int64_t)g->n * g->p * g->q;
    weights_product p = {*g, call->x.x, call->gy.g, call->gradient, (pixels + parts - 1) / parts};
    CF_BY_DTYPE(g->dtype, launch_weights, stream, p, parts);
}
