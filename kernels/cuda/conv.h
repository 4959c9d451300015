/* Convolutions: what is to be computed, and the engines that can compute it.
 *
 * Three passes (forward, data, weights) over NHWC activations and KRSC filters. An engine is one of
 * this room's kernels or a plan of cuDNN's; both are candidates for the tuner (engines.h). Own
 * kernels fuse: they apply a normalisation and activation to what they load (cf_cuda_view), the
 * batch norm's backward pass to gradients (cf_cuda_gradient), and write sums over pixels at the end
 * (`partials`). All pointers device memory, 16-byte aligned. Read first: cf_conv_call. */
#ifndef CF_KERNELS_CUDA_CONV_H
#define CF_KERNELS_CUDA_CONV_H

#include "kernels/cuda/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cf_conv_pass { CF_CONV_FORWARD, CF_CONV_DATA, CF_CONV_WEIGHTS } cf_conv_pass;

typedef struct cf_geometry {
    int n, h, w, c; /* input; c as stored (3-channel images are stored with 4) */
    int k, p, q;    /* output channels, rows, columns */
    int kernel, stride, pad_top, pad_left; /* square; bottom and right follow from p and q */
    int groups;
    cf_dtype dtype;
} cf_geometry;

typedef struct cf_conv_call {
    const cf_geometry *geometry;
    cf_conv_pass pass;
    /* FORWARD and WEIGHTS read x through its view; unfused engines need x.scale == NULL. */
    cf_cuda_view x;      /* [n,h,w,c] */
    const void *weights; /* FORWARD, DATA: [k, kernel, kernel, c/groups] in dtype */
    void *y;             /* FORWARD: [n,p,q,k], raw (no bias, no activation) */
    cf_cuda_gradient gy; /* DATA, WEIGHTS: [n,p,q,k]; unfused engines need gy.a == NULL */
    void *gin;           /* DATA: [n,h,w,c], every element written */
    /* DATA, fused engines only, else x NULL: the input node's own normalisation and activation.
     * gin is then masked by the activation's sign at input_view.x * scale + shift (same position)
     * before it is written and summed. */
    cf_cuda_view input_view;
    const float *input_mean; /* [c], with input_view */
    /* FORWARD: sum and sum of squares of y (as rounded for storage) for each k. DATA: of gin (as
     * rounded): sum of g and of g (x - mean), for each c. double [parts][2][channels]; NULL: not
     * wanted. */
    double *partials;
    float *gradient; /* WEIGHTS: fp32 [parts][k * kernel * kernel * c/groups] */
    void *workspace; /* engine's own, `workspace` bytes */
} cf_conv_call;

typedef struct cf_conv_kernel {
    const char *name;
    bool fused; /* understands views, gradients through a norm, and partials */
    bool (*supports)(const cf_geometry *g, cf_conv_pass pass);
    /* FORWARD, DATA: parts of `partials`; WEIGHTS: parts of `gradient`. By the shape alone. */
    int64_t (*parts)(const cf_geometry *g, cf_conv_pass pass);
    cf_err (*run)(cudaStream_t s, const cf_conv_call *call);
} cf_conv_kernel;

/* slab.cu: grouped 3x3, 16-bit, tensor cores: groups of 1 to 32 channels (a power of two, as many
 * outputs as inputs a group, channels a multiple of 32) as dense slabs of 32 channels with zeros
 * between groups; stride 1 and 2. Fused. */
extern const cf_conv_kernel cf_conv_slab;
/* gemm.cu: any convolution with groups 1, 16-bit, as an implicit matrix product on tensor cores:
 * c a multiple of 8 (or 4, for images), k a multiple of 8. Fused. */
extern const cf_conv_kernel cf_conv_gemm;
/* direct.cu: any convolution in any type, fp32 arithmetic on ordinary cores; the fallback. Not
 * fused. */
extern const cf_conv_kernel cf_conv_direct;

static inline int64_t cf_geometry_filter(const cf_geometry *g)
{
    return (int64_t)g->k * g->kernel * g->kernel * (g->c / g->groups);
}

#ifdef __cplusplus
}
#endif
#endif
