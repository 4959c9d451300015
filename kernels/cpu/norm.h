/* Normalisation, residual add and activation over NHWC activations, forward and backward, on
 * one range of pixels; and the batch normalisation's arithmetic
 * between the passes (group_norm.h has the group normalisation's).
 *
 * Sums over pixels are taken image by image (fp32 within 256 pixels, double above) and joined in
 * image order, so that they depend neither on threads nor on how images are shared out. C is any
 * number; multiples of 16 are fast. Threads: any, on disjoint ranges.
 * Read first: cf_norm, cf_norm_statistics. */
#ifndef CF_KERNELS_CPU_NORM_H
#define CF_KERNELS_CPU_NORM_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/graph/graph.h"

/* One node's normalisation. All arrays fp32 [c], host memory, owned by the program. */
typedef struct cf_norm_channels {
    float *mean, *rstd;   /* of the micro-batch, the running ones, or the image's groups' */
    float *scale, *shift; /* y * scale + shift is what the activation sees */
    float *a, *b, *d;     /* backward: gy = a g + b y + d */
    float *own_mean;      /* group norm behind a bias: of the image's channel itself; else NULL */
} cf_norm_channels;

/* A pass over `rows` pixels of [rows, c]. Pointers to the first pixel; activations in `dtype`. */
typedef struct cf_norm_pass {
    int64_t rows, c;
    cf_dtype dtype;
    cf_act act;
    float slope;
    const cf_norm_channels *channels; /* NULL: no normalisation */
    const void *y;
    const void *residual; /* NULL: none */
    const cf_norm_channels
        *residual_channels; /* the residual is this normalisation of it; or NULL */
    void *z;
    const void *contributions[CF_GRAPH_MAX_USES]; /* backward: parts of the gradient of z */
    int n_contributions;
    void *masked; /* gradient behind the activation; NULL: not wanted. May be a contribution */
    void *gy;     /* may be any of them */
} cf_norm_pass;

/* Sums of one image, double [c] each. */
typedef struct cf_norm_sums {
    double *first, *second;
} cf_norm_sums;

/* Mean (`first`) and sum of squared deviations (`second`) of every channel of y. */
void cf_norm_statistics(const cf_norm_pass *pass, cf_norm_sums out);
/* Joins n_images of them (pooled mean and deviations, Chan et al. 1979): sets mean, rstd, scale,
 * shift and gives the unbiased variance. sums: [n_images] of [c]. */
void cf_norm_finish(const cf_norm_channels *n, const cf_norm_sums *sums, int64_t n_images,
                    int64_t pixels, int64_t c, float eps, const float *gamma, const float *beta,
                    float *unbiased);
/* Sets mean, rstd, scale and shift from running moments. */
void cf_norm_from_running(const cf_norm_channels *n, int64_t c, float eps, const float *gamma,
                          const float *beta, const float *mean, const float *var);
/* z = act(norm(y) + residual). z may be y. */
void cf_norm_apply(const cf_norm_pass *pass);

/* g = the contributions' sum behind the activation, written to `masked` if set. Per channel: sum of
 * g
 * (`first`) and of g (y - mean) (`second`, not without normalisation). The activation's sign is
 * read from z where there is a residual or no normalisation, and is computed from y elsewhere. */
void cf_norm_reduce(const cf_norm_pass *pass, cf_norm_sums out);
/* Joins the images: gradients of gamma and beta [c], and a, b, d. */
void cf_norm_reduce_finish(const cf_norm_channels *n, const cf_norm_sums *sums, int64_t n_images,
                           int64_t pixels, int64_t c, const float *gamma, float *dgamma,
                           float *dbeta);
/* gy from `masked` where set, from the contributions elsewhere. */
void cf_norm_backward(const cf_norm_pass *pass);

#endif
