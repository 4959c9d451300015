/* What the forward and the backward pass share. */
#include "kernels/cuda/program.h"

void *cf_cuda_slot(const cf_program *p, int node, cf_slot slot)
{
    if (slot == CF_SLOT_Z && p->graph->nodes[node].op == CF_OP_INPUT) return p->input;
    const cf_buffer *b = &p->plan.buffers[node][slot];
    return b->bytes > 0 ? p->arena + b->offset : NULL;
}

static float slope_of(const cf_conv *conv)
{
    return conv->act == CF_ACT_NONE ? 1.0f : conv->act == CF_ACT_LEAKY ? conv->slope : 0.0f;
}

/* A node's convolution through its normalisation and activation. */
static cf_cuda_view normalised_view(const cf_program *p, int node)
{
    const cf_conv *conv = &p->graph->nodes[node].conv;
    const cf_cuda_norm *norm = &p->nodes[node].norm;
    return (cf_cuda_view){.x = cf_cuda_slot(p, node, CF_SLOT_Y),
                          .scale = norm->scale,
                          .shift = norm->shift,
                          .act = conv->act,
                          .slope = slope_of(conv),
                          .per_image = p->nodes[node].per_image};
}

cf_cuda_group_norm cf_cuda_group_norm_of(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cuda_node *own = &p->nodes[node];
    return (cf_cuda_group_norm){.n_images = n->out_shape.n,
                                .rows = n->out_shape.h * n->out_shape.w,
                                .c = n->out_shape.c,
                                .groups = n->conv.norm_groups,
                                .eps = n->conv.norm_eps,
                                .gamma = own->gamma,
                                .beta = own->beta,
                                .bias = own->bias,
                                .norm = own->norm,
                                .own_mean = own->own_mean,
                                .partials = p->partials};
}

cf_cuda_view cf_cuda_output(const cf_program *p, int node)
{
    const cf_cuda_node *own = &p->nodes[node];
    if (own->virtual || own->folded) return normalised_view(p, node);
    return (cf_cuda_view){.x = cf_cuda_slot(p, node, CF_SLOT_Z), .act = CF_ACT_NONE, .slope = 1.0f};
}

cf_cuda_norm_pass cf_cuda_pass(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cuda_node *own = &p->nodes[node];
    cf_cuda_norm_pass pass = {.rows = n->out_shape.n * n->out_shape.h * n->out_shape.w,
                              .c = n->out_shape.c,
                              .dtype = p->options.dtype,
                              .z = cf_cuda_slot(p, node, CF_SLOT_Z),
                              .mask = own->mask};
    if (own->normalised) {
        pass.y = normalised_view(p, node);
        pass.mean = own->norm.mean;
    } else {
        pass.y = (cf_cuda_view){
            .x = pass.z, .shift = own->bias, .act = n->conv.act, .slope = slope_of(&n->conv)};
    }
    if (n->residual >= 0) pass.residual = cf_cuda_output(p, n->residual);
    if (pass.y.per_image || pass.residual.per_image) pass.n_images = n->out_shape.n;
    return pass;
}

int cf_cuda_contributions(const cf_program *p, int node, const void *parts[CF_GRAPH_MAX_USES])
{
    const cf_node *own = &p->graph->nodes[node];
    for (int u = 0; u < own->n_uses; u++) {
        const cf_node *reader = &p->graph->nodes[own->uses[u]];
        parts[u] = cf_cuda_slot(p, own->uses[u], reader->in == node ? CF_SLOT_GIN : CF_SLOT_GRES);
    }
    return own->n_uses;
}

/* ---- into the sums ----------------------------------------------------------------------------
 */

int32_t cf_cuda_number(const cf_graph *g, int param)
{
    cf_param_kind kind = g->params[param].kind;
    return kind == CF_PARAM_MEAN || kind == CF_PARAM_VAR ? param : 2 * g->n_params - param;
}

cf_err cf_cuda_add(cf_program *p, void *sums, int param, const float *values, int64_t n_parts)
{
    const cf_graph *g = p->graph;
    const cf_param *t = &g->params[param];
    const cf_node *n = &g->nodes[t->node];
    bool images = n->op == CF_OP_CONV && g->nodes[n->in].op == CF_OP_INPUT;
    int64_t c = images ? t->dim[3] : 1, c_stored = images ? p->input_c : 1;
    cf_cuda_sum sum = {.values = values,
                       .n_parts = n_parts,
                       .n_stored = t->count / c * c_stored,
                       .n = t->count,
                       .c = c,
                       .c_stored = c_stored,
                       .scale = p->scale,
                       .sums = sums,
                       .offset = t->offset,
                       .flag = cf_sums_count(g),
                       .reduce = p->options.reduce,
                       .bits = CF_EXACT_GRAD_BITS,
                       .fault = p->fault,
                       .number = cf_cuda_number(g, param)};
    return cf_cuda_sums_add(p->backend->stream, &sum);
}

cf_err cf_cuda_add_moments(cf_program *p, void *sums)
{
    cf_cuda_scatter moments = {.values = p->moments,
                               .n = p->graph->n_state,
                               .first = p->graph->n_weights,
                               .numbers = p->moment_numbers,
                               .sums = sums,
                               .flag = cf_sums_count(p->graph),
                               .reduce = p->options.reduce,
                               .bits = CF_EXACT_STATE_BITS,
                               .fault = p->fault};
    return cf_cuda_sums_scatter(p->backend->stream, &moments);
}

cf_err cf_cuda_add_shorts(cf_program *p, void *sums, int64_t first, int64_t end)
{
    cf_cuda_scatter shorts = {.values = p->shorts + first,
                              .n = end - first,
                              .targets = p->short_targets + first,
                              .numbers = p->short_numbers + first,
                              .scale = p->scale,
                              .sums = sums,
                              .flag = cf_sums_count(p->graph),
                              .reduce = p->options.reduce,
                              .bits = CF_EXACT_GRAD_BITS,
                              .fault = p->fault};
    return cf_cuda_sums_scatter(p->backend->stream, &shorts);
}

cf_err cf_cuda_add_loss(cf_program *p, void *sums)
{
    const cf_graph *g = p->graph;
    cf_cuda_sum sum = {.values = p->loss,
                       .n_parts = 1,
                       .n_stored = 2,
                       .n = 2,
                       .c = 1,
                       .c_stored = 1,
                       .sums = sums,
                       .offset = g->n_weights + g->n_state,
                       .flag = cf_sums_count(g),
                       .reduce = p->options.reduce,
                       .bits = CF_EXACT_GRAD_BITS,
                       .fault = p->fault,
                       .number = g->n_params};
    return cf_cuda_sums_add(p->backend->stream, &sum);
}
