/* The figures of one set of rows: a fold, a site, or all of them. Part of the metrics; users read
 * metrics.h. Threads: any. Read first: cf_fold_compute. */
#ifndef CF_COORDINATOR_METRICS_FOLD_H
#define CF_COORDINATOR_METRICS_FOLD_H

#include "coordinator/metrics.h"

/* Everything zero; released by cf_fold_fini, also after a failure. */
CF_CHECKED cf_err cf_fold_alloc(const cf_scheme *s, cf_fold_metrics *f);
void cf_fold_fini(cf_fold_metrics *f);
/* What follows from f->confusion alone: classes' counts and ratios, accuracies, F1, kappa, MCC. */
void cf_fold_from_confusion(const cf_scheme *s, cf_fold_metrics *f);
/* Means over the classes whose areas are defined. */
void cf_fold_macro_areas(int n_classes, cf_fold_metrics *f);
/* rows: [n] rows of p, n >= 1. All but temperature and the calibrated figures, which are NaN. f is
 * released by the caller in any case. */
CF_CHECKED cf_err cf_fold_compute(const cf_scheme *s, const cf_predictions *p, const int64_t *rows,
                                  int64_t n, cf_fold_metrics *f);

#endif
