/* How passes over [rows, c] are cut, loaded and summed: shared by normalisation and pooling.
 *
 * A thread keeps V consecutive channels (V = 8, or 1 where c is no multiple of 8) and walks down
 * the rows of its part, so that what belongs to a channel stays in registers. Cuts depend on shapes
 * alone. Read first: cf_cut, cf_place. */
#ifndef CF_KERNELS_CUDA_PASSES_CUH
#define CF_KERNELS_CUDA_PASSES_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

enum { CF_PASS_THREADS = 256, CF_OCTET = 8 };
/* Blocks of a pass that sums: one wave of an H100 (132 multiprocessors) with two to four blocks
 * each. Those of a pass that only writes may be more: they leave nothing behind. */
enum { CF_SUM_BLOCKS = 512, CF_SUM_ROWS = 16, CF_WRITE_BLOCKS = 2112, CF_WRITE_ROWS = 8 };
/* Blocks that sum one image: as many whatever its company is, so that its sums are its own. */
enum { CF_IMAGE_BLOCKS = 16 };

/* V consecutive elements in memory; eight 16-bit elements are one 16-byte access. */
template <typename T, int V> struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) cf_pack {
    T x[V];
};

template <typename T, int V> __device__ static inline cf_pack<T, V> cf_pack_load(const T *from)
{
    return *reinterpret_cast<const cf_pack<T, V> *>(from);
}

/* Elements as one word of 32 bits, the first lowest. */
__device__ static inline uint32_t cf_word_of(const float *x)
{
    return cf_float_bits(*x);
}
__device__ static inline uint32_t cf_word_of(const cf_bf16 *x)
{
    return x[0].bits | (uint32_t)x[1].bits << 16;
}
__device__ static inline uint32_t cf_word_of(const cf_f16 *x)
{
    return x[0].bits | (uint32_t)x[1].bits << 16;
}
__device__ static inline uint32_t cf_word_of(const uint8_t *x)
{
    return x[0] | (uint32_t)x[1] << 8 | (uint32_t)x[2] << 16 | (uint32_t)x[3] << 24;
}

/* By words and with a store that names its width: the compiler splits a plain one where it loses
 * sight of the alignment. To the second-level cache, where the next kernel finds it. */
template <typename T, int V>
__device__ static inline void cf_pack_store(T *to, const cf_pack<T, V> &pack)
{
    if constexpr (V == 1) {
        *to = pack.x[0];
    } else {
        constexpr int EACH = 4 / (int)sizeof(T), WORDS = V / EACH;
        uint32_t w[WORDS];
        for (int i = 0; i < WORDS; i++) w[i] = cf_word_of(pack.x + i * EACH);
        if constexpr (WORDS == 2) __stcg(reinterpret_cast<uint2 *>(to), make_uint2(w[0], w[1]));
        if constexpr (WORDS >= 4)
            for (int i = 0; i < WORDS; i += 4)
                __stcg(reinterpret_cast<uint4 *>(to) + i / 4,
                       make_uint4(w[i], w[i + 1], w[i + 2], w[i + 3]));
    }
}

/* What a thread keeps of a [c] array: elements channel .. channel + V - 1, or `other` without one.
 */
template <int V>
__device__ static inline void cf_keep(const float *from, int64_t channel, float other, float to[V])
{
    for (int i = 0; i < V; i++) to[i] = from == nullptr ? other : from[channel + i];
}

/* z of what the activation sees: slope 1 is no activation, 0 the rectifier. */
__device__ static inline float cf_activate(float x, float slope)
{
    return x > 0.0f ? x : x * slope;
}
static inline float cf_slope_of(const cf_cuda_view *view)
{
    return view->act == CF_ACT_NONE ? 1.0f : view->act == CF_ACT_RELU ? 0.0f : view->slope;
}
static inline int cf_vector_of(int64_t c)
{
    return c % CF_OCTET == 0 ? CF_OCTET : 1;
}

/* A block has `columns` x `groups` threads; neighbours in a block are neighbours in a row. */
struct cf_cut {
    int columns, groups, column_blocks;
    int64_t parts, rows_per_part;
};

static inline cf_cut cf_cut_of(int64_t rows, int64_t c, int most_blocks, int least_rows)
{
    int vector = cf_vector_of(c), wide = vector == 1 ? CF_PASS_THREADS : 32;
    int64_t all = c / vector;
    cf_cut cut;
    cut.column_blocks = (int)((all + wide - 1) / wide);
    cut.columns = (int)((all + cut.column_blocks - 1) / cut.column_blocks);
    cut.groups = CF_PASS_THREADS / cut.columns;
    int64_t most = most_blocks / cut.column_blocks, block_rows = (int64_t)cut.groups * least_rows;
    cut.parts = (rows + block_rows - 1) / block_rows;
    if (cut.parts > most) cut.parts = most;
    if (cut.parts < 1) cut.parts = 1;
    cut.rows_per_part = (rows + cut.parts - 1) / cut.parts;
    return cut;
}
/* n_images: 1 where rows are not divided; the image is blockIdx.z. */
static inline dim3 cf_cut_grid(const cf_cut &cut, int64_t n_images = 1)
{
    return dim3((unsigned)cut.column_blocks, (unsigned)cut.parts, (unsigned)n_images);
}
static inline dim3 cf_cut_block(const cf_cut &cut)
{
    return dim3((unsigned)(cut.columns * cut.groups));
}

/* What a thread of a cut works on: rows first, first + groups, ... below `end`. */
struct cf_place {
    int64_t channel, first, end;
};

template <int V>
__device__ static inline cf_place cf_place_of(const cf_cut &cut, int64_t rows, int64_t c)
{
    int t = (int)threadIdx.x;
    cf_place at;
    at.channel = ((int64_t)blockIdx.x * cut.columns + t % cut.columns) * V;
    int64_t from = (int64_t)blockIdx.y * cut.rows_per_part;
    at.first = from + t / cut.columns;
    at.end = from + cut.rows_per_part < rows ? from + cut.rows_per_part : rows;
    if (at.channel >= c) at.end = 0;
    return at;
}

/* Adds up what the threads of a block hold, group by group in order, into this part's row of
 * partials. sums: shared, [2 V][CF_PASS_THREADS], first sums before second ones. The whole block
 * calls. */
template <int V>
__device__ static inline void cf_block_sums(double (*sums)[CF_PASS_THREADS], const cf_cut &cut,
                                            int64_t c, double *partials)
{
    __syncthreads();
    int block = (int)blockDim.x, channels = cut.columns * V;
    int64_t base = (int64_t)blockIdx.x * channels;
    for (int k = (int)threadIdx.x; k < channels; k += block) {
        if (base + k >= c) continue;
        for (int which = 0; which < 2; which++) {
            const double *from = sums[which * V + k % V] + k / V;
            double sum = 0.0;
            for (int g = 0; g < cut.groups; g++) sum += from[g * cut.columns];
            partials[((int64_t)blockIdx.y * 2 + which) * c + base + k] = sum;
        }
    }
}

/* ---- joining partials -------------------------------------------------------------------------
 */

/* A block joins 16 channels with 16 threads each: thread g takes parts g, g + 16, ..., and the
 * sixteen sums are added in order. */
enum { CF_JOIN_CHANNELS = 16, CF_JOIN_GROUPS = 32 };

struct cf_two {
    double first, second;
};

static inline unsigned cf_join_blocks(int64_t c)
{
    return (unsigned)((c + CF_JOIN_CHANNELS - 1) / CF_JOIN_CHANNELS);
}

__device__ static inline int64_t cf_join_channel()
{
    return (int64_t)blockIdx.x * CF_JOIN_CHANNELS + threadIdx.x % CF_JOIN_CHANNELS;
}

/* Sums over all parts of partials [n_parts][2][c]; the whole block calls. True, with the result in
 * `out`, for the one thread of each channel. */
__device__ static inline bool cf_join(const double *partials, int64_t n_parts, int64_t c,
                                      cf_two *out)
{
    __shared__ cf_two shared[CF_JOIN_GROUPS][CF_JOIN_CHANNELS];
    int64_t channel = cf_join_channel();
    int x = (int)threadIdx.x % CF_JOIN_CHANNELS, group = (int)threadIdx.x / CF_JOIN_CHANNELS;
    cf_two sum = {0.0, 0.0};
    if (channel < c) {
#pragma unroll 8
        for (int64_t part = group; part < n_parts; part += CF_JOIN_GROUPS) {
            sum.first += partials[part * 2 * c + channel];
            sum.second += partials[(part * 2 + 1) * c + channel];
        }
    }
    shared[group][x] = sum;
    __syncthreads();
    if (group != 0 || channel >= c) return false;
    for (int g = 1; g < CF_JOIN_GROUPS; g++) {
        sum.first += shared[g][x].first;
        sum.second += shared[g][x].second;
    }
    *out = sum;
    return true;
}

#endif
