/* report.html: one file that needs nothing else, from figures, tables and small pictures.
 *
 * The page names no other file or host, and forbids itself the network (Content-Security-Policy).
 * Its bytes are a function of the run's results and configuration: no clock, no host, no path.
 * Style, script and their tests: coordinator/html, tests/html. Threads: one caller. Read first:
 * cf_page_write. */
#ifndef CF_COORDINATOR_PAGE_H
#define CF_COORDINATOR_PAGE_H

#include "coordinator/figures.h"
#include "coordinator/report_source.h"

typedef struct cf_page {
    const char *run_dir; /* of run.yaml and embed.csv, where they are there; all borrowed */
    const cf_scheme *scheme;
    const cf_predictions *predictions; /* of all folds; metrics are theirs */
    const cf_metrics *metrics;
    const cf_figures *figures;
    const cf_report_source *source; /* begun; NULL: no pictures */
    const char *absent;             /* why there are none, a sentence without its full stop */
    const char *missing;            /* a sentence about folds that are missing; "" for none */
} cf_page;

/* Appends the page. Errors: CF_E_DATA for an embed.csv or run.yaml that cannot be read, those of
 * the source, CF_E_UNEXPECTED. */
CF_CHECKED cf_err cf_page_write(const cf_page *page, cf_buf *out);

#endif
