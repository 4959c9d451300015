#include "coordinator/temperature.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

enum { MAX_STEPS = 100 };
#define CLOSE_ENOUGH 1e-10 /* relative, of 1/T */
#define NEGLIGIBLE   -60.0 /* exp of it is 1e-26: lost beside a sum of at least 1 in any order */

/* Slope and curvature of the summed loss at one 1/T. */
typedef struct slope {
    double first, second;
} slope;

cf_err cf_temperature_table_init(cf_temperature_table *t, const cf_predictions *p)
{
    size_t cells;
    *t = (cf_temperature_table){.p = p};
    if (!cf_size_mul((size_t)p->n, (size_t)p->n_classes, &cells))
        return cf_fail(CF_E_UNEXPECTED, "logarithms of %lld rows", (long long)p->n);
    CF_TRY(cf_new(&t->logs, cells, sizeof *t->logs));
    for (int64_t i = 0; i < p->n; i++) {
        const double *probability = p->p + i * p->n_classes;
        double *logs = t->logs + i * p->n_classes;
        double own = log(probability[p->labels[i]]);
        for (int k = 0; k < p->n_classes; k++) logs[k] = log(probability[k]) - own;
        if (isinf(own)) logs[0] = (double)NAN;
    }
    return CF_OK;
}

void cf_temperature_table_fini(cf_temperature_table *t)
{
    free(t->logs);
    *t = (cf_temperature_table){0};
}

/* A row's loss is ln sum_k exp(beta d_k) with d the row of the table; its slope in beta is the mean
 * of d under softmax(beta d), its curvature their variance. */
static void add_row(const double *d, int n_classes, double beta, slope *s)
{
    double peak = 0, total = 0, mean = 0, square = 0;
    for (int k = 0; k < n_classes; k++) peak = d[k] > peak ? d[k] : peak;
    for (int k = 0; k < n_classes; k++) {
        double exponent = beta * (d[k] - peak);
        if (!(exponent > NEGLIGIBLE)) continue;
        double weight = exp(exponent);
        total += weight;
        mean += weight * d[k];
        square += weight * d[k] * d[k];
    }
    mean /= total;
    s->first += mean;
    s->second += square / total - mean * mean;
}

static slope slope_at(const cf_temperature_table *t, const int64_t *rows, int64_t n, double beta)
{
    slope s = {0, 0};
    for (int64_t i = 0; i < n; i++) {
        const double *d = t->logs + rows[i] * t->p->n_classes;
        if (!isnan(d[0])) add_row(d, t->p->n_classes, beta, &s);
    }
    return s;
}

/* Where to look next: Newton's point; an end of the range that was not looked at yet where that
 * lies beyond it; else the middle of the bracket. */
static double next_beta(double beta, slope s, double low, double high, bool low_seen,
                        bool high_seen)
{
    double newton = s.second > 0  ? beta - s.first / s.second
                    : s.first < 0 ? (double)INFINITY
                                  : -(double)INFINITY;
    if (newton > low && newton < high) return newton;
    if (newton <= low && !low_seen) return low;
    if (newton >= high && !high_seen) return high;
    return sqrt(low * high);
}

double cf_temperature_fit_rows(const cf_temperature_table *t, const int64_t *rows, int64_t n,
                               double start)
{
    double low = 1 / CF_TEMPERATURE_MAX, high = 1 / CF_TEMPERATURE_MIN;
    bool low_seen = false, high_seen = false, any = false;
    for (int64_t i = 0; i < n && !any; i++) any = !isnan(t->logs[rows[i] * t->p->n_classes]);
    if (!any) return (double)NAN;
    double beta = fmin(fmax(1 / start, low), high);
    for (int step = 0; step < MAX_STEPS; step++) {
        slope s = slope_at(t, rows, n, beta);
        if (s.first == 0 || (s.first > 0 && beta <= low) || (s.first < 0 && beta >= high)) break;
        if (s.first > 0)
            high = beta, high_seen = true;
        else
            low = beta, low_seen = true;
        double next = next_beta(beta, s, low, high, low_seen, high_seen);
        bool done = fabs(next - beta) <= CLOSE_ENOUGH * beta;
        beta = next;
        if (done) break;
    }
    return 1 / beta;
}

cf_err cf_temperature_fit(const cf_predictions *p, double *temperature)
{
    cf_temperature_table t = {0};
    int64_t *rows = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_temperature_table_init(&t, p), out);
    CF_TRY_GOTO(cf_new(&rows, (size_t)p->n, sizeof *rows), out);
    for (int64_t i = 0; i < p->n; i++) rows[i] = i;
    *temperature = cf_temperature_fit_rows(&t, rows, p->n, 1);
out:
    free(rows);
    cf_temperature_table_fini(&t);
    return err;
}
