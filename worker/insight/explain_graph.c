#include "worker/insight/explain_graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

/* The logit of a row without a node: its exponential is zero beside any. */
#define NOWHERE -1e4f

bool cf_explain_graph_is_layer(const cf_node *node)
{
    return node->op == CF_OP_CONV || node->op == CF_OP_MAXPOOL;
}

static int most_nodes(const cf_graph *g)
{
    int most = 0;
    for (int c = 0; c < g->n_classes; c++) {
        int n = 0;
        for (int o = 0; o < g->n_outputs; o++) n += g->class_of[o] == c;
        most = n > most ? n : most;
    }
    return most;
}

/* Two pools of one pixel behind *node. The second gives the first the whole gradient of its output
 * in one piece, and nobody writes over it: a pool has no gradient of its own beside it. */
static cf_err add_probe(cf_graph *g, const char *const names[2], int *node, int *kept)
{
    const cf_conv pixel = {.kernel = 1, .stride = 1, .pad = CF_PAD_VALID};
    CF_TRY(cf_graph_maxpool(g, names[0], *node, &pixel, kept));
    cf_graph_keep(g, *kept);
    return cf_graph_maxpool(g, names[1], *kept, &pixel, node);
}

/* A node of the trained graph in the new one, reading `in` and `residual` there. */
static cf_err copy_node(const cf_node *from, int in, int residual, cf_explain_graph *x, int *id)
{
    cf_conv conv = from->conv;
    switch (from->op) {
    case CF_OP_CONV:
        if (conv.norm == CF_NORM_BATCH) {
            conv.norm = CF_NORM_NONE;
            conv.bias = true;
        }
        return cf_graph_conv(x->graph, from->name, in, residual, &conv, id);
    case CF_OP_MAXPOOL:
        return cf_graph_maxpool(x->graph, from->name, in, &conv, id);
    case CF_OP_AVGPOOL:
        return cf_graph_avgpool(x->graph, from->name, in, id);
    default:
        return cf_fail(CF_E_USAGE, "node %s: no network with such a node is explained", from->name);
    }
}

static cf_err close_graph(const cf_node *dense, int in, cf_explain_graph *x)
{
    int *class_of = NULL;
    CF_TRY(cf_graph_dense(x->graph, dense->name, in, x->n_rows + 1, true, &x->logits));
    cf_graph_keep(x->graph, x->logits);
    CF_TRY(cf_new(&class_of, (size_t)x->n_rows + 1, sizeof *class_of));
    class_of[x->n_rows] = 1;
    cf_err err = cf_graph_loss(x->graph, x->logits, class_of, 2, 0.0f);
    free(class_of);
    return err;
}

/* map: node of the trained graph -> node here that its readers read. */
static cf_err build(const cf_graph *trained, const cf_explain_target *target, cf_explain_graph *x,
                    int *map)
{
    static const char *const image_probe[2] = {"explained.image", "explained.image.read"};
    static const char *const layer_probe[2] = {"explained.layer", "explained.layer.read"};
    int head = trained->nodes[trained->n_nodes - 1].in;
    cf_shape shape = trained->nodes[0].out_shape;
    shape.n = target->batch;
    CF_TRY(cf_graph_input(x->graph, shape, &map[0]));
    if (target->image) CF_TRY(add_probe(x->graph, image_probe, &map[0], &x->image));
    for (int i = 1; i < head; i++) {
        const cf_node *n = &trained->nodes[i];
        int residual = n->residual < 0 ? -1 : map[n->residual];
        CF_TRY(copy_node(n, map[n->in], residual, x, &map[i]));
        if (i == target->layer) CF_TRY(add_probe(x->graph, layer_probe, &map[i], &x->layer));
    }
    return close_graph(&trained->nodes[head], map[trained->nodes[head].in], x);
}

static cf_err check_target(const cf_graph *trained, const cf_explain_target *target)
{
    const cf_node *last = &trained->nodes[trained->n_nodes - 1];
    if (last->op != CF_OP_LOSS || trained->nodes[last->in].op != CF_OP_DENSE)
        return cf_fail(CF_E_USAGE, "explanation: the network does not end in a dense layer");
    if (target->layer < 0 && !target->image)
        return cf_fail(CF_E_USAGE, "explanation: neither a layer nor the image is asked for");
    if (target->layer >= last->in ||
        (target->layer >= 0 && !cf_explain_graph_is_layer(&trained->nodes[target->layer])))
        return cf_fail(CF_E_USAGE, "node %s: no convolution or max-pool",
                       trained->nodes[target->layer].name);
    return CF_OK;
}

cf_err cf_explain_graph_build(const cf_graph *trained, const cf_explain_target *target,
                              cf_explain_graph *x)
{
    int *map = NULL;
    *x = (cf_explain_graph){.image = -1, .layer = -1, .n_rows = most_nodes(trained)};
    CF_TRY(check_target(trained, target));
    CF_TRY(cf_new(&map, (size_t)trained->n_nodes, sizeof *map));
    cf_err err = cf_graph_create(&x->graph);
    if (err == CF_OK) err = build(trained, target, x, map);
    free(map);
    return err;
}

void cf_explain_graph_fini(cf_explain_graph *x)
{
    cf_graph_destroy(x->graph);
    *x = (cf_explain_graph){.image = -1, .layer = -1};
}

void cf_explain_graph_place(const cf_graph *trained, int node, double *start, double *step)
{
    const cf_node *n = &trained->nodes[node];
    *start = 0;
    *step = 1;
    if (n->op == CF_OP_INPUT) return;
    cf_explain_graph_place(trained, n->in, start, step); /* a residual lies where the input does */
    if (!cf_explain_graph_is_layer(n)) return;
    *start += *step * ((n->conv.kernel - 1) / 2.0 - n->pad_left);
    *step *= n->conv.stride;
}

/* ---- weights ----------------------------------------------------------------------------------
 */

static void copy_param(const cf_graph *from, int param, const float *weights, const cf_graph *to,
                       int target, float *folded)
{
    if (param < 0 || target < 0) return;
    memcpy(folded + to->params[target].offset, weights + from->params[param].offset,
           (size_t)to->params[target].count * sizeof *folded);
}

/* y = gamma (conv + bias - mean) / sqrt(var + eps) + beta */
static void fold_node(const cf_graph *t, const cf_node *n, const float *weights, const float *state,
                      const cf_graph *g, const cf_node *to, float *folded)
{
    const cf_param *filter = &t->params[n->weight];
    const float *w = weights + filter->offset, *gamma = weights + t->params[n->gamma].offset;
    const float *beta = weights + t->params[n->beta].offset;
    const float *mean = state + t->params[n->mean].offset;
    const float *var = state + t->params[n->var].offset;
    const float *bias = n->bias >= 0 ? weights + t->params[n->bias].offset : NULL;
    float *to_w = folded + g->params[to->weight].offset;
    float *to_bias = folded + g->params[to->bias].offset;
    int64_t row = filter->count / n->conv.k;
    for (int64_t k = 0; k < n->conv.k; k++) {
        double scale = (double)gamma[k] / sqrt((double)var[k] + (double)n->conv.norm_eps);
        double before = (bias != NULL ? (double)bias[k] : 0.0) - (double)mean[k];
        for (int64_t i = 0; i < row; i++)
            to_w[k * row + i] = (float)((double)w[k * row + i] * scale);
        to_bias[k] = (float)((double)beta[k] + before * scale);
    }
}

void cf_explain_graph_fold(const cf_graph *trained, const float *weights, const float *state,
                           const cf_explain_graph *x, float *folded)
{
    for (int i = 0; i < trained->n_nodes; i++) {
        const cf_node *n = &trained->nodes[i];
        if (n->op != CF_OP_CONV) continue;
        const cf_node *to = &x->graph->nodes[cf_graph_find(x->graph, n->name)];
        if (n->conv.norm == CF_NORM_BATCH) {
            fold_node(trained, n, weights, state, x->graph, to, folded);
            continue;
        }
        copy_param(trained, n->weight, weights, x->graph, to->weight, folded);
        copy_param(trained, n->bias, weights, x->graph, to->bias, folded);
        copy_param(trained, n->gamma, weights, x->graph, to->gamma, folded);
        copy_param(trained, n->beta, weights, x->graph, to->beta, folded);
    }
}

int cf_explain_graph_aim(const cf_graph *trained, const float *weights, int class, float constant,
                         const cf_explain_graph *x, float *folded)
{
    const cf_node *dense = &trained->nodes[trained->nodes[trained->n_nodes - 1].in];
    const cf_node *head = &x->graph->nodes[x->logits];
    const float *w = weights + trained->params[dense->weight].offset;
    const float *bias = dense->bias >= 0 ? weights + trained->params[dense->bias].offset : NULL;
    float *to_w = folded + x->graph->params[head->weight].offset;
    float *to_bias = folded + x->graph->params[head->bias].offset;
    int64_t features = trained->params[dense->weight].dim[1];
    int n = 0;
    memset(to_w, 0, (size_t)x->graph->params[head->weight].count * sizeof *to_w);
    for (int o = 0; o < trained->n_outputs; o++) {
        if (trained->class_of[o] != class) continue;
        memcpy(to_w + n * features, w + o * features, (size_t)features * sizeof *to_w);
        to_bias[n++] = bias != NULL ? bias[o] : 0.0f;
    }
    for (int row = n; row < x->n_rows; row++) to_bias[row] = NOWHERE;
    to_bias[x->n_rows] = constant;
    return n;
}
