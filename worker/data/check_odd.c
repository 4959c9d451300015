/* Which images look odd: rules on what was measured, some of them against the image's own site. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/data/check_measure.h"
#include "worker/data/check_sites.h"

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

/* images: [n], of one site. values: [n] scratch. False: too few to compare with. */
static bool find_usual(const cf_measure *measures, const int32_t *images, int64_t n_images,
                       double *values, usual *u)
{
    int64_t n = 0;
    for (int64_t k = 0; k < n_images; k++)
        if (!is_plain(&measures[images[k]])) values[n++] = log_sharpness(&measures[images[k]]);
    if (n < SITE_MIN) return false;
    u->sharpness = median(values, n);
    u->sharpness_sd = robust_sd(values, n, u->sharpness, 0.05);
    for (int c = 0; c < 3; c++) {
        n = 0;
        for (int64_t k = 0; k < n_images; k++)
            if (!is_plain(&measures[images[k]])) values[n++] = (double)measures[images[k]].mean[c];
        u->mean[c] = median(values, n);
        u->mean_sd[c] = robust_sd(values, n, u->mean[c], 2);
    }
    n = 0;
    for (int64_t k = 0; k < n_images; k++)
        if (!is_plain(&measures[images[k]])) values[n++] = (double)measures[images[k]].spread;
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
    double *values = NULL;
    cf_site_order order;
    cf_err err;
    CF_TRY(cf_site_order_init(cells, &order));
    CF_TRY_GOTO(cf_new(&values, (size_t)cells->n, sizeof *values), out);
    for (int64_t i = 0; i < cells->n; i++) odd[i] = (uint8_t)judge_alone(&measures[i]);
    for (size_t s = 0; s < cells->site_names.n; s++) {
        usual u;
        const int32_t *images = order.images + order.begin[s];
        int64_t n = order.begin[s + 1] - order.begin[s];
        if (!find_usual(measures, images, n, values, &u)) continue;
        for (int64_t k = 0; k < n; k++)
            odd[images[k]] |= (uint8_t)judge_beside(&measures[images[k]], &u);
    }
out:
    free(values);
    cf_site_order_fini(&order);
    return err;
}
