/* Which point of a sweep is best, and which of the others it cannot be told from.
 *
 * Points are ranked by macro F1 over all folds. Each is compared with the best, image by image, for
 * all points test the same images in the same folds. Two tests are asked: the paired bootstrap over
 * images (or patients), in which networks are taken as given, and the corrected resampled t over
 * folds, in which another training counts. The larger of both p-values counts, so that a difference
 * is beyond noise only where both say so; over all comparisons they are adjusted by Holm (1979).
 * Threads: any; uses threads of its own. Read first: cf_sweep_rank. */
#ifndef CF_COORDINATOR_SWEEP_RANK_H
#define CF_COORDINATOR_SWEEP_RANK_H

#include "coordinator/compare.h"
#include "coordinator/sweep_results.h"

#define CF_SWEEP_LEVEL 0.05

/* A finished point beside the best. */
typedef struct cf_sweep_standing {
    int rank;                 /* 1: the best; 0: not finished */
    cf_comparison comparison; /* owned: of this point (a) with the best (b); empty for the best */
    double p;                 /* of macro F1: the larger of both tests' */
    double p_holm;            /* adjusted */
    bool within_noise;        /* p_holm is not below CF_SWEEP_LEVEL; true for the best */
} cf_sweep_standing;

typedef struct cf_sweep_ranking {
    int n_points, n_ranked;
    int *order;                   /* owned, [n_ranked]: points, best first */
    cf_sweep_standing *standings; /* owned, [n_points] */
} cf_sweep_ranking;

/* Also fills low and high of every finished point's metrics. Release with fini in any case. */
CF_CHECKED cf_err cf_sweep_rank(cf_sweep_results *r, cf_sweep_ranking *ranking);
void cf_sweep_ranking_fini(cf_sweep_ranking *ranking);

/* Resamples of each comparison when so many points are finished: enough for the smallest possible p
 * to be below the level after the adjustment. */
int cf_sweep_resamples(int n_finished);
/* Holm's step-down adjustment of n p-values: the smallest level at which each is rejected. */
void cf_holm_adjust(const double *p, int n, double *adjusted);

#endif
