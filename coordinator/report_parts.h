/* Parts of the Markdown page that not every page has. Users read report.h. Threads: any. */
#ifndef CF_COORDINATOR_REPORT_PARTS_H
#define CF_COORDINATOR_REPORT_PARTS_H

#include "coordinator/metrics.h"

/* Per class, pooled, with 95 % intervals; how they were made. Nothing without a bootstrap. */
CF_CHECKED cf_err cf_report_intervals(const cf_scheme *s, const cf_metrics *m, cf_buf *out);
/* By site, and by the site that each fold left out. Nothing where there is one site. */
CF_CHECKED cf_err cf_report_sites(const cf_metrics *m, cf_buf *out);

#endif
