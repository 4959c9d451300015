#include "coordinator/lanes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

void cf_lanes_workers(int n_workers, int n_lanes, int lane, int *first, int *n)
{
    int least = n_workers / n_lanes, larger = n_workers % n_lanes;
    *n = least + (lane < larger);
    *first = lane * least + (lane < larger ? lane : larger);
}

/* ---- one number of lanes ----------------------------------------------------------------------
 */

/* What is known of the points when there are so many lanes: seconds of each on a lane of the lesser
 * and of the larger size, and the order of taking. */
typedef struct deal {
    const cf_grid_cost *costs;
    int n_points, n_workers, groups;
    double *seconds[2]; /* owned, [n_points]: on n_workers / n_lanes workers, and on one more */
    int32_t *order;     /* owned, [n_points] */
    double *free_at;    /* owned, [n_workers]: when each lane is through */
} deal;

static cf_err measure(deal *d, int n_lanes)
{
    int least = d->n_workers / n_lanes;
    bool larger = d->n_workers % n_lanes != 0;
    for (int p = 0; p < d->n_points; p++) {
        CF_TRY(cf_grid_seconds(&d->costs[p], least, d->groups, &d->seconds[0][p]));
        d->seconds[1][p] = d->seconds[0][p];
        if (larger) CF_TRY(cf_grid_seconds(&d->costs[p], least + 1, d->groups, &d->seconds[1][p]));
    }
    return CF_OK;
}

/* Longest first; of equal ones the lower number. n_points is small: by insertion. */
static void sort(deal *d)
{
    const double *seconds = d->seconds[0];
    for (int p = 0; p < d->n_points; p++) {
        int at = p;
        for (; at > 0 && seconds[d->order[at - 1]] < seconds[p]; at--)
            d->order[at] = d->order[at - 1];
        d->order[at] = p;
    }
}

/* The lane that is free first takes the next point, as it does in the job. lanes: NULL where only
 * the end is asked for. */
static double deal_out(deal *d, int n_lanes, cf_lanes *lanes)
{
    double end = 0;
    int n_larger = d->n_workers % n_lanes;
    for (int lane = 0; lane < n_lanes; lane++) d->free_at[lane] = 0;
    for (int i = 0; i < d->n_points; i++) {
        int point = d->order[i], lane = 0;
        for (int other = 1; other < n_lanes; other++)
            if (d->free_at[other] < d->free_at[lane]) lane = other;
        double begin = d->free_at[lane];
        d->free_at[lane] += d->seconds[lane < n_larger][point];
        end = fmax(end, d->free_at[lane]);
        if (lanes == NULL) continue;
        lanes->lane_of[point] = lane;
        lanes->begin[point] = begin;
        lanes->end[point] = d->free_at[lane];
    }
    return end;
}

/* ---- the choice -------------------------------------------------------------------------------
 */

/* Ties go to more lanes: they talk less. A difference under one in 10^9 is rounding, not a reason.
 */
static cf_err choose(deal *d, int most, int *n_lanes)
{
    double shortest = (double)INFINITY;
    *n_lanes = 1;
    for (int n = most; n >= 1; n--) {
        if (d->groups > d->n_workers / n && n > 1) continue; /* lanes too small for their groups */
        CF_TRY(measure(d, n));
        sort(d);
        double end = deal_out(d, n, NULL);
        if (end < shortest * (1 - 1e-9)) {
            shortest = end;
            *n_lanes = n;
        }
    }
    return CF_OK;
}

static cf_err check(int n_points, int n_workers, int n_lanes)
{
    if (n_workers < 1) return cf_fail(CF_E_USAGE, "%d workers, expected at least 1", n_workers);
    if (n_points < 1) return cf_fail(CF_E_UNEXPECTED, "lanes for %d points", n_points);
    if (n_lanes < 0 || n_lanes > n_workers || n_lanes > n_points)
        return cf_fail(CF_E_USAGE, "%d lanes for %d points on %d workers", n_lanes, n_points,
                       n_workers);
    return CF_OK;
}

static cf_err fill(deal *d, int n_lanes, cf_lanes *lanes)
{
    size_t n = (size_t)d->n_points;
    CF_TRY(cf_new(&lanes->order, n, sizeof *lanes->order));
    CF_TRY(cf_new(&lanes->lane_of, n, sizeof *lanes->lane_of));
    CF_TRY(cf_new(&lanes->begin, n, sizeof *lanes->begin));
    CF_TRY(cf_new(&lanes->end, n, sizeof *lanes->end));
    int most = d->n_workers < d->n_points ? d->n_workers : d->n_points;
    lanes->n_lanes = n_lanes;
    if (n_lanes == 0) CF_TRY(choose(d, most, &lanes->n_lanes));
    CF_TRY(measure(d, lanes->n_lanes));
    sort(d);
    lanes->seconds = deal_out(d, lanes->n_lanes, lanes);
    memcpy(lanes->order, d->order, n * sizeof *lanes->order);
    for (int p = 0; p < d->n_points; p++)
        lanes->ideal_seconds += cf_grid_ideal_seconds(&d->costs[p], d->n_workers);
    return CF_OK;
}

cf_err cf_lanes_plan(const cf_grid_cost *costs, int n_points, int n_workers, int groups,
                     int n_lanes, cf_lanes *lanes)
{
    deal d = {.costs = costs, .n_points = n_points, .n_workers = n_workers, .groups = groups};
    cf_err err = CF_OK;
    *lanes = (cf_lanes){.n_workers = n_workers, .n_points = n_points};
    CF_TRY(check(n_points, n_workers, n_lanes));
    CF_TRY_GOTO(cf_new(&d.seconds[0], (size_t)n_points, sizeof(double)), out);
    CF_TRY_GOTO(cf_new(&d.seconds[1], (size_t)n_points, sizeof(double)), out);
    CF_TRY_GOTO(cf_new(&d.order, (size_t)n_points, sizeof *d.order), out);
    CF_TRY_GOTO(cf_new(&d.free_at, (size_t)n_workers, sizeof *d.free_at), out);
    err = fill(&d, n_lanes, lanes);
out:
    free(d.free_at);
    free(d.order);
    free(d.seconds[1]);
    free(d.seconds[0]);
    return err;
}

void cf_lanes_fini(cf_lanes *lanes)
{
    free(lanes->order);
    free(lanes->lane_of);
    free(lanes->begin);
    free(lanes->end);
    *lanes = (cf_lanes){0};
}
