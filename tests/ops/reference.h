/* Every node in plain double-precision loops, forward and backward: what backends are tested
 * against. Written from the definitions, without a look at any backend; slow, for small graphs
 * only. Read first: reference_run. */
#ifndef CF_TESTS_OPS_REFERENCE_H
#define CF_TESTS_OPS_REFERENCE_H

#include "kernels/graph/graph.h"

typedef struct reference {
    const cf_graph *g;
    cf_dtype dtype; /* stored activations are rounded, so that an activation function sees the same
                       signs */
    double **y, **z, **gz; /* [n_nodes], canonical layouts */
    double *gradients;     /* [n_weights] of the mean loss */
    double *moments;       /* [n_state] batch mean and unbiased variance */
    double loss, correct;
} reference;

void reference_init(reference *r, const cf_graph *g);
void reference_fini(reference *r);
/* labels NULL: inference with the running moments in `state`; logits are z of the dense node. */
void reference_run(reference *r, const float *weights, const float *state, const float *images,
                   const int *labels);

#endif
