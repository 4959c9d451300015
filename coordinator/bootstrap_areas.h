/* ROC AUC and average precision of weighted rows, CF_LANES weightings at a time: the rows are
 * sorted once for all resamples. Part of the bootstrap. Threads: read-only after init. Read first:
 * cf_ranking. */
#ifndef CF_COORDINATOR_BOOTSTRAP_AREAS_H
#define CF_COORDINATOR_BOOTSTRAP_AREAS_H

#include "coordinator/auc.h"
#include "coordinator/resample.h"
#include "proto/csv.h"

/* Rows by falling score of one class or question. */
typedef struct cf_ranking {
    uint32_t *rows; /* owned, [n]: row number; bit 31: positive, bit 30: what came since the last
                       such bit is one threshold, or negatives alone */
    int64_t n;
} cf_ranking;

/* As cf_curve_scores of all rows of p. CF_E_DATA for 2^30 rows or more. */
CF_CHECKED cf_err cf_ranking_init(cf_ranking *r, const cf_predictions *p, int k,
                                  const cf_question *q);
void cf_ranking_fini(cf_ranking *r);
/* weights: [n][CF_LANES]; areas: [CF_LANES]. With all weights 1: cf_auc_of_sorted's bits. */
void cf_ranking_areas(const cf_ranking *r, const uint8_t *weights, cf_areas *areas);

#endif
