/* The rules between keys; those of one key alone stand in config_keys.def. */
#include <string.h>

#include "proto/config.h"

enum { MAX_STAGES = 8, MAX_CHANNELS = 65536 };

static cf_err check_batch(const cf_config *c)
{
    /* 63 bits hold the sum of 1,023 of the largest gradients that are let through. */
    if (c->train_reduce == 0 && c->train_batch / c->train_micro_batch > 1023)
        return cf_fail(
            CF_E_USAGE, "train.batch %lld is %lld micro-batches; exact sums take at most 1023",
            (long long)c->train_batch, (long long)(c->train_batch / c->train_micro_batch));
    if (c->train_micro_batch > c->train_batch || c->train_batch % c->train_micro_batch != 0)
        return cf_fail(CF_E_USAGE,
                       "train.batch is %lld; expected a multiple of train.micro_batch %lld",
                       (long long)c->train_batch, (long long)c->train_micro_batch);
    return CF_OK;
}

/* The widest layer of stages that double from `first`. */
static cf_err check_channels(const char *what, int64_t first, int stages)
{
    int64_t last = first << (stages - 1);
    if (last > MAX_CHANNELS)
        return cf_fail(CF_E_USAGE, "%s is %lld, so stage %d has %lld channels; expected at most %d",
                       what, (long long)first, stages, (long long)last, (int)MAX_CHANNELS);
    return CF_OK;
}

static cf_err check_model(const cf_config *c)
{
    if (c->model_network == CF_NETWORK_SEQUENTIAL) {
        if (c->model_widths.n < 1)
            return cf_fail(CF_E_USAGE, "model.widths is empty; expected 1 to %d blocks",
                           (int)CF_LIST_MAX);
        return CF_OK;
    }
    if (c->model_norm == CF_NORM_WORD_NONE)
        return cf_fail(CF_E_USAGE,
                       "model.norm is none, but model.network is resnext, whose sums of "
                       "residuals grow without one; expected auto, batch or group");
    int stages = c->model_depths.n;
    if (stages < 1 || stages > MAX_STAGES)
        return cf_fail(CF_E_USAGE, "model.depths has %d stages; expected 1 to %d", stages,
                       (int)MAX_STAGES);
    CF_TRY(check_channels("model.stage_channels", c->model_stage_channels, stages));
    return check_channels("model.cardinality times model.group_width",
                          c->model_cardinality * c->model_group_width, stages);
}

static cf_err check_step_epochs(const cf_config *c)
{
    const cf_int_list *at = &c->train_step_epochs;
    bool steps = c->train_schedule == CF_SCHEDULE_STEP;
    if (steps && at->n == 0)
        return cf_fail(CF_E_USAGE, "train.schedule is step; expected train.step_epochs with it");
    if (!steps && at->n > 0)
        return cf_fail(CF_E_USAGE,
                       "train.step_epochs is set; expected train.schedule step with it");
    for (int i = 1; i < at->n; i++)
        if (at->items[i] <= at->items[i - 1])
            return cf_fail(CF_E_USAGE,
                           "train.step_epochs has %lld after %lld; expected rising epochs",
                           (long long)at->items[i], (long long)at->items[i - 1]);
    return CF_OK;
}

static cf_err check_schedule(const cf_config *c)
{
    CF_TRY(check_step_epochs(c));
    double warmup = c->train_warmup_epochs, epochs = (double)c->train_epochs;
    if (warmup > epochs || (warmup >= epochs && c->train_schedule == CF_SCHEDULE_ONECYCLE))
        return cf_fail(CF_E_USAGE,
                       "train.warmup_epochs is %g; expected less than train.epochs %lld", warmup,
                       (long long)c->train_epochs);
    if (c->train_nesterov && c->train_optimizer != CF_OPTIMIZER_SGD)
        return cf_fail(CF_E_USAGE, "train.nesterov is true; expected train.optimizer sgd with it");
    if (c->train_nesterov && c->train_momentum <= 0.0)
        return cf_fail(CF_E_USAGE,
                       "train.nesterov is true; expected train.momentum above 0 with it");
    return CF_OK;
}

static cf_err check_augment(const cf_config *c)
{
    if (c->augment_scale_min > c->augment_scale_max)
        return cf_fail(CF_E_USAGE, "augment.scale_min is %g; expected at most augment.scale_max %g",
                       c->augment_scale_min, c->augment_scale_max);
    if (c->augment_mean.n != 3 || c->augment_std.n != 3)
        return cf_fail(CF_E_USAGE,
                       "augment.mean and augment.std have %d and %d numbers; expected 3, "
                       "of red, green and blue",
                       c->augment_mean.n, c->augment_std.n);
    return CF_OK;
}

static cf_err check_data(const cf_config *c)
{
    static const char *const words[] = {"folds", "leave-site-out", "holdout"};
    if (c->data_folds_file[0] != '\0' && c->data_split != CF_SPLIT_FOLDS)
        return cf_fail(CF_E_USAGE, "data.split is %s, but data.folds_file is set: it is the split",
                       words[c->data_split]);
    return CF_OK;
}

static cf_err check_run(const cf_config *c)
{
    bool holdout = c->data_split == CF_SPLIT_HOLDOUT;
    if (c->run_workers > 0 && c->run_groups > c->run_workers)
        return cf_fail(CF_E_USAGE, "run.groups is %lld; expected at most run.workers %lld",
                       (long long)c->run_groups, (long long)c->run_workers);
    if (holdout && c->run_groups > 1)
        return cf_fail(CF_E_USAGE,
                       "run.groups is %lld; expected at most 1, as data.split is holdout",
                       (long long)c->run_groups);
    if (c->data_folds_file[0] == '\0' && c->data_split == CF_SPLIT_FOLDS &&
        c->run_groups > c->data_folds)
        return cf_fail(CF_E_USAGE, "run.groups is %lld; expected at most data.folds %lld",
                       (long long)c->run_groups, (long long)c->data_folds);
    return CF_OK;
}

static cf_err check_all(const cf_config *c)
{
    CF_TRY(check_data(c));
    CF_TRY(check_batch(c));
    CF_TRY(check_model(c));
    CF_TRY(check_schedule(c));
    CF_TRY(check_augment(c));
    return check_run(c);
}

cf_err cf_config_validate(const cf_config *config)
{
    cf_err err = check_all(config);
    if (err != CF_OK && config->path[0] != '\0') return cf_where(err, "%s", config->path);
    return err;
}
