/* Resizing: a separable triangle filter, widened by the reduction so that nothing aliases.
 *
 * Weights are fixed point and the image between the two passes is 8 bits, rounded, as in PIL's
 * Image.BILINEAR: the same bits, and no floating-point sum that could differ between machines. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/data/decoders.h"

/* 8 bits of pixel and 22 of weight: a sum of weights that is 1 stays below 2^31. */
enum { WEIGHT_BITS = 22 };

/* What each output position along one axis takes from the input. */
typedef struct taps {
    int n_taps;      /* room per output position */
    int *first;      /* owned, [n_out] first input position */
    int *count;      /* owned, [n_out] input positions used */
    int32_t *weight; /* owned, [n_out][n_taps], fixed point, rows sum to 1 */
} taps;

static void taps_fini(taps *t)
{
    free(t->first);
    free(t->count);
    free(t->weight);
}

/* Weights of output position i: the triangle of half-width `support` round its centre. */
static void fill_taps(taps *t, int i, int n_in, double scale, double support, double *w)
{
    double center = (i + 0.5) * scale, sum = 0.0;
    int first = (int)fmax(center - support + 0.5, 0.0);
    int end = (int)fmin(center + support + 0.5, n_in);
    for (int k = 0; k < end - first; k++) {
        w[k] = fmax(1.0 - fabs((first + k - center + 0.5) * (1.0 / support)), 0.0);
        sum += w[k];
    }
    t->first[i] = first;
    t->count[i] = end - first;
    for (int k = 0; k < end - first; k++)
        t->weight[(size_t)i * (size_t)t->n_taps + (size_t)k] =
            (int32_t)(w[k] * (1.0 / sum) * (1 << WEIGHT_BITS) + 0.5);
}

static cf_err taps_init(taps *t, int n_in, int n_out)
{
    *t = (taps){0};
    double scale = (double)n_in / n_out, support = fmax(scale, 1.0);
    double *w = NULL;
    cf_err err;
    size_t n_weights;
    t->n_taps = (int)ceil(support) * 2 + 1;
    if (!cf_size_mul((size_t)n_out, (size_t)t->n_taps, &n_weights))
        return cf_fail(CF_E_UNEXPECTED, "resize from %d to %d is too large", n_in, n_out);
    CF_TRY_GOTO(cf_new(&w, (size_t)t->n_taps, sizeof *w), out);
    CF_TRY_GOTO(cf_new(&t->first, (size_t)n_out, sizeof *t->first), out);
    CF_TRY_GOTO(cf_new(&t->count, (size_t)n_out, sizeof *t->count), out);
    CF_TRY_GOTO(cf_new(&t->weight, n_weights, sizeof *t->weight), out);
    for (int i = 0; i < n_out; i++) fill_taps(t, i, n_in, scale, support, w);
out:
    free(w);
    if (err != CF_OK) taps_fini(t);
    return err;
}

static uint8_t round_to_byte(int32_t sum)
{
    int32_t v = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return (uint8_t)(v > 255 ? 255 : v); /* never negative: the triangle has no negative weights */
}

/* Red, green, blue and an idle lane: one multiplication a pixel. */
typedef int32_t lanes __attribute__((vector_size(16)));
typedef uint8_t lane_bytes __attribute__((vector_size(4)));

/* in: [n][3]. The idle lane of a pixel holds the next one's red; the last pixel has no next one. */
static void widen(const uint8_t *in, int n, lanes *row)
{
    for (int x = 0; x < n - 1; x++) {
        lane_bytes v;
        memcpy(&v, in + 3 * x, sizeof v);
        row[x] = __builtin_convertvector(v, lanes);
    }
    const uint8_t *last = in + 3 * (n - 1);
    row[n - 1] = (lanes){last[0], last[1], last[2], 0};
}

/* in: [n_rows][w_in][3], out: [n_rows][w_out][3], row: [w_in] scratch */
static void resize_rows(const uint8_t *in, int n_rows, int w_in, const taps *t, int w_out,
                        lanes *row, uint8_t *out)
{
    for (int y = 0; y < n_rows; y++, in += (size_t)w_in * 3) {
        widen(in, w_in, row);
        for (int x = 0; x < w_out; x++, out += 3) {
            const int32_t *w = t->weight + (size_t)x * (size_t)t->n_taps;
            const lanes *p = row + t->first[x];
            lanes sum = {0};
            for (int k = 0; k < t->count[x]; k++) sum += p[k] * w[k];
            for (int c = 0; c < 3; c++) out[c] = round_to_byte(sum[c]);
        }
    }
}

/* in: [h_in][row_bytes], out: [h_out][row_bytes], sum: [row_bytes] scratch. */
static void resize_columns(const uint8_t *in, const taps *t, size_t row_bytes, int h_out,
                           int32_t *sum, uint8_t *out)
{
    for (int y = 0; y < h_out; y++, out += row_bytes) {
        memset(sum, 0, row_bytes * sizeof *sum);
        for (int k = 0; k < t->count[y]; k++) {
            int32_t w = t->weight[(size_t)y * (size_t)t->n_taps + (size_t)k];
            const uint8_t *p = in + (size_t)(t->first[y] + k) * row_bytes;
            for (size_t i = 0; i < row_bytes; i++) sum[i] += w * p[i];
        }
        for (size_t i = 0; i < row_bytes; i++) out[i] = round_to_byte(sum[i]);
    }
}

cf_err cf_image_resize(const cf_image *in, int height, int width, cf_image *out)
{
    *out = (cf_image){0};
    if (in->height == height && in->width == width) {
        CF_TRY(cf_image_alloc("copied image", height, width, INT64_MAX, out));
        memcpy(out->pixels, in->pixels, (size_t)height * (size_t)width * 3);
        return CF_OK;
    }
    cf_image rows = {0}; /* [in height][width] */
    taps across = {0}, down = {0};
    int32_t *sum = NULL;
    lanes *row = NULL;
    cf_err err;
    CF_TRY_GOTO(taps_init(&across, in->width, width), out);
    CF_TRY_GOTO(taps_init(&down, in->height, height), out);
    CF_TRY_GOTO(cf_image_alloc("resized image", in->height, width, INT64_MAX, &rows), out);
    CF_TRY_GOTO(cf_image_alloc("resized image", height, width, INT64_MAX, out), out);
    CF_TRY_GOTO(cf_new(&sum, (size_t)width * 3, sizeof *sum), out);
    CF_TRY_GOTO(cf_new_aligned(&row, (size_t)in->width, sizeof *row), out);
    resize_rows(in->pixels, in->height, in->width, &across, width, row, rows.pixels);
    resize_columns(rows.pixels, &down, (size_t)width * 3, height, sum, out->pixels);
out:
    free(row);
    free(sum);
    cf_image_fini(&rows);
    taps_fini(&down);
    taps_fini(&across);
    if (err != CF_OK) cf_image_fini(out);
    return err;
}
