/* The backward pass, and a micro-batch's results into the step's sum. */
#include "kernels/cuda/program.h"

static int64_t rows_of(const cf_node *n)
{
    return n->out_shape.n * n->out_shape.h * n->out_shape.w;
}

/* Where a node's masked gradient stands between its sums and its convolution's passes. */
static void *masked_gradient(const cf_program *p, int node)
{
    void *gres = cf_cuda_slot(p, node, CF_SLOT_GRES);
    return gres != NULL ? gres : cf_cuda_slot(p, node, CF_SLOT_GY);
}

/* ---- sums over pixels -------------------------------------------------------------------------
 */

/* Gradients of gamma and beta or of the bias from `partials`, and what the next passes need. */
static cf_err finish_sums(cf_program *p, int node, int64_t parts)
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cuda_node *own = &p->nodes[node];
    cudaStream_t s = p->backend->stream;
    int64_t c = n->out_shape.c;
    if (own->normalised)
        return cf_cuda_norm_reduce_finish(s, p->partials, parts, rows_of(n), c, own->gamma,
                                          &own->norm, own->dgamma, own->dbeta);
    return n->bias < 0 ? CF_OK : cf_cuda_bias_finish(s, p->partials, parts, c, own->dbeta);
}

/* The same through a group normalisation. */
static cf_err reduce_images(cf_program *p, int node, const cf_cuda_norm_pass *pass)
{
    const cf_cuda_node *own = &p->nodes[node];
    cf_cuda_group_norm group = cf_cuda_group_norm_of(p, node);
    CF_TRY(cf_cuda_group_norm_reduce(p->backend->stream, pass, &group, own->dgamma, own->dbeta,
                                     own->dbias));
    return cf_cuda_mark(p, CF_PHASE_NORM);
}

/* The gradient of a node's output: its parts together, behind the activation, and summed. */
static cf_err reduce_gradient(cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cuda_norm_pass pass = cf_cuda_pass(p, node);
    pass.n_contributions = cf_cuda_contributions(p, node, pass.contributions);
    pass.masked = masked_gradient(p, node);
    if (p->nodes[node].per_image) return reduce_images(p, node, &pass);
    pass.n_images = 0; /* whatever its residual is seen through */
    CF_TRY(cf_cuda_norm_reduce(p->backend->stream, &pass, p->partials));
    CF_TRY(finish_sums(p, node, cf_cuda_norm_parts(rows_of(n), n->out_shape.c)));
    return cf_cuda_mark(p, CF_PHASE_NORM);
}

/* ---- convolutions -----------------------------------------------------------------------------
 */

/* The gradient of Y: written, or as both passes see it. */
static cf_err gradient_of(cf_program *p, int node, cf_cuda_gradient *out)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cuda_node *own = &p->nodes[node];
    *out = (cf_cuda_gradient){.g = masked_gradient(p, node)};
    if (!own->normalised) return CF_OK;
    out->y = cf_cuda_slot(p, node, CF_SLOT_Y);
    out->a = own->norm.a;
    out->b = own->norm.b;
    out->d = own->norm.d;
    if (own->virtual_gradient) return CF_OK;
    void *gy = cf_cuda_slot(p, node, CF_SLOT_GY);
    int64_t images = own->per_image ? n->out_shape.n : 1;
    CF_TRY(cf_cuda_image_backward(p->backend->stream, p->options.dtype, images, rows_of(n) / images,
                                  n->out_shape.c, out, gy));
    *out = (cf_cuda_gradient){.g = gy};
    return cf_cuda_mark(p, CF_PHASE_NORM);
}

static cf_err weights_pass(cf_program *p, int node, const cf_cuda_gradient *gy, void *sums)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cuda_node *own = &p->nodes[node];
    cf_conv_call call = {.geometry = &own->geometry,
                         .pass = CF_CONV_WEIGHTS,
                         .x = cf_cuda_output(p, n->in),
                         .gy = *gy,
                         .gradient = p->gradient,
                         .workspace = p->workspace};
    CF_TRY(cf_engines_run(p->engines, &own->weights, &call));
    CF_TRY(cf_cuda_mark(p, CF_PHASE_WEIGHTS));
    CF_TRY(cf_cuda_add(p, sums, n->weight, p->gradient, own->weights.parts));
    return cf_cuda_mark(p, CF_PHASE_SUMS);
}

static cf_err data_pass(cf_program *p, int node, const cf_cuda_gradient *gy)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cuda_node *own = &p->nodes[node];
    if (p->graph->nodes[n->in].op == CF_OP_INPUT) return CF_OK;
    cf_conv_call call = {.geometry = &own->geometry,
                         .pass = CF_CONV_DATA,
                         .weights = own->filter,
                         .gy = *gy,
                         .gin = cf_cuda_slot(p, node, CF_SLOT_GIN),
                         .workspace = p->workspace};
    bool sum = p->nodes[n->in].summed_by_reader;
    if (sum) {
        cf_cuda_norm_pass in = cf_cuda_pass(p, n->in);
        call.input_view = in.y;
        call.input_mean = in.mean;
        call.partials = p->partials;
    }
    CF_TRY(cf_engines_run(p->engines, &own->data, &call));
    CF_TRY(cf_cuda_mark(p, CF_PHASE_DATA));
    if (!sum) return CF_OK;
    CF_TRY(finish_sums(p, n->in, own->data.parts));
    return cf_cuda_mark(p, CF_PHASE_NORM);
}

static cf_err backward_conv(cf_program *p, int node, void *sums)
{
    cf_cuda_gradient gy;
    if (!p->nodes[node].summed_by_reader) CF_TRY(reduce_gradient(p, node));
    CF_TRY(gradient_of(p, node, &gy));
    if (!p->options.frozen) CF_TRY(weights_pass(p, node, &gy, sums));
    return data_pass(p, node, &gy);
}

/* ---- the other nodes --------------------------------------------------------------------------
 */

static cf_err backward_pool(cf_program *p, int node)
{
    cf_cuda_pool pool = cf_cuda_pool_of(p, node);
    if (pool.gin == NULL) return CF_OK;
    pool.n_contributions = cf_cuda_contributions(p, node, pool.contributions);
    if (p->graph->nodes[node].op == CF_OP_MAXPOOL)
        CF_TRY(cf_cuda_pool_max_backward(p->backend->stream, &pool));
    else
        CF_TRY(cf_cuda_pool_mean_backward(p->backend->stream, &pool));
    return cf_cuda_mark(p, CF_PHASE_POOL);
}

static cf_err backward_dense(cf_program *p, int node, void *sums)
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cuda_dense dense = cf_cuda_dense_of(p, node);
    dense.glogits = cf_cuda_slot(p, n->uses[0], CF_SLOT_GIN);
    dense.gx = cf_cuda_slot(p, node, CF_SLOT_GIN);
    dense.gweight = p->dense_gradient;
    dense.gbias = n->bias >= 0 ? p->nodes[node].dbeta : NULL;
    CF_TRY(cf_cuda_dense_backward(p->backend->stream, &dense));
    CF_TRY(cf_cuda_mark(p, CF_PHASE_POOL));
    CF_TRY(cf_cuda_add(p, sums, n->weight, dense.gweight, 1));

    return cf_cuda_mark(p, CF_PHASE_SUMS);
}

static cf_err loss_and_gradient(cf_program *p, void *sums)
{
    const cf_graph *g = p->graph;
    int last = g->n_nodes - 1;
    CF_TRY(cf_cuda_loss(p->backend->stream, g->nodes[last].in_shape.n, g->n_outputs, g->n_classes,
                        p->class_of, p->labels, g->label_smoothing,
                        cf_cuda_slot(p, g->nodes[last].in, CF_SLOT_Z), p->scale, p->loss_scratch,
                        cf_cuda_slot(p, last, CF_SLOT_GIN), p->loss));
    CF_TRY(cf_cuda_add_loss(p, sums));
    return cf_cuda_mark(p, CF_PHASE_POOL);
}

/* The short tensors of a range join it, and its event says that it is whole. Inside a recording an
 * event is a node of the graph, which others wait for from outside. */
static cf_err finish_range(cf_program *p, int node, void *sums)
{
    unsigned flags = p->recording ? cudaEventRecordExternal : cudaEventRecordDefault;
    for (int i = 0; i < p->n_ready; i++) {
        if (p->ready_node[i] != node) continue;
        int64_t first = i > 0 ? p->ready_shorts[i - 1] : 0;
        CF_TRY(cf_cuda_add_shorts(p, sums, first, p->ready_shorts[i]));
        CF_TRY(cf_cuda_check(cudaEventRecordWithFlags(p->ready[i].event, p->backend->stream, flags),
                             "cudaEventRecord"));
    }
    return CF_OK;
}

cf_err cf_cuda_backward(cf_program *p, void *sums)
{
    /* Before the loss, as on every backend: the first tensor that went wrong is the one named. */
    CF_TRY(cf_cuda_add_moments(p, sums));
    CF_TRY(cf_cuda_mark(p, CF_PHASE_SUMS));
    CF_TRY(loss_and_gradient(p, sums));
    int end = p->options.frozen ? cf_graph_first_kept(p->graph) : 0;
    for (int i = p->graph->n_nodes - 2; i > end; i--) {
        switch (p->graph->nodes[i].op) {
        case CF_OP_DENSE:
            CF_TRY(backward_dense(p, i, sums));
            break;
        case CF_OP_CONV:
            CF_TRY(backward_conv(p, i, sums));
            break;
        default:
            CF_TRY(backward_pool(p, i));
            break;
        }
        CF_TRY(finish_range(p, i, sums));
    }
    CF_TRY(finish_range(p, 0, sums));
    return cf_cuda_mark(p, CF_PHASE_SUMS);
}
