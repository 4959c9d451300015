/* One step of an optimizer for one element, for host and device: the mean gradient, weight decay,
 * SGD, Adam, averaged weights, running moments. Compiled by both compilers to the same bits (no
 * fused multiply-add).
 *
 * Factors of a step (cf_sgd, cf_adam) are computed once, on the host, in double; everything per
 * element is CF_HD. Read first: cf_adam_step. */
#ifndef CF_KERNELS_MATH_OPTIMIZER_H
#define CF_KERNELS_MATH_OPTIMIZER_H

#include <math.h>
#include <stdint.h>

#include "kernels/math/philox.h"

/* Stochastic gradient descent with momentum; nesterov looks one step ahead. */
typedef struct cf_sgd {
    float rate, momentum;
    float direct, through; /* weights of the gradient and of the momentum in the step */
} cf_sgd;

static inline cf_sgd cf_sgd_at(float learning_rate, float momentum, int nesterov)
{
    cf_sgd s = {learning_rate, momentum, nesterov ? 1.0f : 0.0f, nesterov ? momentum : 1.0f};
    return s;
}

CF_HD void cf_sgd_step(cf_sgd s, float g, float *w, float *m)
{
    *m = s.momentum * *m + g;
    *w -= s.rate * (s.direct * g + s.through * *m);
}

/* Kingma & Ba (2015), algorithm 1, with the bias corrections outside of the moments. */
typedef struct cf_adam {
    float beta1, beta2, rest1, rest2; /* rest: 1 - beta */
    float rate;                       /* learning rate / (1 - beta1^step) */
    float root;                       /* 1 / sqrt(1 - beta2^step) */
    float epsilon;
} cf_adam;

/* step: 1 for the first. */
static inline cf_adam cf_adam_at(float learning_rate, float beta1, float beta2, float epsilon,
                                 int64_t step)
{
    double n = (double)step;
    float rate = (float)((double)learning_rate / (1.0 - pow((double)beta1, n)));
    float root = (float)(1.0 / sqrt(1.0 - pow((double)beta2, n)));
    cf_adam a = {beta1, beta2, 1.0f - beta1, 1.0f - beta2, rate, root, epsilon};
    return a;
}

CF_HD void cf_adam_step(cf_adam a, float g, float *w, float *m, float *v)
{
    *m = a.beta1 * *m + a.rest1 * g;
    *v = a.beta2 * *v + a.rest2 * g * g;
    *w -= a.rate * *m / (sqrtf(*v) * a.root + a.epsilon);
}

/* The mean of a sum over micro-batches. scale: 2^-bits / n_micro, or 1 / n_micro. */
CF_HD float cf_mean_exact(int64_t sum, double scale)
{
    return (float)((double)sum * scale);
}
CF_HD float cf_mean_fast(float sum, float scale)
{
    return sum * scale;
}

/* Decay as part of the gradient (SGD, Adam), where `on`. */
CF_HD float cf_decay_gradient(float g, float w, float weight_decay, int on)
{
    return g + (on ? weight_decay * w : 0.0f);
}
/* Decay apart from it (AdamW: Loshchilov & Hutter 2019). keep: 1 - rate * decay. */
CF_HD float cf_decay_weight(float w, float keep, int on)
{
    return w * (on ? keep : 1.0f);
}

/* Exponential moving average. */
CF_HD float cf_ema_step(float average, float value, float decay)
{
    return decay * average + (1.0f - decay) * value;
}

/* A running moment (Keras' sense of momentum). mean: of the step's batch moments. */
CF_HD float cf_running_step(float running, double mean, float momentum)
{
    double keep = (double)momentum;
    return (float)(keep * (double)running + (1.0 - keep) * mean);
}

/* Factor of all gradients so that their global L2 norm is at most clip_norm. */
CF_HD float cf_clip_factor(double norm, float clip_norm)
{
    return norm > (double)clip_norm ? (float)((double)clip_norm / norm) : 1.0f;
}

#endif
