/* The engine: what all folds of a worker share: backend, graph, memory plans, compiled programs.
 *
 * One set of programs serves every fold, since only one fold computes at a time; set_weights makes
 * a fold's weights current. Threads: one caller. Read first: cf_engine_create. */
#ifndef CF_WORKER_ENGINE_H
#define CF_WORKER_ENGINE_H

#include "kernels/backend.h"
#include "proto/config.h"
#include "proto/scheme.h"

typedef struct cf_engine {
    const cf_config *config; /* borrowed */
    const cf_backend_ops *ops;
    cf_backend *backend;
    cf_graph *graph;
    cf_memory_plan train_plan, infer_plan;
    cf_program *train, *infer;
    uint8_t *decay;        /* backend memory, [n_weights] */
    float *state_momentum; /* backend memory, [n_state] */
} cf_engine;

/* n_threads: compute threads, 0 for all. Errors: CF_E_DEVICE, CF_E_USAGE (network). Release with
 * fini in any case. */
CF_CHECKED cf_err cf_engine_init(cf_engine *e, const cf_config *config, const cf_scheme *scheme,
                                 int device, int n_threads);
void cf_engine_fini(cf_engine *e);

/* Elements of a step's sums with the fault flag behind them (see cf_trainer_update). */
int64_t cf_engine_sums_count(const cf_engine *e);
size_t cf_engine_sum_bytes(const cf_engine *e);

#endif
