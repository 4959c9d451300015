/* A canvas as SVG: a file of its own, or an element of an HTML page. cairo's own SVG numbers its
 * surfaces through the whole process and turns text into outlines of the machine's font, so its
 * bytes are no function of what was drawn; and a page could not recolour it. */
#include <math.h>

#include "coordinator/canvas_list.h"
#include "coordinator/html.h"

typedef struct svg {
    cf_buf *out; /* borrowed */
    bool inlined;
} svg;

/* One or two decimals, as short as they can be, and a dot whatever the locale. */
static void put_number(svg *s, double value)
{
    long long hundredths = llround(value * 100);
    const char *sign = hundredths < 0 ? "-" : "";
    if (hundredths < 0) hundredths = -hundredths;
    long long whole = hundredths / 100, rest = hundredths % 100;
    cf_buf_printf(s->out, "%s%lld", sign, whole);
    if (rest == 0) return;
    if (rest % 10 == 0)
        cf_buf_printf(s->out, ".%lld", rest / 10);
    else
        cf_buf_printf(s->out, ".%02lld", rest);
}

static void put_pair(svg *s, const char *before, double x, double y)
{
    cf_buf_printf(s->out, "%s", before);
    put_number(s, x);
    cf_buf_add(s->out, " ", 1);
    put_number(s, y);
}

static void put_attribute(svg *s, const char *name, double value)
{
    cf_buf_printf(s->out, " %s=\"", name);
    put_number(s, value);
    cf_buf_add(s->out, "\"", 1);
}

/* Fill and stroke: classes of the page, or colours. */
static void put_paints(svg *s, cf_paint stroke, cf_paint fill)
{
    if (s->inlined) {
        cf_buf_printf(s->out, " class=\"f%d s%d\"", (int)fill, (int)stroke);
        return;
    }
    const cf_paint paints[] = {fill, stroke};
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "fill" : "stroke";
        if (paints[i] != CF_PAINT_NONE)
            cf_buf_printf(s->out, " %s=\"#%06x\"", name,
                          (unsigned)cf_paint_rgb(paints[i], CF_PAPER_LIGHT));
        else if (i == 0)
            cf_buf_printf(s->out, " fill=\"none\"");
    }
}

static void put_pen(svg *s, const cf_pen *pen)
{
    const double *pattern;
    int n = cf_dash_pattern(pen->dash, &pattern);
    put_paints(s, pen->stroke, pen->fill);
    if (pen->stroke != CF_PAINT_NONE) put_attribute(s, "stroke-width", pen->width);
    if (n > 0 && pen->stroke != CF_PAINT_NONE)
        put_pair(s, " stroke-dasharray=\"", pattern[0] * pen->width, pattern[1] * pen->width);
    if (n > 0 && pen->stroke != CF_PAINT_NONE) cf_buf_printf(s->out, "\"");
    if (pen->fade > 0) put_attribute(s, "opacity", 1 - pen->fade);
}

static void put_path(svg *s, const cf_stroke *t)
{
    bool broken = true;
    cf_buf_printf(s->out, "<path d=\"");
    for (int64_t i = 0; i < t->n; i++) {
        double x = t->xy[2 * i], y = t->xy[2 * i + 1];
        if (isfinite(x) && isfinite(y)) put_pair(s, broken ? "M" : "L", x, y);
        broken = !isfinite(x) || !isfinite(y);
    }
    cf_buf_printf(s->out, "%s\"", t->kind == CF_STROKE_AREA ? "Z" : "");
    put_pen(s, &t->pen);
    cf_buf_printf(s->out, "/>\n");
}

static void put_mark(svg *s, const cf_stroke *t, double x, double y)
{
    double xy[8];
    int n = cf_mark_outline(t->mark, t->size, x, y, xy);
    if (n == 0) { /* a line of no length with a round end is a disc, in few bytes */
        put_pair(s, "M", x, y);
        cf_buf_printf(s->out, "h0");
    }
    for (int k = 0; k < n; k++) {
        bool begin = k == 0 || (t->mark == CF_MARK_CROSS && k == 2);
        put_pair(s, begin ? "M" : "L", xy[2 * k], xy[2 * k + 1]);
    }
    if (n > 0 && t->mark != CF_MARK_CROSS) cf_buf_printf(s->out, "Z");
}

static void put_marks(svg *s, const cf_stroke *t)
{
    bool strokes = t->mark == CF_MARK_DISC || t->mark == CF_MARK_CROSS;
    cf_buf_printf(s->out, "<path d=\"");
    for (int64_t i = 0; i < t->n; i++)
        if (isfinite(t->xy[2 * i]) && isfinite(t->xy[2 * i + 1]))
            put_mark(s, t, t->xy[2 * i], t->xy[2 * i + 1]);
    cf_buf_printf(s->out, "\"");
    put_paints(s, strokes ? t->pen.fill : CF_PAINT_NONE, strokes ? CF_PAINT_NONE : t->pen.fill);
    if (strokes) put_attribute(s, "stroke-width", t->size * (t->mark == CF_MARK_DISC ? 1 : 0.28));
    if (t->mark == CF_MARK_DISC) cf_buf_printf(s->out, " stroke-linecap=\"round\"");
    if (t->pen.fade > 0) put_attribute(s, "opacity", 1 - t->pen.fade);
    cf_buf_printf(s->out, "/>\n");
}

static void put_text(svg *s, const cf_stroke *t)
{
    static const char *const anchors[] = {"start", "middle", "end"};
    cf_buf_printf(s->out, "<text");
    if (t->font.upwards) {
        put_pair(s, " transform=\"translate(", t->xy[0], t->xy[1]);
        cf_buf_printf(s->out, ") rotate(-90)\"");
    } else {
        put_attribute(s, "x", t->xy[0]);
        put_attribute(s, "y", t->xy[1]);
    }
    put_attribute(s, "font-size", t->font.size);
    if (t->font.anchor != CF_ANCHOR_START)
        cf_buf_printf(s->out, " text-anchor=\"%s\"", anchors[t->font.anchor]);
    if (t->font.bold) cf_buf_printf(s->out, " font-weight=\"bold\"");
    put_paints(s, t->font.halo ? CF_PAINT_PAPER : CF_PAINT_NONE, t->font.paint);
    if (t->font.halo) cf_buf_printf(s->out, " stroke-width=\"3.5\" paint-order=\"stroke\"");
    cf_buf_printf(s->out, ">");
    cf_html_text(s->out, t->text);
    cf_buf_printf(s->out, "</text>\n");
}

static void put_group(svg *s, const cf_stroke *t)
{
    cf_buf_printf(s->out, "<g class=\"series\" data-series=\"%d\">", t->number);
    if (t->text) {
        cf_buf_printf(s->out, "<title>");
        cf_html_text(s->out, t->text);
        cf_buf_printf(s->out, "</title>");
    }
    cf_buf_printf(s->out, "\n");
}

static void put_stroke(svg *s, const cf_stroke *t)
{
    switch (t->kind) {
    case CF_STROKE_LINE:
    case CF_STROKE_AREA:
        put_path(s, t);
        break;
    case CF_STROKE_MARKS:
        put_marks(s, t);
        break;
    case CF_STROKE_TEXT:
        put_text(s, t);
        break;
    case CF_STROKE_GROUP:
        put_group(s, t);
        break;
    case CF_STROKE_GROUP_END:
        cf_buf_printf(s->out, "</g>\n");
        break;
    }
}

/* In a page the element is an image with a name; its texts are not read one by one. */
static void put_head(svg *s, const cf_canvas *c)
{
    cf_buf_printf(s->out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ");
    put_number(s, c->width);
    cf_buf_add(s->out, " ", 1);
    put_number(s, c->height);
    cf_buf_printf(s->out, "\"");
    put_attribute(s, "width", c->width);
    put_attribute(s, "height", c->height);
    if (s->inlined) {
        cf_buf_printf(s->out, " role=\"img\" aria-label=\"");
        cf_html_text(s->out, c->title);
        cf_buf_printf(s->out, "\">\n");
        return;
    }
    cf_buf_printf(s->out, " font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', "
                          "sans-serif\">\n<title>");
    cf_html_text(s->out, c->title);
    cf_buf_printf(s->out, "</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
}

cf_err cf_canvas_svg(const cf_canvas *c, cf_canvas_form form, cf_buf *out)
{
    svg s = {.out = out, .inlined = form == CF_CANVAS_INLINE};
    put_head(&s, c);
    for (int64_t i = 0; i < c->n; i++) put_stroke(&s, &c->strokes[i]);
    cf_buf_printf(out, "</svg>\n");
    return cf_buf_check(out);
}
