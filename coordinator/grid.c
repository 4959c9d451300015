#include "coordinator/grid.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

/* ---- cost of one group ------------------------------------------------------------------------
 */

/* A group of r ranks that steps f folds in turn. One step of one fold takes
 *   compute  c = ceil(micro_per_step / r) * micro_seconds + update_seconds   on every rank, and
 *   link     x = 2 (r-1)/r * reduce_bytes / bytes_per_second + 2 (r-1) * latency_seconds
 * for the ring all-reduce, which needs no compute. A fold cannot start its next step before its
 * sums are there, but the other folds can: a round of one step of every fold is bound by the
 * compute, by the link, or by one fold's own chain, whichever is longest: round = max(f c, f x, c +
 * x). With one fold nothing hides the link (c + x); with more the larger of f c and f x decides. */
static double group_seconds(const cf_grid_cost *cost, int ranks, int folds)
{
    double r = ranks, f = folds;
    double compute = ceil(cost->micro_per_step / r) * cost->micro_seconds + cost->update_seconds;
    double link = 0;
    if (ranks > 1)
        link = 2 * (r - 1) / r * cost->reduce_bytes / cost->bytes_per_second +
               2 * (r - 1) * cost->latency_seconds;
    double round = fmax(fmax(f * compute, f * link), compute + link);
    return (double)cost->steps_per_fold * round;
}

/* ---- dealing ----------------------------------------------------------------------------------
 */

/* Workers of group g: as even as can be, the larger groups first. */
static int ranks_of(int n_workers, int groups, int g)
{
    return n_workers / groups + (g < n_workers % groups);
}

/* Deals folds one by one to the group that stays lightest, by (folds + 1) / ranks; an empty group
 * wins a tie, so that with groups <= folds none stays empty: sizes differ by at most one, hence
 * 2/(q+1) >= 1/q. Greedy dealing of equal pieces makes the largest folds/ranks as small as it can
 * be. folds_of: [groups]; group_of_fold: [n_folds] or NULL. */
static void deal_folds(int n_workers, int groups, int n_folds, int *folds_of,
                       int32_t *group_of_fold)
{
    for (int g = 0; g < groups; g++) folds_of[g] = 0;
    for (int fold = 0; fold < n_folds; fold++) {
        int best = 0;
        for (int g = 1; g < groups; g++) {
            int64_t mine = (int64_t)(folds_of[g] + 1) * ranks_of(n_workers, groups, best);
            int64_t theirs = (int64_t)(folds_of[best] + 1) * ranks_of(n_workers, groups, g);
            if (mine < theirs || (mine == theirs && folds_of[g] < folds_of[best])) best = g;
        }
        folds_of[best]++;
        if (group_of_fold) group_of_fold[fold] = best;
    }
}

double cf_grid_makespan(const cf_grid_cost *cost, int n_workers, int groups)
{
    int folds_of[CF_GRID_MAX_FOLDS];
    double longest = 0;
    deal_folds(n_workers, groups, cost->n_folds, folds_of, NULL);
    for (int g = 0; g < groups; g++)
        longest = fmax(longest, group_seconds(cost, ranks_of(n_workers, groups, g), folds_of[g]));
    return longest;
}

/* Ties go to more groups: they talk less. A difference under one in 10^9 is rounding, not a reason.
 */
static int best_groups(const cf_grid_cost *cost, int n_workers)
{
    int most = n_workers < cost->n_folds ? n_workers : cost->n_folds;
    int best = most;
    double shortest = cf_grid_makespan(cost, n_workers, most);
    for (int groups = most - 1; groups >= 1; groups--) {
        double seconds = cf_grid_makespan(cost, n_workers, groups);
        if (seconds < shortest * (1 - 1e-9)) {
            shortest = seconds;
            best = groups;
        }
    }
    return best;
}

/* ---- the plan ---------------------------------------------------------------------------------
 */

static cf_err check(const cf_grid_cost *cost, int n_workers, int groups)
{
    if (n_workers < 1) return cf_fail(CF_E_USAGE, "%d workers, expected at least 1", n_workers);
    if (cost->n_folds < 1 || cost->n_folds > CF_GRID_MAX_FOLDS)
        return cf_fail(CF_E_USAGE, "%d folds, expected 1 to %d", cost->n_folds, CF_GRID_MAX_FOLDS);
    if (cost->micro_per_step < 1 || cost->steps_per_fold < 0)
        return cf_fail(CF_E_UNEXPECTED, "grid: %d micro-batches a step, %lld steps a fold",
                       cost->micro_per_step, (long long)cost->steps_per_fold);
    if (!(cost->micro_seconds >= 0 && cost->update_seconds >= 0 && cost->reduce_bytes >= 0 &&
          cost->bytes_per_second > 0 && cost->latency_seconds >= 0))
        return cf_fail(CF_E_UNEXPECTED, "grid: a negative or undefined cost");
    if (groups < 0) return cf_fail(CF_E_USAGE, "%d groups, expected 0 (automatic) or more", groups);
    if (groups > n_workers)
        return cf_fail(CF_E_USAGE, "%d groups need as many workers, there are %d", groups,
                       n_workers);
    if (groups > cost->n_folds)
        return cf_fail(CF_E_USAGE, "%d groups need as many folds, there are %d", groups,
                       cost->n_folds);
    return CF_OK;
}

double cf_grid_ideal_seconds(const cf_grid_cost *cost, int n_workers)
{
    double step = cost->micro_per_step * cost->micro_seconds + cost->update_seconds;
    return (double)cost->steps_per_fold * cost->n_folds * step / n_workers;
}

cf_err cf_grid_seconds(const cf_grid_cost *cost, int n_workers, int groups, double *seconds)
{
    CF_TRY(check(cost, n_workers, groups));
    *seconds =
        cf_grid_makespan(cost, n_workers, groups > 0 ? groups : best_groups(cost, n_workers));
    return CF_OK;
}

cf_err cf_grid_plan(const cf_grid_cost *cost, int n_workers, int groups, cf_grid *grid)
{
    int folds_of[CF_GRID_MAX_FOLDS];
    cf_err err = CF_OK;
    *grid = (cf_grid){.n_workers = n_workers, .n_folds = cost->n_folds};
    CF_TRY(check(cost, n_workers, groups));
    grid->n_groups = groups > 0 ? groups : best_groups(cost, n_workers);
    CF_TRY_GOTO(cf_new(&grid->group_of_worker, (size_t)n_workers, sizeof(int32_t)), out);
    CF_TRY_GOTO(cf_new(&grid->group_of_fold, (size_t)cost->n_folds, sizeof(int32_t)), out);
    int worker = 0;
    for (int g = 0; g < grid->n_groups; g++)
        for (int i = 0; i < ranks_of(n_workers, grid->n_groups, g); i++)
            grid->group_of_worker[worker++] = g;
    deal_folds(n_workers, grid->n_groups, cost->n_folds, folds_of, grid->group_of_fold);
    grid->seconds = cf_grid_makespan(cost, n_workers, grid->n_groups);
    grid->ideal_seconds = cf_grid_ideal_seconds(cost, n_workers);
out:
    if (err != CF_OK) cf_grid_fini(grid);
    return err;
}

void cf_grid_fini(cf_grid *grid)
{
    free(grid->group_of_worker);
    free(grid->group_of_fold);
    *grid = (cf_grid){0};
}
