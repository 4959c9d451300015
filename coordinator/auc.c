#include "coordinator/auc.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

typedef struct scored {
    double score;
    bool positive;
} scored;

static int by_score(const void *a, const void *b)
{
    double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x > y) - (x < y);
}

/* Sum of the 1-based ranks of the positive rows; rows of one score share their mean rank. The ranks
 * are halves of integers, so the sum is exact and does not depend on how the sort ordered ties. */
static double positive_ranks(const scored *rows, int64_t n)
{
    double sum = 0;
    int64_t end;
    for (int64_t begin = 0; begin < n; begin = end) {
        int64_t positives = 0;
        for (end = begin; end < n && rows[end].score == rows[begin].score; end++)
            positives += rows[end].positive;
        sum += (double)positives * (double)(begin + 1 + end) / 2;
    }
    return sum;
}

cf_err cf_auc_roc(const double *scores, const bool *positive, int64_t n, double *auc)
{
    scored *rows = NULL;
    double n_positive = 0;
    CF_TRY(cf_new(&rows, (size_t)n, sizeof *rows));
    for (int64_t i = 0; i < n; i++) {
        rows[i] = (scored){scores[i], positive[i]};
        n_positive += positive[i];
    }
    double n_negative = (double)n - n_positive;
    qsort(rows, (size_t)n, sizeof *rows, by_score);
    double u = positive_ranks(rows, n) - n_positive * (n_positive + 1) / 2;
    *auc = n_positive > 0 && n_negative > 0 ? u / (n_positive * n_negative) : (double)NAN;
    free(rows);
    return CF_OK;
}
