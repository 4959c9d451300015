/* The alignment on pixels: refining a map, and comparing what is left of two pictures' details. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/data/check_align.h"
#include "worker/data/image.h"

enum {
    S = CF_ALIGN_SIDE,
    HALF = S / 2,
    BORDER = 4,   /* px where blurring had no neighbours */
    STEPS = 12,   /* of the refinement */
    MAX_TAPS = 32 /* on either side of a Gaussian's middle */
};
/* Grey levels of detail that compression leaves where there is nothing. */
static const float noise = 2.0f;

/* A picture's values at the places of another one, on a grid of side x side. */
typedef struct warped {
    int side;
    float value[CF_ALIGN_PIXELS];
    bool inside[CF_ALIGN_PIXELS];
    int n_inside;
} warped;

/* ---- pictures ---- */

/* Separable Gaussian; the border's values are repeated. scratch: [CF_ALIGN_PIXELS]. */
static void blur(const float *in, double sigma, float *restrict scratch, float *restrict out)
{
    float w[MAX_TAPS + 1], sum = 0, row[S + 2 * MAX_TAPS];
    int reach = (int)ceil(3 * sigma);
    for (int k = 0; k <= reach; k++) {
        w[k] = (float)exp(-0.5 * k * k / (sigma * sigma));
        sum += k > 0 ? 2 * w[k] : w[k];
    }
    memset(scratch, 0, CF_ALIGN_PIXELS * sizeof *scratch);
    memset(out, 0, CF_ALIGN_PIXELS * sizeof *out);
    for (int y = 0; y < S; y++)
        for (int k = -reach; k <= reach; k++) { /* down */
            int from = y + k < 0 ? 0 : y + k >= S ? S - 1 : y + k;
            float weight = w[abs(k)] / sum;
            for (int x = 0; x < S; x++) scratch[y * S + x] += weight * in[from * S + x];
        }
    for (int y = 0; y < S; y++) {
        for (int x = 0; x < S + 2 * reach; x++) {
            int from = x < reach ? 0 : x - reach >= S ? S - 1 : x - reach;
            row[x] = scratch[y * S + from];
        }
        for (int k = -reach; k <= reach; k++) { /* across */
            float weight = w[abs(k)] / sum;
            for (int x = 0; x < S; x++) out[y * S + x] += weight * row[x + k + reach];
        }
    }
}

/* Half the side: means of four. */
static void halve(const float *in, float *out)
{
    for (int y = 0; y < HALF; y++)
        for (int x = 0; x < HALF; x++) {
            const float *p = in + 2 * y * S + 2 * x;
            out[y * HALF + x] = (p[0] + p[1] + p[S] + p[S + 1]) / 4;
        }
}

/* Divides details by their RMS round about, so that the outline of a dark cell, which all cells
 * have, counts no more than the grain of its chromatin or the cells beside it. luma is used up;
 * spare, power: scratch. */
static void even_out(float *detail, float *luma, float *spare, float *power)
{
    float *square = luma;
    for (int k = 0; k < CF_ALIGN_PIXELS; k++) square[k] = detail[k] * detail[k];
    blur(square, 5, spare, power);
    for (int k = 0; k < CF_ALIGN_PIXELS; k++) detail[k] /= sqrtf(power[k]) + noise;
}

cf_err cf_align_picture_fill(const uint8_t *pixels, int height, int width, cf_align_picture *p)
{
    /* cf_image_resize only reads its input */
    const cf_image in = {.height = height, .width = width, .pixels = (uint8_t *)(uintptr_t)pixels};
    cf_image small;
    float *scratch; /* [3][CF_ALIGN_PIXELS] */
    CF_TRY(cf_new(&scratch, 3 * (size_t)CF_ALIGN_PIXELS, sizeof *scratch));
    cf_err err = cf_image_resize(&in, S, S, &small);
    if (err == CF_OK) {
        float *luma = scratch, *wide = scratch + CF_ALIGN_PIXELS, *spare = wide + CF_ALIGN_PIXELS;
        for (int k = 0; k < CF_ALIGN_PIXELS; k++) {
            const uint8_t *c = small.pixels + 3 * k;
            luma[k] = 0.299f * c[0] + 0.587f * c[1] + 0.114f * c[2];
        }
        blur(luma, 1, spare, p->detail);
        blur(luma, 4, spare, wide);
        for (int k = 0; k < CF_ALIGN_PIXELS; k++) p->detail[k] -= wide[k];
        blur(luma, 2, spare, wide);
        halve(wide, p->smooth);
        even_out(p->detail, luma, spare, wide);
        cf_image_fini(&small);
    }
    free(scratch);
    return err;
}

/* ---- warping ---- */

/* b: [side][side]. */
static void warp(const float *b, int side, const cf_align_map *map, warped *w)
{
    const int border = BORDER * side / S, last = side - 1 - border;
    const float unit = (float)S / (float)side, middle = (float)(side - 1) / 2;
    float m[2][2], t[2];
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) m[i][j] = (float)map->m[i][j];
        t[i] = (float)map->t[i] / unit + middle;
    }
    w->side = side;
    w->n_inside = 0;
    for (int k = 0; k < side * side; k++) {
        float x = (float)(k % side) - middle, y = (float)(k / side) - middle;
        float u = m[0][0] * x + m[0][1] * y + t[0], v = m[1][0] * x + m[1][1] * y + t[1];
        bool frame = k % side < border || k % side > last || k / side < border || k / side > last;
        w->inside[k] = !frame && u >= (float)border && u < (float)last && v >= (float)border &&
                       v < (float)last;
        w->value[k] = 0;
        if (!w->inside[k]) continue;
        int iu = (int)u, iv = (int)v;
        float fu = u - (float)iu, fv = v - (float)iv;
        const float *p = b + iv * side + iu;
        w->value[k] =
            (1 - fv) * ((1 - fu) * p[0] + fu * p[1]) + fv * ((1 - fu) * p[side] + fu * p[side + 1]);
        w->n_inside++;
    }
}

/* Mean and SD of a picture where the other one is, too. */
static void moments(const float *values, const warped *w, double *mean, double *sd)
{
    double sum = 0, square = 0;
    for (int k = 0; k < w->side * w->side; k++)
        if (w->inside[k]) {
            sum += (double)values[k];
            square += (double)values[k] * (double)values[k];
        }
    *mean = sum / w->n_inside;
    *sd = sqrt(fmax(square / w->n_inside - *mean * *mean, 0));
}

static bool overlaps(const warped *w)
{
    int whole = w->side - 2 * (BORDER * w->side / S);
    return w->n_inside >= whole * whole / 2;
}

static double correlation(const float *a, const warped *w, double sd_min)
{
    double mean_a, sd_a, mean_b, sd_b, sum = 0;
    if (!overlaps(w)) return 0;
    moments(a, w, &mean_a, &sd_a);
    moments(w->value, w, &mean_b, &sd_b);
    if (sd_a < sd_min || sd_b < sd_min) return 0;
    for (int k = 0; k < w->side * w->side; k++)
        if (w->inside[k]) sum += ((double)a[k] - mean_a) * ((double)w->value[k] - mean_b);
    return sum / (w->n_inside * sd_a * sd_b);
}

/* ---- refining ---- */

/* Solves the symmetric positive system h d = g by elimination; false where it is singular. */
static bool solve4(double h[4][4], double g[4], double d[4])
{
    for (int i = 0; i < 4; i++) {
        if (h[i][i] < 1e-9) return false;
        for (int r = i + 1; r < 4; r++) {
            double f = h[r][i] / h[i][i];
            for (int c = i; c < 4; c++) h[r][c] -= f * h[i][c];
            g[r] -= f * g[i];
        }
    }
    for (int i = 3; i >= 0; i--) {
        d[i] = g[i];
        for (int c = i + 1; c < 4; c++) d[i] -= h[i][c] * d[c];
        d[i] /= h[i][i];
    }
    return true;
}

/* One step of Gauss-Newton on a(x) = w(x + d(x)) with both brought to mean 0 and SD 1 (free of
 * brightness and contrast), d(x) = (p x - q y + s, q x + p y + t); x in halves of a side, so that
 * all four unknowns are of one scale, pixels of w. False where nothing can be said. */
static bool step(const float *a, const warped *w, double d[4])
{
    double mean_a, sd_a, mean_b, sd_b, h[4][4] = {{0}}, g[4] = {0};
    const int n = w->side;
    const double half = n / 2.0;
    moments(a, w, &mean_a, &sd_a);
    moments(w->value, w, &mean_b, &sd_b);
    if (sd_a < 0.5 || sd_b < 0.5) return false;
    for (int k = n + 1; k < n * n - n - 1; k++) {
        if (!(w->inside[k] && w->inside[k - 1] && w->inside[k + 1] && w->inside[k - n] &&
              w->inside[k + n]))
            continue;
        double x = (k % n - (n - 1) / 2.0) / half, y = (k / n - (n - 1) / 2.0) / half;
        double gx = ((double)w->value[k + 1] - (double)w->value[k - 1]) / 2 / sd_b;
        double gy = ((double)w->value[k + n] - (double)w->value[k - n]) / 2 / sd_b;
        double j[4] = {gx * x + gy * y, gy * x - gx * y, gx, gy};
        double e = ((double)a[k] - mean_a) / sd_a - ((double)w->value[k] - mean_b) / sd_b;
        for (int r = 0; r < 4; r++) {
            g[r] += j[r] * e;
            for (int c = 0; c < 4; c++) h[r][c] += j[r] * j[c];
        }
    }
    return solve4(h, g, d);
}

/* map := map after x -> x + d(x), d in pixels of a grid of `side`. */
static void compose(cf_align_map *map, int side, const double d[4])
{
    double p = d[0] / (side / 2.0), q = d[1] / (side / 2.0), unit = (double)S / side;
    const double s[2][2] = {{1 + p, -q}, {q, 1 + p}};
    cf_align_map old = *map;
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) map->m[i][j] = old.m[i][0] * s[0][j] + old.m[i][1] * s[1][j];
        map->t[i] = old.t[i] + unit * (old.m[i][0] * d[2] + old.m[i][1] * d[3]);
    }
}

/* Keeps the best map met: a step may lead astray. */
static void refine(const cf_align_picture *a, const cf_align_picture *b, warped *w,
                   cf_align_map *map)
{
    cf_align_map now = *map;
    double best = -2;
    for (int k = 0; k <= STEPS; k++) {
        double d[4];
        warp(b->smooth, HALF, &now, w);
        if (!overlaps(w)) return;
        double r = correlation(a->smooth, w, 0.5);
        if (r > best) *map = now;
        if (r > best) best = r;
        if (k == STEPS || !step(a->smooth, w, d)) return;
        double length = fabs(d[0]) + fabs(d[1]) + fabs(d[2]) + fabs(d[3]);
        if (length < 0.01 || length > HALF) return;
        compose(&now, HALF, d);
    }
}

float cf_align_confirm(const cf_align_picture *a, const cf_align_picture *b, cf_align_map *map)
{
    warped w;
    refine(a, b, &w, map);
    warp(b->detail, S, map, &w);
    return (float)correlation(a->detail, &w, 0.1);
}
