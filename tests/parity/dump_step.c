/* One training step on given weights and images, with everything it computes written as raw
 * numbers: the other half of a comparison with another program. Not installed.
 *
 *   dump_step FOLDER params [key=value]...   writes params.txt: name kind offset dimensions, a line
 * a tensor dump_step FOLDER step RATE MOMENTUM DECAY [key=value]... reads   images.f32 [N,H,W,3],
 * labels.i32 [N], weights.f32 [n_weights], state.f32 [n_state] writes  logits.f32 [N,K] (batch
 * statistics), gradients.f32, loss.f32 [loss, share correct], new_weights.f32, new_state.f32,
 * inferred.f32 [N,K] (old weights, old running moments)
 *
 * key=value are configuration keys; train.micro_batch is N, model.outputs is K, run.device the
 * backend. Without logits.f32 the backend has not kept them.
 * Read first: run_step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "worker/models.h"

/* A network compiled for training and inference, with its flat buffers in backend memory. */
typedef struct step {
    const char *folder; /* borrowed */
    cf_config config;
    cf_graph *graph;                                   /* owned */
    const cf_backend_ops *ops;                         /* borrowed */
    cf_backend *backend;                               /* owned */
    cf_memory_plan plans[2];                           /* train, infer */
    cf_program *programs[2];                           /* owned; train, infer */
    float *images;                                     /* owned, [N,H,W,3] */
    int *labels;                                       /* owned, [N] */
    float *weights, *state, *moment1, *state_momentum; /* backend memory */
    uint8_t *decay;                                    /* backend memory, [n_weights] */
    void *sums; /* backend memory, int64 [cf_sums_count + 1] */
} step;

static int64_t batch_of(const step *s)
{
    return s->config.train_micro_batch;
}

static cf_err read_raw(const step *s, const char *name, int64_t count, void *out)
{
    char path[CF_PATH_MAX], *bytes = NULL;
    size_t n = 0, expected = (size_t)count * 4;
    CF_TRY(cf_path_join(path, sizeof path, s->folder, name));
    CF_TRY(cf_file_read(path, expected + 1, &bytes, &n));
    cf_err err = CF_OK;
    if (n != expected)
        err = cf_fail(CF_E_DATA, "%s: %zu bytes, expected %zu", path, n, expected);
    else
        memcpy(out, bytes, n);
    free(bytes);
    return err;
}

static cf_err write_raw(const step *s, const char *name, const void *data, int64_t count)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, s->folder, name));
    return cf_file_save(path, data, (size_t)count * 4);
}

static cf_err write_params(const step *s)
{
    static const char *const kinds[] = {"weight", "bias", "gamma", "beta", "mean", "var"};
    char path[CF_PATH_MAX];
    cf_buf text = {0};
    cf_err err = CF_OK;
    for (int i = 0; i < s->graph->n_params; i++) {
        const cf_param *p = &s->graph->params[i];
        cf_buf_printf(&text, "%s %s %lld", p->name, kinds[p->kind], (long long)p->offset);
        for (int d = 0; d < p->rank; d++) cf_buf_printf(&text, " %lld", (long long)p->dim[d]);
        cf_buf_printf(&text, "\n");
    }
    CF_TRY_GOTO(cf_buf_check(&text), out);
    CF_TRY_GOTO(cf_path_join(path, sizeof path, s->folder, "params.txt"), out);
    err = cf_file_save(path, text.data, text.len);
out:
    cf_buf_fini(&text);
    return err;
}

/* Gives a node's output memory of its own to the end of the step, so that it can be peeked at. */
static void keep_output(cf_memory_plan *plan, int node)
{
    cf_buffer *z = &plan->buffers[node][CF_SLOT_Z];
    z->offset = plan->arena_bytes;
    z->last = 2 * plan->n_nodes - 1;
    plan->arena_bytes += (z->bytes + 63) / 64 * 64;
}

static int logits_node(const step *s)
{
    return s->graph->nodes[s->graph->n_nodes - 1].in;
}

static cf_err compile(step *s, cf_mode mode)
{
    const cf_compile_options options = {
        .mode = mode, .dtype = CF_F32, .reduce = CF_REDUCE_EXACT, .deterministic = true};
    CF_TRY(cf_graph_plan(s->graph, mode, CF_F32, &s->plans[mode]));
    keep_output(&s->plans[mode], logits_node(s));
    return s->ops->compile(s->backend, s->graph, &s->plans[mode], &options, &s->programs[mode]);
}

/* A zeroed flat buffer; filled from `name` unless that is NULL. */
static cf_err flat(step *s, const char *name, int64_t count, float **out)
{
    float *host = NULL;
    void *memory = NULL;
    CF_TRY(s->ops->alloc(s->backend, (size_t)count * sizeof(float), &memory));
    *out = memory;
    if (name == NULL) return CF_OK;
    CF_TRY(cf_new(&host, (size_t)count, sizeof(float)));
    cf_err err = read_raw(s, name, count, host);
    if (err == CF_OK)
        err = s->ops->copy_in(s->backend, memory, host, (size_t)count * sizeof(float));
    free(host);
    return err;
}

static cf_err write_flat(const step *s, const char *name, const float *memory, int64_t count)
{
    float *host = NULL;
    CF_TRY(cf_new(&host, (size_t)count, sizeof(float)));
    cf_err err = s->ops->copy_out(s->backend, host, memory, (size_t)count * sizeof(float));
    if (err == CF_OK) err = write_raw(s, name, host, count);
    free(host);
    return err;
}

/* Weight decay for filters and dense weights only, the running momentum of each node's norm. */
static cf_err fill_tables(step *s)
{
    const cf_graph *g = s->graph;
    void *memory = NULL;
    uint8_t *decay = NULL;
    float *momentum = NULL;
    cf_err err;
    CF_TRY_GOTO(cf_new(&decay, (size_t)g->n_weights, 1), out);
    CF_TRY_GOTO(cf_new(&momentum, (size_t)g->n_state, sizeof(float)), out);
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        for (int64_t e = p->offset; e < p->offset + p->count; e++) {
            if (p->kind == CF_PARAM_WEIGHT) decay[e] = 1;
            if (p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR)
                momentum[e] = g->nodes[p->node].conv.norm_momentum;
        }
    }
    CF_TRY_GOTO(s->ops->alloc(s->backend, (size_t)g->n_weights, &memory), out);
    s->decay = memory;
    CF_TRY_GOTO(s->ops->copy_in(s->backend, memory, decay, (size_t)g->n_weights), out);
    CF_TRY_GOTO(flat(s, NULL, g->n_state, &s->state_momentum), out);
    err = s->ops->copy_in(s->backend, s->state_momentum, momentum,
                          (size_t)g->n_state * sizeof(float));
out:
    free(decay);
    free(momentum);
    return err;
}

static const char *const devices[] = {"auto", "cpu", "cuda"}; /* the words of run.device */

static cf_err prepare(step *s)
{
    const cf_graph *g = s->graph;
    const int64_t size = s->config.model_image_size, pixels = batch_of(s) * size * size * 3;
    CF_TRY(cf_backend_find(devices[s->config.run_device], &s->ops));
    CF_TRY(s->ops->open(-1, 0, &s->backend));
    CF_TRY(compile(s, CF_MODE_TRAIN));
    CF_TRY(compile(s, CF_MODE_INFER));
    CF_TRY(cf_new(&s->images, (size_t)pixels, sizeof(float)));
    CF_TRY(cf_new(&s->labels, (size_t)batch_of(s), sizeof(int)));
    CF_TRY(read_raw(s, "images.f32", pixels, s->images));
    CF_TRY(read_raw(s, "labels.i32", batch_of(s), s->labels));
    CF_TRY(flat(s, "weights.f32", g->n_weights, &s->weights));
    CF_TRY(flat(s, "state.f32", g->n_state, &s->state));
    CF_TRY(flat(s, NULL, g->n_weights, &s->moment1));
    CF_TRY(fill_tables(s));
    size_t bytes = ((size_t)cf_sums_count(g) + 1) * sizeof(int64_t);
    return s->ops->alloc(s->backend, bytes, &s->sums);
}

/* Gradients, loss and share correct out of the fixed-point sums. */
static cf_err write_sums(const step *s)
{
    const cf_graph *g = s->graph;
    const int64_t n = cf_sums_count(g);
    void *sums = NULL;
    float *values = NULL;
    cf_err err;
    CF_TRY_GOTO(cf_new(&sums, (size_t)n, sizeof(int64_t)), out);
    CF_TRY_GOTO(cf_new(&values, (size_t)n, sizeof *values), out);
    CF_TRY_GOTO(s->ops->copy_out(s->backend, sums, s->sums, (size_t)n * sizeof(int64_t)), out);
    for (int64_t i = 0; i < n; i++) values[i] = (float)cf_sums_value(g, sums, CF_REDUCE_EXACT, i);
    CF_TRY_GOTO(write_raw(s, "gradients.f32", values, g->n_weights), out);
    err = write_raw(s, "loss.f32", values + g->n_weights + g->n_state, 2);
out:
    free(sums);
    free(values);
    return err;
}

/* A backend with a plan of its own may have used their memory again: there is no file then. */
static cf_err write_logits(const step *s, float *logits, int64_t n)
{
    cf_err err = s->ops->peek(s->programs[CF_MODE_TRAIN], logits_node(s), CF_SLOT_Z, logits);
    if (err == CF_E_USAGE) return CF_OK;
    return err == CF_OK ? write_raw(s, "logits.f32", logits, n) : err;
}

static cf_err run_step(step *s, float rate, float momentum, float decay)
{
    const cf_graph *g = s->graph;
    const int64_t n_logits = batch_of(s) * g->n_outputs;
    float *logits = NULL;
    cf_err err;
    CF_TRY(prepare(s));
    CF_TRY(cf_new(&logits, (size_t)n_logits, sizeof(float)));
    const cf_batch batch = {.images = s->images, .labels = s->labels};
    cf_program *train = s->programs[CF_MODE_TRAIN], *infer = s->programs[CF_MODE_INFER];
    CF_TRY_GOTO(s->ops->set_weights(infer, s->weights, s->state), out);
    CF_TRY_GOTO(s->ops->infer(infer, &batch, logits), out);
    CF_TRY_GOTO(write_raw(s, "inferred.f32", logits, n_logits), out);

    CF_TRY_GOTO(s->ops->set_weights(train, s->weights, s->state), out);
    CF_TRY_GOTO(s->ops->train(train, &batch, s->sums), out);
    if (s->ops->fault != NULL) CF_TRY_GOTO(s->ops->fault(train), out);
    CF_TRY_GOTO(write_logits(s, logits, n_logits), out);
    CF_TRY_GOTO(write_sums(s), out);

    const cf_update update = {.kind = CF_OPT_SGD,
                              .n_weights = g->n_weights,
                              .n_state = g->n_state,
                              .weights = s->weights,
                              .state = s->state,
                              .moment1 = s->moment1,
                              .sums = s->sums,
                              .reduce = CF_REDUCE_EXACT,
                              .n_micro = 1,
                              .decay = s->decay,
                              .state_momentum = s->state_momentum,
                              .learning_rate = rate,
                              .weight_decay = decay,
                              .beta1 = momentum,
                              .step = 1};
    CF_TRY_GOTO(s->ops->update(s->backend, &update), out);
    CF_TRY_GOTO(write_flat(s, "new_weights.f32", s->weights, g->n_weights), out);
    err = write_flat(s, "new_state.f32", s->state, g->n_state);
out:
    free(logits);
    return err;
}

static void release(step *s)
{
    if (s->backend != NULL) {
        void *const blocks[] = {s->weights,        s->state, s->moment1,
                                s->state_momentum, s->decay, s->sums};
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
            if (blocks[i] != NULL) s->ops->free(s->backend, blocks[i]);
        for (int m = 0; m < 2; m++) s->ops->release(s->programs[m]);
        s->ops->close(s->backend);
    }
    for (int m = 0; m < 2; m++) cf_memory_plan_fini(&s->plans[m]);
    cf_graph_destroy(s->graph);
    free(s->images);
    free(s->labels);
}

static cf_err run(step *s, int argc, char **argv)
{
    const bool stepping = argc >= 6 && strcmp(argv[2], "step") == 0;
    if (!stepping && (argc < 3 || strcmp(argv[2], "params") != 0))
        return cf_fail(CF_E_USAGE,
                       "usage: dump_step FOLDER params|step RATE MOMENTUM DECAY [key=value]...");
    s->folder = argv[1];
    cf_config_defaults(&s->config);
    for (int i = stepping ? 6 : 3; i < argc; i++) CF_TRY(cf_config_set(&s->config, argv[i]));
    CF_TRY(cf_model_build(&s->config, NULL, batch_of(s), &s->graph));
    if (!stepping) return write_params(s);
    return run_step(s, strtof(argv[3], NULL), strtof(argv[4], NULL), strtof(argv[5], NULL));
}

int main(int argc, char **argv)
{
    step s = {0};
    cf_err err = run(&s, argc, argv);
    if (err != CF_OK) fprintf(stderr, "dump_step: %s\n", cf_err_text());
    release(&s);
    return (int)err;
}
