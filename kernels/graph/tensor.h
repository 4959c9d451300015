/* Names and element types of tensors, for every room.
 *
 * Dimension letters, as in the cuDNN and oneDNN manuals: N images of a micro-batch, H rows, W
 * columns, C channels of an input, K channels of an output, R rows and S columns of a filter, G
 * groups. Canonical layouts (flat buffers, checkpoints, exports): activations NHWC, filters KRSC
 * with C per group, dense weights K x C. Physical layouts are a backend's own business. */
#ifndef CF_KERNELS_GRAPH_TENSOR_H
#define CF_KERNELS_GRAPH_TENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum cf_dtype { CF_F32, CF_BF16, CF_F16 } cf_dtype;

static inline size_t cf_dtype_bytes(cf_dtype t)
{
    return t == CF_F32 ? 4 : 2;
}
static inline const char *cf_dtype_name(cf_dtype t)
{
    return t == CF_F32 ? "fp32" : t == CF_BF16 ? "bf16" : "fp16";
}

typedef struct cf_shape {
    int64_t n, h, w, c;
} cf_shape;

static inline int64_t cf_shape_elements(cf_shape s)
{
    return s.n * s.h * s.w * s.c;
}

#endif
