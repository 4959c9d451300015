/* The optimizer's pass over the flat buffers, and the norm it may need before.
 *
 * One thread updates V neighbouring weights: every buffer is read and written once, in whole lines;
 * 4 bytes for each float of weights, moments and average, 8 for an exact sum, so memory's speed is
 * the limit. Formulas: kernels/math/optimizer.h. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/lanes.cuh"
#include "kernels/math/optimizer.h"

enum { THREADS = 256, NORM_EACH = 4096, NORM_BLOCKS = 1024 };

/* What the kernels take: buffers, and factors computed once on the host. */
struct step {
    cf_optimizer kind;
    cf_sgd sgd;
    cf_adam adam;
    float weight_decay, keep, ema_decay; /* weight_decay 0: none */
    double exact_scale, state_scale;     /* of a sum: 2^-bits / n_micro; 2^-bits */
    double n_micro;
    float fast_scale;
    int64_t n_weights, n_state;
    float *weights, *state, *moment1, *moment2, *ema;
    const int64_t *exact; /* one of the two sums */
    const float *fast;
    const uint8_t *decay;
    const float *state_momentum;
    const float *clip; /* factor of all gradients; NaN: change nothing; NULL: 1 */
    unsigned weight_blocks;
};

template <int V> __device__ static void mean_gradient(const step &u, int64_t i, float g[V])
{
    if (u.exact != nullptr) {
        cf_lanes<int64_t, V> sum = *cf_lanes_of<V>(u.exact, i);
        for (int k = 0; k < V; k++) g[k] = cf_mean_exact(sum.v[k], u.exact_scale);
    } else {
        cf_lanes<float, V> sum = *cf_lanes_of<V>(u.fast, i);
        for (int k = 0; k < V; k++) g[k] = cf_mean_fast(sum.v[k], u.fast_scale);
    }
}

template <int V>
__device__ static void apply_decay(const step &u, int64_t i, float g[V], cf_lanes<float, V> *w)
{
    if (!(u.weight_decay > 0.0f)) return;
    cf_lanes<uint8_t, V> on = *cf_lanes_of<V>(u.decay, i);
    for (int k = 0; k < V; k++) {
        if (u.kind == CF_OPT_ADAMW) {
            w->v[k] = cf_decay_weight(w->v[k], u.keep, on.v[k]);
        } else {
            g[k] = cf_decay_gradient(g[k], w->v[k], u.weight_decay, on.v[k]);
        }
    }
}

/* Weights V i .. V i + V - 1. */
template <int V> __device__ static void update_weights(const step &u, int64_t i, float clip)
{
    float g[V];
    mean_gradient<V>(u, i, g);
    for (int k = 0; k < V; k++) g[k] *= clip;
    cf_lanes<float, V> w = *cf_lanes_of<V>(u.weights, i), m = *cf_lanes_of<V>(u.moment1, i);
    apply_decay<V>(u, i, g, &w);
    if (u.kind == CF_OPT_SGD) {
        for (int k = 0; k < V; k++) cf_sgd_step(u.sgd, g[k], &w.v[k], &m.v[k]);
    } else {
        cf_lanes<float, V> v = *cf_lanes_of<V>(u.moment2, i);
        for (int k = 0; k < V; k++) cf_adam_step(u.adam, g[k], &w.v[k], &m.v[k], &v.v[k]);
        *cf_lanes_of<V>(u.moment2, i) = v;
    }
    *cf_lanes_of<V>(u.weights, i) = w;
    *cf_lanes_of<V>(u.moment1, i) = m;
    if (u.ema == nullptr) return;
    cf_lanes<float, V> e = *cf_lanes_of<V>(u.ema, i);
    for (int k = 0; k < V; k++) e.v[k] = cf_ema_step(e.v[k], w.v[k], u.ema_decay);
    *cf_lanes_of<V>(u.ema, i) = e;
}

__device__ static void update_moment(const step &u, int64_t i)
{
    int64_t at = u.n_weights + i;
    double sum = u.exact != nullptr ? (double)u.exact[at] * u.state_scale : (double)u.fast[at];
    float state = cf_running_step(u.state[i], sum / u.n_micro, u.state_momentum[i]);
    u.state[i] = state;
    if (u.ema != nullptr) u.ema[at] = cf_ema_step(u.ema[at], state, u.ema_decay);
}

/* The first weight_blocks blocks take the weights, the rest the running moments. */
template <int V> __global__ static void __launch_bounds__(THREADS) update_kernel(step u)
{
    float clip = u.clip != nullptr ? *u.clip : 1.0f;
    if (isnan(clip)) return;
    if (blockIdx.x >= u.weight_blocks) {
        int64_t i = (int64_t)(blockIdx.x - u.weight_blocks) * THREADS + threadIdx.x;
        if (i < u.n_state) update_moment(u, i);
        return;
    }
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, whole = u.n_weights / V;
    if (i < whole) update_weights<V>(u, i, clip);
    int64_t rest = whole * V + i;
    if (V > 1 && rest < u.n_weights) update_weights<1>(u, rest, clip);
}

/* The block's sum in a fixed order; thread 0 gets it. */
__device__ static double block_sum(double x)
{
    __shared__ double part[THREADS];
    part[threadIdx.x] = x;
    __syncthreads();
    for (int step = THREADS / 2; step > 0; step /= 2) {
        if ((int)threadIdx.x < step) part[threadIdx.x] += part[threadIdx.x + step];
        __syncthreads();
    }
    return part[0];
}

/* Squares of the mean gradient: which block and thread takes which elements follows from n_weights
 * alone. */
__global__ static void __launch_bounds__(THREADS) norm_kernel(step u, double *sums)
{
    double sum = 0.0;
    int64_t stride = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < u.n_weights; i += stride) {
        float g;
        mean_gradient<1>(u, i, &g);
        sum += (double)g * (double)g;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ static void __launch_bounds__(THREADS)
    factor_kernel(const double *sums, int n, float clip_norm, float *factor)
{
    double sum = 0.0;
    for (int i = (int)threadIdx.x; i < n; i += THREADS) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    double norm = sqrt(sum);
    *factor = isfinite(norm) ? cf_clip_factor(norm, clip_norm) : NAN;
}

static unsigned norm_blocks(const cf_update *u)
{
    unsigned blocks = cf_blocks(u->n_weights, NORM_EACH);
    return blocks < NORM_BLOCKS ? blocks : (unsigned)NORM_BLOCKS;
}

static step step_of(const cf_update *u)
{
    step s = {};
    s.kind = u->kind;
    s.sgd = cf_sgd_at(u->learning_rate, u->beta1, u->nesterov);
    s.adam = cf_adam_at(u->learning_rate, u->beta1, u->beta2, u->epsilon, u->step);
    s.weight_decay = u->weight_decay;
    s.keep = 1.0f - u->learning_rate * u->weight_decay;
    s.ema_decay = u->ema_decay;
    s.exact_scale = ldexp(1.0, -CF_EXACT_GRAD_BITS) / (double)u->n_micro;
    s.state_scale = ldexp(1.0, -CF_EXACT_STATE_BITS);
    s.n_micro = (double)u->n_micro;
    s.fast_scale = 1.0f / (float)u->n_micro;
    s.n_weights = u->n_weights;
    s.n_state = u->n_state;
    s.weights = u->weights;
    s.state = u->state;
    s.moment1 = u->moment1;
    s.moment2 = u->moment2;
    s.ema = u->ema;
    bool exact = u->reduce == CF_REDUCE_EXACT;
    s.exact = exact ? static_cast<const int64_t *>(u->sums) : nullptr;
    s.fast = exact ? nullptr : static_cast<const float *>(u->sums);
    s.decay = u->decay;
    s.state_momentum = u->state_momentum;
    return s;
}

/* Buffers carved out of a larger one may start anywhere. */
static bool fits_lanes(const cf_update *u)
{
    const void *const all[] = {u->weights, u->moment1, u->moment2, u->ema, u->sums};
    for (const void *p : all)
        if (!cf_lanes_fit(p, 16)) return false;
    return cf_lanes_fit(u->decay, 4);
}

static cf_err launch_update(cudaStream_t stream, const cf_update *u, step s)
{
    bool wide = fits_lanes(u);
    s.weight_blocks = cf_blocks(u->n_weights, wide ? 4 * THREADS : THREADS);
    /* the last n_weights % 4 elements are taken by the first threads */
    unsigned blocks = s.weight_blocks + cf_blocks(u->n_state, THREADS);
    if (blocks == 0) return CF_OK;
    if (wide) {
        CF_LAUNCH(update_kernel<4>, blocks, THREADS, 0, stream, s);
    } else {
        CF_LAUNCH(update_kernel<1>, blocks, THREADS, 0, stream, s);
    }
    return cf_cuda_check(cudaGetLastError(), "update");
}

size_t cf_cuda_update_workspace(const cf_update *u)
{
    return norm_blocks(u) * sizeof(double) + sizeof(double);
}

cf_err cf_cuda_update(cudaStream_t stream, const cf_update *u, void *workspace, bool *bad)
{
    step s = step_of(u);
    *bad = false;
    if (!(u->clip_norm > 0.0f) || u->n_weights == 0) return launch_update(stream, u, s);
    float *factor = static_cast<float *>(workspace), host = 1.0f;
    double *sums = static_cast<double *>(workspace) + 1;
    int blocks = (int)norm_blocks(u);
    CF_LAUNCH(norm_kernel, blocks, THREADS, 0, stream, s, sums);
    CF_TRY(cf_cuda_check(cudaGetLastError(), "norm of the gradient"));
    CF_LAUNCH(factor_kernel, 1, THREADS, 0, stream, sums, blocks, u->clip_norm, factor);
    CF_TRY(cf_cuda_check(cudaGetLastError(), "clip factor"));
    s.clip = factor;
    CF_TRY(launch_update(stream, u, s));
    CF_TRY(cf_cuda_check(
        cudaMemcpyAsync(&host, factor, sizeof host, cudaMemcpyDeviceToHost, stream), "clip copy"));
    CF_TRY(cf_cuda_check(cudaStreamSynchronize(stream), "update with clipping"));
    *bad = isnan(host);
    return CF_OK;
}
