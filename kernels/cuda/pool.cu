/* Pooling: a block takes one row of pixels, a thread keeps V channels and walks along the row.
 *
 * The window's maximum leaves its winner as a byte, so the backward pass is a gather: every input
 * pixel looks at the windows over it, in order, and nothing is added by two threads. */
#include "kernels/cuda/passes.cuh"

enum { MOST_KERNEL = 15 }; /* kernel * kernel winners fit into a byte */

/* Threads of a block over a row: columns of V channels by pixels of the row. */
struct row_cut {
    int columns, pixels, column_blocks;
};

static row_cut row_cut_of(int64_t width, int64_t c)
{
    cf_cut cut = cf_cut_of(width, c, CF_WRITE_BLOCKS, 1);
    row_cut row = {cut.columns, cut.groups, cut.column_blocks};
    if (row.pixels > width) row.pixels = (int)width;
    return row;
}
static dim3 row_grid(const row_cut &cut, int64_t rows)
{
    return dim3((unsigned)rows, (unsigned)cut.column_blocks);
}
static dim3 row_block(const row_cut &cut)
{
    return dim3((unsigned)(cut.columns * cut.pixels));
}
template <int V> __device__ static inline int64_t row_channel(const row_cut &cut)
{
    return ((int64_t)blockIdx.y * cut.columns + threadIdx.x % cut.columns) * V;
}

/* ---- maximum ----------------------------------------------------------------------------------
 */

/* V elements as the view shows them: normalised, activated and rounded as if they had been stored.
 */
template <typename T, int V> struct viewed {
    float scale[V], shift[V], slope;
    bool plain;
};

template <typename T, int V>
__device__ static inline viewed<T, V> view_at(const cf_cuda_view &view, int64_t channel)
{
    viewed<T, V> v;
    v.plain = view.scale == nullptr;
    v.slope = view.slope;
    cf_keep<V>(view.scale, channel, 1.0f, v.scale);
    cf_keep<V>(view.shift, channel, 0.0f, v.shift);
    return v;
}

template <typename T, int V> __device__ static inline float seen(const viewed<T, V> &v, T x, int i)
{
    float value = cf_to_float(x);
    if (v.plain) return value;
    T rounded;
    cf_from_float(cf_activate(fmaf(value, v.scale[i], v.shift[i]), v.slope), &rounded);
    return cf_to_float(rounded);
}

/* The part of a kernel that lies inside the image, for the output index `out`. */
struct span {
    int first, begin, end; /* image index of kernel element 0; elements begin .. end - 1 */
};
__device__ static inline span window_at(int out, int stride, int pad, int kernel, int64_t size)
{
    span s;
    s.first = out * stride - pad;
    s.begin = s.first < 0 ? -s.first : 0;
    s.end = s.first + kernel > size ? (int)size - s.first : kernel;
    return s;
}

/* One window. A NaN wins and stays; else the first of the largest. */
template <typename T, int V>
__device__ static inline void max_window(const cf_cuda_pool &p, const viewed<T, V> &view,
                                         int64_t image, const span &rows, const span &cols,
                                         int64_t channel, int64_t to)
{
    float best[V];
    cf_pack<uint8_t, V> which;
    for (int i = 0; i < V; i++) {
        best[i] = -INFINITY;
        which.x[i] = (uint8_t)(rows.begin * p.kernel + cols.begin);
    }
    for (int r = rows.begin; r < rows.end; r++) {
        const T *row = static_cast<const T *>(p.in.x) +
                       ((image * p.h + rows.first + r) * p.w + cols.first) * p.c + channel;
#pragma unroll 3
        for (int s = cols.begin; s < cols.end; s++) {
            cf_pack<T, V> x = cf_pack_load<T, V>(row + s * p.c);
            for (int i = 0; i < V; i++) {
                float value = seen(view, x.x[i], i);
                bool wins = !(value <= best[i]) && best[i] == best[i];
                best[i] = wins ? value : best[i];
                which.x[i] = wins ? (uint8_t)(r * p.kernel + s) : which.x[i];
            }
        }
    }
    cf_pack<T, V> out;
    for (int i = 0; i < V; i++) cf_from_float(best[i], &out.x[i]);
    cf_pack_store<T, V>(static_cast<T *>(p.out) + to, out);
    if (p.winner != nullptr) cf_pack_store<uint8_t, V>(p.winner + to, which);
}

template <typename T, int V>
__global__ void __launch_bounds__(CF_PASS_THREADS, 2) max_kernel(cf_cuda_pool p, row_cut cut)
{
    int64_t channel = row_channel<V>(cut), image = blockIdx.x / p.p;
    if (channel >= p.c) return;
    viewed<T, V> view = view_at<T, V>(p.in, channel);
    span rows = window_at((int)(blockIdx.x % p.p), p.stride, p.pad_top, p.kernel, p.h);
    for (int q = (int)threadIdx.x / cut.columns; q < p.q; q += cut.pixels) {
        span cols = window_at(q, p.stride, p.pad_left, p.kernel, p.w);
        int64_t to = ((int64_t)blockIdx.x * p.q + q) * p.c + channel;
        max_window<T, V>(p, view, image, rows, cols, channel, to);
    }
}

template <typename T> static void launch_max(cudaStream_t stream, const cf_cuda_pool &p)
{
    row_cut cut = row_cut_of(p.q, p.c);
    auto *kernel = cf_vector_of(p.c) == CF_OCTET ? max_kernel<T, CF_OCTET> : max_kernel<T, 1>;
    CF_LAUNCH(kernel, row_grid(cut, p.n * p.p), row_block(cut), 0, stream, p, cut);
}

/* Sizes that the kernels' int arithmetic and bytes hold. */
static bool fits(const cf_cuda_pool *p)
{
    int64_t most = INT32_MAX;
    return p->kernel <= MOST_KERNEL && p->h + MOST_KERNEL < most && p->w + MOST_KERNEL < most &&
           p->n * p->h < most && p->n * p->p < most;
}

cf_err cf_cuda_pool_max(cudaStream_t s, const cf_cuda_pool *pool)
{
    if (!fits(pool)) return cf_cuda_check(cudaErrorInvalidValue, "max pool: kernel above 15");
    cf_cuda_pool p = *pool;
    p.in.slope = cf_slope_of(&pool->in);
    CF_BY_DTYPE(p.dtype, launch_max, s, p);
    return cf_cuda_check(cudaGetLastError(), "max pool");
}

/* The gradient of V outputs: the sum of the contributions in their order. */
template <typename T, int V>
__device__ static inline void gradient_at(const cf_cuda_pool &p, int64_t e, float g[V])
{
    for (int i = 0; i < V; i++) g[i] = -0.0f; /* -0 + x is x, also for x = -0 */
    for (int m = 0; m < p.n_contributions; m++) {
        cf_pack<T, V> part = cf_pack_load<T, V>(static_cast<const T *>(p.contributions[m]) + e);
        for (int i = 0; i < V; i++) g[i] += cf_to_float(part.x[i]);
    }
}

/* Output indices first .. end - 1, whose windows hold the input index. */
struct covering {
    int first, end;
};
__device__ static inline covering windows_over(int at, int stride, int pad, int kernel,
                                               int64_t n_out)
{
    int low = at + pad - kernel + 1;
    covering c;
    c.first = low <= 0 ? 0 : (low + stride - 1) / stride;
    c.end = (at + pad) / stride + 1;
    if (c.end > n_out) c.end = (int)n_out;
    return c;
}

template <typename T, int V>
__global__ void __launch_bounds__(CF_PASS_THREADS, 4)
    max_backward_kernel(cf_cuda_pool p, row_cut cut)
{
    int64_t channel = row_channel<V>(cut), image = blockIdx.x / p.h;
    if (channel >= p.c) return;
    int y = (int)(blockIdx.x % p.h);
    covering rows = windows_over(y, p.stride, p.pad_top, p.kernel, p.p);
    for (int x = (int)threadIdx.x / cut.columns; x < p.w; x += cut.pixels) {
        covering cols = windows_over(x, p.stride, p.pad_left, p.kernel, p.q);
        float sum[V] = {};
        for (int oy = rows.first; oy < rows.end; oy++) {
            int r = y - (oy * p.stride - p.pad_top);
            for (int ox = cols.first; ox < cols.end; ox++) {
                int code = r * p.kernel + x - (ox * p.stride - p.pad_left);
                int64_t from = ((image * p.p + oy) * p.q + ox) * p.c + channel;
                cf_pack<uint8_t, V> winner = cf_pack_load<uint8_t, V>(p.winner + from);
                float g[V];
                gradient_at<T, V>(p, from, g);
                for (int i = 0; i < V; i++) sum[i] += winner.x[i] == code ? g[i] : 0.0f;
            }
        }
        cf_pack<T, V> out;
        for (int i = 0; i < V; i++) cf_from_float(sum[i], &out.x[i]);
        int64_t to = ((int64_t)blockIdx.x * p.w + x) * p.c + channel;
        cf_pack_store<T, V>(static_cast<T *>(p.gin) + to, out);
    }
}

template <typename T> static void launch_max_backward(cudaStream_t stream, const cf_cuda_pool &p)
{
    row_cut cut = row_cut_of(p.w, p.c);
    auto *kernel = cf_vector_of(p.c) == CF_OCTET ? max_backward_kernel<T, CF_OCTET>
                                                 : max_backward_kernel<T, 1>;
    CF_LAUNCH(kernel, row_grid(cut, p.n * p.h), row_block(cut), 0, stream, p, cut);
}

cf_err cf_cuda_pool_max_backward(cudaStream_t s, const cf_cuda_pool *p)
{
    if (!fits(p)) return cf_cuda_check(cudaErrorInvalidValue, "max pool backward: kernel above 15");
    CF_BY_DTYPE(p->dtype, launch_max_backward, s, *p);
    return cf_cuda_check(cudaGetLastError(), "max pool backward");
}

/* ---- mean over all pixels ---------------------------------------------------------------------
 */

/* A block takes one image and `columns` * V channels; its thread groups share the pixels, and their
 * sums are added in order. */
template <typename T, int V>
__global__ void __launch_bounds__(CF_PASS_THREADS) mean_kernel(cf_cuda_pool p, row_cut cut)
{
    __shared__ double sums[V][CF_PASS_THREADS];
    int64_t pixels = p.h * p.w, channel = row_channel<V>(cut), image = blockIdx.x;
    double sum[V] = {};
    if (channel < p.c) {
        viewed<T, V> view = view_at<T, V>(p.in, channel);
        const T *in = static_cast<const T *>(p.in.x) + image * pixels * p.c + channel;
#pragma unroll 4
        for (int64_t i = threadIdx.x / cut.columns; i < pixels; i += cut.pixels) {
            cf_pack<T, V> x = cf_pack_load<T, V>(in + i * p.c);
            for (int k = 0; k < V; k++) sum[k] += (double)seen(view, x.x[k], k);
        }
    }
    for (int k = 0; k < V; k++) sums[k][threadIdx.x] = sum[k];
    __syncthreads();
    if ((int)threadIdx.x >= cut.columns || channel >= p.c) return;
    cf_pack<T, V> out;
    for (int k = 0; k < V; k++) {
        for (int g = 1; g < cut.pixels; g++) sum[k] += sums[k][g * cut.columns + threadIdx.x];
        cf_from_float((float)(sum[k] / (double)pixels), &out.x[k]);
    }
    cf_pack_store<T, V>(static_cast<T *>(p.out) + image * p.c + channel, out);
}

template <typename T> static void launch_mean(cudaStream_t stream, const cf_cuda_pool &p)
{
    row_cut cut = row_cut_of(p.h * p.w, p.c);
    auto *kernel = cf_vector_of(p.c) == CF_OCTET ? mean_kernel<T, CF_OCTET> : mean_kernel<T, 1>;
    CF_LAUNCH(kernel, row_grid(cut, p.n), row_block(cut), 0, stream, p, cut);
}

cf_err cf_cuda_pool_mean(cudaStream_t s, const cf_cuda_pool *pool)
{
    cf_cuda_pool p = *pool;
    p.in.slope = cf_slope_of(&pool->in);
    CF_BY_DTYPE(p.dtype, launch_mean, s, p);
    return cf_cuda_check(cudaGetLastError(), "mean pool");
}

template <typename T, int V>
__global__ void __launch_bounds__(CF_PASS_THREADS) mean_backward_kernel(cf_cuda_pool p, row_cut cut)
{
    int64_t pixels = p.h * p.w, channel = row_channel<V>(cut), image = blockIdx.x;
    if (channel >= p.c) return;
    float g[V];
    gradient_at<T, V>(p, image * p.c + channel, g);
    cf_pack<T, V> out;
    for (int i = 0; i < V; i++) cf_from_float(g[i] * (1.0f / (float)pixels), &out.x[i]);
    T *gin = static_cast<T *>(p.gin) + image * pixels * p.c + channel;
    for (int64_t i = threadIdx.x / cut.columns; i < pixels; i += cut.pixels)
        cf_pack_store<T, V>(gin + i * p.c, out);
}

template <typename T> static void launch_mean_backward(cudaStream_t stream, const cf_cuda_pool &p)
{
    row_cut cut = row_cut_of(p.h * p.w, p.c);
    auto *kernel = cf_vector_of(p.c) == CF_OCTET ? mean_backward_kernel<T, CF_OCTET>
                                                 : mean_backward_kernel<T, 1>;
    CF_LAUNCH(kernel, row_grid(cut, p.n), row_block(cut), 0, stream, p, cut);
}

cf_err cf_cuda_pool_mean_backward(cudaStream_t s, const cf_cuda_pool *p)
{
    CF_BY_DTYPE(p->dtype, launch_mean_backward, s, *p);
    return cf_cuda_check(cudaGetLastError(), "mean pool backward");
}
