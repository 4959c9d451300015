/* Curves in a frame: learning curves, ROC, precision and recall, calibration. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/plot_axes.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum { TITLE_FONT = 15, LEFT = 66, TOP = 20, RIGHT = 16, BOTTOM = 52, LEGEND_MAX = 230 };

void cf_plot_style(int64_t number, cf_pen *line, cf_mark *mark)
{
    *line = (cf_pen){
        .stroke = cf_paint_series(number), .width = 2, .dash = (cf_dash)(number % CF_N_DASHES)};
    *mark = (cf_mark)(number % CF_N_MARKS);
}

static double legend_width(const cf_plot_figure *f)
{
    double widest = 0;
    if (f->n_series < 2 && !f->always_legend) return 0;
    for (int i = 0; i < f->n_series; i++) {
        double w = cf_canvas_text_width(f->series[i].name, 12, false);
        widest = w > widest ? w : widest;
    }
    return (widest < LEGEND_MAX ? widest : LEGEND_MAX) + 44;
}

static void draw_bars(cf_canvas *c, const cf_axes *a, const cf_plot_figure *f)
{
    const cf_pen pen = {.fill = CF_PAINT_BAR, .fade = 0.35};
    double step = (f->x.max - f->x.min) / (f->n_bars > 0 ? f->n_bars : 1);
    for (int i = 0; f->bars && i < f->n_bars; i++) {
        double x0 = cf_axes_x(a, f->x.min + i * step), x1 = cf_axes_x(a, f->x.min + (i + 1) * step);
        double top = cf_axes_y(a, f->y.min + f->bars[i] * (f->y.max - f->y.min));
        if (f->bars[i] > 0)
            cf_canvas_rect(c, x0 + 1, top, x1 - x0 - 2, a->top + a->height - top, &pen);
    }
}

/* Px of a series. What lies outside the frame is put on its edge; points that are no further than
 * a tenth of a px from a straight way are left out, so that a curve of 100,000 images stays small.
 * Owned by the caller. */
static cf_err place(const cf_axes *a, const cf_plot_series *s, double **xy, int64_t *n)
{
    *n = 0;
    CF_TRY(cf_new(xy, (size_t)s->n, 2 * sizeof **xy));
    for (int64_t i = 0; i < s->n; i++) {
        double x = cf_axes_x(a, s->x[i]);
        double y = cf_axes_y(a, fmin(fmax(s->y[i], a->y.min), a->y.max));
        double *p = *xy + 2 * *n;
        if (!isfinite(s->y[i])) y = (double)NAN;
        bool straight = *n >= 2 && isfinite(y) && isfinite(p[-1]) && isfinite(p[-3]) &&
                        ((fabs(p[-2] - p[-4]) < 1e-9 && fabs(x - p[-2]) < 1e-9) ||
                         (fabs(p[-1] - p[-3]) < 1e-9 && fabs(y - p[-1]) < 1e-9));
        /* a step shorter than a twentieth of a px changes nothing that can be seen */
        bool tiny = *n >= 2 && isfinite(y) && i + 1 < s->n && fabs(x - p[-2]) < 0.05 &&
                    fabs(y - p[-1]) < 0.05;
        if (s->marked) straight = tiny = false; /* every point is to be seen */
        if (tiny) continue;
        if (straight) p -= 2;
        p[0] = x;
        p[1] = y;
        if (!straight) (*n)++;
    }
    return CF_OK;
}

static cf_err draw_series(cf_canvas *c, const cf_axes *a, const cf_plot_series *s)
{
    double *xy = NULL;
    int64_t n = 0;
    cf_pen pen;
    cf_mark mark;
    if (s->n == 0) return CF_OK;
    CF_TRY(place(a, s, &xy, &n));
    cf_plot_style(s->number, &pen, &mark);
    cf_canvas_group(c, s->number, s->name);
    cf_canvas_line(c, xy, n, &pen);
    if (s->marked) cf_canvas_marks(c, xy, n, mark, 8, pen.stroke, 0);
    cf_canvas_group_end(c);
    free(xy);
    return CF_OK;
}

static void draw_diagonal(cf_canvas *c, const cf_axes *a)
{
    const cf_pen pen = {.stroke = CF_PAINT_MUTED, .width = 1, .dash = CF_DASH_SHORT};
    double from = fmax(a->x.min, a->y.min), to = fmin(a->x.max, a->y.max);
    cf_canvas_segment(c, cf_axes_x(a, from), cf_axes_y(a, from), cf_axes_x(a, to), cf_axes_y(a, to),
                      &pen);
}

static cf_err check_figure(const cf_plot_figure *f)
{
    if (!(f->x.max > f->x.min) || !(f->y.max > f->y.min) || !isfinite(f->x.max - f->x.min) ||
        !isfinite(f->y.max - f->y.min))
        return cf_fail(CF_E_USAGE, "a plot of x from %g to %g and y from %g to %g", f->x.min,
                       f->x.max, f->y.min, f->y.max);
    return CF_OK;
}

cf_err cf_plot_lines(const cf_plot_figure *f, cf_canvas **out)
{
    double width = f->width > 0 ? f->width : 560, height = f->height > 0 ? f->height : 420;
    double legend = legend_width(f), top = TOP + (f->title ? 16 : 0);
    if (legend > 0) height = fmax(height, top + 12 + cf_legend_height(f->n_series));
    const cf_font title = {TITLE_FONT, CF_PAINT_INK, CF_ANCHOR_START, true, false,
                           width - 16, false};
    *out = NULL;
    CF_TRY(check_figure(f));
    CF_TRY(cf_canvas_create(width, height, f->title ? f->title : "curves", out));
    cf_axes a = {.left = LEFT, .top = top, .x = f->x, .y = f->y};
    a.width = width - LEFT - RIGHT - legend;
    a.height = height - top - BOTTOM;
    if (a.width < 40 || a.height < 40) a.width = a.height = 40;
    cf_err err = CF_OK;
    if (f->title) cf_canvas_text(*out, 8, 20, f->title, &title);
    cf_axes_draw(*out, &a);
    draw_bars(*out, &a, f);
    if (f->diagonal) draw_diagonal(*out, &a);
    for (int i = 0; i < f->n_series; i++) CF_TRY_GOTO(draw_series(*out, &a, &f->series[i]), out);
    if (legend > 0)
        cf_legend_draw(*out, f->series, f->n_series, a.left + a.width + 14, top + 12, legend - 44);
out:
    if (err != CF_OK) {
        cf_canvas_destroy(*out);
        *out = NULL;
    }
    return err;
}

cf_err cf_plot_save(const cf_canvas *c, const char *dir, const char *name)
{
    char path[CF_PATH_MAX], file[256];
    static const char *const suffixes[] = {"png", "svg"};
    static const cf_canvas_form forms[] = {CF_CANVAS_PNG, CF_CANVAS_SVG};
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s.%s", name, suffixes[i]);
        CF_TRY(cf_path_join(path, sizeof path, dir, file));
        CF_TRY(cf_canvas_save(c, forms[i], path));
    }
    return CF_OK;
}
