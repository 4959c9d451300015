#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "worker/schedule.h"

enum { EPOCH = 10, TOTAL = 200 }; /* steps */

static cf_config *config_of(int schedule, double warmup_epochs)
{
    cf_config *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->train_schedule = schedule;
    c->train_learning_rate = 0.5;
    c->train_warmup_epochs = warmup_epochs;
    c->train_step_factor = 0.1;
    return c;
}

/* 1e-12 of the peak: the formulas differ from these numbers by rounding alone. */
static void assert_rate(const cf_config *c, int64_t step, double expected)
{
    double rate = cf_schedule_rate(c, step, EPOCH, TOTAL);
    if (fabs(rate - expected) > 1e-12) {
        fail_msg("step %lld: %.17g, expected %.17g", (long long)step, rate, expected);
    }
}

static void constant_rate_stays(void **state)
{
    (void)state;
    cf_config *c = config_of(CF_SCHEDULE_CONSTANT, 0.0);
    for (int64_t step = 0; step < TOTAL; step++) assert_rate(c, step, 0.5);
    free(c);
}

static void warm_up_is_linear_and_never_zero(void **state)
{
    (void)state;
    for (int schedule = CF_SCHEDULE_CONSTANT; schedule <= CF_SCHEDULE_STEP; schedule++) {
        if (schedule == CF_SCHEDULE_ONECYCLE) continue;
        cf_config *c = config_of(schedule, 2.0);
        for (int64_t step = 0; step < 20; step++)
            assert_rate(c, step, 0.5 * (double)(step + 1) / 20.0);
        assert_rate(c, 20, 0.5);
        free(c);
    }
}

static void part_of_an_epoch_warms_up_too(void **state)
{
    (void)state;
    cf_config *c = config_of(CF_SCHEDULE_CONSTANT, 0.25); /* 2.5 steps */
    assert_rate(c, 0, 0.5 / 2.5);
    assert_rate(c, 1, 1.0 / 2.5);
    assert_rate(c, 2, 0.5);
    free(c);
}

static void cosine_falls_to_its_last_rate(void **state)
{
    (void)state;
    cf_config *c = config_of(CF_SCHEDULE_COSINE, 0.0);
    c->train_final_factor = 0.2;
    assert_rate(c, 0, 0.5);
    assert_rate(c, TOTAL - 1, 0.1);
    double pi = acos(-1.0);
    assert_rate(c, 50, 0.1 + 0.4 * 0.5 * (1.0 + cos(pi * 50.0 / 199.0)));
    for (int64_t step = 1; step < TOTAL; step++) {
        assert_true(cf_schedule_rate(c, step, EPOCH, TOTAL) <
                    cf_schedule_rate(c, step - 1, EPOCH, TOTAL));
    }
    free(c);
}

static void onecycle_rises_then_falls(void **state)
{
    (void)state;
    cf_config *c = config_of(CF_SCHEDULE_ONECYCLE, 6.0);
    assert_rate(c, 0, 0.5 / 25.0);
    assert_rate(c, 30, 0.5 * (0.5 + 0.5 / 25.0)); /* half-way up */
    assert_rate(c, 60, 0.5);
    assert_rate(c, TOTAL - 1, 0.0);
    for (int64_t step = 1; step < TOTAL; step++) {
        double change =
            cf_schedule_rate(c, step, EPOCH, TOTAL) - cf_schedule_rate(c, step - 1, EPOCH, TOTAL);
        assert_true(step <= 60 ? change > 0.0 : change < 0.0);
    }
    free(c);
}

static void step_schedule_drops_after_the_named_epochs(void **state)
{
    (void)state;
    cf_config *c = config_of(CF_SCHEDULE_STEP, 0.0);
    c->train_step_epochs = (cf_int_list){{3, 8}, 2};
    assert_rate(c, 29, 0.5);
    assert_rate(c, 30, 0.05);
    assert_rate(c, 79, 0.05);
    assert_rate(c, 80, 0.005);
    assert_rate(c, TOTAL - 1, 0.005);
    free(c);
}

static void short_runs_have_finite_rates(void **state)
{
    (void)state;
    for (int schedule = CF_SCHEDULE_CONSTANT; schedule <= CF_SCHEDULE_STEP; schedule++) {
        for (int warmup = 0; warmup < 3; warmup++) {
            cf_config *c = config_of(schedule, warmup);
            for (int64_t total = 1; total < 4; total++) {
                for (int64_t step = 0; step < total; step++) {
                    double rate = cf_schedule_rate(c, step, 1, total);
                    assert_true(rate >= 0.0 && rate <= 0.5);
                }
            }
            free(c);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_rate_stays),
        cmocka_unit_test(warm_up_is_linear_and_never_zero),
        cmocka_unit_test(part_of_an_epoch_warms_up_too),
        cmocka_unit_test(cosine_falls_to_its_last_rate),
        cmocka_unit_test(onecycle_rises_then_falls),
        cmocka_unit_test(step_schedule_drops_after_the_named_epochs),
        cmocka_unit_test(short_runs_have_finite_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
