#include "coordinator/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/curves.h"
#include "coordinator/plot.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

const char *const cf_figure_names[CF_N_FIGURES] = {
    [CF_FIGURE_CONFUSION] = "confusion",
    [CF_FIGURE_ROC] = "roc",
    [CF_FIGURE_PRECISION_RECALL] = "precision-recall",
    [CF_FIGURE_QUESTIONS_ROC] = "questions-roc",
    [CF_FIGURE_QUESTIONS_PRECISION_RECALL] = "questions-precision-recall",
    [CF_FIGURE_RELIABILITY] = "reliability",
    [CF_FIGURE_LOSS] = "learning-loss",
    [CF_FIGURE_ACCURACY] = "learning-accuracy",
    [CF_FIGURE_FREQUENCIES] = "frequencies",
};

enum { NAME_MAX_BYTES = 128, SQUARE_HEIGHT = 420 };

/* ---- confusion and frequencies ---- */

static cf_err class_codes(const cf_scheme *s, const char ***codes)
{
    CF_TRY(cf_new(codes, (size_t)s->n_classes, sizeof **codes));
    for (int k = 0; k < s->n_classes; k++) (*codes)[k] = s->classes[k].code;
    return CF_OK;
}

static cf_err make_confusion(const cf_scheme *s, const cf_metrics *m, cf_canvas **out)
{
    const char **codes;
    CF_TRY(class_codes(s, &codes));
    const cf_plot_matrix matrix = {.title = "Confusion matrix, all folds together",
                                   .n_rows = s->n_classes,
                                   .n_columns = s->n_classes,
                                   .row_names = codes,
                                   .column_names = codes,
                                   .counts = m->pooled.confusion};
    cf_err err = cf_plot_confusion(&matrix, out);
    free(codes);
    return err;
}

static cf_err make_frequencies(const cf_scheme *s, const cf_metrics *m, cf_canvas **out)
{
    size_t n = (size_t)s->n_classes;
    const char **names = NULL;
    double *values = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&names, n, sizeof *names), out);
    CF_TRY_GOTO(cf_new(&values, 2 * n, sizeof *values), out);
    for (size_t k = 0; k < n; k++) {
        names[k] = s->classes[k].name[0] ? s->classes[k].name : s->classes[k].code;
        values[k] = (double)m->pooled.classes[k].support;
        values[n + k] = (double)m->pooled.classes[k].predicted;
    }
    const cf_plot_bars bars = {.title = "Class frequencies",
                               .axis = "images",
                               .n = s->n_classes,
                               .names = names,
                               .values = values,
                               .others = values + n,
                               .value_name = "with this label",
                               .other_name = "predicted as this class"};
    CF_TRY_GOTO(cf_plot_bar_chart(&bars, out), out);
out:
    free(values);
    free(names);
    return err;
}

/* ---- curves of classes or questions ---- */

/* Curves on their way into a figure. */
typedef struct bundle {
    cf_plot_series *series;        /* owned, [n] */
    char (*names)[NAME_MAX_BYTES]; /* owned, [n] */
    double **points;               /* owned, [n]: x, then y */
    int n;
} bundle;

static cf_err bundle_init(bundle *b, int n)
{
    *b = (bundle){0};
    CF_TRY(cf_new(&b->series, (size_t)n, sizeof *b->series));
    CF_TRY(cf_new(&b->names, (size_t)n, sizeof *b->names));
    return cf_new(&b->points, (size_t)n, sizeof *b->points);
}

static void bundle_fini(bundle *b)
{
    for (int i = 0; i < b->n && b->points; i++) free(b->points[i]);
    free(b->points);
    free(b->names);
    free(b->series);
    *b = (bundle){0};
}

/* Takes the curve over, in any case; one without points is left out. */
static cf_err bundle_add(bundle *b, const char *name, double area, int number, cf_curve *curve)
{
    size_t n = (size_t)curve->n;
    cf_err err = CF_OK;
    if (n == 0) goto out;
    CF_TRY_GOTO(cf_new(&b->points[b->n], 2 * n, sizeof(double)), out);
    double *x = b->points[b->n], *y = x + n;
    for (size_t i = 0; i < n; i++) {
        x[i] = curve->points[i].x;
        y[i] = curve->points[i].y;
    }
    snprintf(b->names[b->n], NAME_MAX_BYTES, "%.100s %.3f", name, area);
    b->series[b->n] = (cf_plot_series){b->names[b->n], x, y, curve->n, number, false};
    b->n++;
out:
    cf_curve_fini(curve);
    return err;
}

static cf_err draw_curves(const bundle *b, cf_curve_kind kind, const char *of, cf_canvas **out)
{
    char title[96];
    bool roc = kind == CF_CURVE_ROC;
    snprintf(title, sizeof title, "%s of %s", roc ? "ROC" : "Precision and recall", of);
    cf_plot_figure f = {
        .title = title,
        .height = SQUARE_HEIGHT,
        .x = {roc ? "false positive rate" : "recall", 0, 1, false},
        .y = {roc ? "true positive rate (recall)" : "precision", 0, 1, false},
        .series = b->series,
        .n_series = b->n,
        .always_legend = true,
        .diagonal = roc,
    };
    return b->n > 0 ? cf_plot_lines(&f, out) : CF_OK;
}

static cf_err make_class_curves(const cf_scheme *s, const cf_predictions *p, cf_curve_kind kind,
                                const cf_metrics *m, cf_canvas **out)
{
    bundle b;
    cf_curve curve;
    cf_err err = CF_OK;
    CF_TRY_GOTO(bundle_init(&b, s->n_classes), out);
    for (int k = 0; k < s->n_classes; k++) {
        const cf_class_metrics *c = &m->pooled.classes[k];
        double area = kind == CF_CURVE_ROC ? c->auc : c->average_precision;
        CF_TRY_GOTO(cf_curve_of_class(kind, p, k, &curve), out);
        CF_TRY_GOTO(bundle_add(&b, s->classes[k].code, area, k, &curve), out);
    }
    CF_TRY_GOTO(draw_curves(&b, kind, "each class against the rest", out), out);
out:
    bundle_fini(&b);
    return err;
}

static cf_err make_question_curves(const cf_scheme *s, const cf_predictions *p, cf_curve_kind kind,
                                   const cf_metrics *m, cf_canvas **out)
{
    bundle b;
    cf_curve curve;
    cf_err err = CF_OK;
    CF_TRY_GOTO(bundle_init(&b, s->n_questions), out);
    for (int q = 0; q < s->n_questions; q++) {
        double area = kind == CF_CURVE_ROC ? m->pooled.question_auc[q]
                                           : m->pooled.question_average_precision[q];
        CF_TRY_GOTO(cf_curve_of_question(kind, p, &s->questions[q], &curve), out);
        CF_TRY_GOTO(bundle_add(&b, s->questions[q].name, area, q, &curve), out);
    }
    CF_TRY_GOTO(draw_curves(&b, kind, "the scheme's questions", out), out);
out:
    bundle_fini(&b);
    return err;
}

/* ---- calibration ---- */

typedef struct reliability {
    double x[2][CF_ECE_BINS], y[2][CF_ECE_BINS], share[CF_ECE_BINS];
} reliability;

static void place_bins(const cf_reliability_bin *bins, double *x, double *y)
{
    for (int i = 0; i < CF_ECE_BINS; i++) {
        double n = bins[i].n > 0 ? (double)bins[i].n : (double)NAN;
        x[i] = bins[i].confidence / n;
        y[i] = (double)bins[i].n_right / n;
    }
}

static cf_err make_reliability(const cf_metrics *m, cf_canvas **out)
{
    reliability r;
    char names[2][NAME_MAX_BYTES];
    bool both = m->n_folds > 1 && isfinite(m->pooled.ece_calibrated);
    place_bins(m->pooled.bins, r.x[0], r.y[0]);
    for (int i = 0; i < CF_ECE_BINS; i++)
        r.share[i] = (double)m->pooled.bins[i].n / (double)m->pooled.n;
    if (both) {
        place_bins(m->pooled.calibrated_bins, r.x[1], r.y[1]);
        snprintf(names[1], NAME_MAX_BYTES, "scaled, ECE %.3f", m->pooled.ece_calibrated);
    }
    snprintf(names[0], NAME_MAX_BYTES, "as trained, ECE %.3f", m->pooled.ece);
    const cf_plot_series series[2] = {{names[0], r.x[0], r.y[0], CF_ECE_BINS, 0, true},
                                      {names[1], r.x[1], r.y[1], CF_ECE_BINS, 5, true}};
    const cf_plot_figure f = {.title = "Reliability of the predicted class's probability",
                              .height = SQUARE_HEIGHT,
                              .x = {"probability", 0, 1, false},
                              .y = {"share that is right", 0, 1, false},
                              .series = series,
                              .n_series = both ? 2 : 1,
                              .always_legend = true,
                              .diagonal = true,
                              .bars = r.share,
                              .n_bars = CF_ECE_BINS};
    return cf_plot_lines(&f, out);
}

/* ---- learning ---- */

static double largest(const double *values, int64_t n, double most)
{
    for (int64_t i = 0; i < n; i++)
        if (values[i] > most) most = values[i];
    return most;
}

static cf_err make_learning(const cf_learning *l, bool loss, cf_canvas **out)
{
    cf_plot_series *series;
    char(*names)[NAME_MAX_BYTES] = NULL;
    double last = 1, top = 0;
    int n = 0;
    cf_err err = CF_OK;
    if (l->n == 0) return CF_OK;
    CF_TRY(cf_new(&series, 2 * (size_t)l->n, sizeof *series));
    CF_TRY_GOTO(cf_new(&names, 2 * (size_t)l->n, sizeof *names), out);
    for (int i = 0; i < l->n; i++) {
        const cf_learning_fold *f = &l->folds[i];
        const double *y = loss ? f->loss : f->accuracy;
        last = largest(f->epoch, f->n, last);
        top = largest(y, f->n, top);
        snprintf(names[n], NAME_MAX_BYTES, "fold %d", f->fold);
        series[n] = (cf_plot_series){names[n], f->epoch, y, f->n, f->fold, f->n == 1};
        n++;
        if (loss || f->n_tests == 0) continue;
        snprintf(names[n], NAME_MAX_BYTES, "fold %d, tested", f->fold);
        series[n] =
            (cf_plot_series){names[n], f->test_epoch, f->test_accuracy, f->n_tests, f->fold, true};
        n++;
    }
    const cf_plot_figure figure = {
        .title = loss ? "Training loss" : "Accuracy on training images",
        .height = 360,
        .x = {"epoch", last > 1 ? 1 : 0, last, false},
        .y = {loss ? "loss" : "accuracy", 0, loss ? (top > 0 ? top * 1.05 : 1) : 1, false},
        .series = series,
        .n_series = n};
    CF_TRY_GOTO(cf_plot_lines(&figure, out), out);
out:
    free(names);
    free(series);
    return err;
}

/* ---- all of them ---- */

cf_err cf_figures_make(const cf_scheme *s, const cf_predictions *p, const cf_metrics *m,
                       const cf_learning *learning, cf_figures *figures)
{
    cf_canvas **c = figures->canvas;
    *figures = (cf_figures){0};
    CF_TRY(make_confusion(s, m, &c[CF_FIGURE_CONFUSION]));
    CF_TRY(make_class_curves(s, p, CF_CURVE_ROC, m, &c[CF_FIGURE_ROC]));
    CF_TRY(make_class_curves(s, p, CF_CURVE_PRECISION_RECALL, m, &c[CF_FIGURE_PRECISION_RECALL]));
    CF_TRY(make_question_curves(s, p, CF_CURVE_ROC, m, &c[CF_FIGURE_QUESTIONS_ROC]));
    CF_TRY(make_question_curves(s, p, CF_CURVE_PRECISION_RECALL, m,
                                &c[CF_FIGURE_QUESTIONS_PRECISION_RECALL]));
    CF_TRY(make_reliability(m, &c[CF_FIGURE_RELIABILITY]));
    CF_TRY(make_learning(learning, true, &c[CF_FIGURE_LOSS]));
    CF_TRY(make_learning(learning, false, &c[CF_FIGURE_ACCURACY]));
    return make_frequencies(s, m, &c[CF_FIGURE_FREQUENCIES]);
}

cf_err cf_figures_save(const cf_figures *figures, const char *run_dir)
{
    char dir[CF_PATH_MAX];
    CF_TRY(cf_path_join(dir, sizeof dir, run_dir, "plots"));
    CF_TRY(cf_dir_make(dir));
    for (int i = 0; i < CF_N_FIGURES; i++)
        if (figures->canvas[i]) CF_TRY(cf_plot_save(figures->canvas[i], dir, cf_figure_names[i]));
    return CF_OK;
}

void cf_figures_fini(cf_figures *figures)
{
    for (int i = 0; i < CF_N_FIGURES; i++) cf_canvas_destroy(figures->canvas[i]);
    *figures = (cf_figures){0};
}
