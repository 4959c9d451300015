/* The forward half of the normalisation: statistics, their joining, scale + residual + activation.
 */
#include "kernels/cuda/passes.cuh"

/* Rows that a thread has under way at once; rows summed in fp32 before they go into a double. */
enum { TOGETHER = 4, FLUSH = 32 };

/* ---- statistics -------------------------------------------------------------------------------
 */

int64_t cf_cuda_norm_parts(int64_t rows, int64_t c)
{
    return cf_cut_of(rows, c, CF_SUM_BLOCKS, CF_SUM_ROWS).parts;
}

int64_t cf_cuda_image_parts(int64_t rows, int64_t c)
{
    return cf_cut_of(rows, c, CF_IMAGE_BLOCKS, CF_SUM_ROWS).parts;
}

/* Sums of deviations from the channel's first element, so that a mean far from zero costs no
 * digits; `n` deviations were summed since the last call. */
template <int V>
__device__ static inline void flush(double (*sums)[CF_PASS_THREADS], float s[V], float q[V])
{
    for (int i = 0; i < V; i++) {
        sums[i][threadIdx.x] += (double)s[i];
        sums[V + i][threadIdx.x] += (double)q[i];
        s[i] = q[i] = 0.0f;
    }
}

/* From deviations around the pivot to plain sums, in double: nothing is lost that matters. */
template <int V>
__device__ static inline void unpivot(double (*sums)[CF_PASS_THREADS], const float pivot[V],
                                      double count)
{
    int t = (int)threadIdx.x;
    for (int i = 0; i < V; i++) {
        double p = (double)pivot[i], s = sums[i][t];
        sums[V + i][t] += 2.0 * p * s + count * p * p;
        sums[i][t] = s + count * p;
    }
}

template <typename T, int V>
__global__ void __launch_bounds__(CF_PASS_THREADS, 2)
    statistics_kernel(const T *y, int64_t rows, int64_t c, cf_cut cut, double *partials)
{
    __shared__ double sums[2 * V][CF_PASS_THREADS];
    cf_place at = cf_place_of<V>(cut, rows, c);
    y += (int64_t)blockIdx.z * rows * c;
    float pivot[V], s[V], q[V];
    for (int i = 0; i < V; i++) {
        pivot[i] = at.first < at.end ? cf_to_float(y[at.channel + i]) : 0.0f;
        s[i] = q[i] = 0.0f;
        sums[i][threadIdx.x] = sums[V + i][threadIdx.x] = 0.0;
    }
    int64_t n = at.first < at.end ? (at.end - at.first + cut.groups - 1) / cut.groups : 0;
    const T *from = y + at.first * c + at.channel;
    partials += (int64_t)blockIdx.z * cut.parts * 2 * c;
    int64_t pitch = (int64_t)cut.groups * c;
#pragma unroll 1
    for (int64_t j = 0; j < n; j += TOGETHER) {
        cf_pack<T, V> x[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++)
            if (j + k < n) x[k] = cf_pack_load<T, V>(from + (j + k) * pitch);
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (j + k >= n) continue;
            for (int i = 0; i < V; i++) {
                float deviation = cf_to_float(x[k].x[i]) - pivot[i];
                s[i] += deviation;
                q[i] = fmaf(deviation, deviation, q[i]);
            }
        }
        if (j % FLUSH == FLUSH - TOGETHER) flush<V>(sums, s, q);
    }
    flush<V>(sums, s, q);
    unpivot<V>(sums, pivot, (double)n);
    cf_block_sums<V>(sums, cut, c, partials);
}

template <typename T>
static void launch_statistics(cudaStream_t stream, const void *y, const cf_cut &cut,
                              int64_t n_images, int64_t rows, int64_t c, double *partials)
{
    auto *kernel =
        cf_vector_of(c) == CF_OCTET ? statistics_kernel<T, CF_OCTET> : statistics_kernel<T, 1>;
    CF_LAUNCH(kernel, cf_cut_grid(cut, n_images), cf_cut_block(cut), 0, stream,
              static_cast<const T *>(y), rows, c, cut, partials);
}

cf_err cf_cuda_statistics(cudaStream_t s, cf_dtype dtype, const void *y, int64_t rows, int64_t c,
                          double *partials)
{
    cf_cut cut = cf_cut_of(rows, c, CF_SUM_BLOCKS, CF_SUM_ROWS);
    CF_BY_DTYPE(dtype, launch_statistics, s, y, cut, 1, rows, c, partials);
    return cf_cuda_check(cudaGetLastError(), "batch-norm statistics");
}

cf_err cf_cuda_image_statistics(cudaStream_t s, cf_dtype dtype, const void *y, int64_t n_images,
                                int64_t rows, int64_t c, double *partials)
{
    cf_cut cut = cf_cut_of(rows, c, CF_IMAGE_BLOCKS, CF_SUM_ROWS);
    CF_BY_DTYPE(dtype, launch_statistics, s, y, cut, n_images, rows, c, partials);
    return cf_cuda_check(cudaGetLastError(), "group-norm statistics");
}

/* What a joining pass needs of a node; bias, mean_out, unbiased_out may be NULL. */
struct finish_args {
    int64_t n_parts, rows, c;
    float eps;
    const float *gamma, *beta, *bias;
    float *mean_out, *unbiased_out;
};

__global__ void __launch_bounds__(CF_JOIN_CHANNELS *CF_JOIN_GROUPS)
    finish_kernel(const double *partials, finish_args f, cf_cuda_norm n)
{
    cf_two sum;
    if (!cf_join(partials, f.n_parts, f.c, &sum)) return;
    int64_t i = cf_join_channel();
    double count = (double)f.rows, mean = sum.first / count;
    double squares = sum.second - sum.first * mean;
    squares = squares < 0.0 ? 0.0 : squares; /* a NaN stays one */
    double rstd = 1.0 / sqrt(squares / count + (double)f.eps);
    n.mean[i] = (float)mean;
    n.rstd[i] = (float)rstd;
    n.scale[i] = (float)((double)f.gamma[i] * rstd);
    n.shift[i] = (float)((double)f.beta[i] - mean * (double)f.gamma[i] * rstd);
    double bias = f.bias == nullptr ? 0.0 : (double)f.bias[i];
    if (f.mean_out != nullptr) f.mean_out[i] = (float)(mean + bias);
    if (f.unbiased_out != nullptr)
        f.unbiased_out[i] = (float)(squares / (count > 1.0 ? count - 1.0 : 1.0));
}

cf_err cf_cuda_norm_finish(cudaStream_t s, const double *partials, int64_t n_parts, int64_t rows,
                           int64_t c, float eps, const float *gamma, const float *beta,
                           const float *bias, const cf_cuda_norm *n, float *mean_out,
                           float *unbiased_out)
{
    finish_args f = {n_parts, rows, c, eps, gamma, beta, bias, mean_out, unbiased_out};
    CF_LAUNCH(finish_kernel, cf_join_blocks(c), CF_JOIN_CHANNELS * CF_JOIN_GROUPS, 0, s, partials,
              f, *n);
    return cf_cuda_check(cudaGetLastError(), "batch-norm finish");
}

__global__ void __launch_bounds__(CF_PASS_THREADS)
    from_running_kernel(int64_t c, float eps, const float *gamma, const float *beta,
                        const float *bias, const float *mean, const float *var, cf_cuda_norm n)
{
    int64_t i = (int64_t)blockIdx.x * CF_PASS_THREADS + threadIdx.x;
    if (i >= c) return;
    double rstd = 1.0 / sqrt((double)var[i] + (double)eps);
    double seen = (double)mean[i] - (bias == nullptr ? 0.0 : (double)bias[i]);
    n.mean[i] = mean[i];
    n.rstd[i] = (float)rstd;
    n.scale[i] = (float)((double)gamma[i] * rstd);
    n.shift[i] = (float)((double)beta[i] - seen * (double)gamma[i] * rstd);
}

cf_err cf_cuda_norm_from_running(cudaStream_t s, int64_t c, float eps, const float *gamma,
                                 const float *beta, const float *bias, const float *mean,
                                 const float *var, const cf_cuda_norm *n)
{
    unsigned blocks = (unsigned)((c + CF_PASS_THREADS - 1) / CF_PASS_THREADS);
    CF_LAUNCH(from_running_kernel, blocks, CF_PASS_THREADS, 0, s, c, eps, gamma, beta, bias, mean,
              var, *n);
    return cf_cuda_check(cudaGetLastError(), "batch norm from running moments");
}

/* ---- apply ------------------------------------------------------------------------------------
 */

/* What a thread keeps of its channels: without a scale it is 1, and 1 x + 0 is x in every bit that
 * counts. */
template <int V> struct apply_channels {
    float scale[V], shift[V], rscale[V], rshift[V];
};

/* One octet: writes z and the byte of the mask. p.y.slope is what cf_slope_of says. */
template <typename T>
__device__ static inline void
apply_octet(const cf_cuda_norm_pass &p, int64_t e, const cf_pack<T, CF_OCTET> &y,
            const cf_pack<T, CF_OCTET> &r, const apply_channels<CF_OCTET> &n)
{
    cf_pack<T, CF_OCTET> z;
    unsigned bits = 0;
    for (int i = 0; i < CF_OCTET; i++) {
        float x = fmaf(cf_to_float(y.x[i]), n.scale[i], n.shift[i]);
        if (p.residual.x != nullptr) x += fmaf(cf_to_float(r.x[i]), n.rscale[i], n.rshift[i]);
        bits |= (x > 0.0f ? 1u : 0u) << i;
        cf_from_float(cf_activate(x, p.y.slope), &z.x[i]);
    }
    cf_pack_store<T, CF_OCTET>(static_cast<T *>(p.z) + e, z);
    if (p.mask != nullptr) p.mask[e / CF_OCTET] = (uint8_t)bits;
}

/* Where an image's own scale and shift begin. */
__device__ static inline int64_t own_channels(const cf_cuda_view &v, int64_t image, int64_t c)
{
    return v.per_image ? image * c : 0;
}

/* p.rows: of an image, which is blockIdx.z. */
template <typename T>
__global__ void __launch_bounds__(CF_PASS_THREADS) apply_kernel(cf_cuda_norm_pass p, cf_cut cut)
{
    cf_place at = cf_place_of<CF_OCTET>(cut, p.rows, p.c);
    if (at.first >= at.end) return;
    const T *y = static_cast<const T *>(p.y.x), *r = static_cast<const T *>(p.residual.x);
    apply_channels<CF_OCTET> n;
    int64_t channel = at.channel + own_channels(p.y, blockIdx.z, p.c);
    cf_keep<CF_OCTET>(p.y.scale, channel, 1.0f, n.scale);
    cf_keep<CF_OCTET>(p.y.shift, channel, 0.0f, n.shift);
    channel = at.channel + own_channels(p.residual, blockIdx.z, p.c);
    cf_keep<CF_OCTET>(p.residual.scale, channel, 1.0f, n.rscale);
    cf_keep<CF_OCTET>(p.residual.shift, channel, 0.0f, n.rshift);
    int64_t base = (int64_t)blockIdx.z * p.rows * p.c;
    int64_t step = (int64_t)cut.groups * p.c, end = base + at.end * p.c;
    for (int64_t e = base + at.first * p.c + at.channel; e < end; e += TOGETHER * step) {
        cf_pack<T, CF_OCTET> x[TOGETHER], more[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (e + k * step >= end) continue;
            x[k] = cf_pack_load<T, CF_OCTET>(y + e + k * step);
            if (r != nullptr) more[k] = cf_pack_load<T, CF_OCTET>(r + e + k * step);
        }
#pragma unroll
        for (int k = 0; k < TOGETHER; k++)
            if (e + k * step < end) apply_octet<T>(p, e + k * step, x[k], more[k], n);
    }
}

/* Any number of channels: still eight elements a thread, so that a byte of the mask has one writer.
 */
template <typename T>
__global__ void __launch_bounds__(CF_PASS_THREADS) apply_any_kernel(cf_cuda_norm_pass p)
{
    int64_t first = ((int64_t)blockIdx.x * CF_PASS_THREADS + threadIdx.x) * CF_OCTET;
    int64_t total = p.rows * p.c, end = first + CF_OCTET < total ? first + CF_OCTET : total;
    if (first >= end) return;
    const T *y = static_cast<const T *>(p.y.x), *r = static_cast<const T *>(p.residual.x);
    T *z = static_cast<T *>(p.z);
    int64_t channel = first % p.c, image_size = p.n_images > 0 ? total / p.n_images : total;
    unsigned bits = 0;
    for (int64_t e = first; e < end; e++) {
        apply_channels<1> n;
        int64_t image = e / image_size, own = channel + own_channels(p.y, image, p.c);
        cf_keep<1>(p.y.scale, own, 1.0f, n.scale);
        cf_keep<1>(p.y.shift, own, 0.0f, n.shift);
        float x = fmaf(cf_to_float(y[e]), n.scale[0], n.shift[0]);
        if (r != nullptr) {
            own = channel + own_channels(p.residual, image, p.c);
            cf_keep<1>(p.residual.scale, own, 1.0f, n.rscale);
            cf_keep<1>(p.residual.shift, own, 0.0f, n.rshift);
            x += fmaf(cf_to_float(r[e]), n.rscale[0], n.rshift[0]);
        }
        bits |= (x > 0.0f ? 1u : 0u) << (e - first);
        cf_from_float(cf_activate(x, p.y.slope), &z[e]);
        channel = channel + 1 == p.c ? 0 : channel + 1;
    }
    if (p.mask != nullptr) p.mask[first / CF_OCTET] = (uint8_t)bits;
}

template <typename T> static void launch_apply(cudaStream_t stream, const cf_cuda_norm_pass &p)
{
    if (cf_vector_of(p.c) == CF_OCTET) {
        cf_cuda_norm_pass image = p;
        int64_t n = p.n_images > 0 ? p.n_images : 1;
        image.rows = p.rows / n;
        cf_cut cut = cf_cut_of(image.rows, p.c, (int)(CF_WRITE_BLOCKS / n), CF_WRITE_ROWS);
        CF_LAUNCH(apply_kernel<T>, cf_cut_grid(cut, n), cf_cut_block(cut), 0, stream, image, cut);
    } else {
        int64_t each = (int64_t)CF_PASS_THREADS * CF_OCTET;
        unsigned blocks = (unsigned)((p.rows * p.c + each - 1) / each);
        CF_LAUNCH(apply_any_kernel<T>, blocks, CF_PASS_THREADS, 0, stream, p);
    }
}

cf_err cf_cuda_norm_apply(cudaStream_t s, const cf_cuda_norm_pass *pass)
{
    cf_cuda_norm_pass p = *pass;
    p.y.slope = cf_slope_of(&pass->y);
    CF_BY_DTYPE(p.dtype, launch_apply, s, p);
    return cf_cuda_check(cudaGetLastError(), "batch-norm apply");
}
