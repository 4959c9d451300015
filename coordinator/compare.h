/* Two sets of predictions of the same images, A beside B: is the difference more than chance?
 * Threads: any; uses threads of its own. Read first: cf_comparison, cf_compare. */
#ifndef CF_COORDINATOR_COMPARE_H
#define CF_COORDINATOR_COMPARE_H

#include "coordinator/bootstrap.h"
#include "coordinator/significance.h"

/* One figure on both sides, over the common images. */
typedef struct cf_difference {
    double a, b, difference; /* A - B */
    double low, high; /* 95 % interval of the difference, by the paired bootstrap: both sides are
                         drawn the same images, or patients (percentile, Efron 1981) */
    double p; /* two-sided: twice the smaller share of resamples on either side of zero, each with
                 one more (Davison and Hinkley 1997, 4.11), at most 1. NaN without a bootstrap */
} cf_difference;

typedef struct cf_comparison {
    int n_classes;
    int64_t n, only_a, only_b; /* images of both; those that one side alone has are left out */
    cf_resampling resampling;
    cf_mcnemar mcnemar;
    cf_difference accuracy, balanced_accuracy, macro_f1, nll;
    cf_difference *class_f1; /* owned, [n_classes]; strict */
    /* Over folds, where both sides tested each image in the same fold and there are two folds or
     * more; else n_folds is 0 and the rest NaN. n_test / n_train is the mean over folds of the
     * common images. */
    cf_fold_test fold_accuracy, fold_balanced_accuracy, fold_macro_f1, fold_nll;
} cf_comparison;

/* Both of scheme s, every row with a label. Errors: CF_E_DATA for an id that stands twice on one
 * side, for labels that differ (both name the id), for sides without a common image. c: released by
 * cf_comparison_fini, empty on failure. Of a patient's name A's is taken, else
 * B's, image by image. Where the names come from (resampling.patients) is the caller's to fill in.
 */
CF_CHECKED cf_err cf_compare(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                             const cf_bootstrap_options *options, cf_comparison *c);
void cf_comparison_fini(cf_comparison *c);

/* Appends compare.json:
 *
 * | key                | holds                                                               |
 * | ------------------ | ------------------------------------------------------------------- |
 * | a, b               | the names given                                                     |
 * | scheme, images     | name of the scheme, images of both                                  |
 * | only_a, only_b     | images that one side alone has                                      |
 * | resamples, seed, unit, units | of the paired bootstrap; unit "patient" or "image"        |
 * | cells_missing      | by image because a run's cells file is not there or holds other     |
 * |                    | images                                                              |
 * | mcnemar            | only_a_right, only_b_right, exact, statistic (null where exact), p  |
 * | accuracy, balanced_accuracy, macro_f1, nll | a, b, difference (a - b), low, high, p      |
 * | per_class_f1.CODE  | the same of a class's strict F1                                     |
 * | folds              | null, or n_folds and for the same four figures mean (of a - b over  |
 * |                    | folds), t, p, low, high                                             |
 */
CF_CHECKED cf_err cf_comparison_json(const cf_scheme *s, const cf_comparison *c, const char *name_a,
                                     const char *name_b, cf_buf *out);
/* The same as Markdown: what is compared, figures, McNemar, folds, classes. */
CF_CHECKED cf_err cf_comparison_markdown(const cf_scheme *s, const cf_comparison *c,
                                         const char *name_a, const char *name_b, cf_buf *out);

#endif
