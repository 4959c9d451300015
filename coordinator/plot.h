/* Whole figures on a canvas: confusion matrix, curves, bars, a cloud of points.
 *
 * They take plain arrays. Series differ in lightness, in dash or marker, and in their legend's
 * order, so that a figure reads in grey. All texts may be a user's. Every function makes a canvas
 * that the caller destroys (cf_canvas_destroy), and fails with CF_E_UNEXPECTED when memory is
 * short, with CF_E_USAGE for what cannot be drawn. Threads: any. Read first: cf_plot_lines. */
#ifndef CF_COORDINATOR_PLOT_H
#define CF_COORDINATOR_PLOT_H

#include <stdint.h>

#include "coordinator/canvas.h"

/* Counts of truth (rows) and prediction (columns), in percent of the row, with the counts below
 * where there is room. Rows and columns may be of two label sets. */
typedef struct cf_plot_matrix {
    const char *title, *row_axis, *column_axis; /* NULL: "truth", "prediction" */
    int n_rows, n_columns;
    const char *const *row_names;    /* [n_rows] */
    const char *const *column_names; /* [n_columns] */
    const int64_t *counts;           /* [n_rows][n_columns] */
    const int *right; /* [n_rows] the column that is the row's class, framed and bold; -1: none;
                         NULL: the diagonal of a square matrix */
    const char *notes_axis;   /* heads a column of notes behind the images; NULL: none */
    const char *const *notes; /* [n_rows], with notes_axis */
} cf_plot_matrix;
CF_CHECKED cf_err cf_plot_confusion(const cf_plot_matrix *m, cf_canvas **out);

/* One line of a figure, with its entry in the legend. */
typedef struct cf_plot_series {
    const char *name;
    const double *x, *y; /* [n]; not finite: a gap */
    int64_t n;
    int number;  /* colour, dash and marker go by it, see cf_plot_style */
    bool marked; /* with markers */
} cf_plot_series;

typedef struct cf_plot_axis {
    const char *label;
    double min, max; /* max > min */
    bool percent;    /* ticks of a share are written as percent */
} cf_plot_axis;

typedef struct cf_plot_figure {
    const char *title;    /* NULL: none */
    double width, height; /* of the whole canvas, higher where the legend is; 0: 560 x 420 */
    cf_plot_axis x, y;
    const cf_plot_series *series;
    int n_series;
    bool diagonal;      /* y = x, thin: chance, or perfect calibration */
    const double *bars; /* [n_bars] shares drawn pale from the bottom, bin i over the i-th part of
                           the x axis; NULL: none */
    int n_bars;
    bool always_legend; /* for a single series too */
} cf_plot_figure;
CF_CHECKED cf_err cf_plot_lines(const cf_plot_figure *f, cf_canvas **out);

/* Line and mark of series `number`: colours by number % CF_N_SERIES_COLORS, dashes and marks by
 * number % 4: the first 28 are all different. */
void cf_plot_style(int64_t number, cf_pen *line, cf_mark *mark);

/* Horizontal bars, one below the other, with the figure at their ends. */
typedef struct cf_plot_bars {
    const char *title, *axis;
    int n;
    const char *const *names;            /* [n] */
    const double *values;                /* [n] 0 or more */
    const double *others;                /* [n] a second, paler bar below each; NULL: none */
    const char *value_name, *other_name; /* legend where there are others */
} cf_plot_bars;
CF_CHECKED cf_err cf_plot_bar_chart(const cf_plot_bars *b, cf_canvas **out);

/* A cloud of points, coloured and marked by group, each group's name at its median. Axes have no
 * scale: distances alone mean something. */
typedef struct cf_plot_cloud {
    const char *title;
    double width, height; /* as above; 0: 720 x 640 */
    int64_t n;            /* points, up to 10 million */
    const double *x, *y;  /* [n]; not finite: left out */
    const int32_t *group; /* [n] index in names; others: drawn grey, first */
    int n_groups;
    const char *const *names; /* [n_groups] */
} cf_plot_cloud;
CF_CHECKED cf_err cf_plot_scatter(const cf_plot_cloud *cloud, cf_canvas **out);

/* Saves DIR/NAME.png and DIR/NAME.svg. The folder must be there. */
CF_CHECKED cf_err cf_plot_save(const cf_canvas *c, const char *dir, const char *name);

#endif
