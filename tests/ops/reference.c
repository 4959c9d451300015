#include "reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *zeros(int64_t n)
{
    double *p = calloc((size_t)(n > 0 ? n : 1), sizeof *p);
    if (p == NULL) abort();
    return p;
}

void reference_init(reference *r, const cf_graph *g)
{
    *r = (reference){.g = g, .gradients = zeros(g->n_weights), .moments = zeros(g->n_state)};
    size_t n = (size_t)g->n_nodes;
    r->y = calloc(n, sizeof *r->y);
    r->z = calloc(n, sizeof *r->z);
    r->gz = calloc(n, sizeof *r->gz);
    if (r->y == NULL || r->z == NULL || r->gz == NULL) abort();
    for (size_t i = 0; i < n; i++) {
        int64_t count = cf_shape_elements(g->nodes[i].out_shape);
        r->y[i] = zeros(count);
        r->z[i] = zeros(count);
        r->gz[i] = zeros(count);
    }
}

void reference_fini(reference *r)
{
    for (int i = 0; i < r->g->n_nodes; i++) {
        free(r->y[i]);
        free(r->z[i]);
        free(r->gz[i]);
    }
    free(r->y);
    free(r->z);
    free(r->gz);
    free(r->gradients);
    free(r->moments);
}

/* As a backend stores it: bf16 to 8 bits, fp16 to 11, and none below 2^-24; nearest even. */
static void store(const reference *r, double *p, int64_t n)
{
    int bits = r->dtype == CF_BF16 ? 8 : 11;
    for (int64_t i = 0; r->dtype != CF_F32 && i < n; i++) {
        int exponent = 0;
        (void)frexp(p[i], &exponent);
        int unit = exponent - bits;
        if (r->dtype == CF_F16 && unit < -24) unit = -24;
        p[i] = ldexp(rint(ldexp(p[i], -unit)), unit);
    }
}

static int64_t at(cf_shape s, int64_t n, int64_t h, int64_t w, int64_t c)
{
    return ((n * s.h + h) * s.w + w) * s.c + c;
}

static const float *param(const reference *r, int index, const float *flat)
{
    return index < 0 ? NULL : flat + r->g->params[index].offset;
}

/* Calls `visit` for every product of a convolution: indices of output, input and filter. */
typedef void (*visit_fn)(void *context, int64_t out, int64_t in, int64_t filter);
static void visit_taps(const cf_node *n, visit_fn visit, void *context)
{
    cf_shape in = n->in_shape, out = n->out_shape;
    int64_t cg = in.c / n->conv.groups, kg = out.c / n->conv.groups, R = n->conv.kernel;
    for (int64_t o = 0; o < cf_shape_elements(out); o++) {
        int64_t k = o % out.c, x = o / out.c % out.w, y = o / out.c / out.w % out.h;
        int64_t image = o / out.c / out.w / out.h;
        for (int64_t r = 0; r < R; r++) {
            for (int64_t s = 0; s < R; s++) {
                int64_t iy = y * n->conv.stride + r - n->pad_top;
                int64_t ix = x * n->conv.stride + s - n->pad_left;
                if (iy < 0 || iy >= in.h || ix < 0 || ix >= in.w) continue;
                for (int64_t c = 0; c < cg; c++)
                    visit(context, o, at(in, image, iy, ix, k / kg * cg + c),
                          ((k * R + r) * R + s) * cg + c);
            }
        }
    }
}

typedef struct taps {
    const double *x, *gy;
    const float *w;
    double *y, *gx, *gw;
} taps;

static void visit_forward(void *context, int64_t out, int64_t in, int64_t filter)
{
    taps *t = context;
    t->y[out] += t->x[in] * (double)t->w[filter];
}

static void visit_backward(void *context, int64_t out, int64_t in, int64_t filter)
{
    taps *t = context;
    t->gx[in] += t->gy[out] * (double)t->w[filter];
    t->gw[filter] += t->gy[out] * t->x[in];
}

/* ---- normalisation ----------------------------------------------------------------------------
 */

/* Values that are normalised together: a channel's of all images, or with group normalisation an
 * image's of one group of channels. */
typedef struct moments {
    double mean, var, rstd;
    int64_t count;
} moments;

static int64_t n_sets(const cf_node *n)
{
    return n->conv.norm == CF_NORM_GROUP ? n->out_shape.n * n->conv.norm_groups : n->out_shape.c;
}

/* The set that output element o belongs to. */
static int64_t set_of(const cf_node *n, int64_t o)
{
    int64_t K = n->out_shape.c, c = o % K, image = o / K / n->out_shape.w / n->out_shape.h;
    if (n->conv.norm != CF_NORM_GROUP) return c;
    return image * n->conv.norm_groups + c / (K / n->conv.norm_groups);
}

/* Of every set; owned by the caller. */
static moments *sets_of(const cf_node *n, const double *y)
{
    int64_t count = cf_shape_elements(n->out_shape);
    moments *m = calloc((size_t)n_sets(n), sizeof *m);
    if (m == NULL) abort();
    for (int64_t o = 0; o < count; o++) m[set_of(n, o)].count++;
    for (int64_t o = 0; o < count; o++) m[set_of(n, o)].mean += y[o];
    for (int64_t i = 0; i < n_sets(n); i++) m[i].mean /= (double)m[i].count;
    for (int64_t o = 0; o < count; o++) {
        double d = y[o] - m[set_of(n, o)].mean;
        m[set_of(n, o)].var += d * d;
    }
    for (int64_t i = 0; i < n_sets(n); i++) {
        m[i].var /= (double)m[i].count;
        m[i].rstd = 1.0 / sqrt(m[i].var + (double)n->conv.norm_eps);
    }
    return m;
}

/* Batch normalisation: the batch's moments into the step's, or the running ones in their place. */
static void exchange_moments(reference *r, const cf_node *n, const float *state, moments *m)
{
    for (int64_t c = 0; c < n->out_shape.c; c++) {
        if (state != NULL) {
            m[c].mean = (double)param(r, n->mean, state)[c];
            m[c].rstd = 1.0 / sqrt((double)param(r, n->var, state)[c] + (double)n->conv.norm_eps);
            continue;
        }
        double unbiased = (double)m[c].count / (double)(m[c].count > 1 ? m[c].count - 1 : 1);
        r->moments[r->g->params[n->mean].offset + c] = m[c].mean;
        r->moments[r->g->params[n->var].offset + c] = m[c].var * unbiased;
    }
}

/* state: the running moments; NULL in training. */
static void norm_forward(reference *r, int i, const float *weights, const float *state)
{
    const cf_node *n = &r->g->nodes[i];
    int64_t K = n->out_shape.c;
    const float *gamma = param(r, n->gamma, weights), *beta = param(r, n->beta, weights);
    moments *m = sets_of(n, r->y[i]);
    if (n->conv.norm == CF_NORM_BATCH) exchange_moments(r, n, state, m);
    for (int64_t o = 0; o < cf_shape_elements(n->out_shape); o++) {
        const moments *own = &m[set_of(n, o)];
        double x = (r->y[i][o] - own->mean) * own->rstd;
        r->z[i][o] = x * (double)gamma[o % K] + (double)beta[o % K];
    }
    free(m);
}

/* g: the gradient of the normalisation's output, made that of its input. */
static void norm_backward(reference *r, int i, const float *weights, double *g)
{
    const cf_node *n = &r->g->nodes[i];
    int64_t K = n->out_shape.c, count = cf_shape_elements(n->out_shape);
    const float *gamma = param(r, n->gamma, weights);
    moments *m = sets_of(n, r->y[i]);
    double *sum = zeros(n_sets(n)), *dot = zeros(n_sets(n));
    for (int64_t o = 0; o < count; o++) {
        int64_t set = set_of(n, o);
        double x = (r->y[i][o] - m[set].mean) * m[set].rstd;
        r->gradients[r->g->params[n->gamma].offset + o % K] += g[o] * x;
        r->gradients[r->g->params[n->beta].offset + o % K] += g[o];
        g[o] *= (double)gamma[o % K];
        sum[set] += g[o];
        dot[set] += g[o] * x;
    }
    for (int64_t o = 0; o < count; o++) {
        int64_t set = set_of(n, o);
        double x = (r->y[i][o] - m[set].mean) * m[set].rstd, size = (double)m[set].count;
        g[o] = m[set].rstd * (g[o] - sum[set] / size - x * dot[set] / size);
    }
    free(m);
    free(sum);
    free(dot);
}

static void conv_forward(reference *r, int i, const float *weights, const float *state, bool train)
{
    const cf_node *n = &r->g->nodes[i];
    int64_t count = cf_shape_elements(n->out_shape), K = n->out_shape.c;
    const float *bias = param(r, n->bias, weights);
    taps t = {.x = r->z[n->in], .w = param(r, n->weight, weights), .y = r->y[i]};
    memset(r->y[i], 0, (size_t)count * sizeof *r->y[i]);
    visit_taps(n, visit_forward, &t);
    /* Backends store what they normalise without its bias. */
    if (n->conv.norm != CF_NORM_NONE) store(r, r->y[i], count);
    for (int64_t o = 0; bias != NULL && o < count; o++) r->y[i][o] += (double)bias[o % K];
    memcpy(r->z[i], r->y[i], (size_t)count * sizeof *r->z[i]);
    if (n->conv.norm != CF_NORM_NONE) norm_forward(r, i, weights, train ? NULL : state);
    for (int64_t o = 0; o < count; o++) {
        if (n->residual >= 0) r->z[i][o] += r->z[n->residual][o];
        double slope = n->conv.act == CF_ACT_LEAKY ? (double)n->conv.slope : 0.0;
        if (n->conv.act != CF_ACT_NONE && r->z[i][o] <= 0.0) r->z[i][o] *= slope;
    }
    store(r, r->z[i], count);
}

static void conv_backward(reference *r, int i, const float *weights)
{
    const cf_node *n = &r->g->nodes[i];
    int64_t count = cf_shape_elements(n->out_shape), K = n->out_shape.c;
    double *g = r->gz[i];
    double slope = n->conv.act == CF_ACT_LEAKY ? (double)n->conv.slope : 0.0;
    for (int64_t o = 0; o < count; o++)
        if (n->conv.act != CF_ACT_NONE && r->z[i][o] <= 0.0) g[o] *= slope;
    for (int64_t o = 0; n->residual >= 0 && o < count; o++) r->gz[n->residual][o] += g[o];
    if (n->conv.norm != CF_NORM_NONE) norm_backward(r, i, weights, g);
    for (int64_t o = 0; n->bias >= 0 && o < count; o++)
        r->gradients[r->g->params[n->bias].offset + o % K] += g[o];
    taps t = {.x = r->z[n->in],
              .gy = g,
              .w = param(r, n->weight, weights),
              .gx = r->gz[n->in],
              .gw = r->gradients + r->g->params[n->weight].offset};
    visit_taps(n, visit_backward, &t);
}

/* ---- pools ------------------------------------------------------------------------------------
 */

/* Input index of the maximum of an output element's window, the first on a tie. */
static int64_t max_index(const cf_node *n, const double *x, int64_t o)
{
    cf_shape in = n->in_shape, out = n->out_shape;
    int64_t c = o % out.c, ox = o / out.c % out.w, oy = o / out.c / out.w % out.h;
    int64_t image = o / out.c / out.w / out.h, best = -1;
    for (int64_t r = 0; r < n->conv.kernel; r++) {
        for (int64_t s = 0; s < n->conv.kernel; s++) {
            int64_t iy = oy * n->conv.stride + r - n->pad_top;
            int64_t ix = ox * n->conv.stride + s - n->pad_left;
            if (iy < 0 || iy >= in.h || ix < 0 || ix >= in.w) continue;
            int64_t here = at(in, image, iy, ix, c);
            if (best < 0 || x[here] > x[best]) best = here;
        }
    }
    return best;
}

static void pool_forward(reference *r, int i)
{
    const cf_node *n = &r->g->nodes[i];
    const double *x = r->z[n->in];
    int64_t count = cf_shape_elements(n->out_shape), pixels = n->in_shape.h * n->in_shape.w;
    for (int64_t o = 0; o < count; o++) {
        if (n->op == CF_OP_MAXPOOL) {
            r->z[i][o] = x[max_index(n, x, o)];
            continue;
        }
        double sum = 0.0;
        int64_t image = o / n->in_shape.c, c = o % n->in_shape.c;
        for (int64_t p = 0; p < pixels; p++) sum += x[(image * pixels + p) * n->in_shape.c + c];
        r->z[i][o] = sum / (double)pixels;
    }
    store(r, r->z[i], count);
}

static void pool_backward(reference *r, int i)
{
    const cf_node *n = &r->g->nodes[i];
    double *gx = r->gz[n->in];
    int64_t count = cf_shape_elements(n->out_shape), pixels = n->in_shape.h * n->in_shape.w;
    for (int64_t o = 0; o < count; o++) {
        if (n->op == CF_OP_MAXPOOL) {
            gx[max_index(n, r->z[n->in], o)] += r->gz[i][o];
            continue;
        }
        int64_t image = o / n->in_shape.c, c = o % n->in_shape.c;
        for (int64_t p = 0; p < pixels; p++)
            gx[(image * pixels + p) * n->in_shape.c + c] += r->gz[i][o] / (double)pixels;
    }
}

/* ---- dense and loss ---------------------------------------------------------------------------
 */

static void dense(reference *r, int i, const float *weights, bool backward)
{
    const cf_node *n = &r->g->nodes[i];
    int64_t K = n->out_shape.c, F = cf_shape_elements(n->in_shape) / n->in_shape.n;
    const float *w = param(r, n->weight, weights), *bias = param(r, n->bias, weights);
    for (int64_t o = 0; o < cf_shape_elements(n->out_shape); o++) {
        int64_t image = o / K, k = o % K;
        if (!backward) r->z[i][o] = bias ? (double)bias[k] : 0.0;
        if (backward && bias) r->gradients[r->g->params[n->bias].offset + k] += r->gz[i][o];
        for (int64_t f = 0; f < F; f++) {
            int64_t in = image * F + f;
            if (!backward) {
                r->z[i][o] += r->z[n->in][in] * (double)w[k * F + f];
            } else {
                r->gz[n->in][in] += r->gz[i][o] * (double)w[k * F + f];
                r->gradients[r->g->params[n->weight].offset + k * F + f] +=
                    r->gz[i][o] * r->z[n->in][in];
            }
        }
    }
}

static void loss(reference *r, const int *labels)
{
    const cf_graph *g = r->g;
    const cf_node *n = &g->nodes[g->n_nodes - 1];
    int64_t images = n->in_shape.n;
    double *share = zeros(g->n_classes);
    r->loss = r->correct = 0.0;
    for (int64_t i = 0; i < images; i++) {
        const double *z = r->z[n->in] + i * g->n_outputs;
        double total = 0.0;
        int best = 0;
        memset(share, 0, (size_t)g->n_classes * sizeof *share);
        for (int o = 0; o < g->n_outputs; o++) total += exp(z[o]);
        for (int o = 0; o < g->n_outputs; o++) share[g->class_of[o]] += exp(z[o]) / total;
        for (int c = 0; c < g->n_classes; c++) {
            double s = (double)g->label_smoothing;
            double target = (c == labels[i] ? 1.0 - s : 0.0) + s / g->n_classes;
            r->loss -= target * log(share[c]) / (double)images;
            if (share[c] > share[best]) best = c;
            for (int o = 0; o < g->n_outputs; o++) {
                double p = exp(z[o]) / total;
                double own = g->class_of[o] == c ? p / share[c] : 0.0;
                r->gz[n->in][i * g->n_outputs + o] += target * (p - own) / (double)images;
            }
        }
        r->correct += (best == labels[i] ? 1.0 : 0.0) / (double)images;
    }
    free(share);
}

void reference_run(reference *r, const float *weights, const float *state, const float *images,
                   const int *labels)
{
    const cf_graph *g = r->g;
    for (int i = 0; i < g->n_nodes; i++) {
        size_t bytes = (size_t)cf_shape_elements(g->nodes[i].out_shape) * sizeof(double);
        memset(r->gz[i], 0, bytes);
    }
    memset(r->gradients, 0, (size_t)g->n_weights * sizeof *r->gradients);
    for (int64_t i = 0; i < cf_shape_elements(g->nodes[0].out_shape); i++)
        r->z[0][i] = (double)images[i];
    for (int i = 1; i < g->n_nodes - 1; i++) {
        cf_op op = g->nodes[i].op;
        if (op == CF_OP_CONV) conv_forward(r, i, weights, state, labels != NULL);
        if (op == CF_OP_MAXPOOL || op == CF_OP_AVGPOOL) pool_forward(r, i);
        if (op == CF_OP_DENSE) dense(r, i, weights, false);
    }
    if (labels == NULL) return;
    loss(r, labels);
    for (int i = g->n_nodes - 2; i > 0; i--) {
        cf_op op = g->nodes[i].op;
        if (op == CF_OP_CONV) conv_backward(r, i, weights);
        if (op == CF_OP_MAXPOOL || op == CF_OP_AVGPOOL) pool_backward(r, i);
        if (op == CF_OP_DENSE) dense(r, i, weights, true);
    }
}
