#include "conv_reference.h"

#include <math.h>
#include <stdio.h>
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

/* ---- on the device ------------------------------------------------------------------------------
 */

static void *device_room(conv_device *v, size_t bytes)
{
    void *p = NULL;
    if (cudaMalloc(&p, bytes) != cudaSuccess || v->n_memory == 20) abort();
    v->memory[v->n_memory++] = p;
    return p;
}

static void *device_copy(conv_device *v, const void *from, size_t bytes)
{
    if (from == NULL) return NULL;
    void *p = device_room(v, bytes);
    if (cudaMemcpy(p, from, bytes, cudaMemcpyHostToDevice) != cudaSuccess) abort();
    return p;
}

static const float *channels(conv_device *v, const float *from, int n)
{
    return device_copy(v, from, (size_t)n * sizeof *from);
}

/* As `dtype` stores it. */
static void *tensor(conv_device *v, const float *from, int64_t n, cf_dtype dtype)
{
    if (from == NULL || dtype == CF_F32) return device_copy(v, from, (size_t)n * sizeof *from);
    uint16_t *bits = malloc((size_t)n * sizeof *bits);
    if (bits == NULL) abort();
    for (int64_t i = 0; i < n; i++)
        bits[i] = dtype == CF_BF16 ? cf_bf16_from_float(from[i]) : cf_f16_from_float(from[i]);
    void *p = device_copy(v, bits, (size_t)n * sizeof *bits);
    free(bits);
    return p;
}

void conv_device_init(conv_device *v, const cf_geometry *g, cf_conv_pass pass, const conv_data *d,
                      int64_t parts, bool with_partials)
{
    int64_t in = conv_inputs(g), out = conv_outputs(g);
    size_t item = cf_dtype_bytes(g->dtype);
    *v = (conv_device){.parts = parts};
    cf_conv_call *call = &v->call;
    call->geometry = g;
    call->pass = pass;
    call->weights = tensor(v, d->weights, cf_geometry_filter(g), g->dtype);
    call->x = (cf_cuda_view){.x = tensor(v, d->x, in, g->dtype),
                             .scale = channels(v, d->scale, g->c),
                             .shift = channels(v, d->shift, g->c),
                             .act = d->act,
                             .slope = d->slope};
    call->gy = (cf_cuda_gradient){.g = tensor(v, d->g, out, g->dtype),
                                  .y = tensor(v, d->y, out, g->dtype),
                                  .a = channels(v, d->a, g->k),
                                  .b = channels(v, d->b, g->k),
                                  .d = channels(v, d->d, g->k)};
    if (pass == CF_CONV_DATA && d->in_x != NULL) {
        call->input_view = (cf_cuda_view){.x = tensor(v, d->in_x, in, g->dtype),
                                          .scale = channels(v, d->in_scale, g->c),
                                          .shift = channels(v, d->in_shift, g->c),
                                          .act = d->in_act,
                                          .slope = d->in_slope};
        call->input_mean = channels(v, d->in_mean, g->c);
    }
    if (pass == CF_CONV_FORWARD) call->y = device_room(v, (size_t)out * item);
    if (pass == CF_CONV_DATA) call->gin = device_room(v, (size_t)in * item);
    size_t filter = (size_t)cf_geometry_filter(g) * sizeof(float);
    if (pass == CF_CONV_WEIGHTS) call->gradient = device_room(v, (size_t)parts * filter);
    size_t sums = (size_t)(pass == CF_CONV_FORWARD ? g->k : g->c) * 2 * sizeof(double);
    if (with_partials && pass != CF_CONV_WEIGHTS)
        call->partials = device_room(v, (size_t)parts * sums);
}

static void copy_out(void *to, const void *from, size_t bytes)
{
    if (cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost) != cudaSuccess) abort();
}

static void read_tensor(double *out, const void *from, int64_t n, cf_dtype dtype)
{
    size_t bytes = (size_t)n * cf_dtype_bytes(dtype);
    uint16_t *bits = malloc(bytes);
    if (bits == NULL) abort();
    copy_out(bits, from, bytes);
    for (int64_t i = 0; i < n; i++) {
        float x = 0.0f;
        if (dtype == CF_F32)
            memcpy(&x, bits + 2 * i, sizeof x);
        else
            x = dtype == CF_BF16 ? cf_bf16_to_float(bits[i]) : cf_f16_to_float(bits[i]);
        out[i] = (double)x;
    }
    free(bits);
}

static void read_gradient(const conv_device *v, double *out)
{
    int64_t n = cf_geometry_filter(v->call.geometry);
    double *part = malloc((size_t)n * sizeof *part);
    if (part == NULL) abort();
    memset(out, 0, (size_t)n * sizeof *out);
    for (int64_t p = 0; p < v->parts; p++) {
        read_tensor(part, v->call.gradient + p * n, n, CF_F32);
        for (int64_t i = 0; i < n; i++) out[i] += part[i];
    }
    free(part);
}

static void read_sums(const conv_device *v, int64_t c, double *first, double *second)
{
    size_t n = (size_t)(v->parts * 2 * c);
    double *sums = malloc(n * sizeof *sums);
    if (sums == NULL) abort();
    copy_out(sums, v->call.partials, n * sizeof *sums);
    for (int64_t i = 0; i < c; i++) {
        first[i] = second[i] = 0.0;
        for (int64_t p = 0; p < v->parts; p++) {
            first[i] += sums[p * 2 * c + i];
            second[i] += sums[p * 2 * c + c + i];
        }
    }
    free(sums);
}

void conv_device_read(const conv_device *v, double *out, double *first, double *second)
{
    const cf_geometry *g = v->call.geometry;
    cf_conv_pass pass = v->call.pass;
    if (pass == CF_CONV_FORWARD) read_tensor(out, v->call.y, conv_outputs(g), g->dtype);
    if (pass == CF_CONV_DATA) read_tensor(out, v->call.gin, conv_inputs(g), g->dtype);
    if (pass == CF_CONV_WEIGHTS) read_gradient(v, out);
    if (first != NULL && v->call.partials != NULL)
        read_sums(v, pass == CF_CONV_FORWARD ? g->k : g->c, first, second);
}

/* Also finds writes past the end of a tensor: cudaFree of the shim reports them. */
void conv_device_fini(conv_device *v)
{
    while (v->n_memory > 0)
        if (cudaFree(v->memory[--v->n_memory]) != cudaSuccess) abort();
}

double conv_check(const cf_conv_kernel *kernel, const cf_geometry *g, cf_conv_pass pass, bool fused,
                  cf_act act, double *sums)
{
    int64_t n = results(g, pass);
    int64_t c = pass == CF_CONV_FORWARD ? g->k : g->c;
    double *found = doubles(n), *expected = doubles(n), *found_sums = doubles(2 * c);
    double *expected_sums = doubles(2 * c), distance = 2.0;
    bool with_sums = fused && pass != CF_CONV_WEIGHTS;
    conv_data d;
    conv_device v;
    conv_data_init(&d, g, fused, act);
    conv_device_init(&v, g, pass, &d, kernel->parts(g, pass), with_sums);
    *sums = 0.0;
    if (kernel->run(NULL, &v.call) != CF_OK) {
        (void)fprintf(stderr, "%s: %s\n", kernel->name, cf_err_text());
    } else {
        conv_reference_run(g, pass, &d, expected, with_sums ? expected_sums : NULL,
                           expected_sums + c);
        conv_device_read(&v, found, with_sums ? found_sums : NULL, found_sums + c);
        distance = conv_distance(found, expected, n);
        double first = conv_distance(found_sums, expected_sums, c);
        double second = conv_distance(found_sums + c, expected_sums + c, c);
        if (with_sums) *sums = first > second || isnan(first) ? first : second;
    }
    conv_device_fini(&v);
    conv_data_fini(&d);
    free(found);
    free(expected);
    free(found_sums);
    free(expected_sums);
    return distance;
}
