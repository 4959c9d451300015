#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/itinerary.h"

static void folds_take_turns(void **state)
{
    (void)state;
    const int64_t step[3] = {0, 0, 0}, total[3] = {2, 2, 2};
    const int expected[6] = {0, 1, 2, 0, 1, 2};
    cf_itinerary it;
    int fold = -1;
    int64_t at = -1;
    cf_itinerary_init(&it, 3, step, total);
    for (int i = 0; i < 6; i++) {
        assert_true(cf_itinerary_next(&it, &fold, &at));
        assert_int_equal(fold, expected[i]);
        assert_int_equal(at, i / 3);
    }
    assert_false(cf_itinerary_next(&it, &fold, &at));
}

static void finished_folds_are_passed_over(void **state)
{
    (void)state;
    const int64_t step[3] = {5, 1, 3}, total[3] = {5, 4, 4};
    const int expected[4] = {1, 2, 1, 1};
    cf_itinerary it;
    int fold = -1;
    int64_t at = -1;
    cf_itinerary_init(&it, 3, step, total);
    for (int i = 0; i < 4; i++) {
        assert_true(cf_itinerary_next(&it, &fold, &at));
        assert_int_equal(fold, expected[i]);
    }
    assert_int_equal(at, 3);
    assert_false(cf_itinerary_next(&it, &fold, &at));
}

static void no_folds_no_stops(void **state)
{
    (void)state;
    const int64_t none[1] = {0};
    cf_itinerary it;
    int fold = -1;
    int64_t at = -1;
    cf_itinerary_init(&it, 0, none, none);
    assert_false(cf_itinerary_next(&it, &fold, &at));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folds_take_turns),
        cmocka_unit_test(finished_folds_are_passed_over),
        cmocka_unit_test(no_folds_no_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
