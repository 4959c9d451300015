#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/folds_make.h"
#include "coordinator/markdown.h"
#include "launch/inspect.h"
#include "launch/setup.h"
#include "worker/memory.h"
#include "worker/models.h"

/* ---- layers -----------------------------------------------------------------------------------
 */

static const char *op_name(cf_op op)
{
    static const char *const names[] = {
        [CF_OP_INPUT] = "input",      [CF_OP_CONV] = "conv",   [CF_OP_MAXPOOL] = "max-pool",
        [CF_OP_AVGPOOL] = "avg-pool", [CF_OP_DENSE] = "dense", [CF_OP_LOSS] = "loss",
    };
    return (size_t)op < sizeof names / sizeof names[0] ? names[op] : "?";
}

static int64_t node_parameters(const cf_graph *g, const cf_node *node)
{
    const int indices[] = {node->weight, node->bias, node->gamma, node->beta};
    int64_t count = 0;
    for (size_t i = 0; i < sizeof indices / sizeof indices[0]; i++)
        if (indices[i] >= 0) count += g->params[indices[i]].count;
    return count;
}

/* "3x3/2 g32 bn +res relu": what one node computes. */
static void describe(const cf_graph *g, const cf_node *node, char *text, size_t n)
{
    static const char *const norms[] = {"", " bn", " gn"};
    static const char *const acts[] = {"", " relu", " leaky"};
    const cf_conv *c = &node->conv;
    char stride[16] = "", groups[16] = "", residual[64] = "";
    text[0] = '\0';
    if (node->op != CF_OP_CONV && node->op != CF_OP_MAXPOOL) return;
    if (c->stride > 1) snprintf(stride, sizeof stride, "/%d", c->stride);
    if (node->op == CF_OP_CONV && c->groups > 1) snprintf(groups, sizeof groups, " g%d", c->groups);
    if (node->op == CF_OP_CONV && node->residual >= 0)
        snprintf(residual, sizeof residual, " + %s", g->nodes[node->residual].name);
    bool conv = node->op == CF_OP_CONV;
    snprintf(text, n, "%dx%d%s%s%s%s%s%s", c->kernel, c->kernel, stride, groups,
             conv && c->bias ? " bias" : "", conv ? norms[c->norm] : "", residual,
             conv ? acts[c->act] : "");
}

static cf_err print_layers(const cf_graph *g, cf_buf *out)
{
    cf_markdown t;
    cf_markdown_begin(&t, "lllrrr");
    cf_markdown_put(&t, "layer");
    cf_markdown_put(&t, "operation");
    cf_markdown_put(&t, "form");
    cf_markdown_put(&t, "output");
    cf_markdown_put(&t, "parameters");
    cf_markdown_put(&t, "MMAC");
    for (int i = 0; i < g->n_nodes; i++) {
        const cf_node *node = &g->nodes[i];
        char form[160];
        describe(g, node, form, sizeof form);
        cf_markdown_put(&t, node->name);
        cf_markdown_put(&t, op_name(node->op));
        cf_markdown_put(&t, form);
        cf_markdown_putf(&t, "%" PRId64 "x%" PRId64 "x%" PRId64, node->out_shape.h,
                         node->out_shape.w, node->out_shape.c);
        cf_markdown_putf(&t, "%" PRId64, node_parameters(g, node));
        cf_markdown_putf(&t, "%.2f", (double)node->macs / 1e6);
    }
    return cf_markdown_print(&t, out);
}

static void put_layers(const cf_graph *g, cf_json *j)
{
    cf_json_array(j, "layers");
    for (int i = 0; i < g->n_nodes; i++) {
        const cf_node *node = &g->nodes[i];
        cf_json_object(j, NULL);
        cf_json_string(j, "name", node->name);
        cf_json_string(j, "operation", op_name(node->op));
        cf_json_array(j, "output");
        cf_json_integer(j, NULL, node->out_shape.h);
        cf_json_integer(j, NULL, node->out_shape.w);
        cf_json_integer(j, NULL, node->out_shape.c);
        cf_json_end_array(j);
        cf_json_integer(j, "parameters", node_parameters(g, node));
        cf_json_integer(j, "macs", node->macs);
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
}

/* ---- the whole --------------------------------------------------------------------------------
 */

/* Sites that nobody has counted yet are taken to be as many as data.folds. */
static int all_folds(const cf_setup *s)
{
    int n_folds = cf_split_n_folds(&s->config, s->has_cells ? &s->cells : NULL);
    return n_folds > 0 ? n_folds : (int)s->config.data_folds;
}

static void print_json(const cf_inspection *i, const cf_setup *s, const cf_graph *g,
                       const cf_rank_memory *m, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "kind", "configuration");
    cf_json_string(&j, "file", i->path);
    cf_json_string(&j, "scheme", s->scheme != NULL ? s->scheme->name : "");
    cf_json_integer(&j, "outputs", g->n_outputs);
    cf_json_integer(&j, "classes", g->n_classes);
    cf_json_integer(&j, "parameters", g->n_weights);
    cf_json_integer(&j, "state", g->n_state);
    cf_json_integer(&j, "macs", cf_graph_macs(g));
    cf_rank_memory_write_json(m, &j);
    cf_json_object(&j, "config");
    cf_config_write_json(&s->config, &j);
    cf_json_end_object(&j);
    put_layers(g, &j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

static cf_err print_text(const cf_setup *s, const cf_graph *g, const cf_rank_memory *m, cf_buf *out)
{
    cf_buf_printf(out, "# effective configuration of %s\n", s->config.path);
    cf_config_write(&s->config, false, out);
    cf_buf_printf(out, "\n# network\n\n");
    CF_TRY(print_layers(g, out));
    cf_buf_printf(out, "\n%d output nodes, %d classes", g->n_outputs, g->n_classes);
    if (s->scheme != NULL) cf_buf_printf(out, " of scheme %s", s->scheme->name);
    cf_buf_printf(out, "\nparameters  %" PRId64 " trainable, and %" PRId64 " running moments\n",
                  g->n_weights, g->n_state);
    cf_buf_printf(out, "work        %.4f GMAC forward, an image\n", (double)cf_graph_macs(g) / 1e9);
    cf_buf_printf(out, "memory      ");
    cf_rank_memory_write(m, out);
    cf_buf_printf(
        out,
        "\n            of a worker that holds all %d folds, micro-batches of %d; libraries apart\n",
        all_folds(s), (int)s->config.train_micro_batch);
    return CF_OK;
}

/* The dump shows where every buffer of a training step lies. */
static cf_err print_dump(const cf_setup *s, const cf_graph *g, cf_buf *out)
{
    cf_memory_plan plan;
    CF_TRY(cf_graph_plan(g, CF_MODE_TRAIN, (cf_dtype)s->config.train_precision, &plan));
    cf_graph_dump(g, &plan, out);
    cf_memory_plan_fini(&plan);
    return CF_OK;
}

cf_err cf_inspect_config(const cf_inspection *i, cf_buf *out)
{
    cf_setup setup;
    cf_graph *graph = NULL;
    cf_rank_memory memory = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_setup_init(&setup, i->path, i->overrides, i->scheme), out);
    CF_TRY_GOTO(cf_setup_network(&setup, &graph), out);
    CF_TRY_GOTO(cf_rank_memory_estimate(&setup.config, graph, all_folds(&setup), &memory), out);
    if (i->layers)
        CF_TRY_GOTO(print_dump(&setup, graph, out), out);
    else if (i->json)
        print_json(i, &setup, graph, &memory, out);
    else
        CF_TRY_GOTO(print_text(&setup, graph, &memory, out), out);
    err = cf_buf_check(out);
out:
    cf_graph_destroy(graph);
    cf_setup_fini(&setup);
    return err;
}
