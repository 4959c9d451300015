/* The strokes that a canvas holds, for its encoders only. Read first: canvas.h. */
#ifndef CF_COORDINATOR_CANVAS_LIST_H
#define CF_COORDINATOR_CANVAS_LIST_H

#include "coordinator/canvas.h"

typedef enum cf_stroke_kind {
    CF_STROKE_LINE,
    CF_STROKE_AREA,
    CF_STROKE_MARKS,
    CF_STROKE_TEXT,
    CF_STROKE_GROUP,
    CF_STROKE_GROUP_END
} cf_stroke_kind;

typedef struct cf_stroke {
    cf_stroke_kind kind;
    double *xy; /* owned, [n][2] */
    int64_t n;
    cf_pen pen;   /* line, area; marks: fill and fade */
    cf_mark mark; /* marks */
    double size;  /* marks */
    cf_font font; /* text */
    char *text;   /* owned, clean UTF-8: text; group: its tip or NULL */
    int number;   /* group */
} cf_stroke;

struct cf_canvas {
    double width, height;
    char *title;        /* owned */
    cf_stroke *strokes; /* owned, [n] */
    int64_t n, capacity;
    cf_err err; /* first failure */
};

/* Lengths of dash and gap in widths of the line, [n]; n: 0 for a solid one. */
int cf_dash_pattern(cf_dash dash, const double **pattern);
/* Appends the path of one mark of diameter `size` round (x, y) to a list of points: a closed
 * outline for square and triangle; four points, two strokes, for a cross. Returns how many, at
 * most 4. */
int cf_mark_outline(cf_mark mark, double size, double x, double y, double xy[8]);

CF_CHECKED cf_err cf_canvas_png(const cf_canvas *c, cf_buf *out);
CF_CHECKED cf_err cf_canvas_svg(const cf_canvas *c, cf_canvas_form form, cf_buf *out);

#endif
