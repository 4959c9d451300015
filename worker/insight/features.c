#include "worker/insight/features.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/insight/axes.h"

enum { SAMPLE = 1024, NOT_SEEN = 255, FEWEST_SHARED = 8 };
static_assert((int)CF_MAX_FOLDS < (int)NOT_SEEN, "a fold's number is not the mark of none");

/* One pass over all folds. */
typedef struct taking {
    cf_saved run;          /* shallow: one fold of the caller's at a time */
    const cf_cells *cells; /* borrowed */
    const cf_features_options *options;
    cf_features *out;
    const uint8_t *fold_of; /* borrowed */
    uint8_t *seen_by;       /* owned, [cells->n] the fold at work, or NOT_SEEN */
    int64_t *row_of;        /* owned, [cells->n] row of out->x, or -1 */
    int64_t *place_of;      /* owned, [cells->n] place in the sample, or -1 */
    double *p;              /* owned, [cells->n][n_classes] */
    int at;                 /* which of the folds */
    int64_t done, total;
} taking;

static bool is_tested(const cf_features *f, int fold)
{
    for (int k = 0; k < f->n_folds; k++)
        if (f->fold[k] == fold) return true;
    return false;
}

static cf_err find_images(taking *t)
{
    cf_features *f = t->out;
    int64_t n = t->cells->n;
    for (int64_t i = 0; i < n; i++) f->n += is_tested(f, t->fold_of[i]);
    if (f->n == 0) return cf_fail(CF_E_DATA, "%s: its folds test no image", t->run.dir);
    CF_TRY(cf_new(&f->images, (size_t)f->n, sizeof *f->images));
    CF_TRY(cf_new(&f->folds, (size_t)f->n, sizeof *f->folds));
    CF_TRY(cf_new(&f->predicted, (size_t)f->n, sizeof *f->predicted));
    CF_TRY(cf_new(&f->x, (size_t)f->n * (size_t)f->d, sizeof *f->x));
    CF_TRY(cf_new(&t->row_of, (size_t)n, sizeof *t->row_of));
    int64_t row = 0;
    for (int64_t i = 0; i < n; i++) {
        t->row_of[i] = is_tested(f, t->fold_of[i]) ? row : -1;
        if (t->row_of[i] < 0) continue;
        f->images[row] = i;
        f->folds[row++] = t->fold_of[i];
    }
    return CF_OK;
}

/* Spread evenly over the cells file, which pack sorts by class. */
static cf_err choose_sample(taking *t)
{
    cf_features *f = t->out;
    int64_t n = t->cells->n;
    CF_TRY(cf_new(&t->place_of, (size_t)n, sizeof *t->place_of));
    for (int64_t i = 0; i < n; i++) t->place_of[i] = -1;
    if (f->n_folds < 2) return CF_OK;
    f->n_sample = n < SAMPLE ? n : SAMPLE;
    CF_TRY(cf_new(&f->sample, (size_t)f->n_sample, sizeof *f->sample));
    CF_TRY(cf_new(&f->seen, (size_t)(f->n_folds * f->n_sample) * (size_t)f->d, sizeof *f->seen));
    for (int64_t s = 0; s < f->n_sample; s++) {
        f->sample[s] = s * n / f->n_sample;
        t->place_of[f->sample[s]] = s;
    }
    return CF_OK;
}

static cf_err keep(void *context, const cf_predict_pass *pass)
{
    taking *t = context;
    cf_features *f = t->out;
    size_t bytes = (size_t)f->d * sizeof *f->x;
    for (int i = 0; i < pass->n; i++) {
        int64_t image = pass->images[i], place = t->place_of[image];
        const float *x = pass->features + i * f->d;
        const double *p = pass->p + (int64_t)i * t->run.scheme.n_classes;
        if (place >= 0) memcpy(f->seen + (t->at * f->n_sample + place) * f->d, x, bytes);
        if (t->fold_of[image] != pass->fold) continue;
        memcpy(f->x + t->row_of[image] * f->d, x, bytes);
        f->predicted[t->row_of[image]] = cf_scheme_highest(&t->run.scheme, p);
    }
    return CF_OK;
}

static bool pass_on(void *context, int64_t done, int64_t total)
{
    const taking *t = context;
    (void)total;
    return t->options->progress == NULL ||
           t->options->progress(t->options->context, t->done + done, t->total);
}

static bool is_seen(const taking *t, int fold, int64_t i)
{
    return t->fold_of[i] == fold || t->place_of[i] >= 0;
}

static cf_err take_fold(taking *t)
{
    int fold = t->out->fold[t->at];
    cf_predict_options o = {.n_turns = 1,
                            .fold_of = t->seen_by,
                            .features = true,
                            .pass = keep,
                            .pass_context = t,
                            .progress = pass_on,
                            .context = t};
    cf_predict_times times;
    for (int64_t i = 0; i < t->cells->n; i++)
        t->seen_by[i] = is_seen(t, fold, i) ? (uint8_t)fold : NOT_SEEN;
    t->run.n_folds = 1;
    t->run.folds[0] = fold;
    CF_TRY(cf_predict(&t->run, t->cells, &o, t->p, &times));
    memcpy(t->out->device, times.device, sizeof t->out->device);
    t->done += times.n_passes;
    return CF_OK;
}

static cf_err take_all(taking *t)
{
    cf_features *f = t->out;
    size_t n = (size_t)t->cells->n;
    CF_TRY(cf_predict_n_features(&t->run, &f->d));
    CF_TRY(find_images(t));
    CF_TRY(choose_sample(t));
    CF_TRY(cf_new(&t->seen_by, n, sizeof *t->seen_by));
    CF_TRY(cf_new(&t->p, n * (size_t)t->run.scheme.n_classes, sizeof *t->p));
    for (int k = 0; k < f->n_folds; k++)
        for (int64_t i = 0; i < t->cells->n; i++) t->total += is_seen(t, f->fold[k], i);
    for (t->at = 0; t->at < f->n_folds; t->at++) CF_TRY(take_fold(t));
    return CF_OK;
}

cf_err cf_features_take(const cf_saved *run, const cf_cells *cells, const uint8_t *fold_of,
                        const cf_features_options *options, cf_features *out)
{
    taking *t = NULL;
    memset(out, 0, sizeof *out);
    out->n_folds = run->n_folds;
    memcpy(out->fold, run->folds, sizeof out->fold);
    CF_TRY(cf_new(&t, 1, sizeof *t));
    *t = (taking){.run = *run, .cells = cells, .options = options, .out = out, .fold_of = fold_of};
    cf_err err = take_all(t);
    free(t->p);
    free(t->seen_by);
    free(t->place_of);
    free(t->row_of);
    free(t);
    return err;
}

void cf_features_fini(cf_features *f)
{
    free(f->images);
    free(f->folds);
    free(f->predicted);
    free(f->x);
    free(f->sample);
    free(f->seen);
    memset(f, 0, sizeof *f);
}

/* ---- the common space -------------------------------------------------------------------------
 */

/* One fold on its way to the first's places. */
typedef struct joining {
    const cf_features *f;
    const uint8_t *fold_of;
    cf_axes first, axes;
    cf_turn turn;
    double *to, *from; /* owned, [n_sample][r] */
    double *places;    /* owned, [most][r] of the fold's images; most: of the fold that has most */
    float *rows;       /* owned, [most][d] of the fold's images, then [most][r] turned */
    int64_t n_shared;
    bool trained_by_both;
} joining;

static bool is_trained_by_both(const joining *j, int fold, int64_t s)
{
    int tested = j->fold_of[j->f->sample[s]];
    return tested != fold && tested != j->f->fold[0];
}

/* By images that both networks were trained on; where these are next to none, as with two folds,
 * the sample serves as it is. */
static void take_shared(joining *j, int fold, const double *to, const double *from)
{
    int r = j->first.r;
    int64_t n = 0;
    for (int64_t s = 0; s < j->f->n_sample; s++) n += is_trained_by_both(j, fold, s);
    j->trained_by_both = n > FEWEST_SHARED && n > r;
    j->n_shared = 0;
    for (int64_t s = 0; s < j->f->n_sample; s++) {
        if (j->trained_by_both && !is_trained_by_both(j, fold, s)) continue;
        memcpy(j->to + j->n_shared * r, to + s * r, (size_t)r * sizeof *to);
        memcpy(j->from + j->n_shared++ * r, from + s * r, (size_t)r * sizeof *from);
    }
}

static double kept_share(const cf_axes *a)
{
    double sum = 0;
    for (int p = 0; p < a->r; p++) sum += a->variance[p];
    return a->total > 0 && sum < a->total ? sum / a->total : 1;
}

static cf_err fit_fold(joining *j, int k)
{
    const cf_features *f = j->f;
    int r = j->first.r;
    double *to = NULL, *from = NULL;
    size_t n = (size_t)f->n_sample * (size_t)r;
    cf_err err = CF_OK;
    const float *seen = f->seen + k * f->n_sample * f->d;
    CF_TRY_GOTO(cf_new(&to, n, sizeof *to), out);
    CF_TRY_GOTO(cf_new(&from, n, sizeof *from), out);
    CF_TRY_GOTO(cf_axes_find(seen, f->n_sample, f->d, r, &j->axes), out);
    cf_axes_project(&j->first, f->seen, f->n_sample, to);
    cf_axes_project(&j->axes, seen, f->n_sample, from);
    take_shared(j, f->fold[k], to, from);
    CF_TRY_GOTO(cf_turn_fit(j->from, j->to, j->n_shared, r, &j->turn), out);
out:
    free(from);
    free(to);
    return err;
}

/* The fold's test images, turned, into their rows of x. */
static void place_fold(joining *j, int k, float *x)
{
    const cf_features *f = j->f;
    int64_t r = j->first.r, n = 0;
    for (int64_t i = 0; i < f->n; i++)
        if (f->folds[i] == f->fold[k])
            memcpy(j->rows + n++ * f->d, f->x + i * f->d, (size_t)f->d * sizeof *x);
    cf_axes_project(&j->axes, j->rows, n, j->places);
    cf_turn_apply(&j->turn, j->places, n, j->rows);
    n = 0;
    for (int64_t i = 0; i < f->n; i++)
        if (f->folds[i] == f->fold[k]) memcpy(x + i * r, j->rows + n++ * r, (size_t)r * sizeof *x);
}

static size_t largest_fold(const cf_features *f)
{
    size_t n[CF_MAX_FOLDS] = {0}, most = 0;
    for (int64_t i = 0; i < f->n; i++)
        if (++n[f->folds[i]] > most) most = n[f->folds[i]];
    return most;
}

static cf_err join_all(joining *j, int r, cf_common *out)
{
    const cf_features *f = j->f;
    size_t sample = (size_t)f->n_sample * (size_t)r, most = largest_fold(f);
    CF_TRY(cf_axes_find(f->seen, f->n_sample, f->d, r, &j->first));
    CF_TRY(cf_new(&j->to, sample, sizeof *j->to));
    CF_TRY(cf_new(&j->from, sample, sizeof *j->from));
    CF_TRY(cf_new(&j->places, most * (size_t)r, sizeof *j->places));
    CF_TRY(cf_new(&j->rows, most * (size_t)f->d, sizeof *j->rows));
    for (int k = 0; k < f->n_folds; k++) {
        cf_axes_fini(&j->axes);
        cf_turn_fini(&j->turn);
        CF_TRY(cf_where(fit_fold(j, k), "fold %d", f->fold[k]));
        out->turns[k] = (cf_features_turn){.fold = f->fold[k],
                                           .n_shared = j->n_shared,
                                           .trained_by_both = j->trained_by_both,
                                           .kept = kept_share(&j->axes),
                                           .agreement = j->turn.agreement};
        place_fold(j, k, out->x);
    }
    return CF_OK;
}

cf_err cf_features_join(const cf_features *f, const uint8_t *fold_of, int r, cf_common *out)
{
    memset(out, 0, sizeof *out);
    out->n = f->n;
    if (r > f->d) r = (int)f->d;
    if (f->n_folds > 1 && r > f->n_sample - 1) r = (int)(f->n_sample - 1);
    out->d = f->n_folds > 1 ? r : f->d;
    if (r < 1)
        return cf_fail(CF_E_DATA, "%lld images are too few to compare networks by",
                       (long long)f->n_sample);
    CF_TRY(cf_new(&out->x, (size_t)out->n * (size_t)out->d, sizeof *out->x));
    if (f->n_folds == 1) {
        memcpy(out->x, f->x, (size_t)f->n * (size_t)f->d * sizeof *out->x);
        return CF_OK;
    }
    joining j = {.f = f, .fold_of = fold_of};
    cf_err err = join_all(&j, r, out);
    cf_axes_fini(&j.first);
    cf_axes_fini(&j.axes);
    cf_turn_fini(&j.turn);
    free(j.to);
    free(j.from);
    free(j.places);
    free(j.rows);
    return err;
}

cf_err cf_common_centre(cf_common *c)
{
    double *mean = NULL;
    CF_TRY(cf_new(&mean, (size_t)c->d, sizeof *mean));
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t k = 0; k < c->d; k++) mean[k] += (double)c->x[i * c->d + k];
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t k = 0; k < c->d; k++)
            c->x[i * c->d + k] = (float)((double)c->x[i * c->d + k] - mean[k] / (double)c->n);
    free(mean);
    return CF_OK;
}

void cf_common_fini(cf_common *c)
{
    free(c->x);
    memset(c, 0, sizeof *c);
}
