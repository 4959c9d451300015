/* How far probabilities can be believed: likelihood and calibration error. Threads: any.
 * Read first: cf_calibration. */
#ifndef CF_COORDINATOR_CALIBRATION_H
#define CF_COORDINATOR_CALIBRATION_H

#include <stdint.h>

#include "proto/csv.h"

enum { CF_ECE_BINS = 15 };

/* Over the rows rows[0..n-1] of p, n >= 1: *nll is the mean of -ln p(label) with p clipped to 1e-12
 * from below; *ece the expected calibration error of the predicted class (Guo et al. 2017, equation
 * 3) with equal-width bins (m/15, (m+1)/15]. */
void cf_calibration(const cf_predictions *p, const int64_t *rows, int64_t n, double *nll,
                    double *ece);

#endif
