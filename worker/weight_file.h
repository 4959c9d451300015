/* Weights of other programs: a safetensors file into the flat buffers of a network, and out of
 * them. Threads: any. Read first: cf_weight_file_read. */
#ifndef CF_WORKER_WEIGHT_FILE_H
#define CF_WORKER_WEIGHT_FILE_H

#include "kernels/graph/graph.h"
#include "proto/config.h"
#include "proto/safetensors.h"
#include "proto/scheme.h"
#include "worker/weight_names.h"

typedef enum cf_weight_use {
    CF_WEIGHT_USE_ALL,  /* every tensor of the network must be there */
    CF_WEIGHT_USE_START /* training starts there: a classifier of other classes is left out */
} cf_weight_use;

typedef struct cf_weight_taken {
    int n;                /* tensors of the network that the file gave */
    bool classifier_left; /* the classifier's were not taken ... */
    char why[200];        /* ... for this reason */
} cf_weight_taken;

/* Fills weights [n_weights] and state [n_state]; what is not taken keeps its values. Names and
 * layouts are those that the file says or shows; num_batches_tracked of batch norms is passed over.
 * scheme: whose classes the network has; a file that names other classes has another classifier.
 * Errors, CF_E_CHECKPOINT: a tensor that is missing, of another shape or type, or that has no place
 * in the network, each with its name and shape. */
CF_CHECKED cf_err cf_weight_file_read(const cf_safetensors *f, const cf_graph *g,
                                      const cf_scheme *scheme, cf_weight_use use, float *weights,
                                      float *state, cf_weight_taken *taken);
/* The same without reading a value: whether names, shapes and types fit. */
CF_CHECKED cf_err cf_weight_file_check(const cf_safetensors *f, const cf_graph *g,
                                       const cf_scheme *scheme, cf_weight_use use,
                                       cf_weight_taken *taken);
/* Which names the file has: what it says in its metadata, else what its tensors look like.
 * CF_E_CHECKPOINT where they look like both: only filters of as many channels as their sides. */
CF_CHECKED cf_err cf_weight_file_naming(const cf_safetensors *f, cf_naming *naming);

/* Writes weights [n_weights] and state [n_state] under the names of `naming`, with
 * num_batches_tracked (0) for batch norms that have it there. */
CF_CHECKED cf_err cf_weight_file_write(const char *path, const cf_graph *g, cf_naming naming,
                                       const float *weights, const float *state,
                                       const cf_safetensor_note *notes, int n_notes);

#endif
