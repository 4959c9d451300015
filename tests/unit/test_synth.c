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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(picture_is_named_by_seed_class_and_number),
        cmocka_unit_test(classes_differ_and_overlap),
        cmocka_unit_test(every_code_has_a_stable_look),
        cmocka_unit_test(folder_per_class_is_written),
        cmocka_unit_test(folder_with_something_in_it_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
