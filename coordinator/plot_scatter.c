/* A cloud of points in two dimensions, coloured by group. */
#include <math.h>
#include <stdlib.h>

#include "coordinator/plot_axes.h"
#include "kernels/base/mem.h"

enum { WIDTH = 720, HEIGHT = 640, MARGIN = 16, TITLE_FONT = 15, FONT = 12, LEGEND_MAX = 200 };

typedef struct cloud {
    const cf_plot_cloud *given;
    double left, top, width, height; /* of the field, px */
    double scale, x0, y0;            /* px a unit; the data's lower left */
    double *xy;                      /* owned, [n][2]: px of one group's points */
    double *sorted;                  /* owned, [n]: for medians */
} cloud;

/* The same scale both ways: a map has one. */
static void fit(cloud *c)
{
    const cf_plot_cloud *g = c->given;
    double x[2] = {(double)INFINITY, -(double)INFINITY}, y[2] = {x[0], x[1]};
    for (int64_t i = 0; i < g->n; i++) {
        if (!isfinite(g->x[i]) || !isfinite(g->y[i])) continue;
        x[0] = fmin(x[0], g->x[i]);
        x[1] = fmax(x[1], g->x[i]);
        y[0] = fmin(y[0], g->y[i]);
        y[1] = fmax(y[1], g->y[i]);
    }
    double w = x[1] - x[0], h = y[1] - y[0];
    if (!(w > 0)) w = 1;
    if (!(h > 0)) h = 1;
    c->scale = fmin(c->width / w, c->height / h);
    bool any = x[1] >= x[0];
    c->x0 = any ? x[0] - (c->width / c->scale - w) / 2 : 0;
    c->y0 = any ? y[0] - (c->height / c->scale - h) / 2 : 0;
}

/* Points of group k (of no group: -1) into c->xy; how many. */
static int64_t gather(cloud *c, int k)
{
    const cf_plot_cloud *g = c->given;
    int64_t n = 0;
    for (int64_t i = 0; i < g->n; i++) {
        bool known = g->group[i] >= 0 && g->group[i] < g->n_groups;
        if ((known ? g->group[i] : -1) != k || !isfinite(g->x[i]) || !isfinite(g->y[i])) continue;
        c->xy[2 * n] = c->left + (g->x[i] - c->x0) * c->scale;
        c->xy[2 * n + 1] = c->top + c->height - (g->y[i] - c->y0) * c->scale;
        n++;
    }
    return n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(cloud *c, int64_t n, int axis)
{
    for (int64_t i = 0; i < n; i++) c->sorted[i] = c->xy[2 * i + axis];
    qsort(c->sorted, (size_t)n, sizeof *c->sorted, by_value);
    return c->sorted[n / 2];
}

static double point_size(int64_t n)
{
    return n <= 500 ? 7 : n <= 2000 ? 5 : n <= 10000 ? 3.6 : 2.4;
}

static void draw_points(cf_canvas *canvas, cloud *c)
{
    const cf_plot_cloud *g = c->given;
    for (int k = -1; k < g->n_groups; k++) {
        cf_pen pen = {.stroke = CF_PAINT_BAR};
        cf_mark mark = CF_MARK_DISC;
        int64_t n = gather(c, k);
        if (n == 0) continue;
        if (k >= 0) cf_plot_style(k, &pen, &mark);
        cf_canvas_group(canvas, k, k >= 0 ? g->names[k] : NULL);
        cf_canvas_marks(canvas, c->xy, n, mark, point_size(g->n), pen.stroke, 0.3);
        cf_canvas_group_end(canvas);
    }
}

static void draw_names(cf_canvas *canvas, cloud *c)
{
    const cf_font font = {14, CF_PAINT_INK, CF_ANCHOR_MIDDLE, true, false, LEGEND_MAX, true};
    for (int k = 0; k < c->given->n_groups; k++) {
        int64_t n = gather(c, k);
        if (n == 0) continue;
        cf_canvas_text(canvas, median(c, n, 0), median(c, n, 1) + 5, c->given->names[k], &font);
    }
}

static void draw_legend(cf_canvas *canvas, const cloud *c, double x)
{
    const cf_font font = {FONT, CF_PAINT_INK, CF_ANCHOR_START, false, false, LEGEND_MAX, false};
    const double top = c->top + 10;
    cf_legend_rest(canvas, c->given->n_groups, x + 12, top);
    for (int k = 0; k < c->given->n_groups && k < CF_LEGEND_MOST; k++) {
        cf_pen pen;
        cf_mark mark;
        const double xy[] = {x, top + CF_LEGEND_LINE * k - 4};
        cf_plot_style(k, &pen, &mark);
        cf_canvas_marks(canvas, xy, 1, mark, 9, pen.stroke, 0);
        cf_canvas_text(canvas, x + 12, top + CF_LEGEND_LINE * k, c->given->names[k], &font);
    }
}

static double legend_width(const cf_plot_cloud *g)
{
    double widest = 0;
    for (int k = 0; k < g->n_groups; k++)
        widest = fmax(widest, cf_canvas_text_width(g->names[k], FONT, false));
    return fmin(widest, LEGEND_MAX) + 40;
}

cf_err cf_plot_scatter(const cf_plot_cloud *g, cf_canvas **out)
{
    double width = g->width > 0 ? g->width : WIDTH, height = g->height > 0 ? g->height : HEIGHT;
    double legend = legend_width(g);
    cloud c = {.given = g, .left = MARGIN, .top = MARGIN + (g->title ? 24 : 0)};
    const cf_font title = {TITLE_FONT, CF_PAINT_INK, CF_ANCHOR_START, true, false,
                           width - 32, false};
    cf_err err = CF_OK;
    *out = NULL;
    height = fmax(height, c.top + 10 + cf_legend_height(g->n_groups));
    c.width = fmax(width - legend - 2 * MARGIN, 40);
    c.height = fmax(height - c.top - MARGIN, 40);
    CF_TRY_GOTO(cf_new(&c.xy, (size_t)g->n + 1, 2 * sizeof *c.xy), out);
    CF_TRY_GOTO(cf_new(&c.sorted, (size_t)g->n + 1, sizeof *c.sorted), out);
    CF_TRY_GOTO(cf_canvas_create(width, height, g->title ? g->title : "map of the images", out),
                out);
    fit(&c);
    if (g->title) cf_canvas_text(*out, MARGIN, MARGIN + 8, g->title, &title);
    draw_points(*out, &c);
    draw_names(*out, &c);
    draw_legend(*out, &c, width - legend + 8);
out:
    free(c.sorted);
    free(c.xy);
    return err;
}
