/* Every figure that a table shows, from predictions: the one implementation of `score`, `report`
 * and `train`. Definitions with their source stand at each member. Threads: any. Read first:
 * cf_metrics, cf_metrics_compute. */
#ifndef CF_COORDINATOR_METRICS_H
#define CF_COORDINATOR_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/calibration.h"
#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "proto/csv.h"
#include "proto/scheme.h"

enum { CF_METRICS_MAX_FOLDS = 1000 }; /* more fold numbers than this in a file are a mistake */
enum { CF_METRICS_MAX_SITES = 200 };  /* with more than this there are no figures by site */

/* One class of one set of predictions. A ratio whose denominator is zero is 0 (scikit-learn's
 * zero_division=0) and counts in means over folds. */
typedef struct cf_class_metrics {
    int64_t support;   /* images with this label */
    int64_t predicted; /* images predicted as this class */
    double precision_strict, recall_strict, f1_strict;
    double precision_tolerant, recall_tolerant,
        f1_tolerant;               /* pairs of the scheme count as right */
    double auc, average_precision; /* this class against the rest, by its probability (auc.h); NaN
                                      where they are not defined */
} cf_class_metrics;

/* One fold, one site, or all rows pooled. */
typedef struct cf_fold_metrics {
    int fold; /* -1: pooled, or a site */
    int64_t n;
    double accuracy, accuracy_tolerant;
    double balanced_accuracy,
        balanced_accuracy_tolerant;     /* mean recall over classes with support */
    double macro_f1, macro_f1_tolerant; /* mean F1 over classes with support or predictions */
    double weighted_f1;
    double kappa; /* Cohen 1960, unweighted; NaN when truth and prediction are one same class */
    double mcc;   /* Matthews' correlation of many classes (Gorodkin 2004); 0 for 0/0 */
    double macro_auc, macro_average_precision; /* mean over classes where they are defined */
    double nll, ece;    /* mean -ln p(label) with p clipped to 1e-12; 15 equal-width bins */
    double brier;       /* mean of sum_k (p_k - [k = label])^2, 0 to 2 (Brier 1950) */
    double temperature; /* fitted to these very rows, as published figures are (temperature.h) */
    /* After scaling each row by the temperature that was fitted to the rows of the other folds than
     * its own: what scaling gives on images that it has not seen. NaN where there is one fold. */
    double nll_calibrated, ece_calibrated;
    double
        *question_auc; /* owned, [n_questions] ROC AUC by ranks, ties halved; NaN when one-sided */
    double *question_average_precision; /* owned, [n_questions]; NaN without a positive row */
    cf_class_metrics *classes;          /* owned, [n_classes] */
    int64_t *confusion; /* owned, [n_classes][n_classes]: truth row, predicted column */
    cf_reliability_bin bins[CF_ECE_BINS];
    cf_reliability_bin calibrated_bins[CF_ECE_BINS]; /* of ece_calibrated; empty without it */
} cf_fold_metrics;

/* Where the patients of a run's images come from. */
typedef enum cf_patients_found {
    CF_PATIENTS_IN_FILE,    /* the predictions name them, as far as they are known */
    CF_PATIENTS_IN_CELLS,   /* the run's cells file does */
    CF_PATIENTS_NONE,       /* it knows none */
    CF_PATIENTS_NO_CELLS,   /* it is not there or cannot be read */
    CF_PATIENTS_OTHER_CELLS /* it holds other images than the run was trained on */
} cf_patients_found;
/* Elsewhere every image stands for itself, for whatever reason. */
static inline bool cf_patients_named(cf_patients_found found)
{
    return found == CF_PATIENTS_IN_FILE || found == CF_PATIENTS_IN_CELLS;
}

/* How the intervals were made; n_resamples 0: there are none. */
typedef struct cf_resampling {
    int n_resamples;
    uint64_t seed;
    bool by_patient; /* whole patients are drawn; an image without one stands for itself */
    int64_t n_units; /* patients, or images */
    cf_patients_found patients;
} cf_resampling;

typedef struct cf_metrics {
    int n_classes, n_questions, n_folds, n_sites;
    cf_fold_metrics *folds; /* owned, [n_folds], in order of fold number */
    cf_fold_metrics pooled;
    cf_fold_metrics *sites; /* owned, [n_sites], in order of name; n_sites is 0 unless the rows have
                               from 2 to CF_METRICS_MAX_SITES different ones */
    char **site_names;      /* owned strings, [n_sites]; "" for rows without a site */
    int *left_out;          /* owned, [n_folds]: the site that the fold was tested on; NULL unless
                               each fold is one site and no other fold is (leave one site out) */
    cf_resampling resampling;
    /* Ends of the 95 % intervals of pooled's figures: of every double member but temperature and
     * the calibrated ones, of the classes' ratios and of the questions; NaN where there is none.
     * Their counts, confusion and bins are empty. Filled by cf_bootstrap. */
    cf_fold_metrics low, high;
} cf_metrics;

/* m: released by cf_metrics_fini, empty on failure. CF_E_DATA: no rows, a label or class out of
 * range, more than CF_METRICS_MAX_FOLDS folds. */
CF_CHECKED cf_err cf_metrics_compute(const cf_scheme *s, const cf_predictions *p, cf_metrics *m);
void cf_metrics_fini(cf_metrics *m);
/* Whether images were drawn for want of the run's cells file, which may know patients. */
bool cf_resampling_lacks_cells(const cf_resampling *r);
/* "; patients are not known: ..." where that is so, else "". */
const char *cf_resampling_doubt(const cf_resampling *r);
/* Mean and sample SD (n-1; 0 for one fold) over folds of a double member at `offset` of
 * cf_fold_metrics, or of cf_class_metrics of class k. */
void cf_metrics_mean_sd(const cf_metrics *m, size_t offset, double *mean, double *sd);
void cf_metrics_class_mean_sd(const cf_metrics *m, int k, size_t offset, double *mean, double *sd);
/* Figures that are not defined in a fold (NaN) are left out of both; NaN when they are nowhere. The
 * same of question q's AUC and average precision: */
void cf_metrics_question_mean_sd(const cf_metrics *m, int q, double *mean, double *sd);
void cf_metrics_question_precision_mean_sd(const cf_metrics *m, int q, double *mean, double *sd);

/* Appends metrics.json to `out`:
 *
 * | key                     | holds                                                             |
 * | ----------------------- | ----------------------------------------------------------------- |
 * | scheme, images, n_folds | name of the scheme, rows, folds that are there                    |
 * | classes                 | class codes, in the order of the confusion matrix                 |
 * | mean, sd                | over folds (sample SD, n-1): a fold object's figures              |
 * | pooled                  | a fold object over all rows, its `fold` null                      |
 * | folds                   | array of fold objects in order of fold number                     |
 * | sites                   | array of fold objects with the name of a `site` for the number;   |
 * |                         | empty unless there are several sites                              |
 * | leave_one_site_out      | array of {site, fold, images, accuracy, balanced_accuracy,        |
 * |                         | macro_f1}; empty unless each fold is a site                       |
 * | interval                | 95 % intervals of pooled's figures, null without a bootstrap:     |
 * |                         | level, resamples, seed, unit ("patient" or "image"), units,       |
 * |                         | cells_missing (by image because the cells file is not there or    |
 * |                         | holds other images);                                              |
 * |                         | `low` and `high`: a fold object's figures                         |
 *
 * | key of a fold object            | holds                                                     |
 * | ------------------------------- | --------------------------------------------------------- |
 * | fold, images                    | number of the fold, rows                                  |
 * | accuracy[_tolerant]             | share of rows predicted right                             |
 * | balanced_accuracy[_tolerant]    | mean recall over classes with support                     |
 * | macro_f1[_tolerant]             | mean F1 over classes with support or predictions          |
 * | weighted_f1                     | mean F1 weighted by support                               |
 * | nll                             | mean of -ln p(label)                                      |
 * | ece                             | expected calibration error, 15 bins                       |
 * | brier                           | mean squared distance of p from the label, 0 to 2         |
 * | kappa, mcc                      | Cohen's kappa, Matthews' correlation                      |
 * | macro_auc,                      | mean over classes of one-vs-rest ROC AUC and average      |
 * | macro_average_precision         | precision                                                 |
 * | temperature                     | of least NLL on these rows                                |
 * | nll_calibrated, ece_calibrated  | with the temperature of the other folds; null for one     |
 * | questions.NAME.auc              | ROC AUC; null when one-sided                              |
 * | questions.NAME.average_precision | null without a positive row                              |
 * | per_class.CODE.support          | images with this label                                    |
 * | per_class.CODE.predicted        | images predicted as this class                            |
 * | per_class.CODE.precision_strict | and recall_, f1_, ..._tolerant; 0 for 0/0                 |
 * | per_class.CODE.auc              | and average_precision, one-vs-rest; null where undefined  |
 * | confusion                       | counts: rows truth, columns predicted                     |
 * | reliability                     | per bin: images, confidence (mean), accuracy; null for an |
 * |                                 | empty one                                                 |
 */
CF_CHECKED cf_err cf_metrics_write_json(const cf_scheme *s, const cf_metrics *m, cf_buf *out);

#endif
