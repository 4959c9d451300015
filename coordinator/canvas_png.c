/* A canvas as a PNG file's bytes: drawn by cairo, encoded by libpng; the one file here that knows
 * them. */
#include <math.h>
#include <setjmp.h>

#include <cairo.h>
#include <png.h>

#include "coordinator/canvas_list.h"

enum {
    SCALE = 2, /* px of the file for one of the canvas: sharp in print and on fine screens */
    COMPRESSION = 2
};

static void set_paint(cairo_t *cr, cf_paint paint, double fade)
{
    uint32_t rgb = cf_paint_rgb(paint, CF_PAPER_LIGHT);
    cairo_set_source_rgba(cr, (double)(rgb >> 16 & 255) / 255, (double)(rgb >> 8 & 255) / 255,
                          (double)(rgb & 255) / 255, 1 - fade);
}

static void add_path(cairo_t *cr, const cf_stroke *s)
{
    bool broken = true;
    for (int64_t i = 0; i < s->n; i++) {
        double x = s->xy[2 * i], y = s->xy[2 * i + 1];
        if (!isfinite(x) || !isfinite(y)) {
            broken = true;
            continue;
        }
        if (broken)
            cairo_move_to(cr, x, y);
        else
            cairo_line_to(cr, x, y);
        broken = false;
    }
}

static void stroke(cairo_t *cr, const cf_pen *pen)
{
    const double *pattern;
    double dashes[2];
    int n = cf_dash_pattern(pen->dash, &pattern);
    for (int i = 0; i < n; i++) dashes[i] = pattern[i] * pen->width;
    set_paint(cr, pen->stroke, pen->fade);
    cairo_set_line_width(cr, pen->width);
    cairo_set_dash(cr, dashes, n, 0);
    cairo_stroke(cr);
}

static void draw_path(cairo_t *cr, const cf_stroke *s)
{
    add_path(cr, s);
    if (s->kind == CF_STROKE_AREA) cairo_close_path(cr);
    if (s->pen.fill != CF_PAINT_NONE) {
        set_paint(cr, s->pen.fill, s->pen.fade);
        cairo_fill_preserve(cr);
    }
    if (s->pen.stroke != CF_PAINT_NONE)
        stroke(cr, &s->pen);
    else
        cairo_new_path(cr);
}

static void draw_marks(cairo_t *cr, const cf_stroke *s)
{
    double xy[8];
    set_paint(cr, s->pen.fill, s->pen.fade);
    cairo_set_dash(cr, NULL, 0, 0);
    cairo_set_line_width(cr, s->size * 0.28);
    for (int64_t i = 0; i < s->n; i++) {
        double x = s->xy[2 * i], y = s->xy[2 * i + 1];
        if (!isfinite(x) || !isfinite(y)) continue;
        int n = cf_mark_outline(s->mark, s->size, x, y, xy);
        if (n == 0) cairo_arc(cr, x, y, s->size / 2, 0, 6.283185307179586);
        for (int k = 0; k < n; k++)
            if (k == 0 || (s->mark == CF_MARK_CROSS && k == 2))
                cairo_move_to(cr, xy[2 * k], xy[2 * k + 1]);
            else
                cairo_line_to(cr, xy[2 * k], xy[2 * k + 1]);
        /* one by one: what lies upon another adds up, as points of a cloud do */
        if (s->mark == CF_MARK_CROSS)
            cairo_stroke(cr);
        else
            cairo_fill(cr);
    }
}

static void draw_text(cairo_t *cr, const cf_stroke *s)
{
    static const double shift[] = {
        [CF_ANCHOR_START] = 0, [CF_ANCHOR_MIDDLE] = 0.5, [CF_ANCHOR_END] = 1};
    cairo_text_extents_t e;
    cairo_select_font_face(cr, "sans", CAIRO_FONT_SLANT_NORMAL,
                           s->font.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, s->font.size);
    cairo_text_extents(cr, s->text, &e);
    cairo_save(cr);
    cairo_translate(cr, s->xy[0], s->xy[1]);
    if (s->font.upwards) cairo_rotate(cr, -1.5707963267948966);
    cairo_move_to(cr, -shift[s->font.anchor] * e.x_advance, 0);
    if (s->font.halo) {
        cairo_text_path(cr, s->text);
        set_paint(cr, CF_PAINT_PAPER, 0.15);
        cairo_set_dash(cr, NULL, 0, 0);
        cairo_set_line_width(cr, 3.5);
        cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
        cairo_stroke(cr);
        cairo_set_line_join(cr, CAIRO_LINE_JOIN_MITER);
        cairo_move_to(cr, -shift[s->font.anchor] * e.x_advance, 0);
    }
    set_paint(cr, s->font.paint, 0);
    cairo_show_text(cr, s->text);
    cairo_restore(cr);
}

static void draw(cairo_t *cr, const cf_canvas *c)
{
    cairo_scale(cr, SCALE, SCALE);
    set_paint(cr, CF_PAINT_PAPER, 0);
    cairo_paint(cr);
    for (int64_t i = 0; i < c->n; i++) {
        const cf_stroke *s = &c->strokes[i];
        if (s->kind == CF_STROKE_LINE || s->kind == CF_STROKE_AREA) draw_path(cr, s);
        if (s->kind == CF_STROKE_MARKS) draw_marks(cr, s);
        if (s->kind == CF_STROKE_TEXT) draw_text(cr, s);
    }
}

/* ---- libpng: cairo's own writer tries every filter on every line, which takes four times as long
 * and makes flat areas no smaller ---- */

static void write_bytes(png_structp png, png_bytep bytes, size_t n)
{
    cf_buf_add(png_get_io_ptr(png), bytes, n); /* a buffer remembers its failure */
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

/* Runs under the jump of encode. */
static void write_image(png_structp png, png_infop info, cairo_surface_t *surface)
{
    int width = cairo_image_surface_get_width(surface);
    int height = cairo_image_surface_get_height(surface);
    int stride = cairo_image_surface_get_stride(surface);
    const unsigned char *pixels = cairo_image_surface_get_data(surface);
    png_set_compression_level(png, COMPRESSION);
    png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_NONE);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    png_set_filler(png, 0, PNG_FILLER_AFTER);
    png_set_bgr(png); /* a pixel is a 32-bit number 0xXXRRGGBB, its lowest byte first */
    for (int y = 0; y < height; y++) png_write_row(png, pixels + (ptrdiff_t)y * stride);
    png_write_end(png, NULL);
}

static cf_err encode(cairo_surface_t *surface, cf_buf *out)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    cf_err err = CF_OK;
    if (info == NULL) {
        png_destroy_write_struct(&png, NULL);
        return cf_fail(CF_E_UNEXPECTED, "a plot: libpng: memory is short");
    }
    if (setjmp(png_jmpbuf(png)) == 0) {
        png_set_write_fn(png, out, write_bytes, flush_nothing);
        write_image(png, info, surface);
    } else {
        err = cf_fail(CF_E_UNEXPECTED, "a plot: libpng refused it");
    }
    png_destroy_write_struct(&png, &info);
    return err;
}

cf_err cf_canvas_png(const cf_canvas *c, cf_buf *out)
{
    cairo_surface_t *surface = cairo_image_surface_create(
        CAIRO_FORMAT_RGB24, (int)ceil(c->width * SCALE), (int)ceil(c->height * SCALE));
    cairo_t *cr = cairo_create(surface);
    draw(cr, c);
    cairo_status_t status = cairo_status(cr);
    cairo_destroy(cr);
    cairo_surface_flush(surface);
    cf_err err = CF_OK;
    if (status == CAIRO_STATUS_SUCCESS)
        err = encode(surface, out);
    else
        err = cf_fail(CF_E_UNEXPECTED, "a plot: cairo: %s", cairo_status_to_string(status));
    cairo_surface_destroy(surface);
    return err == CF_OK ? cf_buf_check(out) : err;
}
