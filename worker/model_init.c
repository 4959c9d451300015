/* Initial weights: one Philox stream for each tensor of each fold, so that neither the order of
 * filling nor other tensors matter. */
#include <math.h>

#include "kernels/math/philox.h"
#include "worker/models.h"

static const double two_pi = 6.283185307179586;

/* Uniform in (0, 1]: never 0, whose logarithm is infinite. */
static double open_uniform(cf_rng *r)
{
    return ((double)cf_rng_u32(r) + 1.0) * 0x1p-32;
}

/* Box and Muller's two normals a pair, in double precision: rounding to float then hides the
 * last-bit differences between mathematics libraries. */
static void fill_normal(cf_rng *r, double sd, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += 2) {
        double radius = sd * sqrt(-2.0 * log(open_uniform(r)));
        double angle = two_pi * open_uniform(r);
        out[i] = (float)(radius * cos(angle));
        if (i + 1 < n) out[i + 1] = (float)(radius * sin(angle));
    }
}

static void fill_uniform(cf_rng *r, double limit, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(limit * (2.0 * (double)cf_rng_uniform(r) - 1.0));
}

static void fill_constant(float value, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = value;
}

/* Glorot and Bengio 2010, eq. 16, with the fans of one group, as Keras sees the paper's separate
 * convolutions; He et al. 2015, eq. 14 (fan-out). The standard recipe counts the fan-out over all
 * groups: that is what torchvision's published training runs start from. */
static void fill_weight(const cf_graph *g, const cf_config *config, const cf_param *p, cf_rng *r,
                        float *out)
{
    double fan_in = (double)p->fan_in, fan_out = (double)p->fan_out;
    if (config->model_variant == CF_VARIANT_PAPER) {
        fill_uniform(r, sqrt(6.0 / (fan_in + fan_out)), p->count, out);
    } else if (g->nodes[p->node].op == CF_OP_DENSE) {
        fill_uniform(r, 1.0 / sqrt(fan_in), p->count, out);
    } else {
        fan_out *= g->nodes[p->node].conv.groups;
        fill_normal(r, sqrt(2.0 / fan_out), p->count, out);
    }
}

void cf_model_init(const cf_graph *g, const cf_config *config, int fold, float *weights,
                   float *state)
{
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        cf_rng r = cf_rng_at((uint64_t)config->train_seed, (uint32_t)fold, 0, (uint32_t)i,
                             CF_PURPOSE_INIT);
        switch (p->kind) {
        case CF_PARAM_WEIGHT:
            fill_weight(g, config, p, &r, weights + p->offset);
            break;
        case CF_PARAM_BIAS:
        case CF_PARAM_BETA:
            fill_constant(0.0f, p->count, weights + p->offset);
            break;
        case CF_PARAM_GAMMA:
            fill_constant(1.0f, p->count, weights + p->offset);
            break;
        case CF_PARAM_MEAN:
            fill_constant(0.0f, p->count, state + p->offset);
            break;
        case CF_PARAM_VAR:
            fill_constant(1.0f, p->count, state + p->offset);
            break;
        }
    }
}
