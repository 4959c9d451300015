/* Group normalisation: what lies between the passes over pixels, which are kernels.h's with every
 * image's own arrays (cf_cuda_view.per_image). Formulas: kernels/math/group_norm.h. A bias of the
 * convolution is never added to its output; it stands in mean and shift.
 *
 * Sums are cut and joined in orders that depend on an image's shape alone, so that an image's
 * results depend on no other. Threads: one caller a stream. Read first: cf_cuda_group_norm. */
#ifndef CF_KERNELS_CUDA_GROUP_NORM_H
#define CF_KERNELS_CUDA_GROUP_NORM_H

#include "kernels/cuda/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One node's normalisation: device memory, fp32. */
typedef struct cf_cuda_group_norm {
    int64_t n_images, rows, c; /* rows: pixels of an image */
    int groups;                /* a divisor of c */
    float eps;
    const float *gamma, *beta, *bias; /* [c]; bias NULL: none */
    cf_cuda_norm norm;                /* [n_images][c] each; mean is the group's less the bias */
    float *own_mean;  /* [n_images][c]: of the channel itself; NULL where nobody wants dbias */
    double *partials; /* scratch of cf_cuda_group_norm_room doubles */
} cf_cuda_group_norm;

/* Doubles that a node's sums take. */
int64_t cf_cuda_group_norm_room(int64_t n_images, int64_t rows, int64_t c);
/* Statistics of y [n_images * rows, c], and from them mean, rstd, scale, shift and own_mean. */
CF_CHECKED cf_err cf_cuda_group_norm_forward(cudaStream_t s, cf_dtype dtype, const void *y,
                                             const cf_cuda_group_norm *g);
/* cf_cuda_norm_reduce of the pass (its n_images and y.per_image set), and from its sums a, b, d and
 * the gradients [c] of gamma, beta and (not NULL only with own_mean) of the bias. */
CF_CHECKED cf_err cf_cuda_group_norm_reduce(cudaStream_t s, const cf_cuda_norm_pass *pass,
                                            const cf_cuda_group_norm *g, float *dgamma,
                                            float *dbeta, float *dbias);

#ifdef __cplusplus
}
#endif
#endif
