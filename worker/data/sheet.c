#include "worker/data/sheet.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cairo.h>

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "worker/data/image.h"

/* Lengths in px. A caption line is as high as the font's ascent and descent with a little air. */
enum {
    MARGIN = 20,
    GAP = 12, /* between pictures; the frame stands in it */
    FRAME = 4,
    TITLE_FONT = 18,
    TITLE_HEIGHT = 34,
    FONT = 11,
    LINE = 14,
    CAPTION_LINES = 2,
    LABEL_WIDTH = 130
};

typedef struct tile {
    uint8_t *pixels; /* owned, [height][width][3]; NULL: empty place */
    int height, width;
    char *lines[CAPTION_LINES]; /* owned, valid UTF-8; NULL: none */
    bool framed;
    double color[3]; /* of the frame, 0 to 1 */
} tile;

typedef struct row {
    char *label; /* owned, valid UTF-8; NULL: none */
    int64_t first_tile;
    int n_tiles;
} row;

struct cf_sheet {
    int columns, tile_px;
    char *title; /* owned, valid UTF-8; NULL: none */
    bool labels; /* some row has one */
    int n_lines; /* caption lines that any picture has */
    tile *tiles; /* owned, [n_tiles] */
    row *rows;   /* owned, [n_rows] */
    int64_t n_tiles, n_rows;
};

/* ---- layout ---- */

static int64_t sheet_width(const cf_sheet *s)
{
    return 2 * MARGIN + (s->labels ? LABEL_WIDTH : 0) + (int64_t)s->columns * (s->tile_px + GAP) -
           GAP;
}

static int row_height(const cf_sheet *s)
{
    return s->tile_px + GAP + s->n_lines * LINE;
}

static int64_t sheet_height(const cf_sheet *s)
{
    return 2 * MARGIN + (s->title ? TITLE_HEIGHT : 0) + s->n_rows * row_height(s);
}

static cf_err check_size(const cf_sheet *s)
{
    if (sheet_width(s) <= CF_SHEET_MAX_SIDE && sheet_height(s) <= CF_SHEET_MAX_SIDE) return CF_OK;
    return cf_fail(
        CF_E_USAGE,
        "a contact sheet of %d columns and %lld rows of %d px is %lld x %lld px; at most "
        "%d a side",
        s->columns, (long long)s->n_rows, s->tile_px, (long long)sheet_width(s),
        (long long)sheet_height(s), CF_SHEET_MAX_SIDE);
}

/* ---- filling ---- */

/* Whether the well-formed character at c is one of Unicode's 66 noncharacters, U+FDD0 to U+FDEF and
 * the last two of each plane (The Unicode Standard 15.0, 23.7): cairo takes them for no UTF-8 and
 * refuses the whole text. */
static bool is_noncharacter(const char *c, size_t length)
{
    const unsigned char *b = (const unsigned char *)c;
    if (length < 3) return false;
    uint32_t code = b[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) code = code << 6 | (b[i] & 0x3fu);
    return (code & 0xfffeu) == 0xfffeu || (code >= 0xfdd0 && code <= 0xfdef);
}

/* A copy of n bytes that cairo will take: what is no UTF-8 and what is no character become U+FFFD,
 * control characters blanks. */
static cf_err copy_text(const char *text, size_t n, char **out)
{
    cf_buf clean = {0};
    char *bytes;
    CF_TRY(cf_new(&bytes, n + 1, 1)); /* a NUL after them, where reading a character stops */
    memcpy(bytes, text, n);
    for (const char *c = bytes; *c;) {
        size_t length = cf_utf8_length(c);
        if (length == 0 || is_noncharacter(c, length))
            cf_buf_add(&clean, "\xef\xbf\xbd", 3);
        else if (length == 1 && iscntrl((unsigned char)*c))
            cf_buf_add(&clean, " ", 1);
        else
            cf_buf_add(&clean, c, length);
        c += length > 0 ? length : 1;
    }
    free(bytes);
    cf_err err = cf_buf_check(&clean);
    if (err == CF_OK) err = cf_strdup(cf_buf_text(&clean), out);
    cf_buf_fini(&clean);
    return err;
}

cf_err cf_sheet_create(int columns, int tile_px, const char *title, cf_sheet **out)
{
    *out = NULL;
    if (columns < 1 || tile_px < CF_SHEET_MIN_TILE || tile_px > CF_SHEET_MAX_TILE)
        return cf_fail(CF_E_USAGE,
                       "contact sheet of %d columns of %d px, expected at least one of %d to %d px",
                       columns, tile_px, CF_SHEET_MIN_TILE, CF_SHEET_MAX_TILE);
    cf_sheet *s;
    CF_TRY(cf_new(&s, 1, sizeof *s));
    s->columns = columns;
    s->tile_px = tile_px;
    cf_err err = title ? copy_text(title, strlen(title), &s->title) : CF_OK;
    if (err == CF_OK) err = check_size(s);
    if (err == CF_OK)
        *out = s;
    else
        cf_sheet_destroy(s);
    return err;
}

/* Room for one more item of a list of n: it doubles at powers of two. */
static cf_err grow(void *list, int64_t n, size_t item_bytes)
{
    if ((n & (n - 1)) != 0) return CF_OK;
    return cf_resize(list, n > 0 ? 2 * (size_t)n : 1, item_bytes);
}

cf_err cf_sheet_row(cf_sheet *s, const char *label)
{
    CF_TRY(grow(&s->rows, s->n_rows, sizeof *s->rows));
    row *r = &s->rows[s->n_rows];
    *r = (row){.first_tile = s->n_tiles};
    if (label) CF_TRY(copy_text(label, strlen(label), &r->label));
    s->labels = s->labels || label;
    s->n_rows++;
    return check_size(s);
}

static cf_err parse_color(const char *color, double rgb[3])
{
    bool good = color[0] == '#' && strlen(color) == 7;
    for (int i = 1; good && i < 7; i++) good = isxdigit((unsigned char)color[i]) != 0;
    if (!good) return cf_fail(CF_E_USAGE, "frame colour %.16s, expected #rrggbb", color);
    long value = strtol(color + 1, NULL, 16);
    for (int c = 0; c < 3; c++) rgb[c] = (double)(value >> (16 - 8 * c) & 255) / 255.0;
    return CF_OK;
}

/* Scales to fit the square; at least one px a side. */
static cf_err scale(const cf_sheet *s, const uint8_t *pixels, int h, int w, tile *t)
{
    int side = h > w ? h : w;
    /* cf_image_resize only reads its input */
    const cf_image in = {.height = h, .width = w, .pixels = (uint8_t *)(uintptr_t)pixels};
    t->height = (int)(((int64_t)h * s->tile_px + side / 2) / side);
    t->width = (int)(((int64_t)w * s->tile_px + side / 2) / side);
    if (t->height < 1) t->height = 1;
    if (t->width < 1) t->width = 1;
    cf_image out;
    CF_TRY(cf_image_resize(&in, t->height, t->width, &out));
    t->pixels = out.pixels; /* moved */
    return CF_OK;
}

static cf_err set_caption(cf_sheet *s, const char *caption, tile *t)
{
    for (int k = 0; k < CAPTION_LINES && caption; k++) {
        const char *end = strchr(caption, '\n');
        size_t n = end ? (size_t)(end - caption) : strlen(caption);
        CF_TRY(copy_text(caption, n, &t->lines[k]));
        if (s->n_lines < k + 1) s->n_lines = k + 1;
        caption = end ? end + 1 : NULL;
    }
    return CF_OK;
}

cf_err cf_sheet_tile(cf_sheet *s, const uint8_t *pixels, int h, int w, const char *caption,
                     const char *color)
{
    if (s->n_rows == 0 || s->rows[s->n_rows - 1].n_tiles == s->columns)
        CF_TRY(cf_sheet_row(s, NULL));
    CF_TRY(grow(&s->tiles, s->n_tiles, sizeof *s->tiles));
    tile *t = &s->tiles[s->n_tiles];
    *t = (tile){.framed = color != NULL};
    s->n_tiles++; /* from here on cf_sheet_destroy releases it */
    s->rows[s->n_rows - 1].n_tiles++;
    if (color) CF_TRY(parse_color(color, t->color));
    if (pixels) CF_TRY(scale(s, pixels, h, w, t));
    CF_TRY(set_caption(s, caption, t));
    return check_size(s);
}

void cf_sheet_destroy(cf_sheet *s)
{
    if (!s) return;
    for (int64_t i = 0; i < s->n_tiles; i++) {
        free(s->tiles[i].pixels);
        for (int k = 0; k < CAPTION_LINES; k++) free(s->tiles[i].lines[k]);
    }
    for (int64_t i = 0; i < s->n_rows; i++) free(s->rows[i].label);
    free(s->tiles);
    free(s->rows);
    free(s->title);
    free(s);
}

/* ---- drawing ---- */

static double text_width(cairo_t *cr, const char *text)
{
    cairo_text_extents_t e;
    cairo_text_extents(cr, text, &e);
    return e.x_advance;
}

/* The first and the last `keep` characters' halves round an ellipsis. */
static void put_middle_cut(const char *text, size_t n_chars, size_t keep, cf_buf *out)
{
    size_t head = keep / 2, from = n_chars - (keep - head), k = 0;
    cf_buf_clear(out);
    for (const char *c = text; *c; k++) {
        size_t length = cf_utf8_length(c);
        if (k == head) cf_buf_add(out, "\xe2\x80\xa6", 3);
        if (k < head || k >= from) cf_buf_add(out, c, length);
        c += length;
    }
}

/* Draws one line from (x, y), the baseline; centred within max_width where `centered`. */
static void draw_text(cairo_t *cr, const char *text, double x, double y, double max_width,
                      bool centered)
{
    cf_buf cut = {0};
    size_t n_chars = 0;
    for (const char *c = text; *c; c += cf_utf8_length(c)) n_chars++;
    double width = text_width(cr, text);
    /* a name may be 4096 bytes long: begin near what fits */
    size_t keep = n_chars;
    if (width > max_width) {
        keep = (size_t)((double)n_chars * 1.5 * max_width / width) + 1;
        if (keep >= n_chars) keep = n_chars - 1;
    }
    for (; width > max_width && keep > 0; keep--) {
        put_middle_cut(text, n_chars, keep, &cut);
        width = text_width(cr, cf_buf_text(&cut));
    }
    const char *shown = cut.len > 0 ? cf_buf_text(&cut) : text;
    cairo_move_to(cr, centered ? x + (max_width - width) / 2 : x, y);
    cairo_show_text(cr, shown);
    cf_buf_fini(&cut);
}

/* The picture's pixels straight into the surface: scaled already, so no filter of cairo's. */
static void draw_pixels(cairo_surface_t *surface, const tile *t, int x0, int y0)
{
    unsigned char *data = cairo_image_surface_get_data(surface);
    int stride = cairo_image_surface_get_stride(surface);
    for (int y = 0; y < t->height; y++) {
        const uint8_t *p = t->pixels + (size_t)y * (size_t)t->width * 3;
        uint32_t *q = (uint32_t *)(void *)(data + (ptrdiff_t)(y0 + y) * stride + (ptrdiff_t)x0 * 4);
        for (int x = 0; x < t->width; x++, p += 3)
            q[x] = 0xff000000u | (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
    }
}

static void draw_tile(cairo_surface_t *surface, cairo_t *cr, const cf_sheet *s, const tile *t,
                      int x, int y)
{
    if (t->pixels) {
        int x0 = x + (s->tile_px - t->width) / 2, y0 = y + (s->tile_px - t->height) / 2;
        cairo_surface_flush(surface);
        draw_pixels(surface, t, x0, y0);
        cairo_surface_mark_dirty(surface);
    }
    if (t->framed) {
        cairo_set_source_rgb(cr, t->color[0], t->color[1], t->color[2]);
        cairo_set_line_width(cr, FRAME);
        cairo_rectangle(cr, x - FRAME / 2, y - FRAME / 2, s->tile_px + FRAME, s->tile_px + FRAME);
        cairo_stroke(cr);
    }
    cairo_set_source_rgb(cr, 0, 0, 0);
    for (int k = 0; k < CAPTION_LINES; k++)
        if (t->lines[k])
            draw_text(cr, t->lines[k], x, y + s->tile_px + FRAME + (k + 1) * LINE - 4, s->tile_px,
                      true);
}

static void draw(cairo_surface_t *surface, cairo_t *cr, const cf_sheet *s)
{
    int left = MARGIN + (s->labels ? LABEL_WIDTH : 0), y = MARGIN;
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    cairo_set_source_rgb(cr, 0, 0, 0);
    if (s->title) {
        cairo_select_font_face(cr, "sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
        cairo_set_font_size(cr, TITLE_FONT);
        draw_text(cr, s->title, MARGIN, y + TITLE_FONT, (double)sheet_width(s) - 2 * MARGIN, false);
        y += TITLE_HEIGHT;
    }
    cairo_select_font_face(cr, "sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, FONT);
    for (int64_t i = 0; i < s->n_rows; i++, y += row_height(s)) {
        const row *r = &s->rows[i];
        if (r->label)
            draw_text(cr, r->label, MARGIN, y + s->tile_px / 2 + FONT / 2, LABEL_WIDTH - GAP,
                      false);
        for (int k = 0; k < r->n_tiles; k++)
            draw_tile(surface, cr, s, &s->tiles[r->first_tile + k], left + k * (s->tile_px + GAP),
                      y);
    }
}

typedef struct output {
    cf_file file;
    cf_err err;
} output;

static cairo_status_t write_bytes(void *closure, const unsigned char *bytes, unsigned int n)
{
    output *o = closure;
    o->err = cf_file_write(&o->file, bytes, n);
    return o->err == CF_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static cf_err save(cairo_surface_t *surface, const char *path)
{
    output o = {0};
    CF_TRY(cf_file_create(path, &o.file));
    cairo_status_t status = cairo_surface_write_to_png_stream(surface, write_bytes, &o);
    if (status == CAIRO_STATUS_SUCCESS) return cf_file_commit(&o.file);
    cf_file_abandon(&o.file);
    if (o.err != CF_OK) return o.err;
    return cf_fail(CF_E_UNEXPECTED, "%s: cairo: %s", path, cairo_status_to_string(status));
}

cf_err cf_sheet_write(const cf_sheet *s, const char *path)
{
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)sheet_width(s), (int)sheet_height(s));
    /* without memory the surface has no pixels, and draw_pixels would write to NULL */
    cairo_status_t status = cairo_surface_status(surface);
    if (status == CAIRO_STATUS_SUCCESS) {
        cairo_t *cr = cairo_create(surface);
        draw(surface, cr, s);
        status = cairo_status(cr);
        cairo_destroy(cr);
    }
    cf_err err = status == CAIRO_STATUS_SUCCESS ? save(surface, path)
                                                : cf_fail(CF_E_UNEXPECTED, "%s: cairo: %s", path,
                                                          cairo_status_to_string(status));
    cairo_surface_destroy(surface);
    return err;
}
