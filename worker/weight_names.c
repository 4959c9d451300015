#include "worker/weight_names.h"

#include <stdio.h>
#include <string.h>

#include "worker/model_build.h"

static const char *const words[] = {
    [CF_NAMING_TORCHVISION] = "torchvision",
    [CF_NAMING_TIMM] = "timm",
    [CF_NAMING_CYTOFOLD] = "cytofold",
};

bool cf_naming_find(const char *word, cf_naming *naming)
{
    for (int i = 0; i < (int)(sizeof words / sizeof words[0]); i++) {
        if (strcmp(word, words[i]) != 0) continue;
        *naming = (cf_naming)i;
        return true;
    }
    return false;
}

const char *cf_naming_word(cf_naming naming)
{
    return words[naming];
}

/* ---- names ------------------------------------------------------------------------------------
 */

static bool is_norm(cf_param_kind kind)
{
    return kind != CF_PARAM_WEIGHT && kind != CF_PARAM_BIAS;
}

static const char *suffix(cf_param_kind kind)
{
    static const char *const names[] = {
        [CF_PARAM_WEIGHT] = "weight",     [CF_PARAM_BIAS] = "bias",
        [CF_PARAM_GAMMA] = "weight",      [CF_PARAM_BETA] = "bias",
        [CF_PARAM_MEAN] = "running_mean", [CF_PARAM_VAR] = "running_var",
    };
    return names[kind];
}

/* "stage2.0.conv1" is "layer2.0.conv1", its norm "layer2.0.bn1"; "stage2.0.down" is
 * "layer2.0.downsample", a list of a convolution and a norm; "block1.conv2" has "block1.bn2". */
const char *cf_weight_name(const cf_graph *g, const cf_param *p, cf_naming naming,
                           char name[CF_WEIGHT_NAME_MAX])
{
    const char *node = g->nodes[p->node].name, *end = suffix(p->kind);
    const char *part = is_norm(p->kind) ? "bn" : "conv";
    int stage = 0, index = 0, number = 0, block = 0;
    if (naming == CF_NAMING_CYTOFOLD)
        snprintf(name, CF_WEIGHT_NAME_MAX, "%s", p->name);
    else if (strcmp(node, "stem") == 0)
        snprintf(name, CF_WEIGHT_NAME_MAX, "%s1.%s", part, end);
    else if (sscanf(node, "stage%d.%d.conv%d", &stage, &index, &number) == 3)
        snprintf(name, CF_WEIGHT_NAME_MAX, "layer%d.%d.%s%d.%s", stage, index, part, number, end);
    else if (sscanf(node, "stage%d.%d.down", &stage, &index) == 2)
        snprintf(name, CF_WEIGHT_NAME_MAX, "layer%d.%d.downsample.%d.%s", stage, index,
                 is_norm(p->kind), end);
    else if (sscanf(node, "block%d.conv%d", &block, &number) == 2)
        snprintf(name, CF_WEIGHT_NAME_MAX, "block%d.%s%d.%s", block, part, number, end);
    else
        snprintf(name, CF_WEIGHT_NAME_MAX, "%s.%s", node, end);
    return name;
}

/* ---- layouts ----------------------------------------------------------------------------------
 */

/* Both kinds of weight are rows of positions times channels here, of channels times positions
 * there. */
typedef struct turn {
    int64_t rows, positions, channels;
} turn;

static turn turn_of(const cf_graph *g, const cf_param *p, cf_naming naming)
{
    turn t = {1, 1, p->count};
    if (p->kind != CF_PARAM_WEIGHT || naming == CF_NAMING_CYTOFOLD) return t;
    t.rows = p->dim[0];
    if (p->rank == 4) {
        t.positions = p->dim[1] * p->dim[2];
        t.channels = p->dim[3];
    } else {
        const cf_shape in = g->nodes[p->node].in_shape;
        t.positions = in.h * in.w;
        t.channels = in.c;
    }
    return t;
}

int cf_weight_shape(const cf_graph *g, const cf_param *p, cf_naming naming, int64_t dim[4])
{
    (void)g;
    memcpy(dim, p->dim, sizeof p->dim);
    if (p->rank == 4 && naming != CF_NAMING_CYTOFOLD) {
        dim[1] = p->dim[3];
        dim[2] = p->dim[1];
        dim[3] = p->dim[2];
    }
    return p->rank;
}

void cf_weight_out(const cf_graph *g, const cf_param *p, cf_naming naming, const float *ours,
                   float *theirs)
{
    turn t = turn_of(g, p, naming);
    for (int64_t r = 0; r < t.rows; r++, ours += t.positions * t.channels)
        for (int64_t c = 0; c < t.channels; c++)
            for (int64_t i = 0; i < t.positions; i++) *theirs++ = ours[i * t.channels + c];
}

void cf_weight_in(const cf_graph *g, const cf_param *p, cf_naming naming, const float *theirs,
                  float *ours)
{
    turn t = turn_of(g, p, naming);
    for (int64_t r = 0; r < t.rows; r++, ours += t.positions * t.channels)
        for (int64_t c = 0; c < t.channels; c++)
            for (int64_t i = 0; i < t.positions; i++) ours[i * t.channels + c] = *theirs++;
}

const char *cf_weight_oddity(const cf_config *config)
{
    if (config->model_network != CF_NETWORK_RESNEXT)
        return "torchvision and timm have no sequential network: its tensors are named in their "
               "manner (block1.conv1.weight)";
    if (config->model_variant == CF_VARIANT_PAPER)
        return "the paper's variant has biases of convolutions (conv1.bias), LeakyReLU and "
               "TensorFlow's padding, which torchvision's and timm's networks have not";
    if (cf_model_norm(config) == CF_NORM_NONE)
        return "the network has no normalisation, torchvision's and timm's have batch norm";
    if (cf_model_norm(config) == CF_NORM_GROUP)
        return "the norms are group norms: torchvision's ResNet takes them with "
               "norm_layer=lambda c: GroupNorm(gcd(N, c), c), N being model.norm_groups";
    if (config->model_stem == CF_STEM_SMALL || config->model_stem_channels != 64 ||
        config->model_stem_stride != 2)
        return "the stem (conv1) has another shape or stride than torchvision's and timm's";
    if (config->model_stage_channels != 256 || config->model_depths.n != 4)
        return "the stages have other widths than torchvision's and timm's networks";
    return NULL;
}
