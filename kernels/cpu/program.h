/* A compiled graph: memory, primitives and the order of the passes. Private to this room.
 *
 * A normalised output needs statistics of more than its pixel (of the whole micro-batch, or with
 * group normalisation of its image), so it cannot be written when
 * its convolution has run. It is written chunk by chunk when its first reader runs, just before
 * that reader's convolution, while it is in the cache; the gradient's sums are taken likewise right
 * behind the convolution that made the gradient. Which node does what for whom is fixed at compile
 * time: `write` and `reduce` below. Threads: one caller. Read first: cf_cpu_node. */
#ifndef CF_KERNELS_CPU_PROGRAM_H
#define CF_KERNELS_CPU_PROGRAM_H

#include "kernels/backend.h"
#include "kernels/cpu/conv.h"
#include "kernels/cpu/group_norm.h"
#include "kernels/cpu/norm.h"

/* Kinds of work that are timed. */
typedef enum cf_phase {
    CF_PHASE_FORWARD, /* convolutions */
    CF_PHASE_DATA,    /* gradients of their inputs */
    CF_PHASE_WEIGHTS, /* gradients of their filters */
    CF_PHASE_NORM,    /* normalisation, residual, activation, both ways */
    CF_PHASE_POOL,    /* pooling, dense, loss, input */
    CF_PHASE_SUMS,    /* into the step's sum */
    CF_PHASE_PACK,    /* weights into the primitives' layouts */
    CF_N_PHASES
} cf_phase;

struct cf_backend {
    int n_threads;
    cf_dnnl *dnnl; /* owned */
};

/* A short list of nodes. */
typedef struct cf_node_list {
    int *items; /* in the program's memory */
    int n;
} cf_node_list;

typedef struct cf_cpu_node {
    int64_t slices; /* of one image of the output: the same for all nodes of its height and width */
    int64_t split; /* a chunk is a number of these parts of an image: slices, or 1 (whole images) */
    int64_t chunk, n_chunks; /* parts of a chunk; chunks of the micro-batch */
    cf_conv_run conv;        /* CONV */
    bool normalised;         /* batch or group normalisation */
    bool per_image;          /* group normalisation: every image has its own channels' arrays */
    bool passing;            /* Z is not kept: its reader makes it again, chunk by chunk */
    bool folded; /* its reader normalises it: this node's Z is never written in training */
    cf_norm_channels *norm;     /* [1], or [N] where they are each image's own */
    cf_norm_sums *slice_sums;   /* [N * slices] */
    float *gamma, *beta, *bias; /* [K] copies, bias also of DENSE */
    float *mean, *unbiased;     /* [K] what goes into the state's sum */
    float *dgamma, *dbeta;      /* [K]; dbeta is the bias' gradient without normalisation */
    float *dbias;               /* [K]: group normalisation behind a bias; else NULL */
    float *dense;               /* DENSE: weight [K,F] */
    float *ddense;              /* DENSE: its gradient */
    uint8_t *winner;            /* MAXPOOL */
    cf_node_list write;         /* outputs written in this node's forward pass, before it */
    cf_node_list write_after;   /* as above, but in a pass of their own behind it */
    cf_node_list reduce;        /* gradients summed in this node's backward pass, behind it */
    bool reduced;               /* its gradient is summed in another node's pass */
} cf_cpu_node;

typedef struct cf_cpu_block {
    void *memory;
    size_t mapped; /* bytes to unmap; 0: from the heap */
} cf_cpu_block;

struct cf_program {
    cf_backend *backend;        /* borrowed */
    const cf_graph *graph;      /* borrowed */
    const cf_memory_plan *plan; /* borrowed */
    cf_compile_options options;
    cf_cpu_node *nodes;   /* [n_nodes] */
    uint8_t *arena;       /* the plan's */
    cf_cpu_block *blocks; /* all owned memory, arena and nodes included */
    int n_blocks, reserved_blocks;
    size_t bytes;
    const cf_batch *batch; /* of the run that is going on */
    float *loss_scratch;   /* [n_classes] */
    cf_conv_memory shared; /* memory that convolutions share */
    bool ready;            /* weights have been set */
    bool ran;
    int64_t ns[CF_N_PHASES];
};

/* compile.c */
CF_CHECKED cf_err cf_cpu_compile(cf_backend *b, const cf_graph *g, const cf_memory_plan *plan,
                                 const cf_compile_options *o, cf_program **out);
void cf_cpu_release(cf_program *p);
bool cf_cpu_supports(const cf_backend *b, const cf_node *node, const cf_compile_options *o,
                     char *why, size_t n_why);

/* order.c: fills in write, write_after, reduce, reduced and folded (training) or write (inference).
 */
CF_CHECKED cf_err cf_cpu_order(cf_program *p);
/* Zeroed, 64-byte aligned memory that lives as long as the program. */
CF_CHECKED cf_err cf_cpu_keep(cf_program *p, size_t n, size_t item_bytes, void *out);

/* passes.c: what forward and backward share. */
void *cf_cpu_slot(const cf_program *p, int node, cf_slot slot);
/* Slot of a node at a slice (of the slot's own height and width); NULL where the plan has none. */
void *cf_cpu_slot_at(const cf_program *p, int node, cf_slot slot, int64_t slice);
/* A node's output at a slice, or where the thread that works on that slice makes it again. */
void *cf_cpu_output_at(const cf_program *p, int node, int64_t slice);
/* The same for the gradient of Y. */
void *cf_cpu_gradient_at(const cf_program *p, int node, int64_t slice);
/* Parts of the gradient of a node's output at a slice; returns their number. */
int cf_cpu_contributions(const cf_program *p, int node, int64_t slice,
                         const void *parts[CF_GRAPH_MAX_USES]);
/* First slice of a chunk of `worker`, counted in the slices of `node`; that of the next is its end.
 */
int64_t cf_cpu_first_slice(const cf_program *p, int worker, int64_t chunk, int node);
/* The channels of a normalised node that hold for a slice. */
const cf_norm_channels *cf_cpu_norm_of(const cf_program *p, int node, int64_t slice);
cf_group_norm cf_cpu_group_norm(const cf_program *p, int node);
/* A pass over one slice of a convolution node; the backward pass adds what it needs. */
cf_norm_pass cf_cpu_norm_pass(const cf_program *p, int node, int64_t slice);
typedef cf_err (*cf_cpu_chunk_fn)(cf_program *p, int node, int64_t chunk);
/* Calls fn for each chunk of a node, on the threads that own them. */
CF_CHECKED cf_err cf_cpu_for_chunks(cf_program *p, int node, cf_cpu_chunk_fn fn);
/* Adds the time since `start` to a phase (first thread only) and returns the time now. */
int64_t cf_cpu_lap(cf_program *p, cf_phase phase, int64_t start);
/* cf_sums_add with the error that names the parameter; nothing where weights are frozen. */
CF_CHECKED cf_err cf_cpu_add(cf_program *p, void *sums, int param, const float *values);

/* forward.c, backward.c */
CF_CHECKED cf_err cf_cpu_forward(cf_program *p, const cf_batch *batch);
/* Normalisation, residual and activation of a node's slices, or the input's images. */
void cf_cpu_write_output(cf_program *p, int node, int64_t first, int64_t end);
CF_CHECKED cf_err cf_cpu_backward(cf_program *p, void *sums);

#endif
