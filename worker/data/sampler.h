/* Which image is drawn when: the draws of one epoch of one fold, a function of (cells, folds,
 * configuration, seed, fold, epoch). Threads: any. Read first: cf_sampler_epoch. */
#ifndef CF_WORKER_DATA_SAMPLER_H
#define CF_WORKER_DATA_SAMPLER_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"
#include "proto/config.h"

typedef struct cf_sampler {
    const cf_cells *cells; /* borrowed */
    const cf_config *config;
    int fold;
    int64_t **of_class;      /* owned: training images of each class, in file order */
    int64_t *n_of_class;     /* owned, [n_classes] */
    int64_t *draws_of_class; /* owned, [n_classes]: draws an epoch */
    int64_t n_draws;         /* draws an epoch, rounded down to whole steps (at least one step) */
    int64_t steps_per_epoch;
    int64_t *test; /* owned: images of the test fold, in file order */
    int64_t n_test;
} cf_sampler;

/* CF_E_DATA when a class has test images but no training image, or when nothing is left to train
 * on. */
CF_CHECKED cf_err cf_sampler_init(cf_sampler *s, const cf_cells *cells, const uint8_t *fold_of,
                                  int fold, const cf_config *config);
void cf_sampler_fini(cf_sampler *s);
/* Fills draws [n_draws] with image indices: each class in whole shuffled passes and one partial
 * pass, then all shuffled together. natural: each image once (the remainder past the last whole
 * step is left out; another one each epoch). */
CF_CHECKED cf_err cf_sampler_epoch(const cf_sampler *s, int64_t epoch, int64_t *draws);
/* Steps an epoch for `n_train` images a fold, as cf_sampler_init computes; for the planner. */
int64_t cf_sampler_steps(const cf_config *config, const int64_t *train_of_class, int n_classes);

#endif
