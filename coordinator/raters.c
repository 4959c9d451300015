#include "coordinator/raters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/agreement.h"
#include "coordinator/resample.h"
#include "kernels/base/mem.h"

/* Two labels of one image. */
typedef struct label_pair {
    int64_t image;
    int32_t row, column;
} label_pair;

/* What the resamples weigh. */
typedef struct work {
    const cf_raters *r; /* borrowed */
    int k, n_raters;
    int64_t n_images;
    int32_t *first;   /* owned, [n_images][n_raters] label of the first round; -1: none */
    int32_t *network; /* owned, [n_images] label; -1: no prediction */
    int32_t *truth;   /* owned, [n_images] label; -1: none */
    char **patients;  /* owned, [n_images] of names borrowed from the predictions, or NULL */
    label_pair
        *pairs;      /* owned, [begins[n_pairs]]: of comparison i from begins[i] to begins[i + 1] */
    int64_t *begins; /* owned, [n_pairs + 1] */
    int64_t room;
    double *margins; /* owned, [CF_LANES][k] */
    int64_t *counts; /* owned, [CF_LANES][k * k] */
} work;

static void work_fini(work *w)
{
    free(w->counts);
    free(w->margins);
    free(w->begins);
    free(w->pairs);
    free(w->patients);
    free(w->truth);
    free(w->network);
    free(w->first);
}

/* ---- images -----------------------------------------------------------------------------------
 */

typedef struct id_row {
    const char *id;
    int64_t row;
} id_row;

static int compare_ids(const void *a, const void *b)
{
    return strcmp(((const id_row *)a)->id, ((const id_row *)b)->id);
}

static cf_err sort_ids(const cf_predictions *p, id_row **out)
{
    id_row *rows = NULL;
    CF_TRY(cf_new(&rows, (size_t)p->n, sizeof *rows));
    for (int64_t i = 0; i < p->n; i++) rows[i] = (id_row){p->ids[i], i};
    qsort(rows, (size_t)p->n, sizeof *rows, compare_ids);
    for (int64_t i = 1; i < p->n; i++) {
        if (strcmp(rows[i].id, rows[i - 1].id) != 0) continue;
        cf_err err =
            cf_fail(CF_E_DATA,
                    "image %.200s is predicted in several folds (%d and %d); to compare with "
                    "raters each image needs one prediction",
                    rows[i].id, p->folds[rows[i - 1].row], p->folds[rows[i].row]);
        free(rows);
        return err;
    }
    *out = rows;
    return CF_OK;
}

/* Network's class, label and patient of each rated image. */
static cf_err find_predictions(const cf_predictions *p, work *w, int64_t *n_unknown)
{
    id_row *rows = NULL;
    CF_TRY(sort_ids(p, &rows));
    for (int64_t i = 0; i < w->n_images; i++) {
        const id_row key = {w->r->ids.items[i], 0};
        const id_row *found = bsearch(&key, rows, (size_t)p->n, sizeof key, compare_ids);
        w->network[i] = found ? p->predicted[found->row] : -1;
        w->truth[i] = found ? p->labels[found->row] : -1;
        w->patients[i] = found && p->patients ? p->patients[found->row] : NULL;
        *n_unknown += found == NULL;
    }
    free(rows);
    if (*n_unknown < w->n_images) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "none of the %lld rated images is in the predictions; the first is %.200s",
                   (long long)w->n_images, w->r->ids.items[0]);
}

static cf_err work_init(const cf_scheme *s, const cf_raters *r, work *w)
{
    size_t images = r->ids.n, raters = r->names.n, cells = 0;
    *w = (work){.r = r, .k = s->n_classes, .n_raters = (int)raters, .n_images = (int64_t)images};
    if (!cf_size_mul(images, raters, &cells))
        return cf_fail(CF_E_UNEXPECTED, "%zu images of %zu raters are too many", images, raters);
    CF_TRY(cf_new(&w->first, cells, sizeof *w->first));
    CF_TRY(cf_new(&w->network, images, sizeof *w->network));
    CF_TRY(cf_new(&w->truth, images, sizeof *w->truth));
    CF_TRY(cf_new(&w->patients, images, sizeof *w->patients));
    size_t k = (size_t)s->n_classes;
    CF_TRY(cf_new(&w->margins, CF_LANES * k, sizeof *w->margins));
    CF_TRY(cf_new(&w->counts, CF_LANES * k * k, sizeof *w->counts));
    memset(w->first, -1, cells * sizeof *w->first);
    for (int64_t i = r->n - 1; i >= 0; i--) /* backwards: the first round is written last */
        w->first[r->items[i].image * w->n_raters + r->items[i].rater] = r->items[i].label;
    return CF_OK;
}

/* ---- pairs of labels --------------------------------------------------------------------------
 */

static int32_t label_of(const work *w, int who, int64_t image)
{
    if (who == CF_WHO_NETWORK) return w->network[image];
    if (who == CF_WHO_TRUTH) return w->truth[image];
    return w->first[image * w->n_raters + who];
}

static cf_err add_pair(work *w, int64_t *n, int64_t image, int32_t row, int32_t column)
{
    if (row < 0 || column < 0) return CF_OK;
    if (*n == w->room) {
        int64_t room = w->room > 0 ? 2 * w->room : 1024;
        CF_TRY(cf_resize(&w->pairs, (size_t)room, sizeof *w->pairs));
        w->room = room;
    }
    w->pairs[(*n)++] = (label_pair){image, row, column};
    return CF_OK;
}

/* Each later round beside the first. Items are sorted by image, rater, round. */
static cf_err add_repeats(work *w, int rater, int64_t *n)
{
    const cf_rating *first = NULL;
    for (int64_t i = 0; i < w->r->n; i++) {
        const cf_rating *item = &w->r->items[i];
        if (item->rater != rater) continue;
        if (first && first->image == item->image)
            CF_TRY(add_pair(w, n, item->image, first->label, item->label));
        else
            first = item;
    }
    return CF_OK;
}

/* A comparison with all its pairs; nothing where there are none. */
static cf_err add_comparison(cf_rater_study *out, work *w, int rows, int columns)
{
    int64_t begin = w->begins[out->n_pairs], n = begin;
    cf_rater_pair *c = &out->pairs[out->n_pairs];
    if (rows == columns)
        CF_TRY(add_repeats(w, rows, &n));
    else
        for (int64_t i = 0; i < w->n_images; i++)
            CF_TRY(add_pair(w, &n, i, label_of(w, rows, i), label_of(w, columns, i)));
    if (n == begin) return CF_OK;
    *c = (cf_rater_pair){.rows = rows, .columns = columns, .n = n - begin};
    w->begins[++out->n_pairs] = n;
    CF_TRY(cf_new(&c->counts, (size_t)w->k * (size_t)w->k, sizeof *c->counts));
    for (int64_t i = begin; i < n; i++)
        c->counts[(int64_t)w->pairs[i].row * w->k + w->pairs[i].column]++;
    return CF_OK;
}

static cf_err add_comparisons(cf_rater_study *out, work *w)
{
    int n = w->n_raters;
    size_t most = (size_t)(n * (n + 1) / 2 + 2 * n + 1);
    CF_TRY(cf_new(&out->pairs, most, sizeof *out->pairs));
    CF_TRY(cf_new(&w->begins, most + 1, sizeof *w->begins));
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) CF_TRY(add_comparison(out, w, i, j));
    for (int i = 0; i < n; i++) CF_TRY(add_comparison(out, w, i, i));
    for (int i = 0; i < n; i++) CF_TRY(add_comparison(out, w, i, CF_WHO_NETWORK));
    for (int i = 0; i < n; i++) CF_TRY(add_comparison(out, w, CF_WHO_TRUTH, i));
    return add_comparison(out, w, CF_WHO_TRUTH, CF_WHO_NETWORK);
}

/* ---- figures ----------------------------------------------------------------------------------
 */

/* weights: [n_images][CF_LANES]. Agreement and kappa of comparison `pair`, a lane each. */
static void measure_pair(const work *w, int pair, const uint8_t *weights, double *agreement,
                         double *kappa)
{
    size_t cells = (size_t)w->k * (size_t)w->k;
    memset(w->counts, 0, CF_LANES * cells * sizeof *w->counts);
    for (int64_t i = w->begins[pair]; i < w->begins[pair + 1]; i++) {
        const label_pair *p = &w->pairs[i];
        const uint8_t *weight = weights + p->image * CF_LANES;
        int64_t cell = (int64_t)p->row * w->k + p->column;
        for (size_t l = 0; l < CF_LANES; l++) w->counts[l * cells + (size_t)cell] += weight[l];
    }
    for (size_t l = 0; l < CF_LANES; l++) {
        const int64_t *counts = w->counts + l * cells;
        int64_t right = 0, all = 0;
        for (size_t c = 0; c < cells; c++) all += counts[c];
        for (int c = 0; c < w->k; c++) right += counts[(int64_t)c * w->k + c];
        agreement[l] = all > 0 ? (double)right / (double)all : (double)NAN;
        kappa[l] = cf_agreement_kappa(counts, w->k);
    }
}

/* Pairs of raters that agree on an image, and how many raters labelled it. */
static int64_t count_equal(const work *w, int64_t image, int *n)
{
    const int32_t *labels = w->first + image * w->n_raters;
    int64_t equal = 0;
    *n = 0;
    for (int i = 0; i < w->n_raters; i++) {
        if (labels[i] < 0) continue;
        (*n)++;
        for (int j = 0; j < i; j++) equal += labels[j] == labels[i];
    }
    return equal;
}

enum agreement_of_all { ALPHA, FLEISS };

/* What an image counts for: how many of its pairs of labels differ, each over n - 1 (alpha), or the
 * share of them that are equal (Fleiss). False where it is left out. */
static bool image_share(const work *w, enum agreement_of_all which, int64_t image, double *share)
{
    int n = 0;
    int64_t equal = count_equal(w, image, &n), pairs = (int64_t)n * (n - 1) / 2;
    if (n < 2 || (which == FLEISS && n < w->n_raters)) return false;
    *share =
        which == ALPHA ? 2.0 * (double)(pairs - equal) / (n - 1) : (double)equal / (double)pairs;
    return true;
}

/* From the sums of a resample. alpha = 1 - (n - 1) sum_u d_u / sum over c != k of n_c n_k; Fleiss'
 * kappa = (P - P_e) / (1 - P_e) with P_e from the shares of classes. */
static double close_figure(enum agreement_of_all which, double images, double shares,
                           const double *margins, int k)
{
    double n = 0, squares = 0;
    for (int c = 0; c < k; c++) {
        n += margins[c];
        squares += margins[c] * margins[c];
    }
    if (images <= 0 || n * n <= squares)
        return (double)NAN; /* one class only: nothing to agree on */
    if (which == ALPHA) return 1 - (n - 1) * shares / (n * n - squares);
    double chance = squares / (n * n);
    return (shares / images - chance) / (1 - chance);
}

/* The agreement of all raters, a lane each; *n: images that count. */
static void measure_all(const work *w, enum agreement_of_all which, const uint8_t *weights,
                        double *values, int64_t *n)
{
    double images[CF_LANES] = {0}, shares[CF_LANES] = {0}, share = 0;
    memset(w->margins, 0, CF_LANES * (size_t)w->k * sizeof *w->margins);
    *n = 0;
    for (int64_t i = 0; i < w->n_images; i++) {
        const uint8_t *weight = weights + i * CF_LANES;
        if (!image_share(w, which, i, &share)) continue;
        (*n)++;
        for (int l = 0; l < CF_LANES; l++) {
            images[l] += weight[l];
            shares[l] += weight[l] * share;
            for (int r = 0; r < w->n_raters; r++) {
                int32_t label = w->first[i * w->n_raters + r];
                if (label >= 0) w->margins[l * w->k + label] += weight[l];
            }
        }
    }
    for (int l = 0; l < CF_LANES; l++)
        values[l] = close_figure(which, images[l], shares[l], w->margins + l * w->k, w->k);
}

/* Figures come two by two: of a comparison agreement and kappa; last, alpha and Fleiss' kappa. */
static int count_twos(const cf_rater_study *out)
{
    return out->n_pairs + 1;
}

/* Twos from..to-1 of CF_LANES resamples: values[figure * stride + lane]. */
static void measure(const work *w, cf_rater_study *out, int from, int to, const uint8_t *weights,
                    double *values, int64_t stride)
{
    double *at = values;
    for (int i = from; i < to; i++, at += 2 * stride) {
        if (i < out->n_pairs) {
            measure_pair(w, i, weights, at, at + stride);
            continue;
        }
        measure_all(w, ALPHA, weights, at, &out->n_alpha);
        measure_all(w, FLEISS, weights, at + stride, &out->n_fleiss);
    }
}

static cf_rated_figure *figure_at(cf_rater_study *out, int i)
{
    if (i >= 2 * out->n_pairs) return i == 2 * out->n_pairs ? &out->alpha : &out->fleiss;
    cf_rater_pair *c = &out->pairs[i / 2];
    return i % 2 == 0 ? &c->agreement : &c->kappa;
}

/* One figure's resamples; n_units: what is drawn. A single patient is drawn again and again, which
 * says nothing. */
static void set_interval(cf_rated_figure *f, double *values, int n_resamples, int64_t n_units)
{
    cf_resample_interval(values, n_resamples, &f->low, &f->high);
    if (n_resamples == 0 || n_units < 2) f->low = f->high = (double)NAN;
}

/* 64 MiB of values, or those of two figures: 64 raters have 4,420, and all their resamples at once
 * would take gigabytes. */
enum { MAX_VALUES = 1 << 23 };

/* A turn over the same resamples for as many figures as their values have room for. The figures
 * themselves are those of a resample that draws each image once. */
static cf_err fill_figures(work *w, const cf_resampler *sampler, cf_rater_study *out)
{
    uint8_t *weights = NULL, *units = NULL;
    double *values = NULL;
    cf_err err = CF_OK;
    int64_t stride = (out->n_resamples + CF_LANES) / CF_LANES * CF_LANES;
    int n = count_twos(out), most = (int)(MAX_VALUES / (2 * stride));
    int step = most < 1 ? 1 : most < n ? most : n;
    size_t lanes = CF_LANES;
    CF_TRY_GOTO(cf_new(&weights, (size_t)w->n_images * lanes, sizeof *weights), out);
    CF_TRY_GOTO(cf_new(&units, (size_t)sampler->n_units * lanes, sizeof *units), out);
    CF_TRY_GOTO(cf_new(&values, 2 * (size_t)step * (size_t)stride, sizeof *values), out);
    for (int from = 0; from < n; from += step) {
        int to = from + step < n ? from + step : n;
        memset(weights, 1, (size_t)w->n_images * lanes);
        measure(w, out, from, to, weights, values, stride);
        for (int i = 2 * from; i < 2 * to; i++)
            figure_at(out, i)->value = values[(i - 2 * from) * stride];
        for (int first = 0; first < out->n_resamples; first += CF_LANES) {
            cf_resample(sampler, (uint32_t)first, units, weights);
            measure(w, out, from, to, weights, values + first, stride);
        }
        for (int i = 2 * from; i < 2 * to; i++)
            set_interval(figure_at(out, i), values + (i - 2 * from) * stride, out->n_resamples,
                         sampler->n_units);
    }
out:
    free(values);
    free(units);
    free(weights);
    return err;
}

cf_err cf_raters_compare(const cf_scheme *s, const cf_predictions *p, const cf_raters *r,
                         int n_resamples, uint64_t seed, cf_rater_study *out)
{
    work w = {0};
    cf_resampler sampler = {0};
    cf_err err = CF_OK;
    *out = (cf_rater_study){.scheme = s, .raters = r, .n_resamples = n_resamples};
    CF_TRY_GOTO(work_init(s, r, &w), out);
    out->n_images = w.n_images;
    CF_TRY_GOTO(find_predictions(p, &w, &out->n_unknown), out);
    CF_TRY_GOTO(add_comparisons(out, &w), out);
    CF_TRY_GOTO(cf_resampler_init(&sampler, p->patients ? w.patients : NULL, w.n_images, seed),
                out);
    if (cf_resampler_by_patient(&sampler)) out->n_patients = sampler.n_units;
    CF_TRY_GOTO(fill_figures(&w, &sampler, out), out);
out:
    cf_resampler_fini(&sampler);
    work_fini(&w);
    return err;
}

void cf_rater_study_fini(cf_rater_study *study)
{
    for (int i = 0; i < study->n_pairs; i++) free(study->pairs[i].counts);
    free(study->pairs);
    *study = (cf_rater_study){0};
}
