#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/cells.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"
#include "worker/data/pack.h"

/* Images that are packed without a class: of what sources, under what label. */

static char dir[CF_PATH_MAX];

static const char *in(const char *name)
{
    static char paths[4][CF_PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    assert_int_equal(cf_path_join(path, CF_PATH_MAX, dir, name), CF_OK);
    return path;
}

static void add_image(const char *name)
{
    static uint8_t color;
    uint8_t pixels[6 * 6 * 3];
    char folder[CF_PATH_MAX];
    memset(pixels, ++color, sizeof pixels);
    snprintf(folder, sizeof folder, "%s", in(name));
    *strrchr(folder, '/') = '\0';
    assert_int_equal(cf_dir_make(folder), CF_OK);
    assert_int_equal(cf_image_write_png(in(name), pixels, 6, 6), CF_OK);
}

static int set_up(void **state)
{
    (void)state;
    return scratch_make(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(dir);
    return 0;
}

/* "id given label;" of every image, in the file's order. */
static void assert_packed(const char *const *names, int n, const char *expected)
{
    cf_source sources[4] = {{0}};
    cf_pack_result r;
    cf_cells cells;
    cf_buf found = {0};
    for (int i = 0; i < n; i++) {
        sources[i] = (cf_source){.path = strdup(in(names[i])), .site = "", .name = ""};
        assert_non_null(sources[i].path);
    }
    cf_pack_options o = {.sources = sources,
                         .n_sources = n,
                         .scheme = "bm7",
                         .output = in("x.cells"),
                         .unmapped = CF_UNMAPPED_KEEP,
                         .threads = 2,
                         .max_pixels = 1 << 20};
    if (cf_pack(&o, &r) != CF_OK) fail_msg("%s", cf_err_text());
    if (cf_cells_open_any(in("x.cells"), &cells) != CF_OK) fail_msg("%s", cf_err_text());
    assert_int_equal(cells.n_unknown, r.n_unlabelled);
    for (int64_t i = 0; i < cells.n; i++) {
        const char *id = strncmp(cells.ids[i], dir, strlen(dir)) == 0
                             ? cells.ids[i] + strlen(dir) + 1
                             : cells.ids[i];
        cf_buf_printf(
            &found, "%s '%s' %s;", id, cells.given_names.items[cells.given[i]],
            cells.labels[i] == CF_LABEL_UNKNOWN ? "-" : cells.scheme.classes[cells.labels[i]].code);
    }
    assert_string_equal(cf_buf_text(&found), expected);
    cf_buf_fini(&found);
    cf_cells_close(&cells);
    cf_pack_result_fini(&r);
    for (int i = 0; i < n; i++) free((void *)(uintptr_t)sources[i].path);
}

static void folders_keep_images_of_unknown_and_dropped_classes(void **state)
{
    (void)state;
    add_image("s/EOS/1.png");
    add_image("s/Neutrophil/a/2.png");
    add_image("s/Basophil/3.png"); /* the scheme drops it */
    add_image("s/Blobs/4.png");
    assert_packed((const char *[]){"s"}, 1,
                  "Basophil/3.png 'Basophil' -;Blobs/4.png 'Blobs' -;EOS/1.png 'EOS' EOS;"
                  "Neutrophil/a/2.png 'Neutrophil' NGS;");
}

static void folders_may_hold_images_beside_folders(void **state)
{
    (void)state;
    add_image("s/1.png");
    add_image("s/EOS/2.png");
    add_image("flat/3.png");
    assert_packed((const char *[]){"s", "flat"}, 2, "1.png '' -;3.png '' -;EOS/2.png 'EOS' EOS;");
}

static void single_files_are_sources(void **state)
{
    (void)state;
    add_image("s/EOS/1.png");
    add_image("s/2.png");
    assert_packed((const char *[]){"s/2.png", "s/EOS/1.png"}, 2, "s/2.png '' -;s/EOS/1.png '' -;");
}

static void manifests_need_no_label(void **state)
{
    (void)state;
    static const char some[] = "path,label\ns/1.png,EOS\ns/2.png,\n";
    static const char none[] = "path,site\ns/3.png,north\n";
    add_image("s/1.png");
    add_image("s/2.png");
    add_image("s/3.png");
    assert_int_equal(cf_file_save(in("some.csv"), some, sizeof some - 1), CF_OK);
    assert_int_equal(cf_file_save(in("none.csv"), none, sizeof none - 1), CF_OK);
    assert_packed((const char *[]){"some.csv", "none.csv"}, 2,
                  "s/1.png 'EOS' EOS;s/2.png '' -;s/3.png '' -;");
}

static void training_refuses_such_a_file(void **state)
{
    (void)state;
    cf_cells cells;
    add_image("s/1.png");
    assert_packed((const char *[]){"s"}, 1, "1.png '' -;");
    assert_int_equal(cf_cells_open(in("x.cells"), &cells), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "1 of 1 images have no label"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folders_keep_images_of_unknown_and_dropped_classes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(folders_may_hold_images_beside_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(single_files_are_sources, set_up, tear_down),
        cmocka_unit_test_setup_teardown(manifests_need_no_label, set_up, tear_down),
        cmocka_unit_test_setup_teardown(training_refuses_such_a_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
