/* A compiled graph on the device: memory, engines, and which pass does what for whom. Private to
 * this room.
 *
 * Normalised outputs are not written where their only reader can apply the normalisation on load
 * (`virtual`), nor where their reader adds them as a residual (`folded`); a reader's data pass can
 * mask and sum the gradient it writes (`summed_by_reader`). What is decided here is decided once,
 * by the engines' abilities. A micro-batch is one CUDA graph for each buffer of sums, captured the
 * first time. Threads: one caller. Read first: cf_cuda_node. */
#ifndef CF_KERNELS_CUDA_PROGRAM_H
#define CF_KERNELS_CUDA_PROGRAM_H

#include "kernels/backend.h"
#include "kernels/cuda/engines.h"
#include "kernels/cuda/group_norm.h"

/* ---- the device (device.c) --------------------------------------------------------------------
 */

/* Bytes that one engine may take beside its tensors. */
#define CF_CUDA_WORKSPACE ((size_t)256 << 20)

struct cf_backend {
    int device;
    char name[96];          /* of the device: "NVIDIA H100 80GB HBM3" */
    int capability;         /* 90 for 9.0 */
    cudaStream_t stream;    /* all compute */
    cudaStream_t copy;      /* images on their way in */
    cf_cudnn *cudnn;        /* owned */
    void *update_workspace; /* owned; of update_bytes */
    void *digest_sum;       /* owned; a uint64_t, NULL before the first digest */
    size_t update_bytes;
    uint8_t *store; /* owned: the pixel store; NULL: images come with each batch */
    size_t store_bytes;
};

/* Makes the backend's device the calling thread's. */
CF_CHECKED cf_err cf_cuda_use(const cf_backend *b);
/* Device memory, zeroed; CF_E_DEVICE with the bytes wanted and free. */
CF_CHECKED cf_err cf_cuda_alloc(cf_backend *b, size_t bytes, const char *what, void *out);

/* ---- programs ---------------------------------------------------------------------------------
 */

/* Kinds of work that are timed. */
typedef enum cf_phase {
    CF_PHASE_INPUT,   /* images: copy, augmentation */
    CF_PHASE_FORWARD, /* convolutions */
    CF_PHASE_DATA,    /* gradients of their inputs */
    CF_PHASE_WEIGHTS, /* gradients of their filters */
    CF_PHASE_NORM,    /* normalisation, residual, activation, both ways */
    CF_PHASE_POOL,    /* pooling, dense, loss */
    CF_PHASE_SUMS,    /* into the step's sum */
    CF_PHASE_PACK,    /* weights into the engines' types */
    CF_N_PHASES
} cf_phase;

typedef struct cf_cuda_node {
    cf_geometry geometry;                    /* CONV */
    cf_engine_choice forward, data, weights; /* CONV; data not for readers of the input node */
    bool normalised;                         /* batch or group normalisation */
    bool per_image; /* group normalisation: every image has its own arrays, so nothing is fused */
    bool virtual;   /* Z is not written: its reader normalises on load */
    bool folded;    /* Z is not written: its reader adds it through its normalisation */
    bool virtual_gradient; /* GY is not written: both passes take it through the normalisation */
    bool summed_by_reader; /* its reader's data pass masks and sums its gradient */
    cf_cuda_norm norm;
    float *gamma, *beta, *bias; /* in the packed weights; NULL: none */
    float *dense;               /* DENSE: fp32 [K,F], in the packed weights */
    void *filter;               /* CONV: in dtype, in the packed weights */
    float *mean_out, *unbiased; /* [K] what goes into the state's sum, in `moments` */
    /* [K] in `shorts`; dbeta is the bias' gradient without normalisation. */
    float *dgamma, *dbeta;
    float *dbias;    /* as they: group normalisation behind a bias; NULL elsewhere */
    float *own_mean; /* as dbias, [N,K]: of an image's channel */
    uint8_t *mask;   /* one bit an element: residual nodes with an activation */
    uint8_t *winner; /* MAXPOOL */
} cf_cuda_node;

/* Images and labels of one micro-batch on their way to the device. Two take turns. */
typedef struct cf_cuda_feed {
    cf_cuda_image *h_images; /* owned, pinned, [N] */
    int *h_labels;           /* owned, pinned, [N] */
    uint8_t *pixels;         /* owned, device; NULL until images come from outside the store */
    size_t pixel_bytes;
    cudaEvent_t listed; /* the pinned lists have been read */
    cudaEvent_t moved;  /* the pixels are there */
    cudaEvent_t used;   /* the pixels have been read */
} cf_cuda_feed;

/* A recorded micro-batch. */
typedef struct cf_cuda_recording {
    const void *sums; /* the buffer it adds to */
    cudaGraphExec_t exec;
} cf_cuda_recording;

enum { CF_CUDA_RECORDINGS = 4, CF_CUDA_MAX_READY = 8 };

struct cf_program {
    cf_backend *backend;   /* borrowed */
    const cf_graph *graph; /* borrowed */
    cf_compile_options options;
    cf_memory_plan plan; /* owned: the caller's, less what is never written */
    cf_engines *engines; /* owned */
    cf_cuda_node *nodes; /* owned, host, [n_nodes] */
    void **blocks;       /* owned, host: all device memory below */
    int n_blocks, reserved_blocks;
    size_t bytes;
    uint8_t *arena;
    uint8_t *packed;          /* weights as the kernels read them */
    cf_cuda_pack_item *items; /* device, [n_items] */
    int n_items;
    int64_t most_items;      /* elements of the longest */
    void *input;             /* [N,H,W,c_stored]: the input node's Z */
    int input_c;             /* c_stored */
    float *host_images;      /* device, [N,H,W,C] fp32: batches that come augmented; or NULL */
    cf_cuda_image *images;   /* device, [N] */
    int *labels, *class_of;  /* device, [N], [n_outputs] */
    double *partials;        /* scratch of one pass over pixels */
    void *workspace;         /* engine's workspace, then split gradients */
    float *gradient;         /* [parts][...] of one weights pass */
    float *dense_gradient;   /* [K,F] */
    float *moments;          /* [n_state] of the micro-batch, as the state lies */
    int32_t *moment_numbers; /* [n_state] tensor of each, for faults */
    /* Gradients of everything but filters, last node first: [n_shorts] each. */
    float *shorts;
    int64_t *short_targets;
    int32_t *short_numbers;
    int64_t n_shorts;
    float *loss_scratch, *loss; /* [N][n_classes + 2]; [2]: loss, correct */
    float *scale;               /* [1]: of the loss (fp16) */
    cf_cuda_fault *fault;       /* [1] */
    float *h_logits;            /* pinned, [N, n_outputs] */
    cf_cuda_feed feeds[2];
    int turn; /* the feed used last */
    cf_cuda_recording recordings[CF_CUDA_RECORDINGS];
    int n_recordings;
    bool may_record; /* false once capturing has failed: then issued call by call */
    bool warm;       /* has run once: libraries have loaded what they need */
    bool recording;  /* being captured now */
    cf_ready ready[CF_CUDA_MAX_READY];
    int ready_node[CF_CUDA_MAX_READY]; /* the range is done when this node's backward pass is */
    int64_t ready_shorts[CF_CUDA_MAX_READY]; /* shorts up to here belong to it */
    int n_ready;
    bool is_ready; /* weights have been set */
    bool ran;
    struct cf_cuda_timer *timer; /* owned; NULL: phases are not measured */
};

/* compile.c */
bool cf_cuda_supports(const cf_backend *b, const cf_node *node, const cf_compile_options *o,
                      char *why, size_t n_why);
CF_CHECKED cf_err cf_cuda_compile(cf_backend *b, const cf_graph *g, const cf_memory_plan *plan,
                                  const cf_compile_options *o, cf_program **out);
void cf_cuda_release(cf_program *p);

/* choose.c: geometry, engines, and with them who writes what. */
CF_CHECKED cf_err cf_cuda_choose(cf_program *p);

/* shorts.c: the table of the short tensors, and which ranges of the sums are ready early. */
CF_CHECKED cf_err cf_cuda_place_shorts(cf_program *p);

/* memory.c: everything a program holds on the device; weights' table. */
/* Zeroed device memory that lives as long as the program. */
CF_CHECKED cf_err cf_cuda_keep(cf_program *p, size_t bytes, const char *what, void *out);
CF_CHECKED cf_err cf_cuda_place(cf_program *p);
void cf_cuda_unplace(cf_program *p);
CF_CHECKED cf_err cf_cuda_set_weights(cf_program *p, const float *weights, const float *state);

/* passes.c: what forward and backward share. */
void *cf_cuda_slot(const cf_program *p, int node, cf_slot slot);
/* A node's output as its readers see it: written, or through its normalisation. */
cf_cuda_view cf_cuda_output(const cf_program *p, int node);
/* The pass of a node's own normalisation, residual and activation, without gradients. */
cf_cuda_norm_pass cf_cuda_pass(const cf_program *p, int node);
/* Its group normalisation (nodes that are per_image). */
cf_cuda_group_norm cf_cuda_group_norm_of(const cf_program *p, int node);
/* Parts of the gradient of a node's output; returns their number. */
int cf_cuda_contributions(const cf_program *p, int node, const void *parts[CF_GRAPH_MAX_USES]);
/* A filter's gradient into the sums. values: [n_parts][count as stored]. */
CF_CHECKED cf_err cf_cuda_add(cf_program *p, void *sums, int param, const float *values,
                              int64_t n_parts);
CF_CHECKED cf_err cf_cuda_add_loss(cf_program *p, void *sums);
CF_CHECKED cf_err cf_cuda_add_moments(cf_program *p, void *sums);
/* Shorts [first, end). */
CF_CHECKED cf_err cf_cuda_add_shorts(cf_program *p, void *sums, int64_t first, int64_t end);
/* Tensors in the order in which a micro-batch meets them: moments, loss, gradients from the end. */
int32_t cf_cuda_number(const cf_graph *g, int param);

/* feed.c: a batch onto the device and into the input buffer. */
CF_CHECKED cf_err cf_cuda_feed_batch(cf_program *p, const cf_batch *batch);

/* forward.c, backward.c */
cf_cuda_pool cf_cuda_pool_of(const cf_program *p, int node);
cf_cuda_dense cf_cuda_dense_of(const cf_program *p, int node);
CF_CHECKED cf_err cf_cuda_forward(cf_program *p);
CF_CHECKED cf_err cf_cuda_backward(cf_program *p, void *sums);

/* run.c */
CF_CHECKED cf_err cf_cuda_train(cf_program *p, const cf_batch *batch, void *sums);
CF_CHECKED cf_err cf_cuda_infer(cf_program *p, const cf_batch *batch, float *logits);
CF_CHECKED cf_err cf_cuda_fault_of(cf_program *p);
CF_CHECKED cf_err cf_cuda_set_scale(cf_program *p, float scale);
CF_CHECKED cf_err cf_cuda_peek(cf_program *p, int node, cf_slot slot, float *host);

/* timer.c: events between passes, when asked for. */
CF_CHECKED cf_err cf_cuda_timer_create(struct cf_cuda_timer **out);
void cf_cuda_timer_destroy(struct cf_cuda_timer *t); /* accepts NULL */
/* What was issued since the last mark is work of `phase`. Nothing to do without a timer. */
CF_CHECKED cf_err cf_cuda_mark(cf_program *p, cf_phase phase);
CF_CHECKED cf_err cf_cuda_timer_start(cf_program *p);
/* Waits, and adds up what was marked. */
CF_CHECKED cf_err cf_cuda_timer_stop(cf_program *p);
int cf_cuda_phases(const cf_program *p, const char *const **names, const int64_t **ns);

#endif
