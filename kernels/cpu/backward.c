/* The backward pass of a program, and a micro-batch's results into the step's sum. */
#include "kernels/base/log.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/program.h"
#include "kernels/cpu/sums.h"

/* The pass of a node's gradient. What is behind the activation is kept where a residual's or a
 * sum's reader needs it, and where it already is the convolution's own gradient. */
static cf_norm_pass gradient_pass(const cf_program *p, int node, int64_t slice)
{
    cf_norm_pass pass = cf_cpu_norm_pass(p, node, slice);
    pass.n_contributions = cf_cpu_contributions(p, node, slice, pass.contributions);
    pass.gy = cf_cpu_gradient_at(p, node, slice);
    void *gres = cf_cpu_slot_at(p, node, CF_SLOT_GRES, slice);
    bool residual = p->graph->nodes[node].residual >= 0;
    if (residual || pass.n_contributions > 1 || !p->nodes[node].normalised)
        pass.masked = gres != NULL ? gres : cf_cpu_slot_at(p, node, CF_SLOT_GY, slice);
    return pass;
}

static void reduce_gradient(cf_program *p, int node, int64_t first, int64_t end)
{
    for (int64_t slice = first; slice < end; slice++) {
        cf_norm_pass pass = gradient_pass(p, node, slice);
        cf_norm_reduce(&pass, p->nodes[node].slice_sums[slice]);
    }
}

/* What a chunk of `worker` has given of the listed nodes. */
static void reduce_list(cf_program *p, int worker, const cf_node_list *list, int64_t chunk)
{
    if (list->n == 0) return;
    int64_t start = cf_clock_ns();
    for (int i = 0; i < list->n; i++) {
        int node = list->items[i];
        reduce_gradient(p, node, cf_cpu_first_slice(p, worker, chunk, node),
                        cf_cpu_first_slice(p, worker, chunk + 1, node));
    }
    (void)cf_cpu_lap(p, CF_PHASE_NORM, start);
}

static cf_err reduce_chunk(cf_program *p, int node, int64_t chunk)
{
    const cf_node_list self = {&node, 1};
    reduce_list(p, node, &self, chunk);
    return CF_OK;
}

static void pool_backward(cf_program *p, int node, int64_t chunk)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cpu_node *own = &p->nodes[node];
    cf_pool pool = {.node = n, .n_images = own->chunk, .dtype = p->options.dtype};
    pool.n_contributions =
        cf_cpu_contributions(p, node, cf_cpu_first_slice(p, node, chunk, node), pool.contributions);
    pool.gin = cf_cpu_slot_at(p, node, CF_SLOT_GIN, cf_cpu_first_slice(p, node, chunk, n->in));
    if (own->winner != NULL) pool.winner = own->winner + cf_pool_winners(n) * chunk * own->chunk;
    if (n->op == CF_OP_MAXPOOL) {
        cf_pool_max_backward(&pool);
    } else {
        cf_pool_mean_backward(&pool);
    }
}

static cf_err conv_backward_chunk(cf_program *p, int node, int64_t chunk)
{
    cf_cpu_node *own = &p->nodes[node];
    int64_t first = cf_cpu_first_slice(p, node, chunk, node), start = cf_clock_ns();
    int64_t end = cf_cpu_first_slice(p, node, chunk + 1, node);
    for (int64_t slice = first; own->normalised && slice < end; slice++) {
        cf_norm_pass pass = gradient_pass(p, node, slice);
        cf_norm_backward(&pass);
    }
    int in = p->graph->nodes[node].in;
    bool tiled = own->conv.tiled && !p->options.frozen;
    if (tiled && p->nodes[in].passing)
        cf_cpu_write_output(p, in, cf_cpu_first_slice(p, node, chunk, in),
                            cf_cpu_first_slice(p, node, chunk + 1, in));
    start = cf_cpu_lap(p, CF_PHASE_NORM, start);
    if (tiled) {
        cf_conv_backward_tiles(&own->conv, chunk);
        start = cf_cpu_lap(p, CF_PHASE_WEIGHTS, start);
    }
    if (own->conv.data == NULL) return CF_OK;
    CF_TRY(cf_conv_backward_data(&own->conv, chunk));
    (void)cf_cpu_lap(p, CF_PHASE_DATA, start);
    return CF_OK;
}

static cf_err backward_chunk(cf_program *p, int node, int64_t chunk)
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cpu_node *own = &p->nodes[node];
    bool wanted = cf_cpu_slot(p, node, CF_SLOT_GIN) != NULL;
    if (n->op == CF_OP_CONV) {
        CF_TRY(conv_backward_chunk(p, node, chunk));
    } else if (wanted && (n->op == CF_OP_MAXPOOL || n->op == CF_OP_AVGPOOL)) {
        int64_t start = cf_clock_ns();
        pool_backward(p, node, chunk);
        (void)cf_cpu_lap(p, CF_PHASE_POOL, start);
    }
    reduce_list(p, node, &own->reduce, chunk);
    return CF_OK;
}

/* The same of a group normalisation: what the next pass needs is each image's own. */
static cf_err finish_reduce_images(cf_program *p, int node, void *sums)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cpu_node *own = &p->nodes[node];
    cf_group_norm g = cf_cpu_group_norm(p, node);
#pragma omp parallel for num_threads(p->backend->n_threads) schedule(static)
    for (int64_t i = 0; i < n->out_shape.n; i++)
        cf_group_norm_reduce_finish(&g, own->slice_sums + i * own->slices, &own->norm[i]);
    cf_group_norm_gradients(&g, own->slice_sums, own->norm, n->out_shape.n, own->dgamma, own->dbeta,
                            own->dbias);
    CF_TRY(cf_cpu_add(p, sums, n->gamma, own->dgamma));
    CF_TRY(cf_cpu_add(p, sums, n->beta, own->dbeta));
    return n->bias >= 0 ? cf_cpu_add(p, sums, n->bias, own->dbias) : CF_OK;
}

/* Gradients of gamma and beta or of the bias, and what the next pass over the pixels needs. */
static cf_err finish_reduce(cf_program *p, int node, void *sums)
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cpu_node *own = &p->nodes[node];
    int64_t k = n->out_shape.c;
    if (own->per_image) return finish_reduce_images(p, node, sums);
    if (own->normalised) {
        cf_norm_reduce_finish(own->norm, own->slice_sums, n->out_shape.n * own->slices,
                              n->out_shape.h * n->out_shape.w / own->slices, k, own->gamma,
                              own->dgamma, own->dbeta);
        CF_TRY(cf_cpu_add(p, sums, n->gamma, own->dgamma));
        return cf_cpu_add(p, sums, n->beta, own->dbeta);
    }
    if (n->bias < 0) return CF_OK;
    for (int64_t c = 0; c < k; c++) {
        double sum = 0.0;
        for (int64_t slice = 0; slice < n->out_shape.n * own->slices; slice++)
            sum += own->slice_sums[slice].first[c];
        own->dbeta[c] = (float)sum;
    }
    return cf_cpu_add(p, sums, n->bias, own->dbeta);
}

static cf_err backward_conv(cf_program *p, int node, void *sums)
{
    cf_cpu_node *own = &p->nodes[node];
    if (!own->reduced) CF_TRY(cf_cpu_for_chunks(p, node, reduce_chunk));
    CF_TRY(finish_reduce(p, node, sums));
    CF_TRY(cf_cpu_for_chunks(p, node, backward_chunk));
    if (p->options.frozen) return CF_OK;
    const float *gradient = NULL;
    int64_t start = cf_clock_ns();
    CF_TRY(cf_conv_backward_weights(&own->conv, &gradient));
    start = cf_cpu_lap(p, CF_PHASE_WEIGHTS, start);
    CF_TRY(cf_cpu_add(p, sums, p->graph->nodes[node].weight, gradient));
    (void)cf_cpu_lap(p, CF_PHASE_SUMS, start);
    return CF_OK;
}

static cf_err backward_dense(cf_program *p, int node, void *sums)
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cpu_node *own = &p->nodes[node];
    int64_t start = cf_clock_ns();
    cf_dense d = {.n = n->out_shape.n,
                  .f = cf_shape_elements(n->in_shape) / n->in_shape.n,
                  .k = n->out_shape.c,
                  .dtype = p->options.dtype,
                  .x = cf_cpu_slot(p, n->in, CF_SLOT_Z),
                  .weight = own->dense,
                  .glogits = cf_cpu_slot(p, n->uses[0], CF_SLOT_GIN),
                  .gx = cf_cpu_slot(p, node, CF_SLOT_GIN),
                  .gweight = own->ddense,
                  .gbias = n->bias >= 0 ? own->dbeta : NULL};
    cf_dense_backward(&d);
    start = cf_cpu_lap(p, CF_PHASE_POOL, start);
    CF_TRY(cf_cpu_add(p, sums, n->weight, own->ddense));
    if (n->bias >= 0) CF_TRY(cf_cpu_add(p, sums, n->bias, own->dbeta));
    (void)cf_cpu_lap(p, CF_PHASE_SUMS, start);
    return own->reduce.n > 0 ? cf_cpu_for_chunks(p, node, backward_chunk) : CF_OK;
}

static cf_err add_loss(cf_program *p, void *sums)
{
    const cf_graph *g = p->graph;
    int last = g->n_nodes - 1;
    double loss = 0.0, correct = 0.0;
    cf_dense_loss(g, g->nodes[last].in_shape.n, cf_cpu_slot(p, g->nodes[last].in, CF_SLOT_Z),
                  p->batch->labels, p->loss_scratch, cf_cpu_slot(p, last, CF_SLOT_GIN), &loss,
                  &correct);
    float values[2] = {(float)loss, (float)correct};
    if (cf_sums_add(sums, p->options.reduce, CF_EXACT_GRAD_BITS, g->n_weights + g->n_state, 2,
                    values))
        return CF_OK;
    return cf_fail(CF_E_NUMERIC, "loss is %g: not finite or above %g", loss,
                   (double)CF_EXACT_GRAD_LIMIT);
}

/* Before the loss, so that the first tensor that went wrong is the one named. */
static cf_err add_moments(cf_program *p, void *sums)
{
    for (int i = 0; i < p->graph->n_nodes; i++) {
        const cf_node *n = &p->graph->nodes[i];
        if (!p->nodes[i].normalised || p->nodes[i].per_image) continue;
        CF_TRY(cf_cpu_add(p, sums, n->mean, p->nodes[i].mean));
        CF_TRY(cf_cpu_add(p, sums, n->var, p->nodes[i].unbiased));
    }
    return CF_OK;
}

cf_err cf_cpu_backward(cf_program *p, void *sums)
{
    CF_TRY(add_moments(p, sums));
    CF_TRY(add_loss(p, sums));
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
            CF_TRY(cf_cpu_for_chunks(p, i, backward_chunk));
            break;
        }
    }
    return CF_OK;
}
