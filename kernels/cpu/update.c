#include "kernels/cpu/update.h"

#include <math.h>

/* PART elements are one piece of work; BLOCK of them stay in the first-level cache between steps.
 */
enum { PART = 1 << 15, BLOCK = 1024, SHARES = 64 /* of the pieces, for the norm's sum */ };

/* Mean gradient of elements i .. i+n-1. */
static void load_gradient(const cf_update *u, int64_t i, int n, float *restrict g)
{
    if (u->reduce == CF_REDUCE_EXACT) {
        const int64_t *restrict sums = (const int64_t *)u->sums + i;
        double scale = ldexp(1.0, -CF_EXACT_GRAD_BITS) / (double)u->n_micro;
        for (int k = 0; k < n; k++) g[k] = (float)((double)sums[k] * scale);
    } else {
        const float *restrict sums = (const float *)u->sums + i;
        float scale = 1.0f / (float)u->n_micro;
        for (int k = 0; k < n; k++) g[k] = sums[k] * scale;
    }
}

static void sgd(const cf_update *u, int64_t i, int n, const float *restrict g)
{
    float *restrict w = u->weights + i, *restrict m = u->moment1 + i;
    float rate = u->learning_rate, momentum = u->beta1, look = u->nesterov ? u->beta1 : 0.0f;
    float direct = u->nesterov ? 1.0f : 0.0f, through = u->nesterov ? look : 1.0f;
    for (int k = 0; k < n; k++) {
        m[k] = momentum * m[k] + g[k];
        w[k] -= rate * (direct * g[k] + through * m[k]);
    }
}

/* Kingma & Ba (2015), algorithm 1, with the bias corrections outside of the moments. */
static void adam(const cf_update *u, int64_t i, int n, const float *restrict g)
{
    float *restrict w = u->weights + i, *restrict m = u->moment1 + i, *restrict v = u->moment2 + i;
    float beta1 = u->beta1, beta2 = u->beta2, rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
    double step = (double)u->step;
    float rate = (float)((double)u->learning_rate / (1.0 - pow((double)beta1, step)));
    float root = (float)(1.0 / sqrt(1.0 - pow((double)beta2, step)));
    for (int k = 0; k < n; k++) {
        m[k] = beta1 * m[k] + rest1 * g[k];
        v[k] = beta2 * v[k] + rest2 * g[k] * g[k];
        w[k] -= rate * m[k] / (sqrtf(v[k]) * root + u->epsilon);
    }
}

static void decay(const cf_update *u, int64_t i, int n, float *restrict g)
{
    const uint8_t *restrict mask = u->decay + i;
    float *restrict w = u->weights + i;
    if (u->kind == CF_OPT_ADAMW) {
        float keep = 1.0f - u->learning_rate * u->weight_decay;
        for (int k = 0; k < n; k++) w[k] *= mask[k] ? keep : 1.0f;
    } else {
        for (int k = 0; k < n; k++) g[k] += mask[k] ? u->weight_decay * w[k] : 0.0f;
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
    float *restrict ema = u->ema + i;
    const float *restrict w = u->weights + i;
    for (int k = 0; k < n; k++) ema[k] = u->ema_decay * ema[k] + (1.0f - u->ema_decay) * w[k];
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
    if (norm > (double)u->clip_norm) *factor = (float)((double)u->clip_norm / norm);
    return CF_OK;
}

static void update_state(const cf_update *u)
{
    for (int64_t i = 0; i < u->n_state; i++) {
        int64_t at = u->n_weights + i;
        double sum = u->reduce == CF_REDUCE_EXACT
                         ? ldexp((double)((const int64_t *)u->sums)[at], -CF_EXACT_STATE_BITS)
                         : (double)((const float *)u->sums)[at];
        double keep = (double)u->state_momentum[i], mean = sum / (double)u->n_micro;
        u->state[i] = (float)(keep * (double)u->state[i] + (1.0 - keep) * mean);
        if (u->ema != NULL)
            u->ema[at] = u->ema_decay * u->ema[at] + (1.0f - u->ema_decay) * u->state[i];
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
