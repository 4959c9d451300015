/* The memory plan of a graph: which buffers there are, how long they live, where they lie. */
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/graph/graph.h"

enum { ALIGNMENT = 64 };

static int backward_step(const cf_graph *g, int node)
{
    return 2 * g->n_nodes - 1 - node;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* ---- which buffers, and their lives -----------------------------------------------------------
 */

static void make(cf_buffer *b, size_t bytes, int first, int last)
{
    *b = (cf_buffer){.bytes = bytes, .first = first, .last = last, .alias_node = -1};
}

static size_t shape_bytes(cf_shape s, size_t item_bytes)
{
    return (size_t)cf_shape_elements(s) * item_bytes; /* the builder checked the product */
}

/* The logits and their gradient stay fp32: the loss is computed in fp32 from them. */
static size_t item_bytes(const cf_graph *g, int node, cf_dtype dtype)
{
    int logits = g->nodes[g->n_nodes - 1].in;
    return node == logits ? cf_dtype_bytes(CF_F32) : cf_dtype_bytes(dtype);
}

static int last_reader(const cf_graph *g, int i)
{
    const cf_node *node = &g->nodes[i];
    int last = i;
    for (int u = 0; u < node->n_uses; u++) last = max_int(last, node->uses[u]);
    return last;
}

/* The last step that reads the output of node i in training. */
static int last_read_of_output(const cf_graph *g, int i)
{
    const cf_node *node = &g->nodes[i];
    int last = last_reader(g, i);
    if (node->op == CF_OP_CONV && node->conv.act != CF_ACT_NONE) last = backward_step(g, i);
    for (int u = 0; u < node->n_uses; u++) {
        const cf_node *reader = &g->nodes[node->uses[u]];
        /* Weight gradients need the input; a max-pool may look for the maximum again; the loss may
         * be computed at its backward step. An average or a sum passes gradients on without it. */
        if (reader->in == i && reader->op != CF_OP_AVGPOOL) {
            last = max_int(last, backward_step(g, node->uses[u]));
        }
    }
    return last;
}

/* The step until which a buffer lives that holds the output of `node` or its gradient. */
static int end_of_life(const cf_graph *g, int node, int last)
{
    return g->nodes[node].kept ? backward_step(g, 0) : last;
}

static void plan_activations(const cf_graph *g, int i, cf_memory_plan *plan)
{
    const cf_node *node = &g->nodes[i];
    cf_buffer *slots = plan->buffers[i];
    if (node->op == CF_OP_LOSS) return;
    bool train = plan->mode == CF_MODE_TRAIN;
    size_t bytes = shape_bytes(node->out_shape, item_bytes(g, i, plan->dtype));
    int last = train ? last_read_of_output(g, i) : last_reader(g, i);
    make(&slots[CF_SLOT_Z], bytes, i, end_of_life(g, i, last));
    if (node->op != CF_OP_CONV || node->conv.norm == CF_NORM_NONE) return;
    make(&slots[CF_SLOT_Y], bytes, i, train ? backward_step(g, i) : i);
    if (!train) {
        slots[CF_SLOT_Y].alias_node = i;
        slots[CF_SLOT_Y].alias_slot = CF_SLOT_Z;
    }
}

/* `slot` of node i takes the place of the first contribution to its output gradient. */
static void in_place(const cf_graph *g, int i, cf_slot slot, cf_memory_plan *plan)
{
    int first_use = g->nodes[i].uses[0];
    cf_buffer *b = &plan->buffers[i][slot];
    b->alias_node = first_use;
    b->alias_slot = g->nodes[first_use].in == i ? CF_SLOT_GIN : CF_SLOT_GRES;
}

static void plan_gradients(const cf_graph *g, int i, cf_memory_plan *plan)
{
    const cf_node *node = &g->nodes[i];
    cf_buffer *slots = plan->buffers[i];
    int now = backward_step(g, i);
    if (node->op == CF_OP_INPUT) return;
    if (g->nodes[node->in].op != CF_OP_INPUT) {
        size_t bytes = shape_bytes(node->in_shape, item_bytes(g, node->in, plan->dtype));
        int first = node->op == CF_OP_LOSS ? i : now; /* the loss may give it in its forward */
        int last = end_of_life(g, node->in, backward_step(g, node->in));
        make(&slots[CF_SLOT_GIN], bytes, first, last);
    }
    if (node->op == CF_OP_LOSS) return;
    size_t bytes = shape_bytes(node->out_shape, item_bytes(g, i, plan->dtype));
    make(&slots[CF_SLOT_GY], bytes, now, now);
    if (node->residual < 0) {
        in_place(g, i, CF_SLOT_GY, plan);
    } else if (g->nodes[node->residual].op == CF_OP_INPUT) {
        in_place(g, i, CF_SLOT_GY, plan); /* nobody wants the residual's gradient */
    } else {
        make(&slots[CF_SLOT_GRES], bytes, now, backward_step(g, node->residual));
        in_place(g, i, CF_SLOT_GRES, plan);
    }
}

/* ---- placing ----------------------------------------------------------------------------------
 */

/* A piece of the arena: one buffer and all that are in place of it. */
typedef struct piece {
    size_t bytes, offset;
    int first, last;
    int node;
    cf_slot slot;
} piece;

static piece *root_of(const cf_memory_plan *plan, piece (*pieces)[CF_N_SLOTS], int node,
                      cf_slot slot)
{
    for (;;) {
        const cf_buffer *b = &plan->buffers[node][slot];
        if (b->alias_node < 0) return &pieces[node][slot];
        node = b->alias_node;
        slot = b->alias_slot;
    }
}

static size_t round_up(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Fills the roots: size and life over all their aliases; bytes 0 for all others. */
static void gather(const cf_memory_plan *plan, piece (*pieces)[CF_N_SLOTS])
{
    for (int i = 0; i < plan->n_nodes; i++) {
        for (int s = 0; s < CF_N_SLOTS; s++) {
            const cf_buffer *b = &plan->buffers[i][s];
            if (b->bytes == 0) continue;
            piece *p = root_of(plan, pieces, i, (cf_slot)s);
            if (p->bytes == 0) {
                *p = (piece){.first = b->first, .last = b->last, .node = -1};
            }
            if (b->alias_node < 0) {
                p->node = i;
                p->slot = (cf_slot)s;
            }
            if (round_up(b->bytes) > p->bytes) p->bytes = round_up(b->bytes);
            if (b->first < p->first) p->first = b->first;
            if (b->last > p->last) p->last = b->last;
        }
    }
}

/* Largest first; ties in node order, so that every machine finds the same plan. */
static int by_size(const void *a, const void *b)
{
    const piece *p = a, *q = b;
    if (p->bytes != q->bytes) return p->bytes > q->bytes ? -1 : 1;
    if (p->node != q->node) return p->node < q->node ? -1 : 1;
    return (int)p->slot - (int)q->slot;
}

static int by_offset(const void *a, const void *b)
{
    const piece *p = *(const piece *const *)a, *q = *(const piece *const *)b;
    if (p->offset != q->offset) return p->offset < q->offset ? -1 : 1;
    return by_size(p, q);
}

/* The smallest gap between the placed pieces alive at the same time that holds `p`, or their end.
 */
static size_t best_fit(const piece *p, const piece *placed, size_t n_placed, const piece **alive)
{
    size_t n_alive = 0;
    for (size_t i = 0; i < n_placed; i++) {
        if (placed[i].first <= p->last && p->first <= placed[i].last) alive[n_alive++] = &placed[i];
    }
    if (n_alive > 0) qsort(alive, n_alive, sizeof *alive, by_offset);
    size_t end = 0, best = 0, best_gap = SIZE_MAX;
    for (size_t i = 0; i < n_alive; i++) {
        if (alive[i]->offset > end) {
            size_t gap = alive[i]->offset - end;
            if (gap >= p->bytes && gap < best_gap) {
                best = end;
                best_gap = gap;
            }
        }
        size_t its_end = alive[i]->offset + alive[i]->bytes;
        if (its_end > end) end = its_end;
    }
    return best_gap == SIZE_MAX ? end : best;
}

static cf_err place(const cf_graph *g, cf_memory_plan *plan)
{
    cf_err err = CF_OK;
    piece(*pieces)[CF_N_SLOTS] = NULL;
    piece *sorted = NULL;
    const piece **alive = NULL;
    size_t n_nodes = (size_t)g->n_nodes, n = 0;
    CF_TRY_GOTO(cf_new(&pieces, n_nodes, sizeof *pieces), out);
    CF_TRY_GOTO(cf_new(&sorted, n_nodes * CF_N_SLOTS, sizeof *sorted), out);
    CF_TRY_GOTO(cf_new(&alive, n_nodes * CF_N_SLOTS, sizeof *alive), out);
    gather(plan, pieces);
    for (int i = 0; i < g->n_nodes; i++) {
        for (int s = 0; s < CF_N_SLOTS; s++) {
            if (pieces[i][s].bytes > 0) sorted[n++] = pieces[i][s];
        }
    }
    qsort(sorted, n, sizeof *sorted, by_size);
    for (size_t i = 0; i < n; i++) {
        piece *p = &sorted[i];
        p->offset = best_fit(p, sorted, i, alive);
        if (p->offset + p->bytes > plan->arena_bytes) plan->arena_bytes = p->offset + p->bytes;
        pieces[p->node][p->slot].offset = p->offset;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        for (int s = 0; s < CF_N_SLOTS; s++) {
            cf_buffer *b = &plan->buffers[i][s];
            if (b->bytes > 0) b->offset = root_of(plan, pieces, i, (cf_slot)s)->offset;
        }
    }
out:
    free(alive);
    free(sorted);
    free(pieces);
    return err;
}

/* Only what nothing is in place of can go. */
static void leave_out(const cf_graph *g, int i, const bool unwritten[CF_N_SLOTS],
                      cf_memory_plan *plan)
{
    cf_buffer *slots = plan->buffers[i];
    const cf_node *node = &g->nodes[i];
    bool normalised = node->op == CF_OP_CONV && node->conv.norm != CF_NORM_NONE;
    bool train = plan->mode == CF_MODE_TRAIN;
    if (unwritten[CF_SLOT_Z] && normalised && train) slots[CF_SLOT_Z] = (cf_buffer){0};
    if (unwritten[CF_SLOT_GY] && slots[CF_SLOT_GRES].bytes > 0) slots[CF_SLOT_GY] = (cf_buffer){0};
    for (int s = 0; s < CF_N_SLOTS; s++)
        if (slots[s].bytes == 0) slots[s].alias_node = -1;
}

cf_err cf_graph_plan(const cf_graph *g, cf_mode mode, cf_dtype dtype, cf_memory_plan *plan)
{
    return cf_graph_plan_lean(g, mode, dtype, NULL, plan);
}

cf_err cf_graph_plan_lean(const cf_graph *g, cf_mode mode, cf_dtype dtype,
                          const bool (*unwritten)[CF_N_SLOTS], cf_memory_plan *plan)
{
    *plan = (cf_memory_plan){.mode = mode, .dtype = dtype, .n_nodes = g->n_nodes};
    if (g->n_nodes == 0 || g->nodes[g->n_nodes - 1].op != CF_OP_LOSS) {
        return cf_fail(CF_E_USAGE, "memory plan: the graph is not closed by a loss");
    }
    CF_TRY(cf_new(&plan->buffers, (size_t)g->n_nodes, sizeof *plan->buffers));
    for (int i = 0; i < g->n_nodes; i++) {
        for (int s = 0; s < CF_N_SLOTS; s++) plan->buffers[i][s].alias_node = -1;
        plan_activations(g, i, plan);
        if (mode == CF_MODE_TRAIN) plan_gradients(g, i, plan);
        if (unwritten != NULL) leave_out(g, i, unwritten[i], plan);
    }
    cf_err err = place(g, plan);
    if (err != CF_OK) cf_memory_plan_fini(plan);
    return err;
}

bool cf_memory_plan_intact(const cf_graph *g, const cf_memory_plan *plan, const cf_buffer *b,
                           int from)
{
    for (int i = 0; i < plan->n_nodes; i++) {
        for (int s = 0; s < CF_N_SLOTS; s++) {
            const cf_buffer *o = &plan->buffers[i][s];
            if (o == b || o->bytes == 0 || o->last < from) continue;
            /* Only convolutions have a gradient of their own beside the one they pass on. */
            if (s == CF_SLOT_GY && g->nodes[i].op != CF_OP_CONV) continue;
            if (o->offset < b->offset + b->bytes && b->offset < o->offset + o->bytes) return false;
        }
    }
    return true;
}

void cf_memory_plan_fini(cf_memory_plan *plan)
{
    free(plan->buffers);
    *plan = (cf_memory_plan){0};
}
