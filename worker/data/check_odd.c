/* Which images look odd: rules on what was measured, some of them against the image's own site. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/data/check_measure.h"

enum { SITE_MIN = 30 };

/* What is usual at one site; robust SDs have their floors. */
typedef struct usual {
    double sharpness, sharpness_sd; /* of the logarithm */
    double mean[3], mean_sd[3];
    double spread;
} usual;

const char *cf_odd_words(unsigned odd, char text[160])
{
    static const char *const words[] = {
        "one colour",     "nearly black",       "nearly white", "faint",
        "without colour", "bars at the border", "blurred",      "colours unlike the site's"};
    size_t n = 0;
    text[0] = '\0';
    for (unsigned k = 0; k < 8; k++)
        if (odd & 1u << k)
            n += (size_t)snprintf(text + n, 160 - n, "%s%s", n > 0 ? "; " : "", words[k]);
    return text;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* values are put in order. */
static double median(double *values, int64_t n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double robust_sd(double *values, int64_t n, double center, double floor_sd)
{
    for (int64_t i = 0; i < n; i++) values[i] = fabs(values[i] - center);
    return fmax(1.4826 * median(values, n), floor_sd);
}

static double log_sharpness(const cf_measure *m)
{
    return log((double)m->sharpness + 1e-9);
}

/* Flat, dark and bright images have no sharpness or colours worth comparing. */
static bool is_plain(const cf_measure *m)
{
    return m->luma_sd < 10.0f || m->luma_mean < 25.0f || m->luma_mean > 248.0f;
}

/* values: [n] scratch, n at least as many as the site has images. False: too few to compare with.
 */
static bool find_usual(const cf_cells *cells, const cf_measure *measures, int site, double *values,
                       usual *u)
{
    int64_t n = 0;
    for (int64_t i = 0; i < cells->n; i++)
        if (cells->sites[i] == site && !is_plain(&measures[i]))
            values[n++] = log_sharpness(&measures[i]);
    if (n < SITE_MIN) return false;
    u->sharpness = median(values, n);
    u->sharpness_sd = robust_sd(values, n, u->sharpness, 0.05);
    for (int c = 0; c < 3; c++) {
        n = 0;
        for (int64_t i = 0; i < cells->n; i++)
            if (cells->sites[i] == site && !is_plain(&measures[i]))
                values[n++] = (double)measures[i].mean[c];
        u->mean[c] = median(values, n);
        u->mean_sd[c] = robust_sd(values, n, u->mean[c], 2);
    }
    n = 0;
    for (int64_t i = 0; i < cells->n; i++)
        if (cells->sites[i] == site && !is_plain(&measures[i]))
            values[n++] = (double)measures[i].spread;
    u->spread = median(values, n);
    return true;
}

static unsigned judge_alone(const cf_measure *m)
{
    unsigned odd = 0;
    if (m->luma_sd < 3.0f) odd |= CF_ODD_FLAT;
    if (m->luma_mean < 25.0f) odd |= CF_ODD_DARK;
    if (m->luma_mean > 248.0f) odd |= CF_ODD_BRIGHT;
    if (m->luma_sd >= 3.0f && m->luma_sd < 10.0f) odd |= CF_ODD_FAINT;
    if (m->luma_sd >= 10.0f && m->bars > 0.04f) odd |= CF_ODD_BARS;
    return odd;
}

static unsigned judge_beside(const cf_measure *m, const usual *u)
{
    unsigned odd = 0;
    if (is_plain(m)) return 0;
    if (m->spread < 2.0f && u->spread > 15) odd |= CF_ODD_GREY;
    if (log_sharpness(m) < u->sharpness - 6 * u->sharpness_sd) odd |= CF_ODD_BLURRED;
    for (int c = 0; c < 3; c++)
        if (fabs((double)m->mean[c] - u->mean[c]) > 6 * u->mean_sd[c]) odd |= CF_ODD_COLOR;
    return odd;
}

cf_err cf_odd_find(const cf_cells *cells, const cf_measure *measures, uint8_t *odd)
{
    double *values;
    CF_TRY(cf_new(&values, (size_t)cells->n, sizeof *values));
    for (int64_t i = 0; i < cells->n; i++) odd[i] = (uint8_t)judge_alone(&measures[i]);
    for (size_t s = 0; s < cells->site_names.n; s++) {
        usual u;
        if (!find_usual(cells, measures, (int)s, values, &u)) continue;
        for (int64_t i = 0; i < cells->n; i++)
            if (cells->sites[i] == (int)s) odd[i] |= (uint8_t)judge_beside(&measures[i], &u);
    }
    free(values);
    return CF_OK;
}
