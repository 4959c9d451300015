/* cuDNN's convolutions through its graph API: engine candidates, plans, runs.
 *
 * No fusion: each plan is one convolution on NHWC tensors, with fp32 sums. Candidates exclude
 * engines that are not deterministic (when asked), those that sum in less than fp32, that transform
 * (FFT, Winograd: other errors than a sum's) and, for fp32, those that round inputs (TF32).
 * Threads: one caller a handle. Read first: cf_cudnn_candidates. */
#ifndef CF_KERNELS_CUDA_CUDNN_H
#define CF_KERNELS_CUDA_CUDNN_H

#include "kernels/cuda/conv.h"

typedef struct cf_cudnn cf_cudnn;
typedef struct cf_cudnn_plan cf_cudnn_plan;

/* Work goes to `stream`. */
CF_CHECKED cf_err cf_cudnn_create(cudaStream_t stream, cf_cudnn **out);
/* For a device that need not be there, by its properties as cuDNN writes them in JSON: plans are
 * made, with their workspace and text, but cannot run. For tests and for preparing choices. Needs
 * cuDNN 9.8. */
CF_CHECKED cf_err cf_cudnn_create_for(const char *properties, cf_cudnn **out);
void cf_cudnn_destroy(cf_cudnn *c); /* accepts NULL */
/* "cuDNN 9.15.1". */
void cf_cudnn_describe(char *text, size_t n);

/* Plans for a pass, the library's best guess first, at most `most`; *n may be 0: none can do it.
 * workspace: bytes that a plan may take. Owned by the caller, released one by one. */
CF_CHECKED cf_err cf_cudnn_candidates(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass,
                                      bool deterministic, size_t workspace, int most,
                                      cf_cudnn_plan **plans, int *n);
/* The plan that cf_cudnn_plan_text wrote: "engine 17 knobs 2=1,3=0", with " narrow" behind it where
 * a weight gradient is rounded to the type of the input before it is widened. CF_E_DATA when it is
 * no such text, CF_E_DEVICE when this library or device has no such plan. */
CF_CHECKED cf_err cf_cudnn_plan_of_text(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass,
                                        const char *text, cf_cudnn_plan **out);
void cf_cudnn_plan_destroy(cf_cudnn_plan *p); /* accepts NULL */
void cf_cudnn_plan_text(const cf_cudnn_plan *p, char *text, size_t n);
/* Bytes that a run needs, aligned to 256. */
size_t cf_cudnn_plan_workspace(const cf_cudnn_plan *p);
/* Reads call->x.x, weights, gy.g; writes y, gin or (as fp32 [1][...]) gradient. */
CF_CHECKED cf_err cf_cudnn_run(cf_cudnn *c, const cf_cudnn_plan *p, const cf_conv_call *call);

#endif
