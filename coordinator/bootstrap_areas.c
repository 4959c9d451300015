#include "coordinator/bootstrap_areas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/curves.h"
#include "kernels/base/mem.h"

#define POSITIVE  (1u << 31)
#define THRESHOLD (1u << 30)
#define ROW       (THRESHOLD - 1)

/* Marks the ends of the thresholds that matter: those with a positive row, and the last of the
 * negative ones before them. Long runs of negatives are then one addition a row. */
static void mark_thresholds(const cf_scored *sorted, int64_t n, uint32_t *rows)
{
    int64_t end, before = -1; /* end of the negatives that are not marked yet */
    for (int64_t begin = 0; begin < n; begin = end) {
        uint32_t any = 0;
        for (end = begin; end < n && sorted[end].score == sorted[begin].score; end++)
            any |= rows[end] = sorted[end].row | (sorted[end].positive ? POSITIVE : 0);
        bool positive = (any & POSITIVE) != 0;
        if (positive && before >= 0) rows[before] |= THRESHOLD;
        if (positive || end == n) rows[end - 1] |= THRESHOLD;
        before = positive ? -1 : end - 1;
    }
}

cf_err cf_ranking_init(cf_ranking *r, const cf_predictions *p, int k, const cf_question *q)
{
    cf_scored *sorted = NULL;
    cf_err err = CF_OK;
    *r = (cf_ranking){.n = p->n};
    if (p->n > (int64_t)ROW)
        return cf_fail(CF_E_DATA, "%lld rows to rank, expected at most %u", (long long)p->n, ROW);
    CF_TRY_GOTO(cf_new(&sorted, (size_t)p->n, sizeof *sorted), out);
    CF_TRY_GOTO(cf_new(&r->rows, (size_t)p->n, sizeof *r->rows), out);
    cf_curve_scores(p, NULL, p->n, k, q, sorted);
    CF_TRY_GOTO(cf_auc_sort(sorted, p->n), out);
    mark_thresholds(sorted, p->n, r->rows);
out:
    free(sorted);
    return err;
}

void cf_ranking_fini(cf_ranking *r)
{
    free(r->rows);
    *r = (cf_ranking){0};
}

typedef uint32_t lanes __attribute__((vector_size(4 * CF_LANES)));
typedef uint8_t narrow __attribute__((vector_size(CF_LANES)));

/* Sums of the rows above, and of the threshold that is being passed. */
typedef struct passed {
    lanes positives, negatives;
    double lost[CF_LANES]; /* pairs of a positive row and a negative one above it, ties half */
    double precision[CF_LANES];
} passed;

static void end_threshold(const lanes *positives, const lanes *negatives, passed *sum)
{
    for (int b = 0; b < CF_LANES; b++) {
        double here = (*positives)[b], above = sum->positives[b], other = sum->negatives[b];
        sum->lost[b] += here * (other + (double)(*negatives)[b] / 2);
        double called = above + here + other + (double)(*negatives)[b];
        sum->precision[b] += here > 0 ? here * (above + here) / called : 0;
    }
    sum->positives += *positives;
    sum->negatives += *negatives;
}

/* The weights stand in no order that the processor could foresee: they are asked for AHEAD rows
 * before they are needed. */
static void pass_rows(const cf_ranking *r, const uint8_t *weights, passed *sum)
{
    enum { AHEAD = 24 };
    lanes positives = {0}, negatives = {0};
    uint32_t any = 0;
    for (int64_t i = 0; i < r->n; i++) {
        uint32_t row = r->rows[i];
        if (i + AHEAD < r->n)
            __builtin_prefetch(weights + (size_t)(r->rows[i + AHEAD] & ROW) * CF_LANES);
        narrow w;
        memcpy(&w, weights + (size_t)(row & ROW) * CF_LANES, sizeof w);
        any |= row;
        if (row & POSITIVE)
            positives += __builtin_convertvector(w, lanes);
        else
            negatives += __builtin_convertvector(w, lanes);
        if (!(row & THRESHOLD)) continue;
        if (any & POSITIVE)
            end_threshold(&positives, &negatives, sum);
        else
            sum->negatives += negatives;
        positives = negatives = (lanes){0};
        any = 0;
    }
}

void cf_ranking_areas(const cf_ranking *r, const uint8_t *weights, cf_areas *areas)
{
    passed sum;
    memset(&sum, 0, sizeof sum);
    pass_rows(r, weights, &sum);
    for (int b = 0; b < CF_LANES; b++) {
        double n_positive = sum.positives[b], pairs = n_positive * (double)sum.negatives[b];
        areas[b].auc = pairs > 0 ? (pairs - sum.lost[b]) / pairs : (double)NAN;
        areas[b].average_precision = n_positive > 0 ? sum.precision[b] / n_positive : (double)NAN;
    }
}
