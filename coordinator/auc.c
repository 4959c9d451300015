#include "coordinator/auc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { DIGIT_BITS = 11, DIGITS = 6, VALUES = 1 << DIGIT_BITS }; /* 66 bits: all of a double */

/* The bits of a double in an order of unsigned integers that falls as the number rises. -0 becomes
 * 0, its equal. */
static uint64_t falling_key(double score)
{
    uint64_t bits;
    score += 0.0;
    memcpy(&bits, &score, sizeof bits);
    return bits >> 63 ? bits : ~bits & ~(1ULL << 63);
}

static unsigned digit_of(double score, int digit)
{
    return (unsigned)(falling_key(score) >> (DIGIT_BITS * digit)) & (VALUES - 1);
}

/* Stable; from and to: [n], starts: [VALUES], where each value of the digit begins. */
static void distribute(const cf_scored *from, cf_scored *to, int64_t n, int digit, int64_t *starts)
{
    for (int64_t i = 0; i < n; i++) to[starts[digit_of(from[i].score, digit)]++] = from[i];
}

/* Turns counts into starts. Returns whether one value has all n: there is nothing to do then. */
static bool counts_to_starts(int64_t *counts, int64_t n)
{
    int64_t start = 0;
    bool alone = false;
    for (int v = 0; v < VALUES; v++) {
        int64_t count = counts[v];
        alone = alone || count == n;
        counts[v] = start;
        start += count;
    }
    return alone;
}

/* Radix sort: each class of each fold is sorted once for itself, and comparing takes five times as
 * long as everything else that is done with the rows. */
cf_err cf_auc_sort(cf_scored *rows, int64_t n)
{
    cf_scored *other = NULL;
    int64_t(*counts)[VALUES] = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&other, (size_t)n, sizeof *other), out);
    CF_TRY_GOTO(cf_new(&counts, DIGITS, sizeof *counts), out);
    for (int64_t i = 0; i < n; i++)
        for (int d = 0; d < DIGITS; d++) counts[d][digit_of(rows[i].score, d)]++;
    cf_scored *from = rows, *to = other;
    for (int d = 0; d < DIGITS; d++) {
        if (counts_to_starts(counts[d], n)) continue;
        distribute(from, to, n, d, counts[d]);
        cf_scored *swap = from;
        from = to;
        to = swap;
    }
    if (from != rows) memcpy(rows, from, (size_t)n * sizeof *rows);
out:
    free(counts);
    free(other);
    return err;
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
    for (int64_t i = 0; i < n; i++) rows[i] = (cf_scored){scores[i], (uint32_t)i, positive[i]};
    cf_err err = cf_auc_sort(rows, n);
    if (err == CF_OK) *areas = cf_auc_of_sorted(rows, n);
    free(rows);
    return err;
}
