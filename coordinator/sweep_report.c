#include "coordinator/sweep_report.h"

#include <stdio.h>
#include <stdlib.h>

#include "coordinator/markdown.h"
#include "coordinator/plot.h"
#include "coordinator/sweep_page.h"
#include "coordinator/sweep_report_data.h"

enum { MACRO_F1 = 2 }; /* of cf_sweep_figures: the one that points are ranked by */

/* ---- Markdown ---------------------------------------------------------------------------------
 */

static void put_unfinished(const cf_sweep_results *r, cf_buf *out)
{
    const char *comma = "";
    if (r->n_finished == r->sweep.n_points) return;
    cf_buf_printf(out, "**Not finished: ");
    for (int point = 0; point < r->sweep.n_points; point++) {
        char name[32];
        if (r->rows[point].finished) continue;
        cf_sweep_name(point, name);
        cf_buf_printf(out, "%s%s", comma, name);
        comma = ", ";
    }
    cf_buf_printf(out, " of %d.**\n\n", r->sweep.n_points);
    for (int point = 0; point < r->sweep.n_points; point++) {
        char name[32];
        if (r->rows[point].finished || r->rows[point].error[0] == '\0') continue;
        cf_sweep_name(point, name);
        cf_buf_printf(out, "%s failed: ", name);
        cf_markdown_escape(r->rows[point].error, out);
        cf_buf_printf(out, "\n\n");
    }
}

static void put_name(cf_markdown *t, const cf_sweep_ranking *ranking, int i)
{
    char name[32];
    cf_sweep_name(ranking->order[i], name);
    cf_markdown_putf(t, "%d", i + 1);
    cf_markdown_put(t, name);
}

/* Points and their figures, best first. */
static cf_err put_figures(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    cf_markdown t;
    char columns[CF_SWEEP_MAX_AXES + CF_SWEEP_FIGURES + 3] = "rl";
    int n = 2;
    for (int i = 0; i < r->sweep.n_axes; i++) columns[n++] = 'l';
    for (int f = 0; f < CF_SWEEP_FIGURES; f++) columns[n++] = 'r';
    cf_markdown_begin(&t, columns);
    cf_markdown_put(&t, "rank");
    cf_markdown_put(&t, "point");
    for (int i = 0; i < r->sweep.n_axes; i++) cf_markdown_put(&t, r->sweep.axes[i].path);
    for (int f = 0; f < CF_SWEEP_FIGURES; f++) cf_markdown_put(&t, cf_sweep_figures[f].title);
    for (int i = 0; i < ranking->n_ranked; i++) {
        int point = ranking->order[i];
        put_name(&t, ranking, i);
        for (int axis = 0; axis < r->sweep.n_axes; axis++)
            cf_markdown_put(&t, cf_sweep_value(&r->sweep, point, axis));
        for (int f = 0; f < CF_SWEEP_FIGURES; f++) {
            double mean = 0, sd = 0;
            cf_metrics_mean_sd(&r->rows[point].metrics, cf_sweep_figures[f].offset, &mean, &sd);
            cf_markdown_putf(&t, "%.3f ± %.3f", mean, sd);
        }
    }
    CF_TRY(cf_markdown_print(&t, out));
    int n_folds = r->rows[ranking->order[0]].metrics.n_folds;
    cf_buf_printf(out, "\nMean ± SD over %d fold%s.\n", n_folds, n_folds == 1 ? "" : "s");
    return CF_OK;
}

/* What cannot be told is a dash. */
static void put_p(cf_markdown *t, double p)
{
    if (p >= 0)
        cf_markdown_putf(t, p < 0.001 ? "%.1e" : "%.3f", p);
    else
        cf_markdown_put(t, "-");
}

/* Macro F1 over all images, and the difference to the best. */
static cf_err put_differences(const cf_sweep_results *r, const cf_sweep_ranking *ranking,
                              cf_buf *out)
{
    static const char *const titles[] = {
        "rank",        "point",      "macro F1",  "difference to the best",
        "p of images", "p of folds", "p by Holm", "within noise"};
    cf_markdown t;
    cf_markdown_begin(&t, "rlrrrrrl");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) cf_markdown_put(&t, titles[i]);
    for (int i = 0; i < ranking->n_ranked; i++) {
        int point = ranking->order[i];
        const cf_metrics *m = &r->rows[point].metrics;
        const cf_sweep_standing *s = &ranking->standings[point];
        const cf_difference *d = cf_sweep_difference_of(&s->comparison, MACRO_F1);
        put_name(&t, ranking, i);
        cf_markdown_putf(&t, "%.3f (%.3f to %.3f)", cf_sweep_figure_of(&m->pooled, MACRO_F1),
                         cf_sweep_figure_of(&m->low, MACRO_F1),
                         cf_sweep_figure_of(&m->high, MACRO_F1));
        if (i == 0) {
            cf_markdown_put(&t, "the best");
            for (int k = 0; k < 4; k++) cf_markdown_put(&t, k < 3 ? "-" : "");
            continue;
        }
        cf_markdown_putf(&t, "%+.3f (%+.3f to %+.3f)", d->difference, d->low, d->high);
        put_p(&t, d->p);
        put_p(&t, cf_sweep_fold_test_of(&s->comparison, MACRO_F1)->p);
        put_p(&t, s->p_holm);
        cf_markdown_put(&t, s->within_noise ? "yes" : "no");
    }
    return cf_markdown_print(&t, out);
}

static cf_err put_markdown(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    put_unfinished(r, out);
    CF_TRY(put_figures(r, ranking, out));
    if (ranking->n_ranked > 1) {
        cf_buf_printf(out, "\n");
        CF_TRY(put_differences(r, ranking, out));
        cf_buf_printf(out, "\n");
        cf_sweep_legend(r, ranking, out);
        cf_buf_printf(out, "\n");
    }
    return cf_buf_check(out);
}

/* ---- the whole --------------------------------------------------------------------------------
 */

typedef cf_err (*writer)(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out);

static cf_err save(const char *dir, const char *name, writer write, const cf_sweep_results *r,
                   const cf_sweep_ranking *ranking)
{
    char path[CF_PATH_MAX];
    cf_buf text = {0};
    CF_TRY(cf_path_join(path, sizeof path, dir, name));
    cf_err err = write(r, ranking, &text);
    if (err == CF_OK) err = cf_file_save(path, cf_buf_text(&text), text.len);
    cf_buf_fini(&text);
    return err;
}

static cf_err save_figure(const char *dir, const cf_sweep_results *r,
                          const cf_sweep_ranking *ranking)
{
    cf_canvas *c = NULL;
    CF_TRY(cf_sweep_figure_draw(r, ranking, &c));
    cf_err err = cf_plot_save(c, dir, "sweep");
    cf_canvas_destroy(c);
    return err;
}

static cf_err save_all(const char *dir, cf_sweep_results *r, cf_buf *table)
{
    cf_sweep_ranking ranking;
    cf_err err = cf_sweep_rank(r, &ranking);
    if (err == CF_OK) err = save(dir, "sweep.csv", cf_sweep_report_csv, r, &ranking);
    if (err == CF_OK) err = save(dir, "sweep.json", cf_sweep_report_json, r, &ranking);
    if (err == CF_OK) err = save(dir, "sweep.md", put_markdown, r, &ranking);
    if (err == CF_OK) err = save(dir, "sweep.html", cf_sweep_page, r, &ranking);
    if (err == CF_OK) err = save_figure(dir, r, &ranking);
    if (err == CF_OK && table != NULL) err = put_markdown(r, &ranking, table);
    cf_sweep_ranking_fini(&ranking);
    return err;
}

cf_err cf_sweep_report_write(const char *dir, const cf_sweep_patience *patience, cf_buf *table)
{
    cf_sweep_results r;
    cf_err err = cf_sweep_results_read(dir, patience, &r);
    if (err == CF_OK) err = save_all(dir, &r, table);
    cf_sweep_results_fini(&r);
    return err;
}

cf_err cf_sweep_report_if_whole(const char *dir)
{
    cf_sweep_results r;
    bool whole = false;
    CF_TRY(cf_sweep_results_whole(dir, &whole));
    if (!whole) return CF_OK;
    cf_err err = cf_sweep_results_read(dir, NULL, &r);
    if (err == CF_OK && r.n_finished == r.sweep.n_points) err = save_all(dir, &r, NULL);
    cf_sweep_results_fini(&r);
    return err;
}
