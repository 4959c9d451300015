/* Bootstrap intervals of every figure. Threads: any; uses threads of its own. Read first:
 * cf_bootstrap. */
#ifndef CF_COORDINATOR_BOOTSTRAP_H
#define CF_COORDINATOR_BOOTSTRAP_H

#include "coordinator/metrics.h"

enum { CF_BOOTSTRAP_RESAMPLES = 1000, CF_BOOTSTRAP_MAX = 1000000, CF_BOOTSTRAP_SEED = 1 };

typedef struct cf_bootstrap_options {
    int n_resamples; /* 0: no intervals */
    uint64_t seed;   /* CF_BOOTSTRAP_SEED unless there is a reason */
    int n_threads;   /* 0: all cores there are; the result does not depend on it */
} cf_bootstrap_options;

/* Fills low, high and resampling of m, which cf_metrics_compute made of the same p: percentile
 * intervals (Efron 1981) of pooled's figures over n_resamples resamples of the rows, drawn by
 * patient where p->patients has names, else by image. A class's ratio whose denominator is 0 in a
 * resample is left out of that ratio's interval there, where the figure itself counts as 0. The
 * networks are taken as given: what another training would change is the SD over folds, not this.
 * CF_E_UNEXPECTED when memory is short. */
CF_CHECKED cf_err cf_bootstrap(const cf_scheme *s, const cf_predictions *p,
                               const cf_bootstrap_options *options, cf_metrics *m);

#endif
