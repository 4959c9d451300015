/* Every figure that a table shows, from predictions: the one implementation of `score`, `report`
 * and `train`. Definitions with their source stand at each member. Threads: any. Read first:
 * cf_metrics, cf_metrics_compute. */
#ifndef CF_COORDINATOR_METRICS_H
#define CF_COORDINATOR_METRICS_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "proto/csv.h"
#include "proto/scheme.h"

enum { CF_METRICS_MAX_FOLDS = 1000 }; /* more fold numbers than this in a file are a mistake */

/* One class of one set of predictions. A ratio whose denominator is zero is 0 (scikit-learn's
 * zero_division=0) and counts in means over folds. */
typedef struct cf_class_metrics {
    int64_t support;   /* images with this label */
    int64_t predicted; /* images predicted as this class */
    double precision_strict, recall_strict, f1_strict;
    double precision_tolerant, recall_tolerant,
        f1_tolerant; /* pairs of the scheme count as right */
} cf_class_metrics;

/* One fold, or all folds pooled. */
typedef struct cf_fold_metrics {
    int fold; /* -1: pooled */
    int64_t n;
    double accuracy, accuracy_tolerant;
    double balanced_accuracy,
        balanced_accuracy_tolerant;     /* mean recall over classes with support */
    double macro_f1, macro_f1_tolerant; /* mean F1 over classes with support or predictions */
    double weighted_f1;
    double nll, ece; /* mean -ln p(label) with p clipped to 1e-12; 15 equal-width bins */
    double
        *question_auc; /* owned, [n_questions] ROC AUC by ranks, ties halved; NaN when one-sided */
    cf_class_metrics *classes; /* owned, [n_classes] */
    int64_t *confusion;        /* owned, [n_classes][n_classes]: truth row, predicted column */
} cf_fold_metrics;

typedef struct cf_metrics {
    int n_classes, n_folds;
    cf_fold_metrics *folds; /* owned, [n_folds], in order of fold number */
    cf_fold_metrics pooled;
} cf_metrics;

/* m: released by cf_metrics_fini, empty on failure. CF_E_DATA: no rows, a label or class out of
 * range, more than CF_METRICS_MAX_FOLDS folds. */
CF_CHECKED cf_err cf_metrics_compute(const cf_scheme *s, const cf_predictions *p, cf_metrics *m);
void cf_metrics_fini(cf_metrics *m);
/* Mean and sample SD (n-1; 0 for one fold) over folds of a double member at `offset` of
 * cf_fold_metrics, or of cf_class_metrics of class k. */
void cf_metrics_mean_sd(const cf_metrics *m, size_t offset, double *mean, double *sd);
void cf_metrics_class_mean_sd(const cf_metrics *m, int k, size_t offset, double *mean, double *sd);
/* The same of question q's AUC, over the folds where it is defined; NaN when it is nowhere. */
void cf_metrics_question_mean_sd(const cf_metrics *m, int q, double *mean, double *sd);

/* Appends metrics.json to `out`:
 *
 * | key                     | holds                                                            |
 * | ----------------------- | ---------------------------------------------------------------- |
 * | scheme, images, n_folds | name of the scheme, rows, folds that are there                   |
 * | classes                 | class codes, in the order of the confusion matrix                |
 * | mean, sd                | over folds (sample SD, n-1): a fold object's ratios, nll and ece |
 * | pooled                  | a fold object over all rows, its `fold` null                     |
 * | folds                   | array of fold objects in order of fold number                    |
 *
 * | key of a fold object            | holds                                            |
 * | ------------------------------- | ------------------------------------------------ |
 * | fold, images                    | number of the fold, rows                         |
 * | accuracy[_tolerant]             | share of rows predicted right                    |
 * | balanced_accuracy[_tolerant]    | mean recall over classes with support            |
 * | macro_f1[_tolerant]             | mean F1 over classes with support or predictions |
 * | weighted_f1                     | mean F1 weighted by support                      |
 * | nll                             | mean of -ln p(label)                             |
 * | ece                             | expected calibration error, 15 bins              |
 * | questions.NAME.auc              | ROC AUC; null when one-sided                     |
 * | per_class.CODE.support          | images with this label                           |
 * | per_class.CODE.predicted        | images predicted as this class                   |
 * | per_class.CODE.precision_strict | and recall_, f1_, ..._tolerant; 0 for 0/0        |
 * | confusion                       | counts: rows truth, columns predicted            |
 */
CF_CHECKED cf_err cf_metrics_write_json(const cf_scheme *s, const cf_metrics *m, cf_buf *out);

#endif
