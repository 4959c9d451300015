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

void *cf_cpu_slot_at(const cf_program *p, int node, cf_slot slot, int64_t image)
{
    const cf_buffer *b = &p->plan->buffers[node][slot];
    if (b->bytes == 0) return NULL;
    size_t per_image = b->bytes / (size_t)p->graph->nodes[node].out_shape.n;
    return p->arena + b->offset + per_image * (size_t)image;
}

/* A chunk of `reader` in its thread's own memory, at an image of `bytes`. */
static void *at_in_chunk(const cf_program *p, int reader, void *const *own, int64_t image,
                         size_t bytes)
{
    const cf_cpu_node *r = &p->nodes[reader];
    int64_t chunk = image / r->chunk;
    char *base = own[cf_chunk_thread(chunk, r->n_chunks, p->backend->n_threads)];
    return base + (size_t)(image % r->chunk) * bytes;
}

static size_t image_bytes(const cf_program *p, int node)
{
    const cf_shape *s = &p->graph->nodes[node].out_shape;
    return (size_t)(s->h * s->w * s->c) * cf_dtype_bytes(p->options.dtype);
}

void *cf_cpu_output_at(const cf_program *p, int node, int64_t image)
{
    if (!p->nodes[node].passing) return cf_cpu_slot_at(p, node, CF_SLOT_Z, image);
    int reader = p->graph->nodes[node].uses[0];
    return at_in_chunk(p, reader, p->shared.in_chunk, image, image_bytes(p, node));
}

void *cf_cpu_gradient_at(const cf_program *p, int node, int64_t image)
{
    if (!p->nodes[node].conv.setup.gy_chunk) return cf_cpu_slot_at(p, node, CF_SLOT_GY, image);
    return at_in_chunk(p, node, p->shared.gy_chunk, image, image_bytes(p, node));
}

int cf_cpu_contributions(const cf_program *p, int node, int64_t image,
                         const void *parts[CF_GRAPH_MAX_USES])
{
    const cf_node *own = &p->graph->nodes[node];
    int n = 0;
    for (int u = 0; u < own->n_uses; u++) {
        /* A node that reads this one twice, as input and as residual, stands here twice. */
        bool again = u > 0 && own->uses[u] == own->uses[u - 1];
        const cf_node *reader = &p->graph->nodes[own->uses[u]];
        cf_slot slot = reader->in == node && !again ? CF_SLOT_GIN : CF_SLOT_GRES;
        parts[n++] = cf_cpu_slot_at(p, own->uses[u], slot, image);
    }
    return n;
}

cf_norm_pass cf_cpu_norm_pass(const cf_program *p, int node, int64_t image)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cpu_node *own = &p->nodes[node];
    cf_norm_pass pass = {.rows = n->out_shape.h * n->out_shape.w,
                         .c = n->out_shape.c,
                         .dtype = p->options.dtype,
                         .act = n->conv.act,
                         .slope = n->conv.act == CF_ACT_LEAKY ? n->conv.slope : 0.0f,
                         .channels = own->normalised ? &own->norm : NULL,
                         .z = cf_cpu_output_at(p, node, image)};
    pass.y = own->normalised ? cf_cpu_slot_at(p, node, CF_SLOT_Y, image) : pass.z;
    if (n->residual < 0) return pass;
    bool fold = p->nodes[n->residual].folded;
    pass.residual = fold ? cf_cpu_slot_at(p, n->residual, CF_SLOT_Y, image)
                         : cf_cpu_output_at(p, n->residual, image);
    if (fold) pass.residual_channels = &p->nodes[n->residual].norm;
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
    const cf_param *t = &p->graph->params[param];
    bool state = t->kind == CF_PARAM_MEAN || t->kind == CF_PARAM_VAR;
    int bits = state ? CF_EXACT_STATE_BITS : CF_EXACT_GRAD_BITS;
    int64_t offset = state ? p->graph->n_weights + t->offset : t->offset;
    if (cf_sums_add(sums, p->options.reduce, bits, offset, t->count, values)) return CF_OK;
    return cf_fail(CF_E_NUMERIC, "%s %s: not finite or above %g", state ? "moment" : "gradient of",
                   t->name, (double)(state ? CF_EXACT_STATE_LIMIT : CF_EXACT_GRAD_LIMIT));
}
