#include "kernels/cpu/group_norm.h"

#include <stddef.h>

#include "kernels/math/group_norm.h"

/* A channel of one image. */
typedef struct channel_moments {
    double mean, squares; /* without the bias; of the deviations from this mean */
} channel_moments;

/* Slices are of one size, so the mean of all is the mean of theirs. */
static channel_moments join_slices(const cf_group_norm *g, const cf_norm_sums *sums, int64_t c)
{
    channel_moments m = {0.0, 0.0};
    for (int64_t s = 0; s < g->slices; s++) m.mean += sums[s].first[c];
    m.mean /= (double)g->slices;
    for (int64_t s = 0; s < g->slices; s++) {
        double apart = sums[s].first[c] - m.mean;
        m.squares += sums[s].second[c] + (double)g->rows * apart * apart;
    }
    return m;
}

static double bias_of(const cf_group_norm *g, int64_t c)
{
    return g->bias != NULL ? (double)g->bias[c] : 0.0;
}

/* Mean and 1 / sqrt(variance + eps) of the values of channels c0 .. c1-1. */
static void group_moments(const cf_group_norm *g, const cf_norm_sums *sums, int64_t c0, int64_t c1,
                          double *mean, double *rstd)
{
    double pixels = (double)(g->rows * g->slices), channels = (double)(c1 - c0), squares = 0.0;
    *mean = 0.0;
    for (int64_t c = c0; c < c1; c++) *mean += join_slices(g, sums, c).mean + bias_of(g, c);
    *mean /= channels;
    for (int64_t c = c0; c < c1; c++) {
        channel_moments m = join_slices(g, sums, c);
        double apart = m.mean + bias_of(g, c) - *mean;
        squares += m.squares + pixels * apart * apart;
    }
    *rstd = cf_group_rstd(squares, pixels * channels, g->eps);
}

void cf_group_norm_finish(const cf_group_norm *g, const cf_norm_sums *sums,
                          const cf_norm_channels *n)
{
    int64_t each = g->c / g->groups;
    for (int64_t c0 = 0; c0 < g->c; c0 += each) {
        double mean, rstd;
        group_moments(g, sums, c0, c0 + each, &mean, &rstd);
        for (int64_t c = c0; c < c0 + each; c++) {
            cf_group_scale s =
                cf_group_forward(mean, rstd, g->gamma[c], g->beta[c], (float)bias_of(g, c));
            n->mean[c] = s.seen;
            n->rstd[c] = (float)rstd;
            n->scale[c] = s.scale;
            n->shift[c] = s.shift;
            if (n->own_mean != NULL) n->own_mean[c] = (float)join_slices(g, sums, c).mean;
        }
    }
}

typedef struct channel_sums {
    double first, second; /* of g, and of g (y - mean) */
} channel_sums;

static channel_sums add_slices(const cf_group_norm *g, const cf_norm_sums *sums, int64_t c)
{
    channel_sums sum = {0.0, 0.0};
    for (int64_t s = 0; s < g->slices; s++) {
        sum.first += sums[s].first[c];
        sum.second += sums[s].second[c];
    }
    return sum;
}

void cf_group_norm_reduce_finish(const cf_group_norm *g, const cf_norm_sums *sums,
                                 const cf_norm_channels *n)
{
    int64_t each = g->c / g->groups;
    double count = (double)(g->rows * g->slices * each);
    for (int64_t c0 = 0; c0 < g->c; c0 += each) {
        double first = 0.0, second = 0.0;
        for (int64_t c = c0; c < c0 + each; c++) {
            channel_sums sum = add_slices(g, sums, c);
            first += (double)g->gamma[c] * sum.first;
            second += (double)g->gamma[c] * sum.second;
        }
        for (int64_t c = c0; c < c0 + each; c++) {
            cf_group_slope s =
                cf_group_backward(first, second, count, n->mean[c], n->rstd[c], g->gamma[c]);
            n->a[c] = s.a;
            n->b[c] = s.b;
            n->d[c] = s.d;
        }
    }
}

void cf_group_norm_gradients(const cf_group_norm *g, const cf_norm_sums *sums,
                             const cf_norm_channels *n, int64_t n_images, float *dgamma,
                             float *dbeta, float *dbias)
{
    double pixels = (double)(g->rows * g->slices);
    for (int64_t c = 0; c < g->c; c++) {
        double gamma = 0.0, beta = 0.0, bias = 0.0;
        for (int64_t i = 0; i < n_images; i++) {
            channel_sums sum = add_slices(g, sums + i * g->slices, c);
            gamma += sum.second * (double)n[i].rstd[c];
            beta += sum.first;
            if (dbias == NULL) continue;
            cf_group_slope slope = {n[i].a[c], n[i].b[c], n[i].d[c]};
            bias += cf_group_bias(slope, sum.first, n[i].own_mean[c], pixels);
        }
        dgamma[c] = (float)gamma;
        dbeta[c] = (float)beta;
        if (dbias != NULL) dbias[c] = (float)bias;
    }
}
