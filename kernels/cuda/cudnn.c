#include "kernels/cuda/cudnn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/cudnn_config.h"

struct cf_cudnn {
    cf_cudnn_device device;
};

struct cf_cudnn_plan {
    cf_cudnn_graph graph;
    cudnnBackendDescriptor_t plan;
    cf_cudnn_config config;
    cf_conv_pass pass;
    cf_dtype dtype;
    int64_t filter; /* elements */
    bool narrow;    /* the weight gradient comes in dtype and is widened */
    size_t workspace, narrow_bytes;
};

/* ---- library ----------------------------------------------------------------------------------
 */

cf_err cf_cudnn_create(cudaStream_t stream, cf_cudnn **out)
{
    cf_cudnn *c = NULL;
    *out = NULL;
    CF_TRY(cf_new(&c, 1, sizeof *c));
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_cudnn_check(cudnnCreate(&c->device.handle), "cudnnCreate"), out);
    CF_TRY_GOTO(cf_cudnn_check(cudnnSetStream(c->device.handle, stream), "cudnnSetStream"), out);
out:
    if (err == CF_OK)
        *out = c;
    else
        cf_cudnn_destroy(c);
    return err;
}

cf_err cf_cudnn_create_for(const char *properties, cf_cudnn **out)
{
    cf_cudnn *c = NULL;
    *out = NULL;
    CF_TRY(cf_new(&c, 1, sizeof *c));
    cf_err err = CF_OK;
    cudnnBackendDescriptor_t *d = &c->device.properties;
    CF_TRY_GOTO(cf_cudnn_new(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, d), out);
    CF_TRY_GOTO(cf_cudnn_set(*d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                             (int64_t)strlen(properties), properties),
                out);
    CF_TRY_GOTO(cf_cudnn_finalize(*d, "device properties"), out);
out:
    if (err == CF_OK)
        *out = c;
    else
        cf_cudnn_destroy(c);
    return err;
}

void cf_cudnn_destroy(cf_cudnn *c)
{
    if (!c) return;
    cf_cudnn_free(&c->device.properties);
    if (c->device.handle) (void)cudnnDestroy(c->device.handle);
    free(c);
}

void cf_cudnn_describe(char *text, size_t n)
{
    size_t v = cudnnGetVersion();
    snprintf(text, n, "cuDNN %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100);
}

/* ---- plans ------------------------------------------------------------------------------------
 */

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static cf_err plan_make(const cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass,
                        const cf_cudnn_config *config, bool narrow, cf_cudnn_plan **out)
{
    cf_cudnn_plan *p = NULL;
    *out = NULL;
    CF_TRY(cf_new(&p, 1, sizeof *p));
    cf_err err = CF_OK;
    int64_t bytes = 0, n = 0;
    cf_dtype filter = pass == CF_CONV_WEIGHTS && !narrow ? CF_F32 : g->dtype;
    p->config = *config;
    p->pass = pass;
    p->dtype = g->dtype;
    p->filter = cf_geometry_filter(g);
    p->narrow = narrow;
    CF_TRY_GOTO(cf_cudnn_graph_init(&c->device, g, pass, filter, &p->graph), out);
    CF_TRY_GOTO(cf_cudnn_plan_make(&c->device, &p->graph, config, &p->plan), out);
    CF_TRY_GOTO(
        cf_cudnn_check(cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                CUDNN_TYPE_INT64, 1, &n, &bytes),
                       "cudnnBackendGetAttribute of the workspace"),
        out);
    if (narrow) p->narrow_bytes = round_up((size_t)p->filter * cf_dtype_bytes(g->dtype));
    p->workspace = round_up(bytes > 0 ? (size_t)bytes : 0) + p->narrow_bytes;
out:
    if (err == CF_OK)
        *out = p;
    else
        cf_cudnn_plan_destroy(p);
    return err;
}

void cf_cudnn_plan_destroy(cf_cudnn_plan *p)
{
    if (!p) return;
    cf_cudnn_free(&p->plan);
    cf_cudnn_graph_fini(&p->graph);
    free(p);
}

size_t cf_cudnn_plan_workspace(const cf_cudnn_plan *p)
{
    return p->workspace;
}

/* ---- candidates -------------------------------------------------------------------------------
 */

static unsigned refused_notes(cf_dtype dtype, bool deterministic)
{
    unsigned notes = CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) |
                     CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_FFT) |
                     CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_WINOGRAD) |
                     CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4) |
                     CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6) |
                     CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13) |
                     CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
    if (deterministic) notes |= CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
    /* Tensor cores take fp32 as TF32 only. */
    if (dtype == CF_F32) notes |= CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
    return notes;
}

/* Room for configurations that turn out not to have a plan or to want too much workspace. */
enum { MAX_CONFIGS = 64 };

typedef struct search {
    const cf_geometry *g;
    cf_conv_pass pass;
    bool deterministic, narrow;
    size_t workspace;
    int most;
} search;

static cf_err find_configs(const cf_cudnn *c, const search *s, cf_cudnn_config *list, int *n)
{
    static const cudnnBackendHeurMode_t MODES[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    cf_cudnn_graph graph = {0};
    cf_dtype filter = s->pass == CF_CONV_WEIGHTS && !s->narrow ? CF_F32 : s->g->dtype;
    unsigned refused = refused_notes(s->g->dtype, s->deterministic);
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_cudnn_graph_init(&c->device, s->g, s->pass, filter, &graph), out);
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++)
        CF_TRY_GOTO(cf_cudnn_suggest(&c->device, &graph, MODES[i], refused, MAX_CONFIGS, list, n),
                    out);
out:
    cf_cudnn_graph_fini(&graph);
    return err;
}

/* A configuration without a plan is the library's way to say no; the next one may do. */
static cf_err find_plans(const cf_cudnn *c, const search *s, cf_cudnn_plan **plans, int *n)
{
    cf_cudnn_config *list = NULL;
    int n_configs = 0;
    CF_TRY(cf_new(&list, MAX_CONFIGS, sizeof *list));
    cf_err err = find_configs(c, s, list, &n_configs);
    for (int i = 0; i < n_configs && *n < s->most && err == CF_OK; i++) {
        cf_cudnn_plan *p = NULL;
        cf_err made = plan_make(c, s->g, s->pass, &list[i], s->narrow, &p);
        if (made == CF_E_DEVICE) {
            cf_log_debug("cuDNN engine %" PRId64 " left out: %s", list[i].engine, cf_err_text());
            continue;
        }
        err = made;
        if (p && p->workspace <= s->workspace)
            plans[(*n)++] = p;
        else
            cf_cudnn_plan_destroy(p);
    }
    free(list);
    return err;
}

cf_err cf_cudnn_candidates(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass, bool deterministic,
                           size_t workspace, int most, cf_cudnn_plan **plans, int *n)
{
    search s = {g, pass, deterministic, false, workspace, most};
    *n = 0;
    cf_err err = find_plans(c, &s, plans, n);
    /* No heuristic of cuDNN 9.19 names an engine that takes 16-bit inputs and gives fp32. */
    if (err == CF_OK && *n == 0 && pass == CF_CONV_WEIGHTS && g->dtype != CF_F32) {
        s.narrow = true;
        err = find_plans(c, &s, plans, n);
    }
    if (err == CF_OK) return CF_OK;
    while (*n > 0) cf_cudnn_plan_destroy(plans[--*n]);
    return err;
}

/* ---- text -------------------------------------------------------------------------------------
 */

void cf_cudnn_plan_text(const cf_cudnn_plan *p, char *text, size_t n)
{
    int at = snprintf(text, n, "engine %" PRId64 " knobs ", p->config.engine);
    for (int i = 0; i < p->config.n_knobs && at >= 0 && (size_t)at < n; i++)
        at += snprintf(text + at, n - (size_t)at, "%s%" PRId64 "=%" PRId64, i ? "," : "",
                       p->config.knobs[i].type, p->config.knobs[i].value);
    if (p->config.n_knobs == 0 && at >= 0 && (size_t)at < n)
        at += snprintf(text + at, n - (size_t)at, "none");
    if (p->narrow && at >= 0 && (size_t)at < n) snprintf(text + at, n - (size_t)at, " narrow");
}

static bool parse_number(const char **at, int64_t *value)
{
    char *end = NULL;
    const char *digit = *at + (**at == '-');
    if (*digit < '0' || *digit > '9') return false;
    *value = strtoll(*at, &end, 10);
    *at = end;
    return true;
}

static bool parse_word(const char **at, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0) return false;
    *at += n;
    return true;
}

static bool parse_config(const char *at, cf_cudnn_config *config, bool *narrow)
{
    memset(config, 0, sizeof *config);
    if (!parse_word(&at, "engine ") || !parse_number(&at, &config->engine)) return false;
    if (!parse_word(&at, " knobs ")) return false;
    if (!parse_word(&at, "none")) do {
            if (config->n_knobs == CF_CUDNN_MAX_KNOBS) return false;
            int i = config->n_knobs++;
            if (!parse_number(&at, &config->knobs[i].type) || !parse_word(&at, "=")) return false;
            if (!parse_number(&at, &config->knobs[i].value)) return false;
        } while (parse_word(&at, ","));
    *narrow = parse_word(&at, " narrow");
    return *at == '\0';
}

cf_err cf_cudnn_plan_of_text(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass, const char *text,
                             cf_cudnn_plan **out)
{
    cf_cudnn_config config;
    bool narrow = false;
    *out = NULL;
    if (!parse_config(text, &config, &narrow))
        return cf_fail(CF_E_DATA, "cuDNN plan '%s', expected 'engine E knobs T=V,T=V'", text);
    return cf_where(plan_make(c, g, pass, &config, narrow, out), "cuDNN plan '%s'", text);
}

/* ---- runs -------------------------------------------------------------------------------------
 */

/* x, w and y of the graph. The gradient of a narrow plan goes to the end of the workspace. */
static void bind(const cf_cudnn_plan *p, const cf_conv_call *call, const void *pointers[3])
{
    const char *behind = (const char *)call->workspace + (p->workspace - p->narrow_bytes);
    switch (p->pass) {
    case CF_CONV_FORWARD:
        pointers[0] = call->x.x;
        pointers[1] = call->weights;
        pointers[2] = call->y;
        return;
    case CF_CONV_DATA:
        pointers[0] = call->gin;
        pointers[1] = call->weights;
        pointers[2] = call->gy.g;
        return;
    case CF_CONV_WEIGHTS:
        pointers[0] = call->x.x;
        pointers[1] = p->narrow ? (const void *)behind : call->gradient;
        pointers[2] = call->gy.g;
        return;
    }
}

static cf_err execute(const cf_cudnn *c, const cf_cudnn_plan *p, const void *pointers[3],
                      void *workspace)
{
    static const int64_t IDS[3] = {CF_CUDNN_X, CF_CUDNN_W, CF_CUDNN_Y};
    cudnnBackendDescriptor_t pack = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_cudnn_new(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack), out);
    CF_TRY_GOTO(cf_cudnn_set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, IDS),
                out);
    CF_TRY_GOTO(
        cf_cudnn_set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers),
        out);
    CF_TRY_GOTO(
        cf_cudnn_set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace),
        out);
    CF_TRY_GOTO(cf_cudnn_finalize(pack, "variant pack"), out);
    CF_TRY_GOTO(
        cf_cudnn_check(cudnnBackendExecute(c->device.handle, p->plan, pack), "cudnnBackendExecute"),
        out);
out:
    cf_cudnn_free(&pack);
    return err;
}

/* Only what the pass would look at. */
static bool asks_to_fuse(const cf_conv_call *call)
{
    bool forward = call->pass == CF_CONV_FORWARD, data = call->pass == CF_CONV_DATA;
    if (!data && call->x.scale) return true;
    if (!forward && call->gy.a) return true;
    if (data && call->input_view.x) return true;
    return (forward || data) && call->partials;
}

cf_err cf_cudnn_run(cf_cudnn *c, const cf_cudnn_plan *p, const cf_conv_call *call)
{
    const void *pointers[3] = {NULL};
    char text[256];
    cudaStream_t stream = NULL;
    cf_cudnn_plan_text(p, text, sizeof text);
    if (!c->device.handle)
        return cf_fail(CF_E_DEVICE, "cuDNN %s is a plan for a device that is not here", text);
    if (call->pass != p->pass || asks_to_fuse(call))
        return cf_fail(CF_E_UNEXPECTED,
                       "cuDNN %s is of pass %d and cannot fuse, but is called for "
                       "pass %d%s",
                       text, (int)p->pass, (int)call->pass,
                       asks_to_fuse(call) ? " with views, norms or sums" : "");
    bind(p, call, pointers);
    CF_TRY(cf_where(execute(c, p, pointers, call->workspace), "%s", text));
    if (!p->narrow) return CF_OK;
    CF_TRY(cf_cudnn_check(cudnnGetStream(c->device.handle, &stream), "cudnnGetStream"));
    return cf_cuda_widen(stream, p->dtype, pointers[1], p->filter, call->gradient);
}
