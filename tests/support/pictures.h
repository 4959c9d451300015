/* Picture files made in memory through libpng and libjpeg, with every odd form that a test wants.
 */
#ifndef CF_TESTS_SUPPORT_PICTURES_H
#define CF_TESTS_SUPPORT_PICTURES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

typedef struct picture {
    uint8_t *bytes; /* owned */
    size_t n;
} picture;

static inline void picture_write(png_structp png, png_bytep bytes, size_t n)
{
    picture *p = png_get_io_ptr(png);
    p->bytes = realloc(p->bytes, p->n + n);
    memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

static inline void picture_flush(png_structp png)
{
    (void)png;
}

typedef struct png_form {
    int width, height, depth, color_type;
    int interlaced;
    const png_color *palette; /* [n_palette] */
    int n_palette;
    size_t text_bytes; /* of a compressed text chunk full of spaces */
} png_form;

/* rows: [height] rows of packed samples as the form says; 16-bit ones are big-endian. */
static inline picture picture_png(const png_form *f, uint8_t **rows)
{
    picture p = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &p, picture_write, picture_flush);
    png_set_IHDR(png, info, (png_uint_32)f->width, (png_uint_32)f->height, f->depth, f->color_type,
                 f->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (f->palette) png_set_PLTE(png, info, f->palette, f->n_palette);
    char *text = NULL;
    if (f->text_bytes > 0) {
        text = malloc(f->text_bytes + 1);
        memset(text, ' ', f->text_bytes);
        text[f->text_bytes] = '\0';
        png_text t = {.compression = PNG_TEXT_COMPRESSION_zTXt,
                      .key = (char[]){"Comment"},
                      .text = text,
                      .text_length = f->text_bytes};
        png_set_text(png, info, &t, 1);
    }
    png_set_rows(png, info, rows);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
    free(text);
    return p;
}

typedef struct jpeg_form {
    int width, height, channels; /* 1, 3 or 4 */
    J_COLOR_SPACE space;
    J_COLOR_SPACE stored; /* in the file; 0: the library's choice */
    int progressive;
    int quality; /* 1 to 100; 0: 95 */
    int n_scans; /* 0: the library's choice; else progressive scans of one coefficient each */
    const uint8_t *app1;
    unsigned n_app1;
} jpeg_form;

/* pixels: [height][width][channels] */
static inline picture picture_jpeg(const jpeg_form *f, const uint8_t *pixels)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &n);
    c.image_width = (JDIMENSION)f->width;
    c.image_height = (JDIMENSION)f->height;
    c.input_components = f->channels;
    c.in_color_space = f->space;
    jpeg_set_defaults(&c);
    if (f->stored != JCS_UNKNOWN) jpeg_set_colorspace(&c, f->stored);
    jpeg_set_quality(&c, f->quality > 0 ? f->quality : 95, TRUE);
    if (f->progressive) jpeg_simple_progression(&c);
    jpeg_scan_info scans[200] = {{.comps_in_scan = 3, .component_index = {0, 1, 2}}};
    for (int i = 1; i < f->n_scans; i++) {
        int k = 1 + (i - 1) % 63;
        scans[i] = (jpeg_scan_info){
            .comps_in_scan = 1, .component_index = {(i - 1) / 63}, .Ss = k, .Se = k};
    }
    if (f->n_scans > 0) {
        c.scan_info = scans;
        c.num_scans = f->n_scans;
    }
    jpeg_start_compress(&c, TRUE);
    if (f->app1) jpeg_write_marker(&c, JPEG_APP0 + 1, f->app1, f->n_app1);
    while (c.next_scanline < c.image_height) {
        const uint8_t *row = pixels + (size_t)c.next_scanline * (size_t)(f->width * f->channels);
        JSAMPROW rows[1] = {(JSAMPROW)(uintptr_t)row};
        jpeg_write_scanlines(&c, rows, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return (picture){bytes, n};
}

#endif
