/* The planner's promises (the grid of the design), for every number of workers up to 64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "coordinator/grid.h"

#define TOLERANCE_OF_SUMS 1e-9 /* makespan and ideal are the same products in another order */

/* A step of 840 micro-batches divides evenly by every group size up to 8, so that rounding does not
 * hide what is asked; communication costs next to nothing. */
static cf_grid_cost even_cost(void)
{
    return (cf_grid_cost){.n_folds = 5,
                          .steps_per_fold = 1000,
                          .micro_per_step = 840,
                          .micro_seconds = 0.1,
                          .update_seconds = 0,
                          .reduce_bytes = 1,
                          .bytes_per_second = 1e12,
                          .latency_seconds = 1e-12};
}

/* ResNeXt-50 on a cluster of slow links: communication hurts. */
static cf_grid_cost slow_cost(void)
{
    return (cf_grid_cost){.n_folds = 5,
                          .steps_per_fold = 8000,
                          .micro_per_step = 8,
                          .micro_seconds = 0.05,
                          .update_seconds = 0.004,
                          .reduce_bytes = 184e6,
                          .bytes_per_second = 1e9,
                          .latency_seconds = 50e-6};
}

static void five_groups_when_five_divides_workers(void **state)
{
    (void)state;
    cf_grid_cost cost = even_cost();
    for (int workers = 5; workers <= 60; workers += 5) {
        cf_grid grid;
        assert_int_equal(cf_grid_plan(&cost, workers, 0, &grid), CF_OK);
        if (grid.n_groups != 5) print_message("%d workers: %d groups\n", workers, grid.n_groups);
        assert_int_equal(grid.n_groups, 5);
        cf_grid_fini(&grid);
    }
}

static void one_group_at_four_six_seven_and_eight(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 3, 4, 6, 7, 8};
    cf_grid_cost cost = even_cost();
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        cf_grid grid;
        assert_int_equal(cf_grid_plan(&cost, counts[i], 0, &grid), CF_OK);
        if (grid.n_groups != 1) print_message("%d workers: %d groups\n", counts[i], grid.n_groups);
        assert_int_equal(grid.n_groups, 1);
        cf_grid_fini(&grid);
    }
}

/* What holds of any plan: every worker and fold in one group, every group with both, even groups,
 * and no makespan below the ideal. */
static void check_plan(const cf_grid_cost *cost, int workers, const cf_grid *grid)
{
    int ranks[128] = {0}, folds[128] = {0};
    assert_int_equal(grid->n_workers, workers);
    for (int w = 0; w < workers; w++) {
        assert_in_range(grid->group_of_worker[w], 0, grid->n_groups - 1);
        ranks[grid->group_of_worker[w]]++;
    }
    for (int f = 0; f < cost->n_folds; f++) {
        assert_in_range(grid->group_of_fold[f], 0, grid->n_groups - 1);
        folds[grid->group_of_fold[f]]++;
    }
    for (int g = 0; g < grid->n_groups; g++) {
        assert_true(folds[g] > 0);
        assert_in_range(ranks[g], workers / grid->n_groups, workers / grid->n_groups + 1);
    }
    assert_true(grid->seconds >= grid->ideal_seconds * (1 - TOLERANCE_OF_SUMS));
}

static void no_worker_idle_and_no_fold_forgotten(void **state)
{
    (void)state;
    const cf_grid_cost costs[] = {even_cost(), slow_cost()};
    for (size_t c = 0; c < sizeof costs / sizeof costs[0]; c++) {
        for (int workers = 1; workers <= 64; workers++) {
            cf_grid grid;
            assert_int_equal(cf_grid_plan(&costs[c], workers, 0, &grid), CF_OK);
            check_plan(&costs[c], workers, &grid);
            cf_grid_fini(&grid);
        }
    }
}

static void every_allowed_number_of_groups_is_whole(void **state)
{
    (void)state;
    cf_grid_cost cost = slow_cost();
    for (int n_folds = 1; n_folds <= 12; n_folds++) {
        cost.n_folds = n_folds;
        for (int workers = 1; workers <= 16; workers++) {
            int most = workers < n_folds ? workers : n_folds;
            for (int groups = 1; groups <= most; groups++) {
                cf_grid grid;
                assert_int_equal(cf_grid_plan(&cost, workers, groups, &grid), CF_OK);
                assert_int_equal(grid.n_groups, groups);
                check_plan(&cost, workers, &grid);
                cf_grid_fini(&grid);
            }
        }
    }
}

static void chosen_groups_are_the_fastest(void **state)
{
    (void)state;
    cf_grid_cost cost = slow_cost();
    for (int workers = 1; workers <= 64; workers++) {
        cf_grid grid;
        assert_int_equal(cf_grid_plan(&cost, workers, 0, &grid), CF_OK);
        int most = workers < cost.n_folds ? workers : cost.n_folds;
        for (int groups = 1; groups <= most; groups++)
            assert_true(grid.seconds <=
                        cf_grid_makespan(&cost, workers, groups) * (1 + TOLERANCE_OF_SUMS));
        cf_grid_fini(&grid);
    }
}

/* Two groups of 3 and 2 workers share five folds 3 : 2, so that both have one fold a worker. */
static void larger_group_takes_more_folds(void **state)
{
    (void)state;
    cf_grid_cost cost = even_cost();
    cf_grid grid;
    int folds[2] = {0};
    assert_int_equal(cf_grid_plan(&cost, 5, 2, &grid), CF_OK);
    for (int f = 0; f < 5; f++) folds[grid.group_of_fold[f]]++;
    assert_int_equal(folds[0], 3);
    assert_int_equal(folds[1], 2);
    cf_grid_fini(&grid);
}

/* One fold pays compute + link; with two, the link hides behind the other fold's compute. */
static void link_hides_behind_the_next_fold(void **state)
{
    (void)state;
    cf_grid_cost cost = {.n_folds = 1,
                         .steps_per_fold = 10,
                         .micro_per_step = 2,
                         .micro_seconds = 1,
                         .update_seconds = 0,
                         .reduce_bytes = 0.5,
                         .bytes_per_second = 1,
                         .latency_seconds = 0};
    /* Two ranks: compute 1 s, link 2 * (1/2) * 0.5 = 0.5 s. */
    assert_true(fabs(cf_grid_makespan(&cost, 2, 1) - 15.0) < 1e-9);
    cost.n_folds = 2;
    assert_true(fabs(cf_grid_makespan(&cost, 2, 1) - 20.0) < 1e-9);
    /* A link slower than compute is the bound: 2 s a step and fold. */
    cost.reduce_bytes = 2;
    assert_true(fabs(cf_grid_makespan(&cost, 2, 1) - 40.0) < 1e-9);
}

static void slower_parts_never_make_a_job_faster(void **state)
{
    (void)state;
    for (int workers = 1; workers <= 64; workers++) {
        for (int groups = 1; groups <= (workers < 5 ? workers : 5); groups++) {
            cf_grid_cost cost = slow_cost();
            double before = cf_grid_makespan(&cost, workers, groups);
            cost.reduce_bytes *= 2;
            assert_true(cf_grid_makespan(&cost, workers, groups) >= before);
            cost = slow_cost();
            cost.micro_seconds *= 2;
            assert_true(cf_grid_makespan(&cost, workers, groups) >= before);
            cost = slow_cost();
            cost.update_seconds *= 2;
            assert_true(cf_grid_makespan(&cost, workers, groups) >= before);
        }
    }
}

static void impossible_grids_are_refused_by_name(void **state)
{
    (void)state;
    cf_grid_cost cost = even_cost();
    cf_grid grid;
    assert_int_equal(cf_grid_plan(&cost, 0, 0, &grid), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "0 workers"));
    assert_int_equal(cf_grid_plan(&cost, 3, 4, &grid), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "4 groups need as many workers, there are 3"));
    assert_int_equal(cf_grid_plan(&cost, 8, 6, &grid), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "6 groups need as many folds, there are 5"));
    cost.n_folds = CF_GRID_MAX_FOLDS + 1;
    assert_int_equal(cf_grid_plan(&cost, 3, 0, &grid), CF_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_groups_when_five_divides_workers),
        cmocka_unit_test(one_group_at_four_six_seven_and_eight),
        cmocka_unit_test(no_worker_idle_and_no_fold_forgotten),
        cmocka_unit_test(every_allowed_number_of_groups_is_whole),
        cmocka_unit_test(chosen_groups_are_the_fastest),
        cmocka_unit_test(larger_group_takes_more_folds),
        cmocka_unit_test(link_hides_behind_the_next_fold),
        cmocka_unit_test(slower_parts_never_make_a_job_faster),
        cmocka_unit_test(impossible_grids_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
