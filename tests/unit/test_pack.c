#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/hash.h"
#include "proto/cells.h"
#include "tests/fault/shim.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"
#include "worker/data/pack.h"

enum { SIDE = 6 };

/* A scratch folder with sources and the output beside them. */
typedef struct fixture {
    char dir[CF_PATH_MAX], source[CF_PATH_MAX], output[CF_PATH_MAX];
    cf_source sources[2];
    cf_pack_options options;
    cf_pack_result result;
} fixture;

static const char *in(const char *dir, const char *name)
{
    static char paths[4][CF_PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    assert_int_equal(cf_path_join(path, CF_PATH_MAX, dir, name), CF_OK);
    return path;
}

static void fixture_init(fixture *f)
{
    assert_true(scratch_make(f->dir));
    snprintf(f->source, sizeof f->source, "%s", in(f->dir, "images"));
    snprintf(f->output, sizeof f->output, "%s", in(f->dir, "x.cells"));
    assert_int_equal(cf_dir_make(f->source), CF_OK);
    for (int s = 0; s < 2; s++)
        f->sources[s] = (cf_source){.path = f->source, .site = "", .name = ""};
    f->options = (cf_pack_options){.sources = f->sources,
                                   .n_sources = 1,
                                   .scheme = "auto",
                                   .output = f->output,
                                   .threads = 3,
                                   .max_pixels = 1 << 20};
}

static void fixture_fini(fixture *f)
{
    scratch_remove(f->dir);
}

/* A PNG of one colour below the source; its folder is made. */
static void add_image(const fixture *f, const char *name, int side, uint8_t color)
{
    static uint8_t pixels[360 * 360 * 3];
    memset(pixels, color, sizeof pixels);
    char folder[CF_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", in(f->source, name));
    *strrchr(folder, '/') = '\0';
    assert_int_equal(cf_dir_make(folder), CF_OK);
    assert_int_equal(cf_image_write_png(in(f->source, name), pixels, side, side), CF_OK);
}

static void add_bytes(const fixture *f, const char *name, const char *text)
{
    assert_int_equal(cf_file_save(in(f->source, name), text, strlen(text)), CF_OK);
}

static void assert_packs(fixture *f)
{
    if (cf_pack(&f->options, &f->result) != CF_OK) fail_msg("%s", cf_err_text());
}

/* Fails with CF_E_DATA and the words, and leaves neither output nor temporary. */
static void assert_refused(fixture *f, const char *words)
{
    assert_int_equal(cf_pack(&f->options, &f->result), CF_E_DATA);
    if (!strstr(cf_err_text(), words)) fail_msg("\"%s\" is not in: %s", words, cf_err_text());
    cf_strings names;
    assert_int_equal(cf_dir_list(f->dir, &names), CF_OK);
    for (size_t i = 0; i < names.n; i++)
        if (strstr(names.items[i], "x.cells")) fail_msg("%s was left", names.items[i]);
    cf_strings_fini(&names);
}

static void images_are_packed_in_order_with_their_labels(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "B/deep/below/3.png", SIDE, 30);
    add_image(&f, "A/2.PNG", SIDE, 20);
    add_image(&f, "A/10.png", SIDE, 10);
    add_image(&f, "B/odd \"name\", really=.png", SIDE, 40);
    f.sources[0].site = "Munich";
    assert_packs(&f);
    assert_int_equal(f.result.n_packed, 4);
    static const char *const ids[4] = {"A/10.png", "A/2.PNG", "B/deep/below/3.png",
                                       "B/odd \"name\", really=.png"};
    cf_cells cells;
    assert_int_equal(cf_cells_open(f.output, &cells), CF_OK);
    assert_int_equal(cells.n, 4);
    assert_int_equal(cells.height, SIDE);
    assert_int_equal(cells.scheme.n_classes, 2);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(cells.ids[i], ids[i]);
        assert_int_equal(cells.labels[i], i / 2);
        assert_string_equal(cells.site_names.items[cells.sites[i]], "Munich");
        const uint8_t *pixels = cf_cells_image(&cells, i);
        for (int k = 0; k < SIDE * SIDE * 3; k++) assert_int_equal(pixels[k], 10 * (i + 1));
        assert_true(cells.hashes[i] == cf_hash64(pixels, SIDE * SIDE * 3));
    }
    cf_cells_close(&cells);
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void file_does_not_depend_on_threads_or_order_of_sources(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    char other[CF_PATH_MAX], *first = NULL;
    size_t n_first = 0;
    for (int i = 0; i < 60; i++) {
        char name[32];
        snprintf(name, sizeof name, "%c/%d.png", "ABC"[i % 3], i * 7919 % 1000);
        add_image(&f, name, 9 + i % 5, (uint8_t)(i * 4));
    }
    snprintf(other, sizeof other, "%s", in(f.dir, "other"));
    assert_int_equal(rename(in(f.source, "B"), in(f.dir, "B")), 0);
    assert_int_equal(cf_dir_make(other), CF_OK);
    assert_int_equal(rename(in(f.dir, "B"), in(other, "B")), 0);
    f.options.cut.size = 8;
    f.options.n_sources = 2;
    for (int run = 0; run < 8; run++) {
        f.options.threads = 1 + run / 2;
        f.sources[run % 2].path = f.source;
        f.sources[1 - run % 2].path = other;
        char *bytes;
        size_t n;
        assert_packs(&f);
        cf_pack_result_fini(&f.result);
        assert_int_equal(cf_file_read(f.output, 1 << 22, &bytes, &n), CF_OK);
        if (first) {
            assert_int_equal(n, n_first);
            assert_memory_equal(bytes, first, n);
            free(bytes);
        } else {
            first = bytes;
            n_first = n;
        }
    }
    free(first);
    fixture_fini(&f);
}

static void damaged_images_are_all_named_and_stop_the_packing(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    for (int i = 0; i < 40; i++) {
        char name[32];
        snprintf(name, sizeof name, "A/%02d.png", i);
        if (i % 2)
            add_image(&f, name, SIDE, 1);
        else
            add_image(&f, name, SIDE, 2),
                add_bytes(&f, name, i % 4 ? "" : "\x89PNG\r\n\x1A\n and no more");
    }
    assert_refused(&f, "20 of 40 images cannot be read");
    assert_int_equal(f.result.damaged.n, 20);
    for (size_t i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "A/%02zu.png: ", 2 * i);
        assert_non_null(strstr(f.result.damaged.items[i], name));
        assert_non_null(strstr(f.result.damaged.items[i], i % 2 ? "empty file" : "damaged PNG"));
    }
    cf_pack_result_fini(&f.result);

    f.options.damaged = CF_PACK_SKIP;
    assert_packs(&f);
    assert_int_equal(f.result.n_packed, 20);
    assert_int_equal(f.result.damaged.n, 20);
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void failed_packing_keeps_the_file_that_was_there(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "A/1.png", SIDE, 1);
    assert_packs(&f);
    cf_pack_result_fini(&f.result);
    char *before, *after;
    size_t n_before, n_after;
    assert_int_equal(cf_file_read(f.output, 1 << 20, &before, &n_before), CF_OK);
    add_bytes(&f, "A/2.png", "no image");
    assert_int_equal(cf_pack(&f.options, &f.result), CF_E_DATA);
    cf_pack_result_fini(&f.result);
    assert_int_equal(cf_file_read(f.output, 1 << 20, &after, &n_after), CF_OK);
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_after);
    free(before);
    free(after);
    fixture_fini(&f);
}

static void only_damaged_images_make_no_file(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "A/1.png", SIDE, 1);
    add_bytes(&f, "A/1.png", "no image");
    f.options.damaged = CF_PACK_SKIP;
    assert_refused(&f, "none of 1 images can be read");
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void images_of_two_sizes_are_refused_naming_two(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "A/1.png", 6, 1);
    add_image(&f, "A/2.png", 7, 1);
    assert_refused(&f, "A/1.png is 6 x 6, ");
    assert_non_null(strstr(cf_err_text(), "A/2.png is 7 x 7"));
    cf_pack_result_fini(&f.result);
    f.options.cut.size = 5;
    assert_packs(&f);
    assert_int_equal(f.result.height, 5);
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void image_over_the_limit_is_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "A/1.png", 10, 1);
    f.options.max_pixels = 99;
    assert_refused(&f, "1 of 1 images cannot be read");
    assert_non_null(strstr(f.result.damaged.items[0], "--max-pixels"));
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void unknown_folders_are_refused_with_the_codes(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "BLA/1.png", SIDE, 1);
    add_image(&f, "Blobs/1.png", SIDE, 1);
    add_image(&f, "XYZ/1.png", SIDE, 1);
    f.options.scheme = "bm7";
    assert_refused(&f, "Blobs (1), XYZ (1)");
    assert_non_null(strstr(cf_err_text(), "BLA, EOS, LYT, MON, NGS, NIF, PMO"));
    cf_pack_result_fini(&f.result);
    f.options.scheme = "no-such-scheme";
    assert_int_equal(cf_pack(&f.options, &f.result), CF_E_USAGE);
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void aliases_are_labels_and_dropped_classes_are_counted(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "Neutrophil/1.png", SIDE, 1);
    add_image(&f, "Basophil/1.png", SIDE, 1); /* bm7 has no basophils and drops them */
    f.options.scheme = "bm7";
    assert_packs(&f);
    assert_int_equal(f.result.n_packed, 1);
    assert_int_equal(f.result.n_dropped, 1);
    assert_int_equal(f.result.counts[cf_scheme_find(&f.result.scheme, "NGS")], 1);
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void odd_files_have_a_defined_outcome(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "A/1.png", SIDE, 1);
    add_image(&f, ".hidden/1.png", SIDE, 1);
    add_image(&f, "A/.hidden.png", SIDE, 1);
    add_image(&f, "A/folder.png/2.png", SIDE, 2); /* a folder of that name is a folder */
    add_bytes(&f, "A/notes.txt", "not an image by its name");
    add_bytes(&f, "README", "beside the class folders");
    assert_int_equal(symlink("1.png", in(f.source, "A/link.png")), 0); /* followed */
    assert_int_equal(symlink("../A", in(f.source, "A/loop")), 0);      /* not followed */
    assert_int_equal(symlink("nowhere", in(f.source, "A/broken.png")), 0);
    assert_int_equal(mkfifo(in(f.source, "A/pipe.png"), 0600), 0); /* opening it would hang */
    add_image(&f, "A/new\nline.png", SIDE, 1);
    add_image(&f, "A/not\xFFutf8.png", SIDE, 1);
    f.options.damaged = CF_PACK_SKIP;
    assert_packs(&f);
    assert_int_equal(f.result.n_packed, 3);  /* 1.png, folder.png/2.png, link.png */
    assert_int_equal(f.result.n_ignored, 3); /* notes.txt, README, loop */
    assert_int_equal(f.result.damaged.n, 4);
    for (size_t i = 0; i < 4; i++) assert_null(strchr(f.result.damaged.items[i], '\n'));
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void folders_without_classes_or_images_are_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    assert_refused(&f, "no class folders");
    cf_pack_result_fini(&f.result);
    add_image(&f, "1.png", SIDE, 1);
    assert_refused(&f, "is it a class folder itself?");
    cf_pack_result_fini(&f.result);
    assert_int_equal(cf_dir_make(in(f.source, "A")), CF_OK);
    assert_refused(&f, "no images");
    cf_pack_result_fini(&f.result);
    f.sources[0].path = "/nonexistent/folder";
    assert_refused(&f, "no such file or folder");
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static void same_id_in_two_sources_is_refused(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "A/1.png", SIDE, 1);
    f.sources[1].path = f.source;
    f.options.n_sources = 2;
    assert_refused(&f, "A/1.png is in both");
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

static bool stop_at_five(void *context, int64_t done, int64_t total)
{
    assert_int_equal(total, 30);
    *(int64_t *)context = done;
    return done < 5;
}

static void interrupted_packing_leaves_nothing(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    for (int i = 0; i < 30; i++) {
        char name[32];
        snprintf(name, sizeof name, "A/%02d.png", i);
        add_image(&f, name, SIDE, 1);
    }
    int64_t done = 0;
    f.options.progress = stop_at_five;
    f.options.context = &done;
    assert_int_equal(cf_pack(&f.options, &f.result), CF_E_UNEXPECTED);
    assert_true(f.result.interrupted);
    assert_int_equal(done, 5);
    cf_pack_result_fini(&f.result);
    cf_strings names;
    assert_int_equal(cf_dir_list(f.dir, &names), CF_OK);
    assert_int_equal(names.n, 1); /* the images alone */
    cf_strings_fini(&names);
    fixture_fini(&f);
}

static void unwritable_output_is_a_disk_error(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "A/1.png", SIDE, 1);
    f.options.output = "/nonexistent/folder/x.cells";
    assert_int_equal(cf_pack(&f.options, &f.result), CF_E_DISK);
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

/* Each file operation of a packing fails in turn, alone or with all after it. Whatever is said, the
 * output is the old file or a new one that opens, and no temporary is left. */
static void full_disk_keeps_the_file_that_was_there(void **state)
{
    (void)state;
    enum { WHOLE = 360 }; /* px: a megabyte and more in all */
    fixture f;
    fixture_init(&f);
    for (int i = 0; i < 3; i++)
        add_image(&f, (const char *[]){"A/1.png", "A/2.png", "B/3.png"}[i], WHOLE, 1);
    f.options.threads = 1;
    assert_packs(&f);
    cf_pack_result_fini(&f.result);
    add_image(&f, "A/4.png", WHOLE, 9); /* the new file has four images */
    int n_failed = 0, n_disk = 0;
    for (int mode = CF_FAULT_ONCE; mode <= CF_FAULT_INTERRUPT; mode++) {
        bool met = true;
        for (long n = 1; met; n++) {
            cf_fault_arm(n, ENOSPC, (cf_fault_mode)mode);
            cf_err err = cf_pack(&f.options, &f.result);
            met = cf_fault_disarm();
            cf_pack_result_fini(&f.result);
            n_failed += err != CF_OK;
            n_disk += err == CF_E_DISK;
            cf_cells cells;
            if (cf_cells_open(f.output, &cells) != CF_OK) fail_msg("%s", cf_err_text());
            if (err == CF_OK) assert_int_equal(cells.n, 4);
            cf_cells_close(&cells);
            cf_strings names;
            assert_int_equal(cf_dir_list(f.dir, &names), CF_OK);
            assert_int_equal(names.n, 2); /* the images and the output */
            cf_strings_fini(&names);
            assert_true(n < 10000);
        }
    }
    print_message("%d packings failed, %d of them for the disk\n", n_failed, n_disk);
    assert_true(n_disk > 0);
    fixture_fini(&f);
}

static void real_folders_pack(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    char source[CF_PATH_MAX];
    snprintf(source, sizeof source, "%s/bm7-original", CYTOFOLD_DATA);
    if (!*CYTOFOLD_DATA || !cf_path_is_dir(source)) {
        print_message("skipped: no bm7-original below CYTOFOLD_DATA \"%s\"\n", CYTOFOLD_DATA);
        fixture_fini(&f);
        skip();
    }
    f.sources[0].path = source;
    f.options.scheme = "bm7";
    f.options.cut.size = 64;
    assert_packs(&f);
    assert_int_equal(f.result.n_packed, 210);
    for (int c = 0; c < 7; c++) assert_int_equal(f.result.counts[c], 30);
    cf_pack_result_fini(&f.result);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_are_packed_in_order_with_their_labels),
        cmocka_unit_test(file_does_not_depend_on_threads_or_order_of_sources),
        cmocka_unit_test(damaged_images_are_all_named_and_stop_the_packing),
        cmocka_unit_test(failed_packing_keeps_the_file_that_was_there),
        cmocka_unit_test(only_damaged_images_make_no_file),
        cmocka_unit_test(images_of_two_sizes_are_refused_naming_two),
        cmocka_unit_test(image_over_the_limit_is_refused),
        cmocka_unit_test(unknown_folders_are_refused_with_the_codes),
        cmocka_unit_test(aliases_are_labels_and_dropped_classes_are_counted),
        cmocka_unit_test(odd_files_have_a_defined_outcome),
        cmocka_unit_test(folders_without_classes_or_images_are_refused),
        cmocka_unit_test(same_id_in_two_sources_is_refused),
        cmocka_unit_test(interrupted_packing_leaves_nothing),
        cmocka_unit_test(unwritable_output_is_a_disk_error),
        cmocka_unit_test(full_disk_keeps_the_file_that_was_there),
        cmocka_unit_test(real_folders_pack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
