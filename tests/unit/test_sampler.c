#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake_cells.h"
#include "worker/data/sampler.h"

enum { N = 130 };

/* 100 of class A, 20 of B, 10 of C; every fifth image is in fold 0, the others in fold 1. */
static void make(cf_cells *cells, uint8_t *fold_of)
{
    int32_t labels[N];
    for (int i = 0; i < N; i++) {
        labels[i] = i < 100 ? 0 : i < 120 ? 1 : 2;
        fold_of[i] = i % 5 != 0;
    }
    assert_true(fake_cells_init(cells, labels, N, 3, 0));
}

static cf_config config_of(int balance, int64_t batch)
{
    cf_config config;
    cf_config_defaults(&config);
    config.train_balance = balance;
    config.train_batch = batch;
    config.train_micro_batch = batch;
    config.train_draws_per_class = 150;
    config.train_temper = 0.5;
    return config;
}

/* How often each image is drawn in an epoch. */
static void count_draws(const cf_sampler *s, int64_t epoch, int *times)
{
    int64_t draws[1000];
    assert_true(s->n_draws <= 1000);
    assert_int_equal(cf_sampler_epoch(s, epoch, draws), CF_OK);
    memset(times, 0, N * sizeof *times);
    for (int64_t i = 0; i < s->n_draws; i++) {
        assert_in_range(draws[i], 0, N - 1);
        times[draws[i]]++;
    }
}

static void natural_draws_each_training_image_once(void **state)
{
    (void)state;
    cf_cells cells;
    uint8_t fold_of[N];
    int times[N];
    cf_sampler s;
    make(&cells, fold_of);
    cf_config config = config_of(CF_BALANCE_NATURAL, 8);
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_OK);
    assert_int_equal(s.n_draws, 104); /* 80 + 16 + 8 training images in 13 steps of 8 */
    assert_int_equal(s.steps_per_epoch, 13);
    count_draws(&s, 0, times);
    for (int i = 0; i < N; i++) assert_int_equal(times[i], i % 5 != 0);
    assert_int_equal(s.n_test, 26);
    for (int i = 0; i < 26; i++) assert_int_equal(s.test[i], 5 * i);
    cf_sampler_fini(&s);
    fake_cells_fini(&cells);
}

static void remainder_left_out_differs_between_epochs(void **state)
{
    (void)state;
    cf_cells cells;
    uint8_t fold_of[N];
    int times[N], ever[N] = {0};
    cf_sampler s;
    make(&cells, fold_of);
    cf_config config = config_of(CF_BALANCE_NATURAL, 40);
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_OK);
    assert_int_equal(s.n_draws, 80);
    for (int epoch = 0; epoch < 30; epoch++) {
        count_draws(&s, epoch, times);
        for (int i = 0; i < N; i++) {
            assert_true(times[i] <= 1);
            ever[i] += times[i];
        }
    }
    /* left out in every one of 30 epochs by chance: (24/104)^30, below 1e-19 an image */
    for (int i = 0; i < N; i++) assert_int_equal(ever[i] > 0, i % 5 != 0);
    cf_sampler_fini(&s);
    fake_cells_fini(&cells);
}

static void draws_gives_every_class_as_many(void **state)
{
    (void)state;
    cf_cells cells;
    uint8_t fold_of[N];
    int times[N];
    cf_sampler s;
    make(&cells, fold_of);
    cf_config config = config_of(CF_BALANCE_DRAWS, 45); /* 10 whole steps */
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_OK);
    assert_int_equal(s.n_draws, 450);
    count_draws(&s, 3, times);
    int64_t of_class[3] = {0};
    static const int whole[3] = {150 / 80, 150 / 16, 150 / 8};
    for (int i = 0; i < N; i++) {
        int c = cells.labels[i];
        of_class[c] += times[i];
        /* whole passes, and one cut pass on top */
        if (fold_of[i] == 0)
            assert_int_equal(times[i], 0);
        else
            assert_in_range(times[i], whole[c], whole[c] + 1);
    }
    for (int c = 0; c < 3; c++) assert_int_equal(of_class[c], 150);
    cf_sampler_fini(&s);
    fake_cells_fini(&cells);
}

static void tempered_draws_by_the_power_of_the_count(void **state)
{
    (void)state;
    cf_cells cells;
    uint8_t fold_of[N];
    cf_sampler s;
    make(&cells, fold_of);
    cf_config config = config_of(CF_BALANCE_TEMPERED, 8);
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_OK);
    /* roots of 80, 16 and 8 are 8.94, 4 and 2.83 of 15.77; of 104 draws that is 58.98, 26.38, 18.65
     */
    static const int64_t expected[3] = {59, 26, 19};
    for (int c = 0; c < 3; c++) assert_int_equal(s.draws_of_class[c], expected[c]);
    cf_sampler_fini(&s);
    config.train_temper = 1.0; /* as natural */
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_OK);
    for (int c = 0; c < 3; c++) assert_int_equal(s.draws_of_class[c], s.n_of_class[c]);
    cf_sampler_fini(&s);
    fake_cells_fini(&cells);
}

static void fewer_images_than_a_step_are_repeated(void **state)
{
    (void)state;
    cf_cells cells;
    uint8_t fold_of[N];
    int times[N];
    cf_sampler s;
    make(&cells, fold_of);
    cf_config config = config_of(CF_BALANCE_NATURAL, 256);
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_OK);
    assert_int_equal(s.steps_per_epoch, 1);
    assert_int_equal(s.n_draws, 256);
    count_draws(&s, 0, times);
    for (int i = 0; i < N; i++) assert_in_range(times[i], 0, 3);
    cf_sampler_fini(&s);
    fake_cells_fini(&cells);
}

static void draws_depend_on_seed_fold_and_epoch_only(void **state)
{
    (void)state;
    cf_cells cells;
    uint8_t fold_of[N];
    cf_sampler s;
    make(&cells, fold_of);
    cf_config config = config_of(CF_BALANCE_NATURAL, 8);
    int64_t first[104], again[104], other[104];
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_OK);
    assert_int_equal(cf_sampler_epoch(&s, 5, first), CF_OK);
    assert_int_equal(cf_sampler_epoch(&s, 4, other), CF_OK);
    assert_int_equal(cf_sampler_epoch(&s, 5, again), CF_OK);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
    config.train_seed++;
    assert_int_equal(cf_sampler_epoch(&s, 5, other), CF_OK);
    assert_memory_not_equal(first, other, sizeof first);
    config.train_seed--;
    cf_sampler_fini(&s);
    for (int i = 0; i < N; i++) fold_of[i] = fold_of[i] == 0 ? 1 : 2; /* the same images, fold 1 */
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 1, &config), CF_OK);
    assert_int_equal(cf_sampler_epoch(&s, 5, other), CF_OK);
    assert_memory_not_equal(first, other, sizeof first);
    cf_sampler_fini(&s);
    fake_cells_fini(&cells);
}

static void planner_counts_the_same_steps(void **state)
{
    (void)state;
    cf_cells cells;
    uint8_t fold_of[N];
    make(&cells, fold_of);
    for (int balance = 0; balance < 3; balance++) {
        for (int64_t batch = 1; batch < 300; batch += 7) {
            cf_config config = config_of(balance, batch);
            cf_sampler s;
            assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_OK);
            assert_true(s.steps_per_epoch >= 1);
            assert_int_equal(s.n_draws, s.steps_per_epoch * batch);
            assert_int_equal(cf_sampler_steps(&config, s.n_of_class, 3), s.steps_per_epoch);
            cf_sampler_fini(&s);
        }
    }
    fake_cells_fini(&cells);
}

static void untrainable_folds_are_refused(void **state)
{
    (void)state;
    cf_cells cells;
    uint8_t fold_of[N];
    cf_sampler s;
    make(&cells, fold_of);
    cf_config config = config_of(CF_BALANCE_NATURAL, 8);
    for (int i = 120; i < N; i++) fold_of[i] = 0;
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "class C has 10 test images but no training image"));
    memset(fold_of, 0, sizeof fold_of);
    assert_int_equal(cf_sampler_init(&s, &cells, fold_of, 0, &config), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "none is left to train on"));
    fake_cells_fini(&cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(natural_draws_each_training_image_once),
        cmocka_unit_test(remainder_left_out_differs_between_epochs),
        cmocka_unit_test(draws_gives_every_class_as_many),
        cmocka_unit_test(tempered_draws_by_the_power_of_the_count),
        cmocka_unit_test(fewer_images_than_a_step_are_repeated),
        cmocka_unit_test(draws_depend_on_seed_fold_and_epoch_only),
        cmocka_unit_test(planner_counts_the_same_steps),
        cmocka_unit_test(untrainable_folds_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
