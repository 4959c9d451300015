/* What a program holds on the device: one arena by its memory plan, packed weights, per-channel
 * arrays, scratch. Everything is allocated here; nothing on the step path. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/program.h"

cf_err cf_cuda_keep(cf_program *p, size_t bytes, const char *what, void *out)
{
    if (p->n_blocks == p->reserved_blocks) {
        int wanted = p->reserved_blocks ? 2 * p->reserved_blocks : 64;
        CF_TRY(cf_resize(&p->blocks, (size_t)wanted, sizeof *p->blocks));
        p->reserved_blocks = wanted;
    }
    void *block = NULL;
    CF_TRY(cf_cuda_alloc(p->backend, bytes, what, &block));
    p->blocks[p->n_blocks++] = block;
    p->bytes += bytes;
    memcpy(out, &block, sizeof block);
    return CF_OK;
}

/* ---- activations ------------------------------------------------------------------------------
 */

static cf_err place_arena(cf_program *p)
{
    const cf_graph *g = p->graph;
    bool(*unwritten)[CF_N_SLOTS] = NULL;
    CF_TRY(cf_new(&unwritten, (size_t)g->n_nodes, sizeof *unwritten));
    for (int i = 0; i < g->n_nodes; i++) {
        unwritten[i][CF_SLOT_Z] = p->nodes[i].virtual || p->nodes[i].folded;
        unwritten[i][CF_SLOT_GY] = p->nodes[i].virtual_gradient;
    }
    cf_err err = cf_graph_plan_lean(g, p->options.mode, p->options.dtype,
                                    (const bool(*)[CF_N_SLOTS])unwritten, &p->plan);
    free(unwritten);
    CF_TRY(err);
    return cf_cuda_keep(p, p->plan.arena_bytes, "activations", &p->arena);
}

static cf_err place_images(cf_program *p)
{
    const cf_shape *s = &p->graph->nodes[0].out_shape;
    size_t n = (size_t)s->n, pixels = (size_t)(s->n * s->h * s->w);
    CF_TRY(cf_cuda_keep(p, pixels * (size_t)p->input_c * cf_dtype_bytes(p->options.dtype), "images",
                        &p->input));
    CF_TRY(cf_cuda_keep(p, n * sizeof *p->images, "images", &p->images));
    CF_TRY(cf_cuda_keep(p, n * sizeof *p->labels, "labels", &p->labels));
    for (int i = 0; i < 2; i++) {
        cf_cuda_feed *f = &p->feeds[i];
        CF_TRY(cf_cuda_check(cudaMallocHost((void **)&f->h_images, n * sizeof *f->h_images),
                             "cudaMallocHost"));
        CF_TRY(cf_cuda_check(cudaMallocHost((void **)&f->h_labels, n * sizeof *f->h_labels),
                             "cudaMallocHost"));
        cudaEvent_t *const events[] = {&f->listed, &f->moved, &f->used};
        for (size_t e = 0; e < sizeof events / sizeof *events; e++)
            CF_TRY(cf_cuda_check(cudaEventCreateWithFlags(events[e], cudaEventDisableTiming),
                                 "cudaEventCreate"));
    }
    return CF_OK;
}

/* ---- per node ---------------------------------------------------------------------------------
 */

static cf_err place_channels(cf_program *p, const cf_node *n, cf_cuda_node *own)
{
    size_t bytes = (size_t)n->out_shape.c * sizeof(float);
    if (own->per_image) bytes *= (size_t)n->out_shape.n;
    if (own->per_image && n->bias >= 0)
        CF_TRY(cf_cuda_keep(p, bytes, "normalisation", &own->own_mean));
    float **const arrays[] = {&own->norm.mean, &own->norm.rstd, &own->norm.scale, &own->norm.shift,
                              &own->norm.a,    &own->norm.b,    &own->norm.d};
    for (size_t i = 0; own->normalised && i < sizeof arrays / sizeof *arrays; i++)
        CF_TRY(cf_cuda_keep(p, bytes, "normalisation", arrays[i]));
    return CF_OK;
}

static cf_err place_node(cf_program *p, int i)
{
    const cf_node *n = &p->graph->nodes[i];
    cf_cuda_node *own = &p->nodes[i];
    size_t elements = (size_t)cf_shape_elements(n->out_shape);
    bool train = p->options.mode == CF_MODE_TRAIN;
    if (n->op == CF_OP_MAXPOOL && train)
        CF_TRY(cf_cuda_keep(p, elements, "max-pool", &own->winner));
    if (n->op != CF_OP_CONV) return CF_OK;
    CF_TRY(place_channels(p, n, own));
    if (train && n->residual >= 0 && n->conv.act != CF_ACT_NONE)
        CF_TRY(cf_cuda_keep(p, (elements + 7) / 8, "masks", &own->mask));
    return CF_OK;
}

/* ---- weights ----------------------------------------------------------------------------------
 */

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Where a parameter's packed copy goes in its node; NULL: not packed (state). */
static void set_pointer(cf_cuda_node *own, const cf_node *n, int param, uint8_t *at)
{
    float *values = (float *)(void *)at;
    if (param == n->gamma) own->gamma = values;
    if (param == n->beta) own->beta = values;
    if (param == n->bias) own->bias = values;
    if (param != n->weight) return;
    if (n->op == CF_OP_DENSE)
        own->dense = values;
    else
        own->filter = at;
}

/* Filters in the activations' type, padded where images are; everything else fp32. */
static cf_cuda_pack_item item_of(const cf_program *p, int param)
{
    const cf_param *t = &p->graph->params[param];
    const cf_node *n = &p->graph->nodes[t->node];
    bool filter = t->kind == CF_PARAM_WEIGHT && n->op == CF_OP_CONV;
    bool images = filter && p->graph->nodes[n->in].op == CF_OP_INPUT;
    int c = images ? (int)t->dim[3] : 1;
    return (cf_cuda_pack_item){.from = t->offset,
                               .n = t->count,
                               .c = c,
                               .c_stored = images ? p->input_c : 1,
                               .dtype = filter ? p->options.dtype : CF_F32};
}

static cf_err place_weights(cf_program *p)
{
    const cf_graph *g = p->graph;
    cf_cuda_pack_item *items = NULL;
    size_t bytes = 0;
    CF_TRY(cf_new(&items, (size_t)g->n_params, sizeof *items));
    cf_err err = CF_OK;
    for (int i = 0; i < g->n_params; i++) {
        if (g->params[i].kind == CF_PARAM_MEAN || g->params[i].kind == CF_PARAM_VAR) continue;
        cf_cuda_pack_item *item = &items[p->n_items++];
        *item = item_of(p, i);
        item->to = (int64_t)bytes;
        int64_t stored = item->n / item->c * item->c_stored;
        if (stored > p->most_items) p->most_items = stored;
        bytes += round_up((size_t)stored * cf_dtype_bytes(item->dtype));
    }
    size_t table = (size_t)p->n_items * sizeof *items;
    CF_TRY_GOTO(cf_cuda_keep(p, bytes, "packed weights", &p->packed), out);
    CF_TRY_GOTO(cf_cuda_keep(p, table, "packed weights", &p->items), out);
    CF_TRY_GOTO(cf_cuda_check(cudaMemcpyAsync(p->items, items, table, cudaMemcpyHostToDevice,
                                              p->backend->stream),
                              "copy to the device"),
                out);
    CF_TRY_GOTO(cf_cuda_check(cudaStreamSynchronize(p->backend->stream), "copy to the device"),
                out);
    for (int i = 0, k = 0; i < g->n_params; i++) {
        if (g->params[i].kind == CF_PARAM_MEAN || g->params[i].kind == CF_PARAM_VAR) continue;
        int node = g->params[i].node;
        set_pointer(&p->nodes[node], &g->nodes[node], i, p->packed + items[k++].to);
    }
out:
    free(items);
    return err;
}

cf_err cf_cuda_set_weights(cf_program *p, const float *weights, const float *state)
{
    cudaStream_t s = p->backend->stream;
    const cf_graph *g = p->graph;
    CF_TRY(cf_cuda_use(p->backend));
    CF_TRY(cf_cuda_timer_start(p));
    CF_TRY(cf_cuda_pack(s, p->items, p->n_items, p->most_items, weights, p->packed));
    for (int i = 0; p->options.mode == CF_MODE_INFER && i < g->n_nodes; i++) {
        const cf_node *n = &g->nodes[i];
        const cf_cuda_node *own = &p->nodes[i];
        if (!own->normalised || own->per_image) continue;
        CF_TRY(cf_cuda_norm_from_running(s, n->out_shape.c, n->conv.norm_eps, own->gamma, own->beta,
                                         own->bias, state + g->params[n->mean].offset,
                                         state + g->params[n->var].offset, &own->norm));
    }
    CF_TRY(cf_cuda_mark(p, CF_PHASE_PACK));
    CF_TRY(cf_cuda_timer_stop(p));
    p->is_ready = true;
    return CF_OK;
}

/* ---- scratch ----------------------------------------------------------------------------------
 */

static void raise_to(size_t *most, size_t bytes)
{
    if (bytes > *most) *most = bytes;
}

static cf_err place_scratch(cf_program *p)
{
    const cf_graph *g = p->graph;
    size_t partials = 0, images = 0, workspace = 0, gradient = 0; /* images: doubles */
    for (int i = 0; i < g->n_nodes; i++) {
        const cf_node *n = &g->nodes[i];
        const cf_cuda_node *own = &p->nodes[i];
        if (n->op != CF_OP_CONV) continue;
        size_t k = (size_t)n->out_shape.c, c = (size_t)n->in_shape.c;
        int64_t rows = n->out_shape.n * n->out_shape.h * n->out_shape.w;
        if (own->per_image)
            raise_to(&images, (size_t)cf_cuda_group_norm_room(
                                  n->out_shape.n, n->out_shape.h * n->out_shape.w, n->out_shape.c));
        raise_to(&partials, (size_t)cf_cuda_norm_parts(rows, n->out_shape.c) * k);
        raise_to(&partials, (size_t)own->forward.parts * k);
        raise_to(&partials, (size_t)own->data.parts * c);
        raise_to(&gradient,
                 (size_t)own->weights.parts * (size_t)cf_geometry_filter(&own->geometry));
        raise_to(&workspace, own->forward.workspace);
        raise_to(&workspace, own->data.workspace);
        raise_to(&workspace, own->weights.workspace);
    }
    CF_TRY(cf_cuda_keep(p, workspace, "the engines' workspace", &p->workspace));
    bool train = p->options.mode == CF_MODE_TRAIN;
    size_t doubles = train ? 2 * partials : 0; /* inference sums where norms are each image's */
    raise_to(&doubles, images);
    if (doubles > 0)
        CF_TRY(cf_cuda_keep(p, doubles * sizeof(double), "sums over pixels", &p->partials));
    if (!train) return CF_OK;
    return cf_cuda_keep(p, gradient * sizeof(float), "split gradients", &p->gradient);
}

static cf_err place_tail(cf_program *p)
{
    const cf_graph *g = p->graph;
    const cf_node *last = &g->nodes[g->n_nodes - 1], *dense = &g->nodes[last->in];
    size_t n = (size_t)last->in_shape.n, outputs = (size_t)g->n_outputs;
    size_t class_bytes = outputs * sizeof(int);
    CF_TRY(cf_cuda_keep(p, class_bytes, "classes", &p->class_of));
    CF_TRY(cf_cuda_check(cudaMemcpyAsync(p->class_of, g->class_of, class_bytes,
                                         cudaMemcpyHostToDevice, p->backend->stream),
                         "copy to the device"));
    CF_TRY(cf_cuda_keep(p, sizeof *p->scale, "scale", &p->scale));
    CF_TRY(cf_cuda_keep(p, sizeof *p->fault, "fault", &p->fault));
    CF_TRY(cf_cuda_check(cudaMemsetAsync(p->fault, 0x7F, sizeof *p->fault, p->backend->stream),
                         "cudaMemsetAsync"));
    CF_TRY(cf_cuda_check(cudaMallocHost((void **)&p->h_logits, n * outputs * sizeof(float)),
                         "cudaMallocHost"));
    if (p->options.mode != CF_MODE_TRAIN) return CF_OK;
    size_t weights = (size_t)g->params[dense->weight].count;
    CF_TRY(cf_cuda_keep(p, weights * sizeof(float), "dense layer", &p->dense_gradient));
    CF_TRY(cf_cuda_keep(p, 2 * sizeof(float), "loss", &p->loss));
    return cf_cuda_keep(p, n * (size_t)(g->n_classes + 2) * sizeof(float), "loss",
                        &p->loss_scratch);
}

/* ---- all of it --------------------------------------------------------------------------------
 */

cf_err cf_cuda_place(cf_program *p)
{
    CF_TRY(place_arena(p));
    CF_TRY(place_images(p));
    for (int i = 0; i < p->graph->n_nodes; i++) CF_TRY(place_node(p, i));
    CF_TRY(place_weights(p));
    CF_TRY(place_scratch(p));
    CF_TRY(place_tail(p));
    if (p->options.mode == CF_MODE_TRAIN) CF_TRY(cf_cuda_place_shorts(p));
    return cf_cuda_check(cudaStreamSynchronize(p->backend->stream), "cudaStreamSynchronize");
}

void cf_cuda_unplace(cf_program *p)
{
    for (int i = 0; i < p->n_ready; i++) (void)cudaEventDestroy(p->ready[i].event);
    for (int i = 0; i < 2; i++) {
        cf_cuda_feed *f = &p->feeds[i];
        cudaEvent_t const events[] = {f->listed, f->moved, f->used};
        for (size_t e = 0; e < sizeof events / sizeof *events; e++)
            if (events[e] != NULL) (void)cudaEventDestroy(events[e]);
        (void)cudaFree(f->pixels);
        (void)cudaFreeHost(f->h_labels);
        (void)cudaFreeHost(f->h_images);
    }
    (void)cudaFreeHost(p->h_logits);
    (void)cudaFree(p->host_images);
    for (int i = 0; i < p->n_blocks; i++) (void)cudaFree(p->blocks[i]);
    free(p->blocks);
}
