/* The frame of a figure: ticks, grid, labels, legend, and the way from data to px. Internal to the
 * plots. Threads: any. Read first: cf_axes_draw. */
#ifndef CF_COORDINATOR_PLOT_AXES_H
#define CF_COORDINATOR_PLOT_AXES_H

#include "coordinator/plot.h"

enum { CF_TICKS_MAX = 16 };

typedef struct cf_axes {
    double left, top, width, height; /* of the frame, px */
    cf_plot_axis x, y;
} cf_axes;

static inline double cf_axes_x(const cf_axes *a, double x)
{
    return a->left + (x - a->x.min) / (a->x.max - a->x.min) * a->width;
}

static inline double cf_axes_y(const cf_axes *a, double y)
{
    return a->top + a->height - (y - a->y.min) / (a->y.max - a->y.min) * a->height;
}

/* Round values from min to max, about `wanted` of them: steps of 1, 2 or 5 times a power of ten.
 * Returns how many. */
int cf_axis_ticks(double min, double max, int wanted, double ticks[CF_TICKS_MAX]);
/* A tick's number, as short as it may be. */
void cf_axis_number(double value, const cf_plot_axis *axis, char *text, size_t n);
void cf_axes_draw(cf_canvas *c, const cf_axes *a);
/* Most entries of a legend; of the others it says how many they are. With more lines than this
 * nobody reads it, and a picture has a largest height. */
enum { CF_LEGEND_MOST = 60, CF_LEGEND_LINE = 18 };
/* Px from the first line of a legend of n entries to below its last. */
double cf_legend_height(int n);
/* "and 40 more" below the last of so many entries; nothing where all are there. (x, y): of the
 * first entry's text. */
void cf_legend_rest(cf_canvas *c, int n, double x, double y);
/* Entries of series one below the other from (x, y) on; max_width: of their texts. */
void cf_legend_draw(cf_canvas *c, const cf_plot_series *series, int n, double x, double y,
                    double max_width);

#endif
