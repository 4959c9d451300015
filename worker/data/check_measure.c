#include "worker/data/check_measure.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { T = CF_THUMB_SIDE };

/* Where bin i begins on an axis of n pixels. Bins of images smaller than the grid share pixels. */
static int bin_begin(int i, int n)
{
    return (int)(((int64_t)i * n + T / 2) / T);
}
static int bin_first(int i, int n)
{
    int first = bin_begin(i, n);
    return first < n ? first : n - 1;
}
static int bin_end(int i, int n)
{
    int end = bin_begin(i + 1, n), first = bin_first(i, n);
    return end > first ? end : first + 1;
}

/* ---- thumbnail and moments ---- */

/* Adds rows y0..y1-1 into sums ([3 * width]). */
static void add_rows(const uint8_t *pixels, int width, int y0, int y1, uint32_t *restrict sums)
{
    size_t row = (size_t)width * 3;
    memset(sums, 0, row * sizeof *sums);
    for (int y = y0; y < y1; y++) {
        const uint8_t *p = pixels + (size_t)y * row;
        for (size_t k = 0; k < row; k++) sums[k] += p[k];
    }
}

static float luma_of(const double c[3])
{
    return (float)(0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]);
}

/* Fills the thumbnail; returns the mean spread of its colours. */
static float fill_thumb(const uint8_t *pixels, int height, int width, uint32_t *sums, float *thumb)
{
    double spread = 0;
    for (int i = 0; i < T; i++) {
        int y0 = bin_first(i, height), y1 = bin_end(i, height);
        add_rows(pixels, width, y0, y1, sums);
        for (int j = 0; j < T; j++) {
            int x0 = bin_first(j, width), x1 = bin_end(j, width);
            double c[3] = {0};
            for (int x = x0; x < x1; x++)
                for (int k = 0; k < 3; k++) c[k] += sums[3 * x + k];
            double n = (double)(x1 - x0) * (y1 - y0);
            for (int k = 0; k < 3; k++) c[k] /= n;
            thumb[i * T + j] = luma_of(c);
            thumb[CF_THUMB_PIXELS + i * T + j] = (float)(c[0] - c[1]);
            spread += fmax(fmax(c[0], c[1]), c[2]) - fmin(fmin(c[0], c[1]), c[2]);
        }
    }
    return (float)(spread / CF_THUMB_PIXELS);
}

/* Sums of values and squares by column; 65,535 rows of 255 squared still fit 32 bits. */
static void fill_moments(const uint8_t *pixels, int height, int width, uint32_t *scratch,
                         cf_measure *m)
{
    size_t row = (size_t)width * 3;
    uint32_t *restrict sums = scratch, *restrict squares = scratch + row;
    memset(scratch, 0, 2 * row * sizeof *scratch);
    for (int y = 0; y < height; y++) {
        const uint8_t *p = pixels + (size_t)y * row;
        for (size_t k = 0; k < row; k++) {
            sums[k] += p[k];
            squares[k] += (uint32_t)p[k] * p[k];
        }
    }
    double n = (double)height * width;
    for (size_t c = 0; c < 3; c++) {
        uint64_t s = 0, q = 0;
        for (size_t k = c; k < row; k += 3) {
            s += sums[k];
            q += squares[k];
        }
        double mean = (double)s / n;
        m->mean[c] = (float)mean;
        m->sd[c] = (float)sqrt(fmax((double)q / n - mean * mean, 0));
    }
}

static void luma_moments(const float *thumb, cf_measure *m)
{
    double sum = 0, square = 0;
    for (int k = 0; k < CF_THUMB_PIXELS; k++) {
        sum += (double)thumb[k];
        square += (double)thumb[k] * (double)thumb[k];
    }
    sum /= CF_THUMB_PIXELS;
    m->luma_mean = (float)sum;
    m->luma_sd = (float)sqrt(fmax(square / CF_THUMB_PIXELS - sum * sum, 0));
}

/* ---- sharpness and bars ---- */

/* Variance of the Laplacian over variance (Pertuz et al. 2013, LAPV, made free of contrast). */
static float sharpness(const uint8_t *pixels, int height, int width, float sd)
{
    if (height < 3 || width < 3 || sd < 1e-3f) return 0;
    ptrdiff_t row = (ptrdiff_t)width * 3;
    uint64_t total = 0;
    for (int y = 1; y < height - 1; y++) {
        const uint8_t *p = pixels + y * row + 1; /* green */
        uint64_t sum = 0;
        for (ptrdiff_t x = 3; x < row - 3; x += 3) {
            int l = 4 * p[x] - p[x - 3] - p[x + 3] - p[x - row] - p[x + row];
            sum += (uint64_t)(uint32_t)(l * l);
        }
        total += sum;
    }
    double n = (double)(height - 2) * (width - 2);
    return (float)((double)total / n / ((double)sd * (double)sd));
}

/* The line of n pixels, `step` bytes apart, is of the colour `c` within JPEG's rounding. */
static bool is_line_of(const uint8_t *line, int n, ptrdiff_t step, const uint8_t c[3])
{
    enum { TOLERANCE = 3 };
    for (int i = 0; i < n; i++, line += step)
        for (int k = 0; k < 3; k++)
            if (abs((int)line[k] - (int)c[k]) > TOLERANCE) return false;
    return true;
}

/* Lines at one border that are all of one colour. first: its corner; next: bytes to the next line.
 */
static int count_bar(const uint8_t *first, int n_lines, ptrdiff_t next, int n, ptrdiff_t step)
{
    int k = 0;
    while (k < n_lines && is_line_of(first + k * next, n, step, first)) k++;
    return k;
}

/* A lone line may be the scanner's; from three on it is counted. */
static float bars(const uint8_t *pixels, int height, int width)
{
    ptrdiff_t row = (ptrdiff_t)width * 3;
    const uint8_t *last = pixels + (height - 1) * row + 3 * (ptrdiff_t)(width - 1);
    int top = count_bar(pixels, height, row, width, 3);
    if (top == height) return 1;
    int lines[4] = {top, count_bar(last, height, -row, width, -3),
                    count_bar(pixels, width, 3, height, row),
                    count_bar(last, width, -3, height, -row)};
    for (int k = 0; k < 4; k++)
        if (lines[k] < 3) lines[k] = 0;
    double rest = (double)(height - lines[0] - lines[1]) * (width - lines[2] - lines[3]);
    return (float)(1 - rest / ((double)height * width));
}

void cf_measure_image(const uint8_t *pixels, int height, int width, uint32_t *scratch,
                      cf_measure *m, float *thumb)
{
    *m = (cf_measure){0};
    fill_moments(pixels, height, width, scratch, m);
    m->spread = fill_thumb(pixels, height, width, scratch, thumb);
    luma_moments(thumb, m);
    m->sharpness = sharpness(pixels, height, width, m->sd[1]);
    m->bars = bars(pixels, height, width);
}
