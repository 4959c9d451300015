#include "coordinator/plot_axes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TICK_FONT = 12, LABEL_FONT = 13 };

int cf_axis_ticks(double min, double max, int wanted, double ticks[CF_TICKS_MAX])
{
    double rough = (max - min) / wanted, power = pow(10, floor(log10(rough)));
    double lead = rough / power;
    double step = power * (lead <= 1.0001 ? 1 : lead <= 2.0001 ? 2 : lead <= 5.0001 ? 5 : 10);
    int n = 0;
    for (double k = ceil(min / step - 1e-9); k * step <= max + 1e-9 * step && n < CF_TICKS_MAX; k++)
        ticks[n++] = k * step + 0.0; /* no minus zero */
    return n;
}

void cf_axis_number(double value, const cf_plot_axis *axis, char *text, size_t n)
{
    if (axis->percent)
        snprintf(text, n, "%.4g %%", 100 * value);
    else if (fabs(value) >= 10000)
        snprintf(text, n, "%.4gk", value / 1000);
    else
        snprintf(text, n, "%.4g", fabs(value) < 1e-12 ? 0.0 : value);
}

static void draw_x_ticks(cf_canvas *c, const cf_axes *a)
{
    const cf_pen grid = {.stroke = CF_PAINT_GRID, .width = 1};
    const cf_font font = {TICK_FONT, CF_PAINT_MUTED, CF_ANCHOR_MIDDLE, false, false, 0, false};
    double ticks[CF_TICKS_MAX];
    char text[32];
    int n = cf_axis_ticks(a->x.min, a->x.max, a->width > 320 ? 6 : 4, ticks);
    for (int i = 0; i < n; i++) {
        double x = cf_axes_x(a, ticks[i]);
        cf_canvas_segment(c, x, a->top, x, a->top + a->height, &grid);
        cf_axis_number(ticks[i], &a->x, text, sizeof text);
        cf_canvas_text(c, x, a->top + a->height + 18, text, &font);
    }
}

static void draw_y_ticks(cf_canvas *c, const cf_axes *a)
{
    const cf_pen grid = {.stroke = CF_PAINT_GRID, .width = 1};
    const cf_font font = {TICK_FONT, CF_PAINT_MUTED, CF_ANCHOR_END, false, false, 0, false};
    double ticks[CF_TICKS_MAX];
    char text[32];
    int n = cf_axis_ticks(a->y.min, a->y.max, a->height > 240 ? 6 : 4, ticks);
    for (int i = 0; i < n; i++) {
        double y = cf_axes_y(a, ticks[i]);
        cf_canvas_segment(c, a->left, y, a->left + a->width, y, &grid);
        cf_axis_number(ticks[i], &a->y, text, sizeof text);
        cf_canvas_text(c, a->left - 8, y + 4, text, &font);
    }
}

void cf_axes_draw(cf_canvas *c, const cf_axes *a)
{
    const cf_pen frame = {.stroke = CF_PAINT_MUTED, .width = 1};
    cf_font label = {.size = LABEL_FONT, .paint = CF_PAINT_INK, .anchor = CF_ANCHOR_MIDDLE};
    draw_x_ticks(c, a);
    draw_y_ticks(c, a);
    cf_canvas_segment(c, a->left, a->top, a->left, a->top + a->height, &frame);
    cf_canvas_segment(c, a->left, a->top + a->height, a->left + a->width, a->top + a->height,
                      &frame);
    if (a->x.label)
        cf_canvas_text(c, a->left + a->width / 2, a->top + a->height + 38, a->x.label, &label);
    label.upwards = true;
    if (a->y.label) cf_canvas_text(c, a->left - 48, a->top + a->height / 2, a->y.label, &label);
}

double cf_legend_height(int n)
{
    return CF_LEGEND_LINE * (double)(n > CF_LEGEND_MOST ? CF_LEGEND_MOST + 1 : n);
}

void cf_legend_rest(cf_canvas *c, int n, double x, double y)
{
    const cf_font font = {TICK_FONT, CF_PAINT_MUTED, CF_ANCHOR_START, false, false, 0, false};
    if (n > CF_LEGEND_MOST)
        cf_canvas_textf(c, x, y + CF_LEGEND_LINE * CF_LEGEND_MOST, &font, "and %d more",
                        n - CF_LEGEND_MOST);
}

void cf_legend_draw(cf_canvas *c, const cf_plot_series *series, int n, double x, double y,
                    double max_width)
{
    const cf_font font = {TICK_FONT, CF_PAINT_INK, CF_ANCHOR_START, false, false, max_width, false};
    cf_legend_rest(c, n, x + 34, y);
    for (int i = 0; i < n && i < CF_LEGEND_MOST; i++, y += CF_LEGEND_LINE) {
        cf_pen pen;
        cf_mark mark;
        const double middle[] = {x + 14, y - 4};
        cf_plot_style(series[i].number, &pen, &mark);
        cf_canvas_group(c, series[i].number, NULL);
        cf_canvas_segment(c, x, y - 4, x + 28, y - 4, &pen);
        if (series[i].marked) cf_canvas_marks(c, middle, 1, mark, 8, pen.stroke, 0);
        cf_canvas_text(c, x + 34, y, series[i].name, &font);
        cf_canvas_group_end(c);
    }
}
