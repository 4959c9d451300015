#include "worker/insight/explainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

/* How far above the scores the constant output stands: near enough that none of their exponentials
 * beside it underflows in fp32 (e^-87), far enough that it leaves them next to no probability. */
enum { START = 40, ABOVE = 17, TOO_NEAR = 8, TOO_FAR = 60 };

struct cf_explainer {
    const cf_backend_ops *ops; /* borrowed */
    cf_backend *backend;       /* borrowed */
    const cf_graph *trained;   /* borrowed */
    cf_explain_target target;
    cf_explain_graph x;
    cf_memory_plan plan;
    cf_program *program;
    float *network; /* owned, [trained->n_weights] as given: the head is taken from it */
    float *folded;  /* owned, [x.graph->n_weights] */
    float *weights; /* owned, backend memory: the same */
    void *sums;     /* owned, backend memory */
    size_t sums_bytes;
    int *labels; /* owned, [batch] zeros: the class aimed at */
    float *logits, *image_gradient, *layer_output, *layer_gradient; /* owned; NULL: not wanted */
    double *scores, *factors;                                       /* owned, [batch] */
    bool *placed, *taken; /* owned, [batch]: in this pass; in an earlier one, or in this */
    int class;            /* aimed at; -1: none */
    int n_nodes;          /* of that class */
    double constant;
};

/* ---- setting up -------------------------------------------------------------------------------
 */

cf_err cf_explainer_fit(const cf_graph *trained, const cf_explain_target *target, size_t bytes,
                        int *batch)
{
    cf_explain_graph x;
    cf_memory_plan plan = {0};
    cf_explain_target one = *target;
    one.batch = 1;
    cf_err err = cf_explain_graph_build(trained, &one, &x);
    if (err == CF_OK) err = cf_graph_plan(x.graph, CF_MODE_TRAIN, CF_F32, &plan);
    size_t fitting = err == CF_OK ? bytes / plan.arena_bytes : 0;
    *batch = fitting < 1 ? 1 : fitting < (size_t)target->batch ? (int)fitting : target->batch;
    cf_memory_plan_fini(&plan);
    cf_explain_graph_fini(&x);
    return err;
}

static cf_err compile(cf_explainer *e, const char *engines)
{
    cf_compile_options o = {.mode = CF_MODE_TRAIN,
                            .dtype = CF_F32,
                            .reduce = CF_REDUCE_FAST,
                            .deterministic = true,
                            .frozen = true,
                            .engines = engines};
    CF_TRY(cf_graph_plan(e->x.graph, o.mode, o.dtype, &e->plan));
    return e->ops->compile(e->backend, e->x.graph, &e->plan, &o, &e->program);
}

static cf_err allocate_outputs(cf_explainer *e)
{
    const cf_node *nodes = e->x.graph->nodes;
    size_t n = (size_t)e->target.batch;
    CF_TRY(cf_new(&e->labels, n, sizeof *e->labels));
    CF_TRY(cf_new(&e->scores, n, sizeof *e->scores));
    CF_TRY(cf_new(&e->factors, n, sizeof *e->factors));
    CF_TRY(cf_new(&e->placed, n, sizeof *e->placed));
    CF_TRY(cf_new(&e->taken, n, sizeof *e->taken));
    CF_TRY(cf_new(&e->logits, n * (size_t)(e->x.n_rows + 1), sizeof *e->logits));
    if (e->x.image >= 0) {
        size_t elements = (size_t)cf_shape_elements(nodes[e->x.image].out_shape);
        CF_TRY(cf_new_aligned(&e->image_gradient, elements, sizeof(float)));
    }
    if (e->x.layer < 0) return CF_OK;
    size_t elements = (size_t)cf_shape_elements(nodes[e->x.layer].out_shape);
    CF_TRY(cf_new_aligned(&e->layer_output, elements, sizeof(float)));
    return cf_new_aligned(&e->layer_gradient, elements, sizeof(float));
}

static cf_err allocate(cf_explainer *e)
{
    const cf_graph *g = e->x.graph;
    void *memory = NULL;
    size_t bytes = (size_t)g->n_weights * sizeof(float);
    CF_TRY(cf_new(&e->network, (size_t)e->trained->n_weights, sizeof *e->network));
    CF_TRY(cf_new(&e->folded, (size_t)g->n_weights, sizeof *e->folded));
    CF_TRY(e->ops->alloc(e->backend, bytes, &memory));
    e->weights = memory;
    e->sums_bytes = ((size_t)cf_sums_count(g) + 1) * sizeof(float);
    CF_TRY(e->ops->alloc(e->backend, e->sums_bytes, &e->sums));
    return allocate_outputs(e);
}

cf_err cf_explainer_create(const cf_backend_ops *ops, cf_backend *backend, const cf_graph *trained,
                           const cf_explain_target *target, const char *engines, cf_explainer **out)
{
    cf_explainer *e = NULL;
    *out = NULL;
    CF_TRY(cf_new(&e, 1, sizeof *e));
    *e = (cf_explainer){
        .ops = ops, .backend = backend, .trained = trained, .target = *target, .class = -1};
    cf_err err = cf_explain_graph_build(trained, target, &e->x);
    if (err == CF_OK) err = compile(e, engines);
    if (err == CF_OK) err = allocate(e);
    if (err == CF_OK)
        *out = e;
    else
        cf_explainer_destroy(e);
    return err;
}

void cf_explainer_destroy(cf_explainer *e)
{
    if (e == NULL) return;
    e->ops->release(e->program);
    if (e->weights != NULL) e->ops->free(e->backend, e->weights);
    if (e->sums != NULL) e->ops->free(e->backend, e->sums);
    cf_memory_plan_fini(&e->plan);
    cf_explain_graph_fini(&e->x);
    free(e->network);
    free(e->folded);
    free(e->labels);
    free(e->scores);
    free(e->factors);
    free(e->placed);
    free(e->taken);
    free(e->logits);
    free(e->image_gradient);
    free(e->layer_output);
    free(e->layer_gradient);
    free(e);
}

cf_err cf_explainer_set_network(cf_explainer *e, const float *weights, const float *state)
{
    memcpy(e->network, weights, (size_t)e->trained->n_weights * sizeof *weights);
    cf_explain_graph_fold(e->trained, weights, state, &e->x, e->folded);
    e->class = -1;
    return CF_OK;
}

/* ---- one pass ---------------------------------------------------------------------------------
 */

static cf_err aim(cf_explainer *e, int class, double constant)
{
    if (e->class == class && e->constant == constant) return CF_OK;
    size_t bytes = (size_t)e->x.graph->n_weights * sizeof(float);
    e->class = -1;
    e->n_nodes =
        cf_explain_graph_aim(e->trained, e->network, class, (float)constant, &e->x, e->folded);
    CF_TRY(e->ops->copy_in(e->backend, e->weights, e->folded, bytes));
    CF_TRY(e->ops->set_weights(e->program, e->weights, e->weights)); /* there is no state */
    e->class = class;
    e->constant = constant;
    return CF_OK;
}

/* Logits into scores, and into what a gradient of the loss is to be multiplied by. */
static void take_scores(cf_explainer *e)
{
    int n = e->target.batch, row = e->x.n_rows + 1;
    for (int i = 0; i < n; i++) {
        const float *z = e->logits + (int64_t)i * row;
        double peak = (double)z[0], sum = 0;
        for (int o = 1; o < e->n_nodes; o++) peak = fmax(peak, (double)z[o]);
        for (int o = 0; o < e->n_nodes; o++) sum += exp((double)z[o] - peak);
        double score = peak + log(fmax(sum, 1)); /* the largest alone adds 1 */
        e->scores[i] = score;
        e->factors[i] = -(double)n * (1 + exp(score - e->constant)); /* -n / (1 - P) */
    }
}

static cf_err pass(cf_explainer *e, int class, double constant, const float *images)
{
    cf_batch batch = {.images = images, .labels = e->labels};
    CF_TRY(aim(e, class, constant));
    CF_TRY(e->ops->zero(e->backend, e->sums, e->sums_bytes));
    CF_TRY(e->ops->train(e->program, &batch, e->sums));
    CF_TRY(e->ops->sync(e->backend));
    CF_TRY(e->ops->peek(e->program, e->x.logits, CF_SLOT_Z, e->logits));
    take_scores(e);
    return CF_OK;
}

static bool is_well_placed(const cf_explainer *e, double score)
{
    if (score > e->constant - TOO_NEAR) return false;
    return e->n_nodes == 1 || score > e->constant - TOO_FAR; /* shares of one node are 1 */
}

/* Which images still to be taken this pass's constant suits; returns how many it does not. */
static int place(cf_explainer *e)
{
    int n_left = 0;
    for (int i = 0; i < e->target.batch; i++) {
        e->placed[i] = !e->taken[i] && is_well_placed(e, e->scores[i]);
        n_left += !e->taken[i] && !e->placed[i];
    }
    return n_left;
}

/* The highest score of those that no pass has suited. CF_E_NUMERIC where one is not finite. */
static cf_err highest_left(const cf_explainer *e, double *highest)
{
    *highest = -(double)INFINITY;
    for (int i = 0; i < e->target.batch; i++) {
        if (e->taken[i]) continue;
        if (!isfinite(e->scores[i]))
            return cf_fail(CF_E_NUMERIC, "the score of class %d is not finite", e->class);
        *highest = fmax(*highest, e->scores[i]);
    }
    return CF_OK;
}

/* Gradients of the loss of node's output into those of the score, of the images that are placed.
 * peeked: as large as values, and the same where all are. */
static cf_err take_gradient(cf_explainer *e, int node, float *peeked, float *values)
{
    const cf_shape *s = &e->x.graph->nodes[node].out_shape;
    int64_t image = s->h * s->w * s->c;
    CF_TRY(e->ops->peek(e->program, node, CF_SLOT_GIN, peeked));
    for (int64_t i = 0; i < s->n * image; i++) {
        if (!e->placed[i / image]) continue;
        values[i] = (float)((double)peeked[i] * e->factors[i / image]);
        if (!isfinite(values[i]))
            return cf_fail(CF_E_NUMERIC, "the gradient of class %d by %s is not finite", e->class,
                           node == e->x.image ? "the image" : "the layer");
    }
    return CF_OK;
}

/* Of the images that are placed, beside what others have in the results already. */
static cf_err take_gradients(cf_explainer *e, int n_placed)
{
    const cf_node *nodes = e->x.graph->nodes;
    int64_t image = e->x.image < 0 ? 0 : cf_shape_elements(nodes[e->x.image].out_shape);
    int64_t layer = e->x.layer < 0 ? 0 : cf_shape_elements(nodes[e->x.layer].out_shape);
    float *own = NULL;
    cf_err err = CF_OK;
    if (n_placed < e->target.batch)
        CF_TRY(cf_new_aligned(&own, (size_t)(image > layer ? image : layer), sizeof *own));
    float *by_image = own ? own : e->image_gradient, *by_layer = own ? own : e->layer_gradient;
    if (image > 0) CF_TRY_GOTO(take_gradient(e, e->x.image, by_image, e->image_gradient), out);
    if (layer > 0) CF_TRY_GOTO(take_gradient(e, e->x.layer, by_layer, e->layer_gradient), out);
    for (int i = 0; i < e->target.batch; i++) e->taken[i] |= e->placed[i];
out:
    free(own);
    return err;
}

/* The constant starts where it does for nearly all networks, so that the result does not depend on
 * what was asked before; else it stands above the highest score. Of a class of several nodes that
 * may be too far above the lowest ones: these have passes of their own, of all images again, since
 * an image's gradients do not depend on those beside it. */
static cf_err run_passes(cf_explainer *e, int class, const float *images)
{
    int n = e->target.batch, n_left = n;
    memset(e->taken, 0, (size_t)n * sizeof *e->taken);
    CF_TRY(pass(e, class, START, images));
    if (place(e) == 0) return take_gradients(e, n);
    while (n_left > 0) {
        double highest = 0;
        CF_TRY(highest_left(e, &highest));
        CF_TRY(pass(e, class, (double)(float)(highest + ABOVE), images));
        int n_before = n_left;
        n_left = place(e);
        if (n_left == n_before)
            return cf_fail(CF_E_NUMERIC, "a score of class %d is %g: no constant stands above it",
                           class, highest);
        CF_TRY(take_gradients(e, n_before - n_left));
    }
    return CF_OK;
}

cf_err cf_explainer_run(cf_explainer *e, int class, const float *images,
                        cf_explainer_result *result)
{
    if (class < 0 || class >= e->trained->n_classes)
        return cf_fail(CF_E_USAGE, "class %d of %d", class, e->trained->n_classes);
    CF_TRY(run_passes(e, class, images));
    *result = (cf_explainer_result){.image_gradient = e->image_gradient,
                                    .layer_output = e->layer_output,
                                    .layer_gradient = e->layer_gradient,
                                    .scores = e->scores};
    if (e->x.layer < 0) return CF_OK;
    result->layer_shape = e->x.graph->nodes[e->x.layer].out_shape;
    return e->ops->peek(e->program, e->x.layer, CF_SLOT_Z, e->layer_output);
}
