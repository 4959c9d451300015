/* oneDNN behind a few plain functions: nothing else sees its headers. What differs between 2.6 and
 * 3.x is in dnnl_version.h.
 *
 * An op is a primitive with its layouts, made once and shared; a call is an op bound to memory. The
 * thread count of a primitive is omp_get_max_threads() where it is made; run it under the same.
 * Activations are NHWC always, weights in the layout that the primitive likes best. Threads: ops
 * are read-only; one call runs on one thread at a time. Read first: cf_dnnl_op, cf_dnnl_bind. */
#ifndef CF_KERNELS_CPU_DNNL_H
#define CF_KERNELS_CPU_DNNL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/graph/tensor.h"

typedef struct cf_dnnl cf_dnnl;           /* the engine */
typedef struct cf_dnnl_op cf_dnnl_op;     /* a primitive and its layouts */
typedef struct cf_dnnl_call cf_dnnl_call; /* an op bound to memory */

/* What a call is bound to. Backward ops keep the names of the forward tensors: DST of a backward op
 * is its input (the gradient of the output), SRC or WEIGHTS what it computes. A matmul is DST = SRC
 * * WEIGHTS, a reorder SRC to DST. */
typedef enum cf_dnnl_arg {
    CF_DNNL_SRC,
    CF_DNNL_WEIGHTS,
    CF_DNNL_BIAS,
    CF_DNNL_DST,
    CF_DNNL_SCRATCH,
    CF_DNNL_N_ARGS
} cf_dnnl_arg;

typedef enum cf_dnnl_direction {
    CF_DNNL_FORWARD,
    CF_DNNL_BACKWARD_DATA,
    CF_DNNL_BACKWARD_WEIGHTS /* gives fp32 */
} cf_dnnl_direction;

typedef struct cf_dnnl_conv {
    int64_t n, h, w, c, k, oh, ow; /* images, input, output channels, output */
    int kernel, stride, groups;
    int pad_top, pad_left, pad_bottom, pad_right;
    cf_dtype dtype; /* of activations and packed weights */
    bool bias;      /* forward only, fp32 */
    bool activate;  /* forward only: max(x, slope * x) in the same pass */
    float slope;
} cf_dnnl_conv;

/* dst [rows, cols] fp32 (+)= op(a) [rows, inner] * b [inner, cols]; row strides in elements. */
typedef struct cf_dnnl_matmul {
    int64_t rows, cols, inner;
    int64_t a_stride, b_stride, dst_stride;
    bool a_transposed; /* a is [inner, rows] in memory */
    cf_dtype dtype;    /* of a and b */
    bool accumulate;
    bool
        b_packed; /* b is in the layout that the primitive likes best: cf_dnnl_matmul_pack_create */
} cf_dnnl_matmul;

CF_CHECKED cf_err cf_dnnl_create(cf_dnnl **out);
void cf_dnnl_destroy(cf_dnnl *d);
/* "oneDNN 2.6.3". */
void cf_dnnl_describe(char *text, size_t n);

/* Errors: CF_E_DEVICE with oneDNN's status. Owned by the caller; the engine must outlive them. */
CF_CHECKED cf_err cf_dnnl_conv_create(cf_dnnl *d, const cf_dnnl_conv *spec,
                                      cf_dnnl_direction direction, cf_dnnl_op **out);
CF_CHECKED cf_err cf_dnnl_matmul_create(cf_dnnl *d, const cf_dnnl_matmul *spec, cf_dnnl_op **out);
/* Reorders the transpose of b, [cols, inner] without gaps, into the layout of `matmul`, whose b is
 * packed. */
CF_CHECKED cf_err cf_dnnl_matmul_pack_create(cf_dnnl *d, const cf_dnnl_matmul *spec,
                                             const cf_dnnl_op *matmul, cf_dnnl_op **out);
/* Reorders between the canonical filter [K,R,S,C/G], of type `dtype`, and the weights of `conv`:
 * into them, or (`unpack`) out of them. transposed: of a 1x1 convolution, the filter is [C,K]. */
CF_CHECKED cf_err cf_dnnl_pack_create(cf_dnnl *d, const cf_dnnl_op *conv, cf_dtype dtype,
                                      bool transposed, cf_dnnl_op **out);
CF_CHECKED cf_err cf_dnnl_unpack_create(cf_dnnl *d, const cf_dnnl_op *conv, cf_dnnl_op **out);
void cf_dnnl_op_destroy(cf_dnnl_op *op);
/* Bytes of one argument; 0 where the op has none. */
size_t cf_dnnl_bytes(const cf_dnnl_op *op, cf_dnnl_arg arg);
/* oneDNN's name of the implementation, for logs. Borrowed. */
const char *cf_dnnl_implementation(const cf_dnnl_op *op);

/* memory: one pointer for each argument the op has, 64-byte aligned where they are weights;
 * borrowed by the call. */
CF_CHECKED cf_err cf_dnnl_bind(cf_dnnl *d, const cf_dnnl_op *op, void *const memory[CF_DNNL_N_ARGS],
                               cf_dnnl_call **out);
void cf_dnnl_call_destroy(cf_dnnl_call *call);
/* Runs and waits. */
CF_CHECKED cf_err cf_dnnl_run(cf_dnnl_call *call);

#endif
