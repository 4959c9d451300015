/* The confusion matrix as a heat map with figures. */
#include <stdio.h>

#include "coordinator/plot.h"

enum { FONT = 13, TITLE_FONT = 15, ROW_MAX_WIDTH = 320, COLUMN_MAX_WIDTH = 150, MARGIN = 16 };

/* Measures of one matrix, px. */
typedef struct layout {
    double cell, left, top, total,
        notes;   /* the last two: widths of the columns of row sums, notes */
    bool counts; /* room for a count below the percentage */
} layout;

static double widest(const char *const *names, int n, double most)
{
    double width = 0;
    for (int i = 0; i < n; i++) {
        double w = cf_canvas_text_width(names[i], FONT, true);
        width = w > width ? w : width;
    }
    return width < most ? width : most;
}

static layout plan(const cf_plot_matrix *m)
{
    int most = m->n_columns > m->n_rows ? m->n_columns : m->n_rows;
    layout l = {.counts = most <= 16};
    l.cell = most <= 8 ? 62 : most <= 16 ? 50 : most <= 24 ? 36 : most <= 60 ? 28 : 14;
    l.left = MARGIN + 22 + widest(m->row_names, m->n_rows, ROW_MAX_WIDTH) + 8;
    double name = widest(m->column_names, m->n_columns, COLUMN_MAX_WIDTH);
    l.top = MARGIN + (m->title ? 26 : 0) + 24 + (name > l.cell - 4 ? name : FONT) + 8;
    l.total = 62;
    if (m->notes_axis) {
        double head = cf_canvas_text_width(m->notes_axis, FONT - 1, false);
        double note = widest(m->notes, m->n_rows, COLUMN_MAX_WIDTH);
        l.notes = 14 + (head > note ? head : note);
    }
    return l;
}

static int64_t row_sum(const cf_plot_matrix *m, int row)
{
    int64_t sum = 0;
    for (int k = 0; k < m->n_columns; k++) sum += m->counts[(int64_t)row * m->n_columns + k];
    return sum;
}

static bool is_right(const cf_plot_matrix *m, int row, int column)
{
    if (m->right != NULL) return m->right[row] == column;
    return row == column && m->n_rows == m->n_columns;
}

static void draw_cell(cf_canvas *c, const cf_plot_matrix *m, const layout *l, int row, int column,
                      int64_t sum)
{
    int64_t count = m->counts[(int64_t)row * m->n_columns + column];
    double share = sum > 0 ? (double)count / (double)sum : 0;
    double x = l->left + column * l->cell, y = l->top + row * l->cell, middle = x + l->cell / 2;
    int heat = cf_paint_heat_step(share);
    cf_paint ink = (cf_paint)(CF_PAINT_HEAT_INK + heat);
    cf_pen pen = {.fill = (cf_paint)(CF_PAINT_HEAT + heat)};
    if (m->right != NULL && is_right(m, row, column)) { /* off the diagonal it is seen so only */
        pen.stroke = CF_PAINT_INK;
        pen.width = 1.5;
    }
    cf_font font = {l->cell >= 36 ? 12.5 : 10, ink, CF_ANCHOR_MIDDLE, false, false, 0, false};
    cf_canvas_rect(c, x + 0.75, y + 0.75, l->cell - 1.5, l->cell - 1.5, &pen);
    if (count == 0 || l->cell < 20) return;
    font.bold = is_right(m, row, column);
    double baseline = y + l->cell / 2 + (l->counts ? -1 : 4);
    if (share < 0.0005)
        cf_canvas_text(c, middle, baseline, "<.1", &font);
    else
        cf_canvas_textf(c, middle, baseline, &font, l->counts ? "%.1f" : "%.0f", 100 * share);
    if (!l->counts) return;
    font.size = 10;
    font.bold = false;
    cf_canvas_textf(c, middle, y + l->cell / 2 + 13, &font, "%lld", (long long)count);
}

static void draw_row(cf_canvas *c, const cf_plot_matrix *m, const layout *l, int row)
{
    int64_t sum = row_sum(m, row);
    double size = l->cell < 14 ? 9 : FONT, y = l->top + (row + 0.5) * l->cell + 4;
    const cf_font name = {size, CF_PAINT_INK, CF_ANCHOR_END, true, false, ROW_MAX_WIDTH, false};
    const cf_font total = {size - 1, CF_PAINT_MUTED, CF_ANCHOR_END, false, false, 0, false};
    cf_canvas_text(c, l->left - 8, y, m->row_names[row], &name);
    for (int k = 0; k < m->n_columns; k++) draw_cell(c, m, l, row, k, sum);
    cf_canvas_textf(c, l->left + m->n_columns * l->cell + l->total - 8, y, &total, "%lld",
                    (long long)sum);
    if (m->notes_axis)
        cf_canvas_text(c, l->left + m->n_columns * l->cell + l->total + l->notes - 8, y,
                       m->notes[row], &total);
}

static void draw_columns(cf_canvas *c, const cf_plot_matrix *m, const layout *l)
{
    cf_font font = {l->cell < 14 ? 9 : FONT, CF_PAINT_INK, CF_ANCHOR_MIDDLE, true, false,
                    COLUMN_MAX_WIDTH,        false};
    bool upwards = widest(m->column_names, m->n_columns, COLUMN_MAX_WIDTH) > l->cell - 4;
    for (int k = 0; k < m->n_columns; k++) {
        double x = l->left + (k + 0.5) * l->cell;
        if (upwards) {
            font.upwards = true;
            font.anchor = CF_ANCHOR_START;
            x += 4;
        }
        cf_canvas_text(c, x, l->top - 8, m->column_names[k], &font);
    }
}

static void draw_labels(cf_canvas *c, const cf_plot_matrix *m, const layout *l, double width)
{
    const cf_font title = {TITLE_FONT,         CF_PAINT_INK, CF_ANCHOR_START, true, false,
                           width - 2 * MARGIN, false};
    cf_font axis = {FONT, CF_PAINT_MUTED, CF_ANCHOR_MIDDLE, false, false, 0, false};
    double top = MARGIN + (m->title ? 26 : 0);
    if (m->title) cf_canvas_text(c, MARGIN, MARGIN + 8, m->title, &title);
    cf_canvas_text(c, l->left + m->n_columns * l->cell / 2, top + 12,
                   m->column_axis ? m->column_axis : "prediction", &axis);
    axis.upwards = true;
    cf_canvas_text(c, MARGIN + 6, l->top + m->n_rows * l->cell / 2,
                   m->row_axis ? m->row_axis : "truth", &axis);
    axis.upwards = false;
    axis.anchor = CF_ANCHOR_END;
    axis.size = FONT - 1;
    cf_canvas_text(c, l->left + m->n_columns * l->cell + l->total - 8, l->top - 8, "images", &axis);
    if (m->notes_axis)
        cf_canvas_text(c, l->left + m->n_columns * l->cell + l->total + l->notes - 8, l->top - 8,
                       m->notes_axis, &axis);
    axis.anchor = CF_ANCHOR_START;
    cf_canvas_textf(c, l->left, l->top + m->n_rows * l->cell + 20, &axis, "percent of the row%s%s",
                    l->counts ? ", and images" : "",
                    m->right != NULL ? "; framed: the class that is right" : "");
}

cf_err cf_plot_confusion(const cf_plot_matrix *m, cf_canvas **out)
{
    *out = NULL;
    if (m->n_rows < 1 || m->n_columns < 1)
        return cf_fail(CF_E_USAGE, "a confusion matrix of %d rows and %d columns", m->n_rows,
                       m->n_columns);
    layout l = plan(m);
    double width = l.left + m->n_columns * l.cell + l.total + l.notes + MARGIN;
    double height = l.top + m->n_rows * l.cell + 34;
    if (width > CF_CANVAS_MAX_SIDE) width = CF_CANVAS_MAX_SIDE;
    if (height > CF_CANVAS_MAX_SIDE) height = CF_CANVAS_MAX_SIDE;
    CF_TRY(cf_canvas_create(width, height, m->title ? m->title : "confusion matrix", out));
    draw_labels(*out, m, &l, width);
    draw_columns(*out, m, &l);
    for (int row = 0; row < m->n_rows; row++) draw_row(*out, m, &l, row);
    return CF_OK;
}
