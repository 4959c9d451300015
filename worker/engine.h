/* The engine: what all folds of a worker share: backend, graph, memory plans, compiled programs.
 *
 * One set of programs serves every fold, since only one fold computes at a time; set_weights makes
 * a fold's weights current. Threads: one caller. Read first: cf_engine_open, cf_engine_compile. */
#ifndef CF_WORKER_ENGINE_H
#define CF_WORKER_ENGINE_H

#include "kernels/backend.h"
#include "proto/config.h"
#include "proto/scheme.h"

typedef struct cf_engine {
    const cf_config *config; /* borrowed */
    uint64_t init_hash;      /* of model.init's file when the run began; 0: none, or any */
    const cf_backend_ops *ops;
    cf_backend *backend;
    cf_graph *graph;
    cf_memory_plan train_plan, infer_plan;
    cf_program *train, *infer;
    uint8_t *decay;        /* backend memory, [n_weights] */
    float *state_momentum; /* backend memory, [n_state] */
    int device;            /* as cf_engine_device */
} cf_engine;

/* run.device in the words of cf_backend_find. */
const char *cf_engine_device_name(const cf_config *config);
/* Which device of the host a worker has; -1: the backend's only one. */
int cf_engine_device(const cf_backend_ops *ops, int local_index);

/* Opens the configured backend and builds the graph; nothing large is allocated on a device yet.
 * local_index: of this worker among those of its host; it gets device local_index modulo their
 * number. n_threads: compute threads, 0 for all. Errors: CF_E_DEVICE, CF_E_USAGE (network). Release
 * with fini in any case. */
CF_CHECKED cf_err cf_engine_open(cf_engine *e, const cf_config *config, const cf_scheme *scheme,
                                 int local_index, int n_threads);
/* Where the choice of convolution engines comes from (cf_compile_options). */
typedef struct cf_engine_choices {
    const char *path; /* NULL: none */
    bool may_tune;
} cf_engine_choices;
CF_CHECKED cf_err cf_engine_compile(cf_engine *e, const cf_engine_choices *choices);
/* Only what testing needs: `train` stays NULL. */
CF_CHECKED cf_err cf_engine_compile_infer(cf_engine *e, const cf_engine_choices *choices);
/* cf_engine_open and cf_engine_compile, without a file of choices. */
CF_CHECKED cf_err cf_engine_init(cf_engine *e, const cf_config *config, const cf_scheme *scheme,
                                 int local_index, int n_threads);
void cf_engine_fini(cf_engine *e);

/* Elements of a step's sums with the fault flag behind them (see cf_trainer_update). */
int64_t cf_engine_sums_count(const cf_engine *e);
size_t cf_engine_sum_bytes(const cf_engine *e);
/* Gradients are computed of a scaled loss (fp16). */
bool cf_engine_is_scaled(const cf_engine *e);

#endif
