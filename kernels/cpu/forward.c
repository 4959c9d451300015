/* The forward pass of a program: input, convolutions, pools, dense, loss. */
#include "kernels/base/log.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/program.h"
#include "kernels/cpu/simd.h"

/* The micro-batch's images into the input's Z. */
static void load_images(cf_program *p, int64_t first, int64_t end)
{
    const cf_shape *s = &p->graph->nodes[0].out_shape;
    int64_t slice = s->h * s->w * s->c / p->nodes[0].slices, n = (end - first) * slice;
    const float *from = p->batch->images + first * slice;
    void *to = cf_cpu_slot_at(p, 0, CF_SLOT_Z, first);
    if (p->options.dtype == CF_F32) {
        memcpy(to, from, (size_t)n * sizeof *from);
        return;
    }
    int64_t i = 0;
    for (; i + CF_LANES <= n; i += CF_LANES)
        cf_vec_store(to, i, CF_BF16, cf_vec_load(from, i, CF_F32));
    if (i < n) {
        int lanes = (int)(n - i);
        cf_vec_store_part(to, i, CF_BF16, lanes, cf_vec_load_part(from, i, CF_F32, lanes));
    }
}

void cf_cpu_write_output(cf_program *p, int node, int64_t first, int64_t end)
{
    if (p->graph->nodes[node].op == CF_OP_INPUT) {
        load_images(p, first, end);
        return;
    }
    for (int64_t slice = first; slice < end; slice++) {
        cf_norm_pass pass = cf_cpu_norm_pass(p, node, slice);
        cf_norm_apply(&pass);
    }
}

/* What a chunk of `worker` needs of the listed nodes. */
static void write_list(cf_program *p, int worker, const cf_node_list *list, int64_t chunk)
{
    int64_t start = cf_clock_ns();
    for (int i = 0; i < list->n; i++) {
        int node = list->items[i];
        cf_cpu_write_output(p, node, cf_cpu_first_slice(p, worker, chunk, node),
                            cf_cpu_first_slice(p, worker, chunk + 1, node));
    }
    if (list->n > 0) (void)cf_cpu_lap(p, CF_PHASE_NORM, start);
}

static cf_pool pool_of(const cf_program *p, int node, int64_t chunk)
{
    const cf_node *n = &p->graph->nodes[node];
    int64_t out = cf_cpu_first_slice(p, node, chunk, node), image = chunk * p->nodes[node].chunk;
    cf_pool pool = {.node = n,
                    .n_images = p->nodes[node].chunk,
                    .dtype = p->options.dtype,
                    .out = cf_cpu_slot_at(p, node, CF_SLOT_Z, out)};
    pool.in = cf_cpu_output_at(p, n->in, cf_cpu_first_slice(p, node, chunk, n->in));
    if (p->nodes[node].winner != NULL)
        pool.winner = p->nodes[node].winner + cf_pool_winners(n) * image;
    return pool;
}

/* Inference with each image's own statistics: a chunk is whole images. */
static void normalise_images(cf_program *p, int node, int64_t first, int64_t end)
{
    const cf_cpu_node *own = &p->nodes[node];
    cf_group_norm g = cf_cpu_group_norm(p, node);
    for (int64_t from = first; from < end; from += own->slices) {
        for (int64_t slice = from; slice < from + own->slices; slice++) {
            cf_norm_pass pass = cf_cpu_norm_pass(p, node, slice);
            cf_norm_statistics(&pass, own->slice_sums[slice]);
        }
        cf_group_norm_finish(&g, own->slice_sums + from, cf_cpu_norm_of(p, node, from));
        cf_cpu_write_output(p, node, from, from + own->slices);
    }
}

/* A convolution and what can follow it at once: the statistics of training, the normalisation of
 * inference, or without one the residual and the activation. */
static cf_err conv_chunk(cf_program *p, int node, int64_t chunk)
{
    cf_cpu_node *own = &p->nodes[node];
    int64_t first = cf_cpu_first_slice(p, node, chunk, node), start = cf_clock_ns();
    int64_t end = cf_cpu_first_slice(p, node, chunk + 1, node);
    CF_TRY(cf_conv_forward(&own->conv, chunk));
    start = cf_cpu_lap(p, CF_PHASE_FORWARD, start);
    bool train = p->options.mode == CF_MODE_TRAIN, images = own->per_image && !train;
    if (images) normalise_images(p, node, first, end);
    for (int64_t slice = first; slice < end && !images; slice++) {
        cf_norm_pass pass = cf_cpu_norm_pass(p, node, slice);
        if (own->normalised && train) {
            cf_norm_statistics(&pass, own->slice_sums[slice]);
        } else if (own->normalised || p->graph->nodes[node].residual >= 0) {
            cf_norm_apply(&pass);
        }
    }
    (void)cf_cpu_lap(p, CF_PHASE_NORM, start);
    return CF_OK;
}

static cf_err forward_chunk(cf_program *p, int node, int64_t chunk)
{
    const cf_cpu_node *own = &p->nodes[node];
    write_list(p, node, &own->write, chunk);
    cf_op op = p->graph->nodes[node].op;
    if (op == CF_OP_CONV) return conv_chunk(p, node, chunk);
    if (op != CF_OP_MAXPOOL && op != CF_OP_AVGPOOL) return CF_OK;
    int64_t start = cf_clock_ns();
    cf_pool pool = pool_of(p, node, chunk);
    if (op == CF_OP_MAXPOOL) {
        cf_pool_max(&pool);
    } else {
        cf_pool_mean(&pool);
    }
    (void)cf_cpu_lap(p, CF_PHASE_POOL, start);
    return CF_OK;
}

static cf_err write_after_chunk(cf_program *p, int node, int64_t chunk)
{
    write_list(p, node, &p->nodes[node].write_after, chunk);
    return CF_OK;
}

/* Every image by itself. */
static void finish_images(const cf_program *p, int node)
{
    const cf_cpu_node *own = &p->nodes[node];
    cf_group_norm g = cf_cpu_group_norm(p, node);
    int64_t n = p->graph->nodes[node].out_shape.n;
#pragma omp parallel for num_threads(p->backend->n_threads) schedule(static)
    for (int64_t i = 0; i < n; i++)
        cf_group_norm_finish(&g, own->slice_sums + i * own->slices, &own->norm[i]);
}

static void finish_statistics(cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cpu_node *own = &p->nodes[node];
    int64_t k = n->out_shape.c;
    if (own->per_image) {
        finish_images(p, node);
        return;
    }
    cf_norm_finish(own->norm, own->slice_sums, n->out_shape.n * own->slices,
                   n->out_shape.h * n->out_shape.w / own->slices, k, n->conv.norm_eps, own->gamma,
                   own->beta, own->unbiased);
    /* A bias before batch normalisation is taken away again by it, with a gradient of exactly zero,
     * so training leaves it out; the running mean has to know it, for inference does not. */
    for (int64_t c = 0; c < k; c++)
        own->mean[c] = own->norm->mean[c] + (own->bias != NULL ? own->bias[c] : 0.0f);
}

static void forward_dense(cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    const cf_cpu_node *own = &p->nodes[node];
    cf_dense d = {.n = n->out_shape.n,
                  .f = cf_shape_elements(n->in_shape) / n->in_shape.n,
                  .k = n->out_shape.c,
                  .dtype = p->options.dtype,
                  .x = cf_cpu_slot(p, n->in, CF_SLOT_Z),
                  .weight = own->dense,
                  .bias = own->bias,
                  .logits = cf_cpu_slot(p, node, CF_SLOT_Z)};
    int64_t start = cf_clock_ns();
    cf_dense_forward(&d);
    (void)cf_cpu_lap(p, CF_PHASE_POOL, start);
}

cf_err cf_cpu_forward(cf_program *p, const cf_batch *batch)
{
    p->batch = batch;
    bool train = p->options.mode == CF_MODE_TRAIN;
    for (int i = 1; i < p->graph->n_nodes - 1; i++) {
        CF_TRY(cf_cpu_for_chunks(p, i, forward_chunk));
        if (p->graph->nodes[i].op == CF_OP_DENSE) forward_dense(p, i);
        if (!train) continue;
        if (p->nodes[i].normalised) finish_statistics(p, i);
        if (p->nodes[i].write_after.n > 0) CF_TRY(cf_cpu_for_chunks(p, i, write_after_chunk));
    }
    p->ran = true;
    return CF_OK;
}
