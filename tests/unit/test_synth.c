#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"
#include "worker/data/phantom.h"
#include "worker/data/synth.h"
#include "worker/data/synth_site.h"

enum { SIDE = 48, BYTES = SIDE * SIDE * 3 };

static float scratch[2 * BYTES];

static cf_scheme scheme_of(const char *name)
{
    cf_scheme s;
    if (cf_scheme_read(name, &s) != CF_OK) fail_msg("%s", cf_err_text());
    return s;
}

static void picture_is_named_by_seed_class_and_number(void **state)
{
    (void)state;
    cf_scheme s = scheme_of("bm7");
    uint8_t first[BYTES], again[BYTES], other[BYTES];
    cf_synth_paint(&s, 2, 7, SIDE, 5, scratch, first);
    cf_synth_paint(&s, 2, 8, SIDE, 5, scratch, other);
    cf_synth_paint(&s, 2, 7, SIDE, 5, scratch, again); /* after another one: no state is left */
    assert_memory_equal(first, again, BYTES);
    assert_memory_not_equal(first, other, BYTES);
    cf_synth_paint(&s, 3, 7, SIDE, 5, scratch, other);
    assert_memory_not_equal(first, other, BYTES);
    cf_synth_paint(&s, 2, 7, SIDE, 6, scratch, other);
    assert_memory_not_equal(first, other, BYTES);
    cf_scheme_fini(&s);
}

/* Mean colour of the middle, where the cell lies. */
static void middle(const uint8_t *pixels, double mean[3])
{
    for (int c = 0; c < 3; c++) mean[c] = 0;
    for (int y = SIDE / 4; y < SIDE - SIDE / 4; y++)
        for (int x = SIDE / 4; x < SIDE - SIDE / 4; x++)
            for (int c = 0; c < 3; c++)
                mean[c] += pixels[(y * SIDE + x) * 3 + c] / (SIDE * SIDE / 4.0);
}

/* The simplest classifier, nearest mean colour of the middle, must do better than chance (1 in 7)
 * but must not be perfect: the classes differ and overlap. 7 x 60 pictures from two seeds. */
static void classes_differ_and_overlap(void **state)
{
    (void)state;
    enum { EACH = 60 };
    cf_scheme s = scheme_of("bm7");
    double center[7][3] = {{0}};
    uint8_t pixels[BYTES];
    for (int c = 0; c < 7; c++)
        for (int k = 0; k < EACH; k++) {
            double m[3];
            cf_synth_paint(&s, c, k, SIDE, 1, scratch, pixels);
            middle(pixels, m);
            for (int i = 0; i < 3; i++) center[c][i] += m[i] / EACH;
        }
    int right = 0;
    for (int c = 0; c < 7; c++)
        for (int k = 0; k < EACH; k++) {
            double m[3], best = 1e9;
            int guess = 0;
            cf_synth_paint(&s, c, k, SIDE, 2, scratch, pixels);
            middle(pixels, m);
            for (int g = 0; g < 7; g++) {
                double d =
                    hypot(hypot(m[0] - center[g][0], m[1] - center[g][1]), m[2] - center[g][2]);
                if (d < best) best = d, guess = g;
            }
            right += guess == c;
        }
    print_message("%d of %d by mean colour\n", right, 7 * EACH);
    assert_in_range(right, 7 * EACH / 4, 7 * EACH * 9 / 10);
    cf_scheme_fini(&s);
}

static void every_code_has_a_stable_look(void **state)
{
    (void)state;
    cf_look a = cf_phantom_look("MY-OWN-CLASS"), b = cf_phantom_look("MY-OWN-CLASS");
    cf_look c = cf_phantom_look("ANOTHER");
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.radius != c.radius);
    assert_string_equal(cf_phantom_look("EOS").code, "EOS");
}

typedef struct fixture {
    char dir[CF_PATH_MAX], folder[CF_PATH_MAX];
    cf_synth_options options;
} fixture;

static void fixture_init(fixture *f)
{
    assert_true(scratch_make(f->dir));
    assert_int_equal(cf_path_join(f->folder, sizeof f->folder, f->dir, "new"), CF_OK);
    f->options = (cf_synth_options){.folder = f->folder, .n_images = 9, .size = 16, .seed = 3};
}

static void folder_per_class_is_written(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    cf_scheme s = scheme_of("bm7");
    assert_int_equal(cf_synth_write(&f.options, &s), CF_OK);
    for (int c = 0; c < 7; c++) {
        char path[CF_PATH_MAX], *bytes;
        cf_strings names;
        cf_image image;
        size_t n;
        assert_int_equal(cf_path_join(path, sizeof path, f.folder, s.classes[c].code), CF_OK);
        assert_int_equal(cf_dir_list(path, &names), CF_OK);
        assert_int_equal(names.n, c < 2 ? 2 : 1); /* 9 images in 7 classes */
        char file[CF_PATH_MAX];
        assert_int_equal(cf_path_join(file, sizeof file, path, names.items[0]), CF_OK);
        assert_int_equal(cf_file_read(file, 1 << 20, &bytes, &n), CF_OK);
        assert_int_equal(cf_image_decode(file, (uint8_t *)bytes, n, 1 << 20, &image), CF_OK);
        uint8_t expected[16 * 16 * 3];
        cf_synth_paint(&s, c, 0, 16, 3, scratch, expected);
        assert_int_equal(image.height, 16);
        assert_memory_equal(image.pixels, expected, sizeof expected);
        cf_image_fini(&image);
        free(bytes);
        cf_strings_fini(&names);
    }
    cf_scheme_fini(&s);
    scratch_remove(f.dir);
}

static void folder_with_something_in_it_is_left_alone(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    cf_scheme s = scheme_of("bm7");
    f.options.folder = f.dir;
    char path[CF_PATH_MAX];
    assert_int_equal(cf_path_join(path, sizeof path, f.dir, "mine"), CF_OK);
    assert_int_equal(cf_file_save(path, "x", 1), CF_OK);
    assert_int_equal(cf_synth_write(&f.options, &s), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "mine"));
    f.options.folder = path; /* a file */
    assert_int_equal(cf_synth_write(&f.options, &s), CF_E_USAGE);
    f.options.folder = f.folder;
    f.options.n_images = 6;
    assert_int_equal(cf_synth_write(&f.options, &s), CF_E_USAGE);
    f.options.n_images = 7;
    f.options.folder = "/proc/nowhere";
    assert_int_equal(cf_synth_write(&f.options, &s), CF_E_DISK);
    cf_scheme_fini(&s);
    scratch_remove(f.dir);
}

static void published_shares_are_the_papers_counts(void **state)
{
    (void)state;
    cf_scheme s = scheme_of("matek2021");
    int64_t counts[32];
    cf_synth_options o = {.n_images = 171374, .share = CF_SYNTH_PUBLISHED};
    assert_int_equal(cf_synth_counts(&o, &s, counts), CF_OK);
    for (int c = 0; c < s.n_classes; c++) assert_int_equal(counts[c], s.classes[c].published_count);
    o.n_images = 1000; /* a class of 8 in 171,374 still has one */
    assert_int_equal(cf_synth_counts(&o, &s, counts), CF_OK);
    int64_t sum = 0;
    for (int c = 0; c < s.n_classes; c++) {
        assert_true(counts[c] >= 1);
        /* one each, then the shares of the other 979 rounded down or up */
        double share = 1 + 979.0 * (double)(s.classes[c].published_count - 1) / (171374.0 - 21);
        assert_true(fabs((double)counts[c] - share) <= 1.0);
        sum += counts[c];
    }
    assert_int_equal(sum, 1000);
    cf_scheme_fini(&s);
    s = scheme_of("bm7");
    for (int c = 0; c < s.n_classes; c++) s.classes[c].published_count = 1;
    assert_int_equal(cf_synth_counts(&o, &s, counts), CF_OK); /* no shares to cut: even */
    for (int c = 0; c < s.n_classes; c++) assert_int_equal(counts[c], 142 + (c < 6));
    s.classes[3].published_count = 0;
    assert_int_equal(cf_synth_counts(&o, &s, counts), CF_E_USAGE);
    cf_scheme_fini(&s);
}

/* Every row of the manifest: its patient belongs to its site. Returns the rows, owned. */
static char *manifest_of(const char *folder, int n_rows, int *n_of_site)
{
    char path[CF_PATH_MAX], *text;
    size_t n;
    assert_int_equal(cf_path_join(path, sizeof path, folder, "manifest.csv"), CF_OK);
    assert_int_equal(cf_file_read(path, 1 << 20, &text, &n), CF_OK);
    char *line = strchr(text, '\n') + 1;
    for (int i = 0; i < n_rows; i++, line = strchr(line, '\n') + 1) {
        static const char *const names[3] = {"north", "east", "south"};
        char file[64], label[16], site[16];
        int patient;
        double um;
        assert_int_equal(
            sscanf(line, "%63[^,],%15[^,],%15[^,],P%d,%lf", file, label, site, &patient, &um), 5);
        assert_in_range(patient, 0, 11);
        assert_string_equal(site, names[patient % 3]);
        assert_true(um > 0.07 && um < 0.09);
        n_of_site[patient % 3]++;
    }
    assert_int_equal(*line, '\0');
    return text;
}

static void sites_have_patients_and_colours_of_their_own(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    cf_scheme s = scheme_of("bm7");
    int n_of_site[3] = {0}, again_of_site[3] = {0};
    char again[CF_PATH_MAX], path[CF_PATH_MAX], *bytes[2];
    size_t n[2];
    f.options.n_images = 70;
    f.options.n_sites = 3;
    f.options.n_patients = 12;
    f.options.threads = 1;
    f.options.format = CF_SYNTH_JPEG;
    assert_int_equal(cf_synth_write(&f.options, &s), CF_OK);
    char *rows = manifest_of(f.folder, 70, n_of_site);
    for (int k = 0; k < 3; k++) assert_true(n_of_site[k] > 0);
    /* on other threads the same */
    assert_int_equal(cf_path_join(again, sizeof again, f.dir, "again"), CF_OK);
    f.options.folder = again;
    f.options.threads = 3;
    assert_int_equal(cf_synth_write(&f.options, &s), CF_OK);
    char *same = manifest_of(again, 70, again_of_site);
    assert_string_equal(rows, same);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cf_path_join(path, sizeof path, i ? again : f.folder, "LYT/LYT_00010.jpg"),
                         CF_OK);
        assert_int_equal(cf_file_read(path, 1 << 20, &bytes[i], &n[i]), CF_OK);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
    free(rows);
    free(same);
    /* the same grey slide under three lamps */
    uint8_t grey[3 * 24 * 24], seen[3][3 * 16 * 16];
    memset(grey, 180, sizeof grey);
    for (int k = 0; k < 3; k++) cf_synth_site_develop(k, grey, 16, seen[k]);
    assert_memory_equal(seen[0], grey, sizeof seen[0]);
    assert_true(seen[1][0] > seen[0][0] + 5 && seen[2][0] < seen[0][0] - 5);
    assert_true(seen[1][0] > seen[1][2] && seen[2][0] < seen[2][2]); /* yellow and blue light */
    f.options.n_sites = 5;
    assert_int_equal(cf_synth_write(&f.options, &s), CF_E_USAGE);
    cf_scheme_fini(&s);
    scratch_remove(f.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(picture_is_named_by_seed_class_and_number),
        cmocka_unit_test(classes_differ_and_overlap),
        cmocka_unit_test(every_code_has_a_stable_look),
        cmocka_unit_test(folder_per_class_is_written),
        cmocka_unit_test(folder_with_something_in_it_is_left_alone),
        cmocka_unit_test(published_shares_are_the_papers_counts),
        cmocka_unit_test(sites_have_patients_and_colours_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
