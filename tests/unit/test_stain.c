#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake_cells.h"
#include "worker/data/loader.h"
#include "worker/data/stain.h"

enum { SIDE = 120, SEED = 21 };

static uint8_t picture[SIDE * SIDE * 3];

static void logarithm_and_power_stay_in_their_errors(void **state)
{
    (void)state;
    double log_error = 0.0, power_error = 0.0;
    for (int i = 0; i <= 1000000; i++) {
        float x = 1.0f + 255.0f * (float)i * 1e-6f, y = 8.0f * (float)i * 1e-6f;
        log_error = fmax(log_error, fabs((double)cf_stain_log2(x) - log2((double)x)));
        power_error = fmax(power_error, fabs((double)cf_stain_exp2(y) / exp2((double)y) - 1.0));
    }
    print_message("log2: %.3g absolute, exp2: %.3g relative\n", log_error, power_error);
    assert_true(log_error < 1e-6 && power_error < 3e-7); /* what their comments state */
    for (int i = 0; i <= 8; i++) assert_true(cf_stain_exp2((float)i) == (float)(1 << i));
    assert_true(cf_stain_log2(1.0f) == 0.0f);
}

static cf_stain pair_of(float angle_a, float angle_b, float max_a, float max_b)
{
    cf_stain s = {{{0.2f, 0.9f, 0.3f}, {0.7f, 0.6f, 0.2f}}, {max_a, max_b}};
    const float tilt[2] = {angle_a, angle_b};
    for (int k = 0; k < 2; k++) {
        s.od[k][2] += tilt[k];
        float length =
            sqrtf(s.od[k][0] * s.od[k][0] + s.od[k][1] * s.od[k][1] + s.od[k][2] * s.od[k][2]);
        for (int c = 0; c < 3; c++) s.od[k][c] /= length;
    }
    return s;
}

/* 240 exp(-OD) - 1, in 0..255. */
static double value_of(double od)
{
    double v = 240.0 * exp(-od) - 1.0;
    return v < 0.0 ? 0.0 : v > 255.0 ? 255.0 : v;
}

static double density_of(double value)
{
    return -log((value + 1.0) / 240.0);
}

/* A picture of two stains in known amounts, a fifth of it background. */
static void paint(const cf_stain *s, uint64_t seed)
{
    cf_rng rng = cf_rng_at(seed, 0, 0, 0, CF_PURPOSE_TEST);
    for (int i = 0; i < SIDE * SIDE; i++) {
        double first = (double)cf_rng_uniform(&rng), second = (double)cf_rng_uniform(&rng);
        /* squares of one number: many pixels of nearly one stain alone */
        double a = (double)s->max[0] * first * first, b = (double)s->max[1] * second * second;
        if (i % 5 == 0) a = b = 0.02;
        for (int c = 0; c < 3; c++)
            picture[3 * i + c] =
                (uint8_t)(value_of(a * (double)s->od[0][c] + b * (double)s->od[1][c]) + 0.5);
    }
}

static double angle_between(const float a[3], const float b[3])
{
    double d = 0.0;
    for (int c = 0; c < 3; c++) d += (double)a[c] * (double)b[c];
    return acos(d > 1.0 ? 1.0 : d) * 180.0 / 3.14159265358979;
}

static void painted_stains_are_found(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    for (int k = 0; k < 6; k++) {
        cf_stain truth = pair_of(0.1f * (float)k, 0.04f * (float)k, 1.4f, 1.2f), found;
        /* the larger red first */
        cf_stain ordered = {{{truth.od[1][0], truth.od[1][1], truth.od[1][2]},
                             {truth.od[0][0], truth.od[0][1], truth.od[0][2]}},
                            {truth.max[1], truth.max[0]}};
        paint(&truth, SEED + (uint64_t)k);
        assert_true(cf_stain_estimate(picture, SIDE, SIDE, &found));
        assert_true(cf_stain_is_valid(&found));
        for (int v = 0; v < 2; v++) {
            /* 1 % of the pixels lie beyond each vector, and most pixels are mixtures: the angles
             * found lie a little inside those painted */
            double angle = angle_between(found.od[v], ordered.od[v]);
            if (angle > 4.0) fail_msg("pair %d, stain %d is %.2f degrees off", k, v, angle);
            double ratio = (double)found.max[v] / (double)ordered.max[v];
            if (ratio < 0.85 || ratio > 1.15) fail_msg("pair %d, max %d: x %.3f", k, v, ratio);
        }
        assert_true(found.od[0][0] > found.od[1][0]);
    }
}

static void assert_default(const char *what)
{
    cf_stain found, expected = cf_stain_default();
    memset(&found, 0xFF, sizeof found);
    if (cf_stain_estimate(picture, SIDE, SIDE, &found)) fail_msg("%s: a pair was found", what);
    assert_memory_equal(&found, &expected, sizeof found);
}

static void pictures_without_two_stains_get_the_default(void **state)
{
    (void)state;
    cf_stain standard = cf_stain_default();
    assert_true(cf_stain_is_valid(&standard));
    for (int value = 0; value < 256; value++) {
        memset(picture, value, sizeof picture);
        assert_default("grey");
    }
    memset(picture, 250, sizeof picture);
    memset(picture, 90, 99 * 3); /* one pixel too few */
    for (int i = 0; i < 99; i++) picture[3 * i] = (uint8_t)(60 + i);
    assert_default("background");
    for (int i = 0; i < SIDE * SIDE; i++) { /* shades of one grey: all on one line */
        memset(picture + 3 * i, i % 200, 3);
    }
    assert_default("one stain");
}

static void any_picture_gives_finite_stains(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    cf_rng rng = cf_rng_at(SEED, 0, 0, 1, CF_PURPOSE_TEST);
    int n_found = 0;
    for (int n = 0; n < 300; n++) {
        int levels = 1 + (int)cf_rng_below(&rng, 255),
            low = (int)cf_rng_below(&rng, 256 - (uint32_t)levels);
        int h = 1 + (int)cf_rng_below(&rng, SIDE), w = 1 + (int)cf_rng_below(&rng, SIDE);
        for (size_t i = 0; i < sizeof picture; i++)
            picture[i] = (uint8_t)(low + (int)cf_rng_below(&rng, (uint32_t)levels));
        cf_stain found;
        n_found += cf_stain_estimate(picture, h, w, &found);
        assert_true(cf_stain_is_valid(&found));
    }
    assert_true(n_found > 100);
}

/* Any bits at all as a pair, as a damaged or hostile cells file could hold. */
static void no_pair_makes_a_map_that_is_not_finite(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    cf_rng rng = cf_rng_at(SEED, 0, 0, 2, CF_PURPOSE_TEST);
    cf_config config;
    cf_config_defaults(&config);
    cf_stain good = cf_stain_default();
    for (int n = 0; n < 20000; n++) {
        cf_stain s = n % 2 ? good : cf_stain_default();
        float *f = s.od[0];
        int32_t n_bad = 1 + (int32_t)cf_rng_below(&rng, 8);
        for (int32_t i = 0; i < n_bad; i++) {
            float any = cf_float_of_bits(cf_rng_u32(&rng));
            f[cf_rng_below(&rng, 6)] = n % 3 ? any : f[0];
            s.max[n % 2] = any;
        }
        cf_stain_map maps[2];
        config.augment_stain = 1 + n % 3;
        cf_stain_draw(&config, &s, 0, 0, n, &maps[0]);
        cf_stain_normalize(&s, &good, &maps[1]);
        for (int k = 0; k < 2; k++) {
            for (int i = 0; i < 9; i++) assert_true(fabsf(maps[k].m[i]) < 1e8f);
            for (int i = 0; i < 3; i++) assert_true(fabsf(maps[k].k[i]) < 1e9f);
            float p[3] = {0.0f, 255.0f, 120.0f};
            cf_stain_apply(&maps[k], p, p);
            for (int c = 0; c < 3; c++) assert_true(p[c] >= 0.0f && p[c] <= 255.0f);
        }
    }
}

/* Tellez' equations pixel by pixel in double precision: separate, change, recombine with what was
 * left over. */
static void draws_follow_the_equations(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    cf_config config;
    cf_config_defaults(&config);
    config.train_seed = SEED;
    const double scale[4] = {0.0, 0.05, 0.2, 0.9}, shift[4] = {0.0, 0.05, 0.2, 0.9 / 255.0};
    for (int64_t draw = 0; draw < 60; draw++) {
        cf_stain s = pair_of(0.1f * (float)(draw % 5), 0.0f, 1.0f, 1.0f);
        cf_stain_map map;
        config.augment_stain = 1 + (int)(draw % 3);
        cf_stain_draw(&config, &s, 3, 4, draw, &map);
        assert_int_equal(map.on, 1);
        cf_rng rng = cf_rng_at(SEED, 3, 4, (uint32_t)draw, CF_PURPOSE_STAIN);
        cf_rng_uniform(&rng); /* whether at all */
        double alpha[2], beta[2], inverse[2][3];
        for (int k = 0; k < 2; k++) {
            double u = (double)cf_rng_uniform(&rng), v = (double)cf_rng_uniform(&rng);
            alpha[k] = 1.0 - scale[config.augment_stain] + 2.0 * scale[config.augment_stain] * u;
            beta[k] = shift[config.augment_stain] * (2.0 * v - 1.0);
        }
        cf_stain_invert(&s, inverse);
        for (int i = 0; i < 200; i++) {
            float pixel[3];
            double od[3], c[2] = {0.0, 0.0};
            for (int k = 0; k < 3; k++) {
                pixel[k] = (float)((i * 37 + k * 91 + (int)draw) % 256);
                od[k] = density_of((double)pixel[k]);
                for (int v = 0; v < 2; v++) c[v] += inverse[v][k] * od[k];
            }
            cf_stain_apply(&map, pixel, pixel);
            for (int k = 0; k < 3; k++) {
                double a = (double)s.od[0][k], b = (double)s.od[1][k];
                double rest = od[k] - a * c[0] - b * c[1];
                double changed =
                    rest + a * (alpha[0] * c[0] + beta[0]) + b * (alpha[1] * c[1] + beta[1]);
                /* levels of up to some tens in float, 2e-6, times 256 ln 2 */
                double error = fabs((double)pixel[k] - value_of(changed));
                if (error > 1e-2) fail_msg("draw %d: off by %g grey levels", (int)draw, error);
            }
        }
    }
}

static void least_changes_leave_the_picture_alone(void **state)
{
    (void)state;
    cf_stain s = cf_stain_default();
    cf_stain_map map;
    cf_stain_normalize(&s, &s, &map); /* what lies in the plane of the two stains stays */
    for (int a = 0; a < 20; a++)
        for (int b = 0; b < 20; b++) {
            float pixel[3], out[3];
            for (int c = 0; c < 3; c++)
                out[c] = pixel[c] =
                    (float)value_of(0.08 * a * (double)s.od[0][c] + 0.08 * b * (double)s.od[1][c]);
            cf_stain_apply(&map, pixel, out);
            for (int c = 0; c < 3; c++) assert_true(fabsf(out[c] - pixel[c]) < 1e-2f);
        }
}

/* A normalised picture has the stains that it was to get. */
static void normalisation_brings_the_stains_of_the_reference(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    cf_stain painted = pair_of(0.2f, 0.0f, 1.1f, 0.9f), other = pair_of(0.0f, 0.1f, 1.6f, 0.8f);
    cf_stain from, to, after;
    paint(&other, SEED + 1);
    assert_true(cf_stain_estimate(picture, SIDE, SIDE, &to));
    paint(&painted, SEED);
    assert_true(cf_stain_estimate(picture, SIDE, SIDE, &from));
    cf_stain_map map;
    cf_stain_normalize(&from, &to, &map);
    for (int i = 0; i < SIDE * SIDE; i++) {
        float p[3] = {picture[3 * i], picture[3 * i + 1], picture[3 * i + 2]};
        cf_stain_apply(&map, p, p);
        for (int c = 0; c < 3; c++) picture[3 * i + c] = (uint8_t)(p[c] + 0.5f);
    }
    assert_true(cf_stain_estimate(picture, SIDE, SIDE, &after));
    for (int k = 0; k < 2; k++) {
        /* bytes are rounded, and other pixels count as background now */
        assert_true(angle_between(after.od[k], to.od[k]) < 2.0);
        assert_true(fabsf(after.max[k] / to.max[k] - 1.0f) < 0.05f);
    }
}

static void stain_draws_leave_other_draws_alone(void **state)
{
    (void)state;
    cf_config plain, stained;
    cf_config_defaults(&plain);
    plain.augment_rotation = 90;
    plain.augment_erase = 0.5;
    stained = plain;
    stained.augment_stain = CF_STAIN_MEDIUM;
    cf_stain s = cf_stain_default();
    for (int64_t draw = 0; draw < 20; draw++) {
        cf_augment a, b;
        cf_augment_draw(&plain, 64, 64, 1, 2, draw, &a);
        cf_stain_draw(&plain, &s, 1, 2, draw, &a.stain);
        cf_augment_draw(&stained, 64, 64, 1, 2, draw, &b);
        cf_stain_draw(&stained, &s, 1, 2, draw, &b.stain);
        assert_int_equal(a.stain.on, 0);
        assert_int_equal(b.stain.on, 1);
        memset(&b.stain, 0, sizeof b.stain);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

static void a_share_of_draws_changes_stains(void **state)
{
    (void)state;
    cf_config config;
    cf_config_defaults(&config);
    config.augment_stain = CF_STAIN_LIGHT;
    config.augment_stain_share = 0.5;
    cf_stain s = cf_stain_default();
    int n = 0;
    for (int64_t draw = 0; draw < 4000; draw++) {
        cf_stain_map map, again;
        cf_stain_draw(&config, &s, 0, 0, draw, &map);
        cf_stain_draw(&config, &s, 0, 0, draw, &again);
        assert_memory_equal(&map, &again, sizeof map);
        n += map.on;
    }
    assert_in_range(n, 2000 - 160, 2000 + 160); /* five standard deviations of 31.6 */
}

enum { N_CELLS = 5, CELL = 24, OUT = 16 };

typedef struct training {
    cf_cells cells;
    cf_stain stains[N_CELLS]; /* lent to cells */
    cf_config config;
} training;

static void training_init(training *t)
{
    static const int32_t labels[N_CELLS] = {0, 1, 0, 1, 1};
    assert_true(fake_cells_init(&t->cells, labels, N_CELLS, 2, CELL));
    for (int i = 0; i < N_CELLS; i++) t->stains[i] = pair_of(0.1f * (float)i, 0.0f, 1.0f, 1.0f);
    t->cells.stains = t->stains;
    cf_config_defaults(&t->config);
    t->config.model_image_size = OUT;
    t->config.augment_rotation = 180;
    t->config.augment_stain = CF_STAIN_MEDIUM;
    t->config.augment_stain_share = 0.7;
}

/* The next batch of all images; expected: CF_OK, or the error of the request. */
static cf_err ask(training *t, int augment, cf_loader **l, cf_prepared *batch)
{
    static const int64_t images[N_CELLS] = {4, 2, 0, 1, 3};
    int64_t wait;
    assert_int_equal(cf_loader_create(&t->cells, &t->config, N_CELLS, l), CF_OK);
    cf_request r = {.images = images,
                    .n_images = N_CELLS,
                    .augment = augment,
                    .fold = 1,
                    .epoch = 2,
                    .first_draw = 30};
    CF_TRY(cf_loader_request(*l, &r));
    return cf_loader_next(*l, batch, &wait);
}

static void the_loader_changes_each_image_by_its_own_stains(void **state)
{
    (void)state;
    static const int64_t images[N_CELLS] = {4, 2, 0, 1, 3};
    training t;
    cf_loader *l;
    cf_prepared batch;
    int n_changed = 0;
    training_init(&t);
    assert_int_equal(ask(&t, 1, &l, &batch), CF_OK);
    for (int i = 0; i < N_CELLS; i++) {
        float expected[OUT * OUT * 3];
        cf_augment a;
        cf_augment_draw(&t.config, CELL, CELL, 1, 2, 30 + i, &a);
        cf_stain_draw(&t.config, &t.stains[images[i]], 1, 2, 30 + i, &a.stain);
        cf_augment_apply(cf_cells_image(&t.cells, images[i]), CELL, CELL, &a, &batch.normalize, OUT,
                         expected);
        assert_memory_equal(batch.images + i * OUT * OUT * 3, expected, sizeof expected);
        n_changed += a.stain.on;
    }
    assert_in_range(n_changed, 1, N_CELLS);
    cf_loader_destroy(l);
    t.cells.stains = NULL;
    fake_cells_fini(&t.cells);
}

static void without_stains_random_draws_are_refused_and_tests_are_not(void **state)
{
    (void)state;
    training t;
    cf_loader *l;
    cf_prepared batch;
    training_init(&t);
    t.cells.stains = NULL;
    assert_int_equal(ask(&t, 1, &l, &batch), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "augment.stain"));
    cf_loader_destroy(l);
    assert_int_equal(ask(&t, 0, &l, &batch), CF_OK);
    cf_loader_destroy(l);
    t.config.augment_stain = CF_STAIN_NONE;
    assert_int_equal(ask(&t, 1, &l, &batch), CF_OK);
    cf_loader_destroy(l);
    fake_cells_fini(&t.cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logarithm_and_power_stay_in_their_errors),
        cmocka_unit_test(painted_stains_are_found),
        cmocka_unit_test(pictures_without_two_stains_get_the_default),
        cmocka_unit_test(any_picture_gives_finite_stains),
        cmocka_unit_test(no_pair_makes_a_map_that_is_not_finite),
        cmocka_unit_test(draws_follow_the_equations),
        cmocka_unit_test(least_changes_leave_the_picture_alone),
        cmocka_unit_test(normalisation_brings_the_stains_of_the_reference),
        cmocka_unit_test(stain_draws_leave_other_draws_alone),
        cmocka_unit_test(a_share_of_draws_changes_stains),
        cmocka_unit_test(the_loader_changes_each_image_by_its_own_stains),
        cmocka_unit_test(without_stains_random_draws_are_refused_and_tests_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
