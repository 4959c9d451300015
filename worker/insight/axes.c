#include "worker/insight/axes.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/dnnl_products.h"
#include "kernels/math/philox.h"

enum { ROUNDS = 24, ROUGH_ROUNDS = 3, SWEEPS = 60 };
static const double flat = 1e-12; /* share of the widest axis below which there is none */

/* ---- singular values --------------------------------------------------------------------------
 */

static void rotate(double *m, int r, int p, int q, double c, double s)
{
    for (int i = 0; i < r; i++) {
        double x = m[i * r + p], y = m[i * r + q];
        m[i * r + p] = c * x - s * y;
        m[i * r + q] = s * x + c * y;
    }
}

/* Makes columns p and q of a orthogonal; false where they are already. */
static bool straighten_pair(double *a, double *v, int r, int p, int q)
{
    double pp = 0, qq = 0, pq = 0;
    for (int i = 0; i < r; i++) {
        pp += a[i * r + p] * a[i * r + p];
        qq += a[i * r + q] * a[i * r + q];
        pq += a[i * r + p] * a[i * r + q];
    }
    if (fabs(pq) <= 4 * DBL_EPSILON * sqrt(pp * qq) || pq == 0) return false;
    double zeta = (qq - pp) / (2 * pq);
    double t = (zeta < 0 ? -1 : 1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    double c = 1 / sqrt(1 + t * t);
    rotate(a, r, p, q, c, c * t);
    rotate(v, r, p, q, c, c * t);
    return true;
}

static void swap_columns(double *m, int r, int p, int q)
{
    for (int i = 0; i < r; i++) {
        double x = m[i * r + p];
        m[i * r + p] = m[i * r + q];
        m[i * r + q] = x;
    }
}

void cf_axes_svd(double *a, int r, double *s, double *v)
{
    for (int i = 0; i < r * r; i++) v[i] = i % (r + 1) == 0;
    bool moved = true;
    for (int sweep = 0; sweep < SWEEPS && moved; sweep++) {
        moved = false;
        for (int p = 0; p + 1 < r; p++)
            for (int q = p + 1; q < r; q++) moved |= straighten_pair(a, v, r, p, q);
    }
    for (int p = 0; p < r; p++) {
        double sum = 0;
        for (int i = 0; i < r; i++) sum += a[i * r + p] * a[i * r + p];
        s[p] = sqrt(sum);
    }
    for (int p = 0; p < r; p++) {
        int most = p;
        for (int q = p + 1; q < r; q++) most = s[q] > s[most] ? q : most;
        double value = s[most];
        s[most] = s[p];
        s[p] = value > flat * s[0] ? value : 0;
        swap_columns(a, r, p, most);
        swap_columns(v, r, p, most);
        for (int i = 0; i < r; i++) a[i * r + p] = s[p] > 0 ? a[i * r + p] / s[p] : 0;
    }
}

/* ---- principal axes ---------------------------------------------------------------------------
 */

/* What one search holds. */
typedef struct search {
    int64_t n, d;
    int r;
    float *rows;    /* owned, [n][d] less the mean */
    float *columns; /* owned, [d][n] the same */
    float *along;   /* owned, [r][n] places along the axes */
    double *small;  /* owned, [3][r][r] */
} search;

static double dot(const float *a, const float *b, int64_t n)
{
    double sum[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int l = 0; l < 4; l++) sum[l] += (double)a[i + l] * (double)b[i + l];
    for (; i < n; i++) sum[0] += (double)a[i] * (double)b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Each row of m [r][d] becomes of length 1 and at right angles to those before it; twice, since
 * once leaves what rounding left of rows that were nearly the same. */
static void make_orthonormal(float *m, int r, int64_t d)
{
    for (int p = 0; p < r; p++) {
        float *row = m + p * d;
        double before = sqrt(dot(row, row, d));
        for (int twice = 0; twice < 2; twice++)
            for (int q = 0; q < p; q++) {
                float along = (float)dot(row, m + q * d, d);
                for (int64_t j = 0; j < d; j++) row[j] -= along * m[q * d + j];
            }
        double length = sqrt(dot(row, row, d));
        float scale = length > 1e-6 * before && length > 0 ? (float)(1 / length) : 0;
        for (int64_t j = 0; j < d; j++) row[j] *= scale;
    }
}

/* Turns the axes so that places along them are not correlated, widest first. */
static void sort_axes(search *s, cf_axes *a)
{
    int r = s->r;
    double *m = s->small, *v = m + r * r, *width = v + r * r;
    for (int p = 0; p < r; p++)
        for (int q = 0; q < r; q++)
            m[p * r + q] = dot(s->along + p * s->n, s->along + q * s->n, s->n);
    cf_axes_svd(m, r, width, v);
    for (int64_t j = 0; j < s->d; j++) {
        double turned[CF_AXES_MAX] = {0};
        for (int p = 0; p < r; p++)
            for (int q = 0; q < r; q++)
                turned[p] += v[q * r + p] * (double)a->axis[q * s->d + j] * (width[p] > 0);
        for (int p = 0; p < r; p++) a->axis[p * s->d + j] = (float)turned[p];
    }
    for (int p = 0; p < r; p++) a->variance[p] = width[p] / (double)s->n;
}

static void centre(const float *x, search *s, cf_axes *a)
{
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t j = 0; j < s->d; j++) a->mean[j] += (double)x[i * s->d + j];
    for (int64_t j = 0; j < s->d; j++) a->mean[j] /= (double)s->n;
    for (int64_t i = 0; i < s->n; i++) {
        float *row = s->rows + i * s->d;
        for (int64_t j = 0; j < s->d; j++) {
            row[j] = (float)((double)x[i * s->d + j] - a->mean[j]);
            s->columns[j * s->n + i] = row[j];
        }
        a->total += dot(row, row, s->d) / (double)s->n;
    }
}

static cf_err iterate(search *s, int rounds, cf_axes *a)
{
    for (int p = 0; p < s->r; p++) {
        cf_rng rng = cf_rng_at(0, 3, 0, (uint32_t)p, CF_PURPOSE_UMAP);
        for (int64_t j = 0; j < s->d; j++) a->axis[p * s->d + j] = cf_rng_uniform(&rng) - 0.5f;
    }
    make_orthonormal(a->axis, s->r, s->d);
    for (int round = 0; round < rounds; round++) {
        CF_TRY(cf_cpu_products(a->axis, s->r, s->rows, s->n, s->d, s->along));
        CF_TRY(cf_cpu_products(s->along, s->r, s->columns, s->d, s->n, a->axis));
        make_orthonormal(a->axis, s->r, s->d);
    }
    return cf_cpu_products(a->axis, s->r, s->rows, s->n, s->d, s->along);
}

static cf_err find(const float *x, int64_t n, int64_t d, int r, int rounds, cf_axes *out)
{
    search s = {.n = n, .d = d, .r = r};
    size_t values = 0;
    cf_err err = CF_OK;
    memset(out, 0, sizeof *out);
    if (r < 1 || r > CF_AXES_MAX || r > d || n < 2 || !cf_size_mul((size_t)n, (size_t)d, &values))
        return cf_fail(CF_E_USAGE, "%d axes of %lld rows of %lld", r, (long long)n, (long long)d);
    out->d = d;
    out->r = r;
    CF_TRY_GOTO(cf_new(&out->mean, (size_t)d, sizeof *out->mean), out);
    CF_TRY_GOTO(cf_new(&out->axis, (size_t)(r * d), sizeof *out->axis), out);
    CF_TRY_GOTO(cf_new(&out->variance, (size_t)r, sizeof *out->variance), out);
    CF_TRY_GOTO(cf_new(&s.rows, values, sizeof *s.rows), out);
    CF_TRY_GOTO(cf_new(&s.columns, values, sizeof *s.columns), out);
    CF_TRY_GOTO(cf_new(&s.along, (size_t)(r * n), sizeof *s.along), out);
    CF_TRY_GOTO(cf_new(&s.small, 3 * (size_t)(r * r), sizeof *s.small), out);
    centre(x, &s, out);
    CF_TRY_GOTO(iterate(&s, rounds, out), out);
    sort_axes(&s, out);
out:
    free(s.small);
    free(s.along);
    free(s.columns);
    free(s.rows);
    return err;
}

cf_err cf_axes_find(const float *x, int64_t n, int64_t d, int r, cf_axes *out)
{
    return find(x, n, d, r, ROUNDS, out);
}

cf_err cf_axes_find_roughly(const float *x, int64_t n, int64_t d, int r, cf_axes *out)
{
    return find(x, n, d, r, ROUGH_ROUNDS, out);
}

void cf_axes_fini(cf_axes *a)
{
    free(a->mean);
    free(a->axis);
    free(a->variance);
    memset(a, 0, sizeof *a);
}

void cf_axes_project(const cf_axes *a, const float *x, int64_t n, double *y)
{
    double at_mean[CF_AXES_MAX] = {0};
    for (int p = 0; p < a->r; p++)
        for (int64_t j = 0; j < a->d; j++) at_mean[p] += a->mean[j] * (double)a->axis[p * a->d + j];
    for (int64_t i = 0; i < n; i++)
        for (int p = 0; p < a->r; p++)
            y[i * a->r + p] = dot(x + i * a->d, a->axis + p * a->d, a->d) - at_mean[p];
}

/* ---- turning ----------------------------------------------------------------------------------
 */

static double centre_of(const double *x, int64_t n, int r, double *mean)
{
    double spread = 0;
    for (int64_t i = 0; i < n; i++)
        for (int p = 0; p < r; p++) mean[p] += x[i * r + p] / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int p = 0; p < r; p++) spread += pow(x[i * r + p] - mean[p], 2);
    return spread;
}

/* m = sum over rows of (a - mean)^T (b - mean). */
static void correlate(const double *a, const double *b, int64_t n, const cf_turn *t, double *m)
{
    int r = t->r;
    for (int64_t i = 0; i < n; i++)
        for (int p = 0; p < r; p++)
            for (int q = 0; q < r; q++)
                m[p * r + q] += (a[i * r + p] - t->from[p]) * (b[i * r + q] - t->to[q]);
}

cf_err cf_turn_fit(const double *a, const double *b, int64_t n, int r, cf_turn *out)
{
    double *m = NULL, *v = NULL, s[CF_AXES_MAX], sum = 0;
    size_t square = (size_t)r * (size_t)r;
    cf_err err = CF_OK;
    memset(out, 0, sizeof *out);
    if (r < 1 || r > CF_AXES_MAX || n < 2)
        return cf_fail(CF_E_USAGE, "a turn of %lld rows of %d", (long long)n, r);
    out->r = r;
    CF_TRY_GOTO(cf_new(&out->from, (size_t)r, sizeof *out->from), out);
    CF_TRY_GOTO(cf_new(&out->to, (size_t)r, sizeof *out->to), out);
    CF_TRY_GOTO(cf_new(&out->rotation, square, sizeof *out->rotation), out);
    CF_TRY_GOTO(cf_new(&m, square, sizeof *m), out);
    CF_TRY_GOTO(cf_new(&v, square, sizeof *v), out);
    double wide_a = centre_of(a, n, r, out->from), wide_b = centre_of(b, n, r, out->to);
    correlate(a, b, n, out, m);
    cf_axes_svd(m, r, s, v);
    for (int p = 0; p < r; p++) sum += s[p];
    for (int p = 0; p < r; p++)
        for (int q = 0; q < r; q++)
            for (int k = 0; k < r; k++) out->rotation[p * r + q] += m[p * r + k] * v[q * r + k];
    out->scale = wide_a > 0 ? sum / wide_a : 0;
    out->agreement = wide_a > 0 && wide_b > 0 ? sum * sum / (wide_a * wide_b) : 0;
out:
    free(v);
    free(m);
    return err;
}

void cf_turn_fini(cf_turn *t)
{
    free(t->from);
    free(t->to);
    free(t->rotation);
    memset(t, 0, sizeof *t);
}

void cf_turn_apply(const cf_turn *t, const double *x, int64_t n, float *y)
{
    int r = t->r;
    for (int64_t i = 0; i < n; i++)
        for (int q = 0; q < r; q++) {
            double sum = 0;
            for (int p = 0; p < r; p++) sum += (x[i * r + p] - t->from[p]) * t->rotation[p * r + q];
            y[i * r + q] = (float)(t->to[q] + t->scale * sum);
        }
}
