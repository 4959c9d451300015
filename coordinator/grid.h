/* The grid: how W workers are cut into groups, and which group owns which folds.
 *
 * Every rank of a group holds all of its folds' models and steps them in turn, each fold
 * data-parallel over the group. The number of groups is what minimises the predicted makespan
 * (DESIGN: 5 groups when 5 divides W). Threads: any. Read first: cf_grid_plan. */
#ifndef CF_COORDINATOR_GRID_H
#define CF_COORDINATOR_GRID_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum { CF_GRID_MAX_FOLDS = 128 };

/* What the planner knows of a job. Times are estimates from measured or given figures. */
typedef struct cf_grid_cost {
    int n_folds;
    int64_t steps_per_fold;  /* optimizer steps; the largest of the folds */
    int micro_per_step;      /* micro-batches of a step */
    double micro_seconds;    /* one micro-batch on one worker */
    double update_seconds;   /* optimizer pass and repacking of weights, each step, every worker */
    double reduce_bytes;     /* of one fold's sums */
    double bytes_per_second; /* of one worker's link, ring all-reduce */
    double latency_seconds;  /* of one all-reduce hop */
} cf_grid_cost;

typedef struct cf_grid {
    int n_workers, n_folds, n_groups;
    int32_t *group_of_worker; /* owned, [n_workers] */
    int32_t *group_of_fold;   /* owned, [n_folds] */
    double seconds;           /* predicted makespan of training */
    double ideal_seconds;     /* all work spread evenly without communication */
} cf_grid;

/* groups: 0 for the best; otherwise that many. CF_E_USAGE when groups exceed workers or folds. */
CF_CHECKED cf_err cf_grid_plan(const cf_grid_cost *cost, int n_workers, int groups, cf_grid *grid);
void cf_grid_fini(cf_grid *grid);
/* Predicted makespan of a given number of groups, 1 <= groups <= min(workers, folds). The cost
 * model stands in grid.c. */
double cf_grid_makespan(const cf_grid_cost *cost, int n_workers, int groups);
/* The same as cf_grid_plan's `seconds`, without the plan. */
CF_CHECKED cf_err cf_grid_seconds(const cf_grid_cost *cost, int n_workers, int groups,
                                  double *seconds);
/* All work spread evenly over the workers, without communication. */
double cf_grid_ideal_seconds(const cf_grid_cost *cost, int n_workers);

#endif
