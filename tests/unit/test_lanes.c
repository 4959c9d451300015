/* How points of a sweep are dealt to lanes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/lanes.h"
#include "kernels/math/philox.h"

enum { MAX_POINTS = 7 };

/* A point of `steps` steps a fold; of one fold's link 1 ms, so that lanes of one worker are best
 * where they all have work. */
static cf_grid_cost cost_of(int64_t steps, int n_folds)
{
    return (cf_grid_cost){.n_folds = n_folds,
                          .steps_per_fold = steps,
                          .micro_per_step = 8,
                          .micro_seconds = 0.01,
                          .update_seconds = 0.001,
                          .reduce_bytes = 1e6,
                          .bytes_per_second = 1e9,
                          .latency_seconds = 1e-5};
}

static void plan(const cf_grid_cost *costs, int n, int workers, int n_lanes, cf_lanes *lanes)
{
    if (cf_lanes_plan(costs, n, workers, 0, n_lanes, lanes) != CF_OK) fail_msg("%s", cf_err_text());
}

/* Each point once, and no lane has two at a time. */
static void assert_sound(const cf_lanes *l)
{
    int seen[MAX_POINTS] = {0};
    double end = 0;
    for (int i = 0; i < l->n_points; i++) seen[l->order[i]]++;
    for (int p = 0; p < l->n_points; p++) {
        assert_int_equal(seen[p], 1);
        assert_in_range(l->lane_of[p], 0, l->n_lanes - 1);
        assert_true(l->end[p] >= l->begin[p]);
        end = l->end[p] > end ? l->end[p] : end;
        for (int q = 0; q < p; q++)
            if (l->lane_of[p] == l->lane_of[q])
                assert_true(l->begin[p] >= l->end[q] || l->begin[q] >= l->end[p]);
    }
    assert_true(end == l->seconds);
    assert_true(l->seconds >= l->ideal_seconds * (1 - 1e-12));
}

static void workers_are_cut_without_a_gap(void **state)
{
    (void)state;
    for (int workers = 1; workers <= 9; workers++)
        for (int lanes = 1; lanes <= workers; lanes++) {
            int next = 0;
            for (int lane = 0; lane < lanes; lane++) {
                int first = -1, n = 0;
                cf_lanes_workers(workers, lanes, lane, &first, &n);
                assert_int_equal(first, next);
                assert_in_range(n, workers / lanes, workers / lanes + 1);
                next += n;
            }
            assert_int_equal(next, workers);
        }
}

static void as_many_lanes_as_points_where_workers_suffice_for_all(void **state)
{
    (void)state;
    cf_grid_cost costs[4];
    cf_lanes l;
    for (int p = 0; p < 4; p++) costs[p] = cost_of(100, 5);
    plan(costs, 4, 4, 0, &l);
    assert_int_equal(l.n_lanes, 4); /* a worker each: nobody talks */
    assert_sound(&l);
    assert_true(l.seconds < l.ideal_seconds * (1 + 1e-9));
    cf_lanes_fini(&l);
    plan(costs, 4, 20, 0, &l);
    assert_int_equal(l.n_lanes, 4); /* a worker for each fold of each point */
    assert_true(l.seconds < l.ideal_seconds * (1 + 1e-9));
    cf_lanes_fini(&l);
    plan(costs, 1, 5, 0, &l);
    assert_int_equal(l.n_lanes, 1);
    cf_lanes_fini(&l);
}

static void the_longest_point_begins_first(void **state)
{
    (void)state;
    const cf_grid_cost costs[4] = {cost_of(10, 3), cost_of(40, 3), cost_of(10, 3), cost_of(20, 3)};
    cf_lanes l;
    plan(costs, 4, 2, 2, &l);
    assert_sound(&l);
    const int32_t expected[4] = {1, 3, 0, 2};
    assert_memory_equal(l.order, expected, sizeof expected);
    assert_true(l.begin[1] == 0 && l.begin[3] == 0);
    assert_int_equal(l.lane_of[0], l.lane_of[2]); /* 20 + 10 + 10 beside 40 */
    cf_lanes_fini(&l);
}

static void no_other_number_of_lanes_ends_earlier(void **state)
{
    (void)state;
    const uint32_t seed = 20;
    printf("seed %u\n", (unsigned)seed);
    for (uint32_t try = 0; try < 60; try++) {
        uint32_t words[4];
        cf_grid_cost costs[MAX_POINTS];
        cf_lanes best, other;
        cf_philox4x32((const uint32_t[4]){try, 0, 0, 0}, (const uint32_t[2]){seed, 0}, words);
        int n = 1 + (int)(words[0] % MAX_POINTS), workers = 1 + (int)(words[1] % 9);
        for (int p = 0; p < n; p++) costs[p] = cost_of(1 + (int64_t)(words[2] >> p & 31), 5);
        plan(costs, n, workers, 0, &best);
        assert_sound(&best);
        for (int lanes = 1; lanes <= n && lanes <= workers; lanes++) {
            plan(costs, n, workers, lanes, &other);
            assert_sound(&other);
            assert_true(best.seconds <= other.seconds * (1 + 1e-9));
            cf_lanes_fini(&other);
        }
        cf_lanes_fini(&best);
    }
}

static void groups_that_are_asked_for_fit_into_each_lane(void **state)
{
    (void)state;
    cf_grid_cost costs[4];
    cf_lanes l;
    for (int p = 0; p < 4; p++) costs[p] = cost_of(100, 5);
    assert_int_equal(cf_lanes_plan(costs, 4, 6, 3, 0, &l), CF_OK);
    assert_in_range(l.n_lanes, 1, 2);
    cf_lanes_fini(&l);
    assert_int_equal(cf_lanes_plan(costs, 4, 2, 3, 0, &l), CF_E_USAGE);
    cf_lanes_fini(&l);
    assert_int_equal(cf_lanes_plan(costs, 4, 2, 0, 3, &l), CF_E_USAGE);
    cf_lanes_fini(&l);
    assert_int_equal(cf_lanes_plan(costs, 4, 0, 0, 0, &l), CF_E_USAGE);
    cf_lanes_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_are_cut_without_a_gap),
        cmocka_unit_test(as_many_lanes_as_points_where_workers_suffice_for_all),
        cmocka_unit_test(the_longest_point_begins_first),
        cmocka_unit_test(no_other_number_of_lanes_ends_earlier),
        cmocka_unit_test(groups_that_are_asked_for_fit_into_each_lane),
    };
    return cmocka_run_group_tests_name("lanes", tests, NULL, NULL);
}
