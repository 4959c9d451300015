#include "worker/unlike.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "worker/data/fetch.h"
#include "worker/models.h"
#include "worker/predict.h"
#include "worker/unlike_sample.h"

enum { MIN_HELD = 20, MAX_YAML_BYTES = 1 << 20 };
/* Added to each figure's variance, in the figure's own unit squared (a density, a correlation, a
 * logarithm): a thousandth of each, which is less than one level of 255 makes in a density. Where
 * all training images are of one colour, or grey, it is what they may differ by. */
#define RIDGE 1e-6

/* ---- linear algebra ---------------------------------------------------------------------------
 */

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* a: [n][n], of which the lower half is read and becomes its Cholesky factor. */
static void factorise(double *a, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double rest = a[i * n + j] - dot(a + i * n, a + j * n, j);
            a[i * n + j] = i == j ? sqrt(fmax(rest, 1e-30)) : rest / a[j * n + j];
        }
}

/* y = factor^-1 x; factor packed row by row. */
static void substitute(const float *factor, int64_t d, const double *x, double *y)
{
    for (int64_t i = 0; i < d; i++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < i; j++) sum += (double)factor[j] * y[j];
        y[i] = (x[i] - sum) / (double)factor[i];
        factor += i + 1;
    }
}

static void make_unit(const float *x, int64_t d, double *out)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++) sum += (double)x[i] * (double)x[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int64_t i = 0; i < d; i++) out[i] = (double)x[i] * scale;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* ---- distances --------------------------------------------------------------------------------
 */

double cf_unlike_look(const cf_unlike *u, const double figures[CF_LOOK_FIGURES])
{
    double y[CF_LOOK_FIGURES], sum = 0;
    for (int i = 0; i < CF_LOOK_FIGURES; i++) {
        const double *row = u->factor + (ptrdiff_t)i * CF_LOOK_FIGURES;
        y[i] = (figures[i] - u->mean[i] - dot(row, y, i)) / row[i];
        sum += y[i] * y[i];
    }
    return sqrt(sum);
}

static double nearest_centre(const cf_unlike *u, const cf_unlike_fold *f, const double *unit,
                             double *y)
{
    double best = (double)INFINITY;
    substitute(f->factor, u->d, unit, y);
    for (int k = 0; k < u->n_classes; k++) {
        const float *c = f->centres + k * u->d;
        double sum = 0;
        if (isnan(c[0])) continue;
        for (int64_t i = 0; i < u->d; i++) sum += (y[i] - (double)c[i]) * (y[i] - (double)c[i]);
        best = fmin(best, sum);
    }
    return sqrt(best);
}

static const cf_unlike_fold *find_fold(const cf_unlike *u, int fold)
{
    for (int f = 0; f < u->n_folds; f++)
        if (u->folds[f].fold == fold && !isnan(u->folds[f].scale)) return &u->folds[f];
    return NULL;
}

bool cf_unlike_knows(const cf_unlike *u, int fold)
{
    return find_fold(u, fold) != NULL;
}

double cf_unlike_features(const cf_unlike *u, int fold, const float *features, double *scratch)
{
    const cf_unlike_fold *f = find_fold(u, fold);
    if (f == NULL) return (double)NAN;
    make_unit(features, u->d, scratch);
    return nearest_centre(u, f, scratch, scratch) / f->scale;
}

double cf_unlike_threshold(const float *sorted, int64_t n, double rate)
{
    int64_t beyond = (int64_t)floor(rate * (double)n);
    return (double)sorted[beyond < n ? n - 1 - beyond : 0];
}

/* ---- making -----------------------------------------------------------------------------------
 */

typedef struct maker {
    const cf_saved *run;    /* borrowed */
    const cf_cells *cells;  /* borrowed */
    const uint8_t *fold_of; /* borrowed */
    cf_unlike *u;
    uint8_t *use;     /* owned, [n] enum cf_unlike_use: by the fold at work */
    uint8_t *own_use; /* owned, [n]: by the image's own fold */
    uint8_t *seen_by; /* owned, [n]: the fold at work, or CF_FOLD_TRAIN */
    double *rows;     /* owned, [most images of a fold][d]: of one fold, unit length */
    int64_t *images;  /* owned, [most images of a fold] */
    int64_t n_rows;
    double *covariance; /* owned, [d][d] */
    int64_t done, total;
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} maker;

/* Returns whether the fold takes any. */
static bool sample(maker *m, int fold, int64_t counts[CF_UNLIKE_USES])
{
    cf_unlike_sample(m->cells, m->fold_of, fold, m->use, counts);
    return counts[CF_UNLIKE_HELD] > 0;
}

/* What all folds take; returns the most images that one of them does. */
static int64_t count_all(maker *m)
{
    int64_t most = 0, counts[CF_UNLIKE_USES];
    for (int f = 0; f < m->run->n_folds; f++) {
        int fold = m->run->folds[f];
        if (!sample(m, fold, counts)) continue;
        int64_t taken =
            counts[CF_UNLIKE_FITTED] + counts[CF_UNLIKE_CENTRE] + counts[CF_UNLIKE_HELD];
        for (int64_t i = 0; i < m->cells->n; i++)
            if (m->fold_of[i] == fold) m->own_use[i] = m->use[i];
        m->u->n_held += counts[CF_UNLIKE_HELD];
        m->total += taken;
        if (taken > most) most = taken;
    }
    return most;
}

static cf_err keep_rows(void *context, const cf_predict_pass *pass)
{
    maker *m = context;
    for (int i = 0; i < pass->n; i++) {
        int64_t d = m->u->d;
        m->images[m->n_rows] = pass->images[i];
        make_unit(pass->features + i * d, d, m->rows + m->n_rows * d);
        m->n_rows++;
    }
    return CF_OK;
}

static bool on_progress(void *context, int64_t done, int64_t total)
{
    maker *m = context;
    (void)total;
    return m->progress == NULL || m->progress(m->context, m->done + done, m->total);
}

/* means: [n_classes][d], of rows that make centres. */
static void find_means(const maker *m, double *means, int64_t *counts)
{
    int64_t d = m->u->d;
    for (int64_t r = 0; r < m->n_rows; r++) {
        int64_t image = m->images[r];
        double *mean = means + m->cells->labels[image] * d;
        if (m->use[image] == CF_UNLIKE_HELD) continue;
        counts[m->cells->labels[image]]++;
        for (int64_t i = 0; i < d; i++) mean[i] += m->rows[r * d + i];
    }
    for (int k = 0; k < m->u->n_classes; k++)
        for (int64_t i = 0; i < d && counts[k] > 0; i++) means[k * d + i] /= (double)counts[k];
}

/* columns: [d][n], of fitted rows without their class's mean. Returns n. */
static int64_t turn_rows(const maker *m, const double *means, double *columns)
{
    int64_t d = m->u->d, n = 0, fitted = 0;
    for (int64_t r = 0; r < m->n_rows; r++) fitted += m->use[m->images[r]] == CF_UNLIKE_FITTED;
    for (int64_t r = 0; r < m->n_rows; r++) {
        const double *mean = means + m->cells->labels[m->images[r]] * d;
        if (m->use[m->images[r]] != CF_UNLIKE_FITTED) continue;
        for (int64_t i = 0; i < d; i++) columns[i * fitted + n] = m->rows[r * d + i] - mean[i];
        n++;
    }
    return fitted;
}

static void covary(const maker *m, const double *columns, int64_t n)
{
    int64_t d = m->u->d;
    double trace = 0;
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++)
            m->covariance[i * d + j] = dot(columns + i * n, columns + j * n, n) / (double)n;
        trace += m->covariance[i * d + i];
    }
    for (int64_t i = 0; i < d; i++) m->covariance[i * d + i] += trace / (double)d + 1e-12;
    factorise(m->covariance, d);
}

static cf_err store_fold(const maker *m, const double *means, const int64_t *counts,
                         cf_unlike_fold *f)
{
    int64_t d = m->u->d;
    double *y = NULL;
    float *to = NULL;
    CF_TRY(cf_new(&f->factor, (size_t)(d * (d + 1) / 2), sizeof *f->factor));
    CF_TRY(cf_new(&f->centres, (size_t)(m->u->n_classes * d), sizeof *f->centres));
    CF_TRY(cf_new(&y, (size_t)d, sizeof *y));
    to = f->factor;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j <= i; j++) *to++ = (float)m->covariance[i * d + j];
    for (int k = 0; k < m->u->n_classes; k++) {
        substitute(f->factor, d, means + k * d, y);
        for (int64_t i = 0; i < d; i++) f->centres[k * d + i] = counts[k] > 0 ? (float)y[i] : NAN;
    }
    free(y);
    return CF_OK;
}

/* Distances of held-out rows, in medians, behind those of the folds before. */
static cf_err measure_held(maker *m, cf_unlike_fold *f, int64_t *n_done)
{
    double *y = NULL;
    int64_t n = 0;
    float *held = m->u->features + *n_done;
    CF_TRY(cf_new(&y, (size_t)m->u->d, sizeof *y));
    for (int64_t r = 0; r < m->n_rows; r++)
        if (m->use[m->images[r]] == CF_UNLIKE_HELD)
            held[n++] = (float)nearest_centre(m->u, f, m->rows + r * m->u->d, y);
    free(y);
    qsort(held, (size_t)n, sizeof *held, ascending);
    f->scale = held[n / 2] > 0 ? (double)held[n / 2] : 1;
    for (int64_t i = 0; i < n; i++) held[i] = (float)((double)held[i] / f->scale);
    *n_done += n;
    return CF_OK;
}

static cf_err hash_weights(const cf_saved *run, int fold, uint64_t *hash)
{
    cf_graph *g = NULL;
    float *weights = NULL;
    cf_err err = CF_OK;
    CF_TRY(cf_model_build(&run->config, &run->scheme, 1, &g));
    size_t n = (size_t)(g->n_weights + g->n_state);
    CF_TRY_GOTO(cf_new(&weights, n, sizeof *weights), out);
    CF_TRY_GOTO(cf_saved_weights(run, g, fold, weights, weights + g->n_weights), out);
    *hash = cf_hash64(weights, n * sizeof *weights);
out:
    free(weights);
    cf_graph_destroy(g);
    return err;
}

/* The fold's network over its own sample. */
static cf_err see(maker *m, int fold)
{
    cf_predict_times times;
    double *p = NULL;
    cf_saved one = *m->run; /* shares what it owns with the run */
    one.folds[0] = fold;
    one.n_folds = 1;
    cf_predict_options o = {.n_turns = 1,
                            .fold_of = m->seen_by,
                            .pass = keep_rows,
                            .pass_context = m,
                            .features = true,
                            .progress = on_progress,
                            .context = m};
    CF_TRY(cf_new(&p, (size_t)m->cells->n * (size_t)one.scheme.n_classes, sizeof *p));
    for (int64_t i = 0; i < m->cells->n; i++)
        m->seen_by[i] = m->use[i] != CF_UNLIKE_NOT_TAKEN ? (uint8_t)fold : CF_FOLD_TRAIN;
    m->n_rows = 0;
    cf_err err = cf_predict(&one, m->cells, &o, p, &times);
    free(p);
    m->done += m->n_rows;
    return err;
}

static cf_err fit_fold(maker *m, int fold, int64_t *n_done)
{
    cf_unlike *u = m->u;
    cf_unlike_fold *f = &u->folds[u->n_folds++];
    double *means = NULL, *columns = NULL;
    int64_t *counts = NULL, uses[CF_UNLIKE_USES];
    cf_err err = CF_OK;
    f->fold = fold;
    f->scale = (double)NAN;
    CF_TRY(hash_weights(m->run, fold, &f->weights));
    if (!sample(m, fold, uses)) return CF_OK;
    CF_TRY_GOTO(see(m, fold), out);
    CF_TRY_GOTO(cf_new(&means, (size_t)(u->n_classes * u->d), sizeof *means), out);
    CF_TRY_GOTO(cf_new(&counts, (size_t)u->n_classes, sizeof *counts), out);
    CF_TRY_GOTO(cf_new(&columns, (size_t)(m->n_rows * u->d), sizeof *columns), out);
    find_means(m, means, counts);
    covary(m, columns, turn_rows(m, means, columns));
    CF_TRY_GOTO(store_fold(m, means, counts, f), out);
    CF_TRY_GOTO(measure_held(m, f, n_done), out);
out:
    free(columns);
    free(counts);
    free(means);
    return err;
}

/* ---- the look ---------------------------------------------------------------------------------
 */

static void fit_look(maker *m, const double *figures)
{
    enum { F = CF_LOOK_FIGURES };
    cf_unlike *u = m->u;
    double n = 0;
    for (int64_t i = 0; i < m->cells->n; i++) {
        if (m->own_use[i] != CF_UNLIKE_FITTED) continue;
        n++;
        for (int a = 0; a < F; a++) u->mean[a] += figures[i * F + a];
    }
    for (int a = 0; a < F; a++) u->mean[a] /= n;
    for (int64_t i = 0; i < m->cells->n; i++) {
        const double *x = figures + i * F;
        if (m->own_use[i] != CF_UNLIKE_FITTED) continue;
        for (int a = 0; a < F; a++)
            for (int b = 0; b <= a; b++)
                u->factor[a * F + b] += (x[a] - u->mean[a]) * (x[b] - u->mean[b]) / n;
    }
    for (int a = 0; a < F; a++) u->factor[a * F + a] += RIDGE;
    factorise(u->factor, F);
}

static cf_err make_look(maker *m)
{
    double *figures = NULL;
    cf_image room = {0};
    int64_t n = 0;
    cf_err err = CF_OK;
    CF_TRY(cf_new(&figures, (size_t)m->cells->n * CF_LOOK_FIGURES, sizeof *figures));
    for (int64_t i = 0; i < m->cells->n; i++) {
        const uint8_t *pixels;
        if (m->own_use[i] == CF_UNLIKE_NOT_TAKEN) continue;
        CF_TRY_GOTO(cf_cells_fetch(m->cells, i, &room, &pixels), out);
        cf_look(pixels, m->cells->height, m->cells->width, figures + i * CF_LOOK_FIGURES);
    }
    fit_look(m, figures);
    for (int64_t i = 0; i < m->cells->n; i++)
        if (m->own_use[i] == CF_UNLIKE_HELD)
            m->u->look[n++] = (float)cf_unlike_look(m->u, figures + i * CF_LOOK_FIGURES);
    qsort(m->u->look, (size_t)n, sizeof *m->u->look, ascending);
out:
    cf_image_fini(&room);
    free(figures);
    return err;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

/* The line of run.yaml that names images and folds; "" without one. */
static cf_err read_data_hash(const cf_saved *run, char hash[20])
{
    static const char mark[] = "# data and folds: ";
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    CF_TRY(cf_path_join(path, sizeof path, run->dir, "run.yaml"));
    CF_TRY(cf_file_read(path, MAX_YAML_BYTES, &text, &n));
    const char *line = strstr(text, mark);
    snprintf(hash, 20, "%.16s", line != NULL ? line + sizeof mark - 1 : "");
    free(text);
    return CF_OK;
}

static cf_err set_up(maker *m)
{
    cf_unlike *u = m->u;
    size_t n = (size_t)m->cells->n;
    CF_TRY(read_data_hash(m->run, u->data));
    CF_TRY(cf_predict_n_features(m->run, &u->d));
    if (u->d > CF_UNLIKE_MAX_FEATURES)
        return cf_fail(CF_E_USAGE,
                       "%s: the network has %lld features an image, expected at most %d",
                       m->run->dir, (long long)u->d, (int)CF_UNLIKE_MAX_FEATURES);
    u->n_classes = m->run->scheme.n_classes;
    CF_TRY(cf_new(&m->use, n, 1));
    CF_TRY(cf_new(&m->own_use, n, 1));
    CF_TRY(cf_new(&m->seen_by, n, 1));
    size_t most = (size_t)count_all(m);
    if (u->n_held < MIN_HELD)
        return cf_fail(CF_E_DATA, "%s: %lld held-out images to tell unlike ones by, expected %d",
                       m->run->dir, (long long)u->n_held, (int)MIN_HELD);
    CF_TRY(cf_new(&u->folds, (size_t)m->run->n_folds, sizeof *u->folds));
    CF_TRY(cf_new(&u->look, (size_t)u->n_held, sizeof *u->look));
    CF_TRY(cf_new(&u->features, (size_t)u->n_held, sizeof *u->features));
    CF_TRY(cf_new(&m->rows, most * (size_t)u->d, sizeof *m->rows));
    CF_TRY(cf_new(&m->images, most, sizeof *m->images));
    return cf_new(&m->covariance, (size_t)(u->d * u->d), sizeof *m->covariance);
}

cf_err cf_unlike_make(const cf_saved *run, const cf_cells *cells, const uint8_t *fold_of,
                      bool (*progress)(void *context, int64_t done, int64_t total), void *context,
                      cf_unlike *u)
{
    maker m = {.run = run,
               .cells = cells,
               .fold_of = fold_of,
               .u = u,
               .progress = progress,
               .context = context};
    int64_t n_done = 0;
    cf_err err = CF_OK;
    memset(u, 0, sizeof *u);
    CF_TRY_GOTO(set_up(&m), out);
    for (int f = 0; f < run->n_folds; f++) CF_TRY_GOTO(fit_fold(&m, run->folds[f], &n_done), out);
    qsort(u->features, (size_t)u->n_held, sizeof *u->features, ascending);
    err = make_look(&m);
out:
    free(m.covariance);
    free(m.images);
    free(m.rows);
    free(m.seen_by);
    free(m.own_use);
    free(m.use);
    return err;
}

void cf_unlike_fini(cf_unlike *u)
{
    for (int f = 0; f < u->n_folds; f++) {
        free(u->folds[f].factor);
        free(u->folds[f].centres);
    }
    free(u->folds);
    free(u->look);
    free(u->features);
    memset(u, 0, sizeof *u);
}

cf_err cf_unlike_fits(const cf_unlike *u, const cf_saved *run, bool *fits)
{
    char data[20];
    int64_t d = 0;
    *fits = false;
    CF_TRY(read_data_hash(run, data));
    CF_TRY(cf_predict_n_features(run, &d));
    if (strcmp(data, u->data) != 0 || d != u->d || run->scheme.n_classes != u->n_classes)
        return CF_OK;
    for (int k = 0; k < run->n_folds; k++) {
        uint64_t hash = 0;
        int f = 0;
        while (f < u->n_folds && u->folds[f].fold != run->folds[k]) f++;
        if (f == u->n_folds) return CF_OK;
        CF_TRY(hash_weights(run, run->folds[k], &hash));
        if (hash != u->folds[f].weights) return CF_OK;
    }
    *fits = true;
    return CF_OK;
}
