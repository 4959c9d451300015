/* Where the training of a fold starts: at random weights, and over them those of model.init's file
 * where the configuration names one. Threads: any. Read first: cf_weight_start. */
#ifndef CF_WORKER_WEIGHT_START_H
#define CF_WORKER_WEIGHT_START_H

#include "worker/weight_file.h"

typedef struct cf_weight_origin {
    const cf_config *config;
    const cf_scheme *scheme; /* whose classes the network has; NULL: not known */
    int fold;
    uint64_t init_hash; /* cf_safetensors_hash of model.init's file when the run began; 0: any */
} cf_weight_origin;

/* cf_model_init, then the tensors of model.init; `taken` tells what of it was. weights:
 * [n_weights], state: [n_state]. Errors: CF_E_DATA where the file is not there or, by then, another
 * one (the bytes that are read are those that are hashed); those of cf_weight_file_read. */
CF_CHECKED cf_err cf_weight_start(const cf_weight_origin *o, const cf_graph *g, float *weights,
                                  float *state, cf_weight_taken *taken);
/* Whether model.init's file, where one is named, fits the network: names, shapes and types, not
 * the values. Before anything waits in a queue for it. Errors as above. */
CF_CHECKED cf_err cf_weight_start_check(const cf_weight_origin *o, const cf_graph *g);

#endif
