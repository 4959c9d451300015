/* The report of a sweep: its points side by side, from what is on disk. Threads: any. Read first:
 * cf_sweep_report_write. */
#ifndef CF_COORDINATOR_SWEEP_REPORT_H
#define CF_COORDINATOR_SWEEP_REPORT_H

#include "coordinator/sweep_results.h"

/* Reads DIR/sweep.yaml and the predictions of every point that has all its folds, and writes
 * sweep.csv, sweep.md, sweep.json, sweep.html, sweep.png and sweep.svg, each atomically. `table`
 * receives the Markdown. Points that are not finished are named, not invented. CF_E_DATA when there
 * are none; what `patience` says (NULL: none is needed). */
CF_CHECKED cf_err cf_sweep_report_write(const char *dir, const cf_sweep_patience *patience,
                                        cf_buf *table);

/* The same where all points are finished, and nothing where one is not: what the last task of a job
 * array does. */
CF_CHECKED cf_err cf_sweep_report_if_whole(const char *dir);

#endif
