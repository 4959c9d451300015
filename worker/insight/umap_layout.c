/* The forces. The authors' program draws edges one after another and moves both ends at once; here
 * each point draws its own edges in both of their roles and moves alone, against the positions that
 * all points had when the epoch began. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/math/philox.h"
#include "worker/data/crew.h"
#include "worker/insight/umap.h"

enum { CURVE_POINTS = 300, CURVE_ROUNDS = 200, POINTS = 512, REPULSIONS = 5 };
/* Squared distances below `nothing` push nobody; power_of is not made for them. */
static const float clip = 4, touching = 0.001f, nothing = 1e-30f;

/* ---- the curve --------------------------------------------------------------------------------
 */

static double misfit(double a, double b, double min_dist, double spread)
{
    double sum = 0;
    for (int i = 0; i < CURVE_POINTS; i++) {
        double t = 3 * spread * i / (CURVE_POINTS - 1);
        double wanted = t < min_dist ? 1 : exp(-(t - min_dist) / spread);
        double off = 1 / (1 + a * pow(t, 2 * b)) - wanted;
        sum += off * off;
    }
    return sum;
}

/* Levenberg and Marquardt's damped steps in log a and log b, so that both stay above 0. */
void cf_umap_curve(double min_dist, double spread, double *a, double *b)
{
    double p = 0, q = 0, damping = 1e-3, least = misfit(1, 1, min_dist, spread);
    for (int round = 0; round < CURVE_ROUNDS; round++) {
        double pp = 0, pq = 0, qq = 0, gp = 0, gq = 0;
        for (int i = 1; i < CURVE_POINTS; i++) {
            double t = 3 * spread * i / (CURVE_POINTS - 1);
            double wanted = t < min_dist ? 1 : exp(-(t - min_dist) / spread);
            double power = exp(p) * pow(t, 2 * exp(q)), value = 1 / (1 + power);
            double dp = -value * value * power, dq = dp * 2 * exp(q) * log(t);
            pp += dp * dp;
            pq += dp * dq;
            qq += dq * dq;
            gp += dp * (value - wanted);
            gq += dq * (value - wanted);
        }
        double m = pp * (1 + damping), n = qq * (1 + damping), det = m * n - pq * pq;
        double p_next = p - (n * gp - pq * gq) / det, q_next = q - (m * gq - pq * gp) / det;
        double now = misfit(exp(p_next), exp(q_next), min_dist, spread);
        damping = now < least ? damping / 3 : damping * 4;
        if (!(now < least)) continue;
        p = p_next;
        q = q_next;
        least = now;
    }
    *a = exp(p);
    *b = exp(q);
}

/* ---- epochs -----------------------------------------------------------------------------------
 */

typedef struct layout {
    const cf_umap_graph *graph;
    const float *rate; /* owned, [edges] draws an epoch, at most 1 */
    float a, b, step;
    uint32_t seed;
    int epoch;
    float *from, *to; /* [n][2] positions before and after the epoch */
} layout;

/* base^exponent for a base above FLT_MIN, to about 1e-6 of the value: log2 by the series of atanh,
 * 2^x by that of exp. Forces are cut at `clip` and drawn at random: more digits would be wasted,
 * and the library's function takes half of an epoch. */
static inline float power_of(float base, float exponent)
{
    uint32_t bits = 0;
    memcpy(&bits, &base, sizeof bits);
    int32_t e = (int32_t)(bits - 0x3F3504F3u) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    bits -= (uint32_t)e << 23;
    float m = 0, scale = 0;
    memcpy(&m, &bits, sizeof m);
    float s = (m - 1) / (m + 1), z = s * s;
    float log2 =
        (float)e + s * (2.885390082f + z * (0.961796694f + z * (0.577078016f + z * 0.412198583f)));
    float x = log2 * exponent, whole = floorf(x + 0.5f), f = x - whole;
    float part =
        1 + f * (0.693147181f +
                 f * (0.240226507f +
                      f * (0.0555041087f +
                           f * (0.00961812911f + f * (0.00133335581f + f * 0.000154035304f)))));
    bits = (uint32_t)((int32_t)whole + 127) << 23;
    memcpy(&scale, &bits, sizeof scale);
    return part * scale;
}

static inline float clipped(float v)
{
    return v > clip ? clip : v < -clip ? -clip : v;
}

/* Towards `other`: the slope of log(1 / (1 + a t^2b)). */
static inline void attract(const layout *l, float *y, const float *other)
{
    float dx = y[0] - other[0], dy = y[1] - other[1], t2 = dx * dx + dy * dy;
    if (t2 < nothing) return;
    float power = power_of(t2, l->b);
    float force = -2 * l->a * l->b * power / (t2 * (1 + l->a * power));
    y[0] += l->step * clipped(force * dx);
    y[1] += l->step * clipped(force * dy);
}

/* Away from `other`: the slope of log(1 - 1 / (1 + a t^2b)). */
static inline void repel(const layout *l, float *y, const float *other)
{
    float dx = y[0] - other[0], dy = y[1] - other[1], t2 = dx * dx + dy * dy;
    if (t2 < nothing) return;
    float force = 2 * l->b / ((touching + t2) * (1 + l->a * power_of(t2, l->b)));
    y[0] += l->step * clipped(force * dx);
    y[1] += l->step * clipped(force * dy);
}

static void move_point(const layout *l, int64_t i)
{
    const cf_umap_graph *g = l->graph;
    cf_rng rng = cf_rng_at(l->seed, 2, (uint32_t)l->epoch, (uint32_t)i, CF_PURPOSE_UMAP);
    float y[2] = {l->from[2 * i], l->from[2 * i + 1]};
    for (int64_t e = g->start[i]; e < g->start[i + 1]; e++) {
        float rate = l->rate[e];
        if (floorf(rate * (float)(l->epoch + 1)) <= floorf(rate * (float)l->epoch)) continue;
        const float *other = l->from + 2 * (int64_t)g->column[e];
        attract(l, y, other); /* as the head of this edge and as the tail of its twin */
        attract(l, y, other);
        for (int r = 0; r < REPULSIONS; r++) {
            int64_t k = cf_rng_below(&rng, (uint32_t)g->n);
            if (k != i) repel(l, y, l->from + 2 * k);
        }
    }
    l->to[2 * i] = y[0];
    l->to[2 * i + 1] = y[1];
}

static cf_err move_points(void *context, int worker, int64_t block)
{
    const layout *l = context;
    int64_t last = (block + 1) * POINTS < l->graph->n ? (block + 1) * POINTS : l->graph->n;
    (void)worker;
    for (int64_t i = block * POINTS; i < last; i++) move_point(l, i);
    return CF_OK;
}

/* The heaviest edge is drawn in every epoch, others in proportion; fewer than one draw is none. */
static cf_err make_rates(const cf_umap_graph *g, int epochs, float **out)
{
    float heaviest = 0, *rate = NULL;
    CF_TRY(cf_new(&rate, (size_t)g->start[g->n] + 1, sizeof *rate));
    for (int64_t e = 0; e < g->start[g->n]; e++)
        heaviest = g->weight[e] > heaviest ? g->weight[e] : heaviest;
    for (int64_t e = 0; e < g->start[g->n]; e++) {
        rate[e] = g->weight[e] / heaviest;
        if (rate[e] * (float)epochs < 1) rate[e] = 0;
    }
    *out = rate;
    return CF_OK;
}

cf_err cf_umap_layout(const cf_umap_graph *graph, const cf_umap_options *options, float *y)
{
    int epochs = cf_umap_epochs(options, graph->n);
    cf_crew crew = {.threads = cf_crew_size(options->threads)};
    layout l = {.graph = graph, .seed = options->seed, .from = y};
    double a = 0, b = 0;
    float *rate = NULL, *second = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(make_rates(graph, epochs, &rate), out);
    CF_TRY_GOTO(cf_new(&second, (size_t)graph->n * 2, sizeof *second), out);
    l.to = second;
    l.rate = rate;
    cf_umap_curve(options->min_dist, options->spread, &a, &b);
    l.a = (float)a;
    l.b = (float)b;
    for (l.epoch = 0; l.epoch < epochs; l.epoch++) {
        l.step = 1 - (float)l.epoch / (float)epochs;
        CF_TRY_GOTO(cf_crew_each(&crew, (graph->n + POINTS - 1) / POINTS, move_points, &l), out);
        float *swap = l.from;
        l.from = l.to;
        l.to = swap;
    }
    if (l.from != y) memcpy(y, l.from, (size_t)graph->n * 2 * sizeof *y);
out:
    free(second);
    free(rate);
    return err;
}
