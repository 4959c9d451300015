/* The part of a comparison that goes by folds. Users read compare.h. Threads: any. */
#ifndef CF_COORDINATOR_COMPARE_FOLDS_H
#define CF_COORDINATOR_COMPARE_FOLDS_H

#include "coordinator/compare.h"

/* Fills c's fold tests. rows_a, rows_b: [n] rows of the same images. */
CF_CHECKED cf_err cf_compare_folds(const cf_scheme *s, const cf_predictions *a,
                                   const cf_predictions *b, const int64_t *rows_a,
                                   const int64_t *rows_b, int64_t n, cf_comparison *c);

#endif
