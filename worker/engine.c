#include "worker/engine.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/models.h"

static const char *const device_names[] = {"auto", "cpu", "cuda"};

/* What update needs to know of every element, spread out once from the parameter table. */
static cf_err spread_table(cf_engine *e)
{
    const cf_graph *g = e->graph;
    uint8_t *decay = NULL;
    float *momentum = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&decay, (size_t)g->n_weights, 1), out);
    CF_TRY_GOTO(cf_new(&momentum, (size_t)g->n_state + 1, sizeof *momentum), out);
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        if (p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR) {
            for (int64_t k = 0; k < p->count; k++)
                momentum[p->offset + k] = g->nodes[p->node].conv.norm_momentum;
        } else if (p->kind == CF_PARAM_WEIGHT || e->config->train_decay_all) {
            memset(decay + p->offset, 1, (size_t)p->count);
        }
    }
    size_t state_bytes = ((size_t)g->n_state + 1) * sizeof *momentum;
    CF_TRY_GOTO(e->ops->alloc(e->backend, (size_t)g->n_weights, (void **)&e->decay), out);
    CF_TRY_GOTO(e->ops->alloc(e->backend, state_bytes, (void **)&e->state_momentum), out);
    CF_TRY_GOTO(e->ops->copy_in(e->backend, e->decay, decay, (size_t)g->n_weights), out);
    CF_TRY_GOTO(e->ops->copy_in(e->backend, e->state_momentum, momentum, state_bytes), out);
out:
    free(momentum);
    free(decay);
    return err;
}

static cf_err compile(cf_engine *e, cf_mode mode, const cf_engine_choices *choices,
                      cf_memory_plan *plan, cf_program **program)
{
    cf_compile_options options = {
        .mode = mode,
        .dtype = (cf_dtype)e->config->train_precision,
        .reduce = e->config->train_reduce == 1 ? CF_REDUCE_FAST : CF_REDUCE_EXACT,
        .deterministic = e->config->train_deterministic,
        .may_tune = choices->may_tune,
        .engines = choices->path,
    };
    CF_TRY(cf_graph_plan(e->graph, mode, options.dtype, plan));
    return e->ops->compile(e->backend, e->graph, plan, &options, program);
}

const char *cf_engine_device_name(const cf_config *config)
{
    return device_names[config->run_device];
}

/* The CPU is one device, however many workers share its cores. */
int cf_engine_device(const cf_backend_ops *ops, int local_index)
{
    int n_devices = ops->on_device ? cf_backend_device_count(ops) : 0;
    return n_devices > 0 && local_index >= 0 ? local_index % n_devices : -1;
}

cf_err cf_engine_open(cf_engine *e, const cf_config *config, const cf_scheme *scheme,
                      int local_index, int n_threads)
{
    memset(e, 0, sizeof *e);
    e->config = config;
    CF_TRY(cf_backend_find(cf_engine_device_name(config), &e->ops));
    if (config->train_precision == CF_PRECISION_FP16 && e->ops->set_scale == NULL)
        return cf_fail(CF_E_DEVICE, "train.precision is fp16; device %s: expected fp32 or bf16",
                       e->ops->name);
    e->device = cf_engine_device(e->ops, local_index);
    CF_TRY(e->ops->open(e->device, n_threads, &e->backend));
    CF_TRY(cf_model_build(config, scheme, config->train_micro_batch, &e->graph));
    return CF_OK;
}

cf_err cf_engine_compile(cf_engine *e, const cf_engine_choices *choices)
{
    CF_TRY(spread_table(e));
    CF_TRY(compile(e, CF_MODE_TRAIN, choices, &e->train_plan, &e->train));
    return compile(e, CF_MODE_INFER, choices, &e->infer_plan, &e->infer);
}

cf_err cf_engine_compile_infer(cf_engine *e, const cf_engine_choices *choices)
{
    return compile(e, CF_MODE_INFER, choices, &e->infer_plan, &e->infer);
}

cf_err cf_engine_init(cf_engine *e, const cf_config *config, const cf_scheme *scheme,
                      int local_index, int n_threads)
{
    const cf_engine_choices none = {0};
    CF_TRY(cf_engine_open(e, config, scheme, local_index, n_threads));
    return cf_engine_compile(e, &none);
}

void cf_engine_fini(cf_engine *e)
{
    if (e->ops == NULL) return;
    e->ops->release(e->infer);
    e->ops->release(e->train);
    cf_memory_plan_fini(&e->infer_plan);
    cf_memory_plan_fini(&e->train_plan);
    if (e->backend != NULL) {
        e->ops->free(e->backend, e->state_momentum);
        e->ops->free(e->backend, e->decay);
    }
    cf_graph_destroy(e->graph);
    e->ops->close(e->backend);
    memset(e, 0, sizeof *e);
}

int64_t cf_engine_sums_count(const cf_engine *e)
{
    return cf_sums_count(e->graph) + 1;
}

size_t cf_engine_sum_bytes(const cf_engine *e)
{
    return e->config->train_reduce == 1 ? sizeof(float) : sizeof(int64_t);
}

bool cf_engine_is_scaled(const cf_engine *e)
{
    return e->config->train_precision == CF_PRECISION_FP16;
}
