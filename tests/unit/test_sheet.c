#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "tests/support/font_leaks.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"
#include "worker/data/sheet.h"

enum { SIDE = 40, TILE = 64 };

static char folder[CF_PATH_MAX];

static int make_folder(void **state)
{
    (void)state;
    return scratch_make(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* Writes the sheet and reads the PNG back. */
static cf_image drawn(const cf_sheet *s)
{
    char path[CF_PATH_MAX], *bytes;
    size_t n;
    cf_image image;
    assert_int_equal(cf_path_join(path, sizeof path, folder, "sheet.png"), CF_OK);
    assert_int_equal(cf_sheet_write(s, path), CF_OK);
    assert_int_equal(cf_file_read(path, 1 << 24, &bytes, &n), CF_OK);
    assert_int_equal(
        cf_image_decode(path, (const uint8_t *)bytes, n, CF_IMAGE_DEFAULT_LIMIT, &image), CF_OK);
    free(bytes);
    return image;
}

static int64_t count_color(const cf_image *image, int r, int g, int b)
{
    int64_t n = 0;
    for (int64_t i = 0; i < (int64_t)image->height * image->width; i++) {
        const uint8_t *p = image->pixels + 3 * i;
        n += p[0] == r && p[1] == g && p[2] == b;
    }
    return n;
}

/* Dark pixels: text. The pictures of these tests are of bright colours. */
static int64_t count_ink(const cf_image *image)
{
    int64_t n = 0;
    for (int64_t i = 0; i < (int64_t)image->height * image->width; i++) {
        const uint8_t *p = image->pixels + 3 * i;
        n += p[0] < 100 && p[1] < 100 && p[2] < 100;
    }
    return n;
}

static void fill(uint8_t *pixels, int n, int r, int g, int b)
{
    for (int i = 0; i < n; i++) {
        pixels[3 * i] = (uint8_t)r;
        pixels[3 * i + 1] = (uint8_t)g;
        pixels[3 * i + 2] = (uint8_t)b;
    }
}

/* A flat picture stays flat when it is scaled, so its pixels can be counted: the whole square of a
 * square picture, half of it of one that is twice as wide as high. */
static void pictures_fill_their_squares(void **state)
{
    (void)state;
    uint8_t red[SIDE * SIDE * 3], blue[SIDE / 2 * SIDE * 3];
    fill(red, SIDE * SIDE, 250, 120, 130);
    fill(blue, SIDE / 2 * SIDE, 120, 130, 250);
    cf_sheet *s;
    assert_int_equal(cf_sheet_create(2, TILE, NULL, &s), CF_OK);
    assert_int_equal(cf_sheet_tile(s, red, SIDE, SIDE, NULL, NULL), CF_OK);
    assert_int_equal(cf_sheet_tile(s, blue, SIDE / 2, SIDE, NULL, NULL), CF_OK);
    cf_image image = drawn(s);
    assert_int_equal(count_color(&image, 250, 120, 130), TILE * TILE);
    assert_int_equal(count_color(&image, 120, 130, 250), TILE * TILE / 2);
    assert_int_equal(count_color(&image, 255, 255, 255),
                     (int64_t)image.height * image.width - TILE * TILE * 3 / 2);
    cf_image_fini(&image);
    cf_sheet_destroy(s);
}

/* A third picture in a sheet of two columns stands in a second row. */
static void a_full_row_is_followed_by_another(void **state)
{
    (void)state;
    uint8_t green[SIDE * SIDE * 3];
    fill(green, SIDE * SIDE, 120, 250, 130);
    int height[3];
    for (int n = 1; n <= 3; n++) {
        cf_sheet *s;
        assert_int_equal(cf_sheet_create(2, TILE, NULL, &s), CF_OK);
        for (int i = 0; i < n; i++)
            assert_int_equal(cf_sheet_tile(s, green, SIDE, SIDE, NULL, NULL), CF_OK);
        cf_image image = drawn(s);
        assert_int_equal(count_color(&image, 120, 250, 130), n * TILE * TILE);
        height[n - 1] = image.height;
        cf_image_fini(&image);
        cf_sheet_destroy(s);
    }
    assert_int_equal(height[0], height[1]);
    assert_true(height[2] >= height[1] + TILE);
}

static void captions_title_and_labels_put_ink(void **state)
{
    (void)state;
    uint8_t gray[SIDE * SIDE * 3];
    fill(gray, SIDE * SIDE, 200, 200, 200);
    int64_t ink[4];
    for (int k = 0; k < 4; k++) {
        cf_sheet *s;
        assert_int_equal(cf_sheet_create(1, TILE, k == 1 ? "A title" : NULL, &s), CF_OK);
        assert_int_equal(cf_sheet_row(s, k == 2 ? "a row" : NULL), CF_OK);
        assert_int_equal(
            cf_sheet_tile(s, gray, SIDE, SIDE, k == 3 ? "BLA_00001\nfold 3" : NULL, NULL), CF_OK);
        cf_image image = drawn(s);
        ink[k] = count_ink(&image);
        cf_image_fini(&image);
        cf_sheet_destroy(s);
    }
    assert_int_equal(ink[0], 0);
    for (int k = 1; k < 4; k++) assert_true(ink[k] > 20);
}

/* However long a name is, nothing is drawn outside the picture's column, and the sheet is as wide
 * as with a short one. Bytes that are no UTF-8, noncharacters and control characters do not stop
 * the drawing. */
static void long_and_odd_captions_stay_in_their_column(void **state)
{
    (void)state;
    char name[3000];
    memset(name, 'W', sizeof name);
    name[sizeof name - 1] = '\0';
    /* the last ones: U+FFFE, U+FFFF, U+FDD0, U+FDEF, U+1FFFE, U+10FFFF */
    const char *captions[] = {"short",
                              name,
                              "\xff\xfe Latin-1 \xe9t\xe9, \x01\x1b[0m",
                              "µ漢字 é",
                              "a \xef\xbf\xbe",
                              "a \xef\xbf\xbf",
                              "a \xef\xb7\x90",
                              "a \xef\xb7\xaf",
                              "a \xf0\x9f\xbf\xbe",
                              "a \xf4\x8f\xbf\xbf"};
    int width = 0;
    for (size_t k = 0; k < sizeof captions / sizeof captions[0]; k++) {
        cf_sheet *s;
        assert_int_equal(cf_sheet_create(1, TILE, NULL, &s), CF_OK);
        assert_int_equal(cf_sheet_tile(s, NULL, 0, 0, captions[k], NULL), CF_OK);
        cf_image image = drawn(s);
        assert_true(count_ink(&image) > 10);
        assert_true(width == 0 || image.width == width);
        width = image.width;
        for (int y = 0; y < image.height; y++)
            for (int x = 0; x < image.width; x++)
                if (x < (width - TILE) / 2 - 1 || x > (width + TILE) / 2 + 1)
                    assert_int_equal(image.pixels[(y * width + x) * 3], 255);
        cf_image_fini(&image);
        cf_sheet_destroy(s);
    }
}

static void frames_are_of_the_color_asked_for(void **state)
{
    (void)state;
    uint8_t gray[SIDE * SIDE * 3];
    fill(gray, SIDE * SIDE, 200, 200, 200);
    cf_sheet *s;
    assert_int_equal(cf_sheet_create(2, TILE, NULL, &s), CF_OK);
    assert_int_equal(cf_sheet_tile(s, gray, SIDE, SIDE, NULL, "#D02040"), CF_OK);
    assert_int_equal(cf_sheet_tile(s, gray, SIDE, SIDE, NULL, NULL), CF_OK);
    cf_image image = drawn(s);
    assert_int_equal(count_color(&image, 200, 200, 200), 2 * TILE * TILE); /* it hides nothing */
    assert_true(count_color(&image, 0xd0, 0x20, 0x40) >= 4 * TILE);
    cf_image_fini(&image);
    const char *bad[] = {"red", "#12345", "#1234567", "#12345g", ""};
    for (int k = 0; k < 5; k++)
        assert_int_equal(cf_sheet_tile(s, gray, SIDE, SIDE, NULL, bad[k]), CF_E_USAGE);
    cf_sheet_destroy(s);
}

static void sheets_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    cf_sheet *s;
    assert_int_equal(cf_sheet_create(100, 200, NULL, &s), CF_E_USAGE); /* 21,200 px wide */
    assert_null(s);
    assert_int_equal(cf_sheet_create(0, 64, NULL, &s), CF_E_USAGE);
    assert_int_equal(cf_sheet_create(1, 1 << 20, NULL, &s), CF_E_USAGE);
    assert_int_equal(cf_sheet_create(1, 2048, NULL, &s), CF_OK);
    for (int i = 0; i < 7; i++) assert_int_equal(cf_sheet_tile(s, NULL, 0, 0, NULL, NULL), CF_OK);
    assert_int_equal(cf_sheet_tile(s, NULL, 0, 0, NULL, NULL), CF_E_USAGE); /* 8 rows of 2,060 */
    assert_non_null(strstr(cf_err_text(), "16384"));
    cf_sheet_destroy(s);
}

static void a_folder_that_is_not_there_is_a_disk_error(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    cf_sheet *s;
    assert_int_equal(cf_path_join(path, sizeof path, folder, "missing/sheet.png"), CF_OK);
    assert_int_equal(cf_sheet_create(1, TILE, "empty", &s), CF_OK);
    assert_int_equal(cf_sheet_write(s, path), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), path));
    cf_sheet_destroy(s);
    cf_sheet_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_fill_their_squares),
        cmocka_unit_test(a_full_row_is_followed_by_another),
        cmocka_unit_test(captions_title_and_labels_put_ink),
        cmocka_unit_test(long_and_odd_captions_stay_in_their_column),
        cmocka_unit_test(frames_are_of_the_color_asked_for),
        cmocka_unit_test(sheets_beyond_the_limit_are_refused),
        cmocka_unit_test(a_folder_that_is_not_there_is_a_disk_error),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
