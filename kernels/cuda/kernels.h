/* The kernels of this room that are not convolutions, as C functions: each issues its work to a
 * stream and returns; errors are those of the launch (CF_E_DEVICE).
 *
 * Activations are [rows, c] in `dtype`, rows = N*H*W, all pointers device memory, 16-byte aligned.
 * Sums over pixels are cut into parts that depend on shapes alone: partials are double
 * [n_parts][2][c], joined in order, so results do not depend on the device's timing. Threads: one
 * caller a stream. Read first: cf_cuda_norm_pass. */
#ifndef CF_KERNELS_CUDA_KERNELS_H
#define CF_KERNELS_CUDA_KERNELS_H

#include <cuda_runtime_api.h>

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The last launch's error, as CF_E_DEVICE with the kernel's name; `call` results likewise. */
CF_CHECKED cf_err cf_cuda_check(cudaError_t code, const char *what);

/* ---- normalisation (norm.cu) ------------------------------------------------------------------
 */

/* One node's normalisation: device memory, fp32 [c] each; [n_images][c] of a group normalisation.
 */
typedef struct cf_cuda_norm {
    float *mean, *rstd;   /* of the micro-batch, or the running ones */
    float *scale, *shift; /* y * scale + shift is what the activation sees */
    float *a, *b, *d;     /* backward: gy = a g + b y + d */
} cf_cuda_norm;

/* A tensor seen through a normalisation and an activation: act(x * scale + shift). scale NULL: x as
 * it is (without activation). What a prologue applies on load. */
typedef struct cf_cuda_view {
    const void *x;
    const float *scale, *shift; /* [c] */
    cf_act act;
    float slope;    /* of CF_ACT_LEAKY; 0 for RELU, 1 for NONE is allowed */
    bool per_image; /* scale and shift are [n_images][c]: in a cf_cuda_norm_pass only */
} cf_cuda_view;

/* A gradient seen through a batch normalisation's backward pass: a g + b y + d. a NULL: g as it is.
 * Either way g is already behind the activation (masked). */
typedef struct cf_cuda_gradient {
    const void *g;
    const void *y;
    const float *a, *b, *d; /* [c] */
} cf_cuda_gradient;

typedef struct cf_cuda_norm_pass {
    int64_t rows, c;
    /* Images of rows / n_images rows each, where a view is per_image; 0: all rows are alike. */
    int64_t n_images;
    cf_dtype dtype;
    cf_cuda_view y;        /* the node's raw output, its scale, shift and activation */
    cf_cuda_view residual; /* x NULL: none; added before the activation; its own act is NONE */
    void *z;               /* forward: the output; may be y.x */
    /* One bit an element, element e at bit e % 8 of byte e / 8: the activation's input was above
     * zero. Forward: written when not NULL; backward: read when not NULL, else the sign is computed
     * from y (which needs that there is no residual). */
    uint8_t *mask;
    const void *contributions[CF_GRAPH_MAX_USES]; /* backward: parts of the gradient of z */
    int n_contributions;
    void *masked; /* backward: their sum behind the activation; NULL: not wanted; may be a part */
    const float
        *mean; /* backward: as y.scale is; NULL: no normalisation, second sums are then not taken */
} cf_cuda_norm_pass;

/* Rows of `partials` that a pass over [rows, c] writes. */
int64_t cf_cuda_norm_parts(int64_t rows, int64_t c);
/* Of each image, where a pass is divided into images of `rows` rows: whatever their number is. */
int64_t cf_cuda_image_parts(int64_t rows, int64_t c);
/* Sum and sum of squares of every channel of y: partials double [parts][2][c]. */
CF_CHECKED cf_err cf_cuda_statistics(cudaStream_t s, cf_dtype dtype, const void *y, int64_t rows,
                                     int64_t c, double *partials);
/* The same of each image of y [n_images * rows, c]: partials double [n_images][parts][2][c]. */
CF_CHECKED cf_err cf_cuda_image_statistics(cudaStream_t s, cf_dtype dtype, const void *y,
                                           int64_t n_images, int64_t rows, int64_t c,
                                           double *partials);
/* Joins partials into mean, rstd, scale and shift; mean_out [c] is the mean plus `bias` (NULL: 0),
 * unbiased_out [c] the variance with rows - 1. gamma, beta, bias: fp32 [c]. */
CF_CHECKED cf_err cf_cuda_norm_finish(cudaStream_t s, const double *partials, int64_t n_parts,
                                      int64_t rows, int64_t c, float eps, const float *gamma,
                                      const float *beta, const float *bias, const cf_cuda_norm *n,
                                      float *mean_out, float *unbiased_out);
/* scale and shift from running moments; `bias` (NULL: none) goes into shift. */
CF_CHECKED cf_err cf_cuda_norm_from_running(cudaStream_t s, int64_t c, float eps,
                                            const float *gamma, const float *beta,
                                            const float *bias, const float *mean, const float *var,
                                            const cf_cuda_norm *n);
/* z = act(y * scale + shift + residual), mask. y.scale NULL: z = act(y + residual + shift), with
 * shift as a bias where it is not NULL. */
CF_CHECKED cf_err cf_cuda_norm_apply(cudaStream_t s, const cf_cuda_norm_pass *pass);
/* g = sum of contributions behind the activation, to `masked`; partials: sum of g and, with mean,
 * of g (y - mean). Without normalisation (y.scale NULL) and without mask the sign is that of y.x,
 * which is then the node's output. With n_images partials are [n_images][parts][2][c], parts those
 * of cf_cuda_image_parts. */
CF_CHECKED cf_err cf_cuda_norm_reduce(cudaStream_t s, const cf_cuda_norm_pass *pass,
                                      double *partials);
/* Joins them: dgamma, dbeta fp32 [c], and a, b, d. */
CF_CHECKED cf_err cf_cuda_norm_reduce_finish(cudaStream_t s, const double *partials,
                                             int64_t n_parts, int64_t rows, int64_t c,
                                             const float *gamma, const cf_cuda_norm *n,
                                             float *dgamma, float *dbeta);
/* dbias [c] = sum of the first sums. */
CF_CHECKED cf_err cf_cuda_bias_finish(cudaStream_t s, const double *partials, int64_t n_parts,
                                      int64_t c, float *dbias);
/* gy = a g + b y + d; gy may be g.g. */
CF_CHECKED cf_err cf_cuda_norm_backward(cudaStream_t s, cf_dtype dtype, int64_t rows, int64_t c,
                                        const cf_cuda_gradient *g, void *gy);
/* The same with a, b and d [n_images][c], over images of `rows` rows each. */
CF_CHECKED cf_err cf_cuda_image_backward(cudaStream_t s, cf_dtype dtype, int64_t n_images,
                                         int64_t rows, int64_t c, const cf_cuda_gradient *g,
                                         void *gy);

/* ---- pooling (pool.cu) ------------------------------------------------------------------------
 */

typedef struct cf_cuda_pool {
    int64_t n, h, w, c, p, q; /* input and output sizes */
    int kernel, stride, pad_top, pad_left;
    cf_dtype dtype;
    cf_cuda_view in; /* [n,h,w,c] */
    void *out;       /* [n,p,q,c] */
    uint8_t
        *winner; /* [n,p,q,c]: r * kernel + s of the maximum, the first on a tie; NULL: not kept */
    const void *contributions[CF_GRAPH_MAX_USES]; /* backward: parts of the gradient of `out` */
    int n_contributions;
    void *gin; /* backward: [n,h,w,c], every element written */
} cf_cuda_pool;

CF_CHECKED cf_err cf_cuda_pool_max(cudaStream_t s, const cf_cuda_pool *p);
CF_CHECKED cf_err cf_cuda_pool_max_backward(cudaStream_t s, const cf_cuda_pool *p);
CF_CHECKED cf_err cf_cuda_pool_mean(cudaStream_t s, const cf_cuda_pool *p); /* p = q = 1 */
CF_CHECKED cf_err cf_cuda_pool_mean_backward(cudaStream_t s, const cf_cuda_pool *p);

/* ---- logits and loss (dense.cu) ---------------------------------------------------------------
 */

typedef struct cf_cuda_dense {
    int64_t n, f, k;            /* images, features, outputs */
    cf_dtype dtype;             /* of x and gx */
    const void *x;              /* [n,f] */
    const float *weight, *bias; /* [k,f], [k] or NULL; fp32 */
    float *logits;              /* [n,k] */
    const float *glogits;       /* [n,k] */
    void *gx;                   /* [n,f]; NULL: not wanted */
    float *gweight, *gbias;     /* [k,f], [k] or NULL */
} cf_cuda_dense;

CF_CHECKED cf_err cf_cuda_dense_forward(cudaStream_t s, const cf_cuda_dense *d);
CF_CHECKED cf_err cf_cuda_dense_backward(cudaStream_t s, const cf_cuda_dense *d);

/* cf_loss_row (kernels/math/loss.h) for every row. class_of [k], labels [n]: device. glogits is the
 * gradient of the mean loss times *scale (device). result: device, fp32 [2]: mean loss and share of
 * right answers, summed over rows in order. scratch: fp32 [n][n_classes + 2]. */
CF_CHECKED cf_err cf_cuda_loss(cudaStream_t s, int64_t n, int k, int n_classes, const int *class_of,
                               const int *labels, float smoothing, const float *logits,
                               const float *scale, float *scratch, float *glogits, float *result);

/* ---- the step's sums, weights, optimizer (sums.cu, update.cu) -----------------------------------
 */

/* What went wrong first, device memory: the lowest number of a tensor in the order of the passes;
 * INT32_MAX: nothing. */
typedef struct cf_cuda_fault {
    int32_t first;
} cf_cuda_fault;

/* One tensor of a micro-batch into the sums. values: fp32 [n_parts][n_stored], added up in fp32 (in
 * order; from 16 parts on as eight runs, then the runs), then divided by *scale (device; NULL: 1).
 * Element i of the tensor stands at (i / c) * c_stored + i % c: rows padded from c to c_stored
 * channels. */
typedef struct cf_cuda_sum {
    const float *values;
    int64_t n_parts, n_stored, n, c, c_stored;
    const float *scale;
    void *sums;           /* start of the step's sums */
    int64_t offset, flag; /* elements: of this tensor's first, of the fault flag */
    cf_reduce reduce;
    int bits; /* CF_EXACT_GRAD_BITS or CF_EXACT_STATE_BITS: also chooses the limit */
    cf_cuda_fault *fault;
    int32_t number; /* of this tensor, for the fault */
} cf_cuda_sum;

/* sums += values in fixed point (kernels/math/fixed.h) or fp32; sets the flag to 1 and lowers
 * fault->first where a value is not finite or above its limit. */
CF_CHECKED cf_err cf_cuda_sums_add(cudaStream_t s, const cf_cuda_sum *sum);

/* Many short tensors at once, value by value. values, targets, numbers: device, [n]. */
typedef struct cf_cuda_scatter {
    const float *values;
    int64_t n;
    const int64_t *targets; /* element of the sums that each value is added to; NULL: first + i */
    int64_t first;
    const int32_t *numbers; /* of the tensor that a value belongs to, for the fault */
    const float *scale;     /* device; each value is divided by it; NULL: 1 */
    void *sums;             /* start of the step's sums */
    int64_t flag;
    cf_reduce reduce;
    int bits;
    cf_cuda_fault *fault;
} cf_cuda_scatter;

/* As cf_cuda_sums_add; no element may be a target twice. */
CF_CHECKED cf_err cf_cuda_sums_scatter(cudaStream_t s, const cf_cuda_scatter *t);

/* A tensor of the flat weights into the program's copy. */
typedef struct cf_cuda_pack_item {
    int64_t from;        /* element in the flat buffer */
    int64_t to;          /* byte in the packed buffer, 16-byte aligned */
    int64_t n;           /* elements read */
    int32_t c, c_stored; /* rows padded from c to c_stored channels with zeros */
    cf_dtype dtype;
} cf_cuda_pack_item;

/* items: device memory [n_items]; most: the largest n * c_stored / c of them. */
CF_CHECKED cf_err cf_cuda_pack(cudaStream_t s, const cf_cuda_pack_item *items, int n_items,
                               int64_t most, const float *flat, void *packed);

/* cf_update with device pointers; formulas of kernels/math/optimizer.h. workspace: device, at least
 * cf_cuda_update_workspace bytes; with clip_norm a norm that is not finite skips the update and
 * sets *bad (host) to true, for which this waits; without clip_norm nothing waits. */
size_t cf_cuda_update_workspace(const cf_update *u);
CF_CHECKED cf_err cf_cuda_update(cudaStream_t s, const cf_update *u, void *workspace, bool *bad);

/* The digest of values [n], device memory; workspace: device, a uint64_t; sum: host, for which this
 * waits. */
CF_CHECKED cf_err cf_cuda_digest(cudaStream_t s, const float *values, int64_t n, uint64_t first,
                                 void *workspace, uint64_t *sum);

/* ---- images (augment.cu) ----------------------------------------------------------------------
 */

/* Device form of cf_raw_image: pixels in device memory. */
typedef struct cf_cuda_image {
    const uint8_t *pixels;
    int height, width;
    cf_augment augment;
} cf_cuda_image;

/* images: device [n]; out: [n_slots, size, size, c_stored] in dtype, channels past 3 and images
 * past n zero. Formulas of kernels/math/augment.h. */
CF_CHECKED cf_err cf_cuda_augment(cudaStream_t s, const cf_cuda_image *images, int n, int n_slots,
                                  const cf_normalize *normalize, int size, cf_dtype dtype,
                                  int c_stored, void *out);
/* fp32 [rows, c] (device) to dtype [rows, c_stored], zero padded. */
CF_CHECKED cf_err cf_cuda_convert(cudaStream_t s, const float *in, int64_t rows, int c,
                                  cf_dtype dtype, int c_stored, void *out);
/* dtype [n] to fp32 [n], for peek. */
CF_CHECKED cf_err cf_cuda_widen(cudaStream_t s, cf_dtype dtype, const void *in, int64_t n,
                                float *out);

#ifdef __cplusplus
}
#endif
#endif
