/* What other programs call the tensors of a network, and how they lay them out.
 *
 * torchvision's and timm's resnext50_32x4d have the same names: conv1.weight, bn1.running_mean,
 * layer1.0.conv1.weight, layer1.0.downsample.0.weight, fc.weight. Filters are [K][C/G][R][S] there,
 * [K][R][S][C/G] here; a dense layer reads its input in CHW order there, in HWC order here.
 * Threads: any. Read first: cf_weight_name. */
#ifndef CF_WORKER_WEIGHT_NAMES_H
#define CF_WORKER_WEIGHT_NAMES_H

#include "kernels/graph/graph.h"
#include "proto/config.h"

typedef enum cf_naming {
    CF_NAMING_TORCHVISION,
    CF_NAMING_TIMM,
    CF_NAMING_CYTOFOLD /* the checkpoints' own names and layouts */
} cf_naming;

enum { CF_WEIGHT_NAME_MAX = 80 };

/* "torchvision", "timm" or "cytofold"; false for another word. */
bool cf_naming_find(const char *word, cf_naming *naming);
const char *cf_naming_word(cf_naming naming);

/* The tensor's name there. What torchvision's networks do not have (biases of convolutions, the
 * sequential model) is named in the same manner. Returns name. */
const char *cf_weight_name(const cf_graph *g, const cf_param *p, cf_naming naming,
                           char name[CF_WEIGHT_NAME_MAX]);
/* Its shape there; returns the rank. */
int cf_weight_shape(const cf_graph *g, const cf_param *p, cf_naming naming, int64_t dim[4]);
/* From our layout to theirs, and back; both [p->count], not the same memory. */
void cf_weight_out(const cf_graph *g, const cf_param *p, cf_naming naming, const float *ours,
                   float *theirs);
void cf_weight_in(const cf_graph *g, const cf_param *p, cf_naming naming, const float *theirs,
                  float *ours);

/* What a program with torchvision's network of these names would not take, as a sentence; NULL
 * where there is nothing: then it is torchvision's ResNet class with this configuration's depths
 * and widths. */
const char *cf_weight_oddity(const cf_config *config);

#endif
