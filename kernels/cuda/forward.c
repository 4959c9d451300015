/* The forward pass: convolution, statistics, and the output where somebody wants it written. */
#include "kernels/cuda/program.h"

/* Statistics of the micro-batch, from the engine's sums where it takes them; or of each image. */
static cf_err finish_statistics(cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cuda_node *own = &p->nodes[node];
    cudaStream_t s = p->backend->stream;
    int64_t rows = n->out_shape.n * n->out_shape.h * n->out_shape.w, c = n->out_shape.c;
    if (own->per_image) {
        cf_cuda_group_norm group = cf_cuda_group_norm_of(p, node);
        return cf_cuda_group_norm_forward(s, p->options.dtype, cf_cuda_slot(p, node, CF_SLOT_Y),
                                          &group);
    }
    bool fused = own->forward.kernel != NULL && own->forward.kernel->fused;
    int64_t parts = fused ? own->forward.parts : cf_cuda_norm_parts(rows, c);
    if (!fused)
        CF_TRY(cf_cuda_statistics(s, p->options.dtype, cf_cuda_slot(p, node, CF_SLOT_Y), rows, c,
                                  p->partials));
    /* A bias before batch normalisation is taken away again by it, so training leaves it out; the
     * running mean has to know it, for inference does not. */
    return cf_cuda_norm_finish(s, p->partials, parts, rows, c, n->conv.norm_eps, own->gamma,
                               own->beta, own->bias, &own->norm, own->mean_out, own->unbiased);
}

static cf_err convolve(cf_program *p, int node)
{
    cf_cuda_node *own = &p->nodes[node];
    bool train = p->options.mode == CF_MODE_TRAIN;
    bool fused = own->forward.kernel != NULL && own->forward.kernel->fused;
    bool summed = train && fused && own->normalised && !own->per_image;
    cf_conv_call call = {.geometry = &own->geometry,
                         .pass = CF_CONV_FORWARD,
                         .x = cf_cuda_output(p, p->graph->nodes[node].in),
                         .weights = own->filter,
                         .y = cf_cuda_slot(p, node, own->normalised ? CF_SLOT_Y : CF_SLOT_Z),
                         .partials = summed ? p->partials : NULL,
                         .workspace = p->workspace};
    CF_TRY(cf_engines_run(p->engines, &own->forward, &call));
    return cf_cuda_mark(p, CF_PHASE_FORWARD);
}

static cf_err forward_conv(cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cuda_node *own = &p->nodes[node];
    CF_TRY(convolve(p, node));
    bool running = p->options.mode == CF_MODE_INFER && !own->per_image;
    if (own->normalised && !running) CF_TRY(finish_statistics(p, node));
    cf_cuda_norm_pass pass = cf_cuda_pass(p, node);
    bool nothing =
        !own->normalised && own->bias == NULL && n->residual < 0 && n->conv.act == CF_ACT_NONE;
    if (!own->virtual && !own->folded && !nothing)
        CF_TRY(cf_cuda_norm_apply(p->backend->stream, &pass));
    return cf_cuda_mark(p, CF_PHASE_NORM);
}

cf_cuda_pool cf_cuda_pool_of(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    return (cf_cuda_pool){.n = n->in_shape.n,
                          .h = n->in_shape.h,
                          .w = n->in_shape.w,
                          .c = n->in_shape.c,
                          .p = n->out_shape.h,
                          .q = n->out_shape.w,
                          .kernel = n->conv.kernel,
                          .stride = n->conv.stride,
                          .pad_top = n->pad_top,
                          .pad_left = n->pad_left,
                          .dtype = p->options.dtype,
                          .in = cf_cuda_output(p, n->in),
                          .out = cf_cuda_slot(p, node, CF_SLOT_Z),
                          .winner = p->nodes[node].winner,
                          .gin = cf_cuda_slot(p, node, CF_SLOT_GIN)};
}

static cf_err forward_pool(cf_program *p, int node)
{
    cf_cuda_pool pool = cf_cuda_pool_of(p, node);
    if (p->graph->nodes[node].op == CF_OP_MAXPOOL)
        CF_TRY(cf_cuda_pool_max(p->backend->stream, &pool));
    else
        CF_TRY(cf_cuda_pool_mean(p->backend->stream, &pool));
    return cf_cuda_mark(p, CF_PHASE_POOL);
}

cf_cuda_dense cf_cuda_dense_of(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cuda_node *own = &p->nodes[node];
    return (cf_cuda_dense){.n = n->out_shape.n,
                           .f = cf_shape_elements(n->in_shape) / n->in_shape.n,
                           .k = n->out_shape.c,
                           .dtype = p->options.dtype,
                           .x = cf_cuda_slot(p, n->in, CF_SLOT_Z),
                           .weight = own->dense,
                           .bias = own->bias,
                           .logits = cf_cuda_slot(p, node, CF_SLOT_Z)};
}

static cf_err forward_dense(cf_program *p, int node)
{
    cf_cuda_dense dense = cf_cuda_dense_of(p, node);
    CF_TRY(cf_cuda_dense_forward(p->backend->stream, &dense));
    return cf_cuda_mark(p, CF_PHASE_POOL);
}

cf_err cf_cuda_forward(cf_program *p)
{
    for (int i = 1; i < p->graph->n_nodes - 1; i++) {
        switch (p->graph->nodes[i].op) {
        case CF_OP_CONV:
            CF_TRY(forward_conv(p, i));
            break;
        case CF_OP_DENSE:
            CF_TRY(forward_dense(p, i));
            break;
        default:
            CF_TRY(forward_pool(p, i));
            break;
        }
    }
    return CF_OK;
}
