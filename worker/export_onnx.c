/* The network's graph as ONNX nodes.
 *
 * NCHW inside, as ONNX wants it. Batch norm stays a node of its own: runtimes fold it, and the
 * weights stay the run's. Opset 17 has no group norm: it is an instance norm of the groups' rows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/onnx.h"
#include "worker/data/loader.h"
#include "worker/export.h"
#include "worker/model_facts.h"
#include "worker/models.h"

enum { NAME_MAX_BYTES = 96 };
typedef char value_name[NAME_MAX_BYTES];

typedef struct exporter {
    const cf_saved *run; /* borrowed */
    cf_graph *g;         /* owned */
    cf_onnx *m;          /* owned */
    float *ours;         /* owned, [n_weights + n_state] of the fold being written */
    float *theirs;       /* owned, the same of all folds one after the other, in their layout */
    float *constants;    /* owned: see make_constants */
    float *rows, *columns, *scale, *mean, *inv_std, *merge, *share, *ones, *zeros; /* in it */
    int fold; /* index of the one being written */
} exporter;

/* ---- small words ------------------------------------------------------------------------------
 */

static void op(exporter *x, const char *type, const char *output, const char *a)
{
    const char *const inputs[] = {a};
    cf_onnx_node(x->m, type, output, inputs, 1);
}

static void op2(exporter *x, const char *type, const char *output, const char *a, const char *b)
{
    const char *const inputs[] = {a, b};
    cf_onnx_node(x->m, type, output, inputs, 2);
}

/* "fold0/stem.norm"; part "" is the node's own output, which its readers know. */
static const char *name_of(const exporter *x, const char *node, const char *part, value_name out)
{
    snprintf(out, NAME_MAX_BYTES, "fold%d/%s%s%s", x->run->folds[x->fold], node, *part ? "." : "",
             part);
    return out;
}

static const char *output_of(const exporter *x, int node, value_name out)
{
    if (x->g->nodes[node].op != CF_OP_INPUT) return name_of(x, x->g->nodes[node].name, "", out);
    snprintf(out, NAME_MAX_BYTES, "normalised");
    return out;
}

static const char *param_name(const exporter *x, int param, value_name out)
{
    return name_of(x, x->g->params[param].name, "", out);
}

/* ---- what comes before the networks -----------------------------------------------------------
 */

/* One axis of the loader's sampling (kernels/math/augment.h) as a matrix [size][length]: each
 * output pixel is the mean of its bilinear samples, edges replicated. */
static void sample_axis(float step, float start, int size, int length, float *matrix)
{
    int n = cf_augment_samples(step, 0.0f);
    float last = (float)(length - 1);
    for (int i = 0; i < size; i++, matrix += length) {
        for (int k = 0; k < n; k++) {
            float at = step * ((float)i + ((float)k + 0.5f) / (float)n - 0.5f) + start;
            at = at < 0.0f ? 0.0f : at > last ? last : at;
            int low = (int)at;
            float high_share = (at - (float)low) / (float)n;
            matrix[low] += 1.0f / (float)n - high_share;
            matrix[low + 1 < length ? low + 1 : low] += high_share;
        }
    }
}

static void transpose(const float *from, int n_rows, int n_columns, float *to)
{
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n_columns; j++) to[j * n_rows + i] = from[i * n_columns + j];
}

static void fill_constants(exporter *x, float *scratch)
{
    const cf_saved *run = x->run;
    const cf_scheme *s = &run->scheme;
    int size = (int)run->config.model_image_size;
    cf_augment t;
    cf_normalize norm;
    cf_augment_plain(&run->config, run->height, run->width, &t);
    cf_normalize_from(&run->config, &norm);
    sample_axis(t.a[4], t.a[5], size, run->height, x->rows);
    sample_axis(t.a[0], t.a[2], size, run->width, scratch);
    transpose(scratch, size, run->width, x->columns);
    *x->scale = 1.0f / 255.0f;
    memcpy(x->mean, norm.mean, sizeof norm.mean);
    memcpy(x->inv_std, norm.inv_std, sizeof norm.inv_std);
    *x->share = 1.0f / (float)run->n_folds;
    for (int o = 0; o < s->n_nodes; o++) x->merge[o * s->n_classes + s->class_of[o]] = 1.0f;
}

static int most_groups(const cf_graph *g)
{
    int most = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].conv.norm == CF_NORM_GROUP && g->nodes[i].conv.norm_groups > most)
            most = g->nodes[i].conv.norm_groups;
    return most;
}

static cf_err make_constants(exporter *x)
{
    const cf_saved *run = x->run;
    size_t size = (size_t)run->config.model_image_size, h = (size_t)run->height;
    size_t w = (size_t)run->width, groups = (size_t)most_groups(x->g);
    size_t merge = (size_t)run->scheme.n_nodes * (size_t)run->scheme.n_classes;
    float *at = NULL, *scratch = NULL;
    CF_TRY(cf_new(&x->constants, size * (h + w) + merge + 8 + 2 * groups, sizeof *x->constants));
    at = x->constants;
    x->rows = at, at += size * h;
    x->columns = at, at += size * w;
    x->merge = at, at += merge;
    x->scale = at, at += 1;
    x->mean = at, at += 3;
    x->inv_std = at, at += 3;
    x->share = at, at += 1;
    x->ones = at, at += groups;
    x->zeros = at;
    for (size_t i = 0; i < groups; i++) x->ones[i] = 1.0f;
    CF_TRY(cf_new(&scratch, size * w, sizeof *scratch));
    fill_constants(x, scratch);
    free(scratch);
    return CF_OK;
}

static void add_preprocessing(exporter *x)
{
    static const int64_t to_chw[] = {0, 3, 1, 2}, channels[] = {3, 1, 1};
    const cf_saved *run = x->run;
    int64_t size = run->config.model_image_size;
    const int64_t images[] = {CF_ONNX_ANY, run->height, run->width, 3};
    const int64_t rows[] = {size, run->height}, columns[] = {run->width, size};
    cf_onnx_input(x->m, "images", CF_ONNX_UINT8, images, 4);
    cf_onnx_floats(x->m, "sample_rows", rows, 2, x->rows);
    cf_onnx_floats(x->m, "sample_columns", columns, 2, x->columns);
    cf_onnx_floats(x->m, "scale", channels + 1, 1, x->scale);
    cf_onnx_floats(x->m, "mean", channels, 3, x->mean);
    cf_onnx_floats(x->m, "inverse_std", channels, 3, x->inv_std);
    op(x, "Cast", "levels", "images");
    cf_onnx_set_int(x->m, "to", CF_ONNX_FLOAT);
    op(x, "Transpose", "channels_first", "levels");
    cf_onnx_set_ints(x->m, "perm", to_chw, 4);
    op2(x, "MatMul", "sampled_rows", "sample_rows", "channels_first");
    op2(x, "MatMul", "sampled", "sampled_rows", "sample_columns");
    op2(x, "Mul", "scaled", "sampled", "scale");
    op2(x, "Sub", "centred", "scaled", "mean");
    op2(x, "Mul", "normalised", "centred", "inverse_std");
}

/* ---- the network of a fold --------------------------------------------------------------------
 */

static void set_window(exporter *x, const cf_node *node)
{
    const cf_conv *c = &node->conv;
    const int64_t kernel[] = {c->kernel, c->kernel}, strides[] = {c->stride, c->stride};
    const int64_t pads[] = {node->pad_top, node->pad_left, node->pad_bottom, node->pad_right};
    cf_onnx_set_ints(x->m, "kernel_shape", kernel, 2);
    cf_onnx_set_ints(x->m, "strides", strides, 2);
    cf_onnx_set_ints(x->m, "pads", pads, 4);
}

/* The parts of a convolution node, in the order of the graph's definition; the last of them has the
 * node's own name. */
typedef struct parts {
    const cf_node *node;
    value_name last; /* output of the part before */
} parts;

static const char *part_name(const exporter *x, const parts *p, const char *part, bool is_last,
                             value_name out)
{
    return name_of(x, p->node->name, is_last ? "" : part, out);
}

static void add_batch_norm(exporter *x, parts *p, const char *output)
{
    value_name names[4];
    const cf_node *n = p->node;
    const char *const inputs[] = {
        p->last, param_name(x, n->gamma, names[0]), param_name(x, n->beta, names[1]),
        param_name(x, n->mean, names[2]), param_name(x, n->var, names[3])};
    cf_onnx_node(x->m, "BatchNormalization", output, inputs, 5);
    cf_onnx_set_float(x->m, "epsilon", n->conv.norm_eps);
}

static void add_group_norm(exporter *x, parts *p, const char *output)
{
    const cf_node *n = p->node;
    const int64_t groups = n->conv.norm_groups, channels = n->conv.k;
    const int64_t apart[] = {0, groups, -1};
    const int64_t together[] = {0, channels, n->out_shape.h, n->out_shape.w};
    value_name a, b, c, d, e, f, ones, zeros;
    cf_onnx_integers(x->m, name_of(x, n->name, "groups", a), apart, 3);
    op2(x, "Reshape", name_of(x, n->name, "apart", b), p->last, a);
    name_of(x, n->name, "ones", ones);
    name_of(x, n->name, "zeros", zeros);
    cf_onnx_floats(x->m, ones, &groups, 1, x->ones);
    cf_onnx_floats(x->m, zeros, &groups, 1, x->zeros);
    const char *const inputs[] = {b, ones, zeros};
    cf_onnx_node(x->m, "InstanceNormalization", name_of(x, n->name, "even", c), inputs, 3);
    cf_onnx_set_float(x->m, "epsilon", n->conv.norm_eps);
    cf_onnx_integers(x->m, name_of(x, n->name, "together", d), together, 4);
    op2(x, "Reshape", name_of(x, n->name, "whole", e), c, d);
    op2(x, "Mul", name_of(x, n->name, "scaled", f), e, param_name(x, n->gamma, a));
    op2(x, "Add", output, f, param_name(x, n->beta, b));
}

static void add_conv(exporter *x, const cf_node *node)
{
    const cf_conv *c = &node->conv;
    bool norm = c->norm != CF_NORM_NONE, sum = node->residual >= 0, act = c->act != CF_ACT_NONE;
    parts p = {.node = node};
    value_name output, other, weight, bias;
    const char *inputs[3] = {output_of(x, node->in, p.last), param_name(x, node->weight, weight)};
    if (node->bias >= 0) inputs[2] = param_name(x, node->bias, bias);
    part_name(x, &p, "conv", !norm && !sum && !act, output);
    cf_onnx_node(x->m, "Conv", output, inputs, node->bias >= 0 ? 3 : 2);
    set_window(x, node);
    cf_onnx_set_int(x->m, "group", c->groups);
    if (norm) {
        memcpy(p.last, output, sizeof output);
        part_name(x, &p, "norm", !sum && !act, output);
        if (c->norm == CF_NORM_BATCH)
            add_batch_norm(x, &p, output);
        else
            add_group_norm(x, &p, output);
    }
    if (sum) {
        memcpy(p.last, output, sizeof output);
        part_name(x, &p, "sum", !act, output);
        op2(x, "Add", output, p.last, output_of(x, node->residual, other));
    }
    if (!act) return;
    memcpy(p.last, output, sizeof output);
    part_name(x, &p, "", true, output);
    op(x, c->act == CF_ACT_LEAKY ? "LeakyRelu" : "Relu", output, p.last);
    if (c->act == CF_ACT_LEAKY) cf_onnx_set_float(x->m, "alpha", c->slope);
}

static void add_dense(exporter *x, const cf_node *node)
{
    value_name flat, in, weight, bias, output;
    op(x, "Flatten", name_of(x, node->name, "flat", flat), output_of(x, node->in, in));
    const char *const inputs[] = {flat, param_name(x, node->weight, weight),
                                  node->bias >= 0 ? param_name(x, node->bias, bias) : ""};
    cf_onnx_node(x->m, "Gemm", name_of(x, node->name, "", output), inputs, node->bias >= 0 ? 3 : 2);
    cf_onnx_set_int(x->m, "transB", 1);
}

static void add_node(exporter *x, const cf_node *node)
{
    value_name in, output;
    switch (node->op) {
    case CF_OP_CONV:
        add_conv(x, node);
        break;
    case CF_OP_MAXPOOL:
        op(x, "MaxPool", name_of(x, node->name, "", output), output_of(x, node->in, in));
        set_window(x, node);
        break;
    case CF_OP_AVGPOOL:
        op(x, "GlobalAveragePool", name_of(x, node->name, "", output), output_of(x, node->in, in));
        break;
    case CF_OP_DENSE:
        add_dense(x, node);
        break;
    case CF_OP_INPUT:
    case CF_OP_LOSS:
        break;
    }
}

/* Group norm's scale and shift are for each channel of NCHW. */
static void add_param(exporter *x, const cf_param *p, const float *theirs)
{
    value_name name;
    int64_t dim[4];
    int rank = cf_weight_shape(x->g, p, CF_NAMING_TORCHVISION, dim);
    bool of_group = x->g->nodes[p->node].conv.norm == CF_NORM_GROUP &&
                    (p->kind == CF_PARAM_GAMMA || p->kind == CF_PARAM_BETA);
    if (of_group) {
        dim[1] = dim[2] = 1;
        rank = 3;
    }
    cf_onnx_floats(x->m, name_of(x, p->name, "", name), dim, rank, theirs);
}

static cf_err add_fold(exporter *x)
{
    const cf_graph *g = x->g;
    int64_t n_values = g->n_weights + g->n_state;
    float *theirs = x->theirs + x->fold * n_values;
    CF_TRY(cf_saved_weights(x->run, g, x->run->folds[x->fold], x->ours, x->ours + g->n_weights));
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        bool state = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
        int64_t at = p->offset + (state ? g->n_weights : 0);
        cf_weight_out(g, p, CF_NAMING_TORCHVISION, x->ours + at, theirs + at);
        add_param(x, p, theirs + at);
    }
    for (int i = 0; i < g->n_nodes; i++) add_node(x, &g->nodes[i]);
    return CF_OK;
}

/* ---- what comes behind them -------------------------------------------------------------------
 */

/* Softmax of each fold's logits, their mean, nodes merged into classes. */
static void add_outputs(exporter *x)
{
    static const int64_t one[] = {1};
    const cf_scheme *s = &x->run->scheme;
    int n = x->run->n_folds, logits = x->g->nodes[x->g->n_nodes - 1].in;
    const int64_t merge[] = {s->n_nodes, s->n_classes};
    const int64_t p_dim[] = {CF_ONNX_ANY, s->n_classes}, z_dim[] = {CF_ONNX_ANY, n, s->n_nodes};
    value_name softmax[CF_MAX_FOLDS], single[CF_MAX_FOLDS], z;
    const char *softmaxes[CF_MAX_FOLDS], *singles[CF_MAX_FOLDS];
    cf_onnx_integers(x->m, "fold_axis", one, 1);
    for (x->fold = 0; x->fold < n; x->fold++) {
        softmaxes[x->fold] = name_of(x, "softmax", "", softmax[x->fold]);
        singles[x->fold] = name_of(x, "logits", "", single[x->fold]);
        op(x, "Softmax", softmaxes[x->fold], output_of(x, logits, z));
        cf_onnx_set_int(x->m, "axis", 1);
        op2(x, "Unsqueeze", singles[x->fold], z, "fold_axis");
    }
    cf_onnx_node(x->m, "Sum", "node_sums", softmaxes, n);
    cf_onnx_floats(x->m, "share", one, 1, x->share);
    op2(x, "Mul", "nodes", "node_sums", "share");
    cf_onnx_floats(x->m, "class_of_node", merge, 2, x->merge);
    op2(x, "MatMul", "probabilities", "nodes", "class_of_node");
    cf_onnx_node(x->m, "Concat", "logits", singles, n);
    cf_onnx_set_int(x->m, "axis", 1);
    cf_onnx_output(x->m, "probabilities", CF_ONNX_FLOAT, p_dim, 2);
    cf_onnx_output(x->m, "logits", CF_ONNX_FLOAT, z_dim, 3);
}

static cf_err add_facts(exporter *x)
{
    cf_facts facts = {0};
    char input[96];
    snprintf(input, sizeof input, "uint8 [N, %d, %d, 3], RGB", x->run->height, x->run->width);
    cf_err err = cf_facts_of_run(x->run, &facts);
    if (err == CF_OK) err = cf_facts_add(&facts, "input", input);
    for (int i = 0; i < facts.n && err == CF_OK; i++)
        cf_onnx_property(x->m, facts.items[i].key, facts.items[i].value);
    cf_facts_fini(&facts);
    return err;
}

static cf_err put_together(exporter *x)
{
    size_t n_values, n_all;
    CF_TRY(cf_model_build(&x->run->config, &x->run->scheme, 1, &x->g));
    n_values = (size_t)(x->g->n_weights + x->g->n_state);
    if (!cf_size_mul(n_values, (size_t)x->run->n_folds, &n_all))
        return cf_fail(CF_E_UNEXPECTED, "%d networks are too large", x->run->n_folds);
    CF_TRY(cf_new(&x->ours, n_values, sizeof *x->ours));
    CF_TRY(cf_new(&x->theirs, n_all, sizeof *x->theirs));
    CF_TRY(make_constants(x));
    CF_TRY(cf_onnx_create(x->run->scheme.name,
                          "Class probabilities of images of single blood cells; the metadata names "
                          "the classes.",
                          &x->m));
    add_preprocessing(x);
    for (x->fold = 0; x->fold < x->run->n_folds; x->fold++) CF_TRY(add_fold(x));
    add_outputs(x);
    return add_facts(x);
}

cf_err cf_export_onnx(const cf_saved *run, const char *path)
{
    exporter x = {.run = run};
    cf_err err = put_together(&x);
    if (err == CF_OK) err = cf_onnx_write(x.m, path);
    cf_onnx_destroy(x.m);
    free(x.constants);
    free(x.theirs);
    free(x.ours);
    cf_graph_destroy(x.g);
    return err;
}
