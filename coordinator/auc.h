/* Areas under the ROC and precision-recall curves. The curves themselves: curves.h. Threads: any.
 * Read first: cf_auc. */
#ifndef CF_COORDINATOR_AUC_H
#define CF_COORDINATOR_AUC_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef struct cf_scored {
    double score; /* finite */
    uint32_t row; /* the caller's; may be anything */
    bool positive;
} cf_scored;

typedef struct cf_areas {
    double
        auc; /* the probability that a positive row scores higher than a negative one, ties
                counted half (Mann and Whitney 1947, by mean ranks); NaN when one side is empty */
    double average_precision; /* sum over thresholds of (R_n - R_n-1) P_n, without interpolation, as
                                 scikit-learn's average_precision_score; NaN without a positive row
                                 (where that function says 0) */
} cf_areas;

/* Sorts rows [n] by falling score; rows of one score keep their order. CF_E_UNEXPECTED when memory
 * is short; rows are then in some order. */
CF_CHECKED cf_err cf_auc_sort(cf_scored *rows, int64_t n);
/* Of rows sorted by cf_auc_sort. Rows of one score are passed together, so their order does not
 * matter. */
cf_areas cf_auc_of_sorted(const cf_scored *rows, int64_t n);
/* scores, positive: [n], in any order. */
CF_CHECKED cf_err cf_auc(const double *scores, const bool *positive, int64_t n, cf_areas *areas);

#endif
