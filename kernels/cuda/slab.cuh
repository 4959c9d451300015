/* Grouped 3x3 convolutions as dense slabs of 32 channels: tiles, taps, and loading of tiles.
 *
 * A block keeps the filter of one slab in registers, as fragments for cf_mma, and walks over tiles
 * of the images. Of each tile it copies the pixels that the tile's cells look at (the halo) into
 * shared memory once, behind normalisation and activation; all taps read them from there. A cell is
 * an output pixel; where a gradient spreads over two rows and columns (data, stride 2), it is a
 * square of 2x2 output pixels, whose four phases use 4, 2, 2 and 1 taps.
 *
 * A group of up to 8 channels needs 8 rows of a slab's 32x32 filter for 8 of its columns, one of 16
 * needs 16: SPAN is that number, the rest are zeros that nobody multiplies. A product takes 16 rows
 * at once: two neighbouring taps of 8 channels (SPAN 8), or 16 channels of one tap.
 * Read first: cf_slab_tile. */
#ifndef CF_KERNELS_CUDA_SLAB_CUH
#define CF_KERNELS_CUDA_SLAB_CUH

#include "kernels/cuda/slab.h"
#include "kernels/cuda/warp.cuh"

#define CF_SLAB_CONST __host__ __device__ static constexpr int

enum {
    CF_SLAB_THREADS = 256,
    CF_SLAB_ROWS = 8,   /* cells of a tile, from top to bottom */
    CF_SLAB_PITCH = 40, /* 16-bit elements from pixel to pixel in shared memory: 80 bytes, so that
                         * the eight rows of an 8x8 matrix lie in different banks */
};

/* A tile of CF_SLAB_ROWS x WIDTH cells. STRIDE is the convolution's; DATA: its data gradient, which
 * gathers from gy. All numbers of taps are the same for rows and columns. */
template <int STRIDE_, int WIDTH_, bool DATA_> struct cf_slab_tile {
    static constexpr int STRIDE = STRIDE_, WIDTH = WIDTH_;
    static constexpr bool DATA = DATA_;
    static constexpr bool SPLIT = DATA && STRIDE == 2; /* cells are 2x2 output pixels */
    static constexpr int STEP = DATA ? 1 : STRIDE;     /* source pixels from cell to cell */
    static constexpr int REACH = SPLIT ? 2 : 3;        /* source pixels that a cell looks at */
    static constexpr int HALO_H = (CF_SLAB_ROWS - 1) * STEP + REACH;
    static constexpr int HALO_W = (WIDTH - 1) * STEP + REACH;
    static constexpr int PHASES = SPLIT ? 2 : 1;
    static constexpr int OUT_H = CF_SLAB_ROWS * PHASES, OUT_W = WIDTH * PHASES;

    /* Where a halo pixel lies in shared memory. With two pixels from cell to cell, even columns
     * come first, then odd ones: neighbouring cells then read neighbouring pixels. */
    CF_SLAB_CONST position(int y, int x)
    {
        return y * HALO_W + (STEP == 1 ? x : (x % 2) * ((HALO_W + 1) / 2) + x / 2);
    }
    /* The three taps of a direction, in the order in which they reach into the source: the filter's
     * row, how far from the cell's first source pixel, and the phase it adds to. gy's pixel a adds
     * to rows 2a, 2a+1, 2a+2 (plus padding) through taps 0, 1, 2. */
    CF_SLAB_CONST tap(int i) { return SPLIT ? (i == 0 ? 2 : i - 1) : DATA ? 2 - i : i; }
    CF_SLAB_CONST reach(int i) { return SPLIT ? i > 0 : i; }
    CF_SLAB_CONST phase(int i) { return SPLIT ? i == 2 : 0; }
};

/* How the columns of taps and the channels of a SPAN make rows of 16 for cf_mma. A use is one
 * product's worth of a tap row: halves 0 and 1 are its rows 0-7 and 8-15. A load is a fragment of
 * source pixels, which several uses may share. */
template <class TILE, int SPAN> struct cf_slab_span {
    static constexpr int PAIRS = SPAN == 32 ? 2 : 1; /* of chunks of 8 channels, for each tap */
    static constexpr int USES = SPAN == 8 ? 2 : 3 * PAIRS;
    static constexpr int LOADS = TILE::SPLIT ? (SPAN == 8 ? 1 : 2 * PAIRS) : USES;

    /* Tap column (-1: none, zeros) and chunk of one half of a use. */
    CF_SLAB_CONST column(int use, int half)
    {
        if (SPAN > 8) return use / PAIRS;
        if (use == 0) return half;
        return half == (TILE::SPLIT ? 1 : 0) ? 2 : -1;
    }
    CF_SLAB_CONST chunk(int use, int half) { return SPAN == 8 ? 0 : use % PAIRS * 2 + half; }
    CF_SLAB_CONST phase(int use)
    {
        return SPAN == 8 ? (TILE::SPLIT && use == 1) : TILE::phase(column(use, 0));
    }
    CF_SLAB_CONST load(int use)
    {
        if (SPAN == 8) return TILE::SPLIT ? 0 : use;
        return TILE::reach(column(use, 0)) * PAIRS + use % PAIRS;
    }
    /* What a load reads: the source column of its lower half, whether the upper half is one column
     * further (else one chunk), and the chunk. */
    CF_SLAB_CONST from(int load) { return SPAN == 8 ? load * 2 : load / PAIRS; }
    CF_SLAB_CONST beside(int load) { return SPAN == 8 && load == 0; }
    CF_SLAB_CONST first(int load) { return SPAN == 8 ? 0 : load % PAIRS * 2; }
};

/* The thread's number, which the compiler takes for a new one at each call: places computed from it
 * in a loop are then not kept in registers from one turn to the next, where they cost more than
 * computing them again. */
__device__ static inline int cf_slab_thread()
{
    int t = (int)threadIdx.x;
    asm volatile("" : "+r"(t));
    return t;
}

/* Two elements from and to a register. */
template <typename T> __device__ static inline float2 cf_slab_unpack(uint32_t bits)
{
    T low, high;
    low.bits = (uint16_t)bits;
    high.bits = (uint16_t)(bits >> 16);
    return make_float2(cf_to_float(low), cf_to_float(high));
}
template <typename T> __device__ static inline uint32_t cf_slab_pack(float low, float high)
{
    T a, b;
    cf_from_float(low, &a);
    cf_from_float(high, &b);
    return (uint32_t)a.bits | (uint32_t)b.bits << 16;
}

__device__ static inline void cf_slab_words(uint32_t word[4], const uint4 &v)
{
    word[0] = v.x;
    word[1] = v.y;
    word[2] = v.z;
    word[3] = v.w;
}

/* A slab's coefficients into shared memory, [4][32]: scale, other, shift, mean; zeros for NULL. */
__device__ static inline void cf_slab_coefficients(float *to, const float *scale,
                                                   const float *other, const float *shift,
                                                   const float *mean, int channel)
{
    int row = (int)threadIdx.x / 32, i = (int)threadIdx.x % 32;
    const float *from = row == 0 ? scale : row == 1 ? other : row == 2 ? shift : mean;
    if (row < 4) to[row * 32 + i] = from ? from[channel + i] : 0.0f;
}

/* Where a tile lies. */
struct cf_slab_place {
    int image, y, x; /* of the tile, in tiles */
    __device__ inline cf_slab_place(const cf_slab_args &a, int tile)
    {
        x = tile % a.tiles_x;
        y = tile / a.tiles_x % a.tiles_y;
        image = tile / a.tiles_x / a.tiles_y;
    }
};

/* A thread's share of a window of HEIGHT x WIDTH source pixels on its way into shared memory:
 * fetched while another tile is computed, stored when its place is free. PAIR: a gradient and the
 * tensor it belongs to. A thread's chunk of channels is always threadIdx.x % 4. */
template <int HEIGHT, int WIDTH, bool PAIR> struct cf_slab_window {
    static constexpr int LOADS = (HEIGHT * WIDTH * 4 + CF_SLAB_THREADS - 1) / CF_SLAB_THREADS;
    uint4 x[LOADS], y[PAIR ? LOADS : 1];
    unsigned inside; /* bit i: load i is in the image */

    __device__ inline void fetch(const cf_slab_source &s, int c, int channel, int image, int top,
                                 int left)
    {
        const int thread = cf_slab_thread();
        int64_t start = (int64_t)image * s.h * s.w * c + channel + thread % 4 * 8;
        inside = 0;
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            int pixel = (thread + i * CF_SLAB_THREADS) / 4;
            int row = top + pixel / WIDTH, col = left + pixel % WIDTH;
            x[i] = make_uint4(0, 0, 0, 0);
            if (PAIR) y[PAIR ? i : 0] = make_uint4(0, 0, 0, 0);
            if (pixel >= HEIGHT * WIDTH || row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
            int64_t at = start + (int64_t)((row * s.w + col) * c);
            x[i] = __ldg((const uint4 *)(s.x + at));
            if (PAIR && s.y) y[PAIR ? i : 0] = __ldg((const uint4 *)(s.y + at));
            inside |= 1u << i;
        }
    }

    /* What a tile's cells look at. */
    template <class TILE>
    __device__ inline void fetch_tile(const cf_slab_source &s, int c, int channel,
                                      const cf_slab_place &p)
    {
        fetch(s, c, channel, p.image, p.y * CF_SLAB_ROWS * TILE::STEP + s.first_y,
              p.x * TILE::WIDTH * TILE::STEP + s.first_x);
    }

    /* Behind normalisation and activation; zero outside of the image. TILE gives the places. */
    template <typename T, class PLACES>
    __device__ inline void store(const cf_slab_source &s, const float *coefficients, uint16_t *to)
    {
        const int thread = cf_slab_thread();
        const float *k = coefficients + thread % 4 * 8;
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            int pixel = (thread + i * CF_SLAB_THREADS) / 4;
            if (pixel >= HEIGHT * WIDTH) continue;
            uint4 v = x[i];
            if (s.scale && (inside >> i & 1u)) v = apply<T>(v, y[PAIR ? i : 0], k, s.slope);
            int at = PLACES::position(pixel / WIDTH, pixel % WIDTH);
            *(uint4 *)(to + at * CF_SLAB_PITCH + thread % 4 * 8) = v;
        }
    }

    template <typename T>
    __device__ static inline uint4 apply(const uint4 &x, const uint4 &y, const float *k,
                                         float slope)
    {
        uint32_t in[4], other[4];
        cf_slab_words(in, x);
        cf_slab_words(other, y);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float2 u = cf_slab_unpack<T>(in[j]);
            float2 scale = *(const float2 *)(k + 2 * j), shift = *(const float2 *)(k + 64 + 2 * j);
            if (PAIR) {
                float2 v = cf_slab_unpack<T>(other[j]);
                float2 b = *(const float2 *)(k + 32 + 2 * j);
                u.x = fmaf(u.x, scale.x, fmaf(v.x, b.x, shift.x));
                u.y = fmaf(u.y, scale.y, fmaf(v.y, b.y, shift.y));
            } else {
                u.x = fmaf(u.x, scale.x, shift.x);
                u.y = fmaf(u.y, scale.y, shift.y);
                u.x = u.x > 0.0f ? u.x : u.x * slope;
                u.y = u.y > 0.0f ? u.y : u.y * slope;
            }
            in[j] = cf_slab_pack<T>(u.x, u.y);
        }
        return make_uint4(in[0], in[1], in[2], in[3]);
    }
};

/* ---- launches: LAUNCH<T, TILE, SPAN>::run for what a geometry, its plan and its groups name
 * ------
 */

template <template <typename, class, int> class LAUNCH, typename T, class TILE>
static void cf_slab_by_span(cudaStream_t s, const cf_slab_plan *p, int span, const cf_slab_args *a)
{
    dim3 grid((unsigned)a->c / 32, (unsigned)p->parts);
    if (span == 8)
        LAUNCH<T, TILE, 8>::run(s, grid, a);
    else if (span == 16)
        LAUNCH<T, TILE, 16>::run(s, grid, a);
    else
        LAUNCH<T, TILE, 32>::run(s, grid, a);
}

template <template <typename, class, int> class LAUNCH, bool DATA, typename T>
static void cf_slab_by_tile(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                            const cf_slab_args *a)
{
    if (g->stride == 2)
        cf_slab_by_span<LAUNCH, T, cf_slab_tile<2, 8, DATA>>(s, p, span, a);
    else if (p->width == 8)
        cf_slab_by_span<LAUNCH, T, cf_slab_tile<1, 8, DATA>>(s, p, span, a);
    else
        cf_slab_by_span<LAUNCH, T, cf_slab_tile<1, 16, DATA>>(s, p, span, a);
}

template <template <typename, class, int> class LAUNCH, bool DATA>
static void cf_slab_launch(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                           const cf_slab_args *a)
{
    if (g->dtype == CF_BF16)
        cf_slab_by_tile<LAUNCH, DATA, cf_bf16>(s, g, p, span, a);
    else
        cf_slab_by_tile<LAUNCH, DATA, cf_f16>(s, g, p, span, a);
}

#endif
