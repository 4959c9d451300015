#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <tiffio.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"

enum { W = 37, H = 29, SIDE = 16, ROWS = 5 }; /* no multiple of a tile's or a strip's side */

/* A TIFF file's form; zeros are the common one: strips of whole pixels, RGB of 8 bits. */
typedef struct form {
    const char *mode; /* of TIFFOpen; NULL: "w" */
    int bits, samples, photometric, compression;
    int extra; /* kind of the fourth sample, EXTRASAMPLE_* */
    bool tiled, separate;
    int orientation;
} form;

typedef struct bytes {
    uint8_t *data; /* owned */
    size_t n;
} bytes;

static unsigned value(int x, int y, int c)
{
    return (unsigned)(x * 19 + y * 31 + c * 77 + x * y * c) & 255;
}

/* Sample i of a packed row: the upper bits of the value; below them, at 16 bits, other ones. */
static void put_sample(uint8_t *row, int i, int bits, unsigned v)
{
    if (bits == 16) {
        uint16_t wide = (uint16_t)(v << 8 | (255 - v));
        memcpy(row + 2 * i, &wide, 2);
    } else {
        int bit = i * bits;
        row[bit / 8] = (uint8_t)(row[bit / 8] | v >> (8 - bits) << (8 - bits - bit % 8));
    }
}

/* Rows y0.. of columns x0.. of one plane, or of all samples where plane is -1. */
static void paint(const form *f, int x0, int y0, int width, int height, int plane, uint8_t *out)
{
    int n = plane < 0 ? f->samples : 1;
    size_t row_bytes = ((size_t)(width * n * f->bits) + 7) / 8;
    memset(out, 0, row_bytes * (size_t)height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int s = 0; s < n; s++)
                put_sample(out + (size_t)y * row_bytes, x * n + s, f->bits,
                           value(x0 + x, y0 + y, plane < 0 ? s : plane));
}

static void write_plane(TIFF *t, const form *f, int plane)
{
    uint8_t buf[W * SIDE * 16 * 2];
    uint16_t s = (uint16_t)(plane < 0 ? 0 : plane);
    int step = f->tiled ? SIDE : ROWS;
    for (int y = 0; y < H; y += step) {
        for (int x = 0; x < W; x += f->tiled ? SIDE : W) {
            int rows = f->tiled ? SIDE : H - y < ROWS ? H - y : ROWS;
            paint(f, x, y, f->tiled ? SIDE : W, rows, plane, buf);
            uint32_t u = (uint32_t)x, v = (uint32_t)y;
            tmsize_t n = f->tiled ? TIFFTileSize(t) : TIFFVStripSize(t, (uint32_t)rows);
            if (f->tiled)
                assert_true(TIFFWriteEncodedTile(t, TIFFComputeTile(t, u, v, 0, s), buf, n) == n);
            else
                assert_true(TIFFWriteEncodedStrip(t, TIFFComputeStrip(t, v, s), buf, n) == n);
        }
    }
}

static void set_palette(TIFF *t)
{
    uint16_t map[3][256];
    for (int i = 0; i < 256; i++)
        for (int c = 0; c < 3; c++) map[c][i] = (uint16_t)(value(i, 3, c) << 8 | 17);
    TIFFSetField(t, TIFFTAG_COLORMAP, map[0], map[1], map[2]);
}

static bytes make(const form *given)
{
    char dir[CF_PATH_MAX], path[CF_PATH_MAX], *text;
    form f = *given;
    if (!f.bits) f.bits = 8;
    if (!f.samples) f.samples = 3;
    if (!f.compression) f.compression = COMPRESSION_NONE;
    assert_true(scratch_make(dir));
    assert_int_equal(cf_path_join(path, sizeof path, dir, "x.tif"), CF_OK);
    TIFF *t = TIFFOpen(path, f.mode ? f.mode : "w");
    assert_non_null(t);
    TIFFSetField(t, TIFFTAG_IMAGEWIDTH, W);
    TIFFSetField(t, TIFFTAG_IMAGELENGTH, H);
    TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, f.bits);
    TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, f.samples);
    TIFFSetField(t, TIFFTAG_PHOTOMETRIC, f.photometric);
    TIFFSetField(t, TIFFTAG_COMPRESSION, f.compression);
    TIFFSetField(t, TIFFTAG_PLANARCONFIG, f.separate ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
    if (f.orientation) TIFFSetField(t, TIFFTAG_ORIENTATION, f.orientation);
    if (f.samples == 4 || f.samples == 2)
        TIFFSetField(t, TIFFTAG_EXTRASAMPLES, 1, (uint16_t[]){(uint16_t)f.extra});
    if (f.photometric == PHOTOMETRIC_PALETTE) set_palette(t);
    if (f.tiled) {
        TIFFSetField(t, TIFFTAG_TILEWIDTH, SIDE);
        TIFFSetField(t, TIFFTAG_TILELENGTH, SIDE);
    } else {
        TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, ROWS);
    }
    for (int plane = f.separate ? 0 : -1; plane < (f.separate ? f.samples : 0); plane++)
        write_plane(t, &f, plane);
    TIFFClose(t);
    bytes b;
    assert_int_equal(cf_file_read(path, 1 << 20, &text, &b.n), CF_OK);
    b.data = (uint8_t *)text;
    scratch_remove(dir);
    return b;
}

static cf_image decode_ok(const form *f)
{
    bytes b = make(f);
    cf_image image;
    if (cf_image_decode("x.tif", b.data, b.n, 4096, &image) != CF_OK)
        fail_msg("%s (mode %s, %d bits, %d samples, compression %d, %s, %s)", cf_err_text(),
                 f->mode ? f->mode : "w", f->bits, f->samples, f->compression,
                 f->tiled ? "tiles" : "strips", f->separate ? "planes" : "pixels");
    free(b.data);
    return image;
}

static void assert_pixel(const cf_image *image, int x, int y, unsigned r, unsigned g, unsigned b)
{
    const uint8_t *p = image->pixels + 3 * (y * image->width + x);
    if (p[0] != r || p[1] != g || p[2] != b)
        fail_msg("pixel %d,%d is %d %d %d, expected %u %u %u", x, y, p[0], p[1], p[2], r, g, b);
}

static void assert_is_value(cf_image image)
{
    assert_int_equal(image.width, W);
    assert_int_equal(image.height, H);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            assert_pixel(&image, x, y, value(x, y, 0), value(x, y, 1), value(x, y, 2));
    cf_image_fini(&image);
}

/* 2 byte orders and BigTIFF, 4 codecs, tiles or strips, planes or pixels, 8 or 16 bits, three
 * colours alone or beside an alpha of each kind: the same picture every time. */
static void every_form_of_rgb_is_the_same_picture(void **state)
{
    (void)state;
    static const char *const modes[] = {"wl", "wb", "w8"};
    static const int codecs[] = {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE,
                                 COMPRESSION_PACKBITS};
    int n = 0;
    for (int m = 0; m < 3; m++)
        for (int c = 0; c < 4; c++)
            for (int k = 0; k < 8; k++)
                for (int alpha = -1; alpha <= EXTRASAMPLE_UNASSALPHA; alpha++, n++) {
                    form f = {.mode = modes[m], .compression = codecs[c], .tiled = k & 1};
                    f.separate = (k & 2) != 0;
                    f.bits = k & 4 ? 16 : 8;
                    f.samples = alpha < 0 ? 3 : 4;
                    f.extra = alpha;
                    f.photometric = PHOTOMETRIC_RGB;
                    assert_is_value(decode_ok(&f));
                }
    print_message("%d forms\n", n);
}

static void grey_is_expanded_at_every_depth(void **state)
{
    (void)state;
    for (int bits = 1; bits <= 16; bits *= 2) {
        for (int k = 0; k < 4; k++) {
            bool inverted = k & 1;
            form f = {.bits = bits, .samples = 1, .tiled = k & 2};
            f.photometric = inverted ? PHOTOMETRIC_MINISWHITE : PHOTOMETRIC_MINISBLACK;
            cf_image image = decode_ok(&f);
            int kept = bits < 8 ? bits : 8;
            for (int i = 0; i < W * H; i++) {
                unsigned top = (1u << kept) - 1, v = value(i % W, i / W, 0) >> (8 - kept);
                unsigned grey = (inverted ? top - v : v) * 255 / top;
                assert_pixel(&image, i % W, i / W, grey, grey, grey);
            }
            cf_image_fini(&image);
        }
    }
}

static void grey_beside_alpha_is_the_grey(void **state)
{
    (void)state;
    form f = {.samples = 2, .photometric = PHOTOMETRIC_MINISBLACK, .extra = EXTRASAMPLE_UNASSALPHA};
    for (int k = 0; k < 2; k++) {
        f.separate = k;
        cf_image image = decode_ok(&f);
        unsigned v = value(3, 4, 0);
        assert_pixel(&image, 3, 4, v, v, v);
        cf_image_fini(&image);
    }
}

static void palette_is_expanded(void **state)
{
    (void)state;
    for (int bits = 1; bits <= 8; bits *= 2) {
        form f = {.bits = bits, .samples = 1, .photometric = PHOTOMETRIC_PALETTE};
        cf_image image = decode_ok(&f);
        for (int i = 0; i < W * H; i++) {
            int at = (int)(value(i % W, i / W, 0) >> (8 - bits));
            assert_pixel(&image, i % W, i / W, value(at, 3, 0), value(at, 3, 1), value(at, 3, 2));
        }
        cf_image_fini(&image);
    }
}

/* Where the pixel stored at x, y is shown (TIFF 6.0, Orientation). */
static void shown_at(int o, int x, int y, int *u, int *v)
{
    int right = W - 1 - x, down = H - 1 - y;
    const int where[8][2] = {{x, y}, {right, y}, {right, down}, {x, down},
                             {y, x}, {down, x},  {down, right}, {y, right}};
    *u = where[o - 1][0];
    *v = where[o - 1][1];
}

static void orientation_tag_turns_the_image(void **state)
{
    (void)state;
    for (int o = 1; o <= 8; o++) {
        form f = {.photometric = PHOTOMETRIC_RGB, .orientation = o};
        cf_image image = decode_ok(&f);
        assert_int_equal(image.width, o < 5 ? W : H);
        assert_int_equal(image.height, o < 5 ? H : W);
        for (int i = 0; i < W * H; i++) {
            int x = i % W, y = i / W, u, v;
            shown_at(o, x, y, &u, &v);
            assert_pixel(&image, u, v, value(x, y, 0), value(x, y, 1), value(x, y, 2));
        }
        cf_image_fini(&image);
    }
}

/* CMYK goes through the library: paper is white, full black ink is black. */
static void cmyk_is_converted(void **state)
{
    (void)state;
    form f = {.samples = 4, .photometric = PHOTOMETRIC_SEPARATED};
    bytes b = make(&f);
    cf_image image;
    if (cf_image_decode("x.tif", b.data, b.n, 4096, &image) != CF_OK) fail_msg("%s", cf_err_text());
    for (int i = 0; i < W * H; i++) {
        unsigned paper = 255 - value(i % W, i / W, 3), rgb[3];
        for (int c = 0; c < 3; c++) rgb[c] = paper * (255 - value(i % W, i / W, c)) / 255;
        assert_pixel(&image, i % W, i / W, rgb[0], rgb[1], rgb[2]);
    }
    cf_image_fini(&image);
    free(b.data);
}

/* Scanners write JPEG in tiles of YCbCr; the library turns it to RGB. One colour survives JPEG. */
static void jpeg_inside_is_read(void **state)
{
    (void)state;
    char dir[CF_PATH_MAX], path[CF_PATH_MAX], *text;
    size_t n;
    uint8_t tile[SIDE * SIDE * 3];
    for (int i = 0; i < SIDE * SIDE * 3; i++) tile[i] = (uint8_t[]){160, 80, 40}[i % 3];
    assert_true(scratch_make(dir));
    assert_int_equal(cf_path_join(path, sizeof path, dir, "x.tif"), CF_OK);
    TIFF *t = TIFFOpen(path, "w");
    assert_non_null(t);
    TIFFSetField(t, TIFFTAG_IMAGEWIDTH, W);
    TIFFSetField(t, TIFFTAG_IMAGELENGTH, H);
    TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, 8);
    TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, 3);
    TIFFSetField(t, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(t, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_YCBCR);
    TIFFSetField(t, TIFFTAG_COMPRESSION, COMPRESSION_JPEG);
    TIFFSetField(t, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    TIFFSetField(t, TIFFTAG_TILEWIDTH, SIDE);
    TIFFSetField(t, TIFFTAG_TILELENGTH, SIDE);
    for (uint32_t i = 0; i < TIFFNumberOfTiles(t); i++)
        assert_true(TIFFWriteEncodedTile(t, i, tile, sizeof tile) == sizeof tile);
    TIFFClose(t);
    assert_int_equal(cf_file_read(path, 1 << 20, &text, &n), CF_OK);
    scratch_remove(dir);
    cf_image image;
    if (cf_image_decode("x.tif", (uint8_t *)text, n, 4096, &image) != CF_OK)
        fail_msg("%s", cf_err_text());
    for (int i = 0; i < W * H * 3; i++)
        assert_in_range(image.pixels[i], tile[i % 3] - 3, tile[i % 3] + 3);
    cf_image_fini(&image);
    /* a hole in the compressed data is no picture, whatever the codec makes up for it */
    uint8_t *jpeg = memmem(text, n, "\xFF\xDA", 2);
    assert_non_null(jpeg);
    memset(jpeg, 0, 2);
    assert_int_equal(cf_image_decode("x.tif", (uint8_t *)text, n, 4096, &image), CF_E_DATA);
    free(text);
}

static void assert_refused(const bytes *b, size_t n, int64_t max_pixels, const char *word)
{
    cf_image image;
    assert_int_equal(cf_image_decode("some/name.tif", b->data, n, max_pixels, &image), CF_E_DATA);
    assert_null(image.pixels);
    if (!strstr(cf_err_text(), "some/name.tif")) fail_msg("no file name in: %s", cf_err_text());
    if (!strstr(cf_err_text(), word)) fail_msg("\"%s\" is not in: %s", word, cf_err_text());
}

/* The directory stands at the end, and the file is cut anywhere. */
static void file_cut_at_every_length_is_refused(void **state)
{
    (void)state;
    form f = {.photometric = PHOTOMETRIC_RGB, .compression = COMPRESSION_LZW};
    bytes b = make(&f);
    for (size_t n = 0; n < b.n - 1; n++) assert_refused(&b, n, 4096, "");
    assert_refused(&b, b.n / 2, 4096, "damaged TIFF: ");
    free(b.data);
}

/* A file of a real field is written front to back by cameras: directory first, pixels cut. */
static void missing_pixels_are_named_with_the_librarys_words(void **state)
{
    (void)state;
    form f = {.photometric = PHOTOMETRIC_RGB};
    bytes b = make(&f);
    uint32_t ifd;
    memcpy(&ifd, b.data + 4, 4);
    /* the strips' places moved past the end: entry by entry, tag 273 holds an offset to offsets */
    for (uint32_t i = 0; i < b.data[ifd]; i++) {
        uint8_t *entry = b.data + ifd + 2 + 12 * i;
        uint32_t at, far = (uint32_t)b.n - 10;
        if (entry[0] != 0x11 || entry[1] != 1) continue;
        memcpy(&at, entry + 8, 4);
        memcpy(b.data + at, &far, 4);
    }
    assert_refused(&b, b.n, 4096, "damaged TIFF: ");
    assert_refused(&b, b.n, 4096, "strip at pixel 0, 0");
    free(b.data);
}

static void any_flipped_bit_is_survived(void **state)
{
    (void)state;
    const form forms[] = {
        {.photometric = PHOTOMETRIC_RGB, .compression = COMPRESSION_LZW},
        {.photometric = PHOTOMETRIC_RGB, .compression = COMPRESSION_ADOBE_DEFLATE, .tiled = true},
        {.photometric = PHOTOMETRIC_PALETTE, .samples = 1, .bits = 4},
    };
    int n_refused = 0, n_read = 0;
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
        bytes b = make(&forms[k]);
        for (size_t i = 0; i < 8 * b.n; i++) {
            cf_image image;
            b.data[i / 8] ^= (uint8_t)(1 << i % 8);
            cf_err err = cf_image_decode("flipped", b.data, b.n, 1 << 16, &image);
            b.data[i / 8] ^= (uint8_t)(1 << i % 8);
            assert_true(err == CF_OK || err == CF_E_DATA);
            n_refused += err != CF_OK;
            n_read += err == CF_OK;
            cf_image_fini(&image);
        }
        free(b.data);
    }
    print_message("%d refused, %d read\n", n_refused, n_read);
    assert_true(n_refused > 0);
}

/* A directory entry's value of type LONG, found by its tag. */
static void set_tag(bytes *b, int tag, uint32_t v)
{
    uint32_t ifd;
    memcpy(&ifd, b->data + 4, 4);
    for (uint32_t i = 0; i < b->data[ifd]; i++) {
        uint8_t *entry = b->data + ifd + 2 + 12 * i;
        if ((entry[0] | entry[1] << 8) != tag) continue;
        entry[2] = 4; /* LONG */
        memcpy(entry + 8, &v, 4);
        return;
    }
    fail_msg("no tag %d", tag);
}

static void bomb_is_refused_from_its_header(void **state)
{
    (void)state;
    form f = {.mode = "wl", .photometric = PHOTOMETRIC_RGB, .compression = COMPRESSION_LZW};
    bytes b = make(&f);
    assert_refused(&b, b.n, W * H - 1, "limit");
    set_tag(&b, TIFFTAG_IMAGEWIDTH, 65535);
    set_tag(&b, TIFFTAG_IMAGELENGTH, 65535);
    assert_refused(&b, b.n, CF_IMAGE_DEFAULT_LIMIT, "limit");
    set_tag(&b, TIFFTAG_IMAGEWIDTH, 8000);
    set_tag(&b, TIFFTAG_IMAGELENGTH, 8000);
    set_tag(&b, TIFFTAG_ROWSPERSTRIP, 8000); /* one huge strip */
    assert_refused(&b, b.n, CF_IMAGE_DEFAULT_LIMIT, "");
    free(b.data);
    f.tiled = true;
    b = make(&f);
    set_tag(&b, TIFFTAG_TILEWIDTH, 1 << 20);
    set_tag(&b, TIFFTAG_TILELENGTH, 1 << 20);
    assert_refused(&b, b.n, CF_IMAGE_DEFAULT_LIMIT, "");
    free(b.data);
}

static void numbers_that_are_no_levels_are_refused(void **state)
{
    (void)state;
    form f = {.mode = "wl", .photometric = PHOTOMETRIC_RGB, .orientation = 1};
    bytes b = make(&f);
    set_tag(&b, TIFFTAG_ORIENTATION, 9); /* no such one: shown as stored */
    cf_image image;
    assert_int_equal(cf_image_decode("x", b.data, b.n, 4096, &image), CF_OK);
    assert_is_value(image);
    set_tag(&b, TIFFTAG_COMPRESSION, 12345);
    assert_refused(&b, b.n, 4096, "12345");
    free(b.data);
}

/* The library's own habit is to print; a run's log must not fill with its lines. */
static void nothing_is_printed_by_the_library(void **state)
{
    (void)state;
    form f = {.photometric = PHOTOMETRIC_RGB};
    bytes b = make(&f);
    char dir[CF_PATH_MAX], path[CF_PATH_MAX], *text;
    size_t n;
    assert_true(scratch_make(dir));
    assert_int_equal(cf_path_join(path, sizeof path, dir, "stderr"), CF_OK);
    int kept = dup(STDERR_FILENO), fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(kept >= 0 && fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    cf_image image;
    cf_err whole = cf_image_decode("x", b.data, b.n, 4096, &image);
    cf_image_fini(&image);
    cf_err cut = cf_image_decode("x", b.data, b.n / 2, 4096, &image);
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(fd);
    close(kept);
    assert_int_equal(whole, CF_OK);
    assert_int_equal(cut, CF_E_DATA);
    assert_int_equal(cf_file_read(path, 1 << 20, &text, &n), CF_OK);
    assert_string_equal(text, "");
    free(text);
    free(b.data);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_rgb_is_the_same_picture),
        cmocka_unit_test(grey_is_expanded_at_every_depth),
        cmocka_unit_test(grey_beside_alpha_is_the_grey),
        cmocka_unit_test(palette_is_expanded),
        cmocka_unit_test(orientation_tag_turns_the_image),
        cmocka_unit_test(cmyk_is_converted),
        cmocka_unit_test(jpeg_inside_is_read),
        cmocka_unit_test(file_cut_at_every_length_is_refused),
        cmocka_unit_test(missing_pixels_are_named_with_the_librarys_words),
        cmocka_unit_test(any_flipped_bit_is_survived),
        cmocka_unit_test(bomb_is_refused_from_its_header),
        cmocka_unit_test(numbers_that_are_no_levels_are_refused),
        cmocka_unit_test(nothing_is_printed_by_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
