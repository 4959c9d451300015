#include "kernels/cuda/cudnn_config.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/log.h"

/* An attribute that is an array of descriptors must be given descriptors to fill. */
static cf_err get_descriptors(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                              int64_t room, cudnnBackendDescriptor_t *values, int64_t *n)
{
    char what[64];
    *n = 0;
    cudnnStatus_t status =
        cudnnBackendGetAttribute(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, room, n, values);
    snprintf(what, sizeof what, "cudnnBackendGetAttribute of attribute %d", (int)name);
    CF_TRY(cf_cudnn_check(status, what));
    if (*n > room) *n = room;
    return CF_OK;
}

static cf_err get_int64(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                        cudnnBackendAttributeType_t type, void *value)
{
    char what[64];
    int64_t n = 0;
    cudnnStatus_t status = cudnnBackendGetAttribute(d, name, type, 1, &n, value);
    snprintf(what, sizeof what, "cudnnBackendGetAttribute of attribute %d", (int)name);
    return cf_cudnn_check(status, what);
}

/* ---- reading configurations -------------------------------------------------------------------
 */

static cf_err read_knobs(cudnnBackendDescriptor_t config, cf_cudnn_config *out)
{
    cudnnBackendDescriptor_t knobs[CF_CUDNN_MAX_KNOBS] = {NULL};
    int64_t n = 0;
    cf_err err = CF_OK;
    for (int i = 0; i < CF_CUDNN_MAX_KNOBS; i++)
        CF_TRY_GOTO(cf_cudnn_new(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knobs[i]), out);
    CF_TRY_GOTO(
        get_descriptors(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CF_CUDNN_MAX_KNOBS, knobs, &n),
        out);
    out->n_knobs = (int)n;
    for (int i = 0; i < (int)n; i++) {
        cudnnBackendKnobType_t type = CUDNN_KNOB_TYPE_COUNTS;
        CF_TRY_GOTO(
            get_int64(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, &type),
            out);
        CF_TRY_GOTO(get_int64(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64,
                              &out->knobs[i].value),
                    out);
        out->knobs[i].type = (int64_t)type;
    }
out:
    for (int i = CF_CUDNN_MAX_KNOBS; i-- > 0;) cf_cudnn_free(&knobs[i]);
    return err;
}

/* The engine's index and the set of its numerical notes. */
static cf_err read_engine(cudnnBackendDescriptor_t config, int64_t *index, unsigned *notes)
{
    cudnnBackendNumericalNote_t list[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendDescriptor_t engine = NULL;
    int64_t n = 0;
    *notes = 0;
    CF_TRY(cf_cudnn_new(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine));
    cf_err err = CF_OK;
    CF_TRY_GOTO(get_descriptors(config, CUDNN_ATTR_ENGINECFG_ENGINE, 1, &engine, &n), out);
    CF_TRY_GOTO(get_int64(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, index), out);
    cudnnStatus_t status = cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                    CUDNN_TYPE_NUMERICAL_NOTE,
                                                    CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, list);
    CF_TRY_GOTO(cf_cudnn_check(status, "cudnnBackendGetAttribute of numerical notes"), out);
    for (int64_t i = 0; i < n && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++)
        *notes |= CF_CUDNN_NOTE(list[i]);
out:
    cf_cudnn_free(&engine);
    return err;
}

static bool same_config(const cf_cudnn_config *a, const cf_cudnn_config *b)
{
    return a->engine == b->engine && a->n_knobs == b->n_knobs &&
           memcmp(a->knobs, b->knobs, (size_t)a->n_knobs * sizeof a->knobs[0]) == 0;
}

static cf_err append_config(cudnnBackendDescriptor_t config, unsigned refused,
                            cf_cudnn_config *list, int *n)
{
    cf_cudnn_config *next = &list[*n];
    unsigned notes = 0;
    memset(next, 0, sizeof *next);
    CF_TRY(read_engine(config, &next->engine, &notes));
    if (notes & refused) return CF_OK;
    CF_TRY(read_knobs(config, next));
    for (int i = 0; i < *n; i++)
        if (same_config(&list[i], next)) return CF_OK;
    *n += 1;
    return CF_OK;
}

/* ---- heuristics -------------------------------------------------------------------------------
 */

/* Engines that are refused count too, so more are asked for than are wanted. */
enum { MAX_RESULTS = 64 };

static cf_err ask(const cf_cudnn_device *device, const cf_cudnn_graph *graph,
                  cudnnBackendHeurMode_t mode, cudnnBackendDescriptor_t *heuristic)
{
    CF_TRY(cf_cudnn_new(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, heuristic));
    cudnnBackendDescriptor_t d = *heuristic;
    CF_TRY(cf_cudnn_set_descriptor(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph->graph));
    CF_TRY(cf_cudnn_set(d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    if (device->properties)
        CF_TRY(cf_cudnn_set_descriptor(d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device->properties));
    return cf_cudnn_finalize(d, "heuristic");
}

cf_err cf_cudnn_suggest(const cf_cudnn_device *device, const cf_cudnn_graph *graph,
                        cudnnBackendHeurMode_t mode, unsigned refused, int most,
                        cf_cudnn_config *list, int *n)
{
    cudnnBackendDescriptor_t heuristic = NULL, results[MAX_RESULTS] = {NULL};
    int64_t n_results = 0;
    cf_err err = ask(device, graph, mode, &heuristic);
    if (err != CF_OK) {
        cf_log_debug("%s", cf_err_text());
        err = CF_OK;
        goto out;
    }
    for (int i = 0; i < MAX_RESULTS; i++)
        CF_TRY_GOTO(cf_cudnn_new(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &results[i]), out);
    CF_TRY_GOTO(
        get_descriptors(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, MAX_RESULTS, results, &n_results),
        out);
    for (int64_t i = 0; i < n_results && *n < most; i++)
        CF_TRY_GOTO(append_config(results[i], refused, list, n), out);
out:
    for (int i = MAX_RESULTS; i-- > 0;) cf_cudnn_free(&results[i]);
    cf_cudnn_free(&heuristic);
    return err;
}

/* ---- plans ------------------------------------------------------------------------------------
 */

static cf_err make_engine(const cf_cudnn_device *device, const cf_cudnn_graph *graph, int64_t index,
                          cudnnBackendDescriptor_t *out)
{
    CF_TRY(cf_cudnn_new(CUDNN_BACKEND_ENGINE_DESCRIPTOR, out));
    CF_TRY(cf_cudnn_set_descriptor(*out, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph->graph));
    CF_TRY(cf_cudnn_set(*out, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &index));
    if (device->properties)
        CF_TRY(cf_cudnn_set_descriptor(*out, CUDNN_ATTR_ENGINE_DEVICEPROP, device->properties));
    return cf_cudnn_finalize(*out, "engine");
}

static cf_err make_knobs(const cf_cudnn_config *config, cudnnBackendDescriptor_t *knobs)
{
    for (int i = 0; i < config->n_knobs; i++) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)config->knobs[i].type;
        CF_TRY(cf_cudnn_new(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knobs[i]));
        CF_TRY(cf_cudnn_set(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1,
                            &type));
        CF_TRY(cf_cudnn_set(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1,
                            &config->knobs[i].value));
        CF_TRY(cf_cudnn_finalize(knobs[i], "knob choice"));
    }
    return CF_OK;
}

static cf_err make_plan(const cf_cudnn_device *device, cudnnBackendDescriptor_t config,
                        cudnnBackendDescriptor_t *plan)
{
    CF_TRY(cf_cudnn_new(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, plan));
    if (device->handle)
        CF_TRY(cf_cudnn_set(*plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                            &device->handle));
    else
        CF_TRY(cf_cudnn_set_descriptor(*plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                       device->properties));
    CF_TRY(cf_cudnn_set_descriptor(*plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config));
    return cf_cudnn_finalize(*plan, "execution plan");
}

cf_err cf_cudnn_plan_make(const cf_cudnn_device *device, const cf_cudnn_graph *graph,
                          const cf_cudnn_config *config, cudnnBackendDescriptor_t *plan)
{
    cudnnBackendDescriptor_t engine = NULL, d = NULL, knobs[CF_CUDNN_MAX_KNOBS] = {NULL};
    cf_err err = CF_OK;
    *plan = NULL;
    CF_TRY_GOTO(make_engine(device, graph, config->engine, &engine), out);
    CF_TRY_GOTO(make_knobs(config, knobs), out);
    CF_TRY_GOTO(cf_cudnn_new(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &d), out);
    CF_TRY_GOTO(cf_cudnn_set_descriptor(d, CUDNN_ATTR_ENGINECFG_ENGINE, engine), out);
    if (config->n_knobs > 0)
        CF_TRY_GOTO(cf_cudnn_set(d, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, config->n_knobs, knobs),
                    out);
    CF_TRY_GOTO(cf_cudnn_finalize(d, "engine configuration"), out);
    CF_TRY_GOTO(make_plan(device, d, plan), out);
out:
    if (err != CF_OK) cf_cudnn_free(plan);
    cf_cudnn_free(&d);
    for (int i = CF_CUDNN_MAX_KNOBS; i-- > 0;) cf_cudnn_free(&knobs[i]);
    cf_cudnn_free(&engine);
    return err;
}
