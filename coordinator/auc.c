#include "coordinator/auc.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

static int by_falling_score(const void *a, const void *b)
{
    double x = ((const cf_scored *)a)->score, y = ((const cf_scored *)b)->score;
    return (x < y) - (x > y);
}

void cf_auc_sort(cf_scored *rows, int64_t n)
{
    qsort(rows, (size_t)n, sizeof *rows, by_falling_score);
}

/* wins counts pairs of a negative row and a positive one above it, ties half: halves of integers,
 * so the sum is exact. */
cf_areas cf_auc_of_sorted(const cf_scored *rows, int64_t n)
{
    double n_positive = 0, above = 0, negatives = 0, wins = 0, precision = 0;
    int64_t end;
    for (int64_t i = 0; i < n; i++) n_positive += rows[i].positive;
    for (int64_t begin = 0; begin < n; begin = end) {
        double positives = 0;
        for (end = begin; end < n && rows[end].score == rows[begin].score; end++)
            positives += rows[end].positive;
        double tied = (double)(end - begin) - positives;
        wins += tied * (above + positives / 2);
        above += positives;
        negatives += tied;
        precision += positives * above / (above + negatives);
    }
    bool both = n_positive > 0 && negatives > 0;
    return (cf_areas){both ? wins / (n_positive * negatives) : (double)NAN,
                      n_positive > 0 ? precision / n_positive : (double)NAN};
}

cf_err cf_auc(const double *scores, const bool *positive, int64_t n, cf_areas *areas)
{
    cf_scored *rows = NULL;
    CF_TRY(cf_new(&rows, (size_t)n, sizeof *rows));
    for (int64_t i = 0; i < n; i++) rows[i] = (cf_scored){scores[i], positive[i]};
    cf_auc_sort(rows, n);
    *areas = cf_auc_of_sorted(rows, n);
    free(rows);
    return CF_OK;
}
