/* The last two nodes: logits = x w^T + bias, and the loss. All in fp32 from master weights: they
 * are too small to be worth bf16 (a thousandth of the step) and their rounding would reach the
 * scores. Threads: one caller; forward and gradients use the OpenMP team. Read first: cf_dense. */
#ifndef CF_KERNELS_CPU_DENSE_H
#define CF_KERNELS_CPU_DENSE_H

#include <stdint.h>

#include "kernels/graph/graph.h"

typedef struct cf_dense {
    int64_t n, f, k;            /* images, features, outputs */
    cf_dtype dtype;             /* of x and gx */
    const void *x;              /* [n,f] */
    const float *weight, *bias; /* [k,f], [k] or NULL */
    float *logits;              /* [n,k] */
    const float *glogits;       /* [n,k] */
    void *gx;                   /* [n,f]; NULL: not wanted */
    float *gweight, *gbias;     /* [k,f], [k] or NULL */
} cf_dense;

void cf_dense_forward(const cf_dense *d);
void cf_dense_backward(const cf_dense *d);

/* Mean loss over the rows and the share of right answers; glogits [n,k] is the gradient of the
 * mean. scratch: [n_classes]. */
void cf_dense_loss(const cf_graph *g, int64_t n, const float *logits, const int *labels,
                   float *scratch, float *glogits, double *loss, double *correct);

#endif
