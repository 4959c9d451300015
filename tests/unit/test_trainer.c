#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/mem.h"
#include "tests/support/fake_cells.h"
#include "worker/data/loader.h"
#include "worker/data/synth.h"
#include "worker/trainer.h"

enum { SIDE = 24, IMAGES = 240, CLASSES = 3, STEPS = 20 };

/* Phantom cells (synthetic) of three classes, a small network, fp32, one thread. */
typedef struct fixture {
    cf_cells cells;
    cf_config config;
    uint8_t fold_of[IMAGES];
    cf_engine engine;
    cf_trainer trainer;
    cf_loader *loader;
    int64_t *sums;
} fixture;

static void paint_cells(fixture *f)
{
    int32_t labels[IMAGES];
    float *scratch = malloc((size_t)2 * SIDE * SIDE * 3 * sizeof *scratch);
    assert_non_null(scratch);
    for (int i = 0; i < IMAGES; i++) labels[i] = i % CLASSES;
    assert_true(fake_cells_init(&f->cells, labels, IMAGES, CLASSES, SIDE));
    for (int i = 0; i < IMAGES; i++) {
        cf_synth_paint(&f->cells.scheme, labels[i], i / CLASSES, SIDE, 11, scratch,
                       fake_cells_pixels(&f->cells, i));
        f->cells.hashes[i] = cf_hash64(fake_cells_pixels(&f->cells, i), (size_t)SIDE * SIDE * 3);
        f->fold_of[i] = (uint8_t)(i / CLASSES % 4);
    }
    free(scratch);
}

static void configure(cf_config *c)
{
    static const char *const sets[] = {
        "model.image_size=24",   "model.depths=[1, 1]",      "model.cardinality=4",
        "model.group_width=4",   "model.stage_channels=32",  "model.stem=small",
        "model.stem_channels=8", "train.batch=32",           "train.micro_batch=16",
        "train.epochs=8",        "train.precision=fp32",     "train.optimizer=adamw",
        "train.schedule=cosine", "train.learning_rate=4e-3", "train.weight_decay=0.01",
        "train.ema=0.9",         "augment.rotation=180",     "augment.color=0.05",
    };
    cf_config_defaults(c);
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        assert_int_equal(cf_config_set(c, sets[i]), CF_OK);
    assert_int_equal(cf_config_validate(c), CF_OK);
}

static fixture *fixture_create(enum cf_optimizer_word optimizer)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    paint_cells(f);
    configure(&f->config);
    f->config.train_optimizer = (int)optimizer;
    /* SGD takes larger steps than Adam, whose steps do not shrink with the gradient. */
    if (optimizer == CF_OPTIMIZER_SGD) f->config.train_learning_rate = 0.01;
    assert_int_equal(cf_engine_init(&f->engine, &f->config, &f->cells.scheme, -1, 1), CF_OK);
    assert_int_equal(cf_trainer_init(&f->trainer, &f->engine, &f->cells, f->fold_of, 1), CF_OK);
    assert_int_equal(cf_loader_create(&f->cells, &f->config, 16, &f->loader), CF_OK);
    assert_int_equal(
        cf_new_aligned(&f->sums, (size_t)cf_engine_sums_count(&f->engine), sizeof *f->sums), CF_OK);
    return f;
}

static void fixture_destroy(fixture *f)
{
    free(f->sums);
    cf_loader_destroy(f->loader);
    cf_trainer_fini(&f->trainer);
    cf_engine_fini(&f->engine);
    fake_cells_fini(&f->cells);
    free(f);
}

/* Adds the gradients of the step's micro-batches in the order given. */
static void add_micro_batches(fixture *f, const int order[2])
{
    const cf_backend_ops *ops = f->engine.ops;
    memset(f->sums, 0, (size_t)cf_engine_sums_count(&f->engine) * sizeof *f->sums);
    assert_int_equal(cf_trainer_use_for_training(&f->trainer), CF_OK);
    for (int i = 0; i < 2; i++) {
        cf_request r = {.n_images = 16,
                        .augment = 1,
                        .fold = f->trainer.fold,
                        .epoch = f->trainer.step / f->trainer.sampler.steps_per_epoch};
        assert_int_equal(
            cf_trainer_draws(&f->trainer, f->trainer.step, order[i], &r.images, &r.first_draw),
            CF_OK);
        assert_int_equal(cf_loader_request(f->loader, &r), CF_OK);
    }
    for (int i = 0; i < 2; i++) {
        cf_prepared p;
        int64_t wait_ns = 0;
        assert_int_equal(cf_loader_next(f->loader, &p, &wait_ns), CF_OK);
        cf_batch batch = cf_prepared_batch(&p, CF_MODE_TRAIN);
        assert_int_equal(ops->train(f->engine.train, &batch, f->sums), CF_OK);
    }
}

static void one_step(fixture *f)
{
    static const int forward[2] = {0, 1};
    add_micro_batches(f, forward);
    assert_int_equal(cf_trainer_update(&f->trainer, f->sums), CF_OK);
}

/* Golden: a change of draws, augmentation, initial weights or gradients moves it. SGD, because Adam
 * divides by the size of a gradient and so makes rounding of the smallest ones visible. Tolerance
 * 2e-3: convolution libraries and processors round differently, which 20 steps amplify to about
 * 1e-5; a real change moves it by far more (another seed: about 0.1). After a meant change:
 * CYTOFOLD_GOLDEN=write. */
static void loss_of_20_steps_follows_the_golden_trace(void **state)
{
    (void)state;
    fixture *f = fixture_create(CF_OPTIMIZER_SGD);
    const char *mode = getenv("CYTOFOLD_GOLDEN");
    bool write = mode != NULL && strcmp(mode, "write") == 0;
    FILE *golden = fopen(CYTOFOLD_SOURCE "/tests/golden/loss-20-steps.txt", write ? "w" : "r");
    assert_non_null(golden);
    double last = 0;
    for (int i = 0; i < STEPS; i++) {
        double expected = 0;
        one_step(f);
        last = f->trainer.loss;
        if (write) {
            fprintf(golden, "%.6f\n", last);
        } else {
            assert_int_equal(fscanf(golden, "%lf", &expected), 1);
            if (fabs(expected - last) > 2e-3)
                fail_msg("step %d: loss %.6f, expected %.6f", i + 1, last, expected);
        }
    }
    fclose(golden);
    assert_true(last < log(CLASSES)); /* it learns: below a blind guess */
    fixture_destroy(f);
}

static void order_of_micro_batches_does_not_change_the_sums(void **state)
{
    (void)state;
    static const int forward[2] = {0, 1}, backward[2] = {1, 0};
    fixture *f = fixture_create(CF_OPTIMIZER_ADAMW);
    size_t bytes = (size_t)cf_engine_sums_count(&f->engine) * sizeof *f->sums;
    int64_t *first = malloc(bytes);
    assert_non_null(first);
    add_micro_batches(f, forward);
    memcpy(first, f->sums, bytes);
    add_micro_batches(f, backward);
    assert_memory_equal(first, f->sums, bytes);
    free(first);
    fixture_destroy(f);
}

static cf_checkpoint *snapshot(fixture *f, void **block)
{
    cf_checkpoint *c = calloc(1, sizeof *c);
    assert_non_null(c);
    assert_int_equal(cf_trainer_snapshot(&f->trainer, 77, "train: {}\n", c, block), CF_OK);
    return c;
}

static void drop(cf_checkpoint *c, void *block)
{
    free(c->entries);
    free(block);
    free(c);
}

static void a_restored_trainer_goes_on_with_the_same_bits(void **state)
{
    (void)state;
    fixture *whole = fixture_create(CF_OPTIMIZER_ADAMW), *cut = fixture_create(CF_OPTIMIZER_ADAMW);
    void *block = NULL, *at_end = NULL, *at_end_too = NULL;
    for (int i = 0; i < 7; i++) one_step(whole);
    cf_checkpoint *c = snapshot(whole, &block);
    assert_int_equal(c->step, 7);
    assert_int_equal(cf_trainer_restore(&cut->trainer, 77, c), CF_OK);
    for (int i = 0; i < 5; i++) {
        one_step(whole);
        one_step(cut);
    }
    cf_checkpoint *a = snapshot(whole, &at_end), *b = snapshot(cut, &at_end_too);
    assert_int_equal(a->n_flats, 5);
    assert_true(a->loss_sum == b->loss_sum && a->correct_sum == b->correct_sum);
    assert_int_equal(a->summed_steps, b->summed_steps);
    for (int i = 0; i < a->n_flats; i++)
        assert_memory_equal(a->flats[i].data, b->flats[i].data,
                            (size_t)a->flats[i].count * sizeof(float));
    drop(b, at_end_too);
    drop(a, at_end);
    drop(c, block);
    fixture_destroy(cut);
    fixture_destroy(whole);
}

static void a_flipped_bit_of_any_buffer_changes_the_digest(void **state)
{
    (void)state;
    fixture *f = fixture_create(CF_OPTIMIZER_ADAMW), *other = fixture_create(CF_OPTIMIZER_ADAMW);
    for (int i = 0; i < 3; i++) {
        one_step(f);
        one_step(other);
    }
    uint64_t before = 0, after = 0;
    assert_int_equal(cf_trainer_digest(&f->trainer, &before), CF_OK);
    assert_int_equal(cf_trainer_digest(&other->trainer, &after), CF_OK);
    assert_true(before == after);
    float *const buffers[] = {f->trainer.weights, f->trainer.state, f->trainer.moment1,
                              f->trainer.moment2, f->trainer.ema};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        uint32_t bits;
        memcpy(&bits, &buffers[i][5], sizeof bits);
        bits ^= 1u;
        memcpy(&buffers[i][5], &bits, sizeof bits);
        assert_int_equal(cf_trainer_digest(&f->trainer, &after), CF_OK);
        assert_true(after != before);
        bits ^= 1u;
        memcpy(&buffers[i][5], &bits, sizeof bits);
    }
    assert_int_equal(cf_trainer_digest(&f->trainer, &after), CF_OK);
    assert_true(after == before);
    fixture_destroy(other);
    fixture_destroy(f);
}

static void a_loss_above_the_limit_is_divergence(void **state)
{
    (void)state;
    fixture *f = fixture_create(CF_OPTIMIZER_ADAMW);
    static const int forward[2] = {0, 1};
    f->config.train_stop_loss = 1e-3; /* far below what untrained weights give */
    add_micro_batches(f, forward);
    assert_int_equal(cf_trainer_update(&f->trainer, f->sums), CF_E_NUMERIC);
    assert_non_null(strstr(cf_err_text(), "train.stop_loss 0.001"));
    assert_non_null(strstr(cf_err_text(), "fold 1, step 0"));
    f->config.train_stop_loss = 0;
    assert_int_equal(cf_trainer_update(&f->trainer, f->sums), CF_OK);
    fixture_destroy(f);
}

static void a_foreign_checkpoint_is_refused(void **state)
{
    (void)state;
    fixture *f = fixture_create(CF_OPTIMIZER_ADAMW);
    void *block = NULL;
    cf_checkpoint *c = snapshot(f, &block);
    assert_int_equal(cf_trainer_restore(&f->trainer, 78, c), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "other data"));
    c->config_hash ^= 1;
    assert_int_equal(cf_trainer_restore(&f->trainer, 77, c), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "another configuration"));
    c->config_hash ^= 1;
    c->fold = 0;
    assert_int_equal(cf_trainer_restore(&f->trainer, 77, c), CF_E_CHECKPOINT);
    c->fold = 1;
    c->flats[2].count--;
    assert_int_equal(cf_trainer_restore(&f->trainer, 77, c), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "moment1"));
    drop(c, block);
    fixture_destroy(f);
}

static void the_fault_flag_stops_every_rank(void **state)
{
    (void)state;
    fixture *f = fixture_create(CF_OPTIMIZER_ADAMW);
    static const int forward[2] = {0, 1};
    add_micro_batches(f, forward);
    f->sums[cf_engine_sums_count(&f->engine) - 1] = 1;
    assert_int_equal(cf_trainer_update(&f->trainer, f->sums), CF_E_NUMERIC);
    assert_int_equal(f->trainer.step, 0);
    fixture_destroy(f);
}

static float last_scale; /* what the backend was told, for record_scale */

static cf_err record_scale(cf_program *p, float scale)
{
    (void)p;
    last_scale = scale;
    return CF_OK;
}

/* The CPU computes in fp32 but is told the loss scale as a backend with fp16 is. */
static fixture *scaled_fixture_create(cf_backend_ops *ops)
{
    fixture *f = fixture_create(CF_OPTIMIZER_ADAMW);
    *ops = *f->engine.ops;
    ops->set_scale = record_scale;
    f->engine.ops = ops;
    f->config.train_precision = CF_PRECISION_FP16;
    return f;
}

static void raise_flag(fixture *f)
{
    f->sums[cf_engine_sums_count(&f->engine) - 1] = 1;
}

static void an_overflow_in_fp16_costs_the_step_and_half_the_scale(void **state)
{
    (void)state;
    static const int forward[2] = {0, 1};
    cf_backend_ops ops;
    fixture *f = scaled_fixture_create(&ops);
    size_t bytes = (size_t)f->engine.graph->n_weights * sizeof(float);
    float *before = malloc(bytes);
    assert_non_null(before);
    one_step(f);
    assert_true(last_scale == 65536.0f);
    memcpy(before, f->trainer.weights, bytes);
    double loss_sum = f->trainer.loss_sum;
    add_micro_batches(f, forward);
    raise_flag(f);
    assert_int_equal(cf_trainer_update(&f->trainer, f->sums), CF_OK);
    assert_true(f->trainer.flagged);
    assert_int_equal(f->trainer.step, 2);
    assert_true(f->trainer.loss_sum == loss_sum);
    assert_memory_equal(before, f->trainer.weights, bytes);
    one_step(f);
    assert_true(last_scale == 32768.0f);
    assert_true(memcmp(before, f->trainer.weights, bytes) != 0);
    free(before);
    fixture_destroy(f);
}

static void an_overflow_without_any_scale_left_is_an_error(void **state)
{
    (void)state;
    cf_backend_ops ops;
    fixture *f = scaled_fixture_create(&ops);
    raise_flag(f);
    for (int i = 0; i < 16; i++) assert_int_equal(cf_trainer_update(&f->trainer, f->sums), CF_OK);
    assert_int_equal(cf_trainer_update(&f->trainer, f->sums), CF_E_NUMERIC);
    assert_non_null(strstr(cf_err_text(), "fold 1, step 16"));
    fixture_destroy(f);
}

static void a_checkpoint_carries_the_scale_in_fp16_only(void **state)
{
    (void)state;
    cf_backend_ops ops, other_ops;
    fixture *f = scaled_fixture_create(&ops), *other = scaled_fixture_create(&other_ops);
    void *block = NULL;
    raise_flag(f);
    assert_int_equal(cf_trainer_update(&f->trainer, f->sums), CF_OK);
    one_step(f);
    cf_checkpoint *c = snapshot(f, &block);
    assert_int_equal(c->n_flats, 6);
    assert_string_equal(c->flats[5].name, "scaler");
    assert_int_equal(cf_trainer_restore(&other->trainer, 77, c), CF_OK);
    assert_true(other->trainer.scaler.scale == 32768.0f);
    assert_int_equal(other->trainer.scaler.good, 1);
    c->n_flats = 5;
    assert_int_equal(cf_trainer_restore(&other->trainer, 77, c), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "scaler"));
    drop(c, block);
    fixture_destroy(other);
    fixture_destroy(f);
}

/* After the first step the decay is 1/10 (see ema_decay): weights and running moments alike. */
static void averages_follow_weights_and_moments(void **state)
{
    (void)state;
    fixture *f = fixture_create(CF_OPTIMIZER_ADAMW);
    const cf_graph *g = f->engine.graph;
    size_t n = (size_t)(g->n_weights + g->n_state);
    float *before = malloc(n * sizeof *before);
    assert_non_null(before);
    memcpy(before, f->trainer.ema, n * sizeof *before);
    one_step(f);
    for (size_t i = 0; i < n; i++) {
        size_t w = (size_t)g->n_weights;
        float now = i < w ? f->trainer.weights[i] : f->trainer.state[i - w];
        float expected = 0.1f * before[i] + 0.9f * now;
        if (fabsf(f->trainer.ema[i] - expected) > 1e-6f * (1.0f + fabsf(expected)))
            fail_msg("average %zu: %g, expected %g", i, (double)f->trainer.ema[i],
                     (double)expected);
    }
    free(before);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_of_20_steps_follows_the_golden_trace),
        cmocka_unit_test(order_of_micro_batches_does_not_change_the_sums),
        cmocka_unit_test(a_restored_trainer_goes_on_with_the_same_bits),
        cmocka_unit_test(a_flipped_bit_of_any_buffer_changes_the_digest),
        cmocka_unit_test(a_loss_above_the_limit_is_divergence),
        cmocka_unit_test(a_foreign_checkpoint_is_refused),
        cmocka_unit_test(the_fault_flag_stops_every_rank),
        cmocka_unit_test(averages_follow_weights_and_moments),
        cmocka_unit_test(an_overflow_in_fp16_costs_the_step_and_half_the_scale),
        cmocka_unit_test(an_overflow_without_any_scale_left_is_an_error),
        cmocka_unit_test(a_checkpoint_carries_the_scale_in_fp16_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
