/* What a run will cost, estimated from its configuration before anything runs: for the planner
 * inside `train` and for `plan`. Threads: any. Read first: cf_estimate. */
#ifndef CF_LAUNCH_ESTIMATE_H
#define CF_LAUNCH_ESTIMATE_H

#include "coordinator/grid.h"
#include "kernels/base/buf.h"
#include "kernels/graph/graph.h"
#include "proto/config.h"
#include "proto/scheme.h"

/* Multiply-accumulates a second that one worker is taken to reach when no measured figure is given:
 * a training step is 3 forward passes. Two AVX-512 cores with AMX in bf16, half of it in fp32. */
#define CF_ESTIMATE_MACS_BF16 200e9
#define CF_ESTIMATE_MACS_FP32 80e9

/* counts: images of each class, [scheme->n_classes]; n_folds: to be trained; micro_seconds:
 * measured time of one micro-batch, 0: estimated from the multiply-accumulates. graph: of one
 * micro-batch. */
CF_CHECKED cf_err cf_estimate(const cf_config *config, const cf_scheme *scheme,
                              const int64_t *counts, int n_folds, const cf_graph *graph,
                              double micro_seconds, cf_grid_cost *cost);

/* Appends "12.3 s", "45 min" or "2 h 05 min". */
void cf_print_seconds(cf_buf *out, double seconds);

#endif
