#include "launch/plan_simulate.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "coordinator/markdown.h"
#include "kernels/backend.h"
#include "launch/measured.h"
#include "launch/workers_list.h"
#include "worker/memory.h"

/* Assumptions, printed with every result. GPUs: NVLink and one 200 Gbit/s port a node. Processors:
 * memory shared by the ranks of a host, as the planner assumes, and 10 Gbit/s Ethernet. */
static const cf_net gpu_network = {.ranks_per_node = 8,
                                   .inside = {5e-6, 300e9},
                                   .between = {10e-6, 25e9},
                                   .host_bytes_per_second = (double)INFINITY};
static const cf_net cpu_network = {.ranks_per_node = 8,
                                   .inside = {20e-6, 3e9},
                                   .between = {50e-6, 1.25e9},
                                   .host_bytes_per_second = (double)INFINITY};
/* The optimizer reads and writes about 40 bytes a weight, on a GPU at this rate. */
#define GPU_UPDATE_SECONDS_A_WEIGHT (40.0 / 2e12)
/* A snapshot is copied to the host, then written by a thread. */
#define SNAPSHOT_BYTES_PER_SECOND 8e9
#define WRITE_BYTES_PER_SECOND    5e8
/* Of a training step: forward, gradient of the input, gradient of the filters. */
#define BACKWARD_SHARE (2.0 / 3.0)

typedef struct simulation {
    const cf_simulate_job *job;
    const char *measured_path; /* NULL: none */
    cf_measured measured;      /* measured_path */
    bool card;
    cf_sim_job sim;
    cf_net net;
    bool net_given; /* any of it */
    cf_reduction method;
    int workers[CF_WORKERS_ROWS], n_rows;
    cf_sim_result rows[CF_WORKERS_ROWS];
} simulation;

/* ---- the job ----------------------------------------------------------------------------------
 */

/* As kernels/cuda/shorts.c cuts them: from the end of the flat order, at least a quarter each,
 * where a node's parameters begin; then what the forward pass gives. A range is final when the
 * backward pass has left its first node. */
static void cut_ranges(const cf_graph *g, double element, bool card, cf_sim_job *sim)
{
    double backward = BACKWARD_SHARE * sim->micro_seconds, macs = (double)cf_graph_macs(g);
    double left = macs; /* of nodes that the backward pass has yet to do */
    int64_t end = g->n_weights;
    sim->n_ranges = 0;
    for (int i = g->n_nodes - 1; card && i > 0; i--) {
        left -= (double)g->nodes[i].macs;
        if (g->nodes[i].weight < 0) continue;
        int64_t first = g->params[g->nodes[i].weight].offset;
        if (end - first < g->n_weights / 4 && first > 0) continue;
        sim->ranges[sim->n_ranges++] =
            (cf_sim_range){.bytes = element * (double)(end - first),
                           .lead_seconds = macs > 0 ? backward * fmax(0, left / macs) : 0};
        end = first;
    }
    double rest = (double)(cf_sums_count(g) + 1 - g->n_weights + end);
    sim->ranges[sim->n_ranges++] = (cf_sim_range){.bytes = element * rest};
}

static void set_times(simulation *s)
{
    const cf_simulate_job *job = s->job;
    const cf_config *c = &job->setup->config;
    s->sim.update_seconds = s->card ? GPU_UPDATE_SECONDS_A_WEIGHT * (double)job->graph->n_weights
                                    : job->cost.update_seconds;
    s->sim.micro_seconds = job->cost.micro_seconds;
    if (s->measured_path == NULL) return;
    const cf_measured *m = &s->measured;
    if (m->update_seconds > 0) s->sim.update_seconds = m->update_seconds;
    s->sim.update_seconds = fmin(s->sim.update_seconds, 0.5 * m->step_seconds);
    s->sim.micro_seconds =
        (m->step_seconds - s->sim.update_seconds) * (double)c->train_micro_batch / (double)m->batch;
}

static int64_t most_tested(const simulation *s)
{
    const cf_config *c = &s->job->setup->config;
    if (c->data_split != CF_SPLIT_HOLDOUT)
        return (s->job->n_images + s->sim.n_folds - 1) / s->sim.n_folds;
    return (int64_t)((double)s->job->n_images * c->data_test_share + 0.5);
}

static void set_job(simulation *s)
{
    const cf_simulate_job *job = s->job;
    const cf_config *c = &job->setup->config;
    bool moments = c->train_optimizer != CF_OPTIMIZER_SGD, ema = c->train_ema > 0;
    double element = c->train_reduce == 1 ? 4.0 : 8.0;
    double flat = (double)(job->graph->n_weights + job->graph->n_state) * sizeof(float);
    double bytes = flat * (2 + (moments ? 1 : 0) + (ema ? 1 : 0));
    s->sim = (cf_sim_job){.n_folds = job->cost.n_folds,
                          .steps_per_epoch = job->cost.steps_per_fold / c->train_epochs,
                          .epochs = c->train_epochs,
                          .micro_per_step = job->cost.micro_per_step,
                          .images_per_micro = (int)c->train_micro_batch,
                          .checkpoint_every = c->train_checkpoint_every,
                          .evaluate_every = c->train_evaluate_every,
                          .snapshot_seconds = bytes / SNAPSHOT_BYTES_PER_SECOND,
                          .write_seconds = bytes / WRITE_BYTES_PER_SECOND};
    set_times(s);
    s->sim.infer_seconds = s->sim.micro_seconds * (1 - BACKWARD_SHARE);
    s->sim.test_images = most_tested(s);
    cut_ranges(job->graph, element, s->card, &s->sim);
}

/* ---- the network ------------------------------------------------------------------------------
 */

static double given(double option, double unit, double otherwise)
{
    return option > 0 ? option * unit : otherwise;
}

static cf_err set_network(const cf_simulate_options *o, simulation *s)
{
    const cf_net *d = s->card ? &gpu_network : &cpu_network;
    s->net = (cf_net){.ranks_per_node =
                          o->ranks_per_node > 0 ? (int)o->ranks_per_node : d->ranks_per_node,
                      .inside = {given(o->inside_us, 1e-6, d->inside.latency_seconds),
                                 given(o->inside_gbs, 1e9, d->inside.bytes_per_second)},
                      .between = {given(o->between_us, 1e-6, d->between.latency_seconds),
                                  given(o->between_gbs, 1e9, d->between.bytes_per_second)},
                      .host_bytes_per_second = given(o->host_gbs, 1e9, d->host_bytes_per_second)};
    s->net_given = o->ranks_per_node > 0 || o->inside_us > 0 || o->inside_gbs > 0 ||
                   o->between_us > 0 || o->between_gbs > 0 || o->host_gbs > 0;
    s->method = s->card ? CF_REDUCTION_BEST : CF_REDUCTION_SHARES;
    if (o->method == NULL) return CF_OK;
    for (int i = 0; i < CF_REDUCTIONS; i++) {
        s->method = (cf_reduction)i;
        if (strcmp(o->method, cf_reduction_names[i]) == 0) return CF_OK;
    }
    return cf_fail(CF_E_USAGE,
                   "--reduction %s: expected ring, tree, doubling, halving, shares or best",
                   o->method);
}

static cf_err set_measured(const cf_simulate_options *o, simulation *s)
{
    const cf_simulate_job *job = s->job;
    s->card = job->card;
    s->measured_path = o->measured;
    if (o->measured == NULL) return CF_OK;
    if (job->micro_given)
        return cf_fail(CF_E_USAGE, "plan takes --measured or --micro-seconds, not both");
    CF_TRY(cf_measured_read(o->measured, &s->measured));
    CF_TRY(cf_measured_check(&s->measured, o->measured, &job->setup->config, job->graph));
    s->card = strcmp(s->measured.backend, "cuda") == 0;
    return CF_OK;
}

static cf_err simulate_grid(const simulation *s, const cf_grid_cost *cost, int workers, int groups,
                            cf_sim_result *row)
{
    cf_grid grid = {0};
    CF_TRY(cf_grid_plan(cost, workers, groups, &grid));
    cf_err err = cf_simulate(&s->sim, &s->net, s->method, &grid, row);
    cf_grid_fini(&grid);
    return err;
}

/* Without run.groups the planner's grid, or another that turns out faster here: the planner knows
 * neither nodes nor how sums hide. */
static cf_err simulate_row(const simulation *s, int workers, cf_sim_result *best)
{
    enum { MOST_TRIED = 10 };
    cf_grid_cost cost = s->job->cost;
    int groups = (int)s->job->setup->config.run_groups, n_folds = s->sim.n_folds;
    const cf_link *link = workers > s->net.ranks_per_node ? &s->net.between : &s->net.inside;
    cost.micro_seconds = s->sim.micro_seconds;
    cost.update_seconds = s->sim.update_seconds;
    cost.bytes_per_second = link->bytes_per_second;
    cost.latency_seconds = link->latency_seconds;
    CF_TRY(simulate_grid(s, &cost, workers, groups, best));
    int most = workers < n_folds ? workers : n_folds;
    if (groups > 0 || most > MOST_TRIED) return CF_OK;
    for (groups = 1; groups <= most; groups++) {
        cf_sim_result row;
        if (groups == best->n_groups) continue;
        CF_TRY(simulate_grid(s, &cost, workers, groups, &row));
        if (row.seconds < best->seconds * (1 - 1e-9)) *best = row;
    }
    return CF_OK;
}

/* ---- printing ---------------------------------------------------------------------------------
 */

static const char *micro_source(const simulation *s)
{
    return s->measured_path != NULL ? "measured" : s->job->micro_given ? "given" : "estimated";
}

static void print_link(cf_buf *out, const char *where, const cf_link *link)
{
    cf_buf_printf(out, "%s %.4g us and %.4g GB/s", where, 1e6 * link->latency_seconds,
                  link->bytes_per_second / 1e9);
}

static void print_facts(const simulation *s, cf_buf *out)
{
    const cf_simulate_job *job = s->job;
    const cf_sim_job *sim = &s->sim;
    cf_buf_printf(out, "simulation of %s, nothing is run\n\n", job->config_path);
    cf_buf_printf(
        out, "folds        %d, each %" PRId64 " epochs of %" PRId64 " steps of %d x %d images\n",
        sim->n_folds, sim->epochs, sim->steps_per_epoch, sim->micro_per_step,
        sim->images_per_micro);
    cf_buf_printf(out, "micro-batch  %.4g s, %s", sim->micro_seconds, micro_source(s));
    if (s->measured_path != NULL)
        cf_buf_printf(out, " on %s, in steps of %" PRId64 " images (%s)", s->measured.device,
                      s->measured.batch, s->measured_path);
    cf_buf_printf(out, "; update %.3g s\nsums         ", sim->update_seconds);
    cf_print_bytes(out, job->cost.reduce_bytes);
    cf_buf_printf(out, " a step, %s", cf_reduction_names[s->method]);
    if (s->method == CF_REDUCTION_BEST) cf_buf_printf(out, " of ring and tree");
    if (sim->n_ranges > 1)
        cf_buf_printf(out, ", of one fold in %d ranges as they are ready", sim->n_ranges);
    cf_buf_printf(out, "\nnetwork      %d workers a node; ", s->net.ranks_per_node);
    print_link(out, "inside", &s->net.inside);
    print_link(out, ", a node's link", &s->net.between);
    if (isfinite(s->net.host_bytes_per_second))
        cf_buf_printf(out, ", processors at %.4g GB/s", s->net.host_bytes_per_second / 1e9);
    cf_buf_printf(out, " (%s)\n\n", s->net_given ? "as given" : "assumed");
}

static void put_ranks(cf_markdown *table, const cf_sim_result *r)
{
    if (r->fewest_ranks == r->most_ranks)
        cf_markdown_putf(table, "%d x %d", r->n_groups, r->most_ranks);
    else
        cf_markdown_putf(table, "%d x %d-%d", r->n_groups, r->fewest_ranks, r->most_ranks);
}

static void put_time(cf_markdown *table, double seconds)
{
    int64_t minutes = (int64_t)(seconds / 60 + 0.5);
    if (seconds < 600)
        cf_markdown_putf(table, "%.1f s", seconds);
    else
        cf_markdown_putf(table, "%" PRId64 ":%02" PRId64 " h", minutes / 60, minutes % 60);
}

static cf_err print_table(const simulation *s, cf_buf *out)
{
    cf_markdown table;
    static const char *const heads[] = {"workers",    "groups x ranks", "step ms",    "one sum ms",
                                        "exposed ms", "images/s",       "efficiency", "whole run"};
    cf_markdown_begin(&table, "rlrrrrrr");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) cf_markdown_put(&table, heads[i]);
    for (int i = 0; i < s->n_rows; i++) {
        const cf_sim_result *r = &s->rows[i];
        cf_markdown_putf(&table, "%d", r->n_workers);
        put_ranks(&table, r);
        cf_markdown_putf(&table, "%.2f", 1e3 * r->step_seconds);
        if (r->sum_seconds > 0)
            cf_markdown_putf(&table, "%.2f %s", 1e3 * r->sum_seconds,
                             cf_reduction_names[r->method]);
        else
            cf_markdown_put(&table, "none");
        cf_markdown_putf(&table, "%.2f", 1e3 * r->exposed_seconds);
        cf_markdown_putf(&table, "%.0f", r->images_per_second);
        cf_markdown_putf(&table, "%.1f %%", 100 * r->efficiency);
        put_time(&table, r->seconds);
    }
    return cf_markdown_print(&table, out);
}

static void print_note(const simulation *s, cf_buf *out)
{
    int most = s->sim.micro_per_step * s->sim.n_folds, widest = s->workers[s->n_rows - 1];
    cf_buf_printf(out, "\nA step is the time between two updates of the group that ends last; "
                       "exposed is what its busiest\nrank loses to sums. Not in it: start-up, "
                       "waiting for data, other users of the network.\nTaken is the "
                       "fastest number of groups; run.groups sets it.\n");
    if (widest > most)
        cf_buf_printf(out,
                      "Beyond %d workers some have nothing to do: %d folds of %d micro-batches a "
                      "step; a larger\ntrain.batch or a smaller train.micro_batch lets more.\n",
                      most, s->sim.n_folds, s->sim.micro_per_step);
}

static void put_network(const simulation *s, cf_json *j)
{
    cf_json_object(j, "network");
    cf_json_integer(j, "ranks_per_node", s->net.ranks_per_node);
    cf_json_number(j, "inside_latency_seconds", s->net.inside.latency_seconds);
    cf_json_number(j, "inside_bytes_per_second", s->net.inside.bytes_per_second);
    cf_json_number(j, "between_latency_seconds", s->net.between.latency_seconds);
    cf_json_number(j, "between_bytes_per_second", s->net.between.bytes_per_second);
    cf_json_number(j, "host_bytes_per_second", s->net.host_bytes_per_second);
    cf_json_boolean(j, "given", s->net_given);
    cf_json_end_object(j);
}

static void put_row(const cf_sim_result *r, cf_json *j)
{
    cf_json_object(j, NULL);
    cf_json_integer(j, "workers", r->n_workers);
    cf_json_integer(j, "groups", r->n_groups);
    cf_json_integer(j, "fewest_ranks", r->fewest_ranks);
    cf_json_integer(j, "most_ranks", r->most_ranks);
    cf_json_string(j, "reduction", cf_reduction_names[r->method]);
    cf_json_number(j, "sum_seconds", r->sum_seconds);
    cf_json_number(j, "step_seconds", r->step_seconds);
    cf_json_number(j, "exposed_seconds", r->exposed_seconds);
    cf_json_number(j, "train_seconds", r->train_seconds);
    cf_json_number(j, "seconds", r->seconds);
    cf_json_number(j, "images_per_second", r->images_per_second);
    cf_json_number(j, "efficiency", r->efficiency);
    cf_json_end_object(j);
}

static void print_json(const simulation *s, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "config", s->job->config_path);
    cf_json_integer(&j, "folds", s->sim.n_folds);
    cf_json_integer(&j, "epochs", s->sim.epochs);
    cf_json_integer(&j, "steps_per_epoch", s->sim.steps_per_epoch);
    cf_json_integer(&j, "micro_per_step", s->sim.micro_per_step);
    cf_json_integer(&j, "images_per_micro", s->sim.images_per_micro);
    cf_json_number(&j, "micro_seconds", s->sim.micro_seconds);
    cf_json_string(&j, "micro_seconds_source", micro_source(s));
    cf_json_number(&j, "update_seconds", s->sim.update_seconds);
    cf_json_number(&j, "reduce_bytes", s->job->cost.reduce_bytes);
    cf_json_integer(&j, "ranges", s->sim.n_ranges);
    put_network(s, &j);
    cf_json_array(&j, "rows");
    for (int i = 0; i < s->n_rows; i++) put_row(&s->rows[i], &j);
    cf_json_end_array(&j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

cf_err cf_plan_simulate(const cf_simulate_options *o, const cf_simulate_job *job, bool json,
                        cf_buf *out)
{
    simulation s = {.job = job};
    const char *list = job->workers != NULL ? job->workers : "1,2,4,...,1024";
    CF_TRY(cf_workers_parse(list, s.workers, &s.n_rows));
    CF_TRY(set_measured(o, &s));
    CF_TRY(set_network(o, &s));
    set_job(&s);
    for (int i = 0; i < s.n_rows; i++) CF_TRY(simulate_row(&s, s.workers[i], &s.rows[i]));
    if (json) {
        print_json(&s, out);
        return CF_OK;
    }
    print_facts(&s, out);
    CF_TRY(print_table(&s, out));
    print_note(&s, out);
    return CF_OK;
}
