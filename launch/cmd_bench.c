/* `cytofold bench`: throughput of training steps of a network on this machine, without data. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "kernels/backend.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/math/philox.h"
#include "launch/verbs.h"
#include "worker/models.h"

typedef struct bench_options {
    const char *config, *precision, *device;
    cf_strings overrides;
    int64_t batch, threads, repeats, steps;
    bool json;
} bench_options;

/* One network on one backend. Pointers without "host" are backend memory. */
typedef struct bench {
    cf_config config;
    const cf_backend_ops *ops;
    cf_backend *backend;
    cf_graph *g;
    cf_memory_plan plan;
    cf_program *program;
    float *weights, *state, *moment1, *moment2, *momentum;
    uint8_t *decay;
    void *sums;
    float *host_weights, *host_state, *host_images;
    int *host_labels;
    int64_t step, update_ns;
} bench;

/* ---- setting up -------------------------------------------------------------------------------
 */

/* The standard ResNeXt-50 unless a configuration says otherwise. */
static cf_err read_config(const bench_options *o, cf_config *config)
{
    cf_config_defaults(config);
    if (o->config != NULL) CF_TRY(cf_config_read(o->config, config));
    if (o->config == NULL) config->model_outputs = 22;
    for (size_t i = 0; i < o->overrides.n; i++)
        CF_TRY(cf_config_set(config, o->overrides.items[i]));
    if (o->precision != NULL) {
        char text[64];
        snprintf(text, sizeof text, "train.precision=%.32s", o->precision);
        CF_TRY(cf_config_set(config, text));
    }
    if (config->model_outputs == 0) config->model_outputs = 22;
    return CF_OK;
}

static cf_err alloc_floats(bench *b, int64_t n, float **out)
{
    void *p = NULL;
    CF_TRY(b->ops->alloc(b->backend, (size_t)n * sizeof **out, &p));
    *out = p;
    return CF_OK;
}

static cf_err alloc_flat(bench *b)
{
    int64_t n = b->g->n_weights, n_state = b->g->n_state;
    void *decay = NULL;
    CF_TRY(alloc_floats(b, n, &b->weights));
    CF_TRY(alloc_floats(b, n, &b->moment1));
    CF_TRY(alloc_floats(b, n, &b->moment2));
    CF_TRY(alloc_floats(b, n_state, &b->state));
    CF_TRY(alloc_floats(b, n_state, &b->momentum));
    CF_TRY(b->ops->alloc(b->backend, (size_t)n, &decay));
    b->decay = decay;
    return b->ops->alloc(b->backend, (size_t)cf_sums_count(b->g) * sizeof(int64_t), &b->sums);
}

static cf_err make_batch(bench *b)
{
    const cf_shape *s = &b->g->nodes[0].out_shape;
    int64_t n = cf_shape_elements(*s);
    CF_TRY(cf_new(&b->host_images, (size_t)n, sizeof *b->host_images));
    CF_TRY(cf_new(&b->host_labels, (size_t)s->n, sizeof *b->host_labels));
    cf_rng rng = cf_rng_at(1, 0, 0, 0, CF_PURPOSE_TEST);
    for (int64_t i = 0; i < n; i++) b->host_images[i] = cf_rng_uniform(&rng);
    for (int64_t i = 0; i < s->n; i++)
        b->host_labels[i] = (int)cf_rng_below(&rng, (uint32_t)b->g->n_classes);
    return CF_OK;
}

static cf_err open_bench(const bench_options *o, bench *b)
{
    CF_TRY(read_config(o, &b->config));
    CF_TRY(cf_model_build(&b->config, NULL, o->batch, &b->g));
    CF_TRY(cf_backend_find(o->device, &b->ops));
    CF_TRY(b->ops->open(-1, (int)o->threads, &b->backend));
    cf_compile_options options = {.mode = CF_MODE_TRAIN,
                                  .dtype = b->config.train_precision == 0 ? CF_F32 : CF_BF16,
                                  .reduce = b->config.train_reduce == 0 ? CF_REDUCE_EXACT
                                                                        : CF_REDUCE_FAST,
                                  .deterministic = b->config.train_deterministic};
    CF_TRY(cf_graph_plan(b->g, options.mode, options.dtype, &b->plan));
    CF_TRY(b->ops->compile(b->backend, b->g, &b->plan, &options, &b->program));
    CF_TRY(alloc_flat(b));
    CF_TRY(cf_new(&b->host_weights, (size_t)b->g->n_weights, sizeof(float)));
    CF_TRY(cf_new(&b->host_state, (size_t)b->g->n_state + 1, sizeof(float)));
    cf_model_init(b->g, &b->config, 0, b->host_weights, b->host_state);
    size_t bytes = (size_t)b->g->n_weights * sizeof(float);
    CF_TRY(b->ops->copy_in(b->backend, b->weights, b->host_weights, bytes));
    bytes = (size_t)b->g->n_state * sizeof(float);
    CF_TRY(b->ops->copy_in(b->backend, b->state, b->host_state, bytes));
    CF_TRY(make_batch(b));
    return b->ops->set_weights(b->program, b->weights, b->state);
}

static void close_bench(bench *b)
{
    if (b->backend != NULL) {
        void *const device[] = {b->weights,  b->state, b->moment1, b->moment2,
                                b->momentum, b->decay, b->sums};
        b->ops->release(b->program);
        for (size_t i = 0; i < sizeof device / sizeof *device; i++)
            b->ops->free(b->backend, device[i]);
        b->ops->close(b->backend);
    }
    cf_memory_plan_fini(&b->plan);
    cf_graph_destroy(b->g);
    free(b->host_weights);
    free(b->host_state);
    free(b->host_images);
    free(b->host_labels);
}

/* ---- measuring --------------------------------------------------------------------------------
 */

/* What a trainer does for one micro-batch: forward, loss, backward, optimizer, new weights packed.
 */
static cf_err run_step(bench *b)
{
    cf_batch batch = {.images = b->host_images, .labels = b->host_labels};
    size_t item = b->config.train_reduce == 0 ? sizeof(int64_t) : sizeof(float);
    CF_TRY(b->ops->zero(b->backend, b->sums, (size_t)cf_sums_count(b->g) * item));
    CF_TRY(b->ops->train(b->program, &batch, b->sums));
    cf_update u = {.kind = (cf_optimizer)b->config.train_optimizer,
                   .n_weights = b->g->n_weights,
                   .n_state = b->g->n_state,
                   .weights = b->weights,
                   .state = b->state,
                   .moment1 = b->moment1,
                   .moment2 = b->moment2,
                   .sums = b->sums,
                   .reduce = b->config.train_reduce == 0 ? CF_REDUCE_EXACT : CF_REDUCE_FAST,
                   .n_micro = 1,
                   .decay = b->decay,
                   .state_momentum = b->momentum,
                   .learning_rate = 1e-4f,
                   .beta1 = 0.9f,
                   .beta2 = 0.999f,
                   .epsilon = 1e-7f,
                   .step = ++b->step};
    int64_t start = cf_clock_ns();
    CF_TRY(b->ops->update(b->backend, &u));
    CF_TRY(b->ops->sync(b->backend));
    b->update_ns += cf_clock_ns() - start;
    CF_TRY(b->ops->set_weights(b->program, b->weights, b->state));
    return b->ops->sync(b->backend);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Images a second of each run, sorted. */
static cf_err measure(bench *b, const bench_options *o, double *rates)
{
    for (int64_t r = 0; r < o->repeats; r++) {
        int64_t start = cf_clock_ns();
        for (int64_t s = 0; s < o->steps; s++) CF_TRY(run_step(b));
        rates[r] = (double)(o->steps * o->batch) * 1e9 / (double)(cf_clock_ns() - start);
    }
    qsort(rates, (size_t)o->repeats, sizeof *rates, by_value);
    return CF_OK;
}

/* ---- report -----------------------------------------------------------------------------------
 */

typedef struct figures {
    double median, low, high, gflops; /* images/s; GFLOP/s at the median */
    double peak_mib, program_mib;
    char device[256];
    const char *const *names; /* kinds of work, and their share of the time */
    double shares[16], step_ms;
    int n_phases;
} figures;

static figures collect(const bench *b, const bench_options *o, const double *rates,
                       const int64_t *before)
{
    figures f = {.median = rates[o->repeats / 2], .low = rates[0], .high = rates[o->repeats - 1]};
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    f.peak_mib = (double)usage.ru_maxrss / 1024.0;
    f.program_mib = (double)b->ops->program_bytes(b->program) / 1048576.0;
    /* Forward, gradient of the input, gradient of the filters: three times two operations. */
    f.gflops = f.median * 6.0 * (double)cf_graph_macs(b->g) * 1e-9;
    f.step_ms = 1e3 * (double)o->batch / f.median;
    b->ops->describe(b->backend, f.device, sizeof f.device);
    const int64_t *ns = NULL;
    f.n_phases = b->ops->phases != NULL ? b->ops->phases(b->program, &f.names, &ns) : 0;
    double all = (double)b->update_ns;
    for (int i = 0; i < f.n_phases; i++) all += (double)(ns[i] - before[i]);
    for (int i = 0; i < f.n_phases; i++) f.shares[i] = (double)(ns[i] - before[i]) / all;
    f.shares[f.n_phases] = (double)b->update_ns / all;
    return f;
}

static void print_text(const bench *b, const bench_options *o, const figures *f)
{
    const cf_shape *s = &b->g->nodes[0].out_shape;
    printf("%s, %s, %lldx%lld, batch %lld, %lld parameters\n", f->device,
           b->config.train_precision == 0 ? "fp32" : "bf16", (long long)s->h, (long long)s->w,
           (long long)o->batch, (long long)b->g->n_weights);
    printf("%.2f images/s (%.2f to %.2f, %lld runs of %lld steps), %.1f ms a step, %.0f GFLOP/s\n",
           f->median, f->low, f->high, (long long)o->repeats, (long long)o->steps, f->step_ms,
           f->gflops);
    printf("memory: %.0f MiB peak, %.0f MiB of it the program\n", f->peak_mib, f->program_mib);
    for (int i = 0; i <= f->n_phases; i++)
        printf("  %-18s %5.1f %%\n", i < f->n_phases ? f->names[i] : "update",
               100.0 * f->shares[i]);
}

static cf_err print_json(const bench *b, const bench_options *o, const figures *f)
{
    cf_buf out = {0};
    cf_json j;
    cf_json_begin(&j, &out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "device", f->device);
    cf_json_string(&j, "precision", b->config.train_precision == 0 ? "fp32" : "bf16");
    cf_json_integer(&j, "image_size", b->g->nodes[0].out_shape.h);
    cf_json_integer(&j, "batch", o->batch);
    cf_json_integer(&j, "runs", o->repeats);
    cf_json_integer(&j, "steps", o->steps);
    cf_json_integer(&j, "parameters", b->g->n_weights);
    cf_json_number(&j, "images_per_second", f->median);
    cf_json_number(&j, "images_per_second_min", f->low);
    cf_json_number(&j, "images_per_second_max", f->high);
    cf_json_number(&j, "gflops", f->gflops);
    cf_json_number(&j, "peak_mib", f->peak_mib);
    cf_json_number(&j, "program_mib", f->program_mib);
    cf_json_object(&j, "shares");
    for (int i = 0; i <= f->n_phases; i++)
        cf_json_number(&j, i < f->n_phases ? f->names[i] : "update", f->shares[i]);
    cf_json_end_object(&j);
    cf_json_end_object(&j);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) printf("%s\n", cf_buf_text(&out));
    cf_buf_fini(&out);
    return err;
}

static cf_err run_bench(const bench_options *o)
{
    bench b = {0};
    double rates[64];
    int64_t before[16] = {0};
    cf_err err = open_bench(o, &b);
    if (err == CF_OK) err = run_step(&b); /* warm-up: first touch of memory */
    if (err == CF_OK) {
        const char *const *names = NULL;
        const int64_t *ns = NULL;
        int n = b.ops->phases != NULL ? b.ops->phases(b.program, &names, &ns) : 0;
        for (int i = 0; i < n; i++) before[i] = ns[i];
        b.update_ns = 0;
        err = measure(&b, o, rates);
    }
    if (err == CF_OK) {
        figures f = collect(&b, o, rates, before);
        if (o->json) {
            err = print_json(&b, o, &f);
        } else {
            print_text(&b, o, &f);
        }
    }
    close_bench(&b);
    return err;
}

static cf_err bench_verb(int argc, char **argv)
{
    bench_options o = {.device = "auto", .batch = 8, .repeats = 5, .steps = 3};
    cf_strings operands = {0};
    bool help = false;
    const cf_option options[] = {
        {"config", 'c', CF_OPTION_TEXT, &o.config, 0, 0, "FILE",
         "network of this configuration; without: standard ResNeXt-50, 250x250, 22 outputs"},
        {"set", 0, CF_OPTION_MANY, &o.overrides, 0, 0, "KEY=VALUE", "one key of the configuration"},
        {"batch", 'b', CF_OPTION_INT, &o.batch, 1, 4096, "N", "images of a step (8)"},
        {"precision", 'p', CF_OPTION_TEXT, &o.precision, 0, 0, "fp32|bf16", "as configured"},
        {"threads", 't', CF_OPTION_INT, &o.threads, 0, 1024, "N", "compute threads; 0: all (0)"},
        {"device", 'd', CF_OPTION_TEXT, &o.device, 0, 0, "NAME", "auto, cpu or cuda (auto)"},
        {"runs", 'n', CF_OPTION_INT, &o.repeats, 1, 64, "N", "timed runs (5)"},
        {"steps", 's', CF_OPTION_INT, &o.steps, 1, 10000, "N", "steps of a run (3)"},
        {"json", 0, CF_OPTION_FLAG, &o.json, 0, 0, NULL, "print JSON"},
    };
    cf_err err = cf_options_parse(&cf_verb_bench, options, (int)(sizeof options / sizeof *options),
                                  argc, argv, 0, 0, &operands, &help);
    if (err == CF_OK && !help) err = run_bench(&o);
    cf_strings_fini(&operands);
    cf_strings_fini(&o.overrides);
    return err;
}

const cf_verb cf_verb_bench = {
    .name = "bench",
    .summary = "throughput of training steps on this machine",
    .usage = "[--config FILE] [--batch N] [--precision fp32|bf16] [--threads N]",
    .details =
        "A step is forward, loss, backward, optimizer and packing the new weights, on random\n"
        "images. Median and range of the timed runs; the shares are of the first thread's\n"
        "time by kind of work.",
    .run = bench_verb,
};
