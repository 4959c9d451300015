/* Which node's pass writes which outputs and sums which gradients (kernels/cpu/program.h). */
#include "kernels/cpu/program.h"

static bool is_normalised(const cf_program *p, int node)
{
    return p->nodes[node].normalised;
}

/* Read once, as a residual, and nothing between its normalisation and the sum: the reader can do
 * all of it, and the output is never written. */
static bool can_fold(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    if (!is_normalised(p, node) || n->conv.act != CF_ACT_NONE || n->residual >= 0) return false;
    return n->n_uses == 1 && p->graph->nodes[n->uses[0]].in != node && is_normalised(p, n->uses[0]);
}

static cf_err append(cf_program *p, cf_node_list *list, int node)
{
    if (list->items == NULL)
        CF_TRY(cf_cpu_keep(p, (size_t)p->graph->n_nodes, sizeof *list->items, &list->items));
    list->items[list->n++] = node;
    return CF_OK;
}

/* Adds `node` to `list` if its output is still to be written, and before it what it adds to itself.
 */
static cf_err write_in(cf_program *p, cf_node_list *list, int node, bool *written)
{
    if (node < 0 || written[node] || p->nodes[node].folded) return CF_OK;
    written[node] = true;
    if (p->graph->nodes[node].op != CF_OP_INPUT && !is_normalised(p, node)) return CF_OK;
    CF_TRY(write_in(p, list, p->graph->nodes[node].residual, written));
    return append(p, list, node);
}

/* The plan may give a residual's memory away before this node's first reader runs. */
static bool must_write_now(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    if (!is_normalised(p, node) || p->nodes[node].folded || n->residual < 0) return false;
    if (p->nodes[n->residual].folded) return false;
    return p->plan->buffers[n->residual][CF_SLOT_Z].last < n->uses[0];
}

static cf_err order_forward(cf_program *p, bool *written)
{
    bool train = p->options.mode == CF_MODE_TRAIN;
    for (int i = 0; i < p->graph->n_nodes; i++) {
        const cf_node *n = &p->graph->nodes[i];
        cf_cpu_node *own = &p->nodes[i];
        if (!train) { /* convolutions finish their output themselves */
            if (i > 0 && n->in == 0 && !written[0]) CF_TRY(write_in(p, &own->write, 0, written));
            continue;
        }
        if (n->in >= 0) CF_TRY(write_in(p, &own->write, n->in, written));
        /* Without normalisation the residual is added in this very pass. */
        if (!is_normalised(p, i)) CF_TRY(write_in(p, &own->write, n->residual, written));
        if (must_write_now(p, i)) CF_TRY(write_in(p, &own->write_after, i, written));
    }
    return CF_OK;
}

/* Node `i` has just given the last part of the gradient of `node`: sum it while it is in the cache,
 * and then that of its residual, if that has no other reader. */
static cf_err reduce_in(cf_program *p, int i, int node)
{
    while (node >= 0 && p->graph->nodes[node].op == CF_OP_CONV) {
        p->nodes[node].reduced = true;
        CF_TRY(append(p, &p->nodes[i].reduce, node));
        node = p->graph->nodes[node].residual;
        if (node >= 0 && p->graph->nodes[node].n_uses > 1) return CF_OK;
    }
    return CF_OK;
}

static cf_err order_backward(cf_program *p)
{
    for (int i = p->graph->n_nodes - 2; i > 0; i--) {
        int in = p->graph->nodes[i].in;
        if (p->graph->nodes[in].uses[0] == i) CF_TRY(reduce_in(p, i, in));
    }
    return CF_OK;
}

cf_err cf_cpu_order(cf_program *p)
{
    bool *written = NULL;
    CF_TRY(cf_cpu_keep(p, (size_t)p->graph->n_nodes, sizeof *written, &written));
    if (p->options.mode == CF_MODE_TRAIN) {
        for (int i = 1; i < p->graph->n_nodes; i++) p->nodes[i].folded = can_fold(p, i);
        CF_TRY(order_forward(p, written));
        return order_backward(p);
    }
    return order_forward(p, written);
}
