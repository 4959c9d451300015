/* Which engine runs which convolution: timed once, kept in a file, the same for every rank.
 *
 * The choice decides the last bits of a result, so it belongs to the run: one rank times and writes
 * the file, the others (and any later resumption) read it. Lines are keyed by device, library
 * versions, pass, type and shape. Threads: one caller. Read first: cf_engines_choose. */
#ifndef CF_KERNELS_CUDA_ENGINES_H
#define CF_KERNELS_CUDA_ENGINES_H

#include "kernels/cuda/cudnn.h"

typedef struct cf_engines cf_engines;

/* One pass of one node, ready to run: an own kernel or a plan of cuDNN's. */
typedef struct cf_engine_choice {
    const cf_conv_kernel *kernel; /* NULL: plan */
    cf_cudnn_plan *plan;          /* owned by the engines object */
    int64_t parts;                /* of partials or gradient; 1 for a plan's gradient */
    size_t workspace;
} cf_engine_choice;

typedef struct cf_engines_options {
    const char *path;   /* file of choices; NULL: none */
    const char *device; /* device and library versions: the first part of every key */
    bool may_tune;      /* time candidates for shapes that the file lacks, and add them to it */
    bool deterministic;
    size_t workspace; /* bytes that one engine may take */
} cf_engines_options;

/* cudnn: borrowed; NULL: own kernels only. A damaged file is CF_E_DATA with path and line. */
CF_CHECKED cf_err cf_engines_create(cf_cudnn *cudnn, cudaStream_t stream,
                                    const cf_engines_options *o, cf_engines **out);
void cf_engines_destroy(cf_engines *e); /* accepts NULL */

/* What a node's surroundings cost an engine that cannot fuse: bytes of extra passes, priced at the
 * measured copy rate when candidates are compared. */
typedef struct cf_engine_context {
    size_t unfused_bytes;
    bool want_view; /* x or gy stands behind a normalisation: a fused engine applies it itself */
    bool want_partials; /* sums over the result are wanted */
} cf_engine_context;

/* The engine of a pass: from the file, else by time (may_tune), else by rule (own tensor-core
 * kernel where it supports the pass, cuDNN's first candidate, direct). CF_E_DEVICE, naming the
 * shape, when nothing can do it. */
CF_CHECKED cf_err cf_engines_choose(cf_engines *e, const cf_geometry *g, cf_conv_pass pass,
                                    const cf_engine_context *context, cf_engine_choice *out);
/* Runs it. */
CF_CHECKED cf_err cf_engines_run(cf_engines *e, const cf_engine_choice *choice,
                                 const cf_conv_call *call);
/* Writes choices made since creation (temporary name, rename). Nothing to do without a path. */
CF_CHECKED cf_err cf_engines_save(cf_engines *e);
/* "gemm" or "cudnn engine 17 ...", for describe and benchmarks. */
void cf_engine_choice_text(const cf_engine_choice *choice, char *text, size_t n);

#endif
