#include "worker/data/check_describe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum {
    T = CF_THUMB_SIDE,
    R = CF_DESCRIBE_RADII,
    A = CF_DESCRIBE_ANGLES,
    M = CF_DESCRIBE_HARMONICS,
    WAVES = 2 * R * A /* real and imaginary parts */
};
static const double pi = 3.14159265358979323846;

struct cf_describer {
    float window[CF_THUMB_PIXELS];       /* sums to 1 */
    float re[A][M], im[A][M];            /* harmonics over the angle */
    float waves[CF_THUMB_PIXELS][WAVES]; /* window * cos, then window * sin */
};

static void fill_window(cf_describer *d)
{
    double sum = 0;
    for (int y = 0; y < T; y++)
        for (int x = 0; x < T; x++) {
            double dx = x - (T - 1) / 2.0, dy = y - (T - 1) / 2.0;
            double r = sqrt(dx * dx + dy * dy) / (T / 2.0);
            double t = cos(fmin(fmax((r - 0.3) / 0.7, 0), 1) * pi / 2);
            d->window[y * T + x] = (float)(t * t);
            sum += t * t;
        }
    for (int k = 0; k < CF_THUMB_PIXELS; k++) d->window[k] = (float)((double)d->window[k] / sum);
}

/* Radii are 1 to 8 waves across the thumbnail; angles go half round, the other half being equal for
 * real pictures. */
static void fill_waves(cf_describer *d)
{
    for (int k = 0; k < CF_THUMB_PIXELS; k++) {
        double dx = k % T - (T - 1) / 2.0, dy = (double)(k / T) - (T - 1) / 2.0;
        for (int f = 0; f < R * A; f++) {
            double radius = 1 + f / A, angle = f % A * pi / A;
            double phase = 2 * pi * radius * (cos(angle) * dx + sin(angle) * dy) / T;
            d->waves[k][f] = (float)((double)d->window[k] * cos(phase));
            d->waves[k][R * A + f] = (float)((double)d->window[k] * sin(phase));
        }
    }
    for (int a = 0; a < A; a++)
        for (int m = 0; m < M; m++) {
            d->re[a][m] = (float)cos(2 * pi * m * a / A);
            d->im[a][m] = (float)sin(2 * pi * m * a / A);
        }
}

cf_err cf_describer_create(cf_describer **out)
{
    CF_TRY(cf_new(out, 1, sizeof **out));
    fill_window(*out);
    fill_waves(*out);
    return CF_OK;
}

void cf_describer_destroy(cf_describer *d)
{
    free(d);
}

/* sums: [WAVES]. The inner loop runs over waves, so that it is vectorised without changing the
 * order of any sum. */
static void transform(const cf_describer *d, const float *picture, float *restrict sums)
{
    float mean = 0;
    memset(sums, 0, WAVES * sizeof *sums);
    for (int k = 0; k < CF_THUMB_PIXELS; k++) mean += picture[k] * d->window[k];
    for (int k = 0; k < CF_THUMB_PIXELS; k++) {
        float v = picture[k] - mean;
        const float *restrict w = d->waves[k];
        for (int f = 0; f < WAVES; f++) sums[f] += v * w[f];
    }
}

/* One channel: [R][M]. */
static void describe_channel(const cf_describer *d, const float *picture, float *out)
{
    float sums[WAVES], magnitude[R * A], power = 0;
    transform(d, picture, sums);
    for (int f = 0; f < R * A; f++) {
        float p = sums[f] * sums[f] + sums[R * A + f] * sums[R * A + f];
        magnitude[f] = sqrtf(p);
        power += p;
    }
    float scale = power > 1e-6f ? 1 / sqrtf(power) : 0; /* free of contrast */
    for (int f = 0; f < R * A; f++) magnitude[f] = sqrtf(magnitude[f] * scale);
    for (int r = 0; r < R; r++)
        for (int m = 0; m < M; m++) {
            float re = 0, im = 0;
            for (int a = 0; a < A; a++) {
                re += magnitude[r * A + a] * d->re[a][m];
                im += magnitude[r * A + a] * d->im[a][m];
            }
            out[r * M + m] = sqrtf(re * re + im * im);
        }
}

void cf_describe(const cf_describer *d, const float *thumb, float *out)
{
    describe_channel(d, thumb, out);
    describe_channel(d, thumb + CF_THUMB_PIXELS, out + R * M);
}

void cf_describe_standardise(float *descriptors, int64_t n)
{
    for (int k = 0; k < CF_DESCRIBE_DIMS; k++) {
        double sum = 0, square = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)descriptors[i * CF_DESCRIBE_DIMS + k];
        double mean = n > 0 ? sum / (double)n : 0;
        for (int64_t i = 0; i < n; i++) {
            double v = (double)descriptors[i * CF_DESCRIBE_DIMS + k] - mean;
            square += v * v;
        }
        double sd = n > 0 ? sqrt(square / (double)n) : 0;
        for (int64_t i = 0; i < n; i++) {
            float *v = &descriptors[i * CF_DESCRIBE_DIMS + k];
            *v = sd > 1e-6 ? (float)(((double)*v - mean) / sd) : 0;
        }
    }
}
