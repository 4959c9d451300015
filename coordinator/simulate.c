/* Ranks of a group that have equally much to do behave alike, so three stand for all of them: the
 * leader, who also saves; those with as many micro-batches as the leader; those with one fewer. */
#include "coordinator/simulate.h"

#include <math.h>

/* Ranks that behave alike. */
typedef struct kind {
    int micros;  /* of a step */
    double now;  /* its clock */
    double lost; /* seconds spent on sums and on waiting for them */
} kind;

enum { LEADER, FULL, LIGHT, MAX_KINDS };

typedef struct group {
    const cf_sim_job *job;
    int ranks, folds;
    kind kinds[MAX_KINDS];
    int n_kinds;
    int n_ranges;
    cf_sim_range ranges[CF_SIM_MAX_RANGES];
    double travel[CF_SIM_MAX_RANGES]; /* seconds of each range on the network */
    double host_seconds;              /* processor time of one sum */
    double link_free;                 /* when the network has brought the last sum */
    double writer_free;               /* when the thread has written the last checkpoint */
    int64_t n_chunks;                 /* test micro-batches of the busiest rank, a fold */
} group;

/* A sum under way. */
typedef struct flight {
    int fold;    /* -1: none */
    double done; /* when it is there */
} flight;

/* ---- one group --------------------------------------------------------------------------------
 */

/* A sum can begin when all ranks have sent it off, and follows the one before: both share the link.
 */
static double send_off(group *g)
{
    for (int i = 0; i < g->n_ranges; i++) {
        double ready = 0;
        for (int k = 0; k < g->n_kinds; k++) {
            double lead = g->kinds[k].micros > 0 ? g->ranges[i].lead_seconds : 0;
            ready = fmax(ready, g->kinds[k].now - lead);
        }
        g->link_free = fmax(g->link_free, ready) + g->travel[i];
    }
    return g->link_free;
}

static void compute(group *g, int fold, flight *f)
{
    for (int k = 0; k < g->n_kinds; k++)
        g->kinds[k].now += g->kinds[k].micros * g->job->micro_seconds;
    *f = (flight){.fold = fold, .done = send_off(g)};
}

static void test_fold(group *g)
{
    for (int k = 0; k < g->n_kinds; k++)
        g->kinds[k].now += (double)g->n_chunks * g->job->infer_seconds;
}

/* The thread has one slot: a snapshot waits for the one before to be written. */
static void save(group *g)
{
    kind *leader = &g->kinds[LEADER];
    leader->now = fmax(leader->now, g->writer_free) + g->job->snapshot_seconds;
    g->writer_free = leader->now + g->job->write_seconds;
}

static void end_epoch(group *g, int64_t epoch)
{
    const cf_sim_job *job = g->job;
    bool last = epoch == job->epochs;
    if (last || epoch % job->checkpoint_every == 0) save(g);
    if (!last && job->evaluate_every > 0 && epoch % job->evaluate_every == 0) test_fold(g);
}

/* step: of the fold, counted from 1. */
static void finish(group *g, flight *f, int64_t step)
{
    if (f->fold < 0) return;
    for (int k = 0; k < g->n_kinds; k++) {
        kind *rank = &g->kinds[k];
        double resumed = fmax(rank->now, f->done) + g->host_seconds;
        rank->lost += resumed - rank->now;
        rank->now = resumed + g->job->update_seconds;
    }
    f->fold = -1;
    if (step % g->job->steps_per_epoch == 0) end_epoch(g, step / g->job->steps_per_epoch);
}

/* Every fold has as many steps, so turns are plain rounds. */
static void run_steps(group *g)
{
    int64_t total = g->job->steps_per_epoch * g->job->epochs;
    flight slots[2] = {{.fold = -1}, {.fold = -1}};
    flight *slot = &slots[0], *other = &slots[1];
    for (int64_t step = 0; step < total; step++) {
        for (int fold = 0; fold < g->folds; fold++) {
            /* The other slot has the fold before this one, which of fold 0 was a round ago. */
            int64_t others_step = fold > 0 ? step + 1 : step;
            if (other->fold == fold) finish(g, other, others_step);
            compute(g, fold, slot);
            finish(g, other, others_step);
            flight *swap = slot;
            slot = other;
            other = swap;
        }
    }
    finish(g, other, total);
}

static double latest(const group *g)
{
    double t = 0;
    for (int k = 0; k < g->n_kinds; k++) t = fmax(t, g->kinds[k].now);
    return t;
}

static void init_kinds(group *g)
{
    int least = g->job->micro_per_step / g->ranks, rest = g->job->micro_per_step % g->ranks;
    int full = rest > 0 ? rest : g->ranks; /* ranks with as many micro-batches as the leader */
    g->kinds[g->n_kinds++].micros = rest > 0 ? least + 1 : least;
    if (full > 1) g->kinds[g->n_kinds++].micros = g->kinds[LEADER].micros;
    if (full < g->ranks) g->kinds[g->n_kinds++].micros = least;
}

/* One fold lets its sums go range by range; several send each sum off as a whole. */
static void init_ranges(group *g)
{
    const cf_sim_job *job = g->job;
    if (g->folds == 1 && g->ranks > 1) {
        g->n_ranges = job->n_ranges;
        for (int i = 0; i < job->n_ranges; i++) g->ranges[i] = job->ranges[i];
        return;
    }
    g->n_ranges = 1;
    for (int i = 0; i < job->n_ranges; i++) g->ranges[0].bytes += job->ranges[i].bytes;
}

/* ---- the grid ---------------------------------------------------------------------------------
 */

static int first_of(const cf_grid *grid, int g, int *ranks)
{
    int first = -1;
    *ranks = 0;
    for (int w = 0; w < grid->n_workers; w++) {
        if (grid->group_of_worker[w] != g) continue;
        if (first < 0) first = w;
        ++*ranks;
    }
    return first;
}

/* Groups with ranks on `node` and on another one. */
static int leaving(const cf_grid *grid, int per_node, int node)
{
    int n = 0, last_group = -1;
    for (int w = node * per_node; w < (node + 1) * per_node && w < grid->n_workers; w++) {
        int g = grid->group_of_worker[w], ranks = 0;
        if (g == last_group) continue;
        last_group = g;
        int first = first_of(grid, g, &ranks);
        n += first / per_node != (first + ranks - 1) / per_node;
    }
    return n;
}

static cf_placement place(const cf_grid *grid, const cf_net *net, int g)
{
    cf_placement at = {.shared = 1};
    at.first = first_of(grid, g, &at.ranks);
    int per_node = net->ranks_per_node;
    for (int node = at.first / per_node; node <= (at.first + at.ranks - 1) / per_node; node++) {
        int n = leaving(grid, per_node, node);
        at.shared = n > at.shared ? n : at.shared;
    }
    return at;
}

static int folds_of(const cf_grid *grid, int g)
{
    int n = 0;
    for (int fold = 0; fold < grid->n_folds; fold++) n += grid->group_of_fold[fold] == g;
    return n;
}

/* Simulates group number i and keeps it in `result` where it ends last. */
static void run_group(const cf_sim_job *job, const cf_net *net, cf_reduction method,
                      const cf_grid *grid, int i, cf_sim_result *result)
{
    cf_placement at = place(grid, net, i);
    group g = {.job = job, .ranks = at.ranks, .folds = folds_of(grid, i)};
    double bytes = 0;
    cf_reduction taken = method;
    init_kinds(&g);
    init_ranges(&g);
    for (int r = 0; r < g.n_ranges; r++) {
        g.travel[r] = cf_network_sum_seconds(net, &at, method, g.ranges[r].bytes, &taken);
        bytes += g.ranges[r].bytes;
    }
    g.host_seconds = cf_network_host_seconds(net, g.ranks, bytes);
    int64_t chunks = (job->test_images + job->images_per_micro - 1) / job->images_per_micro;
    g.n_chunks = (chunks + g.ranks - 1) / g.ranks;
    run_steps(&g);
    double trained = latest(&g), n_steps = (double)(job->steps_per_epoch * job->epochs * g.folds);
    for (int fold = 0; fold < g.folds; fold++) test_fold(&g);
    result->seconds = fmax(result->seconds, fmax(latest(&g), g.writer_free));
    if (i == 0 || g.ranks < result->fewest_ranks) result->fewest_ranks = g.ranks;
    if (g.ranks > result->most_ranks) result->most_ranks = g.ranks;
    if (trained <= result->train_seconds) return;
    result->slowest = i;
    result->train_seconds = trained;
    result->method = taken;
    result->sum_seconds = cf_network_sum_seconds(net, &at, taken, bytes, NULL);
    result->step_seconds = trained / n_steps;
    result->exposed_seconds = g.kinds[LEADER].lost / n_steps;
}

static cf_err check(const cf_sim_job *job, const cf_grid *grid)
{
    if (job->n_folds != grid->n_folds)
        return cf_fail(CF_E_UNEXPECTED, "simulation of %d folds on a grid of %d", job->n_folds,
                       grid->n_folds);
    if (job->steps_per_epoch < 1 || job->epochs < 1 || job->micro_per_step < 1 ||
        job->images_per_micro < 1 || job->checkpoint_every < 1)
        return cf_fail(CF_E_USAGE,
                       "simulation: steps, epochs, micro-batches, images and checkpoint "
                       "interval must be at least 1");
    if (!(job->micro_seconds > 0 && job->update_seconds >= 0 && job->infer_seconds >= 0 &&
          job->snapshot_seconds >= 0 && job->write_seconds >= 0))
        return cf_fail(CF_E_USAGE, "simulation: a negative or undefined time");
    if (job->n_ranges < 1 || job->n_ranges > CF_SIM_MAX_RANGES)
        return cf_fail(CF_E_USAGE, "simulation: %d ranges of a sum, expected 1 to %d",
                       job->n_ranges, CF_SIM_MAX_RANGES);
    for (int i = 0; i < job->n_ranges; i++)
        if (!(job->ranges[i].bytes >= 0 && job->ranges[i].lead_seconds >= 0 &&
              job->ranges[i].lead_seconds <= job->micro_seconds))
            return cf_fail(CF_E_USAGE, "simulation: range %d of a sum has %g bytes, %g s ahead", i,
                           job->ranges[i].bytes, job->ranges[i].lead_seconds);
    return CF_OK;
}

cf_err cf_simulate(const cf_sim_job *job, const cf_net *net, cf_reduction method,
                   const cf_grid *grid, cf_sim_result *result)
{
    *result = (cf_sim_result){.n_workers = grid->n_workers, .n_groups = grid->n_groups};
    CF_TRY(cf_network_check(net));
    CF_TRY(check(job, grid));
    for (int g = 0; g < grid->n_groups; g++) run_group(job, net, method, grid, g, result);
    double steps = (double)(job->steps_per_epoch * job->epochs * job->n_folds);
    double alone = steps * (job->micro_per_step * job->micro_seconds + job->update_seconds);
    double images = steps * job->micro_per_step * job->images_per_micro;
    result->images_per_second = images / result->train_seconds;
    result->efficiency = alone / grid->n_workers / result->train_seconds;
    return CF_OK;
}
