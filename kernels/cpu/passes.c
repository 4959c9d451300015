/* What the forward and the backward pass share. */
#include <omp.h>

#include "kernels/base/log.h"
#include "kernels/cpu/program.h"
#include "kernels/cpu/sums.h"

void *cf_cpu_slot(const cf_program *p, int node, cf_slot slot)
{
    const cf_buffer *b = &p->plan->buffers[node][slot];
    return b->bytes > 0 ? p->arena + b->offset : NULL;
}

/* The gradient of a node's input has the input's height and width. */
static int64_t slices_of(const cf_program *p, int node, cf_slot slot)
{
    return p->nodes[slot == CF_SLOT_GIN ? p->graph->nodes[node].in : node].slices;
}

void *cf_cpu_slot_at(const cf_program *p, int node, cf_slot slot, int64_t slice)
{
    const cf_buffer *b = &p->plan->buffers[node][slot];
    if (b->bytes == 0) return NULL;
    int64_t n = p->graph->nodes[node].out_shape.n * slices_of(p, node, slot);
    return p->arena + b->offset + b->bytes / (size_t)n * (size_t)slice;
}

int64_t cf_cpu_first_slice(const cf_program *p, int worker, int64_t chunk, int node)
{
    const cf_cpu_node *w = &p->nodes[worker];
    return chunk * w->chunk * p->nodes[node].slices / w->split;
}

static size_t slice_bytes(const cf_program *p, int node)
{
    const cf_shape *s = &p->graph->nodes[node].out_shape;
    return (size_t)(s->h * s->w * s->c / p->nodes[node].slices) * cf_dtype_bytes(p->options.dtype);
}

/* A slice of `node` in the memory of the thread whose chunk of `worker` it belongs to. */
static void *at_in_chunk(const cf_program *p, int worker, void *const *own, int node, int64_t slice)
{
    const cf_cpu_node *w = &p->nodes[worker];
    int64_t slices = cf_cpu_first_slice(p, worker, 1, node);
    char *base = own[cf_chunk_thread(slice / slices, w->n_chunks, p->backend->n_threads)];
    return base + (size_t)(slice % slices) * slice_bytes(p, node);
}

void *cf_cpu_output_at(const cf_program *p, int node, int64_t slice)
{
    if (!p->nodes[node].passing) return cf_cpu_slot_at(p, node, CF_SLOT_Z, slice);
    return at_in_chunk(p, p->graph->nodes[node].uses[0], p->shared.in_chunk, node, slice);
}

void *cf_cpu_gradient_at(const cf_program *p, int node, int64_t slice)
{
    if (!p->nodes[node].conv.setup.gy_chunk) return cf_cpu_slot_at(p, node, CF_SLOT_GY, slice);
    return at_in_chunk(p, node, p->shared.gy_chunk, node, slice);
}

int cf_cpu_contributions(const cf_program *p, int node, int64_t slice,
                         const void *parts[CF_GRAPH_MAX_USES])
{
    const cf_node *own = &p->graph->nodes[node];
    int n = 0;
    for (int u = 0; u < own->n_uses; u++) {
        /* A node that reads this one twice, as input and as residual, stands here twice. */
        bool again = u > 0 && own->uses[u] == own->uses[u - 1];
        const cf_node *reader = &p->graph->nodes[own->uses[u]];
        cf_slot slot = reader->in == node && !again ? CF_SLOT_GIN : CF_SLOT_GRES;
        parts[n++] = cf_cpu_slot_at(p, own->uses[u], slot, slice);
    }
    return n;
}

const cf_norm_channels *cf_cpu_norm_of(const cf_program *p, int node, int64_t slice)
{
    const cf_cpu_node *own = &p->nodes[node];
    return own->per_image ? &own->norm[slice / own->slices] : own->norm;
}

cf_group_norm cf_cpu_group_norm(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cpu_node *own = &p->nodes[node];
    return (cf_group_norm){.c = n->out_shape.c,
                           .groups = n->conv.norm_groups,
                           .slices = own->slices,
                           .rows = n->out_shape.h * n->out_shape.w / own->slices,
                           .eps = n->conv.norm_eps,
                           .gamma = own->gamma,
                           .beta = own->beta,
                           .bias = own->bias};
}

cf_norm_pass cf_cpu_norm_pass(const cf_program *p, int node, int64_t slice)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cpu_node *own = &p->nodes[node];
    cf_norm_pass pass = {.rows = n->out_shape.h * n->out_shape.w / own->slices,
                         .c = n->out_shape.c,
                         .dtype = p->options.dtype,
                         .act = n->conv.act,
                         .slope = n->conv.act == CF_ACT_LEAKY ? n->conv.slope : 0.0f,
                         .channels = own->normalised ? cf_cpu_norm_of(p, node, slice) : NULL,
                         .z = cf_cpu_output_at(p, node, slice)};
    pass.y = own->normalised ? cf_cpu_slot_at(p, node, CF_SLOT_Y, slice) : pass.z;
    if (n->residual < 0) return pass;
    bool fold = p->nodes[n->residual].folded;
    pass.residual = fold ? cf_cpu_slot_at(p, n->residual, CF_SLOT_Y, slice)
                         : cf_cpu_output_at(p, n->residual, slice);
    if (fold) pass.residual_channels = cf_cpu_norm_of(p, n->residual, slice);
    return pass;
}

static cf_err chunks_of_thread(cf_program *p, int node, int thread, cf_cpu_chunk_fn fn)
{
    int64_t n = p->nodes[node].n_chunks;
    for (int64_t c = 0; c < n; c++)
        if (cf_chunk_thread(c, n, p->backend->n_threads) == thread) CF_TRY(fn(p, node, c));
    return CF_OK;
}

cf_err cf_cpu_for_chunks(cf_program *p, int node, cf_cpu_chunk_fn fn)
{
    int n_threads = p->backend->n_threads;
    if (p->nodes[node].n_chunks == 1 || n_threads == 1) {
        for (int64_t c = 0; c < p->nodes[node].n_chunks; c++) CF_TRY(fn(p, node, c));
        return CF_OK;
    }
    int failed = 0;
#pragma omp parallel num_threads(n_threads) reduction(| : failed)
    {
        /* Where the runtime gives fewer threads, each does the work of several. */
        for (int t = omp_get_thread_num(); t < n_threads; t += omp_get_num_threads())
            failed |= chunks_of_thread(p, node, t, fn) != CF_OK;
    }
    if (!failed) return CF_OK;
    return cf_fail(CF_E_DEVICE, "node %s: a oneDNN primitive failed", p->graph->nodes[node].name);
}

int64_t cf_cpu_lap(cf_program *p, cf_phase phase, int64_t start)
{
    int64_t now = cf_clock_ns();
    if (omp_get_thread_num() == 0) p->ns[phase] += now - start;
    return now;
}

cf_err cf_cpu_add(cf_program *p, void *sums, int param, const float *values)
{
    if (p->options.frozen) return CF_OK;
    const cf_param *t = &p->graph->params[param];
    bool state = t->kind == CF_PARAM_MEAN || t->kind == CF_PARAM_VAR;
    int bits = state ? CF_EXACT_STATE_BITS : CF_EXACT_GRAD_BITS;
    int64_t offset = state ? p->graph->n_weights + t->offset : t->offset;
    if (cf_sums_add(sums, p->options.reduce, bits, offset, t->count, values)) return CF_OK;
    return cf_fail(CF_E_NUMERIC, "%s %s: not finite or above %g", state ? "moment" : "gradient of",
                   t->name, (double)(state ? CF_EXACT_STATE_LIMIT : CF_EXACT_GRAD_LIMIT));
}
