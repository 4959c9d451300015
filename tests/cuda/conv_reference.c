#include "conv_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math/half.h"
#include "kernels/math/philox.h"

enum { SEED = 20263 };

cf_geometry conv_geometry(int n, int h, int w, int c, int k, int kernel, int stride, int pad,
                          int groups, cf_dtype dtype)
{
    return (cf_geometry){.n = n,
                         .h = h,
                         .w = w,
                         .c = c,
                         .k = k,
                         .p = (h + 2 * pad - kernel) / stride + 1,
                         .q = (w + 2 * pad - kernel) / stride + 1,
                         .kernel = kernel,
                         .stride = stride,
                         .pad_top = pad,
                         .pad_left = pad,
                         .groups = groups,
                         .dtype = dtype};
}

void conv_fill(float *p, int64_t n, uint32_t draw, float scale, float offset)
{
    cf_rng rng = cf_rng_at(SEED, 0, 0, draw, CF_PURPOSE_TEST);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)((int)cf_rng_below(&rng, 256) - 128) / 128.0f * scale + offset;
}

static float rounded(cf_dtype dtype, float x)
{
    if (dtype == CF_BF16) return cf_bf16_to_float(cf_bf16_from_float(x));
    return dtype == CF_F16 ? cf_f16_to_float(cf_f16_from_float(x)) : x;
}

void conv_round(cf_dtype dtype, float *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) p[i] = rounded(dtype, p[i]);
}

int64_t conv_inputs(const cf_geometry *g)
{
    return (int64_t)g->n * g->h * g->w * g->c;
}

int64_t conv_outputs(const cf_geometry *g)
{
    return (int64_t)g->n * g->p * g->q * g->k;
}

static float *filled(int64_t n, uint32_t draw, float scale, float offset)
{
    float *p = malloc((size_t)n * sizeof *p);
    if (p == NULL) abort();
    conv_fill(p, n, draw, scale, offset);
    return p;
}

void conv_data_init(conv_data *d, const cf_geometry *g, bool fused, cf_act act)
{
    int64_t in = conv_inputs(g), out = conv_outputs(g), c = g->c, k = g->k;
    float fan_in = (float)(g->kernel * g->kernel * (g->c / g->groups));
    *d = (conv_data){.act = CF_ACT_NONE, .in_act = CF_ACT_NONE};
    d->x = filled(in, 1, 1.0f, 0.0f);
    d->weights = filled(cf_geometry_filter(g), 2, exp2f(rintf(log2f(1.6f / sqrtf(fan_in)))), 0.0f);
    d->g = filled(out, 3, 1.0f, 0.0f);
    if (!fused) return;
    d->act = d->in_act = act;
    d->slope = d->in_slope = act == CF_ACT_LEAKY ? 0.3f : act == CF_ACT_NONE ? 1.0f : 0.0f;
    d->scale = filled(c, 4, 0.25f, 1.0f), d->shift = filled(c, 5, 0.25f, 0.0f);
    d->y = filled(out, 6, 1.0f, 0.0f);
    d->a = filled(k, 7, 0.25f, 1.0f), d->b = filled(k, 8, 0.125f, 0.0f);
    d->d = filled(k, 9, 0.125f, 0.0f);
    d->in_x = filled(in, 10, 1.0f, 0.0f), d->in_mean = filled(c, 11, 0.25f, 0.0f);
    d->in_scale = filled(c, 12, 0.25f, 1.0f), d->in_shift = filled(c, 13, 0.25f, 0.0f);
}

void conv_data_fini(conv_data *d)
{
    float *const all[] = {d->x, d->weights, d->scale, d->shift,   d->g,        d->y,       d->a,
                          d->b, d->d,       d->in_x,  d->in_mean, d->in_scale, d->in_shift};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* x as the products see it: 16-bit operands are rounded behind the view. */
static double viewed(const cf_geometry *g, const conv_data *d, int64_t i)
{
    int64_t c = i % g->c;
    if (d->scale == NULL) return (double)d->x[i];
    float x = d->x[i] * d->scale[c] + d->shift[c];
    if (d->act != CF_ACT_NONE && x <= 0.0f) x *= d->slope;
    return (double)rounded(g->dtype, x);
}

static double gradient_at(const cf_geometry *g, const conv_data *d, int64_t o)
{
    int64_t k = o % g->k;
    if (d->a == NULL) return (double)d->g[o];
    return (double)rounded(g->dtype, d->a[k] * d->g[o] + d->b[k] * d->y[o] + d->d[k]);
}

typedef struct product {
    const double *x, *gy;
    const float *weights;
    double *out;
    cf_conv_pass pass;
} product;

static void add_product(const product *t, int64_t out, int64_t in, int64_t filter)
{
    if (t->pass == CF_CONV_FORWARD) t->out[out] += t->x[in] * (double)t->weights[filter];
    if (t->pass == CF_CONV_DATA) t->out[in] += t->gy[out] * (double)t->weights[filter];
    if (t->pass == CF_CONV_WEIGHTS) t->out[filter] += t->gy[out] * t->x[in];
}

/* Every product of the convolution for one output element. */
static void add_products(const cf_geometry *g, const product *t, int64_t o)
{
    int64_t k = o % g->k, q = o / g->k % g->q, p = o / g->k / g->q % g->p;
    int64_t image = o / g->k / g->q / g->p, cg = g->c / g->groups, kg = g->k / g->groups;
    for (int64_t r = 0; r < g->kernel; r++) {
        for (int64_t s = 0; s < g->kernel; s++) {
            int64_t y = p * g->stride + r - g->pad_top, x = q * g->stride + s - g->pad_left;
            if (y < 0 || y >= g->h || x < 0 || x >= g->w) continue;
            int64_t in = ((image * g->h + y) * g->w + x) * g->c + k / kg * cg;
            int64_t filter = ((k * g->kernel + r) * g->kernel + s) * cg;
            for (int64_t c = 0; c < cg; c++) add_product(t, o, in + c, filter + c);
        }
    }
}

/* gin behind the input node's activation. */
static void mask(const cf_geometry *g, const conv_data *d, double *gin)
{
    for (int64_t i = 0; i < conv_inputs(g); i++) {
        float x = d->in_x[i] * d->in_scale[i % g->c] + d->in_shift[i % g->c];
        if (d->in_act != CF_ACT_NONE && x <= 0.0f) gin[i] *= (double)d->in_slope;
    }
}

static void sum_up(const cf_geometry *g, cf_conv_pass pass, const conv_data *d, const double *out,
                   double *first, double *second)
{
    int64_t channels = pass == CF_CONV_FORWARD ? g->k : g->c;
    int64_t n = pass == CF_CONV_FORWARD ? conv_outputs(g) : conv_inputs(g);
    memset(first, 0, (size_t)channels * sizeof *first);
    memset(second, 0, (size_t)channels * sizeof *second);
    for (int64_t i = 0; i < n; i++) {
        double v = (double)rounded(g->dtype, (float)out[i]);
        int64_t c = i % channels;
        first[c] += v;
        second[c] += pass == CF_CONV_FORWARD ? v * v : v * (double)(d->in_x[i] - d->in_mean[c]);
    }
}

static double *doubles(int64_t n)
{
    double *p = calloc((size_t)n, sizeof *p);
    if (p == NULL) abort();
    return p;
}

static int64_t results(const cf_geometry *g, cf_conv_pass pass)
{
    return pass == CF_CONV_FORWARD ? conv_outputs(g)
           : pass == CF_CONV_DATA  ? conv_inputs(g)
                                   : cf_geometry_filter(g);
}

void conv_reference_run(const cf_geometry *g, cf_conv_pass pass, const conv_data *d, double *out,
                        double *first, double *second)
{
    double *x = doubles(conv_inputs(g)), *gy = doubles(conv_outputs(g));
    for (int64_t i = 0; i < conv_inputs(g); i++) x[i] = viewed(g, d, i);
    for (int64_t o = 0; o < conv_outputs(g); o++) gy[o] = gradient_at(g, d, o);
    memset(out, 0, (size_t)results(g, pass) * sizeof *out);
    product t = {x, gy, d->weights, out, pass};
    for (int64_t o = 0; o < conv_outputs(g); o++) add_products(g, &t, o);
    free(x);
    free(gy);
    if (pass == CF_CONV_DATA && d->in_x != NULL) mask(g, d, out);
    if (first != NULL) sum_up(g, pass, d, out, first, second);
}

double conv_distance(const double *a, const double *b, int64_t n)
{
    double difference = 0.0, size = 0.0;
    for (int64_t i = 0; i < n; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return size > 0.0 ? sqrt(difference / size) : sqrt(difference);
}
