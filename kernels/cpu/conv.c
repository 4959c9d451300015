#include "kernels/cpu/conv.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { SLAB_BF16 = 32, SLAB_F32 = 16 };

static bool is_pointwise(const cf_node *node)
{
    return node->conv.kernel == 1 && node->conv.groups == 1 && node->pad_top == 0 &&
           node->pad_left == 0;
}

static bool is_gathered(const cf_node *node)
{
    return is_pointwise(node) && node->conv.stride > 1;
}

/* A 1x1 filter sees pixels, not images: one long row of them is what oneDNN cuts best. */
static void as_one_row(cf_dnnl_conv *spec, int64_t pixels)
{
    spec->w = spec->ow = pixels;
    spec->n = spec->h = spec->oh = spec->stride = 1;
    spec->pad_bottom = spec->pad_right = 0;
}

static cf_dnnl_conv spec_of(const cf_conv_setup *s, const cf_slab *slab, int64_t n_chunks)
{
    const cf_node *node = s->node;
    cf_dnnl_conv spec = {.n = node->in_shape.n / n_chunks,
                         .h = node->in_shape.h,
                         .w = node->in_shape.w,
                         .c = node->in_shape.c,
                         .k = node->out_shape.c,
                         .oh = node->out_shape.h,
                         .ow = node->out_shape.w,
                         .kernel = node->conv.kernel,
                         .stride = node->conv.stride,
                         .groups = node->conv.groups / slab->merged,
                         .pad_top = node->pad_top,
                         .pad_left = node->pad_left,
                         .pad_bottom = node->pad_bottom,
                         .pad_right = node->pad_right,
                         .dtype = s->dtype,
                         .bias = s->bias,
                         .activate = s->activate,
                         .slope = node->conv.act == CF_ACT_LEAKY ? node->conv.slope : 0.0f};
    const cf_shape *out = &node->out_shape;
    if (is_pointwise(node)) as_one_row(&spec, out->n * out->h * out->w / n_chunks);
    return spec;
}

/* The gradient of a 1x1 convolution's input is a 1x1 convolution with the transposed filter, for
 * which oneDNN 2.6 has a kernel 1.5 to 3 times as fast as for the gradient. */
static cf_err create_data(cf_dnnl *d, const cf_conv_setup *s, cf_dnnl_conv spec, cf_dnnl_op **out)
{
    if (!is_pointwise(s->node)) return cf_dnnl_conv_create(d, &spec, CF_DNNL_BACKWARD_DATA, out);
    spec.c = s->node->out_shape.c;
    spec.k = s->node->in_shape.c;
    spec.bias = spec.activate = false;
    return cf_dnnl_conv_create(d, &spec, CF_DNNL_FORWARD, out);
}

/* Filters up to this many elements: each thread has a sum of its own that stays near. Grouped ones
 * always, since oneDNN 2.6 is slowest for them. (2^19 and 2^21 measured: no gain, and a third
 * slower.) */
bool cf_conv_is_tiled(const cf_node *node, cf_dtype dtype)
{
    enum { MOST = 1 << 18, MOST_GROUPED = 1 << 19 };
    if (dtype != CF_BF16 || !cf_tiles_available()) return false;
    int64_t elements = cf_tiles_output(node);
    return elements > 0 && elements <= (node->conv.groups > 1 ? MOST_GROUPED : MOST);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Primitives that run on one thread are made for one. */
static cf_err init_chunked(cf_dnnl *d, cf_conv_run *run)
{
    const cf_conv_setup *s = &run->setup;
    cf_dnnl_conv spec = spec_of(s, &run->slab, run->n_chunks);
    cf_err err = CF_OK;
    if (run->n_chunks > 1) omp_set_num_threads(1);
    CF_TRY_GOTO(cf_dnnl_conv_create(d, &spec, CF_DNNL_FORWARD, &run->forward), out);
    run->sizes.scratch = cf_dnnl_bytes(run->forward, CF_DNNL_SCRATCH);
    run->sizes.packed[0] = cf_dnnl_bytes(run->forward, CF_DNNL_WEIGHTS);
    if (s->want_gin) {
        CF_TRY_GOTO(create_data(d, s, spec, &run->data), out);
        size_t scratch = cf_dnnl_bytes(run->data, CF_DNNL_SCRATCH);
        run->sizes.scratch = larger(run->sizes.scratch, scratch);
        run->sizes.packed[1] = cf_dnnl_bytes(run->data, CF_DNNL_WEIGHTS);
    }
out:
    omp_set_num_threads(s->n_threads);
    return err;
}

static cf_err init_pack(cf_dnnl *d, cf_conv_run *run)
{
    const cf_dnnl_op *ops[2] = {run->forward, run->data};
    for (int i = 0; i < 2; i++) {
        if (ops[i] == NULL) continue;
        bool transposed = i == 1 && is_pointwise(run->setup.node);
        CF_TRY(cf_dnnl_pack_create(d, ops[i], run->setup.dtype, transposed, &run->pack[i]));
        run->sizes.scratch_all =
            larger(run->sizes.scratch_all, cf_dnnl_bytes(run->pack[i], CF_DNNL_SCRATCH));
    }
    run->sizes.filter = (size_t)cf_slab_elements(&run->slab) * cf_dtype_bytes(run->setup.dtype);
    return CF_OK;
}

/* The filter's gradient as gy^T in, over all pixels. */
static cf_err init_outer_product(cf_dnnl *d, cf_conv_run *run)
{
    const cf_node *node = run->setup.node;
    const cf_shape *out = &node->out_shape;
    int64_t c = node->in_shape.c, pixels = out->n * out->h * out->w;
    cf_dnnl_matmul spec = {.rows = out->c,
                           .cols = c,
                           .inner = pixels,
                           .a_stride = out->c,
                           .b_stride = c,
                           .dst_stride = c,
                           .a_transposed = true,
                           .dtype = run->setup.dtype};
    CF_TRY(cf_dnnl_matmul_create(d, &spec, &run->weights));
    run->sizes.gradient = cf_dnnl_bytes(run->weights, CF_DNNL_DST);
    return CF_OK;
}

static cf_err init_tiles(cf_conv_run *run)
{
    const cf_conv_setup *s = &run->setup;
    CF_TRY(cf_tiles_plan(s->node, run->n_chunks, &run->tiles));
    run->sizes.tiles = cf_tiles_scratch(&run->tiles);
    run->sizes.expanded = (size_t)cf_tiles_elements(&run->tiles) * sizeof(float);
    run->sizes.gradient = run->sizes.expanded * (size_t)s->n_threads;
    return CF_OK;
}

static cf_err init_conv_weights(cf_dnnl *d, cf_conv_run *run)
{
    cf_dnnl_conv spec = spec_of(&run->setup, &run->slab, 1);
    CF_TRY(cf_dnnl_conv_create(d, &spec, CF_DNNL_BACKWARD_WEIGHTS, &run->weights));
    CF_TRY(cf_dnnl_unpack_create(d, run->weights, &run->unpack));
    run->sizes.gradient = cf_dnnl_bytes(run->weights, CF_DNNL_WEIGHTS);
    run->sizes.expanded = cf_dnnl_bytes(run->unpack, CF_DNNL_DST);
    run->sizes.scratch_all =
        larger(run->sizes.scratch_all, cf_dnnl_bytes(run->unpack, CF_DNNL_SCRATCH));
    /* A merged filter's own blocks are taken out into where the raw gradient was. */
    size_t filter = (size_t)cf_slab_elements(&run->slab) * sizeof(float);
    run->sizes.gradient = larger(run->sizes.gradient, filter);
    return CF_OK;
}

static cf_err init_weights(cf_dnnl *d, cf_conv_run *run)
{
    if (run->tiled) return init_tiles(run);
    if (is_pointwise(run->setup.node)) {
        CF_TRY(init_outer_product(d, run));
    } else {
        CF_TRY(init_conv_weights(d, run));
    }
    run->sizes.scratch_all =
        larger(run->sizes.scratch_all, cf_dnnl_bytes(run->weights, CF_DNNL_SCRATCH));
    return CF_OK;
}

/* Bytes of one chunk of an activation. */
static size_t chunk_bytes(const cf_conv_run *run, cf_shape shape)
{
    return (size_t)(cf_shape_elements(shape) / run->n_chunks) * cf_dtype_bytes(run->setup.dtype);
}

cf_err cf_conv_init(cf_dnnl *d, const cf_conv_setup *setup, cf_conv_run *run)
{
    const cf_node *node = setup->node;
    run->setup = *setup;
    run->n_chunks = setup->n_chunks;
    run->chunk_images = node->in_shape.n / setup->n_chunks;
    run->slab = cf_slab_plan(node->in_shape.c, node->out_shape.c, node->conv.groups,
                             node->conv.kernel, setup->dtype == CF_F32 ? SLAB_F32 : SLAB_BF16);
    run->tiled = setup->mode == CF_MODE_TRAIN && cf_conv_is_tiled(node, setup->dtype);
    if (setup->in_chunk) run->sizes.in = chunk_bytes(run, node->in_shape);
    if (setup->gy_chunk) run->sizes.gy = chunk_bytes(run, node->out_shape);
    if (is_gathered(node))
        run->sizes.gathered =
            (size_t)(node->out_shape.n * node->out_shape.h * node->out_shape.w * node->in_shape.c) *
            cf_dtype_bytes(setup->dtype);
    cf_err err = init_chunked(d, run);
    if (err == CF_OK) err = init_pack(d, run);
    if (err == CF_OK && setup->mode == CF_MODE_TRAIN) err = init_weights(d, run);
    return err == CF_OK ? CF_OK : cf_where(err, "node %s", node->name);
}

/* ---- binding ----------------------------------------------------------------------------------
 */

/* Where a chunk's thread finds its part of an activation: in the whole, or in its own memory. */
static void *part_of(const cf_conv_run *run, int64_t chunk, void *whole, cf_shape shape, void **own)
{
    if (own != NULL) return own[cf_chunk_thread(chunk, run->n_chunks, run->setup.n_threads)];
    return (char *)whole + chunk_bytes(run, shape) * (size_t)chunk;
}

static void *chunk_in(const cf_conv_run *run, int64_t chunk)
{
    void **own = run->setup.in_chunk ? run->memory.in_chunk : NULL;
    return part_of(run, chunk, run->memory.in, run->setup.node->in_shape, own);
}

static void *chunk_gy(const cf_conv_run *run, int64_t chunk)
{
    void **own = run->setup.gy_chunk ? run->memory.gy_chunk : NULL;
    return part_of(run, chunk, run->memory.gy, run->setup.node->out_shape, own);
}

static cf_err bind_chunk(cf_dnnl *d, cf_conv_run *run, int64_t chunk)
{
    const cf_node *node = run->setup.node;
    const cf_conv_memory *m = &run->memory;
    char *dense = (char *)m->gathered + run->sizes.gathered / (size_t)run->n_chunks * (size_t)chunk;
    bool gathered = run->sizes.gathered > 0;
    void *scratch = m->scratch[cf_chunk_thread(chunk, run->n_chunks, run->setup.n_threads)];
    void *args[CF_DNNL_N_ARGS] = {[CF_DNNL_SRC] = gathered ? dense : chunk_in(run, chunk),
                                  [CF_DNNL_WEIGHTS] = m->packed[0],
                                  [CF_DNNL_BIAS] = m->bias,
                                  [CF_DNNL_DST] =
                                      part_of(run, chunk, m->out, node->out_shape, NULL),
                                  [CF_DNNL_SCRATCH] = scratch};
    CF_TRY(cf_dnnl_bind(d, run->forward, args, &run->forward_calls[chunk]));
    if (run->data == NULL) return CF_OK;
    void *gin = gathered ? dense : part_of(run, chunk, m->gin, node->in_shape, NULL);
    bool forward = is_pointwise(node); /* with the transposed filter */
    args[CF_DNNL_SRC] = forward ? chunk_gy(run, chunk) : gin;
    args[CF_DNNL_DST] = forward ? gin : chunk_gy(run, chunk);
    args[CF_DNNL_WEIGHTS] = m->packed[1];
    return cf_dnnl_bind(d, run->data, args, &run->data_calls[chunk]);
}

static cf_err bind_pack(cf_dnnl *d, cf_conv_run *run)
{
    const cf_conv_memory *m = &run->memory;
    for (int i = 0; i < 2; i++) {
        if (run->pack[i] == NULL) continue;
        void *args[CF_DNNL_N_ARGS] = {[CF_DNNL_SRC] = m->filter,
                                      [CF_DNNL_DST] = m->packed[i],
                                      [CF_DNNL_SCRATCH] = m->scratch_all};
        CF_TRY(cf_dnnl_bind(d, run->pack[i], args, &run->pack_calls[i]));
    }
    return CF_OK;
}

static cf_err bind_weights(cf_dnnl *d, cf_conv_run *run)
{
    const cf_conv_memory *m = &run->memory;
    void *in = run->sizes.gathered > 0 ? m->gathered : m->in;
    if (run->unpack == NULL) {
        void *args[CF_DNNL_N_ARGS] = {[CF_DNNL_SRC] = m->gy,
                                      [CF_DNNL_WEIGHTS] = in,
                                      [CF_DNNL_DST] = m->gradient,
                                      [CF_DNNL_SCRATCH] = m->scratch_all};
        return cf_dnnl_bind(d, run->weights, args, &run->weights_call);
    }
    void *args[CF_DNNL_N_ARGS] = {[CF_DNNL_SRC] = in,
                                  [CF_DNNL_WEIGHTS] = m->gradient,
                                  [CF_DNNL_DST] = m->gy,
                                  [CF_DNNL_SCRATCH] = m->scratch_all};
    CF_TRY(cf_dnnl_bind(d, run->weights, args, &run->weights_call));
    void *turn[CF_DNNL_N_ARGS] = {[CF_DNNL_SRC] = m->gradient,
                                  [CF_DNNL_DST] = m->expanded,
                                  [CF_DNNL_SCRATCH] = m->scratch_all};
    return cf_dnnl_bind(d, run->unpack, turn, &run->unpack_call);
}

cf_err cf_conv_bind(cf_dnnl *d, const cf_conv_memory *memory, cf_conv_run *run)
{
    run->memory = *memory;
    CF_TRY(cf_new(&run->forward_calls, (size_t)run->n_chunks, sizeof *run->forward_calls));
    CF_TRY(cf_new(&run->data_calls, (size_t)run->n_chunks, sizeof *run->data_calls));
    for (int64_t c = 0; c < run->n_chunks; c++) CF_TRY(bind_chunk(d, run, c));
    CF_TRY(bind_pack(d, run));
    return run->weights != NULL ? bind_weights(d, run) : CF_OK;
}

static void destroy_calls(cf_dnnl_call **calls, int64_t n)
{
    if (calls == NULL) return;
    for (int64_t i = 0; i < n; i++) cf_dnnl_call_destroy(calls[i]);
    free(calls);
}

void cf_conv_fini(cf_conv_run *run)
{
    destroy_calls(run->forward_calls, run->n_chunks);
    destroy_calls(run->data_calls, run->n_chunks);
    cf_tiles_fini(&run->tiles);
    cf_dnnl_call_destroy(run->weights_call);
    cf_dnnl_call_destroy(run->unpack_call);
    for (int i = 0; i < 2; i++) {
        cf_dnnl_call_destroy(run->pack_calls[i]);
        cf_dnnl_op_destroy(run->pack[i]);
    }
    cf_dnnl_op_destroy(run->forward);
    cf_dnnl_op_destroy(run->data);
    cf_dnnl_op_destroy(run->weights);
    cf_dnnl_op_destroy(run->unpack);
    *run = (cf_conv_run){0};
}

/* ---- running ----------------------------------------------------------------------------------
 */

cf_err cf_conv_set_weights(cf_conv_run *run, const float *filter)
{
    cf_slab_expand(&run->slab, filter, run->setup.dtype, run->memory.filter);
    for (int i = 0; i < 2; i++)
        if (run->pack_calls[i] != NULL) CF_TRY(cf_dnnl_run(run->pack_calls[i]));
    return CF_OK;
}

/* One row of pixels that a strided 1x1 filter reads. */
typedef struct strided_row {
    char *dense, *sparse; /* first pixel: one after the other, and with the stride between */
    size_t pixel;         /* bytes */
} strided_row;

/* Output row `row` counted over all images; `sparse` is the input or its gradient. */
static strided_row row_at(const cf_conv_run *run, void *sparse, int64_t row)
{
    const cf_node *node = run->setup.node;
    const cf_shape *in = &node->in_shape, *out = &node->out_shape;
    size_t pixel = (size_t)in->c * cf_dtype_bytes(run->setup.dtype);
    int64_t from = row / out->h * in->h + row % out->h * node->conv.stride;
    return (strided_row){.dense = (char *)run->memory.gathered + (size_t)(row * out->w) * pixel,
                         .sparse = (char *)sparse + (size_t)(from * in->w) * pixel,
                         .pixel = pixel};
}

static void gather(const cf_conv_run *run, int64_t first, int64_t end)
{
    const cf_node *node = run->setup.node;
    size_t step = (size_t)node->conv.stride;
    for (int64_t i = first * node->out_shape.h; i < end * node->out_shape.h; i++) {
        strided_row r = row_at(run, run->memory.in, i);
        for (size_t x = 0; x < (size_t)node->out_shape.w; x++)
            memcpy(r.dense + x * r.pixel, r.sparse + x * step * r.pixel, r.pixel);
    }
}

/* The gradient of pixels that the filter does not read is zero. */
static void scatter(const cf_conv_run *run, int64_t first, int64_t end)
{
    const cf_node *node = run->setup.node;
    const cf_shape *in = &node->in_shape;
    size_t step = (size_t)node->conv.stride;
    size_t image = (size_t)(in->h * in->w * in->c) * cf_dtype_bytes(run->setup.dtype);
    memset((char *)run->memory.gin + (size_t)first * image, 0, (size_t)(end - first) * image);
    for (int64_t i = first * node->out_shape.h; i < end * node->out_shape.h; i++) {
        strided_row r = row_at(run, run->memory.gin, i);
        for (size_t x = 0; x < (size_t)node->out_shape.w; x++)
            memcpy(r.sparse + x * step * r.pixel, r.dense + x * r.pixel, r.pixel);
    }
}

cf_err cf_conv_forward(cf_conv_run *run, int64_t chunk)
{
    int64_t first = chunk * run->chunk_images;
    if (run->sizes.gathered > 0) gather(run, first, first + run->chunk_images);
    return cf_dnnl_run(run->forward_calls[chunk]);
}

cf_err cf_conv_backward_data(cf_conv_run *run, int64_t chunk)
{
    int64_t first = chunk * run->chunk_images;
    CF_TRY(cf_dnnl_run(run->data_calls[chunk]));
    if (run->sizes.gathered > 0) scatter(run, first, first + run->chunk_images);
    return CF_OK;
}

void cf_conv_backward_tiles(cf_conv_run *run, int64_t chunk)
{
    int n_threads = run->setup.n_threads;
    int thread = cf_chunk_thread(chunk, run->n_chunks, n_threads);
    bool fresh = chunk == 0 || cf_chunk_thread(chunk - 1, run->n_chunks, n_threads) != thread;
    float *sum = (float *)run->memory.gradient + cf_tiles_elements(&run->tiles) * thread;
    cf_tiles_add(&run->tiles, chunk_in(run, chunk), chunk_gy(run, chunk), fresh, sum,
                 run->memory.tiles[thread]);
}

static const float *finish_tiles(cf_conv_run *run)
{
    int64_t n = run->setup.n_threads;
    if (n > run->n_chunks) n = run->n_chunks; /* a single chunk is the first thread's */
    return cf_tiles_finish(&run->tiles, run->memory.gradient, n, run->memory.expanded);
}

cf_err cf_conv_backward_weights(cf_conv_run *run, const float **filter_gradient)
{
    if (run->tiled) {
        *filter_gradient = finish_tiles(run);
        return CF_OK;
    }
    if (run->sizes.gathered > 0) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < run->setup.node->in_shape.n; i++) gather(run, i, i + 1);
    }
    CF_TRY(cf_dnnl_run(run->weights_call));
    *filter_gradient = run->memory.gradient;
    if (run->unpack_call == NULL) return CF_OK;
    CF_TRY(cf_dnnl_run(run->unpack_call));
    *filter_gradient = run->memory.expanded;
    if (run->slab.merged == 1) return CF_OK;
    cf_slab_extract(&run->slab, run->memory.expanded, run->memory.gradient);
    *filter_gradient = run->memory.gradient;
    return CF_OK;
}
