#include "launch/memory.h"

#include "kernels/backend.h"

static int64_t model_bytes(const cf_config *config, const cf_graph *graph)
{
    int64_t moments = config->train_optimizer == CF_OPT_SGD ? 1 : 2;
    int64_t elements = graph->n_weights * (1 + moments) + graph->n_state;
    if (config->train_ema > 0) elements += graph->n_weights + graph->n_state;
    return elements * (int64_t)sizeof(float);
}

static cf_err arena_bytes(const cf_graph *graph, cf_dtype dtype, int64_t *bytes)
{
    static const cf_mode modes[] = {CF_MODE_TRAIN, CF_MODE_INFER};
    *bytes = 0;
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
    cf_dtype dtype = config->train_precision == 1 ? CF_BF16 : CF_F32;
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
