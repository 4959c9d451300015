/* A graph into a program: memory, primitives, order of the passes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/program.h"

/* ---- memory -----------------------------------------------------------------------------------
 */

enum { HUGE_PAGE = 2 << 20 };

static cf_err remember(cf_program *p, cf_cpu_block block, size_t bytes)
{
    if (p->n_blocks == p->reserved_blocks) {
        int wanted = p->reserved_blocks ? 2 * p->reserved_blocks : 64;
        CF_TRY(cf_resize(&p->blocks, (size_t)wanted, sizeof *p->blocks));
        p->reserved_blocks = wanted;
    }
    p->blocks[p->n_blocks++] = block;
    p->bytes += bytes;
    return CF_OK;
}

/* Large blocks come from the system, page by page when they are touched (of what is planned but
 * never written there is then none), and ask for huge pages: fewer misses of the address
 * translation. */
static cf_err allocate(size_t bytes, cf_cpu_block *block)
{
    *block = (cf_cpu_block){0};
    if (bytes < HUGE_PAGE) return cf_new_aligned(&block->memory, bytes, 1);
    size_t rounded = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *p = MAP_FAILED;
    if (rounded >= bytes)
        p = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return cf_fail(CF_E_UNEXPECTED, "out of memory: %zu bytes for activations", bytes);
    (void)madvise(p, rounded, MADV_HUGEPAGE); /* advice: without it all is as before */
    *block = (cf_cpu_block){p, rounded};
    return CF_OK;
}

static void release_block(cf_cpu_block block)
{
    if (block.mapped > 0) {
        (void)munmap(block.memory, block.mapped);
    } else {
        free(block.memory);
    }
}

cf_err cf_cpu_keep(cf_program *p, size_t n, size_t item_bytes, void *out)
{
    size_t bytes = 0;
    cf_cpu_block block;
    if (!cf_size_mul(n, item_bytes, &bytes))
        return cf_fail(CF_E_UNEXPECTED, "block of %zu x %zu bytes", n, item_bytes);
    CF_TRY(allocate(bytes, &block));
    cf_err err = remember(p, block, bytes);
    if (err != CF_OK) {
        release_block(block);
        return err;
    }
    memcpy(out, &block.memory, sizeof block.memory);
    return CF_OK;
}

/* ---- what this backend can run ----------------------------------------------------------------
 */

static bool refuse(char *why, size_t n_why, const char *reason)
{
    snprintf(why, n_why, "%s", reason);
    return false;
}

bool cf_cpu_supports(const cf_backend *b, const cf_node *node, const cf_compile_options *o,
                     char *why, size_t n_why)
{
    (void)b;
    if (o->dtype == CF_F16)
        return refuse(why, n_why, "precision fp16: the CPU backend has fp32 and bf16");
    if (node->op == CF_OP_MAXPOOL && node->conv.kernel > CF_POOL_MAX_KERNEL)
        return refuse(why, n_why, "max-pool kernel above 15");
    if (node->op == CF_OP_CONV && node->conv.act == CF_ACT_LEAKY &&
        !(node->conv.slope >= 0.0f && node->conv.slope <= 1.0f))
        return refuse(why, n_why, "slope of the activation outside of 0 to 1");
    return true;
}

static cf_err check_graph(const cf_backend *b, const cf_graph *g, const cf_memory_plan *plan,
                          const cf_compile_options *o)
{
    if (plan->mode != o->mode || plan->dtype != o->dtype || plan->n_nodes != g->n_nodes)
        return cf_fail(CF_E_UNEXPECTED, "memory plan and compile options differ");
    for (int i = 0; i < g->n_nodes; i++) {
        char why[160];
        if (!cf_cpu_supports(b, &g->nodes[i], o, why, sizeof why))
            return cf_fail(CF_E_DEVICE, "node %s: %s", g->nodes[i].name, why);
    }
    return cf_graph_check_tail(g, "CPU");
}

/* ---- nodes ------------------------------------------------------------------------------------
 */

/* The second-level cache, for what one thread works on; two threads may share it. */
enum { CACHE = 1 << 19 };

static bool is_pointwise(const cf_node *n)
{
    return n->op == CF_OP_CONV && n->conv.kernel == 1 && n->conv.stride == 1;
}

static size_t both_bytes(const cf_program *p, const cf_node *n)
{
    return (size_t)((cf_shape_elements(n->in_shape) + cf_shape_elements(n->out_shape)) /
                    n->out_shape.n) *
           cf_dtype_bytes(p->options.dtype);
}

/* Slices (rows of pixels) of one image: as few as keep every 1x1 convolution of this height and
 * width in the cache. The same for all nodes of that size, so that one's slices are another's. */
static int64_t slices_of(const cf_program *p, const cf_shape *size)
{
    size_t most = 0;
    for (int i = 0; i < p->graph->n_nodes; i++) {
        const cf_node *n = &p->graph->nodes[i];
        bool same = n->out_shape.h == size->h && n->out_shape.w == size->w;
        if (same && is_pointwise(n) && both_bytes(p, n) > most) most = both_bytes(p, n);
    }
    for (int64_t s = 1; s < size->h; s++)
        if (size->h % s == 0 && most / (size_t)s <= CACHE) return s;
    return size->h;
}

/* Parts (slices or images) of a chunk: a divisor of their number that keeps the activations of a
 * node in the cache, or a few times its filter if that is larger, and leaves every thread a chunk.
 * A micro-batch with fewer parts than threads is one chunk, in which only the convolutions use all
 * threads. */
static int64_t chunk_of(const cf_program *p, const cf_node *n, int64_t split)
{
    int64_t parts = n->out_shape.n * split, threads = p->backend->n_threads, best = 1;
    if (parts < threads) return parts;
    size_t part = both_bytes(p, n) / (size_t)split;
    size_t filter = n->weight >= 0 ? (size_t)p->graph->params[n->weight].count *
                                         cf_dtype_bytes(p->options.dtype)
                                   : 0;
    size_t limit = filter > CACHE ? filter : CACHE;
    for (int64_t d = 2; d <= parts / threads; d++)
        if (parts % d == 0 && part * (size_t)d <= limit) best = d;
    return best;
}

/* One image's arrays (or the micro-batch's) lie together, each on cache lines of its own. */
static cf_err keep_norm(cf_program *p, const cf_node *n, cf_cpu_node *own)
{
    enum { ARRAYS = 8, LINE = 16 };
    size_t k = (size_t)(n->out_shape.c + LINE - 1) / LINE * LINE;
    size_t count = own->per_image ? (size_t)n->out_shape.n : 1;
    float *at = NULL;
    CF_TRY(cf_cpu_keep(p, count, sizeof *own->norm, &own->norm));
    CF_TRY(cf_cpu_keep(p, count * ARRAYS * k, sizeof *at, &at));
    for (size_t i = 0; i < count; i++) {
        cf_norm_channels *c = &own->norm[i];
        float **const arrays[ARRAYS] = {&c->mean, &c->rstd, &c->scale, &c->shift,
                                        &c->a,    &c->b,    &c->d,     &c->own_mean};
        for (int a = 0; a < ARRAYS; a++, at += k) *arrays[a] = at;
        if (!own->per_image || n->bias < 0) c->own_mean = NULL;
    }
    return CF_OK;
}

static cf_err keep_channels(cf_program *p, const cf_node *n, cf_cpu_node *own)
{
    size_t k = (size_t)n->out_shape.c;
    float **const arrays[] = {&own->gamma, &own->beta, &own->mean, &own->unbiased, &own->dgamma};
    for (size_t i = 0; own->normalised && i < sizeof arrays / sizeof *arrays; i++)
        CF_TRY(cf_cpu_keep(p, k, sizeof(float), arrays[i]));
    if (own->normalised) CF_TRY(keep_norm(p, n, own));
    CF_TRY(cf_cpu_keep(p, k, sizeof(float), &own->dbeta));
    if (n->bias >= 0) CF_TRY(cf_cpu_keep(p, k, sizeof(float), &own->bias));
    if (n->bias >= 0 && own->per_image) CF_TRY(cf_cpu_keep(p, k, sizeof(float), &own->dbias));
    bool summed = p->options.mode == CF_MODE_TRAIN || own->per_image;
    if (!summed || n->op != CF_OP_CONV) return CF_OK;
    size_t slices = (size_t)(n->out_shape.n * own->slices);
    double *sums = NULL;
    CF_TRY(cf_cpu_keep(p, slices * 2 * k, sizeof *sums, &sums));
    CF_TRY(cf_cpu_keep(p, slices, sizeof *own->slice_sums, &own->slice_sums));
    for (size_t i = 0; i < slices; i++)
        own->slice_sums[i] = (cf_norm_sums){sums + 2 * i * k, sums + (2 * i + 1) * k};
    return CF_OK;
}

/* Read by one node only, which needs it chunk by chunk only. */
static bool is_passing(const cf_program *p, int i)
{
    const cf_node *n = &p->graph->nodes[i];
    if (p->options.mode != CF_MODE_TRAIN || !p->nodes[i].normalised) return false;
    if (n->n_uses != 1 || n->residual >= 0) return false;
    const cf_node *reader = &p->graph->nodes[n->uses[0]];
    if (reader->in != i) return false;
    if (reader->op == CF_OP_MAXPOOL) return true;
    bool strided = reader->conv.kernel == 1 && reader->conv.stride > 1;
    return reader->op == CF_OP_CONV && !strided && cf_conv_is_tiled(reader, p->options.dtype);
}

static cf_err prepare_conv(cf_program *p, int i)
{
    const cf_node *n = &p->graph->nodes[i];
    cf_cpu_node *own = &p->nodes[i];
    bool plain = !own->normalised && n->residual < 0, train = p->options.mode == CF_MODE_TRAIN;
    bool tiled = train && cf_conv_is_tiled(n, p->options.dtype);
    cf_conv_setup setup = {.node = n,
                           .dtype = p->options.dtype,
                           .mode = p->options.mode,
                           .n_chunks = own->n_chunks,
                           .n_threads = p->backend->n_threads,
                           .bias = !own->normalised && n->bias >= 0,
                           .activate = plain && n->conv.act != CF_ACT_NONE,
                           .want_gin = cf_cpu_slot(p, i, CF_SLOT_GIN) != NULL,
                           .in_chunk = p->nodes[n->in].passing,
                           .gy_chunk = tiled && own->normalised};
    return cf_conv_init(p->backend->dnnl, &setup, &own->conv);
}

static cf_err prepare_node(cf_program *p, int i)
{
    const cf_node *n = &p->graph->nodes[i];
    cf_cpu_node *own = &p->nodes[i];
    bool train = p->options.mode == CF_MODE_TRAIN;
    own->slices = slices_of(p, &n->out_shape);
    /* Group normalisation's inference needs an image whole, to finish its output at once. */
    bool whole = own->per_image && !train;
    own->split = is_pointwise(n) && !whole ? own->slices : 1;
    own->chunk = chunk_of(p, n, own->split);
    own->n_chunks = n->out_shape.n * own->split / own->chunk;
    own->passing = is_passing(p, i);
    if (n->op == CF_OP_MAXPOOL && train)
        CF_TRY(cf_cpu_keep(p, (size_t)(n->out_shape.n * cf_pool_winners(n)), 1, &own->winner));
    if (n->op != CF_OP_CONV && n->op != CF_OP_DENSE) return CF_OK;
    CF_TRY(keep_channels(p, n, own));
    if (n->op == CF_OP_DENSE) {
        size_t count = (size_t)p->graph->params[n->weight].count;
        CF_TRY(cf_cpu_keep(p, count, sizeof(float), &own->dense));
        return train ? cf_cpu_keep(p, count, sizeof(float), &own->ddense) : CF_OK;
    }
    return prepare_conv(p, i);
}

/* Memory that nodes share, each as large as the one that needs most. */
typedef struct shared_memory {
    size_t filter, gradient, expanded, gathered, scratch_all;
    size_t scratch, tiles, in, gy; /* each thread's */
} shared_memory;

static void grow(size_t *size, size_t wanted)
{
    if (wanted > *size) *size = wanted;
}

static shared_memory shared_needs(const cf_program *p)
{
    shared_memory need = {0};
    for (int i = 0; i < p->graph->n_nodes; i++) {
        const cf_conv_sizes *s = &p->nodes[i].conv.sizes;
        grow(&need.filter, s->filter);
        grow(&need.gradient, s->gradient);
        grow(&need.expanded, s->expanded);
        grow(&need.gathered, s->gathered);
        grow(&need.scratch_all, s->scratch_all);
        grow(&need.scratch, s->scratch);
        grow(&need.tiles, s->tiles);
        grow(&need.in, s->in);
        grow(&need.gy, s->gy);
        if (!p->nodes[i].passing) continue; /* a pool may be the reader */
        const cf_node *n = &p->graph->nodes[i];
        size_t all = (size_t)cf_shape_elements(n->out_shape) * cf_dtype_bytes(p->options.dtype);
        grow(&need.in, all / (size_t)p->nodes[n->uses[0]].n_chunks);
    }
    return need;
}

/* One block for each thread. */
static cf_err keep_each(cf_program *p, size_t bytes, void ***out)
{
    CF_TRY(cf_cpu_keep(p, (size_t)p->backend->n_threads, sizeof **out, out));
    for (int t = 0; t < p->backend->n_threads; t++) CF_TRY(cf_cpu_keep(p, bytes, 1, &(*out)[t]));
    return CF_OK;
}

static cf_err keep_shared(cf_program *p)
{
    shared_memory need = shared_needs(p);
    cf_conv_memory *m = &p->shared;
    CF_TRY(cf_cpu_keep(p, need.filter, 1, &m->filter));
    CF_TRY(cf_cpu_keep(p, need.gradient, 1, &m->gradient));
    CF_TRY(cf_cpu_keep(p, need.expanded, 1, &m->expanded));
    CF_TRY(cf_cpu_keep(p, need.gathered, 1, &m->gathered));
    CF_TRY(cf_cpu_keep(p, need.scratch_all, 1, &m->scratch_all));
    CF_TRY(keep_each(p, need.scratch, &m->scratch));
    CF_TRY(keep_each(p, need.tiles, &m->tiles));
    CF_TRY(keep_each(p, need.in, &m->in_chunk));
    return keep_each(p, need.gy, &m->gy_chunk);
}

static cf_err bind_node(cf_program *p, int i)
{
    const cf_node *n = &p->graph->nodes[i];
    cf_cpu_node *own = &p->nodes[i];
    cf_conv_memory m = p->shared;
    for (int k = 0; k < 2; k++)
        if (own->conv.sizes.packed[k] > 0)
            CF_TRY(cf_cpu_keep(p, own->conv.sizes.packed[k], 1, &m.packed[k]));
    m.in = cf_cpu_slot(p, n->in, CF_SLOT_Z);
    m.out = cf_cpu_slot(p, i, own->normalised ? CF_SLOT_Y : CF_SLOT_Z);
    m.gin = cf_cpu_slot(p, i, CF_SLOT_GIN);
    m.gy = cf_cpu_slot(p, i, CF_SLOT_GY);
    /* Without normalisation the gradient behind the activation is the convolution's own. */
    void *gres = cf_cpu_slot(p, i, CF_SLOT_GRES);
    if (!own->normalised && gres != NULL) m.gy = gres;
    m.bias = own->bias;
    return cf_conv_bind(p->backend->dnnl, &m, &own->conv);
}

static cf_err build(cf_program *p)
{
    const cf_graph *g = p->graph;
    CF_TRY(cf_cpu_keep(p, p->plan->arena_bytes, 1, &p->arena));
    CF_TRY(cf_cpu_keep(p, (size_t)g->n_classes, sizeof(float), &p->loss_scratch));
    for (int i = 0; i < g->n_nodes; i++) {
        cf_norm norm = g->nodes[i].op == CF_OP_CONV ? g->nodes[i].conv.norm : CF_NORM_NONE;
        p->nodes[i].normalised = norm != CF_NORM_NONE;
        p->nodes[i].per_image = norm == CF_NORM_GROUP;
    }
    for (int i = 0; i < g->n_nodes; i++) CF_TRY(prepare_node(p, i));
    CF_TRY(keep_shared(p));
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == CF_OP_CONV) CF_TRY(bind_node(p, i));
    return cf_cpu_order(p);
}

cf_err cf_cpu_compile(cf_backend *b, const cf_graph *g, const cf_memory_plan *plan,
                      const cf_compile_options *o, cf_program **out)
{
    CF_TRY(check_graph(b, g, plan, o));
    cf_program *p = NULL;
    CF_TRY(cf_new(&p, 1, sizeof *p));
    *p = (cf_program){.backend = b, .graph = g, .plan = plan, .options = *o};
    cf_err err = cf_cpu_keep(p, (size_t)g->n_nodes, sizeof *p->nodes, &p->nodes);
    if (err == CF_OK) err = build(p);
    if (err != CF_OK) {
        cf_cpu_release(p);
        return err;
    }
    *out = p;
    return CF_OK;
}

void cf_cpu_release(cf_program *p)
{
    if (p == NULL) return;
    for (int i = 0; p->nodes != NULL && i < p->graph->n_nodes; i++) cf_conv_fini(&p->nodes[i].conv);
    for (int i = 0; i < p->n_blocks; i++) release_block(p->blocks[i]);
    free(p->blocks);
    free(p);
}
