#include "kernels/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/digest.h"
#include "kernels/cpu/program.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/update.h"

/* ---- device and memory ------------------------------------------------------------------------
 */

static void cpu_close(cf_backend *b)
{
    if (b == NULL) return;
    cf_dnnl_destroy(b->dnnl);
    free(b);
}

static cf_err cpu_open(int device, int n_threads, cf_backend **out)
{
    if (device > 0) return cf_fail(CF_E_DEVICE, "cpu: device %d of 1", device);
    if (n_threads < 0) return cf_fail(CF_E_USAGE, "cpu: %d threads", n_threads);
    cf_backend *b = NULL;
    CF_TRY(cf_new(&b, 1, sizeof *b));
    b->n_threads = n_threads > 0 ? n_threads : omp_get_num_procs();
    cf_err err = cf_dnnl_create(&b->dnnl);
    if (err != CF_OK) {
        cpu_close(b);
        return err;
    }
    *out = b;
    return CF_OK;
}

/* The OpenMP team belongs to the calling thread, which may be another one at each call. */
static void use_threads(const cf_backend *b)
{
    omp_set_dynamic(0);
    omp_set_num_threads(b->n_threads);
}

static void cpu_describe(const cf_backend *b, char *text, size_t n)
{
    char library[64];
    cf_dnnl_describe(library, sizeof library);
    snprintf(text, n, "cpu, %d thread%s, %s", b->n_threads, b->n_threads == 1 ? "" : "s", library);
}

static cf_err cpu_alloc(cf_backend *b, size_t bytes, void **out)
{
    (void)b;
    return cf_new_aligned(out, bytes, 1);
}

static void cpu_free(cf_backend *b, void *p)
{
    (void)b;
    free(p);
}

static cf_err cpu_copy(cf_backend *b, void *dst, const void *src, size_t bytes)
{
    (void)b;
    if (bytes > 0) memcpy(dst, src, bytes);
    return CF_OK;
}

static cf_err cpu_zero(cf_backend *b, void *dst, size_t bytes)
{
    (void)b;
    if (bytes > 0) memset(dst, 0, bytes);
    return CF_OK;
}

static cf_err cpu_sync(cf_backend *b)
{
    (void)b;
    return CF_OK;
}

/* ---- programs ---------------------------------------------------------------------------------
 */

static cf_err cpu_compile(cf_backend *b, const cf_graph *g, const cf_memory_plan *plan,
                          const cf_compile_options *o, cf_program **out)
{
    use_threads(b);
    return cf_cpu_compile(b, g, plan, o, out);
}

static size_t cpu_program_bytes(const cf_program *p)
{
    return p->bytes;
}

static void copy_param(float *to, const cf_graph *g, int param, const float *flat)
{
    if (param < 0 || to == NULL) return;
    memcpy(to, flat + g->params[param].offset, (size_t)g->params[param].count * sizeof *to);
}

static cf_err set_node(cf_program *p, int i, const float *weights, const float *state)
{
    const cf_graph *g = p->graph;
    const cf_node *n = &g->nodes[i];
    cf_cpu_node *own = &p->nodes[i];
    copy_param(own->bias, g, n->bias, weights);
    copy_param(own->gamma, g, n->gamma, weights);
    copy_param(own->beta, g, n->beta, weights);
    copy_param(own->dense, g, n->op == CF_OP_DENSE ? n->weight : -1, weights);
    if (n->op != CF_OP_CONV) return CF_OK;
    if (own->normalised && !own->per_image && p->options.mode == CF_MODE_INFER) {
        const float *mean = state + g->params[n->mean].offset;
        cf_norm_from_running(own->norm, n->out_shape.c, n->conv.norm_eps, own->gamma, own->beta,
                             mean, state + g->params[n->var].offset);
        /* The running mean is that of convolution + bias: here the bias counts. */
        for (int64_t c = 0; own->bias != NULL && c < n->out_shape.c; c++)
            own->norm->shift[c] += own->bias[c] * own->norm->scale[c];
    }
    return cf_conv_set_weights(&own->conv, weights + g->params[n->weight].offset);
}

static cf_err cpu_set_weights(cf_program *p, const float *weights, const float *state)
{
    use_threads(p->backend);
    int64_t start = cf_cpu_lap(p, CF_PHASE_PACK, 0);
    p->ns[CF_PHASE_PACK] -= start;
    for (int i = 0; i < p->graph->n_nodes; i++) CF_TRY(set_node(p, i, weights, state));
    (void)cf_cpu_lap(p, CF_PHASE_PACK, start);
    p->ready = true;
    return CF_OK;
}

static cf_err check_run(const cf_program *p, cf_mode mode, const cf_batch *batch)
{
    if (p->options.mode != mode)
        return cf_fail(CF_E_UNEXPECTED, "program compiled for %s",
                       mode == CF_MODE_TRAIN ? "inference" : "training");
    if (!p->ready) return cf_fail(CF_E_UNEXPECTED, "program run before set_weights");
    const cf_node *last = &p->graph->nodes[p->graph->n_nodes - 1];
    for (int64_t i = 0; mode == CF_MODE_TRAIN && i < last->in_shape.n; i++)
        if (batch->labels[i] < 0 || batch->labels[i] >= p->graph->n_classes)
            return cf_fail(CF_E_DATA, "label %d of image %lld, expected 0 to %d", batch->labels[i],
                           (long long)i, p->graph->n_classes - 1);
    return CF_OK;
}

static cf_err cpu_train(cf_program *p, const cf_batch *batch, void *sums)
{
    CF_TRY(check_run(p, CF_MODE_TRAIN, batch));
    use_threads(p->backend);
    CF_TRY(cf_cpu_forward(p, batch));
    return cf_cpu_backward(p, sums);
}

static cf_err cpu_infer(cf_program *p, const cf_batch *batch, float *logits)
{
    CF_TRY(check_run(p, CF_MODE_INFER, batch));
    use_threads(p->backend);
    CF_TRY(cf_cpu_forward(p, batch));
    const cf_node *last = &p->graph->nodes[p->graph->n_nodes - 1];
    memcpy(logits, cf_cpu_slot(p, last->in, CF_SLOT_Z),
           (size_t)cf_shape_elements(last->in_shape) * sizeof *logits);
    return CF_OK;
}

static cf_err cpu_update(cf_backend *b, const cf_update *u)
{
    use_threads(b);
    return cf_update_run(u);
}

static cf_err cpu_digest(cf_backend *b, const float *values, int64_t n, uint64_t first,
                         uint64_t *sum)
{
    use_threads(b);
    *sum = cf_digest_run(values, n, first);
    return CF_OK;
}

/* ---- looking inside ---------------------------------------------------------------------------
 */

static void widen(const void *from, cf_dtype dtype, int64_t n, float *to)
{
    int64_t i = 0;
    for (; i + CF_LANES <= n; i += CF_LANES)
        cf_vec_store(to, i, CF_F32, cf_vec_load(from, i, dtype));
    if (i < n) {
        int lanes = (int)(n - i);
        cf_vec_store_part(to, i, CF_F32, lanes, cf_vec_load_part(from, i, dtype, lanes));
    }
}

/* An output that is not kept is made again, slice by slice. */
static void peek_passing(cf_program *p, int node, float *host)
{
    const cf_shape *s = &p->graph->nodes[node].out_shape;
    int64_t slices = p->nodes[node].slices, elements = s->h * s->w * s->c / slices;
    for (int64_t slice = 0; slice < s->n * slices; slice++) {
        cf_cpu_write_output(p, node, slice, slice + 1);
        widen(cf_cpu_output_at(p, node, slice), p->options.dtype, elements,
              host + slice * elements);
    }
}

static cf_err peek_output(cf_program *p, int node, float *host)
{
    const cf_node *n = &p->graph->nodes[node];
    if (p->nodes[node].passing) {
        peek_passing(p, node, host);
        return CF_OK;
    }
    const cf_buffer *z = &p->plan->buffers[node][CF_SLOT_Z];
    if (z->bytes == 0 || p->nodes[node].folded ||
        !cf_memory_plan_intact(p->graph, p->plan, z, z->first + 1))
        return cf_fail(CF_E_USAGE, "node %s: output is not kept after a run", n->name);
    bool fp32 = p->options.dtype == CF_F32 || n->op == CF_OP_DENSE;
    widen(cf_cpu_slot(p, node, CF_SLOT_Z), fp32 ? CF_F32 : CF_BF16, cf_shape_elements(n->out_shape),
          host);
    return CF_OK;
}

static cf_err peek_gradient(cf_program *p, int node, float *host)
{
    const cf_node *n = &p->graph->nodes[node];
    if (p->options.mode != CF_MODE_TRAIN || n->n_uses == 0)
        return cf_fail(CF_E_USAGE, "node %s: has no gradient", n->name);
    const cf_node *reader = &p->graph->nodes[n->uses[0]];
    cf_slot slot = reader->in == node ? CF_SLOT_GIN : CF_SLOT_GRES;
    const cf_buffer *b = &p->plan->buffers[n->uses[0]][slot];
    if (b->bytes == 0 || !cf_memory_plan_intact(p->graph, p->plan, b, b->first + 1))
        return cf_fail(CF_E_USAGE, "node %s: gradient is not kept after a run", n->name);
    bool fp32 = p->options.dtype == CF_F32 || reader->op == CF_OP_LOSS;
    widen(cf_cpu_slot(p, n->uses[0], slot), fp32 ? CF_F32 : CF_BF16,
          cf_shape_elements(n->out_shape), host);
    return CF_OK;
}

static cf_err cpu_peek(cf_program *p, int node, cf_slot slot, float *host)
{
    if (node < 0 || node >= p->graph->n_nodes || !p->ran)
        return cf_fail(CF_E_USAGE, "peek: node %d of %d, or nothing has run", node,
                       p->graph->n_nodes);
    if (slot == CF_SLOT_Z) return peek_output(p, node, host);
    return peek_gradient(p, node, host);
}

static int cpu_phases(const cf_program *p, const char *const **names, const int64_t **ns)
{
    static const char *const text[CF_N_PHASES] = {
        [CF_PHASE_FORWARD] = "convolution",     [CF_PHASE_DATA] = "input gradient",
        [CF_PHASE_WEIGHTS] = "filter gradient", [CF_PHASE_NORM] = "normalisation",
        [CF_PHASE_POOL] = "pool, dense, loss",  [CF_PHASE_SUMS] = "exact sums",
        [CF_PHASE_PACK] = "weight packing"};
    *names = text;
    *ns = p->ns;
    return CF_N_PHASES;
}

const cf_backend_ops cf_cpu_backend = {.name = "cpu",
                                       .open = cpu_open,
                                       .close = cpu_close,
                                       .describe = cpu_describe,
                                       .alloc = cpu_alloc,
                                       .free = cpu_free,
                                       .copy_in = cpu_copy,
                                       .copy_out = cpu_copy,
                                       .zero = cpu_zero,
                                       .supports = cf_cpu_supports,
                                       .compile = cpu_compile,
                                       .release = cf_cpu_release,
                                       .program_bytes = cpu_program_bytes,
                                       .set_weights = cpu_set_weights,
                                       .train = cpu_train,
                                       .infer = cpu_infer,
                                       .update = cpu_update,
                                       .digest = cpu_digest,
                                       .peek = cpu_peek,
                                       .phases = cpu_phases,
                                       .sync = cpu_sync};
