/* Macenko's separation on a thinned image. Sums run in eight lanes that are added in order, so that
 * a compiler may use vectors and yet give the same bits; percentiles come from histograms, which is
 * a tenth of the time of sorting. */
#include "worker/data/stain.h"

#include <math.h>
#include <string.h>

enum { LANES = 8, BINS = 4096, BLOCK = 256, MIN_KEPT = 100 };
static const double min_density = 0.15, least_percent = 1.0, most_percent = 99.0;

/* Optical densities of the samples: the kept from the front, the background from the back. */
typedef struct samples {
    float od[3][CF_STAIN_MAX_SAMPLES];
    int n_kept;
    int rest; /* the background begins here */
} samples;

/* Keeps a pixel where all channels have OD >= 0.15: where none is above 205. */
static void take_samples(const uint8_t *pixels, int height, int width, samples *s)
{
    float table[256];
    int step = 1, brightest = 0;
    for (int i = 0; i < 256; i++) {
        double od = -log((i + 1) / 240.0);
        table[i] = (float)od;
        if (od >= min_density) brightest = i;
    }
    while ((int64_t)((height + step - 1) / step) * ((width + step - 1) / step) >
           CF_STAIN_MAX_SAMPLES)
        step++;
    int front = 0, back = CF_STAIN_MAX_SAMPLES;
    for (int y = 0; y < height; y += step) {
        const uint8_t *p = pixels + (int64_t)y * width * 3;
        for (int x = 0; x < width; x += step, p += 3 * (int64_t)step) {
            int keep = p[0] <= brightest && p[1] <= brightest && p[2] <= brightest;
            int at = keep ? front : back - 1;
            front += keep;
            back -= !keep;
            for (int c = 0; c < 3; c++) s->od[c][at] = table[p[c]];
        }
    }
    s->n_kept = front;
    s->rest = back;
}

/* Sum of a[i] * b[i]; up to LANES - 1 samples at the end are left out. */
static double sum_products(const float *a, const float *b, int n)
{
    double lane[LANES] = {0.0}, sum = 0.0;
    for (int i = 0; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)a[i + l] * (double)b[i + l];
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

static double sum_values(const float *a, int n)
{
    double lane[LANES] = {0.0}, sum = 0.0;
    for (int i = 0; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)a[i + l];
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

/* Mean and covariance (upper triangle: xx xy xz yy yz zz) of the kept samples. */
static void moments(const samples *s, double mean[3], double cov[6])
{
    int n = s->n_kept / LANES * LANES;
    for (int c = 0; c < 3; c++) mean[c] = sum_values(s->od[c], n) / n;
    for (int a = 0, k = 0; a < 3; a++)
        for (int b = a; b < 3; b++, k++)
            cov[k] = (sum_products(s->od[a], s->od[b], n) - n * mean[a] * mean[b]) / (n - 1);
}

/* Turns axes p and q of a symmetric matrix so that a[p][q] becomes 0; v collects the turns. */
static void turn(double a[3][3], double v[3][3], int p, int q)
{
    if (a[p][q] == 0.0) return;
    double theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    double t = (theta >= 0.0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1.0));
    double c = 1.0 / sqrt(t * t + 1.0), s = t * c;
    for (int k = 0; k < 3; k++) {
        double kp = a[k][p], kq = a[k][q];
        a[k][p] = c * kp - s * kq;
        a[k][q] = s * kp + c * kq;
    }
    for (int k = 0; k < 3; k++) {
        double pk = a[p][k], qk = a[q][k], vp = v[k][p], vq = v[k][q];
        a[p][k] = c * pk - s * qk;
        a[q][k] = s * pk + c * qk;
        v[k][p] = c * vp - s * vq;
        v[k][q] = s * vp + c * vq;
    }
}

/* The two leading eigenvectors, pointing to the side where the mean lies. Jacobi's method: eight
 * sweeps leave nothing of a 3 x 3 matrix beside its diagonal. */
static void find_plane(const double cov[6], const double mean[3], double plane[2][3])
{
    double a[3][3] = {{cov[0], cov[1], cov[2]}, {cov[1], cov[3], cov[4]}, {cov[2], cov[4], cov[5]}};
    double v[3][3] = {{1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}};
    for (int sweep = 0; sweep < 8; sweep++) {
        turn(a, v, 0, 1);
        turn(a, v, 0, 2);
        turn(a, v, 1, 2);
    }
    int most = 0, least = 0;
    for (int k = 1; k < 3; k++) {
        if (a[k][k] > a[most][most]) most = k;
        if (a[k][k] <= a[least][least]) least = k;
    }
    for (int k = 0; k < 2; k++) {
        int from = k == 0 ? most : 3 - most - least;
        double toward = 0.0;
        for (int c = 0; c < 3; c++) toward += v[c][from] * mean[c];
        for (int c = 0; c < 3; c++) plane[k][c] = toward < 0.0 ? -v[c][from] : v[c][from];
    }
}

static void count(int32_t *counts, const int32_t *bins, int n)
{
    for (int i = 0; i < n; i++) counts[bins[i]]++;
}

/* Where q percent of n counts lie below, in bins from 0, between ranks as between values. */
static double percentile(const int32_t *counts, int n, double q)
{
    double rank = q / 100.0 * (n - 1) + 0.5; /* samples below, one at the rank being half there */
    int wanted = (int)ceil(rank), below = 0, bin = 0; /* 1 to n, so that there is such a bin */
    while (below + counts[bin] < wanted) below += counts[bin++];
    return bin + (rank - below) / counts[bin];
}

/* Counts directions (x, y) in the plane by a number that rises with the angle and needs no arc
 * tangent: y / (|x| + |y|) on the right half, and on from there to -2 and 2, bins 0 to BINS. */
static void count_angles(const samples *s, const double plane[2][3], int32_t *counts)
{
    float u[3], v[3], scale = BINS / 4.0f;
    int32_t bins[BLOCK];
    for (int c = 0; c < 3; c++) u[c] = (float)plane[0][c], v[c] = (float)plane[1][c];
    memset(counts, 0, BINS * sizeof *counts);
    for (int at = 0; at < s->n_kept; at += BLOCK) {
        int n = s->n_kept - at < BLOCK ? s->n_kept - at : BLOCK;
        const float *r = s->od[0] + at, *g = s->od[1] + at, *b = s->od[2] + at;
        for (int i = 0; i < n; i++) {
            float x = u[0] * r[i] + u[1] * g[i] + u[2] * b[i];
            float y = v[0] * r[i] + v[1] * g[i] + v[2] * b[i];
            float d = fabsf(x) + fabsf(y), t = y / (d > 1e-20f ? d : 1.0f);
            float far = y < 0.0f ? -2.0f - t : 2.0f - t;
            t = x < 0.0f ? far : t;
            int bin = (int)((t + 2.0f) * scale);
            bins[i] = bin < 0 ? 0 : bin > BINS - 1 ? BINS - 1 : bin;
        }
        count(counts, bins, n);
    }
}

/* The unit vector at a place among those bins. */
static void direction(const double plane[2][3], double bin, float od[3])
{
    double place = bin * (4.0 / BINS) - 2.0;
    double y = fabs(place) <= 1.0 ? place : (place < 0.0 ? -2.0 : 2.0) - place;
    double x = (1.0 - fabs(y)) * (fabs(place) <= 1.0 ? 1.0 : -1.0), length = sqrt(x * x + y * y);
    for (int c = 0; c < 3; c++) od[c] = (float)((x * plane[0][c] + y * plane[1][c]) / length);
}

/* Counts one concentration of samples [begin, end) by the leading bits of its float, which rise
 * with it: 256 bins an octave from 1/16 on, and all below in the first. */
static void count_concentrations(const samples *s, const float p[3], int begin, int end,
                                 int32_t *counts)
{
    const int32_t first = (127 - 4) * 256;
    int32_t bins[BLOCK];
    for (int at = begin; at < end; at += BLOCK) {
        int n = end - at < BLOCK ? end - at : BLOCK;
        const float *r = s->od[0] + at, *g = s->od[1] + at, *b = s->od[2] + at;
        for (int i = 0; i < n; i++) {
            float c = p[0] * r[i] + p[1] * g[i] + p[2] * b[i];
            int32_t bin = (int32_t)(cf_float_bits(c) & 0x7FFFFFFFu) / 32768 - first;
            bin = bin < 0 || c < 0.0f ? 0 : bin;
            bins[i] = bin > BINS - 1 ? BINS - 1 : bin;
        }
        count(counts, bins, n);
    }
}

/* 99th percentile of one concentration over all samples, at least 1/16. */
static float most_of(const samples *s, const double inverse[3], int32_t *counts)
{
    const float p[3] = {(float)inverse[0], (float)inverse[1], (float)inverse[2]};
    memset(counts, 0, BINS * sizeof *counts);
    count_concentrations(s, p, 0, s->n_kept, counts);
    count_concentrations(s, p, s->rest, CF_STAIN_MAX_SAMPLES, counts);
    double bin = percentile(counts, s->n_kept + CF_STAIN_MAX_SAMPLES - s->rest, most_percent);
    int octave = (int)(bin / 256.0);
    return (float)ldexp(1.0 + bin / 256.0 - octave, octave - 4);
}

/* False where there is no second direction: angles less than two bins apart may be one angle. */
static bool estimate(const samples *s, cf_stain *out)
{
    int32_t counts[BINS];
    double mean[3], cov[6], plane[2][3], inverse[2][3];
    moments(s, mean, cov);
    find_plane(cov, mean, plane);
    count_angles(s, plane, counts);
    double low = percentile(counts, s->n_kept, least_percent);
    double high = percentile(counts, s->n_kept, most_percent);
    if (high - low < 2.0) return false;
    direction(plane, low, out->od[0]);
    direction(plane, high, out->od[1]);
    if (out->od[0][0] < out->od[1][0]) {
        direction(plane, high, out->od[0]);
        direction(plane, low, out->od[1]);
    }
    out->max[0] = out->max[1] = 1.0f;
    if (!cf_stain_is_valid(out)) return false;
    cf_stain_invert(out, inverse);
    for (int k = 0; k < 2; k++) out->max[k] = most_of(s, inverse[k], counts);
    return cf_stain_is_valid(out);
}

bool cf_stain_estimate(const uint8_t *pixels, int height, int width, cf_stain *out)
{
    samples s;
    take_samples(pixels, height, width, &s);
    if (s.n_kept >= MIN_KEPT && estimate(&s, out)) return true;
    *out = cf_stain_default();
    return false;
}
