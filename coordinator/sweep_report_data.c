#include "coordinator/sweep_report_data.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

enum { DIGITS = 9 };

#define FIGURE(key, title)                                                                         \
    {                                                                                              \
#key, title, offsetof(cf_fold_metrics, key), offsetof(cf_comparison, key),                 \
            offsetof(cf_comparison, fold_##key)                                                    \
    }
const cf_sweep_figure cf_sweep_figures[CF_SWEEP_FIGURES] = {
    FIGURE(accuracy, "accuracy"),
    FIGURE(balanced_accuracy, "balanced accuracy"),
    FIGURE(macro_f1, "macro F1"),
    FIGURE(nll, "NLL"),
};

static const void *member(const void *object, size_t offset)
{
    return (const char *)object + offset;
}

double cf_sweep_figure_of(const cf_fold_metrics *m, int f)
{
    return *(const double *)member(m, cf_sweep_figures[f].offset);
}

const cf_difference *cf_sweep_difference_of(const cf_comparison *c, int f)
{
    return member(c, cf_sweep_figures[f].difference);
}

const cf_fold_test *cf_sweep_fold_test_of(const cf_comparison *c, int f)
{
    return member(c, cf_sweep_figures[f].test);
}

/* ---- CSV --------------------------------------------------------------------------------------
 */

static void put_header(const cf_sweep *sweep, cf_buf *out)
{
    static const char *const kinds[] = {
        "pooled", "low", "high", "mean", "sd", "difference", "difference_low", "difference_high"};
    cf_csv_put(out, "point", CF_CSV_MORE);
    for (int i = 0; i < sweep->n_axes; i++) cf_csv_put(out, sweep->axes[i].path, CF_CSV_MORE);
    cf_csv_put(out, "rank", CF_CSV_MORE);
    for (int f = 0; f < CF_SWEEP_FIGURES; f++)
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            char text[80];
            snprintf(text, sizeof text, "%s_%s", cf_sweep_figures[f].key, kinds[k]);
            cf_csv_put(out, text, CF_CSV_MORE);
        }
    cf_csv_put(out, "p_images", CF_CSV_MORE);
    cf_csv_put(out, "p_folds", CF_CSV_MORE);
    cf_csv_put(out, "p_holm", CF_CSV_MORE);
    cf_csv_put(out, "within_noise", CF_CSV_END_ROW);
}

static void put_number(cf_buf *out, double value)
{
    cf_csv_put_number(out, value, DIGITS, CF_CSV_MORE);
}

static void put_figure(const cf_sweep_result *row, const cf_sweep_standing *s, int f, cf_buf *out)
{
    double mean = 0, sd = 0;
    const cf_difference *d = cf_sweep_difference_of(&s->comparison, f);
    cf_metrics_mean_sd(&row->metrics, cf_sweep_figures[f].offset, &mean, &sd);
    put_number(out, cf_sweep_figure_of(&row->metrics.pooled, f));
    put_number(out, cf_sweep_figure_of(&row->metrics.low, f));
    put_number(out, cf_sweep_figure_of(&row->metrics.high, f));
    put_number(out, mean);
    put_number(out, sd);
    put_number(out, s->rank > 1 ? d->difference : (double)NAN);
    put_number(out, s->rank > 1 ? d->low : (double)NAN);
    put_number(out, s->rank > 1 ? d->high : (double)NAN);
}

cf_err cf_sweep_report_csv(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    put_header(&r->sweep, out);
    for (int point = 0; point < r->sweep.n_points; point++) {
        const cf_sweep_standing *s = &ranking->standings[point];
        char name[32];
        if (s->rank == 0) continue;
        cf_sweep_name(point, name);
        cf_csv_put(out, name, CF_CSV_MORE);
        for (int i = 0; i < r->sweep.n_axes; i++)
            cf_csv_put(out, cf_sweep_value(&r->sweep, point, i), CF_CSV_MORE);
        cf_csv_put_integer(out, s->rank, CF_CSV_MORE);
        for (int f = 0; f < CF_SWEEP_FIGURES; f++) put_figure(&r->rows[point], s, f, out);
        put_number(out, s->rank > 1 ? s->comparison.macro_f1.p : (double)NAN);
        put_number(out, s->rank > 1 ? s->comparison.fold_macro_f1.p : (double)NAN);
        put_number(out, s->p_holm);
        cf_csv_put(out, s->within_noise ? "yes" : "no", CF_CSV_END_ROW);
    }
    return cf_buf_check(out);
}

/* ---- JSON -------------------------------------------------------------------------------------
 */

static void put_versus_best(const cf_sweep_standing *s, cf_json *j)
{
    const cf_comparison *c = &s->comparison;
    cf_json_object(j, "versus_best");
    cf_json_number(j, "p_images", c->macro_f1.p);
    cf_json_number(j, "p_folds", c->fold_macro_f1.p);
    cf_json_number(j, "p_holm", s->p_holm);
    cf_json_boolean(j, "within_noise", s->within_noise);
    cf_json_number(j, "mcnemar_p", c->mcnemar.p);
    for (int f = 0; f < CF_SWEEP_FIGURES; f++) {
        const cf_difference *d = cf_sweep_difference_of(c, f);
        const cf_fold_test *t = cf_sweep_fold_test_of(c, f);
        cf_json_object(j, cf_sweep_figures[f].key);
        cf_json_number(j, "difference", d->difference);
        cf_json_number(j, "low", d->low);
        cf_json_number(j, "high", d->high);
        cf_json_number(j, "fold_mean", t->mean);
        cf_json_number(j, "fold_low", t->low);
        cf_json_number(j, "fold_high", t->high);
        cf_json_end_object(j);
    }
    cf_json_end_object(j);
}

static void put_figures(const cf_metrics *m, cf_json *j)
{
    for (int f = 0; f < CF_SWEEP_FIGURES; f++) {
        double mean = 0, sd = 0;
        cf_metrics_mean_sd(m, cf_sweep_figures[f].offset, &mean, &sd);
        cf_json_object(j, cf_sweep_figures[f].key);
        cf_json_number(j, "pooled", cf_sweep_figure_of(&m->pooled, f));
        cf_json_number(j, "low", cf_sweep_figure_of(&m->low, f));
        cf_json_number(j, "high", cf_sweep_figure_of(&m->high, f));
        cf_json_number(j, "mean", mean);
        cf_json_number(j, "sd", sd);
        cf_json_end_object(j);
    }
}

static void put_point(const cf_sweep_results *r, const cf_sweep_standing *s, int point, cf_json *j)
{
    char name[32];
    cf_sweep_name(point, name);
    cf_json_object(j, NULL);
    cf_json_string(j, "point", name);
    cf_json_object(j, "values");
    for (int i = 0; i < r->sweep.n_axes; i++)
        cf_json_string(j, r->sweep.axes[i].path, cf_sweep_value(&r->sweep, point, i));
    cf_json_end_object(j);
    cf_json_boolean(j, "finished", s->rank > 0);
    if (s->rank == 0) cf_json_string(j, "error", r->rows[point].error);
    if (s->rank > 0) {
        cf_json_integer(j, "rank", s->rank);
        put_figures(&r->rows[point].metrics, j);
    }
    if (s->rank > 1)
        put_versus_best(s, j);
    else
        cf_json_number(j, "versus_best", (double)NAN); /* null */
    cf_json_end_object(j);
}

cf_err cf_sweep_report_json(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    cf_json j;
    char best[32];
    int first = ranking->order[0];
    const cf_metrics *m = &r->rows[first].metrics;
    cf_sweep_name(first, best);
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_integer(&j, "n_points", r->sweep.n_points);
    cf_json_integer(&j, "n_finished", r->n_finished);
    cf_json_array(&j, "keys");
    for (int i = 0; i < r->sweep.n_axes; i++) cf_json_string(&j, NULL, r->sweep.axes[i].path);
    cf_json_end_array(&j);
    cf_json_integer(&j, "images", m->pooled.n);
    cf_json_integer(&j, "n_folds", m->n_folds);
    cf_json_string(&j, "best", best);
    cf_json_number(&j, "level", CF_SWEEP_LEVEL);
    cf_json_string(&j, "correction", "holm");
    cf_json_string(&j, "unit", m->resampling.by_patient ? "patient" : "image");
    cf_json_boolean(&j, "cells_missing", cf_resampling_lacks_cells(&m->resampling));
    cf_json_integer(&j, "resamples", cf_sweep_resamples(r->n_finished));
    cf_json_integer(&j, "interval_resamples", m->resampling.n_resamples);
    cf_json_array(&j, "points");
    for (int point = 0; point < r->sweep.n_points; point++)
        put_point(r, &ranking->standings[point], point, &j);
    cf_json_end_array(&j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
    return cf_buf_check(out);
}
