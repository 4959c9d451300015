/* One convolution node on oneDNN: its primitives, packed weights and calls for every chunk of
 * images.
 *
 * Forward and the input's gradient run chunk by chunk, each on one thread (or, with a single chunk,
 * on all of them); the filter's gradient runs for the whole micro-batch on all threads, as a matrix
 * product where the filter is 1x1. A strided 1x1 filter runs as a dense one on the pixels it reads
 * (oneDNN 2.6 takes up to 50 times as long for the strided gradient). Threads: see
 * cf_conv_run_forward. Read first: cf_conv_run, cf_conv_memory. */
#ifndef CF_KERNELS_CPU_CONV_H
#define CF_KERNELS_CPU_CONV_H

#include <stdint.h>

#include "kernels/cpu/dnnl.h"
#include "kernels/cpu/slab.h"
#include "kernels/cpu/tiles.h"
#include "kernels/graph/graph.h"

/* Sizes of the memory that a node needs beside its activations. */
typedef struct cf_conv_sizes {
    size_t packed[2]; /* filter for forward and for the input's gradient: the node's own */
    size_t filter;    /* canonical (expanded) filter in the activation type: shared by all nodes */
    size_t gradient;  /* raw filter gradient, or with tiles one for each thread: shared */
    size_t
        expanded; /* canonical expanded filter gradient, fp32; 0: gradient is canonical: shared */
    size_t gathered; /* the pixels that a strided 1x1 filter reads, or their gradient: shared */
    size_t in, gy; /* a chunk of input or output gradient, where they are not kept: each thread's */
    size_t tiles;  /* each thread's */
    size_t scratch;     /* each thread's */
    size_t scratch_all; /* of what runs on all threads: shared */
} cf_conv_sizes;

/* Pointers for cf_conv_bind, sizes as above; activations at their first image. */
typedef struct cf_conv_memory {
    void *packed[2], *filter, *gradient, *expanded, *gathered, *scratch_all;
    void **scratch, **tiles, **in_chunk, **gy_chunk; /* [n_threads] */
    void *in, *out;                                  /* [N,H,W,C], [N,OH,OW,K] */
    void *gin, *gy;                                  /* gin NULL: not wanted */
    void *bias; /* fp32 [K], only where the convolution itself adds it */
} cf_conv_memory;

typedef struct cf_conv_setup {
    const cf_node *node;
    cf_dtype dtype;
    cf_mode mode;
    int64_t n_chunks; /* of whole images, or with a 1x1 filter of stride 1 of pixels */
    int n_threads;
    bool bias, activate; /* in the same pass */
    bool want_gin;
    bool in_chunk; /* the input is not kept: each thread has the chunk it works on in in_chunk */
    bool gy_chunk; /* the same for the output's gradient, in gy_chunk */
} cf_conv_setup;

typedef struct cf_conv_run {
    cf_conv_setup setup;
    cf_slab slab;
    bool tiled; /* the filter's gradient is computed chunk by chunk on tiles */
    cf_tiles tiles;
    int64_t n_chunks, chunk_images; /* images: 0 where a chunk is less than one */
    cf_dnnl_op *forward, *data, *weights, *pack[2], *unpack;
    cf_dnnl_call **forward_calls, **data_calls; /* [n_chunks] */
    cf_dnnl_call *weights_call, *pack_calls[2], *unpack_call;
    cf_conv_memory memory;
    cf_conv_sizes sizes;
} cf_conv_run;

/* Thread that works on a chunk: contiguous shares, the same in every pass. */
static inline int cf_chunk_thread(int64_t chunk, int64_t n_chunks, int n_threads)
{
    return (int)(chunk * n_threads / n_chunks);
}

/* True where the filter's gradient is computed chunk by chunk, right behind the pass that makes the
 * output's gradient, so that neither this nor the input need be kept for it. */
bool cf_conv_is_tiled(const cf_node *node, cf_dtype dtype);

/* Makes the primitives and fills in `sizes`. Errors: CF_E_DEVICE naming the node. */
CF_CHECKED cf_err cf_conv_init(cf_dnnl *d, const cf_conv_setup *setup, cf_conv_run *run);
CF_CHECKED cf_err cf_conv_bind(cf_dnnl *d, const cf_conv_memory *memory, cf_conv_run *run);
void cf_conv_fini(cf_conv_run *run);

/* Packs a canonical fp32 filter. */
CF_CHECKED cf_err cf_conv_set_weights(cf_conv_run *run, const float *filter);
/* One chunk; to be called by the thread that owns it. */
CF_CHECKED cf_err cf_conv_forward(cf_conv_run *run, int64_t chunk);
CF_CHECKED cf_err cf_conv_backward_data(cf_conv_run *run, int64_t chunk);
/* One chunk of the filter's gradient, only with tiles. */
void cf_conv_backward_tiles(cf_conv_run *run, int64_t chunk);
/* The whole micro-batch, or the sum of what the tiles gave. *filter_gradient: canonical, fp32,
 * borrowed until the next node's call. */
CF_CHECKED cf_err cf_conv_backward_weights(cf_conv_run *run, const float **filter_gradient);

#endif
