/* The itinerary: in which order a worker steps its folds (fold a, fold b, fold a, ...). The loader
 * runs ahead of the step on a second cursor over the same order. Threads: one caller, plain data.
 * Read first: cf_itinerary_next. */
#ifndef CF_WORKER_ITINERARY_H
#define CF_WORKER_ITINERARY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/control.h"

typedef struct cf_itinerary {
    int n_folds;
    int last; /* fold index of the last stop; -1 before the first */
    int64_t step[CF_MAX_FOLDS], total[CF_MAX_FOLDS];
} cf_itinerary;

/* Starts where each of n folds stands: step[i] of total[i]. */
void cf_itinerary_init(cf_itinerary *it, int n, const int64_t *step, const int64_t *total);
/* The next stop: the unfinished fold after the last one, round the circle. False at the end. */
bool cf_itinerary_next(cf_itinerary *it, int *fold, int64_t *step);

#endif
