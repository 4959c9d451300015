#include "kernels/cuda/engines_time.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/math/half.h"

/* Runs in one timed batch take about this long, since an event is as coarse as a short kernel. */
static const double BATCH_NS = 1e6;
enum { N_SAMPLES = 7, MAX_BATCH = 20, N_FACTORS = 6 };
enum { PATTERN = 1 << 16 }; /* elements, repeated through a buffer */

cf_err cf_engine_run(cudaStream_t stream, cf_cudnn *cudnn, const cf_engine_choice *choice,
                     const cf_conv_call *call)
{
    if (choice->kernel) return choice->kernel->run(stream, call);
    return cf_cudnn_run(cudnn, choice->plan, call);
}

int cf_engine_cheapest(const double *cost, int n)
{
    double least = cost[0];
    for (int i = 1; i < n; i++)
        if (cost[i] < least) least = cost[i];
    for (int i = 0; i < n; i++)
        if (cost[i] <= 1.02 * least) return i;
    return 0;
}

/* ---- buffers ----------------------------------------------------------------------------------
 */

/* Fills a buffer of whole elements from a pattern on the host by doubling what is there. */
static cf_err fill(cudaStream_t stream, void *to, size_t bytes, const void *pattern,
                   size_t pattern_bytes)
{
    size_t done = bytes < pattern_bytes ? bytes : pattern_bytes;
    CF_TRY(cf_cuda_check(cudaMemcpyAsync(to, pattern, done, cudaMemcpyHostToDevice, stream),
                         "cudaMemcpyAsync of a pattern"));
    while (done < bytes) {
        size_t n = bytes - done < done ? bytes - done : done;
        CF_TRY(cf_cuda_check(
            cudaMemcpyAsync((char *)to + done, to, n, cudaMemcpyDeviceToDevice, stream),
            "cudaMemcpyAsync of a pattern"));
        done += n;
    }
    return CF_OK;
}

static void make_pattern(cf_dtype dtype, void *pattern)
{
    uint32_t state = 1;
    for (int i = 0; i < PATTERN; i++) {
        state = state * 1664525u + 1013904223u;
        float size = (float)(state >> 22 | 1u) * (1.0f / 1024.0f);
        float x = state & 0x8000u ? -size : size;
        if (dtype == CF_F32) ((float *)pattern)[i] = x;
        if (dtype == CF_BF16) ((uint16_t *)pattern)[i] = cf_bf16_from_float(x);
        if (dtype == CF_F16) ((uint16_t *)pattern)[i] = cf_f16_from_float(x);
    }
}

typedef struct region {
    void **at;
    size_t bytes;
    bool is_dtype; /* else fp32, or what need not be filled */
} region;

enum { N_REGIONS = 9 };

static void lay_out(cf_engine_trial *t, const cf_engine_choice *candidates, int n,
                    region regions[N_REGIONS])
{
    const cf_geometry *g = t->geometry;
    size_t element = cf_dtype_bytes(g->dtype);
    size_t x = (size_t)g->n * (size_t)g->h * (size_t)g->w * (size_t)g->c * element;
    size_t y = (size_t)g->n * (size_t)g->p * (size_t)g->q * (size_t)g->k * element;
    size_t filter = (size_t)cf_geometry_filter(g);
    size_t channels = (size_t)(g->c > g->k ? g->c : g->k);
    size_t parts = 1, workspace = 256;
    for (int i = 0; i < n; i++) {
        if ((size_t)candidates[i].parts > parts) parts = (size_t)candidates[i].parts;
        if (candidates[i].workspace > workspace) workspace = candidates[i].workspace;
    }
    bool sums = t->pass != CF_CONV_WEIGHTS, view = t->context.want_view;
    const region all[N_REGIONS] = {
        {&t->x, x, true},
        {&t->y, y, true},
        {&t->filter, filter * element, true},
        {&t->x_again, t->context.want_partials && t->pass == CF_CONV_DATA ? x : 0, true},
        {&t->y_again, view && t->pass != CF_CONV_FORWARD ? y : 0, true},
        {&t->factors, N_FACTORS * channels * sizeof(float), false},
        {&t->partials, sums ? parts * 2 * channels * sizeof(double) : 0, false},
        {&t->gradient, sums ? 0 : parts * filter * sizeof(float), false},
        {&t->workspace, workspace, false},
    };
    memcpy(regions, all, sizeof all);
}

static cf_err place(cf_engine_trial *t, const region regions[N_REGIONS])
{
    size_t total = 0, at = 0;
    for (int i = 0; i < N_REGIONS; i++) total += (regions[i].bytes + 255) / 256 * 256;
    CF_TRY(cf_cuda_check(cudaMalloc(&t->memory, total), "cudaMalloc for timing engines"));
    for (int i = 0; i < N_REGIONS; i++) {
        *regions[i].at = regions[i].bytes ? (char *)t->memory + at : NULL;
        at += (regions[i].bytes + 255) / 256 * 256;
    }
    return CF_OK;
}

cf_err cf_engine_trial_open(cf_engine_trial *t, const cf_engine_choice *candidates, int n)
{
    region regions[N_REGIONS];
    void *typed = NULL, *plain = NULL;
    cf_dtype dtype = t->geometry->dtype;
    size_t typed_bytes = PATTERN * cf_dtype_bytes(dtype), plain_bytes = PATTERN * sizeof(float);
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&typed, 1, typed_bytes), out);
    CF_TRY_GOTO(cf_new(&plain, 1, plain_bytes), out);
    make_pattern(dtype, typed);
    make_pattern(CF_F32, plain);
    lay_out(t, candidates, n, regions);
    CF_TRY_GOTO(place(t, regions), out);
    for (int i = 0; i < N_REGIONS; i++) {
        bool is_dtype = regions[i].is_dtype;
        if (regions[i].bytes == 0 || (!is_dtype && *regions[i].at != t->factors)) continue;
        CF_TRY_GOTO(fill(t->stream, *regions[i].at, regions[i].bytes, is_dtype ? typed : plain,
                         is_dtype ? typed_bytes : plain_bytes),
                    out);
    }
    CF_TRY_GOTO(cf_cuda_check(cudaStreamSynchronize(t->stream), "cudaStreamSynchronize"), out);
    CF_TRY_GOTO(cf_cuda_check(cudaEventCreate(&t->start), "cudaEventCreate"), out);
    CF_TRY_GOTO(cf_cuda_check(cudaEventCreate(&t->stop), "cudaEventCreate"), out);
out:
    free(plain);
    free(typed);
    return err;
}

void cf_engine_trial_close(cf_engine_trial *t)
{
    if (t->stop) (void)cudaEventDestroy(t->stop);
    if (t->start) (void)cudaEventDestroy(t->start);
    if (t->memory) (void)cudaFree(t->memory);
    t->memory = NULL;
    t->start = t->stop = NULL;
}

/* ---- calls ------------------------------------------------------------------------------------
 */

static cf_cuda_view view_of(const cf_engine_trial *t, const void *x, size_t channels)
{
    const float *f = t->factors;
    return (cf_cuda_view){
        .x = x, .scale = f, .shift = f + channels, .act = CF_ACT_RELU, .slope = 0.0f};
}

static cf_conv_call call_of(const cf_engine_trial *t, const cf_engine_choice *choice)
{
    const cf_geometry *g = t->geometry;
    size_t channels = (size_t)(g->c > g->k ? g->c : g->k);
    bool fused = choice->kernel && choice->kernel->fused;
    bool sums = fused && t->context.want_partials;
    const float *f = t->factors;
    cf_conv_call call = {.geometry = g,
                         .pass = t->pass,
                         .x = {.x = t->x},
                         .weights = t->filter,
                         .y = t->y,
                         .gy = {.g = t->y},
                         .gin = t->x,
                         .gradient = t->gradient,
                         .workspace = t->workspace};
    if (fused && t->context.want_view && t->pass != CF_CONV_DATA)
        call.x = view_of(t, t->x, channels);
    if (fused && t->context.want_view && t->pass != CF_CONV_FORWARD)
        call.gy = (cf_cuda_gradient){.g = t->y,
                                     .y = t->y_again,
                                     .a = f + 2 * channels,
                                     .b = f + 3 * channels,
                                     .d = f + 4 * channels};
    if (sums && t->pass != CF_CONV_WEIGHTS) call.partials = t->partials;
    if (sums && t->pass == CF_CONV_DATA) {
        call.input_view = view_of(t, t->x_again, channels);
        call.input_mean = f + 5 * channels;
    }
    return call;
}

/* ---- clock ------------------------------------------------------------------------------------
 */

static cf_err elapsed(const cf_engine_trial *t, double *ns)
{
    float ms = 0.0f;
    CF_TRY(cf_cuda_check(cudaEventRecord(t->stop, t->stream), "cudaEventRecord"));
    CF_TRY(cf_cuda_check(cudaEventSynchronize(t->stop), "cudaEventSynchronize"));
    CF_TRY(cf_cuda_check(cudaEventElapsedTime(&ms, t->start, t->stop), "cudaEventElapsedTime"));
    *ns = (double)ms * 1e6;
    return CF_OK;
}

static cf_err time_batch(const cf_engine_trial *t, const cf_engine_choice *choice,
                         const cf_conv_call *call, int n, double *ns)
{
    CF_TRY(cf_cuda_check(cudaEventRecord(t->start, t->stream), "cudaEventRecord"));
    for (int i = 0; i < n; i++) CF_TRY(cf_engine_run(t->stream, t->cudnn, choice, call));
    CF_TRY(elapsed(t, ns));
    *ns /= n;
    return CF_OK;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

cf_err cf_engine_trial_time(const cf_engine_trial *t, const cf_engine_choice *choice, double *ns)
{
    double sample[N_SAMPLES], once = 0.0;
    cf_conv_call call = call_of(t, choice);
    CF_TRY(time_batch(t, choice, &call, 1, &once)); /* loads code */
    CF_TRY(time_batch(t, choice, &call, 2, &once)); /* warm */
    double fit = once > 0.0 ? BATCH_NS / once : 1.0;
    int n = fit >= MAX_BATCH ? MAX_BATCH : fit < 1.0 ? 1 : (int)fit;
    for (int i = 0; i < N_SAMPLES; i++) CF_TRY(time_batch(t, choice, &call, n, &sample[i]));
    qsort(sample, N_SAMPLES, sizeof sample[0], by_size);
    *ns = sample[N_SAMPLES / 2];
    return CF_OK;
}

static cf_err time_copies(const cf_engine_trial *t, size_t bytes, double *ns)
{
    double sample[N_SAMPLES + 1];
    CF_TRY(
        cf_cuda_check(cudaMemsetAsync(t->memory, 0x11, 2 * bytes, t->stream), "cudaMemsetAsync"));
    for (int i = 0; i <= N_SAMPLES; i++) { /* the first is not counted */
        CF_TRY(cf_cuda_check(cudaEventRecord(t->start, t->stream), "cudaEventRecord"));
        CF_TRY(cf_cuda_check(cudaMemcpyAsync((char *)t->memory + bytes, t->memory, bytes,
                                             cudaMemcpyDeviceToDevice, t->stream),
                             "cudaMemcpyAsync on the device"));
        CF_TRY(elapsed(t, &sample[i]));
    }
    qsort(sample + 1, N_SAMPLES, sizeof sample[0], by_size);
    *ns = sample[1 + N_SAMPLES / 2];
    return CF_OK;
}

cf_err cf_engine_copy_rate(cudaStream_t stream, double *bytes_per_ns)
{
    const size_t bytes = (size_t)128 << 20; /* beyond any cache */
    cf_engine_trial t = {.stream = stream};
    double ns = 0.0;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_cuda_check(cudaMalloc(&t.memory, 2 * bytes), "cudaMalloc for timing copies"),
                out);
    CF_TRY_GOTO(cf_cuda_check(cudaEventCreate(&t.start), "cudaEventCreate"), out);
    CF_TRY_GOTO(cf_cuda_check(cudaEventCreate(&t.stop), "cudaEventCreate"), out);
    CF_TRY_GOTO(time_copies(&t, bytes, &ns), out);
    double rate = ns > 0.0 ? 2.0 * (double)bytes / ns : 1.0;
    *bytes_per_ns = rate > 1e-3 ? rate : 1e-3;
out:
    cf_engine_trial_close(&t);
    return err;
}
