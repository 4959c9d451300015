#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/mman.h>

#include "worker/data/loader.h"
#include "worker/data/stain.h"

enum { MAX_SIDE = 256 };

static uint8_t source[MAX_SIDE * MAX_SIDE * 3];
static float applied[MAX_SIDE * MAX_SIDE * 3], expected[MAX_SIDE * MAX_SIDE * 3];

static cf_config plain_config(int64_t size)
{
    cf_config config;
    cf_config_defaults(&config);
    config.model_image_size = size;
    return config;
}

/* Everything at once, in amounts that do not reduce the picture. */
static cf_config rich_config(int64_t size)
{
    cf_config config = plain_config(size);
    config.augment_rotation = 180;
    config.augment_flip_horizontal = config.augment_flip_vertical = true;
    config.augment_shift = 0.25;
    config.augment_shear = 0.2;
    config.augment_scale_min = 0.9;
    config.augment_scale_max = 1.3;
    config.augment_brightness = 0.3;
    config.augment_contrast = 0.4;
    config.augment_color = 0.2;
    config.augment_erase = 0.5;
    for (int c = 0; c < 3; c++) {
        config.augment_mean.items[c] = 0.4 + 0.1 * c;
        config.augment_std.items[c] = 0.2 + 0.05 * c;
    }
    return config;
}

static void fill_source(uint64_t seed)
{
    cf_rng rng = cf_rng_at(seed, 0, 0, 0, CF_PURPOSE_TEST);
    for (size_t i = 0; i < sizeof source; i++) source[i] = (uint8_t)cf_rng_below(&rng, 256);
}

/* Draws take turns with no change of stains and the three profiles of one. */
static void set_stain(cf_config *config, int64_t draw, cf_augment *t)
{
    const cf_stain stain = {{{0.65f, 0.70f, 0.29f}, {0.27f, 0.68f, 0.68f}}, {1.5f, 2.0f}};
    config->augment_stain = (int)(draw % 4);
    cf_stain_draw(config, &stain, 1, 2, draw, &t->stain);
}

static void assert_applied_by_formula(int h, int w, int size, const cf_augment *t,
                                      const cf_normalize *norm)
{
    cf_augment_apply(source, h, w, t, norm, size, applied);
    cf_augment_source s = cf_augment_source_of(source, h, w, t);
    for (int i = 0; i < size * size; i++)
        cf_augment_pixel(&s, t, norm, i % size, i / size, expected + 3 * i);
    assert_memory_equal(applied, expected, (size_t)(size * size * 3) * sizeof(float));
}

static void apply_has_the_bits_of_the_shared_formula(void **state)
{
    (void)state;
    static const int sides[][2] = {{64, 64}, {80, 71}, {33, 90}, {1, 1}, {2, 1}, {1, 40}};
    print_message("seed 3\n");
    fill_source(3);
    cf_config config = rich_config(64);
    cf_normalize norm;
    cf_normalize_from(&config, &norm);
    for (int64_t draw = 0; draw < 240; draw++) {
        int h = sides[draw % 6][0], w = sides[draw % 6][1];
        cf_augment t;
        cf_augment_draw(&config, h, w, 1, 2, draw, &t);
        set_stain(&config, draw / 6, &t);
        assert_applied_by_formula(h, w, 64, &t, &norm);
    }
}

/* Where a network is only asked: the image as it is, and with all but its place changed. */
static void an_image_itself_has_the_bits_of_the_shared_formula(void **state)
{
    (void)state;
    print_message("seed 4\n");
    fill_source(4);
    cf_config config = rich_config(64), plain = plain_config(64);
    cf_normalize norm;
    cf_normalize_from(&config, &norm);
    for (int64_t draw = 0; draw < 16; draw++) {
        cf_augment t, still;
        cf_augment_plain(&plain, 64, 64, &still);
        assert_applied_by_formula(64, 64, 64, &still, &norm);
        cf_augment_draw(&config, 64, 64, 1, 2, draw, &t);
        memcpy(t.a, still.a, sizeof t.a);
        set_stain(&config, draw, &t);
        assert_applied_by_formula(64, 64, 64, &t, &norm);
    }
}

/* Reduced pictures: 2 to 8 samples along an axis, and different numbers along both. */
static void reduction_has_the_bits_of_the_shared_formula(void **state)
{
    (void)state;
    static const int sides[][2] = {{250, 250}, {250, 90}, {64, 256}, {256, 1}, {130, 131}};
    enum { SIZE = 40 };
    print_message("seed 6\n");
    fill_source(6);
    cf_config config = rich_config(SIZE);
    cf_normalize norm;
    cf_normalize_from(&config, &norm);
    int n_reduced = 0, n_unequal = 0;
    for (int64_t draw = 0; draw < 100; draw++) {
        int h = sides[draw % 5][0], w = sides[draw % 5][1];
        cf_augment t;
        cf_augment_draw(&config, h, w, 1, 2, draw, &t);
        set_stain(&config, draw / 5, &t);
        assert_applied_by_formula(h, w, SIZE, &t, &norm);
        cf_augment_source s = cf_augment_source_of(source, h, w, &t);
        n_reduced += s.nx > 1 && s.ny > 1;
        n_unequal += s.nx != s.ny;
    }
    assert_true(n_reduced > 50 && n_unequal > 10);
}

/* Against another way to say it: the mean of pictures moved by a sample's offset, each with one
 * sample a pixel, without colours (mean 0, deviation 1). */
static void reduction_is_the_mean_of_a_grid(void **state)
{
    (void)state;
    enum { SIZE = 50 };
    fill_source(4);
    cf_config config = plain_config(SIZE);
    cf_augment t;
    cf_normalize norm;
    cf_normalize_from(&config, &norm);
    cf_augment_plain(&config, 250, 180, &t);
    cf_augment_apply(source, 250, 180, &t, &norm, SIZE, applied);
    int nx = 4, ny = 5; /* 180 / 50 = 3.6, 250 / 50 = 5 */
    const cf_augment_source single = {source, 250, 180, 1, 1};
    for (int i = 0; i < SIZE * SIZE; i++) {
        double sum[3] = {0};
        for (int k = 0; k < nx * ny; k++) {
            cf_augment moved = t;
            double dx = (k % nx + 0.5) / nx - 0.5, dy = ((k / nx) + 0.5) / ny - 0.5;
            moved.a[2] += t.a[0] * (float)dx + t.a[1] * (float)dy;
            moved.a[5] += t.a[3] * (float)dx + t.a[4] * (float)dy;
            float out[3];
            cf_augment_pixel(&single, &moved, &norm, i % SIZE, i / SIZE, out);
            for (int c = 0; c < 3; c++) sum[c] += (double)out[c];
        }
        /* positions of samples are rounded differently: 2^-15 of a pixel of contrast 1 */
        for (int c = 0; c < 3; c++)
            assert_true(fabs(sum[c] / (nx * ny) - (double)applied[3 * i + c]) < 1e-4);
    }
}

static void stripes_turn_grey_when_reduced(void **state)
{
    (void)state;
    for (int i = 0; i < 250 * 250 * 3; i++) source[i] = i / 3 % 250 % 2 ? 255 : 0;
    cf_config config = plain_config(64);
    cf_augment t;
    cf_normalize norm;
    cf_normalize_from(&config, &norm);
    cf_augment_plain(&config, 250, 250, &t);
    cf_augment_apply(source, 250, 250, &t, &norm, 64, applied);
    /* four samples a pixel, 0.98 source pixels apart: alternating values, nearly balanced */
    for (int i = 0; i < 64 * 64 * 3; i++) assert_true(fabs((double)applied[i] - 0.5) < 0.1);
}

static void nothing_is_read_past_the_source(void **state)
{
    (void)state;
    enum { SIDE = 16, PAGE = 4096, BYTES = SIDE * SIDE * 3 };
    uint8_t *pages =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + PAGE, PAGE, PROT_NONE), 0);
    uint8_t *image = pages + PAGE - BYTES; /* a read past its end is a fault */
    memset(image, 200, BYTES);
    cf_config config = rich_config(32);
    cf_normalize norm;
    cf_normalize_from(&config, &norm);
    for (int64_t draw = 0; draw < 50; draw++) {
        cf_augment t;
        cf_augment_draw(&config, SIDE, SIDE, 0, 0, draw, &t);
        cf_augment_apply(image, SIDE, SIDE, &t, &norm, 32, applied);
    }
    assert_int_equal(munmap(pages, 2 * PAGE), 0);
}

static void plain_map_of_equal_size_changes_nothing(void **state)
{
    (void)state;
    fill_source(5);
    cf_config config = plain_config(48);
    cf_augment t;
    cf_normalize norm;
    cf_normalize_from(&config, &norm);
    cf_augment_plain(&config, 48, 48, &t);
    cf_augment_apply(source, 48, 48, &t, &norm, 48, applied);
    for (int i = 0; i < 48 * 48 * 3; i++)
        assert_true(applied[i] == (float)source[i] * (1.0f / 255.0f));
}

static void normalisation_uses_mean_and_deviation(void **state)
{
    (void)state;
    memset(source, 51, 16 * 16 * 3); /* 0.2 */
    cf_config config = rich_config(16);
    cf_augment t;
    cf_normalize norm;
    cf_normalize_from(&config, &norm);
    cf_augment_plain(&config, 16, 16, &t);
    cf_augment_apply(source, 16, 16, &t, &norm, 16, applied);
    for (int c = 0; c < 3; c++) /* a few roundings of 2^-24 */
        assert_true(fabs((double)applied[c] - (0.2 - (0.4 + 0.1 * c)) / (0.2 + 0.05 * c)) < 1e-6);
}

/* Source position of an output position. */
static void map(const cf_augment *t, double x, double y, double *sx, double *sy)
{
    *sx = (double)t->a[0] * x + (double)t->a[1] * y + (double)t->a[2];
    *sy = (double)t->a[3] * x + (double)t->a[4] * y + (double)t->a[5];
}

static void assert_maps(const cf_augment *t, double x, double y, double to_x, double to_y)
{
    double sx, sy;
    map(t, x, y, &sx, &sy);
    if (fabs(sx - to_x) > 1e-4 || fabs(sy - to_y) > 1e-4) /* floats below 256: 2^-16 */
        fail_msg("%g,%g maps to %g,%g, expected %g,%g", x, y, sx, sy, to_x, to_y);
}

static void edges_of_the_output_meet_edges_of_the_source(void **state)
{
    (void)state;
    cf_config config = plain_config(64);
    cf_augment t;
    cf_augment_plain(&config, 250, 100, &t);
    assert_maps(&t, -0.5, -0.5, -0.5, -0.5);
    assert_maps(&t, 63.5, 63.5, 99.5, 249.5);
    config.augment_zoom = 1.25; /* the central 80 % */
    cf_augment_plain(&config, 250, 100, &t);
    assert_maps(&t, -0.5, -0.5, 9.5, 24.5);
    assert_maps(&t, 63.5, 63.5, 89.5, 224.5);
}

static void scale_enlarges_the_content(void **state)
{
    (void)state;
    cf_config config = plain_config(64);
    config.augment_scale_min = config.augment_scale_max = 2.0;
    cf_augment t;
    cf_augment_draw(&config, 64, 64, 0, 0, 0, &t);
    assert_maps(&t, 31.5, 31.5, 31.5, 31.5);
    assert_maps(&t, -0.5, 63.5, 15.5, 47.5);
}

static void draws_stay_in_their_ranges_and_fill_them(void **state)
{
    (void)state;
    enum { DRAWS = 4000 };
    cf_config config = plain_config(100);
    config.augment_rotation = 30;
    config.augment_scale_min = 0.8;
    config.augment_scale_max = 1.25;
    config.augment_shift = 0.1;
    double angle_low = 1e9, angle_high = -1e9, step_low = 1e9, step_high = 0, shift_low = 1e9,
           shift_high = -1e9;
    for (int64_t draw = 0; draw < DRAWS; draw++) {
        cf_augment t;
        cf_augment_draw(&config, 100, 100, 0, 0, draw, &t);
        double a = (double)t.a[0], b = (double)t.a[1], c = (double)t.a[3], d = (double)t.a[4];
        /* without shear and flips the map is a rotation times a scale */
        assert_true(fabs(a - d) < 1e-6 && fabs(b + c) < 1e-6);
        double angle = atan2(c, a) * 180.0 / 3.14159265358979, step = hypot(a, c), x, y;
        /* the output position that shows the source's center */
        double det = a * d - b * c, u = 49.5 - (double)t.a[2], v = 49.5 - (double)t.a[5];
        x = (d * u - b * v) / det - 49.5;
        y = (a * v - c * u) / det - 49.5;
        angle_low = fmin(angle_low, angle), angle_high = fmax(angle_high, angle);
        step_low = fmin(step_low, step), step_high = fmax(step_high, step);
        shift_low = fmin(shift_low, fmin(x, y)), shift_high = fmax(shift_high, fmax(x, y));
    }
    /* 4,000 uniform draws leave the outer 1 % of a range empty with probability e^-40 */
    assert_true(angle_low >= -30.001 && angle_low < -29.4 && angle_high <= 30.001 &&
                angle_high > 29.4);
    assert_true(step_low >= 1 / 1.2501 && step_low < 1 / 1.24 && step_high <= 1.2501 &&
                step_high > 1.24);
    assert_true(shift_low >= -10.001 && shift_low < -9.8 && shift_high <= 10.001 &&
                shift_high > 9.8);
}

static void flips_come_half_of_the_time(void **state)
{
    (void)state;
    cf_config config = plain_config(64);
    config.augment_flip_horizontal = true;
    int n_flipped = 0;
    for (int64_t draw = 0; draw < 4000; draw++) {
        cf_augment t;
        cf_augment_draw(&config, 64, 64, 0, 0, draw, &t);
        assert_true(fabsf(t.a[0]) == 1.0f && t.a[4] == 1.0f);
        n_flipped += t.a[0] < 0;
    }
    assert_in_range(n_flipped, 2000 - 160, 2000 + 160); /* five standard deviations of 31.6 */
}

static void colors_stay_in_their_ranges(void **state)
{
    (void)state;
    cf_config config = plain_config(64);
    config.augment_brightness = 0.2;
    config.augment_contrast = 0.5;
    for (int64_t draw = 0; draw < 2000; draw++) {
        cf_augment t;
        cf_augment_draw(&config, 64, 64, 0, 0, draw, &t);
        /* mid-grey is moved by brightness alone, white less black by both */
        double grey = 0.5 * (double)t.gain[1] + (double)t.offset[1], gain = (double)t.gain[1];
        assert_true(grey >= 0.5 * 0.8 - 1e-6 && grey <= 0.5 * 1.2 + 1e-6);
        assert_true(gain >= 0.8 * 0.5 - 1e-6 && gain <= 1.2 * 1.5 + 1e-6);
        assert_true(t.gain[0] == t.gain[1] && t.gain[1] == t.gain[2]);
    }
}

static void erased_rectangles_are_inside_and_of_the_right_area(void **state)
{
    (void)state;
    cf_config config = plain_config(100);
    config.augment_erase = 0.25;
    int n = 0;
    for (int64_t draw = 0; draw < 4000; draw++) {
        cf_augment t;
        cf_augment_draw(&config, 100, 100, 0, 0, draw, &t);
        int w = t.erase[2] - t.erase[0], h = t.erase[3] - t.erase[1];
        if (w == 0 && h == 0) continue;
        n++;
        assert_true(t.erase[0] >= 0 && t.erase[1] >= 0 && t.erase[2] <= 100 && t.erase[3] <= 100);
        /* sides are rounded to whole pixels: 10 to 63 px, so the area by up to 8 % */
        assert_true(w * h >= 200 * 0.92 && w * h <= 2000 * 1.08);
    }
    assert_in_range(n, 1000 - 140, 1000 + 140); /* five standard deviations of 27.4 */
}

static void one_setting_leaves_the_others_values_alone(void **state)
{
    (void)state;
    cf_config a = rich_config(64), b = a;
    b.augment_rotation = 0;
    b.augment_flip_horizontal = false;
    b.augment_shift = 0;
    for (int64_t draw = 0; draw < 50; draw++) {
        cf_augment s, t;
        cf_augment_draw(&a, 64, 64, 0, 0, draw, &s);
        cf_augment_draw(&b, 64, 64, 0, 0, draw, &t);
        assert_memory_equal(s.gain, t.gain, sizeof s.gain);
        assert_memory_equal(s.erase, t.erase, sizeof s.erase);
        assert_memory_not_equal(s.a, t.a, sizeof s.a);
    }
}

static void draw_is_named_by_seed_fold_epoch_and_number(void **state)
{
    (void)state;
    cf_config config = rich_config(64);
    cf_augment first, again, other;
    cf_augment_draw(&config, 64, 64, 1, 2, 3, &first);
    cf_augment_draw(&config, 64, 64, 1, 2, 3, &again);
    assert_memory_equal(&first, &again, sizeof first);
    cf_augment_draw(&config, 64, 64, 2, 2, 3, &other);
    assert_memory_not_equal(first.a, other.a, sizeof first.a);
    cf_augment_draw(&config, 64, 64, 1, 3, 3, &other);
    assert_memory_not_equal(first.a, other.a, sizeof first.a);
    cf_augment_draw(&config, 64, 64, 1, 2, 4, &other);
    assert_memory_not_equal(first.a, other.a, sizeof first.a);
    config.train_seed++;
    cf_augment_draw(&config, 64, 64, 1, 2, 3, &other);
    assert_memory_not_equal(first.a, other.a, sizeof first.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply_has_the_bits_of_the_shared_formula),
        cmocka_unit_test(an_image_itself_has_the_bits_of_the_shared_formula),
        cmocka_unit_test(reduction_has_the_bits_of_the_shared_formula),
        cmocka_unit_test(reduction_is_the_mean_of_a_grid),
        cmocka_unit_test(stripes_turn_grey_when_reduced),
        cmocka_unit_test(nothing_is_read_past_the_source),
        cmocka_unit_test(plain_map_of_equal_size_changes_nothing),
        cmocka_unit_test(normalisation_uses_mean_and_deviation),
        cmocka_unit_test(edges_of_the_output_meet_edges_of_the_source),
        cmocka_unit_test(scale_enlarges_the_content),
        cmocka_unit_test(draws_stay_in_their_ranges_and_fill_them),
        cmocka_unit_test(flips_come_half_of_the_time),
        cmocka_unit_test(colors_stay_in_their_ranges),
        cmocka_unit_test(erased_rectangles_are_inside_and_of_the_right_area),
        cmocka_unit_test(one_setting_leaves_the_others_values_alone),
        cmocka_unit_test(draw_is_named_by_seed_fold_epoch_and_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
