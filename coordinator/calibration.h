/* How far probabilities can be believed: likelihood, Brier score, calibration error and the bins of
 * a reliability diagram. Threads: any. Read first: cf_calibrate. */
#ifndef CF_COORDINATOR_CALIBRATION_H
#define CF_COORDINATOR_CALIBRATION_H

#include <stdint.h>

#include "proto/csv.h"

enum { CF_ECE_BINS = 15 };

/* Bin b holds the rows whose predicted class has a probability in (b/15, (b+1)/15]. */
typedef struct cf_reliability_bin {
    int64_t n;         /* rows */
    int64_t n_right;   /* of them predicted right */
    double confidence; /* sum over rows of the predicted class's probability */
} cf_reliability_bin;

typedef struct cf_calibration {
    double nll;   /* mean of -ln p(label), p clipped to 1e-12 from below */
    double ece;   /* expected calibration error of the predicted class (Guo et al. 2017, equation 3)
                     over equal-width bins */
    double brier; /* mean over rows of sum_k (p_k - [k = label])^2, 0 to 2 (Brier 1950) */
    cf_reliability_bin bins[CF_ECE_BINS];
} cf_calibration;

/* 0..CF_ECE_BINS-1. */
int cf_calibration_bin(double confidence);
/* Over the rows rows[0..n-1] of p, n >= 1. */
void cf_calibrate(const cf_predictions *p, const int64_t *rows, int64_t n, cf_calibration *out);
/* The same after cf_temperature_apply, each row with its own temperature. temperatures: [p->n], by
 * row of p; scratch: [n_classes]. */
void cf_calibrate_scaled(const cf_predictions *p, const int64_t *rows, int64_t n,
                         const double *temperatures, double *scratch, cf_calibration *out);

#endif
