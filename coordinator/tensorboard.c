#include "coordinator/tensorboard.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/metrics.h"
#include "coordinator/plot.h"
#include "coordinator/tensorboard_errors.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/csv.h"
#include "proto/events.h"

#define MAX_BYTES ((size_t)1 << 30) /* of an event file */

/* How far the file of a fold is. */
typedef struct fold_file {
    cf_log_clock clock;    /* of the jobs so far */
    int64_t epoch, tested; /* the last that stand in it */
    int64_t step;          /* of that epoch */
    double seconds;        /* of the last record */
    uint64_t n_bytes;
} fold_file;

struct cf_tensorboard {
    const char *run_dir; /* borrowed */
    bool failed;         /* a warning was given; nothing is written any more */
    fold_file folds[CF_MAX_FOLDS];
};

/* ---- files ------------------------------------------------------------------------------------
 */

static cf_err fold_path(const char *run_dir, int fold, const char *file, char path[CF_PATH_MAX])
{
    char name[128];
    snprintf(name, sizeof name, "fold-%d/%s", fold, file);
    return cf_path_join(path, CF_PATH_MAX, run_dir, name);
}

static cf_err make_fold_dir(const char *run_dir, int fold)
{
    char path[CF_PATH_MAX], name[32];
    snprintf(name, sizeof name, "fold-%d", fold);
    CF_TRY(cf_path_join(path, sizeof path, run_dir, name));
    return cf_dir_make(path);
}

/* What becomes of a file that goes on behind what is wanted. */
enum longer { LONGER_IS_CUT, LONGER_STAYS };

/* What is there and agrees stays, so that a TensorBoard that has the file open goes on reading it;
 * what is missing at its end is appended, and anything else replaced. */
static cf_err bring_in_line(const char *path, const cf_buf *want, enum longer longer)
{
    char *have = NULL;
    size_t n = 0;
    bool grew = false;
    if (cf_path_exists(path)) CF_TRY(cf_file_read(path, MAX_BYTES, &have, &n));
    size_t both = n < want->len ? n : want->len;
    bool agrees = both == 0 || memcmp(have, want->data, both) == 0;
    free(have);
    if (agrees && (n == want->len || (n > want->len && longer == LONGER_STAYS))) return CF_OK;
    agrees = agrees && n < want->len;
    if (agrees && n > 0) CF_TRY(cf_file_extend(path, n, want->data + n, want->len - n, &grew));
    return grew ? CF_OK : cf_file_save(path, want->data, want->len);
}

/* ---- records ----------------------------------------------------------------------------------
 */

static cf_err put_entry(const cf_log_entry *e, int64_t step, double seconds, cf_buf *out)
{
    const cf_event_place place = {.wall_time = seconds, .step = step};
    const cf_event_scalar epoch[] = {{"train/loss", e->loss},
                                     {"train/accuracy", e->accuracy},
                                     {"train/learning_rate", e->learning_rate},
                                     {"train/images_per_second", e->images_per_second}};
    const cf_event_scalar test[] = {{"test/accuracy", e->accuracy}};
    if (e->kind == CF_LOG_EPOCH)
        return cf_events_scalars(&place, epoch, sizeof epoch / sizeof epoch[0], out);
    return cf_events_scalars(&place, test, 1, out);
}

/* Appends the entry's record to `out`, unless the file is beyond it. A test of an epoch that is not
 * told has no step. */
static cf_err take(fold_file *f, const cf_log_entry *e, double seconds, cf_buf *out)
{
    bool is_test = e->kind == CF_LOG_TEST;
    bool late = is_test ? e->epoch <= f->tested || e->epoch != f->epoch
                        : e->epoch <= f->epoch || e->step <= f->step;
    if (late) return CF_OK;
    if (seconds > f->seconds) f->seconds = seconds;
    if (f->n_bytes == 0 && out->len == 0) CF_TRY(cf_events_begin(out));
    if (is_test) {
        f->tested = e->epoch;
    } else {
        f->epoch = e->epoch;
        f->step = e->step;
    }
    return put_entry(e, f->step, f->seconds, out);
}

/* All of a fold's entries. f is as new. */
static cf_err take_log(const cf_run_log *log, int fold, fold_file *f, cf_buf *out)
{
    for (int64_t i = 0; i < log->n; i++)
        if (log->items[i].fold == fold) CF_TRY(take(f, &log->items[i], log->items[i].seconds, out));
    return CF_OK;
}

static cf_err put_figures(const cf_scheme *s, const cf_fold_metrics *m, const fold_file *f,
                          cf_buf *out)
{
    const cf_event_place place = {.wall_time = f->seconds, .step = f->step};
    const cf_event_scalar figures[] = {
        /* where the last epoch was not tested on the way */
        {"test/accuracy", f->tested < f->epoch || f->epoch == 0 ? m->accuracy : (double)NAN},
        {"figures/accuracy", m->accuracy},
        {"figures/accuracy_tolerant", m->accuracy_tolerant},
        {"figures/balanced_accuracy", m->balanced_accuracy},
        {"figures/macro_f1", m->macro_f1},
        {"figures/weighted_f1", m->weighted_f1},
        {"figures/nll", m->nll},
        {"figures/ece", m->ece},
    };
    CF_TRY(cf_events_scalars(&place, figures, sizeof figures / sizeof figures[0], out));
    for (int k = 0; k < s->n_classes; k++) {
        char tags[3][CF_CODE_MAX + 16];
        const cf_class_metrics *c = &m->classes[k];
        snprintf(tags[0], sizeof tags[0], "f1/%s", s->classes[k].code);
        snprintf(tags[1], sizeof tags[1], "precision/%s", s->classes[k].code);
        snprintf(tags[2], sizeof tags[2], "recall/%s", s->classes[k].code);
        const cf_event_scalar per_class[] = {
            {tags[0], c->f1_strict}, {tags[1], c->precision_strict}, {tags[2], c->recall_strict}};
        CF_TRY(cf_events_scalars(&place, per_class, 3, out));
    }
    return CF_OK;
}

/* Width and height of a PNG file (its IHDR chunk, big endian). */
static void size_of_png(const char *png, int *width, int *height)
{
    const uint8_t *b = (const uint8_t *)png + 16;
    *width = b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
    *height = b[4] << 24 | b[5] << 16 | b[6] << 8 | b[7];
}

static cf_err put_confusion(const cf_scheme *s, const cf_fold_metrics *m, const fold_file *f,
                            cf_buf *out)
{
    const cf_event_place place = {.wall_time = f->seconds, .step = f->step};
    const char **names = NULL;
    cf_canvas *canvas = NULL;
    cf_buf png = {0};
    int width, height;
    cf_err err = cf_new(&names, (size_t)s->n_classes, sizeof *names);
    for (int k = 0; err == CF_OK && k < s->n_classes; k++) names[k] = s->classes[k].code;
    const cf_plot_matrix matrix = {.n_rows = s->n_classes,
                                   .n_columns = s->n_classes,
                                   .row_names = names,
                                   .column_names = names,
                                   .counts = m->confusion};
    if (err == CF_OK) err = cf_plot_confusion(&matrix, &canvas);
    if (err == CF_OK) err = cf_canvas_encode(canvas, CF_CANVAS_PNG, &png);
    if (err == CF_OK) {
        size_of_png(png.data, &width, &height);
        err = cf_events_image(&place, "figures/confusion", width, height, png.data, png.len, out);
    }
    cf_buf_fini(&png);
    cf_canvas_destroy(canvas);
    free(names);
    return err;
}

/* ---- a run that trains ------------------------------------------------------------------------
 */

/* Everything of a fold, from log.jsonl. */
static cf_err begin_fold(cf_tensorboard *t, const cf_run_log *log, int fold)
{
    char path[CF_PATH_MAX];
    fold_file f = {.clock = log->clocks[fold]};
    cf_buf want = {0};
    cf_err err = take_log(log, fold, &f, &want);
    if (err == CF_OK && want.len > 0) {
        err = make_fold_dir(t->run_dir, fold);
        if (err == CF_OK) err = fold_path(t->run_dir, fold, CF_TENSORBOARD_FILE, path);
        if (err == CF_OK) err = bring_in_line(path, &want, LONGER_IS_CUT);
    }
    f.n_bytes = want.len;
    if (err == CF_OK) t->folds[fold] = f;
    cf_buf_fini(&want);
    return err;
}

/* only_fold -1: all folds. */
static cf_err begin(cf_tensorboard *t, int only_fold)
{
    cf_run_log *log = NULL;
    CF_TRY(cf_new(&log, 1, sizeof *log));
    cf_err err = cf_run_log_read(t->run_dir, log);
    for (int fold = 0; err == CF_OK && fold < CF_MAX_FOLDS; fold++)
        if (only_fold < 0 || fold == only_fold) err = begin_fold(t, log, fold);
    cf_run_log_fini(log);
    free(log);
    return err;
}

static void warn(const char *run_dir)
{
    cf_log_warn("%s: the event files for TensorBoard are not complete: %s", run_dir, cf_err_text());
}

cf_tensorboard *cf_tensorboard_open(const char *run_dir, int only_fold)
{
    cf_tensorboard *t = NULL;
    cf_err err = cf_new(&t, 1, sizeof *t);
    if (err == CF_OK) {
        t->run_dir = run_dir;
        err = begin(t, only_fold);
    }
    if (err == CF_OK) return t;
    warn(run_dir);
    free(t);
    return NULL;
}

static cf_err append(cf_tensorboard *t, const cf_log_entry *e)
{
    char path[CF_PATH_MAX];
    cf_buf record = {0};
    bool grew = true;
    fold_file f = t->folds[e->fold];
    double seconds = cf_log_clock_take(&f.clock, e->seconds);
    cf_err err = take(&f, e, seconds, &record);
    if (err == CF_OK && record.len > 0) {
        if (f.n_bytes == 0) err = make_fold_dir(t->run_dir, e->fold);
        if (err == CF_OK) err = fold_path(t->run_dir, e->fold, CF_TENSORBOARD_FILE, path);
        if (err == CF_OK) err = cf_file_extend(path, f.n_bytes, record.data, record.len, &grew);
    }
    f.n_bytes += record.len;
    cf_buf_fini(&record);
    if (err == CF_OK && !grew) return begin(t, e->fold); /* somebody took the file away */
    if (err == CF_OK) t->folds[e->fold] = f;
    return err;
}

void cf_tensorboard_take(cf_tensorboard *t, const cf_log_entry *e)
{
    if (t == NULL || t->failed || e->fold < 0 || e->fold >= CF_MAX_FOLDS) return;
    t->failed = append(t, e) != CF_OK;
    if (t->failed) warn(t->run_dir);
}

void cf_tensorboard_close(cf_tensorboard *t)
{
    free(t);
}

/* ---- a run that is done -----------------------------------------------------------------------
 */

/* source: NULL for no pictures of images, which then stay as they are. */
static cf_err finish_fold(const char *run_dir, int fold, const cf_scheme *s, const cf_run_log *log,
                          const cf_report_source *source)
{
    char path[CF_PATH_MAX];
    fold_file f = {0};
    cf_predictions p = {0};
    cf_metrics m = {0};
    cf_buf want = {0};
    cf_err err = CF_OK;
    CF_TRY(fold_path(run_dir, fold, "predictions.csv", path));
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY_GOTO(cf_predictions_read(path, s, &p), out);
    CF_TRY_GOTO(cf_metrics_compute(s, &p, &m), out);
    CF_TRY_GOTO(take_log(log, fold, &f, &want), out);
    if (want.len == 0) CF_TRY_GOTO(cf_events_begin(&want), out);
    CF_TRY_GOTO(put_figures(s, &m.pooled, &f, &want), out);
    CF_TRY_GOTO(put_confusion(s, &m.pooled, &f, &want), out);
    const cf_event_place place = {.wall_time = f.seconds, .step = f.step};
    if (source) CF_TRY_GOTO(cf_tensorboard_errors(s, &p, source, &place, &want), out);
    CF_TRY_GOTO(fold_path(run_dir, fold, CF_TENSORBOARD_FILE, path), out);
    CF_TRY_GOTO(bring_in_line(path, &want, source ? LONGER_IS_CUT : LONGER_STAYS), out);
out:
    cf_buf_fini(&want);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    return err;
}

static cf_err finish(const char *run_dir, int only_fold, const cf_scheme *s,
                     const cf_report_source *source)
{
    const char *absent = NULL;
    cf_run_log *log = NULL;
    if (source) CF_TRY(source->begin(source->context, run_dir, &absent));
    if (absent) source = NULL;
    CF_TRY(cf_new(&log, 1, sizeof *log));
    cf_err err = cf_run_log_read(run_dir, log);
    for (int fold = 0; err == CF_OK && fold < CF_MAX_FOLDS; fold++)
        if (only_fold < 0 || fold == only_fold) err = finish_fold(run_dir, fold, s, log, source);
    cf_run_log_fini(log);
    free(log);
    return err;
}

void cf_tensorboard_finish(const char *run_dir, int only_fold, const cf_scheme *s,
                           const cf_report_source *source)
{
    if (finish(run_dir, only_fold, s, source) != CF_OK) warn(run_dir);
}
