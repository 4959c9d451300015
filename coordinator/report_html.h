/* report.html and plots/ of a run folder. Threads: one caller. Read first: cf_report_html. */
#ifndef CF_COORDINATOR_REPORT_HTML_H
#define CF_COORDINATOR_REPORT_HTML_H

#include "coordinator/metrics.h"
#include "coordinator/report_source.h"

/* Writes RUN/report.html and, as .png and .svg each, RUN/plots/{confusion, roc, precision-recall,
 * questions-roc, questions-precision-recall, reliability, learning-loss, learning-accuracy,
 * frequencies} as far as there is something to draw; each file whole or not at all. p: the pooled
 * rows, m: their figures; missing: a sentence about missing folds, "" for none; source: the
 * images, NULL for none. Of the folder it reads log.jsonl (learning curves), run.yaml, embed.csv
 * (the map) and the predictions' bytes (their hash). The same folder gives the same bytes, PNG text
 * as far as the system's font is the same; so does the same run on any number of workers and after
 * any kill, but for points of tests during training, which the log of a stopped run may lack.
 * Errors: CF_E_DATA for a damaged one of these files, CF_E_DISK, CF_E_UNEXPECTED, those of the
 * source. */
CF_CHECKED cf_err cf_report_html(const char *run_dir, const cf_scheme *s, const cf_predictions *p,
                                 const cf_metrics *m, const char *missing,
                                 const cf_report_source *source);

#endif
