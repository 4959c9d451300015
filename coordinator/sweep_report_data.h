/* The report of a sweep for spreadsheets and scripts: sweep.csv and sweep.json. Threads: any. Read
 * first: cf_sweep_report_json. */
#ifndef CF_COORDINATOR_SWEEP_REPORT_DATA_H
#define CF_COORDINATOR_SWEEP_REPORT_DATA_H

#include "coordinator/sweep_rank.h"

/* The figures of a point, in the order of columns. */
typedef struct cf_sweep_figure {
    const char *key, *title;
    size_t offset;           /* of a double in cf_fold_metrics */
    size_t difference, test; /* of a cf_difference and a cf_fold_test in cf_comparison */
} cf_sweep_figure;
enum { CF_SWEEP_FIGURES = 4 };
extern const cf_sweep_figure cf_sweep_figures[CF_SWEEP_FIGURES];

/* Figure f of a fold object: pooled, low or high of a point's metrics. */
double cf_sweep_figure_of(const cf_fold_metrics *m, int f);
const cf_difference *cf_sweep_difference_of(const cf_comparison *c, int f);
const cf_fold_test *cf_sweep_fold_test_of(const cf_comparison *c, int f);

/* A row a finished point, in order of number: point, a column a key, rank; of each figure pooled,
 * low, high, mean, sd, and difference, difference_low, difference_high to the best (empty at the
 * best); p_images, p_folds, p_holm of macro F1, within_noise. */
CF_CHECKED cf_err cf_sweep_report_csv(const cf_sweep_results *r, const cf_sweep_ranking *ranking,
                                      cf_buf *out);
/* Appends sweep.json:
 *
 * | key                 | holds                                                              |
 * | ------------------- | ------------------------------------------------------------------ |
 * | n_points, n_finished| points of the sweep, and those with predictions of all folds        |
 * | keys                | the keys that have several values, in order                        |
 * | images, n_folds     | of each point                                                      |
 * | best                | name of the first in rank, by pooled macro F1                      |
 * | level, correction   | 0.05, "holm": of the word within_noise                             |
 * | unit                | "image" or "patient", of the paired bootstrap                      |
 * | cells_missing       | "image" because the points' cells file is not there or holds other |
 * |                     | images                                                             |
 * | resamples           | of each comparison with the best                                   |
 * | interval_resamples  | of a point's own figures                                           |
 * | points              | array in order of number: point, values (texts by key), finished,  |
 * |                     | error (unfinished: the message, "" where none); rank; a figure     |
 * |                     | object each of accuracy, balanced_accuracy, macro_f1, nll;         |
 * |                     | versus_best, null at the best                                      |
 *
 * A figure object: pooled, low, high (95 % of the bootstrap over images), mean, sd over folds.
 * versus_best: p_images, p_folds, p_holm of macro F1, within_noise, mcnemar_p, and of each figure
 * an object difference (point - best, pooled), low, high, fold_mean, fold_low, fold_high.
 */
CF_CHECKED cf_err cf_sweep_report_json(const cf_sweep_results *r, const cf_sweep_ranking *ranking,
                                       cf_buf *out);

#endif
