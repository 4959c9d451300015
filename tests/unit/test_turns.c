#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/data/loader.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_change_places_and_nothing_else),
        cmocka_unit_test(resampled_pictures_turn_too),
        cmocka_unit_test(all_eight_differ),
        cmocka_unit_test(no_turn_leaves_the_map_its_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
