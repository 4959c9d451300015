/* The pixel size of what is packed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/cells.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"
#include "worker/data/pack.h"

static char dir[CF_PATH_MAX]; /* made by the group's setup */

static const char *in(const char *name)
{
    static char paths[2][CF_PATH_MAX];
    static int next;
    char *path = paths[next++ % 2];
    assert_int_equal(cf_path_join(path, CF_PATH_MAX, dir, name), CF_OK);
    return path;
}

static void add_image(const char *name, int height, int width)
{
    static const uint8_t pixels[32 * 32 * 3];
    assert_int_equal(cf_image_write_png(in(name), pixels, height, width), CF_OK);
}

static int make_images(void **state)
{
    (void)state;
    if (!scratch_make(dir)) return -1;
    add_image("a.png", 16, 16);
    add_image("b.png", 16, 16);
    add_image("c.png", 20, 20);
    add_image("d.png", 20, 16);
    return 0;
}

static int remove_images(void **state)
{
    (void)state;
    scratch_remove(dir);
    return 0;
}

/* What the cells file of a manifest says, where its images are of 0.5 um a pixel. */
static double packed(const char *manifest, cf_cut cut)
{
    cf_cells cells;
    cf_pack_result result;
    char output[CF_PATH_MAX], table[CF_PATH_MAX];
    snprintf(output, sizeof output, "%s", in("x.cells"));
    snprintf(table, sizeof table, "%s", in("images.csv"));
    assert_int_equal(cf_file_save(table, manifest, strlen(manifest)), CF_OK);
    cf_source source = {.path = table, .site = "", .name = "", .um_per_px = 0.5};
    cf_pack_options options = {.sources = &source,
                               .n_sources = 1,
                               .scheme = "auto",
                               .output = output,
                               .cut = cut,
                               .threads = 2,
                               .max_pixels = 1 << 20};
    if (cf_pack(&options, &result) != CF_OK) fail_msg("%s", cf_err_text());
    cf_pack_result_fini(&result);
    assert_int_equal(cf_cells_open(output, &cells), CF_OK);
    double um = cells.um_per_px;
    cf_cells_close(&cells);
    return um;
}

/* The field stays, so the pixels of fewer are larger. */
static void resized_images_have_the_size_of_their_own_pixels(void **state)
{
    (void)state;
    const cf_cut size = {.size = 10};
    assert_true(packed("path,label\na.png,A\nb.png,A\n", size) == 0.5 * 1.6);
    /* another scanner, the same field in more pixels: the same pixels in the end */
    assert_true(packed("path,label,um_per_px\na.png,A,\nc.png,A,0.4\n", size) == 0.5 * 1.6);
    /* .057 * 20 and .07125 * 16 are the same field, but not in binary */
    assert_true(20 * 0.057 / 10 != 16 * 0.07125 / 10);
    assert_true(packed("path,label,um_per_px\nc.png,A,0.057\na.png,A,0.07125\n", size) > 0.11);
}

static void pixels_of_several_sizes_have_none(void **state)
{
    (void)state;
    const cf_cut size = {.size = 10};
    assert_true(packed("path,label\na.png,A\nc.png,A\n", size) == 0.0); /* two fields */
    assert_true(packed("path,label\nd.png,A\n", size) == 0.0); /* squeezed along one axis */
    assert_true(packed("path,label,um_per_px\na.png,A,\nb.png,A,0.4\n", (cf_cut){0}) == 0.0);
}

static void images_that_need_nothing_keep_theirs(void **state)
{
    (void)state;
    assert_true(packed("path,label\na.png,A\nb.png,A\n", (cf_cut){0}) == 0.5);
    assert_true(packed("path,label\na.png,A\nb.png,A\n", (cf_cut){.size = 16}) == 0.5);
}

/* Where the field is a wish: a.png of 16 x 16 px, c.png of 20 x 20. */
static void fields_are_cut_where_all_scales_are_known(void **state)
{
    (void)state;
    bool cropped = false;
    const cf_cut cut = {.crop_um = 5, .cropped = &cropped, .size = 10};
    assert_true(packed("path,label\na.png,A\nb.png,A\n", cut) == 0.5);
    assert_true(cropped);
    assert_true(packed("path,label,um_per_px\na.png,A,\nc.png,A,0.4\n", cut) == 0.5);
    assert_true(cropped);
}

static cf_err pack_single(const char *column, cf_cut cut, cf_pack_result *result)
{
    char output[CF_PATH_MAX], table[CF_PATH_MAX], text[200];
    snprintf(output, sizeof output, "%s", in("y.cells"));
    snprintf(table, sizeof table, "%s", in("single.csv"));
    snprintf(text, sizeof text, "path,label,um_per_px\na.png,A,%s\nb.png,A,0.5\n", column);
    assert_int_equal(cf_file_save(table, text, strlen(text)), CF_OK);
    cf_source source = {.path = table, .site = "", .name = ""}; /* only the manifest has scales */
    cf_pack_options options = {.sources = &source,
                               .n_sources = 1,
                               .scheme = "auto",
                               .output = output,
                               .cut = cut,
                               .threads = 1,
                               .max_pixels = 1 << 20};
    return cf_pack(&options, result);
}

static void a_manifests_scales_decide_about_the_field(void **state)
{
    (void)state;
    bool cropped = false;
    cf_pack_result r;
    const cf_cut wish = {.crop_um = 5, .cropped = &cropped}, demand = {.crop_um = 5};
    assert_int_equal(pack_single("0.5", wish, &r), CF_OK);
    assert_true(cropped);
    assert_int_equal(r.width, 10);
    cf_pack_result_fini(&r);
    assert_int_equal(pack_single("", wish, &r), CF_OK);
    assert_false(cropped);
    assert_int_equal(r.width, 16);
    cf_pack_result_fini(&r);
    assert_int_equal(pack_single("", demand, &r), CF_E_USAGE);
    cf_pack_result_fini(&r);
}

static void fields_a_little_larger_than_images_are_whole_images(void **state)
{
    (void)state;
    bool cropped = false;
    cf_pack_result r;
    cf_cut cut = {.crop_um = 8.4, .cropped = &cropped}; /* 17 px of 16 */
    assert_int_equal(pack_single("0.5", cut, &r), CF_OK);
    assert_int_equal(r.width, 16);
    cf_pack_result_fini(&r);
    cut.crop_um = 9; /* 18 px */
    assert_int_equal(pack_single("0.5", cut, &r), CF_E_DATA);
    assert_non_null(strstr(r.damaged.items[0], "--crop-um 0"));
    cf_pack_result_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resized_images_have_the_size_of_their_own_pixels),
        cmocka_unit_test(pixels_of_several_sizes_have_none),
        cmocka_unit_test(images_that_need_nothing_keep_theirs),
        cmocka_unit_test(fields_are_cut_where_all_scales_are_known),
        cmocka_unit_test(a_manifests_scales_decide_about_the_field),
        cmocka_unit_test(fields_a_little_larger_than_images_are_whole_images),
    };
    return cmocka_run_group_tests(tests, make_images, remove_images);
}
