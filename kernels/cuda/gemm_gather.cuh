/* From NHWC pixels to chunks of a tile, and the prologues that run on them.
 *
 * A pixel of the result and a chunk of the reduction name eight elements of the input (IMAGE: two
 * times four), or zeros outside of it. Read first: cf_window, cf_taps. */
#ifndef CF_KERNELS_CUDA_GEMM_GATHER_CUH
#define CF_KERNELS_CUDA_GEMM_GATHER_CUH

#include "kernels/cuda/gemm.cuh"

/* Where a pixel of the output looks at the input. POINT: `pixel` alone, negative for no pixel. Else
 * the window's first pixel counted through the whole tensor (negative in the padding of the first
 * image), and its row and column in the image, 16 bits each. */
struct cf_window {
    int pixel, corner;
};
static constexpr int CF_CORNER_NOWHERE = INT32_MIN; /* row -32768: no tap is inside */

__device__ static inline int cf_corner(int row, int column)
{
    return (int)((uint32_t)row << 16 | (uint16_t)column);
}
__device__ static inline int cf_corner_row(int corner)
{
    return corner >> 16;
}
__device__ static inline int cf_corner_column(int corner)
{
    return (int16_t)(uint16_t)corner;
}

template <cf_gather G>
__device__ static inline cf_window cf_window_of(const cf_gemm_shape &s, int row)
{
    if (G == CF_GATHER_POINT) return {row < s.rows ? row : -1, 0};
    int line = cf_divide(row, s.by_q), q = row - line * s.q;
    int n = cf_divide(line, s.by_p), p = line - n * s.p;
    int h = p * s.stride - s.pad_top, w = q * s.stride - s.pad_left;
    return {(n * s.h + h) * s.w + w, row < s.rows ? cf_corner(h, w) : CF_CORNER_NOWHERE};
}

/* What a chunk of the reduction is: its tap and first channel; IMAGE: two taps. */
struct cf_taps {
    int channel, r[2], s[2];
    bool valid[2];
};

template <cf_gather G>
__device__ static inline cf_taps cf_taps_of(const cf_gemm_shape &s, int depth)
{
    cf_taps t = {depth, {0, 0}, {0, 0}, {depth < s.length, false}};
    if (G == CF_GATHER_POINT) return t;
    int tap = cf_divide(depth, s.by_c);
    t.channel = G == CF_GATHER_IMAGE ? 0 : depth - tap * s.c;
    for (int i = 0; i < (G == CF_GATHER_IMAGE ? 2 : 1); i++) {
        t.r[i] = cf_divide(tap + i, s.by_kernel);
        t.s[i] = tap + i - t.r[i] * s.kernel;
        t.valid[i] = t.r[i] < s.kernel;
    }
    return t;
}

/* Starts the copy of a chunk of x. Bit i: half i is real, not padding (without IMAGE bit 0 stands
 * for the whole chunk). */
template <typename T, cf_gather G>
__device__ static inline uint32_t cf_gather_chunk(const cf_gemm_shape &s, const T *x,
                                                  const cf_window &window, const cf_taps &t,
                                                  unsigned char *to)
{
    if (G == CF_GATHER_POINT) {
        bool valid = t.valid[0] && window.pixel >= 0;
        cf_copy_async_16(to, x + (valid ? (int64_t)window.pixel * s.c + t.channel : 0), valid);
        return valid;
    }
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < (G == CF_GATHER_IMAGE ? 2 : 1); i++) {
        int h = cf_corner_row(window.corner) + t.r[i], w = cf_corner_column(window.corner) + t.s[i];
        bool valid = t.valid[i] && (unsigned)h < (unsigned)s.h && (unsigned)w < (unsigned)s.w;
        int64_t pixel = valid ? window.pixel + t.r[i] * s.w + t.s[i] : 0;
        const T *from = x + (pixel * s.c + (valid ? t.channel : 0));
        if (G == CF_GATHER_IMAGE)
            cf_copy_async_8(to + 8 * i, from, valid);
        else
            cf_copy_async_16(to, from, valid);
        bits |= (uint32_t)valid << i;
    }
    return bits;
}

/* ---- prologues, on half a chunk at a time: factors of four channels take few registers ----------
 */

__device__ static inline void cf_read_four(const float *from, float to[4])
{
    float4 v = *reinterpret_cast<const float4 *>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
template <typename T>
__device__ static inline void cf_read_half(const unsigned char *from, float to[4])
{
    uint2 v = *reinterpret_cast<const uint2 *>(from);
    to[0] = cf_to_float(T{(uint16_t)v.x}), to[1] = cf_to_float(T{(uint16_t)(v.x >> 16)});
    to[2] = cf_to_float(T{(uint16_t)v.y}), to[3] = cf_to_float(T{(uint16_t)(v.y >> 16)});
}
template <typename T>
__device__ static inline void cf_write_half(unsigned char *to, const float from[4])
{
    *reinterpret_cast<uint2 *>(to) =
        make_uint2(cf_two<T>(from[0], from[1]), cf_two<T>(from[2], from[3]));
}

/* A thread's chunks of a tile: column `column` of rows `row`, row + STEP, ... */
template <int WIDTH, int STEP> struct cf_own_chunks {
    unsigned char *tile;
    int row, column;
    /* The half that comes first: neighbours take different ones, so that sixteen lanes use all
     * banks of shared memory. Wider tiles are the weight gradient's, which has no register left for
     * it. */
    __device__ int first_half() const { return WIDTH == 8 ? row & 1 : 0; }
    __device__ unsigned char *half(int i, int half) const
    {
        return tile + cf_chunk_at<WIDTH>(row + i * STEP, column) + 8 * half;
    }
};

/* act(x scale + shift) in place. valid: two bits a chunk, of cf_gather_chunk; padding stays zero.
 */
template <typename T, cf_gather G, int N, int WIDTH, int STEP>
__device__ static inline void cf_view_chunks(const cf_own_chunks<WIDTH, STEP> &own, uint32_t valid,
                                             const float *scale, const float *shift, float slope,
                                             const cf_taps &t)
{
    if (valid == 0) return;
#pragma unroll
    for (int turn = 0; turn < 2; turn++) {
        int half = turn ^ own.first_half();
        int channel = t.channel + (G == CF_GATHER_IMAGE ? 0 : 4 * half);
        int bit = G == CF_GATHER_IMAGE ? half : 0;
        float factor[4], offset[4], x[4];
        cf_read_four(scale + channel, factor);
        cf_read_four(shift + channel, offset);
#pragma unroll
        for (int i = 0; i < N; i++) {
            if ((valid >> (2 * i + bit) & 1) == 0) continue;
            cf_read_half<T>(own.half(i, half), x);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                float y = fmaf(x[e], factor[e], offset[e]);
                x[e] = y > 0.0f ? y : y * slope;
            }
            cf_write_half<T>(own.half(i, half), x);
        }
    }
}

/* a g + b y + d in place of g; `behind`: bytes from a chunk of g to that of y. valid: a bit a
 * chunk; with any set, channel is one of the tensor's. */
template <typename T, int N, int WIDTH, int STEP>
__device__ static inline void cf_gradient_chunks(const cf_own_chunks<WIDTH, STEP> &own,
                                                 uint32_t valid, const cf_cuda_gradient &gradient,
                                                 int channel, int behind)
{
    if (valid == 0) return;
#pragma unroll
    for (int turn = 0; turn < 2; turn++) {
        int half = turn ^ own.first_half();
        float a[4], b[4], d[4], g[4], y[4];
        cf_read_four(gradient.a + channel + 4 * half, a);
        cf_read_four(gradient.b + channel + 4 * half, b);
        cf_read_four(gradient.d + channel + 4 * half, d);
#pragma unroll
        for (int i = 0; i < N; i++) {
            if ((valid >> i & 1) == 0) continue;
            cf_read_half<T>(own.half(i, half), g);
            cf_read_half<T>(own.half(i, half) + behind, y);
#pragma unroll
            for (int e = 0; e < 4; e++) g[e] = fmaf(a[e], g[e], fmaf(b[e], y[e], d[e]));
            cf_write_half<T>(own.half(i, half), g);
        }
    }
}

#endif
