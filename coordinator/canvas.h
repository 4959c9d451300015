/* A drawing as a list of strokes, areas, markers and texts, and its three forms: PNG through cairo,
 * an SVG file, and SVG inside an HTML page, where colours follow the page.
 *
 * Lengths are px at 96 to the inch, y downwards. An SVG has the same bytes on every machine, since
 * text stays text there; a PNG's text looks as the system's sans font does. Text comes from users:
 * control characters become blanks, what is no UTF-8 becomes U+FFFD, markup is escaped. A failure
 * to get memory is kept and reported by the encoder. Threads: one canvas, one thread. Read first:
 * cf_canvas_encode; plot.h draws whole figures. */
#ifndef CF_COORDINATOR_CANVAS_H
#define CF_COORDINATOR_CANVAS_H

#include <stdint.h>

#include "coordinator/paint.h"
#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum { CF_CANVAS_MAX_SIDE = 8192 }; /* px */

typedef struct cf_canvas cf_canvas;

typedef enum cf_dash {
    CF_DASH_SOLID,
    CF_DASH_LONG,
    CF_DASH_SHORT,
    CF_DASH_DOT,
    CF_N_DASHES
} cf_dash;
typedef enum cf_mark {
    CF_MARK_DISC,
    CF_MARK_SQUARE,
    CF_MARK_TRIANGLE,
    CF_MARK_CROSS,
    CF_N_MARKS
} cf_mark;
typedef enum cf_anchor { CF_ANCHOR_START, CF_ANCHOR_MIDDLE, CF_ANCHOR_END } cf_anchor;

/* How a line or an area looks. */
typedef struct cf_pen {
    cf_paint stroke, fill; /* CF_PAINT_NONE: not drawn */
    double width;          /* of the stroke, px */
    cf_dash dash;
    double fade; /* 0: opaque, 1: not to be seen */
} cf_pen;

typedef struct cf_font {
    double size; /* px */
    cf_paint paint;
    cf_anchor anchor;
    bool bold;
    bool upwards; /* turned by 90 degrees to the left round its place */
    double
        max_width; /* px, by cf_canvas_text_width: longer text is cut with an ellipsis; 0: none */
    bool halo;     /* a rim of paper, for text on top of points */
} cf_font;

/* title: what the picture shows, in one sentence (an SVG's title, a page's alternative text);
 * copied. CF_E_USAGE for a side of 0 or beyond CF_CANVAS_MAX_SIDE. */
CF_CHECKED cf_err cf_canvas_create(double width, double height, const char *title, cf_canvas **out);
void cf_canvas_destroy(cf_canvas *c);
double cf_canvas_width(const cf_canvas *c);
double cf_canvas_height(const cf_canvas *c);

/* xy: [n][2], copied. Points that are not finite break the line. */
void cf_canvas_line(cf_canvas *c, const double *xy, int64_t n, const cf_pen *pen);
/* The area that the points enclose. */
void cf_canvas_area(cf_canvas *c, const double *xy, int64_t n, const cf_pen *pen);
void cf_canvas_segment(cf_canvas *c, double x0, double y0, double x1, double y1, const cf_pen *pen);
void cf_canvas_rect(cf_canvas *c, double x, double y, double w, double h, const cf_pen *pen);
/* All of one kind: size is the diameter. Not finite ones are left out. */
void cf_canvas_marks(cf_canvas *c, const double *xy, int64_t n, cf_mark mark, double size,
                     cf_paint paint, double fade);
/* y: the baseline. text: copied. */
void cf_canvas_text(cf_canvas *c, double x, double y, const char *text, const cf_font *font);
CF_PRINTF(5, 6)
void cf_canvas_textf(cf_canvas *c, double x, double y, const cf_font *font, const char *fmt, ...);
/* What is drawn until the end is one thing that a page may point out: series `number`, and what a
 * pointer shows. No nesting. tip: copied, NULL for none. */
void cf_canvas_group(cf_canvas *c, int number, const char *tip);
void cf_canvas_group_end(cf_canvas *c);
/* An estimate, px, from the kinds of characters: no font is asked, so layouts are the same
 * everywhere. */
double cf_canvas_text_width(const char *text, double size, bool bold);

typedef enum cf_canvas_form {
    CF_CANVAS_PNG,    /* two px of the file for one of the canvas */
    CF_CANVAS_SVG,    /* a file of its own, light paper */
    CF_CANVAS_INLINE, /* an svg element: paints are the classes s<N> (stroke) and f<N> (fill) */
    CF_N_CANVAS_FORMS
} cf_canvas_form;
/* Appends to `out`. Errors: CF_E_UNEXPECTED when memory is short. */
CF_CHECKED cf_err cf_canvas_encode(const cf_canvas *c, cf_canvas_form form, cf_buf *out);
/* The same into a file, whole or not at all. Errors also: CF_E_DISK. */
CF_CHECKED cf_err cf_canvas_save(const cf_canvas *c, cf_canvas_form form, const char *path);

#endif
