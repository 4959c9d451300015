#include "coordinator/sweep_report.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/markdown.h"
#include "coordinator/sweep_results.h"
#include "kernels/base/mem.h"

typedef struct figure {
    const char *key, *title;
    size_t offset; /* of a double in cf_fold_metrics */
} figure;

static const figure figures[] = {
    {"accuracy", "accuracy", offsetof(cf_fold_metrics, accuracy)},
    {"balanced_accuracy", "balanced acc.", offsetof(cf_fold_metrics, balanced_accuracy)},
    {"macro_f1", "macro F1", offsetof(cf_fold_metrics, macro_f1)},
    {"nll", "NLL", offsetof(cf_fold_metrics, nll)},
};
enum { N_FIGURES = sizeof figures / sizeof figures[0], DIGITS = 9 };

static double pooled(const cf_sweep_result *row, const figure *f)
{
    return *(const double *)(const void *)((const char *)&row->metrics.pooled + f->offset);
}

/* ---- Markdown ---------------------------------------------------------------------------------
 */

static void put_row(cf_markdown *t, const cf_sweep *sweep, const cf_sweep_result *row)
{
    char name[32];
    cf_sweep_name(row->point, name);
    cf_markdown_put(t, name);
    for (int axis = 0; axis < sweep->n_axes; axis++)
        cf_markdown_put(t, cf_sweep_value(sweep, row->point, axis));
    for (int i = 0; i < N_FIGURES; i++) {
        double mean = 0, sd = 0;
        cf_metrics_mean_sd(&row->metrics, figures[i].offset, &mean, &sd);
        cf_markdown_putf(t, "%.3f ± %.3f", mean, sd);
    }
}

static void put_unfinished(const cf_sweep_results *r, cf_buf *out)
{
    int missing = r->sweep.n_points - r->n_finished;
    const char *comma = "";
    if (missing == 0) return;
    cf_buf_printf(out, "**Not finished: ");
    for (int point = 0; point < r->sweep.n_points; point++) {
        char name[32];
        if (r->rows[point].finished) continue;
        cf_sweep_name(point, name);
        cf_buf_printf(out, "%s%s", comma, name);
        comma = ", ";
    }
    cf_buf_printf(out, " of %d.**\n\n", r->sweep.n_points);
}

static cf_err put_markdown(const cf_sweep_results *r, cf_buf *out)
{
    cf_markdown t;
    char columns[CF_SWEEP_MAX_AXES + N_FIGURES + 2] = "l";
    int n = 1;
    for (int i = 0; i < r->sweep.n_axes; i++) columns[n++] = 'l';
    for (int i = 0; i < N_FIGURES; i++) columns[n++] = 'r';
    put_unfinished(r, out);
    cf_markdown_begin(&t, columns);
    cf_markdown_put(&t, "point");
    for (int i = 0; i < r->sweep.n_axes; i++) cf_markdown_put(&t, r->sweep.axes[i].path);
    for (int i = 0; i < N_FIGURES; i++) cf_markdown_put(&t, figures[i].title);
    for (int point = 0; point < r->sweep.n_points; point++)
        if (r->rows[point].finished) put_row(&t, &r->sweep, &r->rows[point]);
    CF_TRY(cf_markdown_print(&t, out));
    cf_buf_printf(out, "\nMean ± SD over folds.\n");
    return cf_buf_check(out);
}

/* ---- CSV and JSON -----------------------------------------------------------------------------
 */

static cf_err put_csv(const cf_sweep_results *r, cf_buf *out)
{
    char text[64];
    cf_csv_put(out, "point", CF_CSV_MORE);
    for (int i = 0; i < r->sweep.n_axes; i++) cf_csv_put(out, r->sweep.axes[i].path, CF_CSV_MORE);
    for (int i = 0; i < N_FIGURES; i++) {
        static const char *const kinds[] = {"pooled", "mean", "sd"};
        for (int k = 0; k < 3; k++) {
            snprintf(text, sizeof text, "%s_%s", figures[i].key, kinds[k]);
            bool last = i == N_FIGURES - 1 && k == 2;
            cf_csv_put(out, text, last ? CF_CSV_END_ROW : CF_CSV_MORE);
        }
    }
    for (int point = 0; point < r->sweep.n_points; point++) {
        const cf_sweep_result *row = &r->rows[point];
        if (!row->finished) continue;
        cf_sweep_name(point, text);
        cf_csv_put(out, text, CF_CSV_MORE);
        for (int i = 0; i < r->sweep.n_axes; i++)
            cf_csv_put(out, cf_sweep_value(&r->sweep, point, i), CF_CSV_MORE);
        for (int i = 0; i < N_FIGURES; i++) {
            double mean = 0, sd = 0;
            cf_metrics_mean_sd(&row->metrics, figures[i].offset, &mean, &sd);
            cf_csv_put_number(out, pooled(row, &figures[i]), DIGITS, CF_CSV_MORE);
            cf_csv_put_number(out, mean, DIGITS, CF_CSV_MORE);
            cf_csv_put_number(out, sd, DIGITS, i == N_FIGURES - 1 ? CF_CSV_END_ROW : CF_CSV_MORE);
        }
    }
    return cf_buf_check(out);
}

static void put_json_point(const cf_sweep_results *r, const cf_sweep_result *row, cf_json *j)
{
    char name[32];
    cf_sweep_name(row->point, name);
    cf_json_object(j, NULL);
    cf_json_string(j, "point", name);
    cf_json_object(j, "values");
    for (int i = 0; i < r->sweep.n_axes; i++)
        cf_json_string(j, r->sweep.axes[i].path, cf_sweep_value(&r->sweep, row->point, i));
    cf_json_end_object(j);
    cf_json_boolean(j, "finished", row->finished);
    for (int i = 0; i < N_FIGURES && row->finished; i++) {
        double mean = 0, sd = 0;
        cf_metrics_mean_sd(&row->metrics, figures[i].offset, &mean, &sd);
        cf_json_object(j, figures[i].key);
        cf_json_number(j, "pooled", pooled(row, &figures[i]));
        cf_json_number(j, "mean", mean);
        cf_json_number(j, "sd", sd);
        cf_json_end_object(j);
    }
    cf_json_end_object(j);
}

static cf_err put_json(const cf_sweep_results *r, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_integer(&j, "n_points", r->sweep.n_points);
    cf_json_integer(&j, "n_finished", r->n_finished);
    cf_json_array(&j, "points");
    for (int point = 0; point < r->sweep.n_points; point++) put_json_point(r, &r->rows[point], &j);
    cf_json_end_array(&j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
    return cf_buf_check(out);
}

/* ---- the whole --------------------------------------------------------------------------------
 */

typedef cf_err (*writer)(const cf_sweep_results *r, cf_buf *out);

static cf_err save(const char *dir, const char *name, writer write, const cf_sweep_results *r)
{
    char path[CF_PATH_MAX];
    cf_buf text = {0};
    CF_TRY(cf_path_join(path, sizeof path, dir, name));
    cf_err err = write(r, &text);
    if (err == CF_OK) err = cf_file_save(path, cf_buf_text(&text), text.len);
    cf_buf_fini(&text);
    return err;
}

static cf_err save_all(const char *dir, const cf_sweep_results *r)
{
    CF_TRY(save(dir, "sweep.csv", put_csv, r));
    CF_TRY(save(dir, "sweep.json", put_json, r));
    return save(dir, "sweep.md", put_markdown, r);
}

cf_err cf_sweep_report_write(const char *dir, cf_buf *table)
{
    cf_sweep_results r;
    cf_err err = cf_sweep_results_read(dir, &r);
    if (err == CF_OK) err = save_all(dir, &r);
    if (err == CF_OK) err = put_markdown(&r, table);
    cf_sweep_results_fini(&r);
    return err;
}

cf_err cf_sweep_report_if_whole(const char *dir)
{
    cf_sweep_results r;
    cf_err err = cf_sweep_results_read(dir, &r);
    if (err == CF_OK && r.n_finished == r.sweep.n_points) err = save_all(dir, &r);
    cf_sweep_results_fini(&r);
    return err;
}
