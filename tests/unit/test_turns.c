#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake_cells.h"
#include "worker/data/loader.h"
#include "worker/data/stain.h"

/* The eight turns of a test image. */

enum { SIZE = 7, SIDE = 10 };

static uint8_t source[SIDE * SIDE * 3];

static void fill_source(void)
{
    cf_rng rng = cf_rng_at(4, 0, 0, 0, CF_PURPOSE_TEST);
    for (size_t i = 0; i < sizeof source; i++) source[i] = (uint8_t)cf_rng_below(&rng, 256);
}

/* The source, side x side of it, in one turn at SIZE px. */
static void see(int side, int turn, float *out)
{
    cf_config config;
    cf_augment t;
    cf_normalize norm;
    cf_config_defaults(&config);
    config.model_image_size = SIZE;
    cf_normalize_from(&config, &norm);
    cf_augment_plain(&config, side, side, &t);
    cf_augment_turn(turn, SIZE, &t);
    cf_augment_apply(source, side, side, &t, &norm, SIZE, out);
}

/* Where pixel (x, y) of a turned picture comes from, as loader.h says. */
static int from(int turn, int x, int y)
{
    int column = turn & 4 ? y : x, row = turn & 4 ? x : y;
    if (turn & 1) column = SIZE - 1 - column;
    if (turn & 2) row = SIZE - 1 - row;
    return row * SIZE + column;
}

static float largest_difference(int side, int turn)
{
    float plain[SIZE * SIZE * 3], turned[SIZE * SIZE * 3], worst = 0;
    see(side, 0, plain);
    see(side, turn, turned);
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE; x++)
            for (int c = 0; c < 3; c++) {
                float d = turned[(y * SIZE + x) * 3 + c] - plain[from(turn, x, y) * 3 + c];
                worst = fmaxf(worst, fabsf(d));
            }
    return worst;
}

static void pixels_change_places_and_nothing_else(void **state)
{
    (void)state;
    fill_source();
    for (int turn = 0; turn < CF_N_TURNS; turn++)
        if (largest_difference(SIZE, turn) != 0) fail_msg("turn %d changes values", turn);
}

/* Tolerance: positions are floats of up to 10 with steps of 1e-6, between pixels that differ by at
 * most 1. */
static void resampled_pictures_turn_too(void **state)
{
    (void)state;
    fill_source();
    for (int turn = 0; turn < CF_N_TURNS; turn++) {
        float d = largest_difference(SIDE, turn);
        if (!(d < 2e-5f)) fail_msg("turn %d: %g", turn, (double)d);
    }
}

static void all_eight_differ(void **state)
{
    (void)state;
    static float seen[CF_N_TURNS][SIZE * SIZE * 3];
    fill_source();
    for (int turn = 0; turn < CF_N_TURNS; turn++) see(SIZE, turn, seen[turn]);
    for (int a = 0; a < CF_N_TURNS; a++)
        for (int b = 0; b < a; b++) assert_memory_not_equal(seen[a], seen[b], sizeof seen[a]);
}

static void no_turn_leaves_the_map_its_bits(void **state)
{
    (void)state;
    cf_augment t = {.a = {0.1f, 0.7f, -3.3f, 1.9f, 0.2f, 5.5f}}, before = t;
    cf_augment_turn(0, 33, &t);
    assert_memory_equal(&t, &before, sizeof t);
}

/* What a request asks for is done to each of its images. */
static void requests_ask_for_turns_and_stains(void **state)
{
    (void)state;
    enum { N = 5, FLOATS = SIZE * SIZE * 3 };
    static const int32_t labels[N] = {0, 1, 0, 1, 0};
    static const int64_t images[3] = {4, 0, 3};
    const cf_stain to = {{{0.65f, 0.70f, 0.29f}, {0.27f, 0.68f, 0.68f}}, {1.5f, 2.0f}};
    const cf_stain from = {{{0.55f, 0.80f, 0.24f}, {0.17f, 0.78f, 0.60f}}, {1.1f, 1.4f}};
    cf_cells cells;
    cf_config config;
    cf_normalize norm;
    cf_loader *loader;
    cf_prepared p;
    cf_stain_map maps[N];
    int64_t wait_ns;
    float expected[FLOATS], plain[FLOATS];
    cf_config_defaults(&config);
    config.model_image_size = SIZE;
    cf_normalize_from(&config, &norm);
    assert_true(fake_cells_init(&cells, labels, N, 2, SIDE));
    for (int i = 0; i < N; i++) cf_stain_normalize(i % 2 ? &from : &to, &to, &maps[i]);
    assert_int_equal(cf_loader_create(&cells, &config, 4, &loader), CF_OK);
    cf_request r = {.images = images, .n_images = 3, .turn = 6, .stains = maps};
    assert_int_equal(cf_loader_request(loader, &r), CF_OK);
    assert_int_equal(cf_loader_next(loader, &p, &wait_ns), CF_OK);
    for (int i = 0; i < 3; i++) {
        cf_augment t;
        cf_augment_plain(&config, SIDE, SIDE, &t);
        cf_augment_turn(6, SIZE, &t);
        cf_augment_apply(cf_cells_image(&cells, images[i]), SIDE, SIDE, &t, &norm, SIZE, plain);
        t.stain = maps[images[i]];
        cf_augment_apply(cf_cells_image(&cells, images[i]), SIDE, SIDE, &t, &norm, SIZE, expected);
        assert_memory_equal(p.images + i * FLOATS, expected, sizeof expected);
        assert_memory_not_equal(plain, expected, sizeof expected);
    }
    cf_loader_destroy(loader);
    fake_cells_fini(&cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_change_places_and_nothing_else),
        cmocka_unit_test(resampled_pictures_turn_too),
        cmocka_unit_test(all_eight_differ),
        cmocka_unit_test(no_turn_leaves_the_map_its_bits),
        cmocka_unit_test(requests_ask_for_turns_and_stains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
