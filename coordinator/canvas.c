#include "coordinator/canvas.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/canvas_list.h"
#include "coordinator/html.h"
#include "coordinator/markdown.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

/* ---- text ---- */

/* Share of the font size, a little above what common sans fonts take. */
static double character_width(const char *c, size_t length)
{
    if (length != 1) {
        char one[8] = {0};
        memcpy(one, c, length < sizeof one ? length : 0);
        return cf_text_width(one) > 1 ? 1.0 : 0.64;
    }
    if (strchr(" .,:;'|!ijlIft()[]/-", *c)) return 0.37;
    if (strchr("mwMW%@", *c)) return 0.92;
    if (isupper((unsigned char)*c)) return 0.7;
    return 0.61;
}

double cf_canvas_text_width(const char *text, double size, bool bold)
{
    double width = 0;
    for (const char *c = text; *c;) {
        size_t length = cf_utf8_length(c);
        if (length == 0) length = 1;
        width += character_width(c, length);
        c += length;
    }
    return width * size * (bold ? 1.06 : 1.0);
}

/* The beginning of the text that fits, with an ellipsis, cut in place. */
static void cut_text(char *text, const cf_font *font)
{
    static const char ellipsis[] = "\xe2\x80\xa6";
    double room = font->max_width - 0.7 * font->size, width = 0;
    if (font->max_width <= 0 ||
        cf_canvas_text_width(text, font->size, font->bold) <= font->max_width)
        return;
    for (char *c = text; *c;) {
        size_t length = cf_utf8_length(c);
        width += character_width(c, length) * font->size * (font->bold ? 1.06 : 1.0);
        if (width > room && strlen(c) >= sizeof ellipsis) {
            memcpy(c, ellipsis, sizeof ellipsis);
            return;
        }
        c += length;
    }
}

/* ---- the list ---- */

cf_err cf_canvas_create(double width, double height, const char *title, cf_canvas **out)
{
    *out = NULL;
    if (!(width >= 1) || !(height >= 1) || width > CF_CANVAS_MAX_SIDE ||
        height > CF_CANVAS_MAX_SIDE)
        return cf_fail(CF_E_USAGE, "a plot of %g x %g px, expected 1 to %d a side", width, height,
                       CF_CANVAS_MAX_SIDE);
    cf_canvas *c;
    CF_TRY(cf_new(&c, 1, sizeof *c));
    c->width = width;
    c->height = height;
    cf_err err = cf_html_clean(title, &c->title);
    if (err == CF_OK)
        *out = c;
    else
        cf_canvas_destroy(c);
    return err;
}

void cf_canvas_destroy(cf_canvas *c)
{
    if (!c) return;
    for (int64_t i = 0; i < c->n; i++) {
        free(c->strokes[i].xy);
        free(c->strokes[i].text);
    }
    free(c->strokes);
    free(c->title);
    free(c);
}

double cf_canvas_width(const cf_canvas *c)
{
    return c->width;
}

double cf_canvas_height(const cf_canvas *c)
{
    return c->height;
}

/* A new stroke at the end; NULL after a failure. */
static cf_stroke *add(cf_canvas *c, cf_stroke_kind kind)
{
    if (c->err != CF_OK) return NULL;
    if (c->n == c->capacity) {
        int64_t capacity = c->capacity > 0 ? 2 * c->capacity : 64;
        c->err = cf_resize(&c->strokes, (size_t)capacity, sizeof *c->strokes);
        if (c->err != CF_OK) return NULL;
        c->capacity = capacity;
    }
    cf_stroke *s = &c->strokes[c->n++];
    *s = (cf_stroke){.kind = kind};
    return s;
}

static void put_points(cf_canvas *c, cf_stroke *s, const double *xy, int64_t n)
{
    c->err = cf_new(&s->xy, (size_t)n, 2 * sizeof *xy);
    if (c->err != CF_OK) return;
    memcpy(s->xy, xy, (size_t)n * 2 * sizeof *xy);
    s->n = n;
}

static void add_points(cf_canvas *c, cf_stroke_kind kind, const double *xy, int64_t n,
                       const cf_pen *pen)
{
    cf_stroke *s = n > 0 ? add(c, kind) : NULL;
    if (!s) return;
    s->pen = *pen;
    put_points(c, s, xy, n);
}

void cf_canvas_line(cf_canvas *c, const double *xy, int64_t n, const cf_pen *pen)
{
    add_points(c, CF_STROKE_LINE, xy, n, pen);
}

void cf_canvas_area(cf_canvas *c, const double *xy, int64_t n, const cf_pen *pen)
{
    add_points(c, CF_STROKE_AREA, xy, n, pen);
}

void cf_canvas_segment(cf_canvas *c, double x0, double y0, double x1, double y1, const cf_pen *pen)
{
    const double xy[] = {x0, y0, x1, y1};
    add_points(c, CF_STROKE_LINE, xy, 2, pen);
}

void cf_canvas_rect(cf_canvas *c, double x, double y, double w, double h, const cf_pen *pen)
{
    const double xy[] = {x, y, x + w, y, x + w, y + h, x, y + h};
    add_points(c, CF_STROKE_AREA, xy, 4, pen);
}

void cf_canvas_marks(cf_canvas *c, const double *xy, int64_t n, cf_mark mark, double size,
                     cf_paint paint, double fade)
{
    cf_stroke *s = n > 0 ? add(c, CF_STROKE_MARKS) : NULL;
    if (!s) return;
    s->pen = (cf_pen){.fill = paint, .fade = fade};
    s->mark = mark;
    s->size = size;
    put_points(c, s, xy, n);
}

void cf_canvas_text(cf_canvas *c, double x, double y, const char *text, const cf_font *font)
{
    const double xy[] = {x, y};
    cf_stroke *s = add(c, CF_STROKE_TEXT);
    if (!s) return;
    s->font = *font;
    put_points(c, s, xy, 1);
    if (c->err == CF_OK) c->err = cf_html_clean(text, &s->text);
    if (c->err == CF_OK) cut_text(s->text, font);
}

void cf_canvas_textf(cf_canvas *c, double x, double y, const cf_font *font, const char *fmt, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, fmt);
    vsnprintf(text, sizeof text, fmt, arguments);
    va_end(arguments);
    cf_canvas_text(c, x, y, text, font);
}

void cf_canvas_group(cf_canvas *c, int number, const char *tip)
{
    cf_stroke *s = add(c, CF_STROKE_GROUP);
    if (!s) return;
    s->number = number;
    if (tip) c->err = cf_html_clean(tip, &s->text);
}

void cf_canvas_group_end(cf_canvas *c)
{
    (void)add(c, CF_STROKE_GROUP_END);
}

/* ---- shapes that all encoders share ---- */

int cf_dash_pattern(cf_dash dash, const double **pattern)
{
    static const double patterns[CF_N_DASHES][2] = {{0, 0}, {6, 2.5}, {3, 2}, {1, 1.6}};
    *pattern = patterns[dash];
    return dash == CF_DASH_SOLID ? 0 : 2;
}

int cf_mark_outline(cf_mark mark, double size, double x, double y, double xy[8])
{
    static const double shapes[CF_N_MARKS][8] = {
        [CF_MARK_SQUARE] = {-.45, -.45, .45, -.45, .45, .45, -.45, .45},
        [CF_MARK_TRIANGLE] = {0, -.58, .55, .42, -.55, .42},
        [CF_MARK_CROSS] = {-.45, -.45, .45, .45, .45, -.45, -.45, .45},
    };
    static const int counts[CF_N_MARKS] = {0, 4, 3, 4};
    for (int i = 0; i < counts[mark]; i++) {
        xy[2 * i] = x + size * shapes[mark][2 * i];
        xy[2 * i + 1] = y + size * shapes[mark][2 * i + 1];
    }
    return counts[mark];
}

/* ---- encoding ---- */

cf_err cf_canvas_encode(const cf_canvas *c, cf_canvas_form form, cf_buf *out)
{
    if (c->err != CF_OK) return cf_fail(c->err, "a plot: memory is short");
    return form == CF_CANVAS_PNG ? cf_canvas_png(c, out) : cf_canvas_svg(c, form, out);
}

cf_err cf_canvas_save(const cf_canvas *c, cf_canvas_form form, const char *path)
{
    cf_buf bytes = {0};
    cf_err err = cf_canvas_encode(c, form, &bytes);
    if (err == CF_OK) err = cf_file_save(path, cf_buf_text(&bytes), bytes.len);
    cf_buf_fini(&bytes);
    return err;
}
