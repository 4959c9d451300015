/* Learning curves of a run's folds, from log.jsonl: for eyes, no result depends on them. Threads:
 * any. Read first: cf_learning_read. */
#ifndef CF_COORDINATOR_LEARNING_H
#define CF_COORDINATOR_LEARNING_H

#include <stdint.h>

#include "kernels/base/err.h"

/* One fold; epochs rise, each stands once. */
typedef struct cf_learning_fold {
    int fold;
    double *epoch, *loss, *accuracy; /* owned, [n]: over the epoch's training images; NaN where the
                                        log has none */
    int64_t n;
    double *test_epoch, *test_accuracy; /* owned, [n_tests]: tests during training */
    int64_t n_tests;
} cf_learning_fold;

typedef struct cf_learning {
    cf_learning_fold *folds; /* owned, [n], by number */
    int n;
} cf_learning;

/* *learning is empty where the folder has no log. What counts of the log: proto/run_log.h.
 * CF_E_UNEXPECTED when memory is short, CF_E_DATA when the file cannot be read. Release with fini
 * in any case. */
CF_CHECKED cf_err cf_learning_read(const char *run_dir, cf_learning *learning);
void cf_learning_fini(cf_learning *learning);

#endif
