/* The colours of every plot and of report.html: one table, with a value for light and one for dark
 * paper.
 *
 * Series are ordered by lightness and told apart by dashes and markers as well, so that they can be
 * read in grey and with any kind of colour vision; heat is monotone in lightness. Each heat step
 * has an ink that is read on it (contrast 4.5 or more, WCAG 2.1, 1.4.3). Threads: any. Read first:
 * cf_paint. */
#ifndef CF_COORDINATOR_PAINT_H
#define CF_COORDINATOR_PAINT_H

#include <stdint.h>

#include "kernels/base/buf.h"

enum {
    CF_N_SERIES_COLORS = 7,
    CF_HEAT_STEPS = 21 /* 0, 5, ... 100 % of the way from paper to the darkest */
};

/* A role, not a colour. Series s is CF_PAINT_SERIES + s, heat step h CF_PAINT_HEAT + h, the ink on
 * it CF_PAINT_HEAT_INK + h. */
typedef enum cf_paint {
    CF_PAINT_NONE,
    CF_PAINT_PAPER,
    CF_PAINT_INK,
    CF_PAINT_MUTED, /* notes and tick labels; contrast 4.5 on paper, too */
    CF_PAINT_GRID,
    CF_PAINT_BAR, /* areas behind or beside something more important */
    CF_PAINT_SERIES,
    CF_PAINT_HEAT = CF_PAINT_SERIES + CF_N_SERIES_COLORS,
    CF_PAINT_HEAT_INK = CF_PAINT_HEAT + CF_HEAT_STEPS,
    CF_N_PAINTS = CF_PAINT_HEAT_INK + CF_HEAT_STEPS
} cf_paint;

/* Paint of series i, in turn. */
cf_paint cf_paint_series(int64_t i);
/* Heat step of a share of 0 to 1, beyond that clamped: by its power 0.7, so that small shares can
 * be seen. */
int cf_paint_heat_step(double share);
typedef enum cf_paper { CF_PAPER_LIGHT, CF_PAPER_DARK } cf_paper;
/* 0xRRGGBB; CF_PAINT_NONE and what is no paint are black. */
uint32_t cf_paint_rgb(cf_paint paint, cf_paper paper);
/* Appends the declarations "--p2:#1f2430;..." of all paints, numbered as the enumeration. */
void cf_paint_css(cf_paper paper, cf_buf *out);

#endif
