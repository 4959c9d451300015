/* The text dump of a graph: the same on every backend and machine, so that tests can keep it. */
#include <inttypes.h>

#include "kernels/graph/graph.h"

static const char *const op_names[] = {"input", "conv", "maxpool", "avgpool", "dense", "loss"};
static const char *const pad_names[] = {"symmetric", "same", "valid"};
static const char *const slot_names[] = {"y", "z", "gy", "gin", "gres"};

static void dump_shape(cf_shape s, cf_buf *out)
{
    cf_buf_printf(out, "%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64, s.n, s.h, s.w, s.c);
}

static void dump_window(const cf_node *node, cf_buf *out)
{
    const cf_conv *c = &node->conv;
    cf_buf_printf(out, " %dx%d/%d %s %d,%d,%d,%d", c->kernel, c->kernel, c->stride,
                  pad_names[c->pad], node->pad_top, node->pad_left, node->pad_bottom,
                  node->pad_right);
}

static void dump_conv(const cf_graph *g, const cf_node *node, cf_buf *out)
{
    const cf_conv *c = &node->conv;
    dump_window(node, out);
    if (c->groups > 1) cf_buf_printf(out, " groups %d", c->groups);
    if (c->bias) cf_buf_printf(out, " bias");
    if (c->norm == CF_NORM_BATCH) {
        cf_buf_printf(out, " batchnorm eps %g momentum %g", (double)c->norm_eps,
                      (double)c->norm_momentum);
    } else if (c->norm == CF_NORM_GROUP) {
        cf_buf_printf(out, " groupnorm %d eps %g", c->norm_groups, (double)c->norm_eps);
    }
    if (node->residual >= 0) cf_buf_printf(out, " + %s", g->nodes[node->residual].name);
    if (c->act == CF_ACT_RELU) cf_buf_printf(out, " relu");
    if (c->act == CF_ACT_LEAKY) cf_buf_printf(out, " leaky %g", (double)c->slope);
}

static void dump_param(const cf_graph *g, int index, cf_buf *out)
{
    if (index < 0) return;
    const cf_param *p = &g->params[index];
    cf_buf_printf(out, "    %s", p->name);
    for (int i = 0; i < p->rank; i++) cf_buf_printf(out, "%s%" PRId64, i ? "x" : " ", p->dim[i]);
    bool state = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
    cf_buf_printf(out, " at %s %" PRId64 "\n", state ? "state" : "weights", p->offset);
}

static void dump_buffers(const cf_graph *g, const cf_memory_plan *plan, int node, cf_buf *out)
{
    for (int s = 0; s < CF_N_SLOTS; s++) {
        const cf_buffer *b = &plan->buffers[node][s];
        if (b->bytes == 0) continue;
        cf_buf_printf(out, "    [%s] %zu bytes at %zu, steps %d-%d", slot_names[s], b->bytes,
                      b->offset, b->first, b->last);
        if (b->alias_node >= 0) {
            cf_buf_printf(out, ", in place of [%s] of %s", slot_names[b->alias_slot],
                          g->nodes[b->alias_node].name);
        }
        cf_buf_printf(out, "\n");
    }
}

static void dump_node(const cf_graph *g, int i, cf_buf *out)
{
    const cf_node *node = &g->nodes[i];
    cf_buf_printf(out, "%d %s: %s", i, node->name, op_names[node->op]);
    if (node->in >= 0) {
        cf_buf_printf(out, " of %s ", g->nodes[node->in].name);
        dump_shape(node->in_shape, out);
        cf_buf_printf(out, " ->");
    }
    cf_buf_printf(out, " ");
    dump_shape(node->out_shape, out);
    if (node->op == CF_OP_CONV) dump_conv(g, node, out);
    if (node->op == CF_OP_MAXPOOL) dump_window(node, out);
    if (node->op == CF_OP_DENSE && node->conv.bias) cf_buf_printf(out, " bias");
    if (node->macs > 0) cf_buf_printf(out, ", %" PRId64 " macs", node->macs);
    cf_buf_printf(out, "\n");
}

static void dump_classes(const cf_graph *g, cf_buf *out)
{
    cf_buf_printf(out, "    %d outputs in %d classes, label smoothing %g, class of output:",
                  g->n_outputs, g->n_classes, (double)g->label_smoothing);
    for (int o = 0; o < g->n_outputs; o++) cf_buf_printf(out, " %d", g->class_of[o]);
    cf_buf_printf(out, "\n");
}

void cf_graph_dump(const cf_graph *g, const cf_memory_plan *plan, cf_buf *out)
{
    cf_buf_printf(out,
                  "graph: %d nodes, %d parameters, %" PRId64 " weights, %" PRId64 " state, %" PRId64
                  " macs an image\n",
                  g->n_nodes, g->n_params, g->n_weights, g->n_state, cf_graph_macs(g));
    if (plan) {
        cf_buf_printf(out, "plan: %s, %s, %zu bytes\n",
                      plan->mode == CF_MODE_TRAIN ? "training" : "inference",
                      cf_dtype_name(plan->dtype), plan->arena_bytes);
    }
    for (int i = 0; i < g->n_nodes; i++) {
        const cf_node *node = &g->nodes[i];
        int params[6] = {node->weight, node->bias, node->gamma, node->beta, node->mean, node->var};
        dump_node(g, i, out);
        for (int p = 0; p < 6; p++) dump_param(g, params[p], out);
        if (node->op == CF_OP_LOSS) dump_classes(g, out);
        if (plan) dump_buffers(g, plan, i, out);
    }
}
