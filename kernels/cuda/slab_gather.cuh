/* The kernel of the forward pass and of the data gradient: every cell of a tile gathers from the
 * source pixels around it. Read first: cf_slab_gather. */
#ifndef CF_KERNELS_CUDA_SLAB_GATHER_CUH
#define CF_KERNELS_CUDA_SLAB_GATHER_CUH

#include "kernels/cuda/slab.cuh"

/* How the eight warps share a tile: COLUMNS of 8 NT output channels times GROUPS of 16 MT cells. */
template <class TILE, int SPAN> struct cf_slab_share {
    /* Two chunks share fragments of the source, for as long as registers last. */
    static constexpr int NT = SPAN == 16 && !TILE::DATA ? 2 : 1;
    static constexpr int COLUMNS = 4 / NT;
    static constexpr int GROUPS = CF_SLAB_THREADS / 32 / COLUMNS;
    static constexpr int MT = CF_SLAB_ROWS * TILE::WIDTH / 16 / GROUPS;
    /* Source rows from one 16 cells to the next. */
    static constexpr int RISE = 16 / TILE::WIDTH * TILE::STEP;
    static constexpr int PHASES = TILE::PHASES * TILE::PHASES;
    /* See cf_slab_results. */
    static constexpr bool EARLY = TILE::DATA && !TILE::SPLIT && SPAN < 32;

    static constexpr int IN = TILE::HALO_H * TILE::HALO_W * CF_SLAB_PITCH;
    static constexpr int OUT = TILE::OUT_H * TILE::OUT_W * CF_SLAB_PITCH;
    static constexpr int TILES = (IN + OUT) * 2;
    /* The filter is laid out, and sums are joined, where tiles are at other times. */
    static constexpr int FILTER = 4 * 3 * cf_slab_span<TILE, SPAN>::USES * 2 * 32 * 4;
    static constexpr int JOINED = CF_SLAB_THREADS * 16 * 4;
    static constexpr int LARGER = FILTER > JOINED ? FILTER : JOINED;
    static constexpr int COEFFICIENTS = TILES > LARGER ? TILES : LARGER;
    static constexpr int BYTES = COEFFICIENTS + 8 * 32 * 4;
};

/* Elements (row, column) and (row + 1, column) of a tap of the slab's filter; a row is a channel of
 * the source, a column one of the result. */
template <bool DATA>
__device__ static inline uint32_t cf_slab_filter_pair(const cf_slab_args &a, int channel, int tap,
                                                      int row, int column)
{
    uint32_t pair = 0;
    int group = 1 << a.log_group;
    for (int i = 0; i < 2; i++) {
        if ((row + i) >> a.log_group != column >> a.log_group) continue;
        int k = DATA ? row + i : column, c = (DATA ? column : row + i) & (group - 1);
        int64_t at = ((int64_t)(channel + k) * 9 + tap) * group + c;
        pair |= (uint32_t)a.weights[at] << (16 * i);
    }
    return pair;
}

/* A warp's filter: fragments for every row of taps and every use. The block first lays out those of
 * all its warps in shared memory, so that few registers are busy with it. */
template <class TILE, int SPAN> struct cf_slab_filter {
    typedef cf_slab_span<TILE, SPAN> span;
    typedef cf_slab_share<TILE, SPAN> share;
    uint32_t b[3][span::USES][share::NT][2];

    /* Word [r][use][half] of a lane for 8 columns stands at [columns][r][use][half][lane]. */
    static constexpr int WORDS = 3 * span::USES * 2 * 32;

    __device__ static inline uint32_t word(const cf_slab_args &a, int channel, int i)
    {
        int lane = i % 32, half = i / 32 % 2, use = i / 64 % span::USES;
        int r = i / 64 / span::USES % 3, column = i / WORDS * 8;
        int s = span::column(use, half);
        if (s < 0) return 0;
        int row = column / SPAN * SPAN + span::chunk(use, half) * 8 + lane % 4 * 2;
        return cf_slab_filter_pair<TILE::DATA>(a, channel, TILE::tap(r) * 3 + TILE::tap(s), row,
                                               column + lane / 4);
    }

    __device__ inline void read(const cf_slab_args &a, int channel, uint32_t *scratch)
    {
        int thread = (int)threadIdx.x;
#pragma unroll 6
        for (int i = thread; i < 4 * WORDS; i += CF_SLAB_THREADS) scratch[i] = word(a, channel, i);
        __syncthreads();
        const uint32_t *from = scratch + thread % 32;
        from += thread / 32 % share::COLUMNS * share::NT * WORDS;
#pragma unroll
        for (int i = 0; i < 3 * span::USES * share::NT * 2; i++) {
            int half = i % 2, nt = i / 2 % share::NT;
            int use = i / 2 / share::NT % span::USES, r = i / 2 / share::NT / span::USES;
            b[r][use][nt][half] = from[nt * WORDS + ((r * span::USES + use) * 2 + half) * 32];
        }
        __syncthreads();
    }
};

/* One warp's products of a tile, rounded into `out`, [OUT_H][OUT_W] pixels. A fragment of source
 * pixels serves every cell and tap row that look at it. */
template <typename T, class TILE, int SPAN>
__device__ static inline void cf_slab_multiply(const cf_slab_filter<TILE, SPAN> &f,
                                               const uint16_t *in, uint16_t *out)
{
    typedef cf_slab_span<TILE, SPAN> span;
    typedef cf_slab_share<TILE, SPAN> share;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int column = warp % share::COLUMNS * share::NT;
    const int cell = warp / share::COLUMNS * share::MT * 16 + lane % 16;
    const int base = TILE::position(cell / TILE::WIDTH * TILE::STEP, 0) + cell % TILE::WIDTH;
    const uint16_t *from = in + base * CF_SLAB_PITCH + column * 8 / SPAN * SPAN;
    const int half = lane / 16;

    float sum[share::MT][share::PHASES][share::NT][4] = {};
#pragma unroll
    for (int row = 0; row < (share::MT - 1) * share::RISE + TILE::REACH; row++) {
#pragma unroll
        for (int load = 0; load < span::LOADS; load++) {
            bool needed = false;
            for (int i = 0; i < share::MT * 3; i++)
                needed |= i / 3 * share::RISE + TILE::reach(i % 3) == row;
            if (!needed) continue;
            int at = TILE::position(row, span::from(load)) * CF_SLAB_PITCH + span::first(load) * 8;
            int step = SPAN > 8 ? 8
                       : span::beside(load)
                           ? (TILE::position(0, 1) - TILE::position(0, 0)) * CF_SLAB_PITCH
                           : 0;
            uint32_t a[4];
            cf_ldmatrix_x4(a, from + half * step + at);
#pragma unroll
            for (int i = 0; i < share::MT * 3 * span::USES; i++) {
                int use = i % span::USES, r = i / span::USES % 3, m = i / span::USES / 3;
                if (m * share::RISE + TILE::reach(r) != row || span::load(use) != load) continue;
                int phase = TILE::phase(r) * TILE::PHASES + span::phase(use);
#pragma unroll
                for (int nt = 0; nt < share::NT; nt++)
                    cf_mma<T>(sum[m][phase][nt], a, f.b[r][use][nt]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < share::MT * share::PHASES * share::NT * 2; i++) {
        int low = i % 2, nt = i / 2 % share::NT, phase = i / 2 / share::NT % share::PHASES;
        int m = i / 2 / share::NT / share::PHASES;
        int at = warp / share::COLUMNS * share::MT * 16 + m * 16 + lane / 4 + low * 8;
        int y = at / TILE::WIDTH * TILE::PHASES + phase / TILE::PHASES;
        int x = at % TILE::WIDTH * TILE::PHASES + phase % TILE::PHASES;
        uint16_t *to = out + (y * TILE::OUT_W + x) * CF_SLAB_PITCH;
        *(uint32_t *)(to + (column + nt) * 8 + lane % 4 * 2) =
            cf_slab_pack<T>(sum[m][phase][nt][low * 2], sum[m][phase][nt][low * 2 + 1]);
    }
}

/* A thread's sums over the pixels that it writes: eight channels, first and second sums. In fp32:
 * a few hundred pixels each; joined in double. */
struct cf_slab_sums {
    float first[8], second[8];

    /* Joins those of a block's threads, in order, and writes them. scratch: [256][16]. */
    __device__ inline void join(float *scratch, double *partials, int c, int channel)
    {
        int t = (int)threadIdx.x;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            scratch[t * 16 + j] = first[j];
            scratch[t * 16 + 8 + j] = second[j];
        }
        __syncthreads();
        if (t >= 64) return;
        int row = t / 32, i = t % 32;
        double sum = 0.0;
        for (int from = i / 8; from < CF_SLAB_THREADS; from += 4)
            sum += (double)scratch[from * 16 + row * 8 + i % 8];
        partials[((int64_t)blockIdx.y * 2 + row) * c + channel + i] = sum;
    }
};

/* Eight channels of the gradient behind the input's activation, with their sums. The gradient was
 * rounded before a leaky slope multiplies it, and is rounded again. */
template <typename T>
__device__ static inline uint4 cf_slab_mask(const uint4 &g, const uint4 &x, const float *k,
                                            const cf_slab_source &input, cf_slab_sums *sums)
{
    uint32_t out[4], in[4];
    cf_slab_words(out, g);
    cf_slab_words(in, x);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        float2 v = cf_slab_unpack<T>(out[j]), u = cf_slab_unpack<T>(in[j]);
        if (input.scale) {
            if (!(fmaf(u.x, k[2 * j], k[64 + 2 * j]) > 0.0f)) v.x *= input.slope;
            if (!(fmaf(u.y, k[2 * j + 1], k[64 + 2 * j + 1]) > 0.0f)) v.y *= input.slope;
            out[j] = cf_slab_pack<T>(v.x, v.y);
            v = cf_slab_unpack<T>(out[j]);
        }
        sums->first[2 * j] += v.x;
        sums->first[2 * j + 1] += v.y;
        sums->second[2 * j] = fmaf(v.x, u.x - k[96 + 2 * j], sums->second[2 * j]);
        sums->second[2 * j + 1] = fmaf(v.y, u.y - k[96 + 2 * j + 1], sums->second[2 * j + 1]);
    }
    return make_uint4(out[0], out[1], out[2], out[3]);
}

template <typename T>
__device__ static inline void cf_slab_add_squares(const uint4 &y, cf_slab_sums *sums)
{
    uint32_t word[4];
    cf_slab_words(word, y);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        float2 v = cf_slab_unpack<T>(word[j]);
        sums->first[2 * j] += v.x;
        sums->first[2 * j + 1] += v.y;
        sums->second[2 * j] = fmaf(v.x, v.x, sums->second[2 * j]);
        sums->second[2 * j + 1] = fmaf(v.y, v.y, sums->second[2 * j + 1]);
    }
}

/* A thread's share of a tile's results: 16 bytes of each of WRITES pixels. EARLY: the input that
 * masks them is asked for before the products, where registers allow. */
template <class TILE, bool EARLY> struct cf_slab_results {
    static constexpr int WRITES = TILE::OUT_H * TILE::OUT_W * 4 / CF_SLAB_THREADS;
    uint4 input[EARLY ? WRITES : 1];

    /* Element of the result, -1 outside of the image. */
    __device__ static inline int64_t element(const cf_slab_args &a, const cf_slab_place &p,
                                             int thread, int i, int channel)
    {
        int pixel = (thread + i * CF_SLAB_THREADS) / 4;
        int row = a.out_y + p.y * TILE::OUT_H + pixel / TILE::OUT_W;
        int col = a.out_x + p.x * TILE::OUT_W + pixel % TILE::OUT_W;
        if (row < 0 || row >= a.out_h || col < 0 || col >= a.out_w) return -1;
        return (((int64_t)p.image * a.out_h + row) * a.out_w + col) * a.c + channel +
               thread % 4 * 8;
    }

    __device__ static inline uint4 input_at(const cf_slab_args &a, int64_t at)
    {
        return at >= 0 && a.input.x ? __ldg((const uint4 *)(a.input.x + at))
                                    : make_uint4(0, 0, 0, 0);
    }

    __device__ inline void fetch(const cf_slab_args &a, const cf_slab_place &p, int channel)
    {
        const int thread = cf_slab_thread();
#pragma unroll
        for (int i = 0; i < (EARLY ? WRITES : 0); i++)
            input[i] = input_at(a, element(a, p, thread, i, channel));
    }

    template <typename T>
    __device__ inline void write(const cf_slab_args &a, const cf_slab_place &p, int channel,
                                 const float *k, const uint16_t *out, cf_slab_sums *sums)
    {
        const int thread = cf_slab_thread();
#pragma unroll
        for (int i = 0; i < WRITES; i++) {
            int pixel = (thread + i * CF_SLAB_THREADS) / 4;
            int64_t at = element(a, p, thread, i, channel);
            if (at < 0) continue;
            uint4 v = *(const uint4 *)(out + pixel * CF_SLAB_PITCH + thread % 4 * 8);
            if (TILE::DATA)
                v = cf_slab_mask<T>(v, EARLY ? input[EARLY ? i : 0] : input_at(a, at),
                                    k + thread % 4 * 8, a.input, sums);
            else
                cf_slab_add_squares<T>(v, sums);
            *(uint4 *)(a.out + at) = v;
        }
    }
};

/* grid: slabs x parts. Shared memory: cf_slab_share::BYTES. While a tile is multiplied, the next
 * one is on its way in registers. */
template <typename T, class TILE, int SPAN, int BLOCKS>
__global__ void __launch_bounds__(CF_SLAB_THREADS, BLOCKS) cf_slab_gather(const cf_slab_args a)
{
    typedef cf_slab_share<TILE, SPAN> share;
    CF_SHARED(uint16_t, shared);
    uint16_t *in = shared, *out = shared + share::IN;
    float *coefficients = (float *)(shared + share::COEFFICIENTS / 2);
    const int channel = (int)blockIdx.x * 32;
    cf_slab_coefficients(coefficients, a.source.scale, a.source.other, a.source.shift, NULL,
                         channel);
    if (TILE::DATA)
        cf_slab_coefficients(coefficients + 128, a.input.scale, NULL, a.input.shift, a.mean,
                             channel);
    cf_slab_filter<TILE, SPAN> filter;
    filter.read(a, channel, (uint32_t *)shared);
    cf_slab_sums sums = {};
    cf_slab_window<TILE::HALO_H, TILE::HALO_W, TILE::DATA> window;
    cf_slab_results<TILE, share::EARLY> results;

    int tile = (int)blockIdx.y;
    window.template fetch_tile<TILE>(a.source, a.c, channel, cf_slab_place(a, tile));
    __syncthreads();
    window.template store<T, TILE>(a.source, coefficients, in);
    for (int next; tile < a.n_tiles; tile = next) {
        cf_slab_place here(a, tile);
        next = tile + (int)gridDim.y;
        __syncthreads();
        if (next < a.n_tiles)
            window.template fetch_tile<TILE>(a.source, a.c, channel, cf_slab_place(a, next));
        results.fetch(a, here, channel);
        cf_slab_multiply<T, TILE, SPAN>(filter, in, out);
        __syncthreads();
        results.template write<T>(a, here, channel, coefficients + 128, out, &sums);
        if (next < a.n_tiles) window.template store<T, TILE>(a.source, coefficients, in);
    }
    if (!a.partials) return;
    __syncthreads();
    sums.join((float *)shared, a.partials, a.c, channel);
}

#endif
