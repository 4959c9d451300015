/* Tables from metrics: table.csv, confusion.csv, table.md, metrics.json, and the table on the
 * terminal. Threads: any. Read first: cf_report_write. */
#ifndef CF_COORDINATOR_REPORT_H
#define CF_COORDINATOR_REPORT_H

#include "coordinator/metrics.h"
#include "coordinator/report_source.h"

/* Reads fold-K/predictions.csv of a run folder (all that are there), computes, and writes
 * metrics.json, table.csv, confusion.csv, table.md, and fold-K/metrics.json, each atomically.
 * `table`: receives the Markdown. Missing folds (by the run's folds.csv, else below the highest
 * found) are named in the table and in the log, not invented. CF_E_DATA when there are none, or
 * when a fold's rows name another fold. */
CF_CHECKED cf_err cf_report_write(const char *run_dir, const cf_scheme *s, cf_buf *table);
/* The same and report.html and plots/, as report_html.h says, with the images of `source`: what
 * `train` and `report` leave behind. source: NULL: a page without pictures. n_resamples: for
 * intervals; 0: none. */
CF_CHECKED cf_err cf_report_run(const char *run_dir, const cf_scheme *s,
                                const cf_report_source *source, int n_resamples, cf_buf *table);
/* The per-class table as Markdown: code, name, images, precision and recall tolerant and strict,
 * mean ± SD over folds; beside them the published figures where the scheme has them; then the
 * summary lines, the intervals of each class, figures by site, and the confusion matrix. */
CF_CHECKED cf_err cf_report_markdown(const cf_scheme *s, const cf_metrics *m, cf_buf *out);
/* One row a class: code, name, images, <figure>_mean and <figure>_sd, published figures (empty
 * where there are none), pooled_<figure> with the ends of its interval, _low and _high. */
CF_CHECKED cf_err cf_report_csv(const cf_scheme *s, const cf_metrics *m, cf_buf *out);
/* Counts of all folds: a row a true class, a column a predicted one. */
CF_CHECKED cf_err cf_report_confusion_csv(const cf_scheme *s, const cf_metrics *m, cf_buf *out);

#endif
