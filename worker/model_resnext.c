/* ResNeXt as configuration: depths, cardinality, widths, stem, and two variants of the same blocks.
 */
#include <stdio.h>

#include "worker/model_build.h"

enum { LARGEST_CHANNELS = 1 << 20 }; /* widths double each stage; beyond this it is a mistake */

/* What the two variants differ in (FACTS: the paper's Keras code against the usual recipe). The
 * slope of the paper's LeakyReLU is deduced: Keras' default. */
static cf_conv variant_conv(const cf_config *config)
{
    if (config->model_variant == CF_VARIANT_PAPER) {
        return (cf_conv){.groups = 1, .pad = CF_PAD_SAME, .act = CF_ACT_LEAKY, .slope = 0.3f};
    }
    return (cf_conv){.groups = 1, .pad = CF_PAD_SYMMETRIC, .act = CF_ACT_RELU};
}

static cf_conv sized(const cf_config *config, int64_t k, int kernel, int stride)
{
    cf_conv c = variant_conv(config);
    c.k = k;
    c.kernel = kernel;
    c.stride = stride;
    cf_model_set_norm(config, &c);
    return c;
}

static cf_err add_stem(const cf_config *config, cf_graph *g, int *x)
{
    bool full = config->model_stem == CF_STEM_FULL;
    int stride = (int)config->model_stem_stride;
    cf_conv conv = sized(config, config->model_stem_channels, full ? 7 : 3, stride);
    CF_TRY(cf_graph_conv(g, "stem", *x, -1, &conv, x));
    if (!full) return CF_OK;
    cf_conv window = {.kernel = 3, .stride = 2, .pad = conv.pad};
    return cf_graph_maxpool(g, "stem.pool", *x, &window, x);
}

typedef struct block {
    int stage, index; /* both from 0 */
    int64_t width, k; /* channels of the grouped convolution, of the output */
    int groups, stride;
} block;

/* "stage1.0.conv2": stages are counted from 1 as in the paper's table, blocks from 0. */
static cf_err add_conv(cf_graph *g, const block *b, const char *part, int in, int residual,
                       const cf_conv *conv, int *id)
{
    char name[48];
    snprintf(name, sizeof name, "stage%d.%d.%s", b->stage + 1, b->index, part);
    return cf_graph_conv(g, name, in, residual, conv, id);
}

/* 1x1 down to the width, grouped 3x3 with the stride, 1x1 up; the shortcut is added before the last
 * activation and projected in a stage's first block. */
static cf_err add_block(const cf_config *config, cf_graph *g, const block *b, int *x)
{
    cf_conv reduce = sized(config, b->width, 1, 1), grouped = sized(config, b->width, 3, b->stride);
    cf_conv expand = sized(config, b->k, 1, 1), project = sized(config, b->k, 1, b->stride);
    grouped.groups = b->groups;
    project.act = CF_ACT_NONE;
    int shortcut = *x, inner = *x;
    CF_TRY(add_conv(g, b, "conv1", inner, -1, &reduce, &inner));
    CF_TRY(add_conv(g, b, "conv2", inner, -1, &grouped, &inner));
    if (b->index == 0) CF_TRY(add_conv(g, b, "down", shortcut, -1, &project, &shortcut));
    return add_conv(g, b, "conv3", inner, shortcut, &expand, x);
}

cf_err cf_model_resnext(const cf_config *config, int input, int64_t n_outputs, cf_graph *g,
                        int *logits)
{
    int x = input, groups = (int)config->model_cardinality;
    int64_t width = config->model_cardinality * config->model_group_width;
    int64_t k = config->model_stage_channels;
    CF_TRY(add_stem(config, g, &x));
    for (int s = 0; s < config->model_depths.n; s++, width *= 2, k *= 2) {
        if (width > LARGEST_CHANNELS || k > LARGEST_CHANNELS) {
            return cf_fail(CF_E_USAGE,
                           "model.depths: stage %d of %d would have %lld and %lld channels", s + 1,
                           config->model_depths.n, (long long)width, (long long)k);
        }
        for (int i = 0; i < config->model_depths.items[s]; i++) {
            block b = {s, i, width, k, groups, s > 0 && i == 0 ? 2 : 1};
            CF_TRY(add_block(config, g, &b, &x));
        }
    }
    CF_TRY(cf_graph_avgpool(g, "pool", x, &x));
    return cf_graph_dense(g, "fc", x, n_outputs, true, logits);
}
