#include "worker/memory.h"

#include "kernels/backend.h"
#include "worker/models.h"

/* Of kernels/cuda: what one engine may take, and into how many parts sums over pixels and gradients
 * of filters are cut at most. */
#define CARD_WORKSPACE ((int64_t)256 << 20)
#define CARD_LIBRARY   ((int64_t)768 << 20)
enum {
    CARD_PIXEL_PARTS = 1024,
    CARD_ROWS_A_PART = 64,
    CARD_IMAGE_PARTS = 17, /* of one image, and what joins them */
    CARD_GRADIENT_PARTS = 16
};

static int64_t model_bytes(const cf_config *config, const cf_graph *graph)
{
    int64_t moments = config->train_optimizer == CF_OPT_SGD ? 1 : 2;
    int64_t elements = graph->n_weights * (1 + moments) + graph->n_state;
    if (config->train_ema > 0) elements += graph->n_weights + graph->n_state;
    return elements * (int64_t)sizeof(float);
}

/* Group normalisation keeps eight numbers of every image's channels, and their sums, in both
 * programs; what a batch normalisation keeps is too little to count. */
static int64_t image_channels_bytes(const cf_graph *graph)
{
    int64_t channels = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        const cf_node *n = &graph->nodes[i];
        bool group = n->op == CF_OP_CONV && n->conv.norm == CF_NORM_GROUP;
        if (group) channels += n->out_shape.n * n->out_shape.c;
    }
    return 2 * channels * (int64_t)(8 * sizeof(float) + 2 * sizeof(double));
}

static cf_err arena_bytes(const cf_graph *graph, cf_dtype dtype, int64_t *bytes)
{
    static const cf_mode modes[] = {CF_MODE_TRAIN, CF_MODE_INFER};
    *bytes = image_channels_bytes(graph);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        cf_memory_plan plan;
        CF_TRY(cf_graph_plan(graph, modes[i], dtype, &plan));
        *bytes += (int64_t)plan.arena_bytes;
        cf_memory_plan_fini(&plan);
    }
    return CF_OK;
}

cf_err cf_rank_memory_estimate(const cf_config *config, const cf_graph *graph, int n_folds,
                               cf_rank_memory *memory)
{
    cf_dtype dtype = (cf_dtype)config->train_precision;
    int64_t sum_bytes = config->train_reduce == 1 ? sizeof(float) : sizeof(int64_t);
    int64_t image_bytes = config->model_image_size * config->model_image_size * 3 * 4;
    /* Weight decay's mask and the running moments' momentum are shared by the folds. */
    int64_t shared = graph->n_weights + graph->n_state * (int64_t)sizeof(float);
    memory->models = n_folds * model_bytes(config, graph) + shared;
    memory->sums = 2 * sum_bytes * cf_sums_count(graph);
    memory->packed = 2 * graph->n_weights * (int64_t)cf_dtype_bytes(dtype);
    memory->loader = 2 * config->run_prefetch * config->train_micro_batch * image_bytes;
    CF_TRY(arena_bytes(graph, dtype, &memory->arenas));
    memory->total =
        memory->models + memory->sums + memory->packed + memory->loader + memory->arenas;
    return CF_OK;
}

/* ---- on the card ------------------------------------------------------------------------------
 */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* One bit an element behind each residual's activation, a byte for each output of a max-pool. */
static int64_t mask_bytes(const cf_graph *graph)
{
    int64_t bytes = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        const cf_node *n = &graph->nodes[i];
        if (n->op == CF_OP_MAXPOOL) bytes += cf_shape_elements(n->out_shape);
        if (n->residual >= 0) bytes += cf_shape_elements(n->out_shape) / 8;
    }
    return bytes;
}

static int64_t scratch_bytes(const cf_graph *graph)
{
    int64_t partials = 0, images = 0, gradient = 0; /* images: in the test program too */
    for (int i = 0; i < graph->n_nodes; i++) {
        const cf_node *n = &graph->nodes[i];
        if (n->op != CF_OP_CONV) continue;
        int64_t rows = n->out_shape.n * n->out_shape.h * n->out_shape.w;
        int64_t parts = rows / CARD_ROWS_A_PART + 1;
        if (parts > CARD_PIXEL_PARTS) parts = CARD_PIXEL_PARTS;
        int64_t channels = larger(n->out_shape.c, n->in_shape.c);
        if (n->conv.norm == CF_NORM_GROUP)
            images = larger(images, CARD_IMAGE_PARTS * n->out_shape.n * n->out_shape.c * 2 *
                                        (int64_t)sizeof(double));
        partials = larger(partials, parts * channels * 2 * (int64_t)sizeof(double));
        gradient = larger(gradient, CARD_GRADIENT_PARTS * graph->params[n->weight].count *
                                        (int64_t)sizeof(float));
    }
    return 2 * CARD_WORKSPACE + larger(partials, images) + images + gradient;
}

cf_err cf_card_memory_estimate(const cf_config *config, const cf_graph *graph, int n_folds,
                               cf_card_memory *memory)
{
    cf_rank_memory host;
    CF_TRY(cf_rank_memory_estimate(config, graph, n_folds, &host));
    const cf_shape *in = &graph->nodes[0].out_shape;
    int64_t pixels = in->n * in->h * in->w;
    int64_t input = 4 * pixels * (int64_t)cf_dtype_bytes((cf_dtype)config->train_precision);
    *memory = (cf_card_memory){.models = host.models,
                               .sums = host.sums,
                               .arenas = host.arenas + mask_bytes(graph),
                               .packed = host.packed,
                               .images = 2 * (2 * 3 * pixels + input),
                               .scratch = scratch_bytes(graph),
                               .library = CARD_LIBRARY};
    memory->total = memory->models + memory->sums + memory->arenas + memory->packed +
                    memory->images + memory->scratch + memory->library;
    return CF_OK;
}

static cf_err estimate_at(const cf_config *config, const cf_scheme *scheme, int n_folds,
                          int64_t micro, cf_card_memory *memory)
{
    cf_graph *graph = NULL;
    CF_TRY(cf_model_build(config, scheme, micro, &graph));
    cf_err err = cf_card_memory_estimate(config, graph, n_folds, memory);
    cf_graph_destroy(graph);
    return err;
}

cf_err cf_card_memory_fit(const cf_config *config, const cf_scheme *scheme, int n_folds,
                          int64_t bytes, int64_t *micro, cf_card_memory *memory)
{
    for (*micro = config->train_micro_batch - 1; *micro > 0; --*micro) {
        if (config->train_batch % *micro != 0) continue;
        CF_TRY(estimate_at(config, scheme, n_folds, *micro, memory));
        if (memory->total <= bytes) return CF_OK;
    }
    return CF_OK;
}

/* ---- printing ---------------------------------------------------------------------------------
 */

void cf_print_bytes(cf_buf *out, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++) bytes /= 1024;
    cf_buf_printf(out, "%.*f %s", unit == 0 ? 0 : 2, bytes, units[unit]);
}

void cf_rank_memory_write(const cf_rank_memory *memory, cf_buf *out)
{
    const struct {
        const char *name;
        int64_t bytes;
    } parts[] = {{"models", memory->models},
                 {"step sums", memory->sums},
                 {"activations", memory->arenas},
                 {"packed weights (estimate)", memory->packed},
                 {"loader", memory->loader}};
    cf_print_bytes(out, (double)memory->total);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        cf_buf_printf(out, "%s%s ", i == 0 ? " (" : ", ", parts[i].name);
        cf_print_bytes(out, (double)parts[i].bytes);
    }
    cf_buf_printf(out, ")");
}

void cf_rank_memory_write_json(const cf_rank_memory *memory, cf_json *j)
{
    cf_json_object(j, "memory");
    cf_json_integer(j, "models", memory->models);
    cf_json_integer(j, "sums", memory->sums);
    cf_json_integer(j, "arenas", memory->arenas);
    cf_json_integer(j, "packed_weights", memory->packed);
    cf_json_integer(j, "loader", memory->loader);
    cf_json_integer(j, "total", memory->total);
    cf_json_end_object(j);
}
