/* Phantom cells (synthetic) of three classes and a run of two small networks trained on them here,
 * fp32, one thread; a second's work. */
#ifndef CF_TESTS_SUPPORT_TRAINED_RUN_H
#define CF_TESTS_SUPPORT_TRAINED_RUN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/fake_cells.h"
#include "tests/support/scratch.h"
#include "worker/data/loader.h"
#include "worker/data/synth.h"
#include "worker/predict.h"
#include "worker/trainer.h"

enum { SIDE = 24, IMAGES = 150, CLASSES = 3, FOLDS = 2, BATCH = 16 };
enum { SEED = 11 };

typedef struct fixture {
    char dir[CF_PATH_MAX];
    cf_cells cells;
    cf_saved run;
    cf_predict_options options;
    cf_predict_times times;
} fixture;

static inline void paint(cf_cells *cells, int64_t first)
{
    int32_t labels[IMAGES];
    float *scratch = malloc((size_t)2 * SIDE * SIDE * 3 * sizeof *scratch);
    assert_non_null(scratch);
    for (int i = 0; i < IMAGES; i++) labels[i] = i * CLASSES / IMAGES; /* class by class */
    assert_true(fake_cells_init(cells, labels, IMAGES, CLASSES, SIDE));
    for (int i = 0; i < IMAGES; i++) {
        uint8_t *pixels = fake_cells_pixels(cells, i);
        cf_synth_paint(&cells->scheme, labels[i], first + i, SIDE, SEED, scratch, pixels);
        cells->hashes[i] = cf_hash64(pixels, (size_t)SIDE * SIDE * 3);
    }
    free(scratch);
}

/* more: settings beside or instead of these, ending in NULL; NULL for none. */
static inline void configure(cf_config *c, const char *const *more)
{
    static const char *const sets[] = {
        "model.image_size=24",   "model.depths=[1, 1]",      "model.cardinality=4",
        "model.group_width=4",   "model.stage_channels=32",  "model.stem=small",
        "model.stem_channels=8", "train.batch=16",           "train.micro_batch=16",
        "train.epochs=25",       "train.precision=fp32",     "train.optimizer=adamw",
        "train.schedule=cosine", "train.learning_rate=4e-3", "train.ema=0.8",
        "run.threads=1",         "run.device=cpu",           "data.folds=2",
    };
    cf_config_defaults(c);
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        assert_int_equal(cf_config_set(c, sets[i]), CF_OK);
    for (; more != NULL && *more != NULL; more++)
        if (cf_config_set(c, *more) != CF_OK) fail_msg("%s", cf_err_text());
    if (cf_config_validate(c) != CF_OK) fail_msg("%s", cf_err_text());
}

static inline void train(cf_trainer *t, cf_loader *loader, void *sums)
{
    cf_engine *e = t->engine;
    while (t->step < t->total_steps) {
        cf_prepared p;
        int64_t wait_ns = 0;
        cf_request r = {.n_images = BATCH,
                        .augment = 1,
                        .fold = t->fold,
                        .epoch = t->step / t->sampler.steps_per_epoch};
        memset(sums, 0, (size_t)cf_engine_sums_count(e) * cf_engine_sum_bytes(e));
        assert_int_equal(cf_trainer_use_for_training(t), CF_OK);
        assert_int_equal(cf_trainer_draws(t, t->step, 0, &r.images, &r.first_draw), CF_OK);
        assert_int_equal(cf_loader_request(loader, &r), CF_OK);
        assert_int_equal(cf_loader_next(loader, &p, &wait_ns), CF_OK);
        cf_batch batch = cf_prepared_batch(&p, CF_MODE_TRAIN);
        assert_int_equal(e->ops->train(e->train, &batch, sums), CF_OK);
        assert_int_equal(cf_trainer_update(t, sums), CF_OK);
    }
}

static inline void save(cf_trainer *t, const char *dir)
{
    char path[CF_PATH_MAX];
    void *block = NULL;
    cf_checkpoint *c = calloc(1, sizeof *c);
    assert_non_null(c);
    assert_int_equal(cf_trainer_snapshot(t, 77, "train: {}\n", c, &block), CF_OK);
    snprintf(path, sizeof path, "%.3000s/fold-%d", dir, t->fold);
    assert_int_equal(cf_dir_make(path), CF_OK);
    snprintf(path, sizeof path, "%.3000s/fold-%d/checkpoint-%lld.ckpt", dir, t->fold,
             (long long)t->step);
    assert_int_equal(cf_checkpoint_write(path, c), CF_OK);
    free(c->entries);
    free(block);
    free(c);
}

static inline void save_text(const char *dir, const char *name, const char *text)
{
    char path[CF_PATH_MAX];
    assert_int_equal(cf_path_join(path, sizeof path, dir, name), CF_OK);
    assert_int_equal(cf_file_save(path, text, strlen(text)), CF_OK);
}

static inline void make_run(const fixture *f, const char *const *more)
{
    static uint8_t fold_of[IMAGES];
    cf_config config;
    cf_engine engine;
    cf_loader *loader = NULL;
    int64_t *sums = NULL;
    cf_buf yaml = {0};
    configure(&config, more);
    for (int i = 0; i < IMAGES; i++) fold_of[i] = (uint8_t)(i % FOLDS);
    assert_int_equal(cf_engine_init(&engine, &config, &f->cells.scheme, -1, 1), CF_OK);
    assert_int_equal(cf_loader_create(&f->cells, &config, BATCH, &loader), CF_OK);
    assert_int_equal(cf_new_aligned(&sums, (size_t)cf_engine_sums_count(&engine), sizeof *sums),
                     CF_OK);
    for (int fold = 0; fold < FOLDS; fold++) {
        cf_trainer t;
        assert_int_equal(cf_trainer_init(&t, &engine, &f->cells, fold_of, fold), CF_OK);
        train(&t, loader, sums);
        save(&t, f->dir);
        cf_trainer_fini(&t);
    }
    free(sums);
    cf_loader_destroy(loader);
    cf_engine_fini(&engine);
    cf_config_write(&config, false, &yaml);
    save_text(f->dir, "run.yaml", cf_buf_text(&yaml));
    save_text(f->dir, "scheme.yaml", f->cells.scheme.text);
    cf_buf_fini(&yaml);
}

/* Every image is tested by network i % FOLDS. more: as for configure. */
static inline bool trained_run_init_as(fixture *f, const char *const *more)
{
    if (!scratch_make(f->dir)) return false;
    paint(&f->cells, 0);
    make_run(f, more);
    if (cf_saved_open(f->dir, &f->run) != CF_OK) fail_msg("%s", cf_err_text());
    f->options = (cf_predict_options){.n_turns = 1, .adapt_share = 1};
    return true;
}

static inline bool trained_run_init(fixture *f)
{
    return trained_run_init_as(f, NULL);
}

static inline void trained_run_fini(fixture *f)
{
    cf_saved_fini(&f->run);
    fake_cells_fini(&f->cells);
    scratch_remove(f->dir);
}

#endif
