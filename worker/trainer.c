#include "worker/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/schedule.h"
#include "worker/weight_start.h"

enum { N_FLATS = 5 };

typedef struct flat_row {
    const char *name;
    float **data; /* backend memory; *data NULL: not used */
    int64_t count;
} flat_row;

/* The one list of what a trainer holds: allocation, saving and restoring walk it. */
static void list_flats(cf_trainer *t, flat_row rows[N_FLATS])
{
    const cf_graph *g = t->engine->graph;
    const flat_row all[N_FLATS] = {
        {"weights", &t->weights, g->n_weights},      {"state", &t->state, g->n_state},
        {"moment1", &t->moment1, g->n_weights},      {"moment2", &t->moment2, g->n_weights},
        {"ema", &t->ema, g->n_weights + g->n_state},
    };
    memcpy(rows, all, sizeof all);
}

static size_t flat_bytes(const flat_row *row)
{
    return (size_t)row->count * sizeof(float);
}

static bool flat_used(const cf_config *c, const char *name)
{
    if (strcmp(name, "moment2") == 0) return c->train_optimizer != CF_OPT_SGD;
    if (strcmp(name, "ema") == 0) return c->train_ema > 0;
    return true;
}

static cf_err load_initial_weights(cf_trainer *t, const cf_scheme *scheme)
{
    const cf_engine *e = t->engine;
    const cf_graph *g = e->graph;
    float *host = NULL;
    CF_TRY(cf_new(&host, (size_t)(g->n_weights + g->n_state), sizeof *host));
    size_t weight_bytes = (size_t)g->n_weights * sizeof *host;
    size_t state_bytes = (size_t)g->n_state * sizeof *host;
    cf_err err = CF_OK;
    const cf_weight_origin from = {e->config, scheme, t->fold, e->init_hash};
    CF_TRY_GOTO(cf_weight_start(&from, g, host, host + g->n_weights, &t->started), out);
    CF_TRY_GOTO(e->ops->copy_in(e->backend, t->weights, host, weight_bytes), out);
    CF_TRY_GOTO(e->ops->copy_in(e->backend, t->state, host + g->n_weights, state_bytes), out);
    if (t->ema != NULL)
        CF_TRY_GOTO(e->ops->copy_in(e->backend, t->ema, host, weight_bytes + state_bytes), out);
out:
    free(host);
    return err;
}

cf_err cf_trainer_init(cf_trainer *t, cf_engine *engine, const cf_cells *cells,
                       const uint8_t *fold_of, int fold)
{
    memset(t, 0, sizeof *t);
    t->engine = engine;
    t->fold = fold;
    t->draws_epoch[0] = t->draws_epoch[1] = -1;
    t->saved_step = -1;
    t->saved_ns = cf_clock_ns();
    cf_scaler_init(&t->scaler);
    CF_TRY(cf_sampler_init(&t->sampler, cells, fold_of, fold, engine->config));
    t->total_steps = t->sampler.steps_per_epoch * engine->config->train_epochs;
    for (int i = 0; i < 2; i++)
        CF_TRY(cf_new(&t->draws[i], (size_t)t->sampler.n_draws, sizeof(int64_t)));
    flat_row rows[N_FLATS];
    list_flats(t, rows);
    for (int i = 0; i < N_FLATS; i++)
        if (flat_used(engine->config, rows[i].name))
            CF_TRY(
                engine->ops->alloc(engine->backend, flat_bytes(&rows[i]), (void **)rows[i].data));
    return load_initial_weights(t, &cells->scheme);
}

void cf_trainer_fini(cf_trainer *t)
{
    if (t->engine == NULL) return;
    flat_row rows[N_FLATS];
    list_flats(t, rows);
    for (int i = 0; i < N_FLATS; i++) t->engine->ops->free(t->engine->backend, *rows[i].data);
    free(t->draws[0]);
    free(t->draws[1]);
    cf_sampler_fini(&t->sampler);
    memset(t, 0, sizeof *t);
}

cf_err cf_trainer_draws(cf_trainer *t, int64_t step, int micro, const int64_t **images,
                        int64_t *first_draw)
{
    const cf_config *c = t->engine->config;
    int64_t epoch = step / t->sampler.steps_per_epoch;
    int slot = (int)(epoch % 2);
    if (t->draws_epoch[slot] != epoch) {
        CF_TRY(cf_sampler_epoch(&t->sampler, epoch, t->draws[slot]));
        t->draws_epoch[slot] = epoch;
    }
    *first_draw =
        (step % t->sampler.steps_per_epoch) * c->train_batch + micro * c->train_micro_batch;
    *images = t->draws[slot] + *first_draw;
    return CF_OK;
}

/* The last three elements of the sums: loss, correct, fault flag. */
static cf_err read_tail(const cf_engine *e, const void *sums, double *loss, double *correct,
                        bool *fault)
{
    int64_t first = cf_engine_sums_count(e) - 3;
    if (e->config->train_reduce == 1) {
        float tail[3];
        CF_TRY(e->ops->copy_out(e->backend, tail, (const float *)sums + first, sizeof tail));
        *loss = (double)tail[0];
        *correct = (double)tail[1];
        *fault = tail[2] != 0;
        return CF_OK;
    }
    int64_t tail[3];
    CF_TRY(e->ops->copy_out(e->backend, tail, (const int64_t *)sums + first, sizeof tail));
    *loss = ldexp((double)tail[0], -CF_EXACT_GRAD_BITS);
    *correct = ldexp((double)tail[1], -CF_EXACT_GRAD_BITS);
    *fault = tail[2] != 0;
    return CF_OK;
}

/* Averages start short and lengthen, so that initial weights are soon forgotten: min(d,
 * (1+n)/(10+n)). */
static float ema_decay(const cf_config *c, int64_t step)
{
    double early = (1.0 + (double)step) / (10.0 + (double)step);
    return (float)(c->train_ema < early ? c->train_ema : early);
}

/* The sums of an epoch start with its first step, also where that step is skipped. */
static void begin_step(cf_trainer *t)
{
    if (t->step % t->sampler.steps_per_epoch != 0) return;
    t->loss_sum = t->correct_sum = 0;
    t->n_summed = 0;
}

static cf_err take_flag(cf_trainer *t)
{
    if (!cf_engine_is_scaled(t->engine))
        return cf_fail(CF_E_NUMERIC, "fold %d, step %lld: a rank met a value that is not finite",
                       t->fold, (long long)t->step);
    float before = t->scaler.scale;
    if (cf_scaler_step(&t->scaler, true) == CF_SCALER_LOST)
        return cf_fail(
            CF_E_NUMERIC,
            "fold %d, step %lld: gradients overflow fp16 even with the loss scaled by %g", t->fold,
            (long long)t->step, (double)before);
    cf_log_debug("fold %d, step %lld: overflow at loss scale %g, step skipped", t->fold,
                 (long long)t->step, (double)before);
    begin_step(t);
    t->step++;
    return CF_OK;
}

cf_err cf_trainer_update(cf_trainer *t, const void *sums)
{
    const cf_engine *e = t->engine;
    const cf_config *c = e->config;
    int n_micro = (int)(c->train_batch / c->train_micro_batch);
    double loss = 0, correct = 0;
    CF_TRY(read_tail(e, sums, &loss, &correct, &t->flagged));
    if (t->flagged) return take_flag(t);
    t->loss = loss / n_micro;
    t->accuracy = correct / n_micro;
    if (!isfinite(t->loss))
        return cf_fail(CF_E_NUMERIC, "fold %d, step %lld: the loss is %g", t->fold,
                       (long long)t->step, t->loss);
    if (c->train_stop_loss > 0 && t->loss > c->train_stop_loss)
        return cf_fail(CF_E_NUMERIC,
                       "fold %d, step %lld: the loss is %g, above train.stop_loss %g: it diverges",
                       t->fold, (long long)t->step, t->loss, c->train_stop_loss);
    double rate = cf_schedule_rate(c, t->step, t->sampler.steps_per_epoch, t->total_steps);
    cf_update u = {
        .kind = (cf_optimizer)c->train_optimizer,
        .n_weights = e->graph->n_weights,
        .n_state = e->graph->n_state,
        .weights = t->weights,
        .state = t->state,
        .moment1 = t->moment1,
        .moment2 = t->moment2,
        .ema = t->ema,
        .sums = sums,
        .reduce = (cf_reduce)c->train_reduce,
        .n_micro = n_micro,
        .decay = e->decay,
        .state_momentum = e->state_momentum,
        .learning_rate = (float)rate,
        .weight_decay = (float)c->train_weight_decay,
        .beta1 = (float)(c->train_optimizer == CF_OPT_SGD ? c->train_momentum : c->train_beta1),
        .beta2 = (float)c->train_beta2,
        .epsilon = (float)c->train_epsilon,
        .nesterov = c->train_nesterov,
        .clip_norm = (float)c->train_clip_norm,
        .ema_decay = ema_decay(c, t->step),
        .step = t->step + 1,
    };
    CF_TRY(cf_where(e->ops->update(e->backend, &u), "fold %d, step %lld", t->fold,
                    (long long)t->step));
    if (cf_engine_is_scaled(e)) (void)cf_scaler_step(&t->scaler, false);
    begin_step(t);
    t->loss_sum += t->loss;
    t->correct_sum += t->accuracy;
    t->n_summed++;
    t->step++;
    return CF_OK;
}

cf_err cf_trainer_use_for_training(cf_trainer *t)
{
    const cf_engine *e = t->engine;
    if (cf_engine_is_scaled(e)) CF_TRY(e->ops->set_scale(e->train, t->scaler.scale));
    return e->ops->set_weights(e->train, t->weights, t->state);
}

cf_err cf_trainer_use_for_testing(cf_trainer *t)
{
    const float *weights = t->ema != NULL ? t->ema : t->weights;
    const float *state = t->ema != NULL ? t->ema + t->engine->graph->n_weights : t->state;
    return t->engine->ops->set_weights(t->engine->infer, weights, state);
}

cf_err cf_trainer_digest(const cf_trainer *t, uint64_t *digest)
{
    const cf_engine *e = t->engine;
    flat_row rows[N_FLATS];
    uint64_t first = 0, part = 0;
    list_flats((cf_trainer *)(uintptr_t)t, rows); /* only read here */
    *digest = 0;
    for (int i = 0; i < N_FLATS; i++) {
        if (*rows[i].data == NULL) continue;
        CF_TRY(e->ops->digest(e->backend, *rows[i].data, rows[i].count, first, &part));
        *digest += part;
        first += (uint64_t)rows[i].count;
    }
    return CF_OK;
}

cf_err cf_trainer_entries(const cf_graph *g, cf_tensor_entry **entries)
{
    CF_TRY(cf_new(entries, (size_t)g->n_params, sizeof **entries));
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        cf_tensor_entry *out = &(*entries)[i];
        bool state = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
        memcpy(out->name, p->name, sizeof out->name);
        strcpy(out->flat, state ? "state" : "weights");
        out->rank = p->rank;
        memcpy(out->dim, p->dim, sizeof out->dim);
        out->offset = p->offset;
    }
    return CF_OK;
}

cf_err cf_trainer_snapshot(cf_trainer *t, uint64_t data_hash, const char *config_yaml,
                           cf_checkpoint *c, void **block)
{
    const cf_engine *e = t->engine;
    memset(c, 0, sizeof *c);
    strcpy(c->program_version, CYTOFOLD_VERSION);
    c->fold = t->fold;
    c->step = t->step;
    c->steps_per_epoch = t->sampler.steps_per_epoch;
    c->epoch = t->step / c->steps_per_epoch;
    c->total_steps = t->total_steps;
    c->loss_sum = t->loss_sum;
    c->correct_sum = t->correct_sum;
    c->summed_steps = t->n_summed;
    CF_TRY(cf_config_hash(e->config, &c->config_hash));
    c->data_hash = data_hash;
    if (strlen(config_yaml) >= sizeof c->config)
        return cf_fail(CF_E_CHECKPOINT,
                       "the configuration has %zu bytes, at most %zu fit a checkpoint",
                       strlen(config_yaml), sizeof c->config - 1);
    strcpy(c->config, config_yaml);
    flat_row rows[N_FLATS];
    list_flats(t, rows);
    size_t total = 0;
    for (int i = 0; i < N_FLATS; i++) total += *rows[i].data != NULL ? flat_bytes(&rows[i]) : 0;
    CF_TRY(cf_new_aligned(block, total + 2 * sizeof(float), 1));
    char *at = *block;
    for (int i = 0; i < N_FLATS; i++) {
        if (*rows[i].data == NULL) continue;
        cf_flat *flat = &c->flats[c->n_flats++];
        strcpy(flat->name, rows[i].name);
        flat->count = rows[i].count;
        flat->data = (float *)(void *)at;
        CF_TRY(e->ops->copy_out(e->backend, at, *rows[i].data, flat_bytes(&rows[i])));
        at += flat_bytes(&rows[i]);
    }
    if (cf_engine_is_scaled(e)) {
        cf_flat *flat = &c->flats[c->n_flats++];
        *flat = (cf_flat){.name = "scaler", .count = 2, .data = (float *)(void *)at};
        cf_scaler_write(&t->scaler, flat->data);
    }
    c->n_entries = e->graph->n_params;
    return cf_trainer_entries(e->graph, &c->entries);
}

static cf_err check_belongs(const cf_trainer *t, uint64_t data_hash, const cf_checkpoint *c)
{
    uint64_t config_hash = 0;
    CF_TRY(cf_config_hash(t->engine->config, &config_hash));
    if (c->config_hash != config_hash)
        return cf_fail(CF_E_CHECKPOINT,
                       "the checkpoint is of another configuration (%016llx, this run "
                       "has %016llx)",
                       (unsigned long long)c->config_hash, (unsigned long long)config_hash);
    if (c->data_hash != data_hash)
        return cf_fail(CF_E_CHECKPOINT,
                       "the checkpoint is of other data or folds (%016llx, this run has "
                       "%016llx)",
                       (unsigned long long)c->data_hash, (unsigned long long)data_hash);
    if (c->fold != t->fold || c->total_steps != t->total_steps || c->step < 0 ||
        c->step > c->total_steps)
        return cf_fail(CF_E_CHECKPOINT,
                       "the checkpoint is of fold %d, step %lld of %lld; this is fold %d "
                       "with %lld steps",
                       c->fold, (long long)c->step, (long long)c->total_steps, t->fold,
                       (long long)t->total_steps);
    return CF_OK;
}

static cf_err find_flat(const cf_checkpoint *c, const char *name, int64_t count,
                        const cf_flat **found)
{
    *found = NULL;
    for (int k = 0; k < c->n_flats; k++)
        if (strcmp(c->flats[k].name, name) == 0) *found = &c->flats[k];
    if (*found != NULL && (*found)->count == count) return CF_OK;
    return cf_fail(CF_E_CHECKPOINT, "tensor %s: expected %lld elements, found %lld", name,
                   (long long)count, *found != NULL ? (long long)(*found)->count : 0LL);
}

cf_err cf_trainer_restore(cf_trainer *t, uint64_t data_hash, const cf_checkpoint *c)
{
    const cf_engine *e = t->engine;
    const cf_flat *found = NULL;
    CF_TRY(check_belongs(t, data_hash, c));
    flat_row rows[N_FLATS];
    list_flats(t, rows);
    for (int i = 0; i < N_FLATS; i++) {
        if (*rows[i].data == NULL) continue;
        CF_TRY(find_flat(c, rows[i].name, rows[i].count, &found));
        CF_TRY(e->ops->copy_in(e->backend, *rows[i].data, found->data, flat_bytes(&rows[i])));
    }
    if (cf_engine_is_scaled(e)) {
        CF_TRY(find_flat(c, "scaler", 2, &found));
        CF_TRY(cf_scaler_read(&t->scaler, found->data));
    }
    t->step = c->step;
    t->loss_sum = c->loss_sum;
    t->correct_sum = c->correct_sum;
    t->n_summed = c->summed_steps;
    t->saved_step = c->step;
    t->saved_ns = cf_clock_ns();
    return CF_OK;
}
