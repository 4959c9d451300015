#include "launch/plan_card.h"

#include <inttypes.h>
#include <string.h>

#include "coordinator/markdown.h"
#include "kernels/backend.h"
#include "worker/models.h"

enum { LEAST_MICRO = 8 };

cf_err cf_card_is_meant(const char *device, bool *card)
{
    const cf_backend_ops *ops = NULL;
    *card = strcmp(device, "cuda") == 0;
    if (*card || strcmp(device, "cpu") == 0) return CF_OK;
    if (strcmp(device, "auto") != 0)
        return cf_fail(CF_E_USAGE, "--device %s: expected auto, cpu or cuda", device);
    CF_TRY(cf_backend_find("auto", &ops));
    *card = ops->on_device;
    return CF_OK;
}

static bool is_power_of_two(int64_t n)
{
    return (n & (n - 1)) == 0;
}

static cf_err add_row(const cf_setup *setup, int64_t micro, cf_card_table *t)
{
    cf_graph *graph = NULL;
    cf_err err = CF_OK;
    CF_TRY(cf_model_build(&setup->config, setup->scheme, micro, &graph));
    for (int f = 0; f < t->n_folds && err == CF_OK; f++)
        err = cf_card_memory_estimate(&setup->config, graph, f + 1, &t->memory[t->n_micros][f]);
    cf_graph_destroy(graph);
    t->micros[t->n_micros++] = micro;
    return err;
}

cf_err cf_card_table_make(const cf_setup *setup, int n_folds, cf_card_table *t)
{
    const cf_config *c = &setup->config;
    memset(t, 0, sizeof *t);
    t->n_folds = n_folds < CF_CARD_MAX_FOLDS ? n_folds : CF_CARD_MAX_FOLDS;
    for (int64_t m = 1; m <= c->train_batch && t->n_micros < CF_CARD_MAX_MICROS; m++) {
        bool row = m >= LEAST_MICRO && is_power_of_two(m);
        if (c->train_batch % m == 0 && (row || m == c->train_micro_batch))
            CF_TRY(add_row(setup, m, t));
    }
    if (setup->has_cells && setup->cells.starts == NULL) /* encoded images are not held */
        t->pixel_bytes = setup->cells.n * setup->cells.height * setup->cells.width * 3;
    return CF_OK;
}

cf_err cf_card_table_write(const cf_card_table *t, const cf_config *config, cf_buf *out)
{
    char columns[CF_CARD_MAX_FOLDS + 2] = "r";
    cf_markdown table;
    memset(columns + 1, 'r', (size_t)t->n_folds);
    columns[1 + t->n_folds] = '\0';
    cf_buf_printf(out,
                  "card         GiB that a rank needs on its GPU, by folds that it holds:\n\n");
    cf_markdown_begin(&table, columns);
    cf_markdown_put(&table, "micro-batch");
    for (int f = 0; f < t->n_folds; f++)
        cf_markdown_putf(&table, f == 0 ? "%d fold" : "%d folds", f + 1);
    for (int i = 0; i < t->n_micros; i++) {
        bool own = t->micros[i] == config->train_micro_batch;
        cf_markdown_putf(&table, own ? "%" PRId64 " (configured)" : "%" PRId64, t->micros[i]);
        for (int f = 0; f < t->n_folds; f++)
            cf_markdown_putf(&table, "%.2f", (double)t->memory[i][f].total / (1 << 30));
    }
    CF_TRY(cf_markdown_print(&table, out));
    cf_buf_printf(out, "\n");
    if (t->pixel_bytes == 0) return CF_OK;
    cf_print_bytes(out, (double)t->pixel_bytes);
    cf_buf_printf(out, " of images are held on the GPU too where they fit beside this\n");
    return CF_OK;
}

void cf_card_table_write_json(const cf_card_table *t, cf_json *j)
{
    cf_json_array(j, "card");
    for (int i = 0; i < t->n_micros; i++) {
        for (int f = 0; f < t->n_folds; f++) {
            const cf_card_memory *m = &t->memory[i][f];
            cf_json_object(j, NULL);
            cf_json_integer(j, "micro_batch", t->micros[i]);
            cf_json_integer(j, "folds", f + 1);
            cf_json_integer(j, "models", m->models);
            cf_json_integer(j, "sums", m->sums);
            cf_json_integer(j, "arenas", m->arenas);
            cf_json_integer(j, "packed_weights", m->packed);
            cf_json_integer(j, "images", m->images);
            cf_json_integer(j, "scratch", m->scratch);
            cf_json_integer(j, "library", m->library);
            cf_json_integer(j, "total", m->total);
            cf_json_end_object(j);
        }
    }
    cf_json_end_array(j);
    cf_json_integer(j, "pixel_bytes", t->pixel_bytes);
}
