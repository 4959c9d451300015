/* Figures by site. Part of the metrics; users read metrics.h. Threads: any. Read first:
 * cf_sites_compute. */
#ifndef CF_COORDINATOR_METRICS_SITES_H
#define CF_COORDINATOR_METRICS_SITES_H

#include "coordinator/metrics.h"

/* Fills sites, site_names and left_out of m, whose folds are there. rows: scratch, [p->n]. What was
 * made before a failure is released by cf_metrics_fini. */
CF_CHECKED cf_err cf_sites_compute(const cf_scheme *s, const cf_predictions *p, int64_t *rows,
                                   cf_metrics *m);
/* Rows of site i in the order of the file; rows: [p->n]. Returns their number. */
int64_t cf_sites_rows(const cf_metrics *m, const cf_predictions *p, int i, int64_t *rows);

#endif
