#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv_reference.h"
#include "kernels/math/half.h"

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

static double *doubles(int64_t n)
{
    double *p = calloc((size_t)n, sizeof *p);
    if (p == NULL) abort();
    return p;
}

double conv_check(const cf_conv_kernel *kernel, const cf_geometry *g, cf_conv_pass pass, bool fused,
                  cf_act act, double *sums)
{
    int64_t n = pass == CF_CONV_FORWARD ? conv_outputs(g)
                : pass == CF_CONV_DATA  ? conv_inputs(g)
                                        : cf_geometry_filter(g);
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
