#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/scaler.h"

enum { GROWTH = 2000 };

static void good_steps(cf_scaler *s, int n)
{
    for (int i = 0; i < n; i++) assert_int_equal(cf_scaler_step(s, false), CF_SCALER_GOOD);
}

static void an_overflow_halves_the_scale_and_skips_the_step(void **state)
{
    (void)state;
    cf_scaler s;
    cf_scaler_init(&s);
    assert_true(s.scale == 65536.0f);
    assert_int_equal(cf_scaler_step(&s, true), CF_SCALER_SKIP);
    assert_true(s.scale == 32768.0f);
    assert_int_equal(cf_scaler_step(&s, true), CF_SCALER_SKIP);
    assert_true(s.scale == 16384.0f);
}

static void two_thousand_good_steps_in_a_row_double_it(void **state)
{
    (void)state;
    cf_scaler s;
    cf_scaler_init(&s);
    good_steps(&s, GROWTH - 1);
    assert_true(s.scale == 65536.0f);
    good_steps(&s, 1);
    assert_true(s.scale == 131072.0f);
    good_steps(&s, GROWTH);
    assert_true(s.scale == 262144.0f);
}

static void an_overflow_breaks_the_row(void **state)
{
    (void)state;
    cf_scaler s;
    cf_scaler_init(&s);
    good_steps(&s, GROWTH - 1);
    assert_int_equal(cf_scaler_step(&s, true), CF_SCALER_SKIP);
    good_steps(&s, GROWTH - 1);
    assert_true(s.scale == 32768.0f);
    good_steps(&s, 1);
    assert_true(s.scale == 65536.0f);
}

static void the_scale_stops_at_its_bounds(void **state)
{
    (void)state;
    cf_scaler s;
    cf_scaler_init(&s);
    for (int i = 0; i < 20; i++) good_steps(&s, GROWTH);
    assert_true(s.scale == ldexpf(1, 24));
    for (int i = 0; i < 24; i++) assert_int_equal(cf_scaler_step(&s, true), CF_SCALER_SKIP);
    assert_true(s.scale == 1.0f);
    /* without any scaling it still overflows: nothing is left to try */
    assert_int_equal(cf_scaler_step(&s, true), CF_SCALER_LOST);
    assert_true(s.scale == 1.0f);
}

static void a_checkpoint_carries_it_exactly(void **state)
{
    (void)state;
    cf_scaler s, copy;
    float flat[2];
    cf_scaler_init(&s);
    good_steps(&s, 1234);
    cf_scaler_write(&s, flat);
    assert_int_equal(cf_scaler_read(&copy, flat), CF_OK);
    assert_true(copy.scale == s.scale);
    assert_int_equal(copy.good, 1234);
    good_steps(&copy, GROWTH - 1234);
    assert_true(copy.scale == 131072.0f);
}

static void impossible_values_are_refused(void **state)
{
    (void)state;
    static const float bad[][2] = {{3, 0},   {0.5f, 0},  {0, 0},         {33554432, 0},
                                   {-2, 0},  {1024, -1}, {1024, GROWTH}, {1024, 1.5},
                                   {NAN, 0}, {2, NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cf_scaler s;
        if (cf_scaler_read(&s, bad[i]) != CF_E_CHECKPOINT)
            fail_msg("accepted scale %g, steps %g", (double)bad[i][0], (double)bad[i][1]);
        assert_non_null(strstr(cf_err_text(), "scaler"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overflow_halves_the_scale_and_skips_the_step),
        cmocka_unit_test(two_thousand_good_steps_in_a_row_double_it),
        cmocka_unit_test(an_overflow_breaks_the_row),
        cmocka_unit_test(the_scale_stops_at_its_bounds),
        cmocka_unit_test(a_checkpoint_carries_it_exactly),
        cmocka_unit_test(impossible_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
