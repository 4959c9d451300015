/* The plan of a sweep: which lane trains which point, and when, for `plan`. Threads: main only.
 * Read first: cf_plan_sweep. */
#ifndef CF_LAUNCH_PLAN_SWEEP_H
#define CF_LAUNCH_PLAN_SWEEP_H

#include "coordinator/lanes.h"
#include "proto/sweep.h"

/* What is known of one point. */
typedef struct cf_plan_point {
    cf_grid_cost cost;
    int64_t n_weights, memory_bytes; /* memory: of a worker with most folds */
} cf_plan_point;

typedef struct cf_plan_sweep {
    const char *config_path; /* borrowed */
    cf_sweep sweep;          /* owned */
    cf_plan_point *points;   /* owned, [sweep.n_points] */
    cf_lanes lanes;          /* owned */
    int64_t n_images;
    const char *images_source, *micro_source; /* borrowed */
} cf_plan_sweep;

/* Deals the points, whose costs are there, to lanes. */
CF_CHECKED cf_err cf_plan_sweep_deal(cf_plan_sweep *p, int n_workers, int groups);
/* The most folds that a worker holds at this point. */
CF_CHECKED cf_err cf_plan_sweep_most_folds(const cf_plan_sweep *p, int point, int groups,
                                           int *most);
/* As text, or as one JSON object: config, workers, points: array of point, values, lane, begin_s,
 * end_s, parameters, steps_per_fold, memory_bytes; lanes: array of arrays of workers; seconds,
 * ideal_seconds, worker_hours, images, images_source, micro_seconds_source. */
void cf_plan_sweep_write(const cf_plan_sweep *p, cf_buf *out);
void cf_plan_sweep_write_json(const cf_plan_sweep *p, cf_buf *out);
void cf_plan_sweep_fini(cf_plan_sweep *p);

#endif
