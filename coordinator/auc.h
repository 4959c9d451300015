/* Area under the ROC curve. Threads: any. Read first: cf_auc_roc. */
#ifndef CF_COORDINATOR_AUC_H
#define CF_COORDINATOR_AUC_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

/* The probability that a positive row scores higher than a negative one, ties counted half (Mann
 * and Whitney 1947, by mean ranks). scores, positive: [n]. *auc is NaN when one side is empty. */
CF_CHECKED cf_err cf_auc_roc(const double *scores, const bool *positive, int64_t n, double *auc);

#endif
