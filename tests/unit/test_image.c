#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "tests/support/pictures.h"
#include "tests/support/scratch.h"
#include "worker/data/decoders.h"

enum { W = 13, H = 9 }; /* odd, and not a multiple of 8 */

/* Any byte value, different in every channel. */
static uint8_t value(int x, int y, int c)
{
    return (uint8_t)(x * 19 + y * 31 + c * 77 + x * y * c);
}

static uint8_t *row_pointers[64];

static uint8_t **rows_of(uint8_t *samples, size_t row_bytes, int height)
{
    for (int y = 0; y < height; y++) row_pointers[y] = samples + (size_t)y * row_bytes;
    return row_pointers;
}

static picture rgb_png(int width, int height, int interlaced)
{
    png_form f = {width, height, 8, PNG_COLOR_TYPE_RGB, interlaced, NULL, 0, 0};
    uint8_t samples[64 * 64 * 3];
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) samples[(y * width + x) * 3 + c] = value(x, y, c);
    return picture_png(&f, rows_of(samples, (size_t)width * 3, height));
}

/* A smooth picture, as JPEG likes them. */
static void smooth(uint8_t *pixels, int width, int height, int channels)
{
    for (int i = 0; i < width * height * channels; i++) {
        int x = i / channels % width, y = i / channels / width, c = i % channels;
        pixels[i] = (uint8_t)(40 + 3 * x + 5 * y + 20 * c);
    }
}

static picture rgb_jpeg(int progressive)
{
    jpeg_form f = {
        .width = W, .height = H, .channels = 3, .space = JCS_RGB, .progressive = progressive};
    uint8_t pixels[W * H * 3];
    smooth(pixels, W, H, 3);
    return picture_jpeg(&f, pixels);
}

static cf_image decode_ok(picture p)
{
    cf_image image;
    cf_err err = cf_image_decode("picture", p.bytes, p.n, 4096, &image);
    if (err != CF_OK) fail_msg("%s", cf_err_text());
    free(p.bytes);
    return image;
}

static void assert_pixel(const cf_image *image, int x, int y, int r, int g, int b)
{
    const uint8_t *p = image->pixels + 3 * (y * image->width + x);
    if (p[0] != r || p[1] != g || p[2] != b)
        fail_msg("pixel %d,%d is %d %d %d, expected %d %d %d", x, y, p[0], p[1], p[2], r, g, b);
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

static void png_keeps_every_byte(void **state)
{
    (void)state;
    assert_is_value(decode_ok(rgb_png(W, H, 0)));
}

static void interlaced_png_is_the_same_picture(void **state)
{
    (void)state;
    assert_is_value(decode_ok(rgb_png(W, H, 1)));
}

static void png_alpha_is_dropped(void **state)
{
    (void)state;
    png_form f = {W, H, 8, PNG_COLOR_TYPE_RGBA, 0, NULL, 0, 0};
    uint8_t samples[W * H * 4];
    for (int i = 0; i < W * H * 4; i++)
        samples[i] = i % 4 == 3 ? (uint8_t)(i * 7) : value(i / 4 % W, i / 4 / W, i % 4);
    assert_is_value(decode_ok(picture_png(&f, rows_of(samples, W * 4, H))));
}

static void png_of_16_bits_is_cut_to_8(void **state)
{
    (void)state;
    png_form f = {W, H, 16, PNG_COLOR_TYPE_RGB, 0, NULL, 0, 0};
    uint8_t samples[W * H * 6];
    for (int i = 0; i < W * H * 3; i++) {
        samples[2 * i] = value(i / 3 % W, i / 3 / W, i % 3);
        samples[2 * i + 1] = (uint8_t)(i * 13);
    }
    assert_is_value(decode_ok(picture_png(&f, rows_of(samples, W * 6, H))));
}

static void png_grey_is_expanded_at_every_depth(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 8; depth *= 2) {
        png_form f = {8, 1, depth, PNG_COLOR_TYPE_GRAY, 0, NULL, 0, 0};
        uint8_t samples[8] = {0xB4, 0x1E, 0x77, 0xC3, 0x5A, 0x0F, 0xE1, 0x98};
        cf_image image = decode_ok(picture_png(&f, rows_of(samples, 8, 1)));
        for (int x = 0; x < 8; x++) {
            int bit = x * depth,
                level = samples[bit / 8] >> (8 - depth - bit % 8) & ((1 << depth) - 1);
            int grey = level * 255 / ((1 << depth) - 1);
            assert_pixel(&image, x, 0, grey, grey, grey);
        }
        cf_image_fini(&image);
    }
}

static void png_palette_is_expanded(void **state)
{
    (void)state;
    static const png_color palette[3] = {{1, 2, 3}, {250, 128, 7}, {0, 255, 90}};
    png_form f = {3, 2, 8, PNG_COLOR_TYPE_PALETTE, 0, palette, 3, 0};
    uint8_t samples[6] = {0, 1, 2, 2, 1, 0};
    cf_image image = decode_ok(picture_png(&f, rows_of(samples, 3, 2)));
    for (int i = 0; i < 6; i++) {
        const png_color *c = &palette[samples[i]];
        assert_pixel(&image, i % 3, i / 3, c->red, c->green, c->blue);
    }
    cf_image_fini(&image);
}

/* JPEG is lossy: at quality 95 a smooth picture comes back within a few levels. */
static void assert_near(const cf_image *image, int x, int y, int r, int g, int b, int tolerance)
{
    const uint8_t *p = image->pixels + 3 * (y * image->width + x);
    if (abs(p[0] - r) > tolerance || abs(p[1] - g) > tolerance || abs(p[2] - b) > tolerance)
        fail_msg("pixel %d,%d is %d %d %d, expected %d %d %d +- %d", x, y, p[0], p[1], p[2], r, g,
                 b, tolerance);
}

static void jpeg_gives_back_a_smooth_picture(void **state)
{
    (void)state;
    uint8_t expected[W * H * 3];
    smooth(expected, W, H, 3);
    for (int progressive = 0; progressive < 2; progressive++) {
        cf_image image = decode_ok(rgb_jpeg(progressive));
        assert_int_equal(image.width, W);
        assert_int_equal(image.height, H);
        for (int i = 0; i < W * H; i++)
            assert_near(&image, i % W, i / W, expected[3 * i], expected[3 * i + 1],
                        expected[3 * i + 2], 6);
        cf_image_fini(&image);
    }
}

static void jpeg_grey_is_expanded(void **state)
{
    (void)state;
    jpeg_form f = {.width = W, .height = H, .channels = 1, .space = JCS_GRAYSCALE};
    uint8_t pixels[W * H];
    memset(pixels, 100, sizeof pixels);
    cf_image image = decode_ok(picture_jpeg(&f, pixels));
    for (int i = 0; i < W * H; i++) assert_near(&image, i % W, i / W, 100, 100, 100, 1);
    cf_image_fini(&image);
}

static void jpeg_cmyk_is_converted(void **state)
{
    (void)state;
    jpeg_form f = {.width = W, .height = H, .channels = 4, .space = JCS_CMYK};
    uint8_t pixels[W * H * 4];
    static const uint8_t inks[4] = {200, 100, 50, 204}; /* inverted, as the Adobe marker says */
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = inks[i % 4];
    cf_image image = decode_ok(picture_jpeg(&f, pixels));
    for (int i = 0; i < W * H; i++) assert_near(&image, i % W, i / W, 160, 80, 40, 1);
    cf_image_fini(&image);
}

static void jpeg_ycck_is_converted(void **state)
{
    (void)state;
    jpeg_form f = {.width = W, .height = H, .channels = 4, .space = JCS_CMYK, .stored = JCS_YCCK};
    uint8_t pixels[W * H * 4];
    static const uint8_t inks[4] = {200, 100, 50, 204};
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = inks[i % 4];
    cf_image image = decode_ok(picture_jpeg(&f, pixels));
    for (int i = 0; i < W * H; i++) assert_near(&image, i % W, i / W, 160, 80, 40, 2);
    cf_image_fini(&image);
}

static void exif_orientation_is_read_in_both_byte_orders(void **state)
{
    (void)state;
    uint8_t little[] = "Exif\0\0II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0";
    uint8_t big[] = "Exif\0\0MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0";
    assert_int_equal(cf_exif_orientation(little, sizeof little - 1), 6);
    assert_int_equal(cf_exif_orientation(big, sizeof big - 1), 6);
    for (size_t n = 0; n < 26; n++) assert_int_equal(cf_exif_orientation(little, n), 1);
    little[24] = 9;
    assert_int_equal(cf_exif_orientation(little, sizeof little - 1), 1);
    memset(little + 14, 0xFF, 2); /* 65,535 entries in a block of 38 bytes */
    little[24] = 6;
    little[16] = 0;
    assert_int_equal(cf_exif_orientation(little, sizeof little - 1), 1);

    jpeg_form f = {.width = W,
                   .height = H,
                   .channels = 3,
                   .space = JCS_RGB,
                   .app1 = big,
                   .n_app1 = sizeof big - 1};
    uint8_t pixels[W * H * 3];
    smooth(pixels, W, H, 3);
    cf_image image = decode_ok(picture_jpeg(&f, pixels));
    assert_int_equal(image.width, H);
    assert_int_equal(image.height, W);
    /* 6: the picture has to be turned clockwise: its lower left corner comes to the upper left */
    assert_near(&image, 0, 0, 40 + 5 * (H - 1), 60 + 5 * (H - 1), 80 + 5 * (H - 1), 6);
    cf_image_fini(&image);
}

static void image_is_turned_for_every_orientation(void **state)
{
    (void)state;
    /* what the picture "abc/def" (2 rows of 3) becomes */
    static const char *const expected[9] = {NULL,     "abcdef", "cbafed", "fedcba", "defabc",
                                            "adbecf", "daebfc", "fcebda", "cfbead"};
    for (int o = 1; o <= 8; o++) {
        cf_image image = {.height = 2, .width = 3, .pixels = malloc(18)};
        for (int i = 0; i < 18; i++) image.pixels[i] = (uint8_t)("abcdef"[i / 3] + (i % 3));
        assert_int_equal(cf_image_orient(&image, o), CF_OK);
        assert_int_equal(image.height, o >= 5 ? 3 : 2);
        assert_int_equal(image.width, o >= 5 ? 2 : 3);
        for (int i = 0; i < 18; i++) assert_int_equal(image.pixels[i], expected[o][i / 3] + i % 3);
        cf_image_fini(&image);
    }
}

static void assert_refused(const uint8_t *bytes, size_t n, int64_t max_pixels, const char *word)
{
    cf_image image;
    assert_int_equal(cf_image_decode("some/name.jpg", bytes, n, max_pixels, &image), CF_E_DATA);
    assert_null(image.pixels);
    if (!strstr(cf_err_text(), "some/name.jpg")) fail_msg("no file name in: %s", cf_err_text());
    if (!strstr(cf_err_text(), word)) fail_msg("\"%s\" is not in: %s", word, cf_err_text());
}

static void png_cut_at_every_length_is_refused(void **state)
{
    (void)state;
    for (int interlaced = 0; interlaced < 2; interlaced++) {
        picture p = rgb_png(W, H, interlaced);
        for (size_t n = 0; n < p.n; n++) assert_refused(p.bytes, n, 4096, "");
        assert_refused(p.bytes, p.n - 20, 4096, "damaged PNG");
        free(p.bytes);
    }
}

static void jpeg_cut_at_every_length_is_refused(void **state)
{
    (void)state;
    for (int progressive = 0; progressive < 2; progressive++) {
        picture p = rgb_jpeg(progressive);
        for (size_t n = 0; n < p.n; n++) assert_refused(p.bytes, n, 4096, "");
        assert_refused(p.bytes, p.n - 20, 4096, "damaged JPEG");
        free(p.bytes);
    }
}

static void any_flipped_byte_is_survived(void **state)
{
    (void)state;
    picture all[] = {rgb_png(W, H, 0), rgb_png(W, H, 1), rgb_jpeg(0), rgb_jpeg(1)};
    int n_refused = 0;
    for (int k = 0; k < 4; k++) {
        for (size_t i = 0; i < all[k].n; i++) {
            for (int bit = 0; bit < 8; bit++) {
                cf_image image;
                all[k].bytes[i] ^= (uint8_t)(1 << bit);
                cf_err err = cf_image_decode("flipped", all[k].bytes, all[k].n, 1 << 20, &image);
                all[k].bytes[i] ^= (uint8_t)(1 << bit);
                assert_true(err == CF_OK || err == CF_E_DATA);
                n_refused += err != CF_OK;
                cf_image_fini(&image);
            }
        }
        if (k <
            2) { /* PNG has a checksum over every chunk: nothing passes but in the unread ones */
            assert_true(n_refused > (int)all[k].n * 7);
            n_refused = 0;
        }
        free(all[k].bytes);
    }
    assert_true(n_refused > 0);
}

/* The checksum of an IHDR chunk (CRC-32 of PNG, annex D), for headers that lie. */
static void set_png_size(picture p, uint32_t width, uint32_t height)
{
    for (int i = 0; i < 4; i++) {
        p.bytes[16 + i] = (uint8_t)(width >> (24 - 8 * i));
        p.bytes[20 + i] = (uint8_t)(height >> (24 - 8 * i));
    }
    uint32_t crc = 0xFFFFFFFFu;
    for (int i = 12; i < 29; i++) {
        crc ^= p.bytes[i];
        for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    for (int i = 0; i < 4; i++) p.bytes[29 + i] = (uint8_t)(~crc >> (24 - 8 * i));
}

static void png_bomb_is_refused_from_its_header(void **state)
{
    (void)state;
    picture p = rgb_png(W, H, 0);
    static const uint32_t sides[][2] = {
        {30000, 30000}, {65535, 65535}, {0x7FFFFFFF, 0x7FFFFFFF}, {1, 64000001}, {64000001, 1}};
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        set_png_size(p, sides[i][0], sides[i][1]);
        assert_refused(p.bytes, p.n, CF_IMAGE_DEFAULT_LIMIT, "limit");
    }
    set_png_size(p, 8000, 8000); /* inside the limit, but 200 bytes cannot hold it */
    assert_refused(p.bytes, p.n, CF_IMAGE_DEFAULT_LIMIT, "cannot hold");
    set_png_size(p, W, H);
    assert_refused(p.bytes, p.n, W * H - 1, "limit");
    cf_image image;
    assert_int_equal(cf_image_decode("exact", p.bytes, p.n, W * H, &image), CF_OK);
    cf_image_fini(&image);
    free(p.bytes);
}

static void jpeg_bomb_is_refused_from_its_header(void **state)
{
    (void)state;
    picture p = rgb_jpeg(0);
    size_t sof = 2;
    while (p.bytes[sof + 1] != 0xC0) sof += 2 + (size_t)(p.bytes[sof + 2] << 8 | p.bytes[sof + 3]);
    p.bytes[sof + 5] = p.bytes[sof + 7] = 0xFF; /* high bytes of height and width */
    assert_refused(p.bytes, p.n, CF_IMAGE_DEFAULT_LIMIT, "limit");
    p.bytes[sof + 5] = p.bytes[sof + 7] = 0x1E; /* 7,680 and some: inside the limit */
    assert_refused(p.bytes, p.n, CF_IMAGE_DEFAULT_LIMIT, "cannot hold");
    free(p.bytes);
}

static void jpeg_of_very_many_scans_is_refused(void **state)
{
    (void)state;
    jpeg_form f = {.width = W, .height = H, .channels = 3, .space = JCS_RGB, .n_scans = 190};
    uint8_t pixels[W * H * 3];
    smooth(pixels, W, H, 3);
    picture p = picture_jpeg(&f, pixels);
    assert_refused(p.bytes, p.n, 4096, "scans");
    free(p.bytes);
    f.n_scans = 64;
    cf_image image = decode_ok(picture_jpeg(&f, pixels));
    cf_image_fini(&image);
}

static void compressed_text_is_not_unpacked(void **state)
{
    (void)state;
    png_form f = {W, H, 8, PNG_COLOR_TYPE_RGB, 0, NULL, 0, 20 << 20};
    uint8_t samples[W * H * 3];
    for (int i = 0; i < W * H * 3; i++) samples[i] = value(i / 3 % W, i / 3 / W, i % 3);
    assert_is_value(decode_ok(picture_png(&f, rows_of(samples, W * 3, H))));
}

static void other_files_are_refused_by_name(void **state)
{
    (void)state;
    assert_refused((const uint8_t *)"", 0, 4096, "empty");
    assert_refused((const uint8_t *)"II*\0........", 12, 4096, "damaged TIFF");
    assert_refused((const uint8_t *)"BM..........", 12, 4096,
                   "BMP images are not read: no library");
    assert_refused((const uint8_t *)"GIF89a......", 12, 4096, "GIF");
    assert_refused((const uint8_t *)"hello world", 11, 4096, "not an image");
    assert_refused((const uint8_t *)"\xFF\xD8\xFF", 3, 4096, "damaged JPEG");
    assert_refused((const uint8_t *)"\x89PNG\r\n\x1A\n", 8, 4096, "damaged PNG");
}

static void written_png_reads_back(void **state)
{
    (void)state;
    char folder[CF_PATH_MAX], path[CF_PATH_MAX];
    assert_true(scratch_make(folder));
    cf_image image = decode_ok(rgb_png(W, H, 0)), back;
    assert_int_equal(cf_path_join(path, sizeof path, folder, "a.png"), CF_OK);
    assert_int_equal(cf_image_write_png(path, image.pixels, H, W), CF_OK);
    char *bytes;
    size_t n;
    assert_int_equal(cf_file_read(path, 1 << 20, &bytes, &n), CF_OK);
    assert_int_equal(cf_image_decode(path, (uint8_t *)bytes, n, 4096, &back), CF_OK);
    free(bytes);
    assert_is_value(back);
    assert_int_equal(cf_path_join(path, sizeof path, folder, "missing/a.png"), CF_OK);
    assert_int_equal(cf_image_write_png(path, image.pixels, H, W), CF_E_DISK);
    cf_image_fini(&image);
    scratch_remove(folder);
}

static void real_marrow_cells_decode(void **state)
{
    (void)state;
    char folder[CF_PATH_MAX];
    cf_strings names;
    snprintf(folder, sizeof folder, "%s/bm7-original/PMO", CYTOFOLD_DATA);
    if (!*CYTOFOLD_DATA || !cf_path_is_dir(folder)) {
        print_message("skipped: no bm7-original below CYTOFOLD_DATA \"%s\"\n", CYTOFOLD_DATA);
        skip();
    }
    assert_int_equal(cf_dir_list(folder, &names), CF_OK);
    assert_int_equal(names.n, 30);
    for (size_t i = 0; i < names.n; i++) {
        char path[CF_PATH_MAX], *bytes;
        size_t n;
        cf_image image;
        assert_int_equal(cf_path_join(path, sizeof path, folder, names.items[i]), CF_OK);
        assert_int_equal(cf_file_read(path, 1 << 20, &bytes, &n), CF_OK);
        if (cf_image_decode(path, (uint8_t *)bytes, n, 1 << 20, &image) != CF_OK)
            fail_msg("%s", cf_err_text());
        assert_int_equal(image.height, 250);
        assert_int_equal(image.width, 250);
        cf_image_fini(&image);
        for (size_t cut = n / 8; cut < n; cut += n / 8)
            assert_int_equal(cf_image_decode(path, (uint8_t *)bytes, cut, 1 << 20, &image),
                             CF_E_DATA);
        free(bytes);
    }
    cf_strings_fini(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_keeps_every_byte),
        cmocka_unit_test(interlaced_png_is_the_same_picture),
        cmocka_unit_test(png_alpha_is_dropped),
        cmocka_unit_test(png_of_16_bits_is_cut_to_8),
        cmocka_unit_test(png_grey_is_expanded_at_every_depth),
        cmocka_unit_test(png_palette_is_expanded),
        cmocka_unit_test(jpeg_gives_back_a_smooth_picture),
        cmocka_unit_test(jpeg_grey_is_expanded),
        cmocka_unit_test(jpeg_cmyk_is_converted),
        cmocka_unit_test(jpeg_ycck_is_converted),
        cmocka_unit_test(exif_orientation_is_read_in_both_byte_orders),
        cmocka_unit_test(image_is_turned_for_every_orientation),
        cmocka_unit_test(png_cut_at_every_length_is_refused),
        cmocka_unit_test(jpeg_cut_at_every_length_is_refused),
        cmocka_unit_test(any_flipped_byte_is_survived),
        cmocka_unit_test(png_bomb_is_refused_from_its_header),
        cmocka_unit_test(jpeg_bomb_is_refused_from_its_header),
        cmocka_unit_test(jpeg_of_very_many_scans_is_refused),
        cmocka_unit_test(compressed_text_is_not_unpacked),
        cmocka_unit_test(other_files_are_refused_by_name),
        cmocka_unit_test(written_png_reads_back),
        cmocka_unit_test(real_marrow_cells_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
