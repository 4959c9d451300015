/* Figures of weighted rows, CF_LANES weightings at a time: what bootstrap resamples of one or two
 * sets of predictions are counted with. Threads: a tally is read-only after init; sums are one
 * thread's. Read first: cf_tally, cf_tally_count, cf_tally_lane. */
#ifndef CF_COORDINATOR_TALLY_H
#define CF_COORDINATOR_TALLY_H

#include "coordinator/calibration.h"
#include "coordinator/metrics.h"
#include "coordinator/resample.h"

/* What a row adds to the figures, worked out once. */
typedef struct cf_tally {
    int64_t n;
    int n_classes;
    int32_t *cells;                   /* owned, [n]: label * n_classes + predicted */
    double *nll, *brier, *confidence; /* owned, [n] */
    uint8_t *bins;                    /* owned, [n]: of the confidence; + 128 where right */
} cf_tally;

typedef struct cf_tally_sums {
    uint32_t *confusion; /* owned, [n_classes * n_classes][CF_LANES] */
    double nll[CF_LANES], brier[CF_LANES], confidence[CF_ECE_BINS][CF_LANES];
    uint32_t right[CF_ECE_BINS][CF_LANES];
} cf_tally_sums;

/* Of rows[0..n-1] of p; rows NULL: the first n. Released by cf_tally_fini, also after a failure. */
CF_CHECKED cf_err cf_tally_init(cf_tally *t, const cf_predictions *p, const int64_t *rows,
                                int64_t n);
void cf_tally_fini(cf_tally *t);
CF_CHECKED cf_err cf_tally_sums_init(cf_tally_sums *sums, int n_classes);
void cf_tally_sums_fini(cf_tally_sums *sums);
/* weights: [t->n][CF_LANES]. */
void cf_tally_count(const cf_tally *t, const uint8_t *weights, cf_tally_sums *sums);
/* The figures of one lane but areas, temperature and calibrated ones: f from cf_fold_alloc. */
void cf_tally_lane(const cf_scheme *s, const cf_tally_sums *sums, int lane, cf_fold_metrics *f);

#endif
