#include "worker/insight/smoothgrad.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/math/philox.h"

double cf_smoothgrad_sigma(const float *image, int64_t n, double noise)
{
    float low = image[0], high = image[0];
    for (int64_t i = 1; i < n; i++) {
        low = image[i] < low ? image[i] : low;
        high = image[i] > high ? image[i] : high;
    }
    return noise * ((double)high - (double)low);
}

void cf_smoothgrad_noise(cf_smoothgrad_stream stream, int sample, double sigma, const float *image,
                         int64_t n, float *noisy)
{
    enum { GOLDEN_BITS = 31 }; /* the seed's low bits, which people set, away from the hash's */
    const double turn = 6.283185307179586476925;
    uint64_t seed = stream.seed << GOLDEN_BITS | stream.seed >> (64 - GOLDEN_BITS);
    cf_rng rng = cf_rng_at(stream.image ^ seed, 0, 0, (uint32_t)sample, CF_PURPOSE_EXPLAIN);
    for (int64_t i = 0; i < n; i += 2) {
        double u = 1.0 - (double)cf_rng_uniform(&rng); /* in (0, 1] */
        double angle = turn * (double)cf_rng_uniform(&rng), radius = sigma * sqrt(-2.0 * log(u));
        noisy[i] = (float)((double)image[i] + radius * cos(angle));
        if (i + 1 < n) noisy[i + 1] = (float)((double)image[i + 1] + radius * sin(angle));
    }
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void cf_smoothgrad_map(const float *mean, int64_t pixels, float *map, float *scratch)
{
    for (int64_t p = 0; p < pixels; p++)
        scratch[p] = map[p] = fabsf(mean[3 * p]) + fabsf(mean[3 * p + 1]) + fabsf(mean[3 * p + 2]);
    qsort(scratch, (size_t)pixels, sizeof *scratch, ascending);
    double rank = 0.99 * (double)(pixels - 1), low = (double)scratch[0];
    int64_t at = (int64_t)rank, next = at + 1 < pixels ? at + 1 : at;
    double share = rank - (double)at;
    double high = (1 - share) * (double)scratch[at] + share * (double)scratch[next];
    for (int64_t p = 0; p < pixels; p++) {
        double v = high > low ? ((double)map[p] - low) / (high - low) : 0;
        map[p] = (float)(v > 1 ? 1 : v);
    }
}
