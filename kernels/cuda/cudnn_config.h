/* Engine configurations of a cuDNN operation graph: which there are, and plans of them.
 *
 * A configuration is an engine's index and the values of its knobs: all that tells one plan of a
 * graph from another, so that a plan can be written down and made again. Inside of cudnn.c.
 * Threads: any, one a graph. Read first: cf_cudnn_config. */
#ifndef CF_KERNELS_CUDA_CUDNN_CONFIG_H
#define CF_KERNELS_CUDA_CUDNN_CONFIG_H

#include "kernels/cuda/cudnn_graph.h"

#define CF_CUDNN_MAX_KNOBS 32

typedef struct cf_cudnn_config {
    int64_t engine; /* global index */
    int n_knobs;
    struct {
        int64_t type, value;
    } knobs[CF_CUDNN_MAX_KNOBS];
} cf_cudnn_config;

/* Bits of cf_cudnn_suggest's `refused`, one a cudnnBackendNumericalNote_t. */
#define CF_CUDNN_NOTE(note) (1u << (note))

/* Asks one heuristic; appends up to `most` configurations without refused notes and not yet in the
 * list, *n is the number in it. A heuristic that knows none adds none. */
CF_CHECKED cf_err cf_cudnn_suggest(const cf_cudnn_device *device, const cf_cudnn_graph *graph,
                                   cudnnBackendHeurMode_t mode, unsigned refused, int most,
                                   cf_cudnn_config *list, int *n);
/* The finalised execution plan of a configuration. CF_E_DEVICE: not on this device. */
CF_CHECKED cf_err cf_cudnn_plan_make(const cf_cudnn_device *device, const cf_cudnn_graph *graph,
                                     const cf_cudnn_config *config, cudnnBackendDescriptor_t *plan);

#endif
