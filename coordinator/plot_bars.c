/* Horizontal bars: how often each class is there. */
#include <math.h>

#include "coordinator/plot_axes.h"

enum { FONT = 12, TITLE_FONT = 15, MARGIN = 16, WIDTH = 560, NAME_MAX_WIDTH = 190, VALUE = 60 };

typedef struct layout {
    double left, top, row, scale; /* scale: px a unit */
} layout;

static double name_width(const cf_plot_bars *b)
{
    double width = 0;
    for (int i = 0; i < b->n; i++) {
        double w = cf_canvas_text_width(b->names[i], FONT, false);
        width = w > width ? w : width;
    }
    return width < NAME_MAX_WIDTH ? width : NAME_MAX_WIDTH;
}

static double largest(const cf_plot_bars *b)
{
    double most = 0;
    for (int i = 0; i < b->n; i++) {
        most = fmax(most, b->values[i]);
        if (b->others) most = fmax(most, b->others[i]);
    }
    return most > 0 ? most : 1;
}

static void draw_bar(cf_canvas *c, const cf_plot_bars *b, const layout *l, int i)
{
    const cf_pen strong = {.fill = CF_PAINT_SERIES + 2}, pale = {.fill = CF_PAINT_BAR};
    const cf_font name = {FONT, CF_PAINT_INK, CF_ANCHOR_END, false, false, NAME_MAX_WIDTH, false};
    const cf_font value = {FONT - 1, CF_PAINT_MUTED, CF_ANCHOR_START, false, false, 0, false};
    double y = l->top + i * l->row, height = b->others ? 10 : 13;
    double end = l->left + b->values[i] * l->scale;
    cf_canvas_text(c, l->left - 8, y + (b->others ? 15 : 11), b->names[i], &name);
    cf_canvas_rect(c, l->left, y, fmax(b->values[i] * l->scale, 0.5), height, &strong);
    cf_canvas_textf(c, end + 6, y + height - 1, &value, "%.7g", b->values[i]);
    if (!b->others) return;
    cf_canvas_rect(c, l->left, y + 11, fmax(b->others[i] * l->scale, 0.5), height, &pale);
    cf_canvas_textf(c, l->left + b->others[i] * l->scale + 6, y + 20, &value, "%.7g", b->others[i]);
}

static void draw_legend(cf_canvas *c, const cf_plot_bars *b, double x, double y)
{
    const cf_pen pens[] = {{.fill = CF_PAINT_SERIES + 2}, {.fill = CF_PAINT_BAR}};
    const cf_font font = {FONT, CF_PAINT_INK, CF_ANCHOR_START, false, false, 0, false};
    const char *names[] = {b->value_name, b->other_name};
    for (int i = 0; i < 2 && names[i]; i++) {
        cf_canvas_rect(c, x, y - 9, 12, 10, &pens[i]);
        cf_canvas_text(c, x + 18, y, names[i], &font);
        x += 18 + cf_canvas_text_width(names[i], FONT, false) + 22;
    }
}

cf_err cf_plot_bar_chart(const cf_plot_bars *b, cf_canvas **out)
{
    layout l = {.row = b->others ? 28 : 20};
    const cf_font title = {TITLE_FONT, CF_PAINT_INK, CF_ANCHOR_START, true, false,
                           WIDTH - 32, false};
    const cf_font axis = {FONT, CF_PAINT_MUTED, CF_ANCHOR_START, false, false, 0, false};
    *out = NULL;
    if (b->n < 1) return cf_fail(CF_E_USAGE, "a bar chart of %d bars", b->n);
    l.left = MARGIN + name_width(b) + 8;
    l.top = MARGIN + (b->title ? 24 : 0) + (b->others ? 22 : 0);
    l.scale = (WIDTH - l.left - VALUE - MARGIN) / largest(b);
    double height = l.top + b->n * l.row + (b->axis ? 26 : 10);
    if (height > CF_CANVAS_MAX_SIDE) l.row *= (CF_CANVAS_MAX_SIDE - l.top - 26) / (b->n * l.row);
    CF_TRY(cf_canvas_create(WIDTH, fmin(height, CF_CANVAS_MAX_SIDE),
                            b->title ? b->title : "class frequencies", out));
    if (b->title) cf_canvas_text(*out, MARGIN, MARGIN + 6, b->title, &title);
    if (b->others) draw_legend(*out, b, l.left, l.top - 10);
    for (int i = 0; i < b->n; i++) draw_bar(*out, b, &l, i);
    if (b->axis) cf_canvas_text(*out, l.left, l.top + b->n * l.row + 14, b->axis, &axis);
    return CF_OK;
}
