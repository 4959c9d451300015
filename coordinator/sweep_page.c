#include "coordinator/sweep_page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/html.h"
#include "coordinator/page_parts.h"
#include "coordinator/sweep_report_data.h"

enum { MACRO_F1 = 2, DECIMALS = 3 };

/* ---- the figure ---- */

static const double row_height = 26, left = 300, plot_width = 380, top = 34, bottom = 44;

/* The range of all intervals, widened to steps of 0.05. */
static void find_range(const cf_sweep_results *r, const cf_sweep_ranking *ranking, double *min,
                       double *max)
{
    *min = 1;
    *max = 0;
    for (int i = 0; i < ranking->n_ranked; i++) {
        const cf_metrics *m = &r->rows[ranking->order[i]].metrics;
        *min = fmin(*min, fmin(m->low.macro_f1, m->pooled.macro_f1));
        *max = fmax(*max, fmax(m->high.macro_f1, m->pooled.macro_f1));
    }
    *min = floor(*min * 20) / 20;
    *max = fmax(ceil(*max * 20) / 20, *min + 0.05);
}

static void draw_axis(cf_canvas *c, double min, double max, double height)
{
    const cf_pen grid = {.stroke = CF_PAINT_GRID, .width = 1};
    const cf_font tick = {.size = 12, .paint = CF_PAINT_MUTED, .anchor = CF_ANCHOR_MIDDLE};
    double step = max - min > 0.3 ? 0.1 : max - min > 0.1 ? 0.05 : 0.01;
    for (int k = 0; min + k * step < max + step / 2; k++) {
        double x = left + (k * step) / (max - min) * plot_width;
        cf_canvas_segment(c, x, top, x, height - bottom, &grid);
        cf_canvas_textf(c, x, height - bottom + 18, &tick, "%.2f", min + k * step);
    }
    cf_canvas_text(c, left + plot_width / 2, height - 6, "macro F1 over all images, 95 % interval",
                   &tick);
}

/* Filled where the difference to the best may be noise, a cross where it is beyond. */
static void draw_row(cf_canvas *c, const cf_sweep_results *r, const cf_sweep_ranking *ranking,
                     int i, double min, double max)
{
    int point = ranking->order[i];
    const cf_metrics *m = &r->rows[point].metrics;
    bool noise = ranking->standings[point].within_noise;
    const double scale = plot_width / (max - min), y = top + (i + 0.5) * row_height;
    const cf_paint paint = noise ? CF_PAINT_INK : CF_PAINT_MUTED;
    const cf_pen pen = {.stroke = paint, .width = 2};
    const cf_font font = {
        .size = 12, .paint = CF_PAINT_INK, .anchor = CF_ANCHOR_END, .max_width = left - 20};
    char name[32];
    cf_buf label = {0};
    cf_sweep_name(point, name);
    cf_buf_printf(&label, "%s: ", name);
    for (int axis = 0; axis < r->sweep.n_axes; axis++)
        cf_buf_printf(&label, "%s%s", axis > 0 ? ", " : "", cf_sweep_value(&r->sweep, point, axis));
    cf_canvas_text(c, left - 12, y + 4, cf_buf_text(&label), &font);
    cf_buf_fini(&label);
    cf_canvas_segment(c, left + (m->low.macro_f1 - min) * scale, y,
                      left + (m->high.macro_f1 - min) * scale, y, &pen);
    const double at[2] = {left + (m->pooled.macro_f1 - min) * scale, y};
    cf_canvas_marks(c, at, 1, noise ? CF_MARK_DISC : CF_MARK_CROSS, 9, paint, 0);
}

cf_err cf_sweep_figure_draw(const cf_sweep_results *r, const cf_sweep_ranking *ranking,
                            cf_canvas **out)
{
    double min, max, height = top + ranking->n_ranked * row_height + bottom;
    const cf_font heading = {.size = 13, .paint = CF_PAINT_INK, .bold = true};
    CF_TRY(cf_canvas_create(left + plot_width + 40, height,
                            "Macro F1 of each point of the sweep with its interval", out));
    cf_canvas_text(*out, 12, 20, "Points of the sweep, best first", &heading);
    find_range(r, ranking, &min, &max);
    draw_axis(*out, min, max, height);
    for (int i = 0; i < ranking->n_ranked; i++) draw_row(*out, r, ranking, i, min, max);
    return CF_OK;
}

/* ---- words ---- */

void cf_sweep_legend(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    const cf_metrics *m = &r->rows[ranking->order[0]].metrics;
    const char *unit = m->resampling.by_patient ? "patients" : "images";
    int n = ranking->n_ranked - 1;
    cf_buf_printf(
        out,
        "Over all %lld images, each tested by the network of its own fold; 95 %% "
        "intervals of the bootstrap over %s%s. All points test the same images in the same "
        "folds and are compared pairwise: p of images by the paired bootstrap (networks "
        "taken as given), p of folds by the corrected resampled t-test (another training "
        "counts). The larger of both, adjusted for %d comparison%s by Holm, must be "
        "below %.2g for a difference to be beyond noise. The best was chosen by these "
        "very images: its figure is optimistic, the more so the more points there are.",
        (long long)m->pooled.n, unit, cf_resampling_doubt(&m->resampling), n, n == 1 ? "" : "s",
        CF_SWEEP_LEVEL);
}

/* ---- tables ---- */

static void begin_table(cf_buf *out, const char *caption)
{
    cf_buf_printf(out, "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"");
    cf_html_text(out, caption);
    cf_buf_printf(out, "\"><table class=\"sortable\">\n<caption>");
    cf_html_text(out, caption);
    cf_buf_printf(out, "</caption>\n<thead><tr>");
}

static void put_header(cf_buf *out, const char *title, bool number)
{
    cf_buf_printf(out, "<th scope=\"col\"%s>", number ? " class=\"n\"" : "");
    cf_html_text(out, title);
    cf_buf_printf(out, "</th>");
}

/* "train.learning_rate": may be broken behind the dot, so that tables of many keys stay narrow. */
static void put_key_header(cf_buf *out, const char *key)
{
    const char *dot = strchr(key, '.');
    int n = dot != NULL ? (int)(dot - key) + 1 : 0;
    cf_buf_printf(out, "<th scope=\"col\">");
    cf_html_textf(out, "%.*s", n, key);
    cf_buf_printf(out, "<wbr/>");
    cf_html_text(out, key + n);
    cf_buf_printf(out, "</th>");
}

/* value: what the table is sorted by; NaN sorts last. */
CF_PRINTF(3, 4) static void put_cell(cf_buf *out, double value, const char *fmt, ...)
{
    char text[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (isnan(value))
        cf_buf_printf(out, "<td class=\"n\" data-v=\"\">");
    else
        cf_buf_printf(out, "<td class=\"n\" data-v=\"%.9g\">", value);
    cf_html_text(out, text);
    cf_buf_printf(out, "</td>");
}

static void put_point(cf_buf *out, const cf_sweep_ranking *ranking, int i)
{
    char name[32];
    cf_sweep_name(ranking->order[i], name);
    cf_buf_printf(out, "<tr>");
    put_cell(out, i + 1, "%d", i + 1);
    cf_buf_printf(out, "<th scope=\"row\"><a href=\"%s/report.html\">%s</a></th>", name, name);
}

static void put_figures(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    begin_table(out, "Mean ± SD over folds");
    put_header(out, "rank", true);
    put_header(out, "point", false);
    for (int a = 0; a < r->sweep.n_axes; a++) put_key_header(out, r->sweep.axes[a].path);
    for (int f = 0; f < CF_SWEEP_FIGURES; f++) put_header(out, cf_sweep_figures[f].title, true);
    cf_buf_printf(out, "</tr></thead>\n<tbody>\n");
    for (int i = 0; i < ranking->n_ranked; i++) {
        int point = ranking->order[i];
        const cf_metrics *m = &r->rows[point].metrics;
        put_point(out, ranking, i);
        for (int a = 0; a < r->sweep.n_axes; a++) {
            cf_buf_printf(out, "<td>");
            cf_html_text(out, cf_sweep_value(&r->sweep, point, a));
            cf_buf_printf(out, "</td>");
        }
        for (int f = 0; f < CF_SWEEP_FIGURES; f++) {
            char text[CF_PAGE_NUMBER_MAX];
            double mean = 0, sd = 0;
            cf_metrics_mean_sd(m, cf_sweep_figures[f].offset, &mean, &sd);
            cf_page_mean_sd(mean, sd, DECIMALS, m->n_folds, text);
            put_cell(out, mean, "%s", text);
        }
        cf_buf_printf(out, "</tr>\n");
    }
    cf_buf_printf(out, "</tbody></table></div>\n");
}

static void put_p(cf_buf *out, double p)
{
    if (isnan(p))
        put_cell(out, p, "–");
    else
        put_cell(out, p, p < 0.001 ? "%.1e" : "%.3f", p);
}

static void put_difference(const cf_sweep_standing *s, cf_buf *out)
{
    const cf_difference *d = cf_sweep_difference_of(&s->comparison, MACRO_F1);
    if (s->rank == 1) {
        put_cell(out, 0, "the best");
        for (int k = 0; k < 3; k++) put_p(out, (double)NAN);
        cf_buf_printf(out, "<td></td></tr>\n");
        return;
    }
    put_cell(out, d->difference, "%+.3f (%+.3f to %+.3f)", d->difference, d->low, d->high);
    put_p(out, d->p);
    put_p(out, cf_sweep_fold_test_of(&s->comparison, MACRO_F1)->p);
    put_p(out, s->p_holm);
    cf_buf_printf(out, "<td>%s</td></tr>\n", s->within_noise ? "yes" : "no");
}

static void put_differences(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    static const char *const titles[] = {
        "rank",        "point",      "macro F1",  "difference to the best",
        "p of images", "p of folds", "p by Holm", "within noise"};
    enum { N_TITLES = sizeof titles / sizeof titles[0] };
    begin_table(out, "Macro F1 over all images, beside the best");
    for (int i = 0; i < N_TITLES; i++) put_header(out, titles[i], i != 1 && i != N_TITLES - 1);
    cf_buf_printf(out, "</tr></thead>\n<tbody>\n");
    for (int i = 0; i < ranking->n_ranked; i++) {
        int point = ranking->order[i];
        const cf_metrics *m = &r->rows[point].metrics;
        put_point(out, ranking, i);
        put_cell(out, m->pooled.macro_f1, "%.3f (%.3f to %.3f)", m->pooled.macro_f1,
                 m->low.macro_f1, m->high.macro_f1);
        put_difference(&ranking->standings[point], out);
    }
    cf_buf_printf(out, "</tbody></table></div>\n");
}

/* ---- the page ---- */

static void put_title(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    const cf_metrics *m = &r->rows[ranking->order[0]].metrics;
    char count[CF_PAGE_NUMBER_MAX];
    cf_page_count(m->pooled.n, count);
    cf_buf_printf(out,
                  "<header>\n<h1>Sweep of %d points</h1>\n<p class=\"lead\">%s images, %d %s; "
                  "every point is a run of its own on the same split.</p>\n",
                  r->sweep.n_points, count, m->n_folds, m->n_folds == 1 ? "fold" : "folds");
    if (r->n_finished < r->sweep.n_points)
        cf_buf_printf(out, "<p class=\"warning\" role=\"note\">%d of %d points are finished.</p>\n",
                      r->n_finished, r->sweep.n_points);
    cf_buf_printf(out, "</header>\n<nav aria-label=\"Sections\"><ul>\n<li><a href=\"#summary\">"
                       "Points</a></li>\n<li><a href=\"#differences\">Differences</a></li>\n"
                       "</ul></nav>\n<main>\n");
}

/* All of them in one sentence, then why some failed. */
static void put_unfinished(const cf_sweep_results *r, cf_buf *out)
{
    const char *before = "<p class=\"note\" id=\"unfinished\">Not finished: ";
    char name[32];
    for (int point = 0; point < r->sweep.n_points; point++) {
        if (r->rows[point].finished) continue;
        cf_sweep_name(point, name);
        cf_buf_printf(out, "%s%s", before, name);
        before = ", ";
    }
    if (r->n_finished < r->sweep.n_points) cf_buf_printf(out, ".</p>\n");
    for (int point = 0; point < r->sweep.n_points; point++) {
        if (r->rows[point].finished || r->rows[point].error[0] == '\0') continue;
        cf_sweep_name(point, name);
        cf_buf_printf(out, "<p class=\"note failed\">%s failed: ", name);
        cf_html_text(out, r->rows[point].error);
        cf_buf_printf(out, "</p>\n");
    }
}

static cf_err put_figure(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    cf_canvas *c = NULL;
    CF_TRY(cf_sweep_figure_draw(r, ranking, &c));
    cf_buf_printf(out, "<figure class=\"plot\" id=\"plot-sweep\">\n");
    cf_err err = cf_canvas_encode(c, CF_CANVAS_INLINE, out);
    cf_buf_printf(out, "<figcaption>Macro F1 with its 95 %% interval; a cross: beyond noise from "
                       "the best.</figcaption>\n</figure>\n");
    cf_canvas_destroy(c);
    return err;
}

cf_err cf_sweep_page(const cf_sweep_results *r, const cf_sweep_ranking *ranking, cf_buf *out)
{
    cf_buf legend = {0};
    cf_page_head("Sweep", out);
    cf_buf_printf(out, "<body>\n<a class=\"skip\" href=\"#summary\">Skip to the results</a>\n");
    put_title(r, ranking, out);
    cf_page_section(out, "summary", "Points");
    put_figures(r, ranking, out);
    put_unfinished(r, out);
    cf_page_end(out);
    cf_page_section(out, "differences", "Differences");
    CF_TRY(put_figure(r, ranking, out));
    put_differences(r, ranking, out);
    cf_sweep_legend(r, ranking, &legend);
    cf_buf_printf(out, "<p class=\"note\">");
    cf_html_text(out, cf_buf_text(&legend));
    cf_buf_printf(out, "</p>\n");
    cf_err err = cf_buf_check(&legend);
    cf_buf_fini(&legend);
    cf_page_end(out);
    cf_page_foot(out);
    return err == CF_OK ? cf_buf_check(out) : err;
}
