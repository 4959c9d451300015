/* The backward half of the normalisation: sums over the gradient, their joining, gradient of y. */
#include "kernels/cuda/passes.cuh"

/* As in norm.cu; a row of this pass has more to load. Two is what the loops below are written for.
 */
enum { TOGETHER = 2, FLUSH = 32 };

/* Where the sign of what the activation saw comes from: its mask, or y * scale + shift. */
enum sign_source { NO_SIGN, SIGN_OF_MASK, SIGN_OF_VALUE };

static sign_source sign_of(const cf_cuda_norm_pass *p)
{
    if (p->y.act == CF_ACT_NONE) return NO_SIGN;
    return p->mask != nullptr ? SIGN_OF_MASK : SIGN_OF_VALUE;
}

/* ---- reduce -----------------------------------------------------------------------------------
 */

/* Bits of V elements from e on: one byte, or one bit of it. */
template <int V> __device__ static inline unsigned mask_bits(const uint8_t *mask, int64_t e)
{
    unsigned byte = mask[e / CF_OCTET];
    return V == CF_OCTET ? byte : byte >> (e % CF_OCTET) & 1u;
}

/* V elements of each of the rows under way, `n` of them (the rest is left as it is). */
template <typename T, int V>
__device__ static inline void load_rows(const void *from, int64_t e, int64_t step, int n,
                                        cf_pack<T, V> to[TOGETHER])
{
    const T *at = static_cast<const T *>(from) + e;
#pragma unroll
    for (int k = 0; k < TOGETHER; k++)
        if (k < n) to[k] = cf_pack_load<T, V>(at + k * step);
}

/* g of the rows under way: the sum of the contributions in their order. */
template <typename T, int V>
__device__ static inline void add_contributions(const cf_cuda_norm_pass &p, int64_t e, int64_t step,
                                                int n, float g[TOGETHER][V])
{
    for (int k = 0; k < TOGETHER; k++)
        for (int i = 0; i < V; i++) g[k][i] = -0.0f; /* -0 + x is x, also for x = -0 */
#pragma unroll 1
    for (int m = 0; m < p.n_contributions; m++) {
        cf_pack<T, V> part[TOGETHER] = {};
        load_rows<T, V>(p.contributions[m], e, step, n, part);
        for (int k = 0; k < TOGETHER; k++)
            for (int i = 0; i < V; i++) g[k][i] += cf_to_float(part[k].x[i]);
    }
}

template <int V> struct reduce_channels {
    int64_t channel;           /* the first, of the image's own where there are such */
    float mean[V], s[V], q[V]; /* sums of g and of g (y - mean) since the last flush */
};

/* The signs of y * scale + shift; without a normalisation y is the node's output. The factors are
 * read again for each row, from the nearest cache: kept, they would take the registers that the
 * rows under way need. */
template <typename T, int V>
__device__ static inline unsigned value_bits(const cf_cuda_view &y, int64_t channel,
                                             const cf_pack<T, V> &x)
{
    cf_pack<float, V> scale, shift;
    for (int i = 0; i < V; i++) scale.x[i] = 1.0f;
    for (int i = 0; i < V; i++) shift.x[i] = 0.0f;
    if (y.scale != nullptr) {
        scale = cf_pack_load<float, V>(y.scale + channel);
        shift = cf_pack_load<float, V>(y.shift + channel);
    }
    unsigned bits = 0;
    for (int i = 0; i < V; i++)
        bits |= (fmaf(cf_to_float(x.x[i]), scale.x[i], shift.x[i]) > 0.0f ? 1u : 0u) << i;
    return bits;
}

/* g of one row behind the activation, as rounded for storage: written and summed. */
template <typename T, int V>
__device__ static inline void reduce_row(const cf_cuda_norm_pass &p, sign_source sign, int64_t e,
                                         const cf_pack<T, V> &y, unsigned bits, const float g[V],
                                         reduce_channels<V> &n)
{
    cf_pack<T, V> out;
    if (sign == SIGN_OF_VALUE) bits = value_bits<T, V>(p.y, n.channel, y);
    for (int i = 0; i < V; i++) {
        float value = cf_to_float(y.x[i]);
        bool up = sign == NO_SIGN || (bits >> i & 1u) != 0;
        cf_from_float(up ? g[i] : g[i] * p.y.slope, &out.x[i]);
        float rounded = cf_to_float(out.x[i]);
        n.s[i] += rounded;
        if (p.mean != nullptr) n.q[i] = fmaf(rounded, value - n.mean[i], n.q[i]);
    }
    if (p.masked != nullptr) cf_pack_store<T, V>(static_cast<T *>(p.masked) + e, out);
}

template <int V>
__device__ static inline void flush(double (*sums)[CF_PASS_THREADS], reduce_channels<V> &n)
{
    for (int i = 0; i < V; i++) {
        sums[i][threadIdx.x] += (double)n.s[i];
        sums[V + i][threadIdx.x] += (double)n.q[i];
        n.s[i] = n.q[i] = 0.0f;
    }
}

template <int V>
__device__ static inline void start(const cf_cuda_norm_pass &p, const cf_place &at,
                                    double (*sums)[CF_PASS_THREADS], reduce_channels<V> &n)
{
    for (int i = 0; i < V; i++) {
        n.s[i] = n.q[i] = 0.0f;
        sums[i][threadIdx.x] = sums[V + i][threadIdx.x] = 0.0;
    }
    n.channel = at.channel + (p.y.per_image ? (int64_t)blockIdx.z * p.c : 0);
    cf_keep<V>(at.first < at.end ? p.mean : nullptr, n.channel, 0.0f, n.mean);
}

template <typename T, int V>
__global__ void __launch_bounds__(CF_PASS_THREADS, 2)
    reduce_kernel(cf_cuda_norm_pass p, sign_source sign, cf_cut cut, double *partials)
{
    __shared__ double sums[2 * V][CF_PASS_THREADS];
    cf_place at = cf_place_of<V>(cut, p.rows, p.c);
    reduce_channels<V> n;
    start<V>(p, at, sums, n);
    bool read_y = p.mean != nullptr || sign == SIGN_OF_VALUE;
    int64_t base = (int64_t)blockIdx.z * p.rows * p.c;
    int64_t step = (int64_t)cut.groups * p.c, end = base + at.end * p.c;
    int rows = 0;
#pragma unroll 1
    for (int64_t e = base + at.first * p.c + at.channel; e < end; e += TOGETHER * step) {
        int count = e + step < end ? TOGETHER : 1;
        cf_pack<T, V> x[TOGETHER] = {};
        unsigned bits[TOGETHER] = {};
        float g[TOGETHER][V];
        if (read_y) load_rows<T, V>(p.y.x, e, step, count, x);
        if (sign == SIGN_OF_MASK)
            for (int k = 0; k < count; k++) bits[k] = mask_bits<V>(p.mask, e + k * step);
        add_contributions<T, V>(p, e, step, count, g);
#pragma unroll
        for (int k = 0; k < TOGETHER; k++)
            if (k < count) reduce_row<T, V>(p, sign, e + k * step, x[k], bits[k], g[k], n);
        rows += TOGETHER;
        if (rows % FLUSH == 0) flush<V>(sums, n);
    }
    flush<V>(sums, n);
    cf_block_sums<V>(sums, cut, p.c, partials + (int64_t)blockIdx.z * cut.parts * 2 * p.c);
}

template <typename T>
static void launch_reduce(cudaStream_t stream, const cf_cuda_norm_pass &p, sign_source sign,
                          double *partials)
{
    bool divided = p.n_images > 0;
    int64_t n = divided ? p.n_images : 1;
    cf_cuda_norm_pass image = p;
    image.rows = p.rows / n;
    int blocks = CF_SUM_BLOCKS;
    if (divided) blocks = CF_IMAGE_BLOCKS;
    cf_cut cut = cf_cut_of(image.rows, p.c, blocks, CF_SUM_ROWS);
    auto *kernel = cf_vector_of(p.c) == CF_OCTET ? reduce_kernel<T, CF_OCTET> : reduce_kernel<T, 1>;
    CF_LAUNCH(kernel, cf_cut_grid(cut, n), cf_cut_block(cut), 0, stream, image, sign, cut,
              partials);
}

cf_err cf_cuda_norm_reduce(cudaStream_t s, const cf_cuda_norm_pass *pass, double *partials)
{
    cf_cuda_norm_pass p = *pass;
    p.y.slope = cf_slope_of(&pass->y);
    CF_BY_DTYPE(p.dtype, launch_reduce, s, p, sign_of(pass), partials);
    return cf_cuda_check(cudaGetLastError(), "batch-norm gradient sums");
}

/* ---- finish -----------------------------------------------------------------------------------
 */

__global__ void __launch_bounds__(CF_JOIN_CHANNELS *CF_JOIN_GROUPS)
    reduce_finish_kernel(const double *partials, int64_t n_parts, int64_t rows, int64_t c,
                         const float *gamma, cf_cuda_norm n, float *dgamma, float *dbeta)
{
    cf_two sum;
    if (!cf_join(partials, n_parts, c, &sum)) return;
    int64_t i = cf_join_channel();
    double count = (double)rows, rstd = (double)n.rstd[i], a = (double)gamma[i] * rstd;
    double b = -a * rstd * rstd * sum.second / count;
    dbeta[i] = (float)sum.first;
    dgamma[i] = (float)(sum.second * rstd);
    n.a[i] = (float)a;
    n.b[i] = (float)b;
    n.d[i] = (float)(-a * sum.first / count - b * (double)n.mean[i]);
}

cf_err cf_cuda_norm_reduce_finish(cudaStream_t s, const double *partials, int64_t n_parts,
                                  int64_t rows, int64_t c, const float *gamma,
                                  const cf_cuda_norm *n, float *dgamma, float *dbeta)
{
    CF_LAUNCH(reduce_finish_kernel, cf_join_blocks(c), CF_JOIN_CHANNELS * CF_JOIN_GROUPS, 0, s,
              partials, n_parts, rows, c, gamma, *n, dgamma, dbeta);
    return cf_cuda_check(cudaGetLastError(), "batch-norm gradient finish");
}

__global__ void __launch_bounds__(CF_JOIN_CHANNELS *CF_JOIN_GROUPS)
    bias_finish_kernel(const double *partials, int64_t n_parts, int64_t c, float *dbias)
{
    cf_two sum;
    if (cf_join(partials, n_parts, c, &sum)) dbias[cf_join_channel()] = (float)sum.first;
}

cf_err cf_cuda_bias_finish(cudaStream_t s, const double *partials, int64_t n_parts, int64_t c,
                           float *dbias)
{
    CF_LAUNCH(bias_finish_kernel, cf_join_blocks(c), CF_JOIN_CHANNELS * CF_JOIN_GROUPS, 0, s,
              partials, n_parts, c, dbias);
    return cf_cuda_check(cudaGetLastError(), "bias gradient finish");
}

/* ---- backward ---------------------------------------------------------------------------------
 */

/* gy = a g + b y + d for V channels of a thread, two rows under way. With several images (the
 * block's is blockIdx.z, of `rows` rows) a, b and d are each one's own. */
template <typename T, int V>
__global__ void __launch_bounds__(CF_PASS_THREADS, 3)
    backward_kernel(int64_t rows, int64_t c, cf_cuda_gradient from, T *gy, cf_cut cut)
{
    cf_place at = cf_place_of<V>(cut, rows, c);
    if (at.first >= at.end) return;
    const T *g = static_cast<const T *>(from.g), *y = static_cast<const T *>(from.y);
    float a[V], b[V], d[V];
    int64_t channel = at.channel + (int64_t)blockIdx.z * c;
    cf_keep<V>(from.a, channel, 1.0f, a);
    cf_keep<V>(from.b, channel, 0.0f, b);
    cf_keep<V>(from.d, channel, 0.0f, d);
    int64_t base = (int64_t)blockIdx.z * rows * c;
    int64_t step = (int64_t)cut.groups * c, end = base + at.end * c;
    for (int64_t e = base + at.first * c + at.channel; e < end; e += TOGETHER * step) {
        cf_pack<T, V> x[TOGETHER], grad[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (e + k * step >= end) continue;
            grad[k] = cf_pack_load<T, V>(g + e + k * step);
            x[k] = cf_pack_load<T, V>(y + e + k * step);
        }
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (e + k * step >= end) continue;
            for (int i = 0; i < V; i++) {
                float rest = fmaf(cf_to_float(x[k].x[i]), b[i], d[i]);
                cf_from_float(fmaf(cf_to_float(grad[k].x[i]), a[i], rest), &grad[k].x[i]);
            }
            cf_pack_store<T, V>(gy + e + k * step, grad[k]);
        }
    }
}

template <typename T>
static void launch_backward(cudaStream_t stream, int64_t n_images, int64_t rows, int64_t c,
                            const cf_cuda_gradient &g, void *gy)
{
    cf_cut cut = cf_cut_of(rows, c, (int)(CF_WRITE_BLOCKS / n_images), CF_WRITE_ROWS);
    auto *kernel =
        cf_vector_of(c) == CF_OCTET ? backward_kernel<T, CF_OCTET> : backward_kernel<T, 1>;
    CF_LAUNCH(kernel, cf_cut_grid(cut, n_images), cf_cut_block(cut), 0, stream, rows, c, g,
              static_cast<T *>(gy), cut);
}

cf_err cf_cuda_image_backward(cudaStream_t s, cf_dtype dtype, int64_t n_images, int64_t rows,
                              int64_t c, const cf_cuda_gradient *g, void *gy)
{
    CF_BY_DTYPE(dtype, launch_backward, s, n_images, rows, c, *g, gy);
    return cf_cuda_check(cudaGetLastError(), "normalisation backward");
}

cf_err cf_cuda_norm_backward(cudaStream_t s, cf_dtype dtype, int64_t rows, int64_t c,
                             const cf_cuda_gradient *g, void *gy)
{
    if (g->a == nullptr) { /* nothing to apply: the gradient as it is */
        if (gy == g->g) return CF_OK;
        size_t bytes = (size_t)(rows * c) * cf_dtype_bytes(dtype);
        return cf_cuda_check(cudaMemcpyAsync(gy, g->g, bytes, cudaMemcpyDeviceToDevice, s),
                             "gradient copy");
    }
    return cf_cuda_image_backward(s, dtype, 1, rows, c, g, gy);
}
