#include "launch/predict_unlike.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/progress.h"
#include "launch/run_cells.h"
#include "launch/signals.h"
#include "worker/data/fetch.h"
#include "worker/data/stain.h"

#define MANY 0.2 /* share of unlike images from which something is wrong with all of them */

static bool on_progress(void *progress, int64_t done, int64_t total)
{
    cf_progress_update(progress, done, total);
    return cf_signals_caught() == 0;
}

/* A file that is damaged, of another format or of other weights is made again. */
static bool read_kept(const cf_saved *run, const char *path, cf_unlike *u)
{
    bool fits = false;
    if (!cf_path_exists(path)) return false;
    if (cf_unlike_read(path, u) != CF_OK) {
        cf_log_warn("%s; it is made again", cf_err_text());
    } else if (cf_unlike_fits(u, run, &fits) != CF_OK) {
        cf_log_warn("%s", cf_err_text());
    } else if (!fits) {
        cf_log_info("%s is of other weights or images; it is made again", path);
    }
    if (!fits) cf_unlike_fini(u);
    return fits;
}

/* cells: NULL: where they were. */
static cf_err make(const cf_saved *all, const char *cells, const char *path, cf_predict_unlike *x)
{
    cf_run_cells own;
    cf_progress progress;
    cf_err err = cf_run_cells_open(all, cells, &own);
    if (err != CF_OK) {
        cf_run_cells_fini(&own);
        if (cells != NULL) return err;
        cf_log_warn("%s; so it cannot be told which images are unlike them", cf_err_text());
        return CF_OK;
    }
    cf_log_info("learning what the run's own images look like, once; kept as %s", path);
    cf_progress_begin(&progress, "looked at");
    err = cf_unlike_make(all, &own.cells, own.fold_of, on_progress, &progress, &x->reference);
    cf_progress_end(&progress);
    cf_run_cells_fini(&own);
    if (err == CF_OK && cf_unlike_write(&x->reference, path) != CF_OK)
        cf_log_warn("%s; unlike images are told all the same, but not from a kept file",
                    cf_err_text());
    if (err != CF_OK && cf_signals_caught() == 0 && (err == CF_E_DATA || err == CF_E_USAGE)) {
        cf_log_warn("%s; so unlike images are not told", cf_err_text());
        cf_unlike_fini(&x->reference);
        return CF_OK;
    }
    return err;
}

/* All folds and the run's own settings, whatever this prediction is asked for. */
static cf_err make_of_all(const cf_predict_unlike_wishes *w, const cf_saved *run, const char *path,
                          cf_predict_unlike *x)
{
    const cf_predict_run_wishes own = {.device = w->run->device, .threads = w->run->threads};
    cf_saved *all = NULL;
    CF_TRY(cf_new(&all, 1, sizeof *all));
    cf_err err = cf_predict_run_open(&own, run->dir, all);
    if (err == CF_OK) err = make(all, w->cells, path, x);
    cf_saved_fini(all);
    free(all);
    return err;
}

/* Networks that can tell. */
static int n_known(const cf_predict_unlike *x, const cf_saved *run)
{
    int n = 0;
    for (int f = 0; f < run->n_folds; f++) n += cf_unlike_knows(&x->reference, run->folds[f]);
    return n;
}

static void say_limits(const cf_predict_unlike *x, const cf_saved *run)
{
    const cf_unlike *u = &x->reference;
    if (x->rate / 2 * (double)u->n_held < 1)
        cf_log_warn("unlike: a rate of %g is finer than %lld held-out images can tell; the "
                    "farthest of them is the limit",
                    x->rate, (long long)u->n_held);
    for (int f = 0; f < run->n_folds; f++)
        if (!cf_unlike_knows(u, run->folds[f]))
            cf_log_info("fold %d tests too few images: unlike ones are told without its network%s",
                        run->folds[f], n_known(x, run) == 0 ? ", by their look alone" : "");
}

cf_err cf_predict_unlike_open(const cf_predict_unlike_wishes *w, const cf_saved *run, int64_t n,
                              cf_predict_unlike *x, bool *known)
{
    char path[CF_PATH_MAX];
    const double rate = w->rate;
    cf_unlike *u = &x->reference;
    memset(x, 0, sizeof *x);
    *known = false;
    CF_TRY(cf_path_join(path, sizeof path, run->dir, CF_UNLIKE_FILE));
    if (!read_kept(run, path, u)) {
        CF_TRY(make_of_all(w, run, path, x));
    } else if (w->cells != NULL) {
        if (!cf_path_exists(w->cells)) return cf_fail(CF_E_DATA, "%s: no such file", w->cells);
        cf_log_info("%s is kept: %s is not needed", path, w->cells);
    }
    if (u->n_held == 0) return CF_OK;
    x->rate = rate;
    x->n = n;
    say_limits(x, run);
    x->look_limit = cf_unlike_threshold(u->look, u->n_held, rate / 2);
    x->features_limit = cf_unlike_threshold(u->features, u->n_held, rate / 2);
    CF_TRY(cf_new(&x->look, (size_t)n, sizeof *x->look));
    CF_TRY(cf_new(&x->features, (size_t)n, sizeof *x->features));
    CF_TRY(cf_new(&x->flags, (size_t)n, 1));
    CF_TRY(cf_new(&x->scratch, (size_t)u->d, sizeof *x->scratch));
    *known = true;
    return CF_OK;
}

void cf_predict_unlike_fini(cf_predict_unlike *x)
{
    cf_unlike_fini(&x->reference);
    free(x->look);
    free(x->features);
    free(x->flags);
    free(x->scratch);
    memset(x, 0, sizeof *x);
}

cf_err cf_predict_unlike_pass(void *context, const cf_predict_pass *pass)
{
    cf_predict_unlike *x = context;
    if (pass->turn != 0 || !cf_unlike_knows(&x->reference, pass->fold)) return CF_OK;
    for (int i = 0; i < pass->n; i++)
        x->features[pass->images[i]] += cf_unlike_features(
            &x->reference, pass->fold, pass->features + i * x->reference.d, x->scratch);
    return CF_OK;
}

/* What the networks saw: pixels with the stains of `reference`. out: uint8 as in. */
static void change_stains(const cf_cells *cells, int64_t i, const cf_stain *reference,
                          const uint8_t *in, uint8_t *out)
{
    cf_stain_map map;
    int64_t n = (int64_t)cells->height * cells->width;
    cf_stain_normalize(&cells->stains[i], reference, &map);
    for (int64_t p = 0; p < n; p++, in += 3, out += 3) {
        float rgb[3] = {in[0], in[1], in[2]};
        cf_stain_apply(&map, rgb, rgb);
        for (int c = 0; c < 3; c++) out[c] = (uint8_t)(rgb[c] + 0.5f); /* is 0 to 255 */
    }
}

static void judge_pixels(cf_predict_unlike *x, int64_t i, const uint8_t *pixels,
                         const cf_cells *cells)
{
    double figures[CF_LOOK_FIGURES];
    cf_look(pixels, cells->height, cells->width, figures);
    /* as a float, which the limit is: the image that made the limit is at it, not beyond */
    x->look[i] = (double)(float)cf_unlike_look(&x->reference, figures) / x->look_limit;
    cf_look_swap(figures, figures);
    double swapped = cf_unlike_look(&x->reference, figures) / x->look_limit;
    x->n_swapped += x->look[i] > 1 && swapped < x->look[i] / 2;
}

static cf_err judge_look(cf_predict_unlike *x, const cf_cells *cells, const cf_stain *reference)
{
    cf_image room = {0};
    uint8_t *changed = NULL;
    cf_err err = CF_OK;
    if (reference != NULL)
        CF_TRY(cf_new(&changed, (size_t)cells->height * (size_t)cells->width, 3));
    for (int64_t i = 0; i < cells->n; i++) {
        const uint8_t *pixels;
        CF_TRY_GOTO(cf_cells_fetch(cells, i, &room, &pixels), out);
        if (reference != NULL) change_stains(cells, i, reference, pixels, changed);
        judge_pixels(x, i, reference != NULL ? changed : pixels, cells);
    }
out:
    free(changed);
    cf_image_fini(&room);
    return err;
}

static void warn(const cf_predict_unlike *x)
{
    if ((double)x->n_swapped > (double)x->n / 2)
        cf_log_warn("%lld of %lld images have the colours of the training images once red and blue "
                    "are exchanged: are their channels in the order BGR?",
                    (long long)x->n_swapped, (long long)x->n);
    else if ((double)x->n_flagged > MANY * (double)x->n)
        cf_log_warn("%lld of %lld images are unlike those that the run was trained on; of its own, "
                    "at most %g in 100 would be: what is predicted of them is a guess",
                    (long long)x->n_flagged, (long long)x->n, 100 * x->rate);
}

cf_err cf_predict_unlike_judge(cf_predict_unlike *x, const cf_saved *run, const cf_cells *cells,
                               const cf_stain *reference)
{
    const int networks = n_known(x, run); /* 0: distances become NaN, which is beyond nothing */
    CF_TRY(judge_look(x, cells, reference));
    for (int64_t i = 0; i < x->n; i++) {
        x->features[i] /= networks * x->features_limit;
        x->flags[i] = x->look[i] > 1 || x->features[i] > 1;
        x->n_flagged += x->flags[i];
    }
    warn(x);
    return CF_OK;
}
