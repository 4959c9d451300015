#include "kernels/graph/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/graph/shape.h"

cf_err cf_graph_create(cf_graph **out)
{
    return cf_new(out, 1, sizeof **out);
}

void cf_graph_destroy(cf_graph *graph)
{
    if (!graph) return;
    free(graph->nodes);
    free(graph->params);
    free(graph->class_of);
    free(graph);
}

void cf_graph_keep(cf_graph *g, int node)
{
    g->nodes[node].kept = true;
}

int cf_graph_first_kept(const cf_graph *g)
{
    int i = 0;
    while (i < g->n_nodes && !g->nodes[i].kept) i++;
    return i < g->n_nodes ? i : 0;
}

int cf_graph_find(const cf_graph *g, const char *name)
{
    for (int i = 0; i < g->n_nodes; i++) {
        if (strcmp(g->nodes[i].name, name) == 0) return i;
    }
    return -1;
}

int64_t cf_graph_macs(const cf_graph *g)
{
    int64_t sum = 0;
    for (int i = 0; i < g->n_nodes; i++) sum += g->nodes[i].macs;
    return sum;
}

/* ---- nodes ------------------------------------------------------------------------------------
 */

static bool is_closed(const cf_graph *g)
{
    return g->n_nodes > 0 && g->nodes[g->n_nodes - 1].op == CF_OP_LOSS;
}

/* A new node at the end, not yet counted in n_nodes: a failure later leaves the graph as it was. */
static cf_err begin_node(cf_graph *g, cf_op op, const char *name, cf_node **out)
{
    if (is_closed(g)) return cf_fail(CF_E_USAGE, "node %s: the graph is closed by its loss", name);
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof g->nodes->name) {
        return cf_fail(CF_E_USAGE, "node name of %zu bytes (expected 1 to %zu): %.60s", length,
                       sizeof g->nodes->name - 1, name);
    }
    if (cf_graph_find(g, name) >= 0) return cf_fail(CF_E_USAGE, "node %s: name used twice", name);
    if (g->n_nodes == g->node_reserved) {
        int wanted = g->node_reserved ? 2 * g->node_reserved : 32;
        CF_TRY(cf_resize(&g->nodes, (size_t)wanted, sizeof *g->nodes));
        g->node_reserved = wanted;
    }
    cf_node *node = &g->nodes[g->n_nodes];
    *node = (cf_node){.op = op,
                      .in = -1,
                      .residual = -1,
                      .weight = -1,
                      .bias = -1,
                      .gamma = -1,
                      .beta = -1,
                      .mean = -1,
                      .var = -1};
    memcpy(node->name, name, length + 1);
    *out = node;
    return CF_OK;
}

static cf_err check_source(const cf_graph *g, const cf_node *node, int source)
{
    if (source < 0 || source >= g->n_nodes) {
        return cf_fail(CF_E_USAGE, "node %s: reads node %d of %d", node->name, source, g->n_nodes);
    }
    if (g->nodes[source].n_uses == CF_GRAPH_MAX_USES) {
        return cf_fail(CF_E_USAGE, "node %s: %s is read by %d nodes already", node->name,
                       g->nodes[source].name, CF_GRAPH_MAX_USES);
    }
    return CF_OK;
}

static cf_err set_input(const cf_graph *g, cf_node *node, int in)
{
    CF_TRY(check_source(g, node, in));
    node->in = in;
    node->in_shape = g->nodes[in].out_shape;
    return CF_OK;
}

/* Counts the node and tells its sources who reads them. */
static void finish_node(cf_graph *g, const cf_node *node, int *id)
{
    int index = g->n_nodes++;
    int sources[2] = {node->in, node->residual};
    for (int i = 0; i < 2; i++) {
        if (sources[i] < 0) continue;
        cf_node *source = &g->nodes[sources[i]];
        source->uses[source->n_uses++] = index;
    }
    *id = index;
}

/* ---- parameters -------------------------------------------------------------------------------
 */

static bool is_state(cf_param_kind kind)
{
    return kind == CF_PARAM_MEAN || kind == CF_PARAM_VAR;
}

/* Room for the six parameters a node can have, so that adding them cannot fail half-way. */
static cf_err reserve_params(cf_graph *g)
{
    enum { MOST = 6 };
    if (g->n_params + MOST <= g->param_reserved) return CF_OK;
    int wanted = g->param_reserved ? 2 * g->param_reserved : 64;
    CF_TRY(cf_resize(&g->params, (size_t)wanted, sizeof *g->params));
    g->param_reserved = wanted;
    return CF_OK;
}

static int add_param(cf_graph *g, const cf_node *node, cf_param_kind kind, int rank,
                     const int64_t *dim)
{
    static const char *const suffixes[] = {"weight", "bias", "gamma", "beta", "mean", "var"};
    cf_param *p = &g->params[g->n_params];
    *p = (cf_param){.kind = kind, .rank = rank, .count = 1, .node = g->n_nodes};
    size_t n = strlen(node->name);
    memcpy(p->name, node->name, n); /* 47 bytes and a suffix of at most 7 fit into 64 */
    p->name[n] = '.';
    strcpy(p->name + n + 1, suffixes[kind]);
    for (int i = 0; i < rank; i++) {
        p->dim[i] = dim[i];
        p->count *= dim[i];
    }
    int64_t *total = is_state(kind) ? &g->n_state : &g->n_weights;
    p->offset = *total;
    *total += p->count;
    return g->n_params++;
}

static void add_conv_params(cf_graph *g, cf_node *node)
{
    const cf_conv *c = &node->conv;
    int64_t area = (int64_t)c->kernel * c->kernel, per_group = node->in_shape.c / c->groups;
    int64_t filter[4] = {c->k, c->kernel, c->kernel, per_group};
    node->weight = add_param(g, node, CF_PARAM_WEIGHT, 4, filter);
    g->params[node->weight].fan_in = per_group * area;
    g->params[node->weight].fan_out = c->k / c->groups * area;
    if (c->bias) node->bias = add_param(g, node, CF_PARAM_BIAS, 1, &c->k);
    if (c->norm == CF_NORM_NONE) return;
    node->gamma = add_param(g, node, CF_PARAM_GAMMA, 1, &c->k);
    node->beta = add_param(g, node, CF_PARAM_BETA, 1, &c->k);
    if (c->norm == CF_NORM_GROUP) return; /* its statistics are each image's own */
    node->mean = add_param(g, node, CF_PARAM_MEAN, 1, &c->k);
    node->var = add_param(g, node, CF_PARAM_VAR, 1, &c->k);
}

/* ---- builder ----------------------------------------------------------------------------------
 */

cf_err cf_graph_input(cf_graph *g, cf_shape shape, int *id)
{
    cf_node *node = NULL;
    if (g->n_nodes > 0) return cf_fail(CF_E_USAGE, "node input: must be the first, and only one");
    CF_TRY(begin_node(g, CF_OP_INPUT, "input", &node));
    node->in_shape = node->out_shape = shape;
    CF_TRY(cf_shape_check(node->name, shape));
    finish_node(g, node, id);
    return CF_OK;
}

static cf_err check_conv(const cf_node *node)
{
    const cf_conv *c = &node->conv;
    int64_t channels = node->in_shape.c;
    if (c->groups < 1 || c->k < 1) {
        return cf_fail(CF_E_USAGE, "node %s: %lld output channels in %d groups", node->name,
                       (long long)c->k, c->groups);
    }
    if (channels % c->groups != 0 || c->k % c->groups != 0) {
        return cf_fail(CF_E_USAGE,
                       "node %s: %lld input and %lld output channels, not divisible by %d "
                       "groups",
                       node->name, (long long)channels, (long long)c->k, c->groups);
    }
    if (c->norm == CF_NORM_GROUP && (c->norm_groups < 1 || c->k % c->norm_groups != 0)) {
        return cf_fail(CF_E_USAGE, "node %s: %lld channels, not divisible by %d norm groups",
                       node->name, (long long)c->k, c->norm_groups);
    }
    bool sound = c->norm_eps > 0.0f && c->norm_momentum >= 0.0f && c->norm_momentum <= 1.0f;
    if (c->norm != CF_NORM_NONE && !sound) {
        return cf_fail(CF_E_USAGE, "node %s: norm with eps %g and momentum %g", node->name,
                       (double)c->norm_eps, (double)c->norm_momentum);
    }
    if (c->act == CF_ACT_LEAKY && !(c->slope > 0.0f && c->slope <= 1.0f)) {
        return cf_fail(CF_E_USAGE, "node %s: slope %g, expected 0 < slope <= 1", node->name,
                       (double)c->slope);
    }
    return CF_OK;
}

static cf_err set_residual(const cf_graph *g, cf_node *node, int residual)
{
    if (residual == -1) return CF_OK;
    CF_TRY(check_source(g, node, residual));
    if (residual == node->in) {
        return cf_fail(CF_E_USAGE, "node %s: input and residual are the same node", node->name);
    }
    cf_shape have = g->nodes[residual].out_shape, want = node->out_shape;
    if (have.n != want.n || have.h != want.h || have.w != want.w || have.c != want.c) {
        return cf_fail(CF_E_USAGE,
                       "node %s: residual %s is %lldx%lldx%lld, expected %lldx%lldx%lld",
                       node->name, g->nodes[residual].name, (long long)have.h, (long long)have.w,
                       (long long)have.c, (long long)want.h, (long long)want.w, (long long)want.c);
    }
    node->residual = residual;
    return CF_OK;
}

cf_err cf_graph_conv(cf_graph *g, const char *name, int in, int residual, const cf_conv *conv,
                     int *id)
{
    cf_node *node = NULL;
    CF_TRY(begin_node(g, CF_OP_CONV, name, &node));
    CF_TRY(set_input(g, node, in));
    node->conv = *conv;
    CF_TRY(check_conv(node));
    CF_TRY(cf_shape_window(node, conv->k));
    CF_TRY(set_residual(g, node, residual));
    CF_TRY(reserve_params(g));
    add_conv_params(g, node);
    cf_shape out = node->out_shape;
    node->macs = out.h * out.w * conv->k * g->params[node->weight].fan_in;
    finish_node(g, node, id);
    return CF_OK;
}

cf_err cf_graph_maxpool(cf_graph *g, const char *name, int in, const cf_conv *window, int *id)
{
    cf_node *node = NULL;
    CF_TRY(begin_node(g, CF_OP_MAXPOOL, name, &node));
    CF_TRY(set_input(g, node, in));
    node->conv.kernel = window->kernel;
    node->conv.stride = window->stride;
    node->conv.pad = window->pad;
    CF_TRY(cf_shape_window(node, node->in_shape.c));
    finish_node(g, node, id);
    return CF_OK;
}

cf_err cf_graph_avgpool(cf_graph *g, const char *name, int in, int *id)
{
    cf_node *node = NULL;
    CF_TRY(begin_node(g, CF_OP_AVGPOOL, name, &node));
    CF_TRY(set_input(g, node, in));
    node->out_shape = (cf_shape){node->in_shape.n, 1, 1, node->in_shape.c};
    finish_node(g, node, id);
    return CF_OK;
}

cf_err cf_graph_dense(cf_graph *g, const char *name, int in, int64_t k, bool bias, int *id)
{
    cf_node *node = NULL;
    CF_TRY(begin_node(g, CF_OP_DENSE, name, &node));
    CF_TRY(set_input(g, node, in));
    node->conv.k = k;
    node->conv.bias = bias;
    node->out_shape = (cf_shape){node->in_shape.n, 1, 1, k};
    CF_TRY(cf_shape_check(name, node->out_shape));
    int64_t c = node->in_shape.h * node->in_shape.w * node->in_shape.c;
    CF_TRY(cf_shape_check_product(name, k, c));
    CF_TRY(reserve_params(g));
    int64_t dim[2] = {k, c};
    node->weight = add_param(g, node, CF_PARAM_WEIGHT, 2, dim);
    g->params[node->weight].fan_in = c;
    g->params[node->weight].fan_out = k;
    if (bias) node->bias = add_param(g, node, CF_PARAM_BIAS, 1, &k);
    node->macs = c * k;
    finish_node(g, node, id);
    return CF_OK;
}

/* ---- loss -------------------------------------------------------------------------------------
 */

static cf_err check_classes(const int *class_of, int64_t n_outputs, int n_classes)
{
    if (n_classes < 1 || n_classes > n_outputs) {
        return cf_fail(CF_E_USAGE, "node loss: %d classes over %lld output nodes", n_classes,
                       (long long)n_outputs);
    }
    for (int64_t o = 0; o < n_outputs; o++) {
        if (class_of[o] >= 0 && class_of[o] < n_classes) continue;
        return cf_fail(CF_E_USAGE, "node loss: output node %lld is of class %d, expected 0 to %d",
                       (long long)o, class_of[o], n_classes - 1);
    }
    for (int c = 0; c < n_classes; c++) {
        int64_t o = 0;
        while (o < n_outputs && class_of[o] != c) o++;
        if (o == n_outputs) return cf_fail(CF_E_USAGE, "node loss: class %d has no output node", c);
    }
    return CF_OK;
}

cf_err cf_graph_loss(cf_graph *g, int in, const int *class_of, int n_classes, float smoothing)
{
    cf_node *node = NULL;
    int id = 0;
    CF_TRY(begin_node(g, CF_OP_LOSS, "loss", &node));
    CF_TRY(set_input(g, node, in));
    cf_shape s = node->in_shape;
    if (s.h != 1 || s.w != 1 || s.c > INT32_MAX) {
        return cf_fail(CF_E_USAGE, "node loss: reads %lldx%lldx%lld, expected 1x1xoutputs",
                       (long long)s.h, (long long)s.w, (long long)s.c);
    }
    if (!(smoothing >= 0.0f && smoothing < 1.0f)) {
        return cf_fail(CF_E_USAGE, "node loss: label smoothing %g, expected 0 <= s < 1",
                       (double)smoothing);
    }
    CF_TRY(check_classes(class_of, s.c, n_classes));
    for (int i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].n_uses > 0 || i == in) continue;
        return cf_fail(CF_E_USAGE, "node %s: nothing reads its output", g->nodes[i].name);
    }
    CF_TRY(cf_new(&g->class_of, (size_t)s.c, sizeof *g->class_of));
    memcpy(g->class_of, class_of, (size_t)s.c * sizeof *class_of);
    g->n_outputs = (int)s.c;
    g->n_classes = n_classes;
    g->label_smoothing = smoothing;
    node->out_shape = s;
    finish_node(g, node, &id);
    return CF_OK;
}
