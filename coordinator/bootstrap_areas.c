#include "coordinator/bootstrap_areas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/curves.h"
#include "kernels/base/mem.h"

#define POSITIVE  (1u << 31)
#define THRESHOLD (1u << 30)
#define ROW       (THRESHOLD - 1)

typedef struct ranked {
    double score;
    uint32_t row;
} ranked;

static int by_falling_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    int order = (x->score < y->score) - (x->score > y->score);
    return order != 0 ? order : (int)((x->row & ROW) > (y->row & ROW)) - 1;
}

/* Marks the ends of the thresholds that matter: those with a positive row, and the last of the
 * negative ones before them. Long runs of negatives are then one addition a row. */
static void mark_thresholds(const ranked *sorted, int64_t n, uint32_t *rows)
{
    int64_t end, before = -1; /* end of the negatives that are not marked yet */
    for (int64_t begin = 0; begin < n; begin = end) {
        uint32_t any = 0;
        for (end = begin; end < n && sorted[end].score == sorted[begin].score; end++)
            any |= rows[end] = sorted[end].row;
        bool positive = (any & POSITIVE) != 0;
        if (positive && before >= 0) rows[before] |= THRESHOLD;
        if (positive || end == n) rows[end - 1] |= THRESHOLD;
        before = positive ? -1 : end - 1;
    }
}

cf_err cf_ranking_init(cf_ranking *r, const cf_predictions *p, int k, const cf_question *q)
{
    cf_scored *scored = NULL;
    ranked *sorted = NULL;
    cf_err err = CF_OK;
    *r = (cf_ranking){.n = p->n};
    if (p->n > (int64_t)ROW)
        return cf_fail(CF_E_DATA, "%lld rows to rank, expected at most %u", (long long)p->n, ROW);
    CF_TRY_GOTO(cf_new(&scored, (size_t)p->n, sizeof *scored), out);
    CF_TRY_GOTO(cf_new(&sorted, (size_t)p->n, sizeof *sorted), out);
    CF_TRY_GOTO(cf_new(&r->rows, (size_t)p->n, sizeof *r->rows), out);
    cf_curve_scores(p, NULL, p->n, k, q, scored);
    for (int64_t i = 0; i < p->n; i++)
        sorted[i] = (ranked){scored[i].score, (uint32_t)i | (scored[i].positive ? POSITIVE : 0)};
    qsort(sorted, (size_t)p->n, sizeof *sorted, by_falling_score);
    mark_thresholds(sorted, p->n, r->rows);
out:
    free(sorted);
    free(scored);
    return err;
}

void cf_ranking_fini(cf_ranking *r)
{
    free(r->rows);
    *r = (cf_ranking){0};
}

/* Sums of the rows above, and of the threshold that is being passed. */
typedef struct passed {
    uint32_t positives[CF_LANES], negatives[CF_LANES];
    double lost[CF_LANES]; /* pairs of a positive row and a negative one above it, ties half */
    double precision[CF_LANES];
} passed;

static void end_threshold(const uint32_t *positives, const uint32_t *negatives, passed *sum)
{
    for (int b = 0; b < CF_LANES; b++) {
        double here = positives[b];
        sum->lost[b] += here * ((double)sum->negatives[b] + (double)negatives[b] / 2);
        sum->positives[b] += positives[b];
        sum->negatives[b] += negatives[b];
        double above = sum->positives[b], called = above + (double)sum->negatives[b];
        sum->precision[b] += here > 0 ? here * above / called : 0;
    }
}

void cf_ranking_areas(const cf_ranking *r, const uint16_t *weights, cf_areas *areas)
{
    passed sum = {{0}, {0}, {0}, {0}};
    uint32_t positives[CF_LANES] = {0}, negatives[CF_LANES] = {0}, any = 0;
    for (int64_t i = 0; i < r->n; i++) {
        uint32_t row = r->rows[i];
        const uint16_t *w = weights + (int64_t)(row & ROW) * CF_LANES;
        any |= row;
        if (row & POSITIVE)
            for (int b = 0; b < CF_LANES; b++) positives[b] += w[b];
        else
            for (int b = 0; b < CF_LANES; b++) negatives[b] += w[b];
        if (!(row & THRESHOLD)) continue;
        if (any & POSITIVE) {
            end_threshold(positives, negatives, &sum);
            memset(positives, 0, sizeof positives);
        } else {
            for (int b = 0; b < CF_LANES; b++) sum.negatives[b] += negatives[b];
        }
        memset(negatives, 0, sizeof negatives);
        any = 0;
    }
    for (int b = 0; b < CF_LANES; b++) {
        double n_positive = sum.positives[b], pairs = n_positive * (double)sum.negatives[b];
        areas[b].auc = pairs > 0 ? (pairs - sum.lost[b]) / pairs : (double)NAN;
        areas[b].average_precision = n_positive > 0 ? sum.precision[b] / n_positive : (double)NAN;
    }
}
