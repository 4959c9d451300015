/* sweep.html: the points of a sweep side by side, in the style of report.html; one file that asks
 * the network for nothing, with links to each point's own report.html beside it. Threads: any. Read
 * first: cf_sweep_page. */
#ifndef CF_COORDINATOR_SWEEP_PAGE_H
#define CF_COORDINATOR_SWEEP_PAGE_H

#include "coordinator/canvas.h"
#include "coordinator/sweep_rank.h"

/* Appends the page; its bytes are a function of the results. */
CF_CHECKED cf_err cf_sweep_page(const cf_sweep_results *r, const cf_sweep_ranking *ranking,
                                cf_buf *out);
/* Macro F1 of each finished point with its interval, best first. Owned by the caller. */
CF_CHECKED cf_err cf_sweep_figure_draw(const cf_sweep_results *r, const cf_sweep_ranking *ranking,
                                       cf_canvas **out);
/* What the comparison rests on, as sentences without markup. */
void cf_sweep_legend(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out);

#endif
