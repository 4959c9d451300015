/* Pooling over NHWC activations, a range of images at a time: window maximum (with the winner of
 * each window kept as a byte, so that its gradient has one addressee) and the mean over all pixels.
 * Deterministic. Threads: any, on disjoint images. Read first: cf_pool. */
#ifndef CF_KERNELS_CPU_POOL_H
#define CF_KERNELS_CPU_POOL_H

#include <stdint.h>

#include "kernels/graph/graph.h"

enum { CF_POOL_MAX_KERNEL = 15 }; /* kernel * kernel winners fit into a byte */

/* All pointers at the first image. */
typedef struct cf_pool {
    const cf_node *node;
    int64_t n_images;
    cf_dtype dtype;
    const void *in;  /* [n,H,W,C] */
    void *out;       /* [n,OH,OW,C] */
    uint8_t *winner; /* cf_pool_winners bytes for each image; NULL: not kept */
    const void *contributions[CF_GRAPH_MAX_USES]; /* backward: parts of the gradient of `out` */
    int n_contributions;
    void *gin; /* backward: gradient of `in` */
} cf_pool;

/* Bytes of one image's winners: r * kernel + s of each window's maximum, the first on a tie, in the
 * order of pairs (simd.h). */
int64_t cf_pool_winners(const cf_node *node);
void cf_pool_max(const cf_pool *p);
void cf_pool_max_backward(const cf_pool *p);
void cf_pool_mean(const cf_pool *p);
void cf_pool_mean_backward(const cf_pool *p);

#endif
