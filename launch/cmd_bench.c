/* `cytofold bench`: throughput of training steps of a network on this machine, without data. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "kernels/base/log.h"
#include "launch/bench.h"
#include "launch/verbs.h"

enum { MAX_RUNS = 64, MAX_PHASES = 32 };

/* ---- measuring --------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Images a second of each run, sorted. */
static cf_err measure(cf_bench *b, const cf_bench_options *o, double *rates)
{
    for (int64_t r = 0; r < o->repeats; r++) {
        int64_t start = cf_clock_ns();
        for (int64_t s = 0; s < o->steps; s++) CF_TRY(cf_bench_step(b));
        CF_TRY(cf_bench_finish(b));
        rates[r] = (double)(o->steps * o->batch) * 1e9 / (double)(cf_clock_ns() - start);
    }
    qsort(rates, (size_t)o->repeats, sizeof *rates, by_value);
    return CF_OK;
}

/* ---- report -----------------------------------------------------------------------------------
 */

typedef struct figures {
    double median, low, high, gflops; /* images/s; GFLOP/s at the median */
    double peak_mib, program_mib, device_mib;
    char device[256];
    const char *names[MAX_PHASES + 1]; /* kinds of work; the last one is the update */
    double phase_ms[MAX_PHASES + 1];   /* of a step */
    double all_ms, step_ms;
    int n_phases; /* 0: not measured */
} figures;

/* Time by kind of work since compile, of which there may be more than we print. */
static int read_phases(const cf_bench *b, const char *names[MAX_PHASES], int64_t ns[MAX_PHASES])
{
    const char *const *all = NULL;
    const int64_t *spent = NULL;
    int n = b->ops->phases != NULL ? b->ops->phases(b->program, &all, &spent) : 0;
    if (n > MAX_PHASES) n = MAX_PHASES;
    for (int i = 0; i < n; i++) {
        names[i] = all[i];
        ns[i] = spent[i];
    }
    return n;
}

static void collect_phases(const cf_bench *b, const cf_bench_options *o, const int64_t *before,
                           figures *f)
{
    int64_t ns[MAX_PHASES];
    double steps = (double)(o->repeats * o->steps);
    int n = read_phases(b, f->names, ns);
    if (!b->waits) return;
    for (int i = 0; i < n; i++) f->phase_ms[i] = 1e-6 * (double)(ns[i] - before[i]) / steps;
    f->names[n] = "update";
    f->phase_ms[n] = 1e-6 * (double)b->update_ns / steps;
    f->n_phases = n + 1;
    for (int i = 0; i < f->n_phases; i++) f->all_ms += f->phase_ms[i];
}

static cf_err collect(const cf_bench *b, const cf_bench_options *o, const double *rates,
                      const int64_t *before, figures *f)
{
    *f = (figures){.median = rates[o->repeats / 2], .low = rates[0], .high = rates[o->repeats - 1]};
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    f->peak_mib = (double)usage.ru_maxrss / 1024.0;
    f->program_mib = (double)b->ops->program_bytes(b->program) / 1048576.0;
    if (b->ops->memory != NULL) {
        size_t left = 0, total = 0;
        CF_TRY(b->ops->memory(b->backend, &left, &total));
        f->device_mib = (double)(total - left) / 1048576.0;
    }
    /* Forward, gradient of the input, gradient of the filters: three times two operations. */
    f->gflops = f->median * 6.0 * (double)cf_graph_macs(b->g) * 1e-9;
    f->step_ms = 1e3 * (double)o->batch / f->median;
    b->ops->describe(b->backend, f->device, sizeof f->device);
    collect_phases(b, o, before, f);
    return CF_OK;
}

static const char *augmentation_of(const cf_bench *b)
{
    if (!b->ops->augments) return "none";
    return b->held ? "device, images held there" : "device, images sent there";
}

static void print_text(const cf_bench *b, const cf_bench_options *o, const figures *f)
{
    const cf_shape *s = &b->g->nodes[0].out_shape;
    printf("%s, %s, %lldx%lld, batch %lld, %lld parameters, augmentation: %s\n", f->device,
           cf_dtype_name(b->dtype), (long long)s->h, (long long)s->w, (long long)o->batch,
           (long long)b->g->n_weights, augmentation_of(b));
    printf("%.2f images/s (%.2f to %.2f, %lld runs of %lld steps), %.1f ms a step, %.0f GFLOP/s\n",
           f->median, f->low, f->high, (long long)o->repeats, (long long)o->steps, f->step_ms,
           f->gflops);
    printf("memory: %.0f MiB peak, %.0f MiB of it the program\n", f->peak_mib, f->program_mib);
    if (b->ops->memory != NULL) printf("device memory in use: %.0f MiB\n", f->device_mib);
    for (int i = 0; i < f->n_phases; i++)
        printf("  %-18s %5.1f %% %9.3f ms\n", f->names[i], 100.0 * f->phase_ms[i] / f->all_ms,
               f->phase_ms[i]);
}

static void put_phases(const figures *f, cf_json *j)
{
    cf_json_object(j, "shares");
    for (int i = 0; i < f->n_phases; i++)
        cf_json_number(j, f->names[i], f->phase_ms[i] / f->all_ms);
    cf_json_end_object(j);
    cf_json_object(j, "phase_ms");
    for (int i = 0; i < f->n_phases; i++) cf_json_number(j, f->names[i], f->phase_ms[i]);
    cf_json_end_object(j);
}

static cf_err print_json(const cf_bench *b, const cf_bench_options *o, const figures *f)
{
    cf_buf out = {0};
    cf_json j;
    cf_json_begin(&j, &out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "backend", b->ops->name);
    cf_json_string(&j, "device", f->device);
    cf_json_string(&j, "precision", cf_dtype_name(b->dtype));
    cf_json_string(&j, "augmentation", augmentation_of(b));
    cf_json_integer(&j, "image_size", b->g->nodes[0].out_shape.h);
    cf_json_integer(&j, "batch", o->batch);
    cf_json_integer(&j, "runs", o->repeats);
    cf_json_integer(&j, "steps", o->steps);
    cf_json_integer(&j, "parameters", b->g->n_weights);
    cf_json_number(&j, "images_per_second", f->median);
    cf_json_number(&j, "images_per_second_min", f->low);
    cf_json_number(&j, "images_per_second_max", f->high);
    cf_json_number(&j, "step_ms", f->step_ms);
    cf_json_number(&j, "gflops", f->gflops);
    cf_json_number(&j, "peak_mib", f->peak_mib);
    cf_json_number(&j, "program_mib", f->program_mib);
    cf_json_number(&j, "device_mib", f->device_mib);
    put_phases(f, &j);
    cf_json_end_object(&j);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) printf("%s\n", cf_buf_text(&out));
    cf_buf_fini(&out);
    return err;
}

static cf_err run_bench(const cf_bench_options *o)
{
    cf_bench b;
    double rates[MAX_RUNS];
    const char *names[MAX_PHASES];
    int64_t before[MAX_PHASES] = {0};
    figures f;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_bench_open(o, &b), out);
    /* Warm-up: first touch of memory; on a device the second step is the one it repeats. */
    for (int i = 0; i < (b.ops->on_device ? 3 : 1); i++) CF_TRY_GOTO(cf_bench_step(&b), out);
    CF_TRY_GOTO(cf_bench_finish(&b), out);
    (void)read_phases(&b, names, before);
    b.update_ns = 0;
    CF_TRY_GOTO(measure(&b, o, rates), out);
    CF_TRY_GOTO(collect(&b, o, rates, before, &f), out);
    if (o->json)
        err = print_json(&b, o, &f);
    else
        print_text(&b, o, &f);
out:
    cf_bench_close(&b);
    return err;
}

static cf_err bench_verb(int argc, char **argv)
{
    cf_bench_options o = {.device = "auto", .batch = 8, .repeats = 5, .steps = 3};
    cf_strings operands = {0};
    bool help = false;
    const cf_option options[] = {
        {"config", 'c', CF_OPTION_TEXT, &o.config, 0, 0, "FILE",
         "network of this configuration; without: standard ResNeXt-50, 250x250, 22 outputs"},
        {"set", 0, CF_OPTION_MANY, &o.overrides, 0, 0, "KEY=VALUE", "one key of the configuration"},
        {"batch", 'b', CF_OPTION_INT, &o.batch, 1, 4096, "N", "images of a step (8)"},
        {"precision", 'p', CF_OPTION_TEXT, &o.precision, 0, 0, "fp32|bf16|fp16", "as configured"},
        {"threads", 't', CF_OPTION_INT, &o.threads, 0, 1024, "N", "compute threads; 0: all (0)"},
        {"device", 'd', CF_OPTION_TEXT, &o.device, 0, 0, "auto|cpu|cuda", "where to run (auto)"},
        {"runs", 'n', CF_OPTION_INT, &o.repeats, 1, MAX_RUNS, "N", "timed runs (5)"},
        {"steps", 's', CF_OPTION_INT, &o.steps, 1, 10000, "N", "steps of a run (3)"},
        {"engines", 'e', CF_OPTION_TEXT, &o.engines, 0, 0, "FILE",
         "choices of convolution engines, read and added to (cuda)"},
        {"phases", 0, CF_OPTION_FLAG, &o.phases, 0, 0, NULL,
         "time kinds of work on the device; steps are then slower"},
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
    .usage = "[--config FILE] [--batch N] [--precision P] [--device NAME]",
    .details =
        "A step is forward, loss, backward, optimizer and packing the new weights, on random\n"
        "images; on a GPU, augmentation too. Median and range of the timed runs; the shares are\n"
        "of the first thread's time by kind of work, on a GPU of its time with --phases.",
    .run = bench_verb,
};
