/* The table that a device fills in, and what stands on both sides of it.
 *
 * A backend owns memory and compiles a finished graph for one micro-batch size; a program runs it.
 * The flat buffers (weights, state, sums, moments) live in the backend's memory; the host reaches
 * them through copy_in and copy_out only. Threads: one caller for each backend object.
 * Read first: cf_backend_ops. */
#ifndef CF_KERNELS_BACKEND_H
#define CF_KERNELS_BACKEND_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/graph/graph.h"
#include "kernels/math/augment.h"

/* Fixed-point scales of `reduce: exact`: value * 2^bits, rounded to nearest even, summed as int64.
 * A gradient below 2^-41 rounds to zero; one above CF_EXACT_GRAD_LIMIT is a numeric error. */
enum { CF_EXACT_GRAD_BITS = 40, CF_EXACT_STATE_BITS = 32 };
#define CF_EXACT_GRAD_LIMIT  8192.0f    /* 1024 micro-batches still fit 63 bits */
#define CF_EXACT_STATE_LIMIT 2097152.0f /* batch means and variances */

/* The sum of a step over micro-batches, one flat buffer, [cf_sums_count() + 1] elements in this
 * order: gradients [n_weights]; batch-norm moments [n_state] (the batch mean at MEAN's offset, the
 * unbiased batch variance at VAR's); loss [1]; correct [1], the share of the micro-batch's images
 * whose highest class is the label; fault flag [1], not zero when a value was not finite or above
 * its limit. A backend that works behind its caller (cuda) raises the flag itself, and cf_backend_
 * ops.fault names the tensor; one that waits (cpu) returns CF_E_NUMERIC and leaves the flag. */
static inline int64_t cf_sums_count(const cf_graph *g)
{
    return g->n_weights + g->n_state + 2;
}

typedef enum cf_reduce { CF_REDUCE_EXACT, CF_REDUCE_FAST } cf_reduce;

/* Element i of a step's sum as a number; sums: host memory, [cf_sums_count]. Moments have
 * CF_EXACT_STATE_BITS; gradients, loss and correct have CF_EXACT_GRAD_BITS. */
static inline double cf_sums_value(const cf_graph *g, const void *sums, cf_reduce reduce, int64_t i)
{
    if (reduce == CF_REDUCE_FAST) return (double)((const float *)sums)[i];
    bool moment = i >= g->n_weights && i < g->n_weights + g->n_state;
    return ldexp((double)((const int64_t *)sums)[i],
                 -(moment ? CF_EXACT_STATE_BITS : CF_EXACT_GRAD_BITS));
}

typedef struct cf_compile_options {
    cf_mode mode;
    cf_dtype dtype;   /* of activations; weights' masters and sums are fp32 or int64 */
    cf_reduce reduce; /* element type of sums: int64_t or float */
    bool deterministic;
    /* Training with weights that stand still: gradients of activations only, from the loss down to
     * the first node that is kept (cf_graph_keep). Of the sums only loss and correct are of use. */
    bool frozen;
    bool timed;          /* measure phases, even where that costs time (cuda: no graph, events) */
    bool may_tune;       /* time engine candidates for shapes that `engines` does not hold */
    const char *engines; /* file of engine choices, read and, with may_tune, added to; NULL: none */
} cf_compile_options;

/* A stored image and what becomes of it on the way into the network. */
typedef struct cf_raw_image {
    const uint8_t *pixels; /* host memory, [height][width][3] RGB; borrowed until the run returns */
    int64_t offset; /* byte of the same pixels in the store given to hold_pixels; -1: not there */
    int height, width;
    cf_augment augment;
} cf_raw_image;

/* One micro-batch, in host memory. Borrowed until the call that takes it returns. */
typedef struct cf_batch {
    const float *images; /* [N,H,W,3], normalised; NULL: raw is used */
    const int *labels;   /* [N], class index; NULL in inference */
    /* For backends that augment themselves (augments): [n_raw], at most N; slots past them are
     * zero, with label 0. */
    const cf_raw_image *raw;
    int n_raw;
    cf_normalize normalize;
} cf_batch;

typedef enum cf_optimizer { CF_OPT_SGD, CF_OPT_ADAM, CF_OPT_ADAMW } cf_optimizer;

/* One fused pass over the flat buffers. All pointers in backend memory. */
typedef struct cf_update {
    cf_optimizer kind;
    int64_t n_weights, n_state;
    float *weights;   /* [n_weights] fp32 masters, updated */
    float *state;     /* [n_state] running moments, updated */
    float *moment1;   /* [n_weights] momentum or first moment, updated */
    float *moment2;   /* [n_weights] second moment (Adam, AdamW), updated; NULL for SGD */
    float *ema;       /* [n_weights + n_state] averaged weights and moments, updated; NULL: none */
    const void *sums; /* the step's sum, int64_t or float, [cf_sums_count + 1] */
    cf_reduce reduce;
    int n_micro;                 /* micro-batches in the sum: gradients are divided by it */
    const uint8_t *decay;        /* [n_weights] 1 where weight decay applies */
    const float *state_momentum; /* [n_state] running momentum of each element (Keras' sense) */
    float learning_rate, weight_decay;
    float beta1, beta2, epsilon; /* beta1 is SGD's momentum */
    bool nesterov;
    float clip_norm; /* 0: none; else gradients are scaled to this global L2 norm */
    float ema_decay;
    int64_t step; /* 1 for the first update: Adam's bias correction */
} cf_update;

typedef struct cf_backend cf_backend;
typedef struct cf_program cf_program;

/* Elements [first, first + count) of the sums that are final once `event` (cudaEvent_t) has passed
 * in the micro-batch run last; together all ranges cover the sums once. */
typedef struct cf_ready {
    int64_t first, count;
    void *event;
} cf_ready;

typedef struct cf_backend_ops {
    const char *name; /* "cpu", "cuda" */
    /* Devices on this host; 0 sets this thread's message to the reason. NULL: one. Cheap: starts
     * nothing on a device. */
    int (*count)(void);
    /* device: ordinal or -1 for the default; n_threads: host threads for compute (0: all). */
    cf_err (*open)(int device, int n_threads, cf_backend **out);
    void (*close)(cf_backend *b); /* accepts NULL */
    /* Where alloc's memory is: sums travel by a comm of the same kind (kernels/comm/comm.h). */
    bool on_device;
    /* Takes cf_batch.raw and warps, colours and normalises by itself. */
    bool augments;
    /* One line about the device and its library, for logs and benchmarks. */
    void (*describe)(const cf_backend *b, char *text, size_t n);

    cf_err (*alloc)(cf_backend *b, size_t bytes, void **out); /* zeroed */
    void (*free)(cf_backend *b, void *p);
    cf_err (*copy_in)(cf_backend *b, void *dst, const void *host_src, size_t bytes);
    cf_err (*copy_out)(cf_backend *b, void *host_dst, const void *src, size_t bytes);
    cf_err (*zero)(cf_backend *b, void *dst, size_t bytes);
    /* The six below may be NULL: no memory or queue apart from the host's. */
    /* Host memory that the device reads and writes directly (pinned). */
    cf_err (*alloc_host)(cf_backend *b, size_t bytes, void **out);
    void (*free_host)(cf_backend *b, void *p);
    /* Bytes free and in all on the device, at this moment. */
    cf_err (*memory)(cf_backend *b, size_t *free_bytes, size_t *total_bytes);
    /* Copies a whole pixel store (the cells file's pixel data) onto the device when it fits and
     * leaves `reserve` bytes free; *held says whether. One store a backend; blocks until copied. */
    cf_err (*hold_pixels)(cf_backend *b, const void *pixels, size_t bytes, size_t reserve,
                          bool *held);
    /* A name of the physical device that is the same for every rank that sees it (PCI bus). Opens
     * nothing. device: as for open. */
    cf_err (*identity)(int device, char text[64]);
    /* The queue that all work is issued to (cudaStream_t), for the comm. */
    void *(*queue)(cf_backend *b);

    /* False, with the reason in `why`, for a node this backend cannot run. */
    bool (*supports)(const cf_backend *b, const cf_node *node, const cf_compile_options *o,
                     char *why, size_t n_why);
    /* Everything is allocated here; nothing on the step path. Graph and plan are borrowed and must
     * outlive the program. Fails with CF_E_DEVICE naming the first node not supported. */
    cf_err (*compile)(cf_backend *b, const cf_graph *g, const cf_memory_plan *plan,
                      const cf_compile_options *o, cf_program **out);
    void (*release)(cf_program *p);               /* accepts NULL */
    size_t (*program_bytes)(const cf_program *p); /* arena, packed weights and scratch */

    /* Makes the weights current: converts and packs them for the kernels. weights [n_weights],
     * state [n_state], backend memory, not kept. To be called after every update. */
    cf_err (*set_weights)(cf_program *p, const float *weights, const float *state);
    /* Forward, loss and backward of one micro-batch, added to `sums` (backend memory,
     * [cf_sums_count() + 1]). May return before the work is done. Errors: CF_E_NUMERIC naming the
     * first tensor with a NaN, an infinity or a value over the limit, or the fault flag instead. */
    cf_err (*train)(cf_program *p, const cf_batch *batch, void *sums);
    /* Where train raises the flag: waits, then CF_E_NUMERIC naming the first tensor that went wrong
     * since the last call, CF_OK when this program met nothing. NULL: train says so itself. */
    cf_err (*fault)(cf_program *p);
    /* fp16: the loss is multiplied by `scale` (a power of two) before the backward pass, gradients
     * are divided by it before they are added. 1 after compile. NULL: fp16 is not supported. */
    cf_err (*set_scale)(cf_program *p, float scale);
    /* The ranges of the sums in the order in which the backward pass finishes them, borrowed from
     * the program, so that a range travels while the rest is computed. NULL, or 0 ranges: only at
     * the end of the pass. */
    int (*ready)(cf_program *p, const cf_ready **ranges);
    /* Forward with running moments. logits: host, [N, n_outputs]. */
    cf_err (*infer)(cf_program *p, const cf_batch *batch, float *logits);
    cf_err (*update)(cf_backend *b, const cf_update *u);
    /* The digest (kernels/math/digest.h) of values [n], backend memory, whose first element counts
     * as index `first`. Blocks. */
    cf_err (*digest)(cf_backend *b, const float *values, int64_t n, uint64_t first, uint64_t *sum);
    /* For tests and Grad-CAM: copies a node's Z (or, in training, the gradient its first consumer
     * gave it) after the last run, as fp32 NHWC. CF_E_USAGE where the plan has reused the memory.
     */
    cf_err (*peek)(cf_program *p, int node, cf_slot slot, float *host);
    /* Time spent by kind of work since compile, for benchmarks: *names [n] and *ns [n], borrowed
     * from the program, of which the first caller's thread alone writes. Returns n; 0: not
     * measured. */
    int (*phases)(const cf_program *p, const char *const **names, const int64_t **ns);
    /* Waits for everything issued; reports asynchronous errors. */
    cf_err (*sync)(cf_backend *b);
} cf_backend_ops;

/* The registry (kernels/registry.c): the only place that knows which backends were built.
 * name: "auto", "cpu", "cuda". CF_E_DEVICE with the reason when it is not there. */
CF_CHECKED cf_err cf_backend_find(const char *name, const cf_backend_ops **out);
/* Devices of a backend on this host: 1 for the CPU. */
int cf_backend_device_count(const cf_backend_ops *ops);

#endif
