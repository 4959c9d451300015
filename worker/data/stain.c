/* Macenko's separation on a thinned image. Sums run in eight lanes that are added in order, so that
 * a compiler may use vectors and yet give the same bits; percentiles come from histograms, which is
 * a tenth of the time of sorting. */
#include "worker/data/stain.h"

#include <math.h>
#include <string.h>

enum { LANES = 8, BINS = 4096, MIN_KEPT = 100 };
static const double min_density = 0.15, least_percent = 1.0, most_percent = 99.0;

/* Optical densities of the samples: the kept from the front, the background from the back. */
typedef struct samples {
    float od[3][CF_STAIN_MAX_SAMPLES];
    int n_kept;
    int rest; /* the background begins here */
} samples;

typedef struct histogram {
    double low, width; /* of the first bin's edge, of a bin */
    int n;
    int32_t count[BINS];
} histogram;

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

/* Mean and covariance (upper triangle: xx xy xz yy yz zz) of the kept samples. */
static void moments(const samples *s, double mean[3], double cov[6])
{
    double sums[9][LANES] = {{0.0}};
    for (int i = 0; i + LANES <= s->n_kept; i += LANES)
        for (int l = 0; l < LANES; l++) {
            double x = (double)s->od[0][i + l], y = (double)s->od[1][i + l],
                   z = (double)s->od[2][i + l];
            sums[0][l] += x;
            sums[1][l] += y;
            sums[2][l] += z;
            sums[3][l] += x * x;
            sums[4][l] += x * y;
            sums[5][l] += x * z;
            sums[6][l] += y * y;
            sums[7][l] += y * z;
            sums[8][l] += z * z;
        }
    int n = s->n_kept / LANES * LANES; /* up to seven samples are left out */
    double total[9] = {0.0};
    for (int k = 0; k < 9; k++)
        for (int l = 0; l < LANES; l++) total[k] += sums[k][l];
    for (int c = 0; c < 3; c++) mean[c] = total[c] / n;
    for (int a = 0, k = 0; a < 3; a++)
        for (int b = a; b < 3; b++, k++) cov[k] = (total[3 + k] - n * mean[a] * mean[b]) / (n - 1);
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

static void count(histogram *h, const int32_t *bins, int n)
{
    for (int i = 0; i < n; i++) h->count[bins[i]]++;
    h->n += n;
}

/* The value below which q percent lie, between ranks as between values. */
static double percentile(const histogram *h, double q)
{
    double rank =
        q / 100.0 * (h->n - 1) + 0.5; /* samples below, one at the rank being half there */
    int64_t below = 0;
    for (int i = 0; i < BINS; i++) {
        if ((double)(below + h->count[i]) >= rank && h->count[i] > 0)
            return h->low + h->width * (i + (rank - (double)below) / h->count[i]);
        below += h->count[i];
    }
    return h->low + h->width * BINS;
}

enum { BLOCK = 256 };

/* Histogram of the samples' direction (x, y) in the plane by a number that rises with the angle and
 * needs no arc tangent: y / (|x| + |y|) on the right half, and on from there to -2 and 2. */
static void count_angles(const samples *s, const double plane[2][3], histogram *h)
{
    float u[3], v[3], scale = BINS / 4.0f;
    int32_t bins[BLOCK];
    for (int c = 0; c < 3; c++) u[c] = (float)plane[0][c], v[c] = (float)plane[1][c];
    *h = (histogram){.low = -2.0, .width = 4.0 / BINS};
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
        count(h, bins, n);
    }
}

/* The unit vector at a place of that histogram. */
static void direction(const double plane[2][3], double place, float od[3])
{
    double y = fabs(place) <= 1.0 ? place : (place < 0.0 ? -2.0 : 2.0) - place;
    double x = (1.0 - fabs(y)) * (fabs(place) <= 1.0 ? 1.0 : -1.0), length = sqrt(x * x + y * y);
    for (int c = 0; c < 3; c++) od[c] = (float)((x * plane[0][c] + y * plane[1][c]) / length);
}

/* The largest concentration in [begin, end). */
static float largest(const samples *s, const float p[3], int begin, int end)
{
    float lane[LANES] = {0.0f}, most = 0.0f;
    for (int i = begin; i < end; i++) {
        float c = p[0] * s->od[0][i] + p[1] * s->od[1][i] + p[2] * s->od[2][i];
        lane[i % LANES] = c > lane[i % LANES] ? c : lane[i % LANES];
    }
    for (int l = 0; l < LANES; l++) most = lane[l] > most ? lane[l] : most;
    return most;
}

static void count_concentrations(const samples *s, const float p[3], int begin, int end,
                                 histogram *h)
{
    int32_t bins[BLOCK];
    float scale = (float)(1.0 / h->width);
    for (int at = begin; at < end; at += BLOCK) {
        int n = end - at < BLOCK ? end - at : BLOCK;
        const float *r = s->od[0] + at, *g = s->od[1] + at, *b = s->od[2] + at;
        for (int i = 0; i < n; i++) {
            int bin = (int)((p[0] * r[i] + p[1] * g[i] + p[2] * b[i]) * scale);
            bins[i] = bin < 0 ? 0 : bin > BINS - 1 ? BINS - 1 : bin;
        }
        count(h, bins, n);
    }
}

/* 99th percentile of one concentration over all samples; those below 0 count as 0. */
static float most_of(const samples *s, const float p[3], histogram *h)
{
    float front = largest(s, p, 0, s->n_kept);
    float back = largest(s, p, s->rest, CF_STAIN_MAX_SAMPLES);
    float most = front > back ? front : back;
    if (!(most > 0.0f && most < 1e6f)) return 0.0f;
    *h = (histogram){.width = (double)most / BINS};
    count_concentrations(s, p, 0, s->n_kept, h);
    count_concentrations(s, p, s->rest, CF_STAIN_MAX_SAMPLES, h);
    return (float)percentile(h, most_percent);
}

static void estimate(const samples *s, histogram *h, cf_stain *out)
{
    double mean[3], cov[6], plane[2][3];
    moments(s, mean, cov);
    find_plane(cov, mean, plane);
    count_angles(s, plane, h);
    double low = percentile(h, least_percent), high = percentile(h, most_percent);
    direction(plane, low, out->od[0]);
    direction(plane, high, out->od[1]);
    if (out->od[0][0] < out->od[1][0]) {
        direction(plane, high, out->od[0]);
        direction(plane, low, out->od[1]);
    }
    out->max[0] = out->max[1] = 1.0f;
    if (!cf_stain_is_valid(out)) return;
    double inverse[2][3];
    cf_stain_invert(out, inverse);
    for (int k = 0; k < 2; k++) {
        float row[3] = {(float)inverse[k][0], (float)inverse[k][1], (float)inverse[k][2]};
        out->max[k] = most_of(s, row, h);
    }
}

bool cf_stain_estimate(const uint8_t *pixels, int height, int width, cf_stain *out)
{
    samples s;
    histogram h;
    take_samples(pixels, height, width, &s);
    if (s.n_kept >= MIN_KEPT) {
        estimate(&s, &h, out);
        if (cf_stain_is_valid(out)) return true;
    }
    *out = cf_stain_default();
    return false;
}
