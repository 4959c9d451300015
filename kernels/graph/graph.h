/* The network as a graph of coarse nodes: shapes, parameters, gradients, memory plan, text dump.
 *
 * A convolution node is convolution (+ bias) (+ normalisation) (+ residual add) (+ activation), so
 * that a backend can fuse. Nothing here knows a device: the dump is the same text for all of them.
 * Build order: cf_graph_create, cf_graph_input, cf_graph_conv ... cf_graph_loss, then
 * cf_graph_plan. Threads: one builder; a finished graph is read-only.
 * Read first: cf_node. */
#ifndef CF_KERNELS_GRAPH_GRAPH_H
#define CF_KERNELS_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/graph/tensor.h"

typedef enum cf_op {
    CF_OP_INPUT,
    CF_OP_CONV,
    CF_OP_MAXPOOL,
    CF_OP_AVGPOOL, /* global: H x W -> 1 x 1 */
    CF_OP_DENSE,   /* flattens its input in HWC order */
    CF_OP_LOSS     /* softmax cross-entropy over output classes; the last node */
} cf_op;

typedef enum cf_norm { CF_NORM_NONE, CF_NORM_BATCH, CF_NORM_GROUP } cf_norm;
typedef enum cf_act { CF_ACT_NONE, CF_ACT_RELU, CF_ACT_LEAKY } cf_act;
/* Padding rule. SYMMETRIC: (kernel-1)/2 on both sides. SAME: TensorFlow's rule, output
 * ceil(in/stride), the odd pixel at the bottom and right. VALID: none, a last incomplete window is
 * dropped. */
typedef enum cf_pad { CF_PAD_SYMMETRIC, CF_PAD_SAME, CF_PAD_VALID } cf_pad;

enum { CF_GRAPH_MAX_USES = 4 }; /* consumers of one node's output */

/* What a convolution or pooling node computes; filled in by the builder's caller. */
typedef struct cf_conv {
    int64_t k;          /* output channels (convolution) */
    int kernel, stride; /* square; in pixels */
    int groups;
    cf_pad pad;
    bool bias;
    cf_norm norm;
    int norm_groups;     /* CF_NORM_GROUP only */
    float norm_eps;      /* added to the variance */
    float norm_momentum; /* running = momentum * running + (1 - momentum) * batch (Keras' sense) */
    cf_act act;
    float slope; /* CF_ACT_LEAKY: factor of negative values */
} cf_conv;

/* What a parameter tensor is; decides initialisation and weight decay. */
typedef enum cf_param_kind {
    CF_PARAM_WEIGHT, /* KRSC filter or K x C dense weight */
    CF_PARAM_BIAS,
    CF_PARAM_GAMMA, /* normalisation scale */
    CF_PARAM_BETA,  /* normalisation shift */
    CF_PARAM_MEAN,  /* running mean: state, not trained */
    CF_PARAM_VAR    /* running variance: state, not trained */
} cf_param_kind;

typedef struct cf_param {
    char name[64]; /* "stage1.0.conv2.weight": unique, stable; checkpoints use it */
    cf_param_kind kind;
    int rank; /* 1, 2 or 4 */
    int64_t dim[4];
    int64_t count;  /* elements */
    int64_t offset; /* element offset in its flat buffer: parameters, or state (MEAN, VAR) */
    int64_t fan_in, fan_out; /* of a filter: C/G*R*S and K/G*R*S, for initialisation */
    int node;
} cf_param;

typedef struct cf_node {
    cf_op op;
    char name[48];
    int in;       /* node whose output is read; -1 for the input node */
    int residual; /* node added before the activation; -1 for none (convolution only) */
    cf_conv conv; /* CONV; MAXPOOL uses kernel, stride, pad; DENSE uses k and bias */
    cf_shape in_shape, out_shape;
    int pad_top, pad_left, pad_bottom, pad_right;
    /* Indices into cf_graph.params; -1 where the node has none. */
    int weight, bias, gamma, beta, mean, var;
    /* Who reads this node's output, in node order: each gives one contribution to its gradient. */
    int n_uses;
    int uses[CF_GRAPH_MAX_USES];
    int64_t macs; /* multiply-accumulates of the forward pass for one image */
    bool kept;    /* cf_graph_keep */
} cf_node;

typedef struct cf_graph {
    cf_node *nodes; /* owned, [n_nodes], in execution order */
    int n_nodes;
    cf_param *params; /* owned, [n_params] */
    int n_params;
    int64_t n_weights; /* elements of the flat parameter buffer (trainable) */
    int64_t n_state;   /* elements of the flat state buffer (running mean and variance) */
    int n_outputs;     /* output nodes (logits) */
    int n_classes;     /* after merging */
    int *class_of;     /* owned, [n_outputs]: class index of each output */
    float label_smoothing;
    int node_reserved, param_reserved; /* allocated items */
} cf_graph;

/* An empty graph. Owned by the caller; cf_graph_destroy accepts NULL. */
CF_CHECKED cf_err cf_graph_create(cf_graph **out);
void cf_graph_destroy(cf_graph *graph);

/* Adding nodes: *id receives the node's index. `name` must be unique. Errors: CF_E_USAGE, naming
 * the node, when shapes do not fit (channels not divisible by groups, empty output, residual of
 * another shape) or input and residual are one node. The graph is then as before. */
CF_CHECKED cf_err cf_graph_input(cf_graph *g, cf_shape shape, int *id);
CF_CHECKED cf_err cf_graph_conv(cf_graph *g, const char *name, int in, int residual,
                                const cf_conv *conv, int *id);
CF_CHECKED cf_err cf_graph_maxpool(cf_graph *g, const char *name, int in, const cf_conv *window,
                                   int *id);
CF_CHECKED cf_err cf_graph_avgpool(cf_graph *g, const char *name, int in, int *id);
CF_CHECKED cf_err cf_graph_dense(cf_graph *g, const char *name, int in, int64_t k, bool bias,
                                 int *id);
/* Closes the graph; every other node must have a reader. class_of: [n_outputs], copied; every class
 * in 0..n_classes-1 must appear. smoothing in [0, 1): the target is (1-s) on the label's class and
 * s/n_classes on every class. */
CF_CHECKED cf_err cf_graph_loss(cf_graph *g, int in, const int *class_of, int n_classes,
                                float smoothing);

/* From the next plan on, nothing is written over the node's output, nor over the gradient that its
 * first reader gives it, before the run has ended: both can be looked at (cf_backend_ops.peek). Of
 * a convolution the second is not kept, since its own gradient takes that place. */
void cf_graph_keep(cf_graph *g, int node);
/* 0 where none is kept. */
int cf_graph_first_kept(const cf_graph *g);

/* The node called `name`, or -1. */
int cf_graph_find(const cf_graph *g, const char *name);
int64_t cf_graph_macs(const cf_graph *g);

/* For backends whose logits, loss and the gradients of both are one piece in fp32: the loss reads a
 * dense node that nobody else reads, and there is no other. CF_E_DEVICE, naming the node. */
CF_CHECKED cf_err cf_graph_check_tail(const cf_graph *g, const char *backend);

/* ---- memory plan ------------------------------------------------------------------------------
 */

/* What a buffer holds. Y is the convolution's raw output before normalisation (none without one), Z
 * the node's output, GY the gradient of Y (of Z, without normalisation and activation), GIN the
 * gradient this node gives its input (none for readers of the input node), GRES the one it gives
 * its residual. All [N,H,W,C] in the activation type, but Z and GY of the logits node and GIN of
 * the loss node, which is the logits gradient: fp32 [N,K]. The loss node has GIN only, the input
 * node Z only. */
typedef enum cf_slot {
    CF_SLOT_Y,
    CF_SLOT_Z,
    CF_SLOT_GY,
    CF_SLOT_GIN,
    CF_SLOT_GRES,
    CF_N_SLOTS
} cf_slot;

typedef enum cf_mode { CF_MODE_TRAIN, CF_MODE_INFER } cf_mode;

typedef struct cf_buffer {
    size_t bytes;    /* 0: this node has no such buffer */
    size_t offset;   /* in the arena, 64-byte aligned */
    int first, last; /* steps of its life: forward of node i is step i, backward 2*n_nodes-1-i */
    int alias_node;  /* shares the memory of this node's alias_slot (in-place); -1: own memory */
    cf_slot alias_slot;
} cf_buffer;

typedef struct cf_memory_plan {
    cf_mode mode;
    cf_dtype dtype;
    int n_nodes;
    cf_buffer (*buffers)[CF_N_SLOTS]; /* owned, [n_nodes] */
    size_t arena_bytes;
} cf_memory_plan;

/* Places all activations and gradients of one micro-batch in one arena, so that buffers whose lives
 * do not overlap share memory. Rules, in training: Y lives until the node's own backward; Z as long
 * as anybody reads it: until the node's own backward where it has an activation (its sign is the
 * mask), the backward of a convolution, dense layer or max-pool that has it as input, else the last
 * reader's forward. GY of a node without residual is in place of the first contribution to its
 * output gradient (that of uses[0]); GRES likewise, and GY is then its own. The residual's and the
 * input's contributions are separate buffers: a node with two consumers sums them when it reads
 * them. A contribution lives from its writer's backward to its reader's. In inference: Z until its
 * last reader, Y in place of Z, no gradients. */
CF_CHECKED cf_err cf_graph_plan(const cf_graph *g, cf_mode mode, cf_dtype dtype,
                                cf_memory_plan *plan);
/* The same for a backend that never writes some buffers: unwritten [n_nodes], NULL: none. They are
 * then not in the plan. Only Z of a normalised node in training, and GY of a node with a residual,
 * can be left out. */
CF_CHECKED cf_err cf_graph_plan_lean(const cf_graph *g, cf_mode mode, cf_dtype dtype,
                                     const bool (*unwritten)[CF_N_SLOTS], cf_memory_plan *plan);
void cf_memory_plan_fini(cf_memory_plan *plan);
/* True while nothing that is written after step `from` lies over a buffer: it can still be read
 * when the run has ended. */
bool cf_memory_plan_intact(const cf_graph *g, const cf_memory_plan *plan, const cf_buffer *b,
                           int from);

/* Appends a line a node: name, operation, shapes, parameters, and with a plan its buffers. Same
 * text on every backend and machine. */
void cf_graph_dump(const cf_graph *g, const cf_memory_plan *plan /* NULL: none */, cf_buf *out);

#endif
