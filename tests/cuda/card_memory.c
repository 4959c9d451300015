/* What a worker really takes of a (pretended) card, beside the estimate it was let in with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake_cells.h"
#include "worker/memory.h"
#include "worker/sums.h"
#include "worker/trainer.h"

enum { IMAGES = 40, CLASSES = 4, FOLDS = 2, SIDE = 8, MAX_SETS = 8 };

static size_t free_bytes(const cf_engine *e)
{
    size_t available = 0, total = 0;
    assert_int_equal(e->ops->memory(e->backend, &available, &total), CF_OK);
    return available;
}

/* Everything that set-up allocates: programs, two folds, two steps' sums. */
static size_t set_up(cf_config *config, const cf_cells *cells, cf_card_memory *estimate)
{
    const cf_engine_choices none = {0};
    uint8_t fold_of[IMAGES];
    cf_engine e;
    cf_trainer trainers[FOLDS];
    cf_step_sums sums[2];
    for (int i = 0; i < IMAGES; i++) fold_of[i] = (uint8_t)(i % 5);
    if (cf_engine_open(&e, config, &cells->scheme, 0, 1) != CF_OK) fail_msg("%s", cf_err_text());
    assert_int_equal(cf_card_memory_estimate(config, e.graph, FOLDS, estimate), CF_OK);
    size_t before = free_bytes(&e);
    if (cf_engine_compile(&e, &none) != CF_OK) fail_msg("%s", cf_err_text());
    for (int f = 0; f < FOLDS; f++)
        assert_int_equal(cf_trainer_init(&trainers[f], &e, cells, fold_of, f), CF_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(cf_step_sums_init(&sums[i], &e), CF_OK);
    size_t used = before - free_bytes(&e);
    for (int i = 0; i < 2; i++) cf_step_sums_fini(&sums[i], &e);
    for (int f = 0; f < FOLDS; f++) cf_trainer_fini(&trainers[f]);
    cf_engine_fini(&e);
    return used;
}

/* Never more than estimated, or the refusal would come too late; not less than seven tenths of what
 * varies with the configuration, or runs that fit would be refused (outputs that fused engines do
 * not write are counted all the same). The engines' workspace is cuDNN's, which is not there, and
 * the library's share cannot be seen. */
static void the_estimate_holds_what_a_worker_takes(void **state)
{
    (void)state;
    static const char *const configs[][MAX_SETS] = {
        {"model.image_size=64", "train.micro_batch=8", "train.batch=8"},
        {"model.image_size=96", "train.micro_batch=4", "train.batch=8", "train.ema=0.9"},
        {"model.image_size=64", "train.micro_batch=8", "train.batch=8", "train.precision=fp16",
         "train.optimizer=sgd"},
        {"model.image_size=64", "train.micro_batch=4", "train.batch=8", "train.precision=fp32"},
        {"model.network=sequential", "model.variant=paper", "model.image_size=128",
         "train.micro_batch=16", "train.batch=16"},
        {"model.image_size=64", "train.micro_batch=8", "train.batch=8", "model.norm=group"},
        {"model.network=sequential", "model.variant=paper", "model.image_size=128",
         "train.micro_batch=16", "train.batch=16", "model.norm=group"},
    };
    int32_t labels[IMAGES];
    cf_cells cells;
    for (int i = 0; i < IMAGES; i++) labels[i] = i % CLASSES;
    assert_true(fake_cells_init(&cells, labels, IMAGES, CLASSES, SIDE));
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        cf_config config;
        cf_card_memory m;
        cf_config_defaults(&config);
        assert_int_equal(cf_config_set(&config, "run.device=cuda"), CF_OK);
        for (int k = 0; k < MAX_SETS && configs[i][k] != NULL; k++)
            assert_int_equal(cf_config_set(&config, configs[i][k]), CF_OK);
        int64_t used = (int64_t)set_up(&config, &cells, &m);
        const int64_t workspace = (int64_t)512 << 20;
        int64_t most = m.total - m.library, least = (most - workspace) / 10 * 7;
        print_message("configuration %zu: %lld bytes used, %lld to %lld expected\n", i,
                      (long long)used, (long long)least, (long long)most);
        if (used > most || used < least) fail();
    }
    fake_cells_fini(&cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_estimate_holds_what_a_worker_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
