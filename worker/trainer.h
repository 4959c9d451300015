/* The trainer: one fold's model, its optimizer and its place in the run.
 *
 * A worker holds one trainer for each fold of its group and steps them in turn. All state is in
 * flat buffers, so saving, summing and updating are one pass each. Threads: one caller. Read first:
 * cf_trainer. */
#ifndef CF_WORKER_TRAINER_H
#define CF_WORKER_TRAINER_H

#include "proto/checkpoint.h"
#include "worker/data/sampler.h"
#include "worker/engine.h"
#include "worker/scaler.h"
#include "worker/weight_file.h"

typedef struct cf_trainer {
    cf_engine *engine; /* borrowed */
    int fold;
    cf_sampler sampler;
    /* Backend memory, fp32: [n_weights], and [n_state] for state. NULL where not used. */
    float *weights, *state, *moment1, *moment2;
    float *ema; /* [n_weights + n_state]: averaged weights, then averaged running moments */
    int64_t step, total_steps; /* optimizer steps done, and of the whole run */
    /* Draws of the epochs being loaded, by epoch parity; -1: none. */
    int64_t *draws[2];
    int64_t draws_epoch[2];
    /* Of the epoch under way: sums over its steps. */
    double loss_sum, correct_sum;
    int64_t n_summed;
    double loss, accuracy;   /* of the last step */
    int64_t saved_step;      /* of its newest checkpoint; -1: none yet */
    int64_t saved_ns;        /* when that was, or when training began (cf_clock_ns) */
    bool flagged;            /* the last sums carried a fault flag */
    cf_scaler scaler;        /* fp16 only */
    cf_weight_taken started; /* what model.init gave */
} cf_trainer;

/* Initial weights (of model.init where it names a file) and the sampler of `fold`. data_hash etc.
 * belong to the checkpoint functions. Release with fini in any case. */
CF_CHECKED cf_err cf_trainer_init(cf_trainer *t, cf_engine *engine, const cf_cells *cells,
                                  const uint8_t *fold_of, int fold);
void cf_trainer_fini(cf_trainer *t);

/* The draws of micro-batch `micro` of step `step` (0-based, of the whole run): n = micro_batch
 * image indices, valid until an epoch two further on is asked for. */
CF_CHECKED cf_err cf_trainer_draws(cf_trainer *t, int64_t step, int micro, const int64_t **images,
                                   int64_t *first_draw);

/* Applies the step's sums (backend memory, [cf_engine_sums_count]) and counts the step. The element
 * behind the sums is the fault flag: not zero when any rank met a NaN. Errors: CF_E_NUMERIC then,
 * and when the loss is not finite or above train.stop_loss. In fp16 a flagged step is counted but
 * changes no weight, and the loss scale is halved; CF_E_NUMERIC only when there is no scale left to
 * try. */
CF_CHECKED cf_err cf_trainer_update(cf_trainer *t, const void *sums);

/* The program's weights become this fold's: for training (with its loss scale), and for testing
 * (averaged weights where the configuration asks for them). */
CF_CHECKED cf_err cf_trainer_use_for_training(cf_trainer *t);
CF_CHECKED cf_err cf_trainer_use_for_testing(cf_trainer *t);

/* The digest of all it holds (weights, moments, averages): the same on every rank of its group. */
CF_CHECKED cf_err cf_trainer_digest(const cf_trainer *t, uint64_t *digest);

/* Writes all of it through cf_store's `save` contract: host copies are made in *block (owned by the
 * caller), to which `c` points. */
CF_CHECKED cf_err cf_trainer_snapshot(cf_trainer *t, uint64_t data_hash, const char *config_yaml,
                                      cf_checkpoint *c, void **block);
/* Where each parameter of a network lies in its flat buffers: [g->n_params], owned by the caller.
 */
CF_CHECKED cf_err cf_trainer_entries(const cf_graph *g, cf_tensor_entry **entries);
/* Takes over a checkpoint's tensors. CF_E_CHECKPOINT when it belongs to another configuration, data
 * set, fold or network, naming which. */
CF_CHECKED cf_err cf_trainer_restore(cf_trainer *t, uint64_t data_hash, const cf_checkpoint *c);

#endif
