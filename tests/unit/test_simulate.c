/* The simulated schedule against closed forms: compute, sums and updates of N steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "coordinator/simulate.h"

/* Thousands of additions in another order. */
#define TOLERANCE 1e-9

enum { STEPS = 50, EPOCHS = 4, N = STEPS * EPOCHS, MICROS = 12, IMAGES = 8 };
#define MICRO  0.010
#define UPDATE 0.003
#define BYTES  1e6

static cf_sim_job plain_job(int n_folds)
{
    return (cf_sim_job){.n_folds = n_folds,
                        .steps_per_epoch = STEPS,
                        .epochs = EPOCHS,
                        .micro_per_step = MICROS,
                        .images_per_micro = IMAGES,
                        .micro_seconds = MICRO,
                        .update_seconds = UPDATE,
                        .n_ranges = 1,
                        .ranges = {{.bytes = BYTES}},
                        .checkpoint_every = EPOCHS};
}

/* Ranks in a ring on one node, where a sum of BYTES takes `seconds`. */
static cf_net net_with_sums_of(double seconds, int ranks)
{
    double rate = seconds > 0 ? 2.0 * (ranks - 1) / ranks * BYTES / seconds : (double)INFINITY;
    return (cf_net){.ranks_per_node = 4096,
                    .inside = {0, rate},
                    .between = {0, (double)INFINITY},
                    .host_bytes_per_second = (double)INFINITY};
}

static cf_sim_result run(const cf_sim_job *job, const cf_net *net, int workers, int groups)
{
    const cf_grid_cost cost = {.n_folds = job->n_folds,
                               .steps_per_fold = N,
                               .micro_per_step = MICROS,
                               .micro_seconds = MICRO,
                               .bytes_per_second = 1};
    cf_grid grid;
    cf_sim_result result;
    assert_int_equal(cf_grid_plan(&cost, workers, groups, &grid), CF_OK);
    assert_int_equal(cf_simulate(job, net, CF_REDUCTION_RING, &grid, &result), CF_OK);
    cf_grid_fini(&grid);
    return result;
}

static void assert_close(double found, double expected)
{
    if (fabs(found - expected) > TOLERANCE * fabs(expected))
        print_message("found %.17g, expected %.17g\n", found, expected);
    assert_true(fabs(found - expected) <= TOLERANCE * fabs(expected));
}

static void one_rank_only_computes(void **state)
{
    (void)state;
    cf_net slow = net_with_sums_of(1e6, 2);
    for (int folds = 1; folds <= 5; folds++) {
        cf_sim_job job = plain_job(folds);
        cf_sim_result r = run(&job, &slow, 1, 0);
        assert_close(r.train_seconds, N * folds * (MICROS * MICRO + UPDATE));
        assert_close(r.step_seconds, MICROS * MICRO + UPDATE);
        assert_close(r.efficiency, 1);
        assert_close(r.images_per_second, MICROS * IMAGES / r.step_seconds);
        assert_true(r.exposed_seconds == 0 && r.sum_seconds == 0);
    }
}

static void infinite_network_shares_the_micro_batches(void **state)
{
    (void)state;
    cf_net net = net_with_sums_of(0, 2);
    for (int ranks = 1; ranks <= 30; ranks++) {
        cf_sim_job job = plain_job(1);
        cf_sim_result r = run(&job, &net, ranks, 1);
        double most = ceil((double)MICROS / ranks); /* micro-batches of the busiest rank */
        assert_close(r.step_seconds, most * MICRO + UPDATE);
        assert_close(r.efficiency, (MICROS * MICRO + UPDATE) / ranks / r.step_seconds);
        assert_true(r.exposed_seconds == 0);
    }
}

static void groups_do_not_wait_for_each_other(void **state)
{
    (void)state;
    cf_sim_job job = plain_job(5);
    cf_net net = net_with_sums_of(0, 2);
    cf_sim_result r = run(&job, &net, 15, 5);
    assert_close(r.train_seconds, N * (MICROS / 3 * MICRO + UPDATE));
    /* Two groups of three: one has three of the folds. */
    r = run(&job, &net, 6, 2);
    assert_close(r.train_seconds, 3 * N * (MICROS / 3 * MICRO + UPDATE));
    assert_int_equal(r.fewest_ranks, 3);
    assert_int_equal(r.most_ranks, 3);
}

static void one_fold_waits_for_every_sum(void **state)
{
    (void)state;
    cf_sim_job job = plain_job(1);
    cf_net net = net_with_sums_of(0.02, 4);
    cf_sim_result r = run(&job, &net, 4, 1);
    assert_close(r.sum_seconds, 0.02);
    assert_close(r.step_seconds, MICROS / 4 * MICRO + 0.02 + UPDATE);
    assert_close(r.exposed_seconds, 0.02);
}

/* A sum that is shorter than the next fold's compute is hidden: only the last one of all is waited
 * for, behind which nothing but the update before it is done. */
static void folds_hide_each_others_sums(void **state)
{
    (void)state;
    for (int folds = 2; folds <= 5; folds++) {
        cf_sim_job job = plain_job(folds);
        cf_net net = net_with_sums_of(0.02, 4);
        cf_sim_result r = run(&job, &net, 4, 1);
        double compute = MICROS / 4 * MICRO + UPDATE;
        assert_close(r.train_seconds, N * folds * compute + 0.02 - UPDATE);
        assert_close(r.exposed_seconds, (0.02 - UPDATE) / (N * folds));
    }
}

/* Sums longer than compute and update: they follow each other without a gap, with two slots. */
static void slow_network_is_never_idle(void **state)
{
    (void)state;
    for (int folds = 2; folds <= 5; folds++) {
        cf_sim_job job = plain_job(folds);
        double compute = MICROS / 4 * MICRO, sum = 2 * (compute + UPDATE);
        cf_net net = net_with_sums_of(sum, 4);
        cf_sim_result r = run(&job, &net, 4, 1);
        assert_close(r.train_seconds, compute + N * folds * sum + UPDATE);
    }
}

static void ranges_leave_during_the_backward_pass(void **state)
{
    (void)state;
    cf_sim_job job = plain_job(1);
    double sum = 0.02;
    cf_net net = net_with_sums_of(sum, 4);
    job.ranges[0].lead_seconds = 0.006;
    assert_close(run(&job, &net, 4, 1).exposed_seconds, sum - 0.006);
    /* Two halves: the first is on its way for 8 ms before the second may leave, which then waits
     * for it. */
    job.n_ranges = 2;
    job.ranges[0] = (cf_sim_range){.bytes = BYTES / 2, .lead_seconds = 0.008};
    job.ranges[1] = (cf_sim_range){.bytes = BYTES / 2};
    assert_close(run(&job, &net, 4, 1).exposed_seconds, sum - 0.008);
    /* A fast network has sent the first half long before: the second alone is seen. */
    net = net_with_sums_of(0.004, 4);
    assert_close(run(&job, &net, 4, 1).exposed_seconds, 0.002);
    /* With more folds all of it sets out together, and is hidden. */
    cf_sim_job several = job;
    several.n_folds = 3;
    assert_close(run(&several, &net, 4, 1).exposed_seconds, (0.004 - UPDATE) / (3 * N));
}

static void processor_time_is_not_hidden(void **state)
{
    (void)state;
    cf_sim_job job = plain_job(3);
    cf_net net = net_with_sums_of(0, 4);
    net.host_bytes_per_second = 1e9;
    double host = 2.0 * 3 / 4 * BYTES / 1e9;
    cf_sim_result r = run(&job, &net, 4, 1);
    assert_close(r.exposed_seconds, host);
    assert_close(r.step_seconds, MICROS / 4 * MICRO + UPDATE + host);
}

/* The thread writes beside the steps; one that is slower than an epoch holds the leader up. */
static void checkpoints_cost_the_snapshot_or_the_disk(void **state)
{
    (void)state;
    cf_sim_job job = plain_job(1);
    cf_net net = net_with_sums_of(0, 2);
    double epoch = STEPS * (MICROS * MICRO + UPDATE);
    job.checkpoint_every = 1;
    job.snapshot_seconds = 0.05;
    job.write_seconds = 0.5 * epoch;
    cf_sim_result r = run(&job, &net, 1, 1);
    assert_close(r.train_seconds, EPOCHS * (epoch + 0.05));
    assert_close(r.seconds, r.train_seconds + 0.5 * epoch);
    job.write_seconds = 2 * epoch;
    r = run(&job, &net, 1, 1);
    assert_close(r.train_seconds, epoch + 0.05 + (EPOCHS - 1) * (2 * epoch + 0.05));
}

static void tests_are_shared_and_the_end_waits_for_them(void **state)
{
    (void)state;
    cf_sim_job job = plain_job(2);
    cf_net net = net_with_sums_of(0, 2);
    job.test_images = 10 * IMAGES - 3; /* ten micro-batches, four for the busiest of three */
    job.infer_seconds = 0.1;
    cf_sim_result r = run(&job, &net, 3, 1);
    double train = 2 * N * (MICROS / 3 * MICRO + UPDATE);
    assert_close(r.train_seconds, train);
    assert_close(r.seconds, train + 2 * 4 * 0.1);
    job.evaluate_every = 2; /* once more, in the middle: the last epoch's is the final one */
    r = run(&job, &net, 3, 1);
    assert_close(r.train_seconds, train + 2 * 4 * 0.1);
}

/* Three nodes of two; groups of three both leave the middle one. */
static void groups_share_the_link_of_a_node(void **state)
{
    (void)state;
    cf_sim_job job = plain_job(2);
    cf_net net = {.ranks_per_node = 2,
                  .inside = {0, (double)INFINITY},
                  .between = {0, 1e9},
                  .host_bytes_per_second = (double)INFINITY};
    assert_close(run(&job, &net, 6, 2).sum_seconds, 2 * 2.0 * 2 / 3 * BYTES / 1e9);
    net.ranks_per_node = 3; /* each has its own node */
    assert_true(run(&job, &net, 6, 2).sum_seconds == 0);
}

static void same_question_same_answer(void **state)
{
    (void)state;
    cf_sim_job job = plain_job(5);
    cf_net net = net_with_sums_of(0.03, 7);
    cf_sim_result a = run(&job, &net, 7, 0), b = run(&job, &net, 7, 0);
    assert_true(a.seconds == b.seconds && a.exposed_seconds == b.exposed_seconds &&
                a.images_per_second == b.images_per_second);
}

static void impossible_jobs_are_refused(void **state)
{
    (void)state;
    const cf_grid_cost cost = {
        .n_folds = 2, .steps_per_fold = N, .micro_per_step = MICROS, .bytes_per_second = 1};
    cf_net net = net_with_sums_of(0, 2);
    cf_grid grid;
    cf_sim_result r;
    cf_sim_job bad[6];
    assert_int_equal(cf_grid_plan(&cost, 2, 1, &grid), CF_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) bad[i] = plain_job(2);
    bad[0].steps_per_epoch = 0;
    bad[1].micro_seconds = (double)NAN;
    bad[2].n_ranges = CF_SIM_MAX_RANGES + 1;
    bad[3].ranges[0].lead_seconds = 2 * MICRO;
    bad[4].checkpoint_every = 0;
    bad[5].update_seconds = -1;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(cf_simulate(&bad[i], &net, CF_REDUCTION_RING, &grid, &r), CF_E_USAGE);
    cf_sim_job good = plain_job(2);
    net.ranks_per_node = 0;
    assert_int_equal(cf_simulate(&good, &net, CF_REDUCTION_RING, &grid, &r), CF_E_USAGE);
    cf_grid_fini(&grid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_only_computes),
        cmocka_unit_test(infinite_network_shares_the_micro_batches),
        cmocka_unit_test(groups_do_not_wait_for_each_other),
        cmocka_unit_test(one_fold_waits_for_every_sum),
        cmocka_unit_test(folds_hide_each_others_sums),
        cmocka_unit_test(slow_network_is_never_idle),
        cmocka_unit_test(ranges_leave_during_the_backward_pass),
        cmocka_unit_test(processor_time_is_not_hidden),
        cmocka_unit_test(checkpoints_cost_the_snapshot_or_the_disk),
        cmocka_unit_test(tests_are_shared_and_the_end_waits_for_them),
        cmocka_unit_test(groups_share_the_link_of_a_node),
        cmocka_unit_test(same_question_same_answer),
        cmocka_unit_test(impossible_jobs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
