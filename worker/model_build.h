/* Builders of single networks, behind the table in models.c. Each adds all nodes from the input to
 * the logits; *logits receives the last node. Threads: any. */
#ifndef CF_WORKER_MODEL_BUILD_H
#define CF_WORKER_MODEL_BUILD_H

#include "kernels/graph/graph.h"
#include "proto/config.h"

/* The normalisation that model.norm asks for in this network. */
cf_norm cf_model_norm(const cf_config *config);
/* Fills in everything of `conv` that belongs to the normalisation, and whether it has a bias:
 * conv.k and conv.bias (as the network wants it where there is none) must be set. Groups of a group
 * norm (Wu and He, ECCV 2018) are the greatest common divisor of k and model.norm_groups.
 * Constants: those of the paper's Keras layers, or the usual ones, by model.variant. */
void cf_model_set_norm(const cf_config *config, cf_conv *conv);

/* ResNeXt (Xie et al., CVPR 2017) with bottleneck blocks. Node names: stem, stem.pool,
 * stage1.0.conv1, conv2, conv3, down ..., pool, fc. */
CF_CHECKED cf_err cf_model_resnext(const cf_config *config, int input, int64_t n_outputs,
                                   cf_graph *g, int *logits);
/* The sequential model: blocks of two convolutions and a max-pool. Node names: block1.conv1, conv2,
 * pool ..., fc. */
CF_CHECKED cf_err cf_model_sequential(const cf_config *config, int input, int64_t n_outputs,
                                      cf_graph *g, int *logits);

#endif
