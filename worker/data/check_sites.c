#include "worker/data/check_sites.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { D = 6 }; /* mean and SD of R, G, B */

/* Sums for a covariance, about the site's mean. */
typedef struct spread {
    double mean[D], covariance[D][D]; /* n - 1 */
} spread;

/* ---- images by site ---- */

cf_err cf_site_order_init(const cf_cells *cells, cf_site_order *order)
{
    size_t n_sites = cells->site_names.n;
    *order = (cf_site_order){0};
    cf_err err = cf_new(&order->images, (size_t)cells->n, sizeof *order->images);
    if (err == CF_OK) err = cf_new(&order->begin, n_sites + 1, sizeof *order->begin);
    if (err != CF_OK) {
        cf_site_order_fini(order);
        return err;
    }
    /* counting sort: begin[s] is first where site s ends and moves down to where it begins */
    for (int64_t i = 0; i < cells->n; i++) order->begin[cells->sites[i]]++;
    for (size_t s = 1; s <= n_sites; s++) order->begin[s] += order->begin[s - 1];
    for (int64_t i = cells->n - 1; i >= 0; i--)
        order->images[--order->begin[cells->sites[i]]] = (int32_t)i;
    return CF_OK;
}

void cf_site_order_fini(cf_site_order *order)
{
    free(order->images);
    free(order->begin);
    *order = (cf_site_order){0};
}

/* ---- one site ---- */

static void put_features(const cf_measure *m, double f[D])
{
    for (int c = 0; c < 3; c++) {
        f[c] = (double)m->mean[c];
        f[3 + c] = (double)m->sd[c];
    }
}

/* sRGB to CIELAB, white D65 (IEC 61966-2-1, CIE 15). */
static void to_lab(const double rgb[3], double lab[3])
{
    static const double m[3][3] = {{0.4124564, 0.3575761, 0.1804375},
                                   {0.2126729, 0.7151522, 0.0721750},
                                   {0.0193339, 0.1191920, 0.9503041}};
    static const double white[3] = {0.95047, 1.0, 1.08883};
    double linear[3], f[3];
    for (int c = 0; c < 3; c++) {
        double v = rgb[c] / 255;
        linear[c] = v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
    }
    for (int k = 0; k < 3; k++) {
        double t = (m[k][0] * linear[0] + m[k][1] * linear[1] + m[k][2] * linear[2]) / white[k];
        f[k] = t > 216.0 / 24389 ? cbrt(t) : (24389.0 / 27 * t + 16) / 116;
    }
    lab[0] = 116 * f[1] - 16;
    lab[1] = 500 * (f[0] - f[1]);
    lab[2] = 200 * (f[1] - f[2]);
}

static void add_means(const cf_cells *cells, const cf_measure *measures, const uint8_t *left_out,
                      cf_sites *s, spread *spreads)
{
    for (int64_t i = 0; i < cells->n; i++) {
        if (left_out[i]) continue;
        double f[D];
        cf_site_color *c = &s->colors[cells->sites[i]];
        put_features(&measures[i], f);
        c->n++;
        for (int k = 0; k < D; k++) spreads[cells->sites[i]].mean[k] += f[k];
        for (int k = 0; cells->stains && k < 6; k++)
            c->stain[k / 3][k % 3] += (double)cells->stains[i].od[k / 3][k % 3];
    }
    for (int t = 0; t < s->n; t++) {
        cf_site_color *c = &s->colors[t];
        if (c->n == 0) continue;
        for (int k = 0; k < D; k++) spreads[t].mean[k] /= (double)c->n;
        for (int k = 0; k < 6; k++) c->stain[k / 3][k % 3] /= (double)c->n;
    }
}

static void add_covariances(const cf_cells *cells, const cf_measure *measures,
                            const uint8_t *left_out, const cf_sites *s, spread *spreads)
{
    for (int64_t i = 0; i < cells->n; i++) {
        if (left_out[i]) continue;
        double f[D];
        spread *p = &spreads[cells->sites[i]];
        put_features(&measures[i], f);
        for (int r = 0; r < D; r++)
            for (int c = 0; c < D; c++)
                p->covariance[r][c] += (f[r] - p->mean[r]) * (f[c] - p->mean[c]);
    }
    for (int t = 0; t < s->n; t++)
        for (int k = 0; k < D * D && s->colors[t].n > 1; k++)
            spreads[t].covariance[k / D][k % D] /= (double)(s->colors[t].n - 1);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static cf_err median_sharpness(const cf_cells *cells, const cf_measure *measures,
                               const uint8_t *left_out, cf_sites *s)
{
    float *values = NULL;
    cf_site_order order;
    cf_err err;
    CF_TRY(cf_site_order_init(cells, &order));
    CF_TRY_GOTO(cf_new(&values, (size_t)cells->n, sizeof *values), out);
    for (int t = 0; t < s->n; t++) {
        int64_t n = 0;
        for (int64_t k = order.begin[t]; k < order.begin[t + 1]; k++) {
            int32_t i = order.images[k];
            if (!left_out[i]) values[n++] = measures[i].sharpness;
        }
        qsort(values, (size_t)n, sizeof *values, compare_floats);
        if (n > 0) s->colors[t].sharpness = (double)values[n / 2];
    }
out:
    free(values);
    cf_site_order_fini(&order);
    return err;
}

static void describe(cf_site_color *c, const spread *p)
{
    for (int k = 0; k < 3; k++) {
        c->mean[k] = p->mean[k];
        c->within[k] = p->mean[3 + k];
        c->between[k] = c->n > 1 ? sqrt(p->covariance[k][k]) : 0;
    }
    if (c->n > 0) to_lab(c->mean, c->lab);
}

/* ---- two sites ---- */

/* Eigenvalues, and vectors in the columns of v, of a symmetric matrix by Jacobi's rotations; 6 x 6
 * converges in a few sweeps. a is used up; its diagonal holds the eigenvalues. */
static void diagonalise(double a[D][D], double v[D][D])
{
    for (int k = 0; k < D * D; k++) v[k / D][k % D] = k / D == k % D;
    for (int sweep = 0; sweep < 30; sweep++)
        for (int p = 0; p < D; p++)
            for (int q = p + 1; q < D; q++) {
                if (fabs(a[p][q]) < 1e-300) continue;
                double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < D; k++) {
                    double kp = a[k][p], kq = a[k][q];
                    a[k][p] = c * kp - s * kq;
                    a[k][q] = s * kp + c * kq;
                }
                for (int k = 0; k < D; k++) {
                    double pk = a[p][k], qk = a[q][k];
                    a[p][k] = c * pk - s * qk;
                    a[q][k] = s * pk + c * qk;
                    double kp = v[k][p], kq = v[k][q];
                    v[k][p] = c * kp - s * kq;
                    v[k][q] = s * kp + c * kq;
                }
            }
}

/* Trace of (C1 C2)^(1/2), which is that of (R C2 R)^(1/2) with R = C1^(1/2). */
static double trace_of_root(const double c1[D][D], const double c2[D][D])
{
    double a[D][D], v[D][D], root[D][D] = {{0}}, half[D][D] = {{0}}, whole[D][D] = {{0}};
    memcpy(a, c1, sizeof a);
    diagonalise(a, v);
    for (int r = 0; r < D; r++)
        for (int c = 0; c < D; c++)
            for (int k = 0; k < D; k++) root[r][c] += v[r][k] * sqrt(fmax(a[k][k], 0)) * v[c][k];
    for (int r = 0; r < D; r++)
        for (int c = 0; c < D; c++)
            for (int k = 0; k < D; k++) half[r][c] += root[r][k] * c2[k][c];
    for (int r = 0; r < D; r++)
        for (int c = 0; c < D; c++)
            for (int k = 0; k < D; k++) whole[r][c] += half[r][k] * root[k][c];
    diagonalise(whole, v);
    double trace = 0;
    for (int k = 0; k < D; k++) trace += sqrt(fmax(whole[k][k], 0));
    return trace;
}

static double frechet(const spread *p, const spread *q)
{
    double square = -2 * trace_of_root(p->covariance, q->covariance);
    for (int k = 0; k < D; k++) {
        double d = p->mean[k] - q->mean[k];
        square += d * d + p->covariance[k][k] + q->covariance[k][k];
    }
    return sqrt(fmax(square, 0)); /* rounding may leave it just under 0 */
}

static double effect_size(const cf_site_color *p, const cf_site_color *q)
{
    double largest = 0, n = (double)(p->n - 1), m = (double)(q->n - 1);
    for (int c = 0; c < 3; c++) {
        double pooled =
            sqrt((n * p->between[c] * p->between[c] + m * q->between[c] * q->between[c]) / (n + m));
        if (pooled > 0) largest = fmax(largest, fabs(p->mean[c] - q->mean[c]) / pooled);
    }
    return largest;
}

static double stain_angle(const cf_site_color *p, const cf_site_color *q)
{
    double largest = 0;
    for (int k = 0; k < 2; k++) {
        double dot = 0, pp = 0, qq = 0;
        for (int c = 0; c < 3; c++) {
            dot += p->stain[k][c] * q->stain[k][c];
            pp += p->stain[k][c] * p->stain[k][c];
            qq += q->stain[k][c] * q->stain[k][c];
        }
        if (pp <= 0 || qq <= 0) return (double)NAN;
        double cosine = fmin(dot / sqrt(pp * qq), 1);
        largest = fmax(largest, acos(cosine) * 180 / 3.14159265358979323846);
    }
    return largest;
}

static cf_site_pair compare_two(const cf_sites *s, const spread *spreads, int a, int b)
{
    const cf_site_color *p = &s->colors[a], *q = &s->colors[b];
    const double none = (double)NAN;
    cf_site_pair pair = {.a = a, .b = b, .delta_e = none, .effect = none, .frechet = none};
    pair.stain_angle = stain_angle(p, q);
    if (p->n < 2 || q->n < 2) return pair;
    double square = 0;
    for (int k = 0; k < 3; k++) square += (p->lab[k] - q->lab[k]) * (p->lab[k] - q->lab[k]);
    pair.delta_e = sqrt(square);
    pair.effect = effect_size(p, q);
    pair.frechet = frechet(&spreads[a], &spreads[b]);
    return pair;
}

static int farthest_first(const void *a, const void *b)
{
    const cf_site_pair *p = a, *q = b;
    double x = isnan(p->delta_e) ? -1 : p->delta_e, y = isnan(q->delta_e) ? -1 : q->delta_e;
    if (x != y) return x > y ? -1 : 1;
    return p->a != q->a ? p->a - q->a : p->b - q->b;
}

static cf_err pair_sites(cf_sites *s, const spread *spreads)
{
    int n = s->n < CF_SITES_PAIRED ? s->n : CF_SITES_PAIRED;
    CF_TRY(cf_new(&s->pairs, (size_t)n * (size_t)n / 2, sizeof *s->pairs));
    for (int a = 0; a < n; a++)
        for (int b = a + 1; b < n; b++) s->pairs[s->n_pairs++] = compare_two(s, spreads, a, b);
    qsort(s->pairs, (size_t)s->n_pairs, sizeof *s->pairs, farthest_first);
    return CF_OK;
}

cf_err cf_sites_compare(const cf_cells *cells, const cf_measure *measures, const uint8_t *left_out,
                        cf_sites *sites)
{
    spread *spreads = NULL;
    cf_err err;
    *sites = (cf_sites){.n = (int)cells->site_names.n};
    CF_TRY_GOTO(cf_new(&sites->colors, (size_t)sites->n, sizeof *sites->colors), out);
    CF_TRY_GOTO(cf_new(&spreads, (size_t)sites->n, sizeof *spreads), out);
    add_means(cells, measures, left_out, sites, spreads);
    add_covariances(cells, measures, left_out, sites, spreads);
    CF_TRY_GOTO(median_sharpness(cells, measures, left_out, sites), out);
    for (int t = 0; t < sites->n; t++) describe(&sites->colors[t], &spreads[t]);
    CF_TRY_GOTO(pair_sites(sites, spreads), out);
out:
    free(spreads);
    if (err != CF_OK) cf_sites_fini(sites);
    return err;
}

void cf_sites_fini(cf_sites *sites)
{
    free(sites->colors);
    free(sites->pairs);
    *sites = (cf_sites){0};
}
