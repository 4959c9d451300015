#include "kernels/cpu/update.h"

#include <math.h>

#include "kernels/math/optimizer.h"

/* PART elements are one piece of work; BLOCK of them stay in the first-level cache between steps.
 */
enum { PART = 1 << 15, BLOCK = 1024, SHARES = 64 /* of the pieces, for the norm's sum */ };

/* Mean gradient of elements i .. i+n-1. */
static void load_gradient(const cf_update *u, int64_t i, int n, float *restrict g)
{
    if (u->reduce == CF_REDUCE_EXACT) {
        const int64_t *restrict sums = (const int64_t *)u->sums + i;
        double scale = ldexp(1.0, -CF_EXACT_GRAD_BITS) / (double)u->n_micro;
        for (int k = 0; k < n; k++) g[k] = cf_mean_exact(sums[k], scale);
    } else {
        const float *restrict sums = (const float *)u->sums + i;
        float scale = 1.0f / (float)u->n_micro;
        for (int k = 0; k < n; k++) g[k] = cf_mean_fast(sums[k], scale);
    }
}

static void sgd(const cf_update *u, int64_t i, int n, const float *restrict g)
{
    float *restrict w = u->weights + i, *restrict m = u->moment1 + i;
    const cf_sgd factors = cf_sgd_at(u->learning_rate, u->beta1, u->nesterov);
    for (int k = 0; k < n; k++) cf_sgd_step(factors, g[k], &w[k], &m[k]);
}

static void adam(const cf_update *u, int64_t i, int n, const float *restrict g)
{
    float *restrict w = u->weights + i, *restrict m = u->moment1 + i, *restrict v = u->moment2 + i;
    const cf_adam factors = cf_adam_at(u->learning_rate, u->beta1, u->beta2, u->epsilon, u->step);
    for (int k = 0; k < n; k++) cf_adam_step(factors, g[k], &w[k], &m[k], &v[k]);
}

static void decay(const cf_update *u, int64_t i, int n, float *restrict g)
{
    const uint8_t *restrict mask = u->decay + i;
    float *restrict w = u->weights + i;
    if (u->kind == CF_OPT_ADAMW) {
        float keep = 1.0f - u->learning_rate * u->weight_decay;
        for (int k = 0; k < n; k++) w[k] = cf_decay_weight(w[k], keep, mask[k]);
    } else {
        float rate = u->weight_decay;
        for (int k = 0; k < n; k++) g[k] = cf_decay_gradient(g[k], w[k], rate, mask[k]);
    }
}

static void update_block(const cf_update *u, int64_t i, int n, float clip)
{
    float g[BLOCK];
    load_gradient(u, i, n, g);
    if (clip < 1.0f)
        for (int k = 0; k < n; k++) g[k] *= clip;
    if (u->weight_decay > 0.0f) decay(u, i, n, g);
    if (u->kind == CF_OPT_SGD) {
        sgd(u, i, n, g);
    } else {
        adam(u, i, n, g);
    }
    if (u->ema == NULL) return;
    float *restrict ema = u->ema + i, ema_decay = u->ema_decay;
    const float *restrict w = u->weights + i;
    for (int k = 0; k < n; k++) ema[k] = cf_ema_step(ema[k], w[k], ema_decay);
}

static int64_t n_parts(const cf_update *u)
{
    return (u->n_weights + PART - 1) / PART;
}

static int64_t part_end(const cf_update *u, int64_t part)
{
    return (part + 1) * PART < u->n_weights ? (part + 1) * PART : u->n_weights;
}

static int block_at(int64_t i, int64_t end)
{
    return end - i < BLOCK ? (int)(end - i) : BLOCK;
}

static double part_norm(const cf_update *u, int64_t part)
{
    float g[BLOCK];
    double sum = 0.0;
    for (int64_t end = part_end(u, part), i = part * PART; i < end; i += BLOCK) {
        int n = block_at(i, end);
        load_gradient(u, i, n, g);
        for (int k = 0; k < n; k++) sum += (double)g[k] * (double)g[k];
    }
    return sum;
}

/* Factor of all gradients so that their global L2 norm is at most clip_norm. */
static cf_err clip_factor(const cf_update *u, float *factor)
{
    *factor = 1.0f;
    if (!(u->clip_norm > 0.0f)) return CF_OK;
    double share[SHARES] = {0}, sum = 0.0;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < SHARES; s++)
        for (int64_t p = s; p < n_parts(u); p += SHARES) share[s] += part_norm(u, p);
    for (int s = 0; s < SHARES; s++) sum += share[s];
    double norm = sqrt(sum);
    if (!isfinite(norm)) return cf_fail(CF_E_NUMERIC, "norm of the gradient is not finite");
    *factor = cf_clip_factor(norm, u->clip_norm);
    return CF_OK;
}

static void update_state(const cf_update *u)
{
    for (int64_t i = 0; i < u->n_state; i++) {
        int64_t at = u->n_weights + i;
        double sum = u->reduce == CF_REDUCE_EXACT
                         ? ldexp((double)((const int64_t *)u->sums)[at], -CF_EXACT_STATE_BITS)
                         : (double)((const float *)u->sums)[at];
        double mean = sum / (double)u->n_micro;
        u->state[i] = cf_running_step(u->state[i], mean, u->state_momentum[i]);
        if (u->ema != NULL) u->ema[at] = cf_ema_step(u->ema[at], u->state[i], u->ema_decay);
    }
}

cf_err cf_update_run(const cf_update *u)
{
    float clip = 1.0f;
    CF_TRY(clip_factor(u, &clip));
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < n_parts(u); p++) {
        for (int64_t end = part_end(u, p), i = p * PART; i < end; i += BLOCK)
            update_block(u, i, block_at(i, end), clip);
    }
    update_state(u);
    return CF_OK;
}
