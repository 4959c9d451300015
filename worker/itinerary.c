#include "worker/itinerary.h"

#include <string.h>

void cf_itinerary_init(cf_itinerary *it, int n, const int64_t *step, const int64_t *total)
{
    memset(it, 0, sizeof *it);
    it->n_folds = n;
    it->last = -1;
    memcpy(it->step, step, (size_t)n * sizeof *step);
    memcpy(it->total, total, (size_t)n * sizeof *total);
}

bool cf_itinerary_next(cf_itinerary *it, int *fold, int64_t *step)
{
    for (int i = 1; i <= it->n_folds; i++) {
        int f = (it->last + i) % it->n_folds;
        if (it->last < 0) f = i - 1;
        if (it->step[f] >= it->total[f]) continue;
        it->last = f;
        *fold = f;
        *step = it->step[f]++;
        return true;
    }
    return false;
}
