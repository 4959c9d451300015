#include "kernels/cpu/group_norm.h"

#include <math.h>
#include <stddef.h>

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
    *rstd = 1.0 / sqrt(squares / (pixels * channels) + (double)g->eps);
}

void cf_group_norm_finish(const cf_group_norm *g, const cf_norm_sums *sums,
                          const cf_norm_channels *n)
{
    int64_t each = g->c / g->groups;
    for (int64_t c0 = 0; c0 < g->c; c0 += each) {
        double mean, rstd;
        group_moments(g, sums, c0, c0 + each, &mean, &rstd);
        for (int64_t c = c0; c < c0 + each; c++) {
            double scale = (double)g->gamma[c] * rstd, seen = mean - bias_of(g, c);
            n->mean[c] = (float)seen;
            n->rstd[c] = (float)rstd;
            n->scale[c] = (float)scale;
            n->shift[c] = (float)((double)g->beta[c] - seen * scale);
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
        double first = 0.0, second = 0.0, rstd = (double)n->rstd[c0];
        for (int64_t c = c0; c < c0 + each; c++) {
            channel_sums sum = add_slices(g, sums, c);
            first += (double)g->gamma[c] * sum.first;
            second += (double)g->gamma[c] * sum.second;
        }
        double b = -rstd * rstd * rstd * second / count;
        for (int64_t c = c0; c < c0 + each; c++) {
            n->a[c] = (float)((double)g->gamma[c] * rstd);
            n->b[c] = (float)b;
            n->d[c] = (float)(-rstd * first / count - b * (double)n->mean[c]);
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
            double rest = (double)n[i].b[c] * (double)n[i].own_mean[c] + (double)n[i].d[c];
            bias += (double)n[i].a[c] * sum.first + pixels * rest;
        }
        dgamma[c] = (float)gamma;
        dbeta[c] = (float)beta;
        if (dbias != NULL) dbias[c] = (float)bias;
    }
}
