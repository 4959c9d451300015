/* Networks by name: configuration to graph (FACTS: ResNeXt in the paper's and the standard variant,
 * the sequential model). Threads: any. Read first: cf_model_build. */
#ifndef CF_WORKER_MODELS_H
#define CF_WORKER_MODELS_H

#include <stdint.h>

#include "kernels/graph/graph.h"
#include "proto/config.h"
#include "proto/scheme.h"

/* The graph of the configured network for micro-batches of `batch` images. Outputs and merging
 * follow the scheme; without one (scheme NULL) config->model_outputs nodes are classes of their
 * own. Owned by the caller. CF_E_USAGE when layers do not fit the image size or outputs differ from
 * the scheme's nodes. */
CF_CHECKED cf_err cf_model_build(const cf_config *config, const cf_scheme *scheme, int64_t batch,
                                 cf_graph **out);
/* Initial weights [n_weights] and state [n_state], a function of (graph, variant, seed, fold):
 * standard: He normal fan-out for filters; paper: Glorot uniform; dense: uniform +-1/sqrt(fan_in)
 * (standard) or Glorot (paper); gamma 1, biases 0, mean 0, variance 1. */
void cf_model_init(const cf_graph *g, const cf_config *config, int fold, float *weights,
                   float *state);

#endif
