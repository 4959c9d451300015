/* Who a point's neighbours are: how many of its class, and whether those of its own fold are more
 * than chance gives, which would say that the networks' spaces do not lie on each other. Threads:
 * any. Read first: cf_mixing_measure. */
#ifndef CF_WORKER_INSIGHT_MIXING_H
#define CF_WORKER_INSIGHT_MIXING_H

#include "worker/insight/neighbours.h"

typedef struct cf_mixing {
    double same_class; /* share of neighbours with the point's class */
    double same_fold;  /* share of neighbours of the point's fold */
    double chance;     /* the same, had the folds been dealt out anew within each class */
} cf_mixing;

/* folds, labels: [nb->n], labels 0 to n_classes - 1. same_fold / chance is 1 where folds are mixed
 * like cards, the number of folds where each lies by itself. */
CF_CHECKED cf_err cf_mixing_measure(const cf_neighbours *nb, const uint8_t *folds,
                                    const int32_t *labels, int n_classes, cf_mixing *out);

#endif
