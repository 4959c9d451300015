/* What the points of a sweep came to, as far as they are finished. Threads: any. Read first:
 * cf_sweep_results_read. */
#ifndef CF_COORDINATOR_SWEEP_RESULTS_H
#define CF_COORDINATOR_SWEEP_RESULTS_H

#include "coordinator/metrics.h"
#include "proto/sweep.h"

/* Asked before each point is read, resampled and compared, which takes long where points are many:
 * an error ends the work with it. */
typedef struct cf_sweep_patience {
    cf_err (*go_on)(void *context);
    void *context;
} cf_sweep_patience;
CF_CHECKED cf_err cf_sweep_go_on(const cf_sweep_patience *patience); /* NULL: always OK */

typedef struct cf_sweep_result {
    int point;
    bool finished;
    char *error;                /* owned: why it ended before, "" unless it did */
    cf_predictions predictions; /* owned: all folds, fold after fold; empty unless finished */
    cf_patients_found patients; /* where they come from */
    cf_metrics metrics;         /* owned: of predictions */
} cf_sweep_result;

typedef struct cf_sweep_results {
    cf_sweep sweep;        /* owned */
    cf_scheme scheme;      /* owned */
    cf_sweep_result *rows; /* owned, [sweep.n_points], in order of point */
    int n_finished;
    const cf_sweep_patience *patience; /* borrowed; NULL: none is needed */
} cf_sweep_results;

/* Reads DIR/sweep.yaml and the points. All have the same images in the same order, and know their
 * patients or do not: CF_E_DATA where two differ, and where no point is finished. Release with fini
 * in any case. */
CF_CHECKED cf_err cf_sweep_results_read(const char *dir, const cf_sweep_patience *patience,
                                        cf_sweep_results *r);
/* Whether every point has the predictions of all its folds; looks at names of files only. */
CF_CHECKED cf_err cf_sweep_results_whole(const char *dir, bool *whole);
void cf_sweep_results_fini(cf_sweep_results *r);

#endif
