/* Grouped 3x3, gradient of the weights: products of source pixels and gradients, summed over the
 * pixels of a part's tiles in the accumulators of cf_mma. Read first: cf_slab_correlate. */
#include "kernels/cuda/slab.cuh"

/* How the eight warps share a tile: UNITS of the slab's filter times GROUPS of 16 MT cells. A unit
 * is 16 source channels (SPAN 8: 8, of two taps) times 8 result channels. */
template <class TILE, int SPAN> struct cf_slab_unit {
    static constexpr int UNITS = SPAN == 32 ? 8 : 4;
    static constexpr int GROUPS = CF_SLAB_THREADS / 32 / UNITS;
    static constexpr int MT = CF_SLAB_ROWS * TILE::WIDTH / 16 / GROUPS;
    static constexpr int RISE = 16 / TILE::WIDTH * TILE::STEP;
    static constexpr int LOADS = SPAN == 8 ? 2 : 3; /* fragments of a row of taps */
    static constexpr int SUMS = 3 * LOADS * 4;

    static constexpr int IN = TILE::HALO_H * TILE::HALO_W * CF_SLAB_PITCH;
    static constexpr int GRADIENT = CF_SLAB_ROWS * TILE::WIDTH * CF_SLAB_PITCH;
    static constexpr int TILES = (IN + GRADIENT) * 2;
    /* Groups of warps are joined where the tiles were. */
    static constexpr int JOINED = GROUPS == 1 ? 0 : UNITS * SUMS * 32 * 4;
    static constexpr int COEFFICIENTS = TILES > JOINED ? TILES : JOINED;
    static constexpr int BYTES = COEFFICIENTS + 8 * 32 * 4;

    /* Of a unit: its chunk of 8 result channels, its first of source channels. */
    __device__ static inline int result_chunk(int unit) { return unit % 4; }
    __device__ static inline int source_chunk(int unit)
    {
        return SPAN == 8 ? unit : SPAN == 16 ? unit / 2 * 2 : unit / 4 * 2;
    }
};

/* A gradient's cells have no halo and lie in their order. */
template <class TILE> struct cf_slab_plain {
    CF_SLAB_CONST position(int y, int x) { return y * TILE::WIDTH + x; }
};

/* Gradient fragments of a warp's cells: pixels are the rows of both operands, so both are loaded
 * transposed. Four 8x8 matrices are four times 8 pixels: the halves of two fragments. */
template <int MT>
__device__ static inline void cf_slab_load_gradient(const uint16_t *from, uint32_t b[MT][2])
{
    from += threadIdx.x % 32 * CF_SLAB_PITCH;
#pragma unroll
    for (int m = 0; m < MT; m += 2) {
        uint32_t r[4];
        cf_ldmatrix_x4_trans(r, from + m * 16 * CF_SLAB_PITCH);
        b[m][0] = r[0];
        b[m][1] = r[1];
        b[m + 1][0] = r[2];
        b[m + 1][1] = r[3];
    }
}

/* Adds a tile to a warp's sums, [tap row][load][4]. */
template <typename T, class TILE, int SPAN>
__device__ static inline void cf_slab_add_tile(const uint16_t *in, const uint16_t *gradient,
                                               float sum[3][cf_slab_unit<TILE, SPAN>::LOADS][4])
{
    typedef cf_slab_unit<TILE, SPAN> unit;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int mine = warp % unit::UNITS, first = warp / unit::UNITS * unit::MT * 16;
    uint32_t b[unit::MT][2];
    cf_slab_load_gradient<unit::MT>(gradient + first * CF_SLAB_PITCH + unit::result_chunk(mine) * 8,
                                    b);

    /* Matrices of a load: chunk (or tap) 0 and 1 of pixels 0-7, then of pixels 8-15. */
    const int cell = first + lane % 8 + lane / 16 * 8, half = lane / 8 % 2;
    const int base = TILE::position(cell / TILE::WIDTH * TILE::STEP, 0) + cell % TILE::WIDTH;
    const uint16_t *from = in + base * CF_SLAB_PITCH + unit::source_chunk(mine) * 8;
#pragma unroll
    for (int row = 0; row < (unit::MT - 1) * unit::RISE + 3; row++) {
        bool needed = false;
        for (int i = 0; i < unit::MT * 3; i++) needed |= i / 3 * unit::RISE + i % 3 == row;
        if (!needed) continue;
#pragma unroll
        for (int load = 0; load < unit::LOADS; load++) {
            int at = TILE::position(row, SPAN == 8 ? load * 2 : load) * CF_SLAB_PITCH;
            int step = SPAN > 8    ? 8
                       : load == 0 ? (TILE::position(0, 1) - TILE::position(0, 0)) * CF_SLAB_PITCH
                                   : 0;
            uint32_t a[4];
            cf_ldmatrix_x4_trans(a, from + half * step + at);
#pragma unroll
            for (int i = 0; i < unit::MT * 3; i++) {
                int r = i % 3, m = i / 3;
                if (m * unit::RISE + r == row) cf_mma<T>(sum[r][load], a, b[m]);
            }
        }
    }
}

/* Adds up the groups of warps, in order, in the first group's sums. scratch: [UNITS][SUMS][32]. */
template <class TILE, int SPAN>
__device__ static inline void cf_slab_join_groups(float *sum, float *scratch)
{
    typedef cf_slab_unit<TILE, SPAN> unit;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    float *mine = scratch + warp % unit::UNITS * unit::SUMS * 32 + lane;
    for (int group = 1; group < unit::GROUPS; group++) {
        __syncthreads();
        if (warp / unit::UNITS == group) {
#pragma unroll
            for (int i = 0; i < unit::SUMS; i++) mine[i * 32] = sum[i];
        }
        __syncthreads();
        if (warp / unit::UNITS == 0) {
#pragma unroll
            for (int i = 0; i < unit::SUMS; i++) sum[i] += mine[i * 32];
        }
    }
}

/* Writes the blocks of the diagonal. */
template <class TILE, int SPAN>
__device__ static inline void cf_slab_write_unit(const cf_slab_args &a, int channel,
                                                 const float *sum)
{
    typedef cf_slab_unit<TILE, SPAN> unit;
    const int lane = (int)threadIdx.x % 32, mine = (int)threadIdx.x / 32;
    const int group = 1 << a.log_group;
    float *to = a.weight_gradient + (int64_t)blockIdx.y * a.c * 9 * group;
#pragma unroll
    for (int i = 0; i < unit::SUMS; i++) {
        int low = i % 4 / 2, load = i / 4 % unit::LOADS, r = i / 4 / unit::LOADS;
        int s = SPAN > 8 ? load : load * 2 + low;
        int c = unit::source_chunk(mine) * 8 + lane / 4 + (SPAN > 8 ? low * 8 : 0);
        int k = unit::result_chunk(mine) * 8 + lane % 4 * 2 + i % 2;
        if (s > 2 || c >> a.log_group != k >> a.log_group) continue;
        to[((int64_t)(channel + k) * 9 + r * 3 + s) * group + (c & (group - 1))] = sum[i];
    }
}

/* grid: slabs x parts. Shared memory: cf_slab_unit::BYTES. While a tile is multiplied, the next one
 * is on its way in registers. */
template <typename T, class TILE, int SPAN, int BLOCKS>
__global__ void __launch_bounds__(CF_SLAB_THREADS, BLOCKS) cf_slab_correlate(const cf_slab_args a)
{
    typedef cf_slab_unit<TILE, SPAN> unit;
    CF_SHARED(uint16_t, shared);
    uint16_t *in = shared, *gradient = shared + unit::IN;
    float *coefficients = (float *)(shared + unit::COEFFICIENTS / 2);
    const int channel = (int)blockIdx.x * 32;
    cf_slab_coefficients(coefficients, a.source.scale, NULL, a.source.shift, NULL, channel);
    cf_slab_coefficients(coefficients + 128, a.gradient.scale, a.gradient.other, a.gradient.shift,
                         NULL, channel);
    float sum[3][unit::LOADS][4] = {};
    cf_slab_window<TILE::HALO_H, TILE::HALO_W, false> x;
    cf_slab_window<CF_SLAB_ROWS, TILE::WIDTH, true> g;

    int tile = (int)blockIdx.y;
    cf_slab_place first(a, tile);
    x.template fetch_tile<TILE>(a.source, a.c, channel, first);
    g.fetch(a.gradient, a.c, channel, first.image, first.y * CF_SLAB_ROWS, first.x * TILE::WIDTH);
    __syncthreads();
    for (int next; tile < a.n_tiles; tile = next) {
        x.template store<T, TILE>(a.source, coefficients, in);
        g.template store<T, cf_slab_plain<TILE>>(a.gradient, coefficients + 128, gradient);
        __syncthreads();
        next = tile + (int)gridDim.y;
        if (next < a.n_tiles) {
            cf_slab_place there(a, next);
            x.template fetch_tile<TILE>(a.source, a.c, channel, there);
            g.fetch(a.gradient, a.c, channel, there.image, there.y * CF_SLAB_ROWS,
                    there.x * TILE::WIDTH);
        }
        cf_slab_add_tile<T, TILE, SPAN>(in, gradient, sum);
        __syncthreads();
    }
    cf_slab_join_groups<TILE, SPAN>(&sum[0][0][0], (float *)shared);
    if ((int)threadIdx.x / 32 < unit::UNITS)
        cf_slab_write_unit<TILE, SPAN>(a, channel, &sum[0][0][0]);
}

template <typename T, class TILE, int SPAN> struct correlate {
    static void run(cudaStream_t s, dim3 grid, const cf_slab_args *a)
    {
        CF_LAUNCH((cf_slab_correlate<T, TILE, SPAN, 2>), grid, CF_SLAB_THREADS,
                  (cf_slab_unit<TILE, SPAN>::BYTES), s, *a);
    }
};

void cf_slab_weights(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                     const cf_slab_args *a)
{
    cf_slab_launch<correlate, false>(s, g, p, span, a);
}
