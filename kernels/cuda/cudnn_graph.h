/* Descriptors of cuDNN's graph API: one convolution as an operation graph.
 *
 * Inside of cudnn.c. Every status becomes a cf_err with the call's name and the library's own text.
 * Threads: any, one a descriptor. Read first: cf_cudnn_graph_init. */
#ifndef CF_KERNELS_CUDA_CUDNN_GRAPH_H
#define CF_KERNELS_CUDA_CUDNN_GRAPH_H

#include <cudnn.h>

#include "kernels/cuda/cudnn.h"

_Static_assert(CUDNN_VERSION >= 90800, "plans for described devices need cuDNN 9.8");

/* The device that plans are made for: a handle on one that is there, or the properties of one that
 * need not be (then nothing runs). One of the two is NULL. */
typedef struct cf_cudnn_device {
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t properties;
} cf_cudnn_device;

/* CF_E_DEVICE with `what` and cudnnGetLastErrorString's text. */
CF_CHECKED cf_err cf_cudnn_check(cudnnStatus_t status, const char *what);

/* ---- descriptors in general -------------------------------------------------------------------
 */

CF_CHECKED cf_err cf_cudnn_new(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out);
void cf_cudnn_free(cudnnBackendDescriptor_t *d); /* accepts a pointer to NULL; leaves NULL */
CF_CHECKED cf_err cf_cudnn_set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                               cudnnBackendAttributeType_t type, int64_t n, const void *values);
CF_CHECKED cf_err cf_cudnn_set_descriptor(cudnnBackendDescriptor_t d,
                                          cudnnBackendAttributeName_t name,
                                          cudnnBackendDescriptor_t value);
/* what: "tensor", "operation graph", ... for the message. */
CF_CHECKED cf_err cf_cudnn_finalize(cudnnBackendDescriptor_t d, const char *what);

/* ---- one convolution --------------------------------------------------------------------------
 */

/* Ids of the three tensors in a variant pack. */
enum { CF_CUDNN_X = 1, CF_CUDNN_W = 2, CF_CUDNN_Y = 3 };

typedef struct cf_cudnn_graph {
    cudnnBackendDescriptor_t x, w, y, convolution, operation, graph;
} cf_cudnn_graph;

/* The finalised graph of a pass. filter: type of w as stored, which for WEIGHTS is the result's.
 * Release with cf_cudnn_graph_fini, also after a failure. */
CF_CHECKED cf_err cf_cudnn_graph_init(const cf_cudnn_device *device, const cf_geometry *g,
                                      cf_conv_pass pass, cf_dtype filter, cf_cudnn_graph *out);
void cf_cudnn_graph_fini(cf_cudnn_graph *graph);

#endif
