/* The graph that a network is explained with: the trained one with every batch normalisation folded
 * into its convolution by the running moments, so that training programs give the gradients of the
 * network as it predicts, and with a head that makes the loss's gradient that of one class's score.
 *
 * The score of a class is its logit (Selvaraju et al., ICCV 2017, take it before the softmax); of a
 * class of several output nodes it is the logarithm of the sum of their exponentials, whose
 * gradient is the nodes' weighted by their shares of the class. The head has a row for each of the
 * class's nodes and one constant output of another class, far above them: the constant takes all
 * probability but P, and the gradient of the loss is -(1 - P) times that of the score.
 *
 * Group normalisation stays as it is: its statistics are each image's own. A max-pool of one pixel,
 * which changes nothing, is read twice over behind the image and behind the layer: the first is
 * kept (cf_graph_keep) with the whole gradient of its output. Threads: one builder. Read first:
 * cf_explain_graph_build. */
#ifndef CF_WORKER_INSIGHT_EXPLAIN_GRAPH_H
#define CF_WORKER_INSIGHT_EXPLAIN_GRAPH_H

#include "kernels/graph/graph.h"

typedef struct cf_explain_graph {
    cf_graph *graph; /* owned */
    int image;       /* kept node whose output is the image; -1: not asked for */
    int layer;       /* kept node whose output is the layer's; -1: not asked for */
    int logits;      /* kept: the head, of n_rows outputs and the constant */
    int n_rows;      /* output nodes of the class that has most */
} cf_explain_graph;

typedef struct cf_explain_target {
    int batch;  /* images of a pass */
    int layer;  /* node of the trained graph, a convolution or max-pool; -1: none */
    bool image; /* the gradient of the image is wanted */
} cf_explain_target;

/* trained: a closed graph whose loss reads a dense layer. CF_E_USAGE where neither layer nor image
 * is wanted, or the layer is of another kind. Release with fini in any case. */
CF_CHECKED cf_err cf_explain_graph_build(const cf_graph *trained, const cf_explain_target *target,
                                         cf_explain_graph *x);
void cf_explain_graph_fini(cf_explain_graph *x);

/* Whether a node of the trained graph can be a layer to look at. */
bool cf_explain_graph_is_layer(const cf_node *node);

/* Where the pixels of a node's output read the image: pixel i around start + step * i, the centre
 * of its receptive field, in px. Kernels with padding on one side only, and even ones, move it. */
void cf_explain_graph_place(const cf_graph *trained, int node, double *start, double *step);

/* Everything but the head: weights [n_weights] and state [n_state] of the trained graph into
 * folded [x->graph->n_weights]. Filters are multiplied by gamma / sqrt(var + eps) and biases moved,
 * in double precision. */
void cf_explain_graph_fold(const cf_graph *trained, const float *weights, const float *state,
                           const cf_explain_graph *x, float *folded);
/* The head of class `class`: its nodes' rows of the trained dense layer, rows without a node that
 * count for nothing, and the constant. Returns the class's number of nodes. */
int cf_explain_graph_aim(const cf_graph *trained, const float *weights, int class, float constant,
                         const cf_explain_graph *x, float *folded);

#endif
