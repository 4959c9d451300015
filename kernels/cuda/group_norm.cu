#include "kernels/cuda/group_norm.h"

#include "kernels/cuda/device.cuh"
#include "kernels/math/group_norm.h"

enum { THREADS = 128 };

int64_t cf_cuda_group_norm_room(int64_t n_images, int64_t rows, int64_t c)
{
    return n_images * (cf_cuda_image_parts(rows, c) + 1) * 2 * c;
}

/* Where the joined sums stand: [n_images][2][c], behind the partials. */
static double *sums_of(const cf_cuda_group_norm *g)
{
    return g->partials + g->n_images * cf_cuda_image_parts(g->rows, g->c) * 2 * g->c;
}

/* Parts in order: from [n_images][parts][n] to [n_images][n]. */
__global__ static void __launch_bounds__(THREADS)
    join_kernel(const double *partials, int64_t parts, int64_t n, double *sums)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    const double *from = partials + (int64_t)blockIdx.y * parts * n + i;
    double sum = 0.0;
    for (int64_t p = 0; p < parts; p++) sum += from[p * n];
    sums[(int64_t)blockIdx.y * n + i] = sum;
}

static cf_err join(cudaStream_t s, const cf_cuda_group_norm *g)
{
    int64_t n = 2 * g->c;
    dim3 grid((unsigned)((n + THREADS - 1) / THREADS), (unsigned)g->n_images);
    CF_LAUNCH(join_kernel, grid, THREADS, 0, s, g->partials, cf_cuda_image_parts(g->rows, g->c), n,
              sums_of(g));
    return cf_cuda_check(cudaGetLastError(), "group-norm sums");
}

/* The sum over the block's threads, as a tree of fixed shape; all of them call and get it. */
__device__ static inline double block_total(double mine)
{
    __shared__ double sums[THREADS];
    int t = (int)threadIdx.x;
    __syncthreads(); /* the last total has been read */
    sums[t] = mine;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) sums[t] += sums[t + half];
    }
    __syncthreads();
    return sums[0];
}

/* What a block works on: one group of one image. */
struct group_place {
    int64_t first, end;   /* channels */
    int64_t at;           /* of the image's first channel in [n_images][c] */
    const double *s, *q;  /* the image's first and second sums, [c] */
    double pixels, count; /* of a channel, of the group's values */
};

__device__ static inline group_place place_of(const cf_cuda_group_norm &g, const double *sums)
{
    int64_t each = g.c / g.groups, image = blockIdx.y;
    group_place p;
    p.first = blockIdx.x * each;
    p.end = p.first + each;
    p.at = image * g.c;
    p.s = sums + image * 2 * g.c;
    p.q = p.s + g.c;
    p.pixels = (double)g.rows;
    p.count = p.pixels * (double)each;
    return p;
}

__device__ static inline float bias_of(const cf_cuda_group_norm &g, int64_t c)
{
    return g.bias == nullptr ? 0.0f : g.bias[c];
}

/* From sums of y and of its squares. */
__global__ static void __launch_bounds__(THREADS)
    forward_kernel(cf_cuda_group_norm g, const double *sums)
{
    group_place p = place_of(g, sums);
    double total = 0.0, squares = 0.0;
    for (int64_t c = p.first + threadIdx.x; c < p.end; c += THREADS)
        total += p.s[c] + p.pixels * (double)bias_of(g, c);
    double mean = block_total(total) / p.count;
    for (int64_t c = p.first + threadIdx.x; c < p.end; c += THREADS) {
        double own = p.s[c] / p.pixels, apart = own + (double)bias_of(g, c) - mean;
        squares += p.q[c] - p.s[c] * own + p.pixels * apart * apart;
    }
    double rstd = cf_group_rstd(block_total(squares), p.count, g.eps);
    for (int64_t c = p.first + threadIdx.x; c < p.end; c += THREADS) {
        cf_group_scale to = cf_group_forward(mean, rstd, g.gamma[c], g.beta[c], bias_of(g, c));
        g.norm.mean[p.at + c] = to.seen;
        g.norm.rstd[p.at + c] = (float)rstd;
        g.norm.scale[p.at + c] = to.scale;
        g.norm.shift[p.at + c] = to.shift;
        if (g.own_mean != nullptr) g.own_mean[p.at + c] = (float)(p.s[c] / p.pixels);
    }
}

cf_err cf_cuda_group_norm_forward(cudaStream_t s, cf_dtype dtype, const void *y,
                                  const cf_cuda_group_norm *g)
{
    CF_TRY(cf_cuda_image_statistics(s, dtype, y, g->n_images, g->rows, g->c, g->partials));
    CF_TRY(join(s, g));
    CF_LAUNCH(forward_kernel, dim3((unsigned)g->groups, (unsigned)g->n_images), THREADS, 0, s, *g,
              sums_of(g));
    return cf_cuda_check(cudaGetLastError(), "group-norm finish");
}

/* From sums of g and of g (y - mean). */
__global__ static void __launch_bounds__(THREADS)
    backward_kernel(cf_cuda_group_norm g, const double *sums)
{
    group_place p = place_of(g, sums);
    double first = 0.0, second = 0.0;
    for (int64_t c = p.first + threadIdx.x; c < p.end; c += THREADS) {
        first += (double)g.gamma[c] * p.s[c];
        second += (double)g.gamma[c] * p.q[c];
    }
    first = block_total(first);
    second = block_total(second);
    for (int64_t c = p.first + threadIdx.x; c < p.end; c += THREADS) {
        cf_group_slope to = cf_group_backward(first, second, p.count, g.norm.mean[p.at + c],
                                              g.norm.rstd[p.at + c], g.gamma[c]);
        g.norm.a[p.at + c] = to.a;
        g.norm.b[p.at + c] = to.b;
        g.norm.d[p.at + c] = to.d;
    }
}

/* A channel a thread, over the images in order. */
__global__ static void __launch_bounds__(THREADS)
    gradients_kernel(cf_cuda_group_norm g, const double *sums, float *dgamma, float *dbeta,
                     float *dbias)
{
    int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= g.c) return;
    double gamma = 0.0, beta = 0.0, bias = 0.0;
    for (int64_t i = 0; i < g.n_images; i++) {
        double first = sums[i * 2 * g.c + c], second = sums[(i * 2 + 1) * g.c + c];
        int64_t at = i * g.c + c;
        gamma += second * (double)g.norm.rstd[at];
        beta += first;
        if (dbias == nullptr) continue;
        cf_group_slope slope = {g.norm.a[at], g.norm.b[at], g.norm.d[at]};
        bias += cf_group_bias(slope, first, g.own_mean[at], (double)g.rows);
    }
    dgamma[c] = (float)gamma;
    dbeta[c] = (float)beta;
    if (dbias != nullptr) dbias[c] = (float)bias;
}

cf_err cf_cuda_group_norm_reduce(cudaStream_t s, const cf_cuda_norm_pass *pass,
                                 const cf_cuda_group_norm *g, float *dgamma, float *dbeta,
                                 float *dbias)
{
    CF_TRY(cf_cuda_norm_reduce(s, pass, g->partials));
    CF_TRY(join(s, g));
    CF_LAUNCH(backward_kernel, dim3((unsigned)g->groups, (unsigned)g->n_images), THREADS, 0, s, *g,
              sums_of(g));
    CF_TRY(cf_cuda_check(cudaGetLastError(), "group-norm gradient finish"));
    unsigned blocks = (unsigned)((g->c + THREADS - 1) / THREADS);
    CF_LAUNCH(gradients_kernel, blocks, THREADS, 0, s, *g, sums_of(g), dgamma, dbeta, dbias);
    return cf_cuda_check(cudaGetLastError(), "group-norm gradients");
}
