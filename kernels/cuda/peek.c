/* Looking inside after a run, for tests and heat maps. */
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/program.h"

/* Device values in the activations' type to host fp32. */
static cf_err read_back(cf_program *p, const void *values, cf_dtype dtype, int64_t n, float *host)
{
    float *wide = NULL;
    cudaStream_t s = p->backend->stream;
    size_t bytes = (size_t)n * sizeof *host;
    CF_TRY(cf_cuda_alloc(p->backend, bytes, "a look inside", &wide));
    cf_err err = cf_cuda_widen(s, dtype, values, n, wide);
    if (err == CF_OK)
        err = cf_cuda_check(cudaMemcpyAsync(host, wide, bytes, cudaMemcpyDeviceToHost, s),
                            "copy from the device");
    if (err == CF_OK) err = cf_cuda_check(cudaStreamSynchronize(s), "the device");
    (void)cudaFree(wide);
    return err;
}

/* An output that is not written is made again. */
static cf_err peek_unwritten(cf_program *p, int node, float *host)
{
    int64_t n = cf_shape_elements(p->graph->nodes[node].out_shape);
    void *z = NULL;
    CF_TRY(cf_cuda_alloc(p->backend, (size_t)n * cf_dtype_bytes(p->options.dtype), "a look inside",
                         &z));
    cf_cuda_norm_pass pass = cf_cuda_pass(p, node);
    pass.z = z;
    cf_err err = cf_cuda_norm_apply(p->backend->stream, &pass);
    if (err == CF_OK) err = read_back(p, z, p->options.dtype, n, host);
    (void)cudaFree(z);
    return err;
}

static cf_err peek_output(cf_program *p, int node, float *host)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cuda_node *own = &p->nodes[node];
    bool unwritten = own->virtual || own->folded;
    const cf_buffer *b = &p->plan.buffers[node][unwritten ? CF_SLOT_Y : CF_SLOT_Z];
    if (n->op == CF_OP_INPUT || b->bytes == 0 ||
        !cf_memory_plan_intact(p->graph, &p->plan, b, b->first + 1))
        return cf_fail(CF_E_USAGE, "node %s: output is not kept after a run", n->name);
    if (unwritten) return peek_unwritten(p, node, host);
    cf_dtype dtype = n->op == CF_OP_DENSE ? CF_F32 : p->options.dtype;
    return read_back(p, cf_cuda_slot(p, node, CF_SLOT_Z), dtype, cf_shape_elements(n->out_shape),
                     host);
}

static cf_err peek_gradient(cf_program *p, int node, float *host)
{
    const cf_node *n = &p->graph->nodes[node];
    if (p->options.mode != CF_MODE_TRAIN || n->n_uses == 0)
        return cf_fail(CF_E_USAGE, "node %s: has no gradient", n->name);
    const cf_node *reader = &p->graph->nodes[n->uses[0]];
    cf_slot slot = reader->in == node ? CF_SLOT_GIN : CF_SLOT_GRES;
    const cf_buffer *b = &p->plan.buffers[n->uses[0]][slot];
    if (b->bytes == 0 || !cf_memory_plan_intact(p->graph, &p->plan, b, b->first + 1))
        return cf_fail(CF_E_USAGE, "node %s: gradient is not kept after a run", n->name);
    cf_dtype dtype = reader->op == CF_OP_LOSS ? CF_F32 : p->options.dtype;
    return read_back(p, cf_cuda_slot(p, n->uses[0], slot), dtype, cf_shape_elements(n->out_shape),
                     host);
}

cf_err cf_cuda_peek(cf_program *p, int node, cf_slot slot, float *host)
{
    if (node < 0 || node >= p->graph->n_nodes || !p->ran)
        return cf_fail(CF_E_USAGE, "peek: node %d of %d, or nothing has run", node,
                       p->graph->n_nodes);
    CF_TRY(cf_cuda_use(p->backend));
    if (slot == CF_SLOT_Z) return peek_output(p, node, host);
    return peek_gradient(p, node, host);
}
