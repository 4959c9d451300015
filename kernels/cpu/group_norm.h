/* Group normalisation (Wu and He, ECCV 2018): the sums between the passes of norm.h; the
 * formulas are in kernels/math/group_norm.h.
 *
 * Mean and variance are those of one image's channels of one group, over all its pixels. The passes
 * over pixels are the batch normalisation's, with every image's own cf_norm_channels. A bias of the
 * convolution is never added to its output: it moves the channel's mean, and so stands in `shift`,
 * which is where the output finds it. All sums are taken in channel and slice order, so that they
 * depend on no other image and on no thread. Threads: any, on different images.
 * Read first: cf_group_norm. */
#ifndef CF_KERNELS_CPU_GROUP_NORM_H
#define CF_KERNELS_CPU_GROUP_NORM_H

#include "kernels/cpu/norm.h"

/* One node's normalisation. Borrowed arrays, fp32 [c]. */
typedef struct cf_group_norm {
    int64_t c;
    int groups;           /* a divisor of c */
    int64_t slices, rows; /* slices of an image, pixels of a slice */
    float eps;
    const float *gamma, *beta;
    const float *bias; /* of the convolution; NULL: none */
} cf_group_norm;

/* Sets mean, rstd, scale, shift and (where it is not NULL) own_mean of an image, from its sums by
 * cf_norm_statistics: [slices] of [c]. `mean` is the group's less the channel's bias, so that what
 * norm.h takes from y, which has no bias, is the deviation. */
void cf_group_norm_finish(const cf_group_norm *g, const cf_norm_sums *sums,
                          const cf_norm_channels *n);
/* Sets a, b and d of an image from its sums by cf_norm_reduce. */
void cf_group_norm_reduce_finish(const cf_group_norm *g, const cf_norm_sums *sums,
                                 const cf_norm_channels *n);
/* Gradients of gamma, beta and (where dbias is not NULL) of the bias, fp32 [c], from all images:
 * sums [n_images * slices], n [n_images]. After cf_group_norm_reduce_finish of each. The bias'
 * gradient is the sum of that of y, which follows from the same sums. */
void cf_group_norm_gradients(const cf_group_norm *g, const cf_norm_sums *sums,
                             const cf_norm_channels *n, int64_t n_images, float *dgamma,
                             float *dbeta, float *dbias);

#endif
