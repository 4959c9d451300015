/* cytofold plan: grid, predicted time and memory of a job for any number of workers; nothing is
 * run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "launch/estimate.h"
#include "launch/plan_card.h"
#include "launch/plan_simulate.h"
#include "launch/plan_sweep.h"
#include "launch/setup.h"
#include "launch/verbs.h"
#include "launch/workers_list.h"
#include "worker/memory.h"

static cf_err run_plan(int argc, char **argv);

const cf_verb cf_verb_plan = {
    .name = "plan",
    .summary = "grid, predicted time and memory of a job, nothing run",
    .usage = "CONFIG --workers N [--images N] [--micro-seconds S] [--device D] [--simulate "
             "[--measured FILE] ...] [--set key=value]... [--json]",
    .details =
        "The images of each class come from data.cells where that file is there, else from "
        "--images, else\nfrom the counts published in the scheme. The time of a micro-batch is the "
        "one given, else an\nestimate from multiply-accumulates; the plan says which. `cytofold "
        "bench` "
        "measures it.\n\n"
        "Of a configuration with a section sweep it shows which workers train which points, and "
        "when.\n\n"
        "--simulate runs the schedule of folds, micro-batches and sums step by step through a "
        "model "
        "of the\nnetwork (coordinator/network.h), for workers up to 4096; times of GPUs come from "
        "--measured.",
    .run = run_plan,
};

typedef struct plan_options {
    const char *config_path, *scheme, *device, *workers;
    cf_strings overrides;
    int64_t images;
    double micro_seconds;
    bool json;
    cf_simulate_options simulate;
} plan_options;

typedef struct job_plan {
    cf_setup setup;
    cf_graph *graph;
    const char *images_source;
    int64_t *counts; /* owned, [n_classes] */
    int64_t n_images;
    cf_grid_cost cost;
    cf_grid grid;
    int most_folds; /* of one group: the rank with most models */
    cf_rank_memory memory;
    bool has_card;
    cf_card_table card; /* has_card */
} job_plan;

/* ---- making -----------------------------------------------------------------------------------
 */

static cf_err count_images(const plan_options *o, job_plan *p)
{
    const cf_scheme *s = p->setup.scheme;
    CF_TRY(cf_new(&p->counts, (size_t)s->n_classes, sizeof *p->counts));
    p->images_source = o->images > 0        ? "--images"
                       : p->setup.has_cells ? "data.cells"
                                            : "the scheme's counts";
    if (o->images == 0 && p->setup.has_cells) {
        if (p->setup.cells.scheme.n_classes != s->n_classes)
            return cf_fail(CF_E_USAGE,
                           "scheme %s has %d classes, the cells file was packed with %d", s->name,
                           s->n_classes, p->setup.cells.scheme.n_classes);
        cf_cells_count(&p->setup.cells, p->counts);
    }
    for (int k = 0; k < s->n_classes; k++) {
        if (o->images > 0)
            p->counts[k] = o->images;
        else if (!p->setup.has_cells)
            p->counts[k] = s->classes[k].published_count;
        p->n_images += p->counts[k];
    }
    if (p->n_images == 0)
        return cf_fail(CF_E_USAGE,
                       "plan: the number of images is not known: pack data.cells first, or give "
                       "--images N (of each class)");
    return CF_OK;
}

static cf_err find_device(const plan_options *o, job_plan *p)
{
    static const char *const devices[] = {"auto", "cpu", "cuda"};
    const char *device = o->device != NULL ? o->device : devices[p->setup.config.run_device];
    return cf_card_is_meant(device, &p->has_card);
}

/* What holds for any number of workers. */
static cf_err make_job(const plan_options *o, job_plan *p)
{
    int n_folds = 0;
    CF_TRY(cf_setup_init(&p->setup, o->config_path, &o->overrides, o->scheme));
    if (p->setup.scheme == NULL)
        return cf_fail(CF_E_USAGE,
                       "%s: no scheme: name data.scheme, an existing data.cells, or --scheme",
                       o->config_path);
    CF_TRY(cf_setup_network(&p->setup, &p->graph));
    CF_TRY(cf_setup_check_init(&p->setup, p->graph));
    CF_TRY(count_images(o, p));
    CF_TRY(cf_setup_folds(&p->setup, &n_folds));
    CF_TRY(cf_estimate(&p->setup.config, p->setup.scheme, p->counts, n_folds, p->graph,
                       o->micro_seconds, &p->cost));
    return find_device(o, p);
}

static cf_err count_workers(const plan_options *o, const cf_config *config, int *workers)
{
    int list[CF_WORKERS_ROWS], n = 0;
    *workers = (int)config->run_workers;
    if (o->workers != NULL) {
        CF_TRY(cf_workers_parse(o->workers, list, &n));
        if (n > 1)
            return cf_fail(CF_E_USAGE, "--workers %s: a list of numbers takes --simulate",
                           o->workers);
        *workers = list[0];
    }
    if (*workers == 0) return cf_fail(CF_E_USAGE, "plan: --workers N is missing");
    return CF_OK;
}

static cf_err make_plan(const plan_options *o, job_plan *p)
{
    int folds_of[CF_GRID_MAX_FOLDS] = {0}, workers = 0;
    const cf_config *config = &p->setup.config;
    CF_TRY(count_workers(o, config, &workers));
    CF_TRY(cf_grid_plan(&p->cost, workers, (int)config->run_groups, &p->grid));
    for (int fold = 0; fold < p->grid.n_folds; fold++) {
        int n = ++folds_of[p->grid.group_of_fold[fold]];
        p->most_folds = n > p->most_folds ? n : p->most_folds;
    }
    if (p->has_card) CF_TRY(cf_card_table_make(&p->setup, p->grid.n_folds, &p->card));
    return cf_rank_memory_estimate(config, p->graph, p->most_folds, &p->memory);
}

static cf_err simulate(const plan_options *o, const job_plan *p, cf_buf *out)
{
    const cf_simulate_job job = {.config_path = o->config_path,
                                 .setup = &p->setup,
                                 .graph = p->graph,
                                 .cost = p->cost,
                                 .micro_given = o->micro_seconds > 0,
                                 .card = p->has_card,
                                 .n_images = p->n_images,
                                 .workers = o->workers};
    return cf_plan_simulate(&o->simulate, &job, o->json, out);
}

static void plan_fini(job_plan *p)
{
    cf_grid_fini(&p->grid);
    free(p->counts);
    cf_graph_destroy(p->graph);
    cf_setup_fini(&p->setup);
}

/* Workers of group g stand side by side: the first and how many. */
static void workers_of(const cf_grid *grid, int g, int *first, int *n)
{
    *first = *n = 0;
    for (int w = 0; w < grid->n_workers; w++) {
        if (grid->group_of_worker[w] != g) continue;
        if ((*n)++ == 0) *first = w;
    }
}

static const char *micro_source(const plan_options *o)
{
    return o->micro_seconds > 0 ? "given" : "estimated";
}

/* ---- printing ---------------------------------------------------------------------------------
 */

static void print_groups(const cf_grid *grid, cf_buf *out)
{
    for (int g = 0; g < grid->n_groups; g++) {
        int first, n;
        const char *comma = " ";
        workers_of(grid, g, &first, &n);
        cf_buf_printf(out, n == 1 ? "group %-6d worker %d" : "group %-6d workers %d", g, first);
        if (n > 1) cf_buf_printf(out, "-%d", first + n - 1);
        cf_buf_printf(out, ": folds");
        for (int fold = 0; fold < grid->n_folds; fold++) {
            if (grid->group_of_fold[fold] != g) continue;
            cf_buf_printf(out, "%s%d", comma, fold);
            comma = ", ";
        }
        cf_buf_printf(out, "\n");
    }
}

static void print_speed(const plan_options *o, const job_plan *p, cf_buf *out)
{
    const cf_config *config = &p->setup.config;
    cf_buf_printf(out, "micro-batch  %.4g s of %" PRId64 " images, %s", p->cost.micro_seconds,
                  config->train_micro_batch, micro_source(o));
    if (o->micro_seconds == 0)
        cf_buf_printf(out, " (3 x %.4g GMAC an image at %.3g GMAC/s a worker)",
                      (double)cf_graph_macs(p->graph) / 1e9,
                      (config->train_precision != CF_PRECISION_FP32 ? CF_ESTIMATE_MACS_BF16
                                                                    : CF_ESTIMATE_MACS_FP32) /
                          1e9);
    cf_buf_printf(out, "\nstep         %d micro-batches, update %.3g s, ", p->cost.micro_per_step,
                  p->cost.update_seconds);
    cf_print_bytes(out, p->cost.reduce_bytes);
    cf_buf_printf(out, " summed at %.3g GB/s (assumed)\n", p->cost.bytes_per_second / 1e9);
}

/* The memory of the host; with a card the models are there. */
static void print_memory(const job_plan *p, cf_buf *out)
{
    if (p->has_card) return;
    cf_buf_printf(out, "memory       ");
    cf_rank_memory_write(&p->memory, out);
    cf_buf_printf(
        out, "\n             of a worker with %d %s, libraries and the mapped cells file apart\n",
        p->most_folds, p->most_folds == 1 ? "fold" : "folds");
}

static cf_err print_text(const plan_options *o, const job_plan *p, cf_buf *out)
{
    const cf_config *config = &p->setup.config;
    cf_buf_printf(out, "plan of %s for %d %s\n\n", o->config_path, p->grid.n_workers,
                  p->grid.n_workers == 1 ? "worker" : "workers");
    print_groups(&p->grid, out);
    cf_buf_printf(out, "images       %" PRId64 " in %d classes, by %s\n", p->n_images,
                  p->setup.scheme->n_classes, p->images_source);
    cf_buf_printf(
        out, "network      %" PRId64 " parameters, %.4g GMAC an image of %" PRId64 " px\n",
        p->graph->n_weights, (double)cf_graph_macs(p->graph) / 1e9, config->model_image_size);
    cf_buf_printf(out, "steps        %" PRId64 " a fold: %" PRId64 " epochs of %" PRId64 "\n",
                  p->cost.steps_per_fold, config->train_epochs,
                  p->cost.steps_per_fold / config->train_epochs);
    print_speed(o, p, out);
    cf_buf_printf(out, "training     ");
    cf_print_seconds(out, p->grid.seconds);
    cf_buf_printf(out, " (");
    cf_print_seconds(out, p->grid.ideal_seconds);
    cf_buf_printf(out, " without waiting and talking: %.0f %%), %.4g worker-hours\n",
                  100 * p->grid.ideal_seconds / p->grid.seconds,
                  p->grid.seconds * p->grid.n_workers / 3600);
    print_memory(p, out);
    if (p->grid.n_workers > p->cost.micro_per_step)
        cf_buf_printf(out,
                      "note         %d micro-batches a step: no more than %d workers can share a "
                      "fold; a larger "
                      "train.batch or a smaller train.micro_batch lets more\n",
                      p->cost.micro_per_step, p->cost.micro_per_step);
    if (!p->has_card) return CF_OK;
    if (o->micro_seconds == 0)
        cf_buf_printf(out, "note         times are estimated for CPU cores; for GPUs give "
                           "--micro-seconds as `cytofold bench` measures it\n");
    return cf_card_table_write(&p->card, config, out);
}

static void put_groups(const cf_grid *grid, cf_json *j)
{
    cf_json_array(j, "groups");
    for (int g = 0; g < grid->n_groups; g++) {
        cf_json_object(j, NULL);
        cf_json_array(j, "workers");
        for (int w = 0; w < grid->n_workers; w++)
            if (grid->group_of_worker[w] == g) cf_json_integer(j, NULL, w);
        cf_json_end_array(j);
        cf_json_array(j, "folds");
        for (int fold = 0; fold < grid->n_folds; fold++)
            if (grid->group_of_fold[fold] == g) cf_json_integer(j, NULL, fold);
        cf_json_end_array(j);
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
}

static void print_json(const plan_options *o, const job_plan *p, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "config", o->config_path);
    cf_json_integer(&j, "workers", p->grid.n_workers);
    cf_json_integer(&j, "folds", p->grid.n_folds);
    put_groups(&p->grid, &j);
    cf_json_integer(&j, "images", p->n_images);
    cf_json_string(&j, "images_source", p->images_source);
    cf_json_integer(&j, "parameters", p->graph->n_weights);
    cf_json_integer(&j, "macs", cf_graph_macs(p->graph));
    cf_json_integer(&j, "steps_per_fold", p->cost.steps_per_fold);
    cf_json_integer(&j, "micro_per_step", p->cost.micro_per_step);
    cf_json_number(&j, "micro_seconds", p->cost.micro_seconds);
    cf_json_string(&j, "micro_seconds_source", micro_source(o));
    cf_json_number(&j, "update_seconds", p->cost.update_seconds);
    cf_json_number(&j, "reduce_bytes", p->cost.reduce_bytes);
    cf_json_number(&j, "bytes_per_second", p->cost.bytes_per_second);
    cf_json_number(&j, "latency_seconds", p->cost.latency_seconds);
    cf_json_number(&j, "seconds", p->grid.seconds);
    cf_json_number(&j, "ideal_seconds", p->grid.ideal_seconds);
    cf_json_number(&j, "worker_hours", p->grid.seconds * p->grid.n_workers / 3600);
    cf_json_integer(&j, "folds_of_fullest_worker", p->most_folds);
    cf_rank_memory_write_json(&p->memory, &j);
    if (p->has_card) cf_card_table_write_json(&p->card, &j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

static cf_err print_plan(const plan_options *o, job_plan *p, cf_buf *out)
{
    CF_TRY(make_plan(o, p));
    if (!o->json) return print_text(o, p, out);
    print_json(o, p, out);
    return CF_OK;
}

static cf_err plan_one(const plan_options *o)
{
    job_plan *p = NULL; /* holds a configuration: too large for the stack */
    cf_buf out = {0};
    CF_TRY(cf_new(&p, 1, sizeof *p));
    cf_err err = make_job(o, p);
    if (err == CF_OK) err = o->simulate.wanted ? simulate(o, p, &out) : print_plan(o, p, &out);
    if (err == CF_OK) err = cf_buf_check(&out);
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    cf_buf_fini(&out);
    plan_fini(p);
    free(p);
    return err;
}

/* ---- sweeps -----------------------------------------------------------------------------------
 */

/* n_folds 0: of the costs; else the memory of a worker with so many. */
static cf_err plan_point(const plan_options *o, cf_plan_sweep *s, int point, int n_folds)
{
    plan_options one = *o; /* its overrides are the point's */
    cf_plan_point *out = &s->points[point];
    cf_rank_memory memory = {0};
    job_plan *p = NULL;
    char name[32];
    CF_TRY(cf_new(&p, 1, sizeof *p));
    one.overrides = (cf_strings){0};
    cf_err err = cf_sweep_overrides(&s->sweep, point, &o->overrides, &one.overrides);
    if (err == CF_OK) err = make_job(&one, p);
    if (err == CF_OK && n_folds > 0)
        err = cf_rank_memory_estimate(&p->setup.config, p->graph, n_folds, &memory);
    if (err == CF_OK && n_folds == 0) {
        out->cost = p->cost;
        out->n_weights = p->graph->n_weights;
        s->n_images = p->n_images;
        s->images_source = p->images_source;
    }
    out->memory_bytes = memory.total;
    cf_strings_fini(&one.overrides);
    plan_fini(p);
    free(p);
    cf_sweep_name(point, name);
    return cf_where(err, "%s", name);
}

/* What points share: workers and groups are not of a sweep. */
static cf_err read_shared(const plan_options *o, int *workers, int *groups)
{
    cf_config *config = NULL;
    CF_TRY(cf_new(&config, 1, sizeof *config));
    cf_err err = cf_config_read(o->config_path, config);
    for (size_t i = 0; i < o->overrides.n && err == CF_OK; i++)
        err = cf_config_set(config, o->overrides.items[i]);
    if (err == CF_OK) err = count_workers(o, config, workers);
    *groups = (int)config->run_groups;
    free(config);
    return err;
}

static cf_err make_sweep(const plan_options *o, cf_plan_sweep *s)
{
    int workers = 0, groups = 0;
    CF_TRY(read_shared(o, &workers, &groups));
    CF_TRY(cf_new(&s->points, (size_t)s->sweep.n_points, sizeof *s->points));
    for (int point = 0; point < s->sweep.n_points; point++) CF_TRY(plan_point(o, s, point, 0));
    CF_TRY(cf_plan_sweep_deal(s, workers, groups));
    for (int point = 0; point < s->sweep.n_points; point++) {
        int most = 0;
        CF_TRY(cf_plan_sweep_most_folds(s, point, groups, &most));
        CF_TRY(plan_point(o, s, point, most));
    }
    return CF_OK;
}

/* Consumes the sweep. */
static cf_err plan_sweep(const plan_options *o, cf_sweep *sweep)
{
    cf_buf out = {0};
    cf_plan_sweep s = {
        .config_path = o->config_path, .sweep = *sweep, .micro_source = micro_source(o)};
    cf_err err = make_sweep(o, &s);
    if (err == CF_OK && o->json) cf_plan_sweep_write_json(&s, &out);
    if (err == CF_OK && !o->json) cf_plan_sweep_write(&s, &out);
    if (err == CF_OK) err = cf_buf_check(&out);
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    cf_buf_fini(&out);
    cf_plan_sweep_fini(&s);
    return err;
}

static cf_err plan(const plan_options *o)
{
    cf_sweep sweep;
    cf_err read = cf_sweep_read(o->config_path, &o->overrides, &sweep);
    if (read == CF_OK && sweep.n_points > 0 && !o->simulate.wanted) return plan_sweep(o, &sweep);
    if (read == CF_OK && sweep.n_points > 0)
        read = cf_fail(CF_E_USAGE,
                       "plan: --simulate is of one run, %s has a sweep of %d points; give it a "
                       "configuration without section sweep",
                       o->config_path, sweep.n_points);
    cf_sweep_fini(&sweep);
    return read == CF_OK ? plan_one(o) : read;
}

static cf_err run_plan(int argc, char **argv)
{
    plan_options o = {0};
    cf_simulate_options *s = &o.simulate;
    bool help = false;
    const cf_option options[] = {
        {"workers", 0, CF_OPTION_TEXT, &o.workers, 0, 0, "N",
         "workers: GPUs, or ranks of a few cores (default: run.workers); with --simulate a list "
         "as 1,2,4,...,1024"},
        {"images", 0, CF_OPTION_INT, &o.images, 1, 1e9, "N",
         "images of each class, instead of real counts"},
        {"micro-seconds", 0, CF_OPTION_NUM, &o.micro_seconds, 1e-9, 1e6, "S",
         "measured seconds of one micro-batch on one worker (default: estimated)"},
        {"scheme", 0, CF_OPTION_TEXT, &o.scheme, 0, 0, "S", "class scheme (default: data.scheme)"},
        {"device", 0, CF_OPTION_TEXT, &o.device, 0, 0, "auto|cpu|cuda",
         "cuda adds the memory of a GPU (default: run.device; auto: where there is one)"},
        {"set", 0, CF_OPTION_MANY, &o.overrides, 0, 0, "KEY=VALUE",
         "override a key of the configuration"},
        {"simulate", 0, CF_OPTION_FLAG, &s->wanted, 0, 0, NULL,
         "simulate the whole run on a network, for each number of workers"},
        {"measured", 0, CF_OPTION_TEXT, &s->measured, 0, 0, "FILE",
         "step time: from bench --json, or from the report of launch/gpu-check.sh"},
        {"reduction", 0, CF_OPTION_TEXT, &s->method, 0, 0, "M",
         "ring, tree, doubling, halving, shares, or best: of ring and tree (GPUs: best, else "
         "shares)"},
        {"node", 0, CF_OPTION_INT, &s->ranks_per_node, 1, 4096, "N", "workers of a node (8)"},
        {"node-us", 0, CF_OPTION_NUM, &s->inside_us, 1e-9, 1e9, "US",
         "latency between workers of a node (GPUs 5, else 20)"},
        {"node-gbs", 0, CF_OPTION_NUM, &s->inside_gbs, 1e-9, 1e9, "GB/S",
         "bandwidth of a worker inside its node (GPUs 300, else 3)"},
        {"link-us", 0, CF_OPTION_NUM, &s->between_us, 1e-9, 1e9, "US",
         "latency between nodes (GPUs 10, else 50)"},
        {"link-gbs", 0, CF_OPTION_NUM, &s->between_gbs, 1e-9, 1e9, "GB/S",
         "bandwidth of a node to others, one direction (GPUs 25, else 1.25)"},
        {"host-gbs", 0, CF_OPTION_NUM, &s->host_gbs, 1e-9, 1e9, "GB/S",
         "rate at which a worker's processor moves and adds sums (no time)"},
        {"json", 0, CF_OPTION_FLAG, &o.json, 0, 0, NULL, "print one JSON object"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_plan, options, sizeof options / sizeof options[0], argc,
                                  argv, 1, 1, &operands, &help);
    if (err == CF_OK && !help) {
        o.config_path = operands.items[0];
        err = plan(&o);
    }
    cf_strings_fini(&o.overrides);
    cf_strings_fini(&operands);
    return err;
}
