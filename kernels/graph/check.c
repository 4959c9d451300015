/* What backends ask of a whole graph before they compile it. */
#include "kernels/graph/graph.h"

cf_err cf_graph_check_tail(const cf_graph *g, const char *backend)
{
    const cf_node *last = &g->nodes[g->n_nodes - 1];
    if (g->nodes[last->in].op != CF_OP_DENSE || g->nodes[last->in].n_uses != 1)
        return cf_fail(CF_E_DEVICE, "node %s: reads %s, expected a dense node of its own",
                       last->name, g->nodes[last->in].name);
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == CF_OP_DENSE && i != last->in)
            return cf_fail(CF_E_DEVICE,
                           "node %s: a dense node before the last is not in the %s backend",
                           g->nodes[i].name, backend);
    return CF_OK;
}
