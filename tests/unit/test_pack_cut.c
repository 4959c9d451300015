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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resized_images_have_the_size_of_their_own_pixels),
        cmocka_unit_test(pixels_of_several_sizes_have_none),
        cmocka_unit_test(images_that_need_nothing_keep_theirs),
    };
    return cmocka_run_group_tests(tests, make_images, remove_images);
}
