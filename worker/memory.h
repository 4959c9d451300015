/* Bytes that a worker will need, from the configuration, before anything runs: on the host with the
 * CPU backend, on the card with the CUDA one. Threads: any. Read first: cf_rank_memory,
 * cf_card_memory. */
#ifndef CF_WORKER_MEMORY_H
#define CF_WORKER_MEMORY_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/graph/graph.h"
#include "proto/config.h"
#include "proto/scheme.h"

typedef struct cf_rank_memory {
    int64_t models; /* weights, moments and averages of its folds */
    int64_t sums;   /* of two steps: one computed, one travelling */
    int64_t arenas; /* activations and gradients of the training and the test program; what group
                       normalisation keeps of every image's channels */
    int64_t packed; /* converted weights of both programs: an estimate, backends differ */
    int64_t loader; /* prepared batches of the training and the test loader */
    int64_t total;  /* of these; libraries and the mapped cells file come on top */
} cf_rank_memory;

/* n_folds: models that the rank holds. graph: of one micro-batch. */
CF_CHECKED cf_err cf_rank_memory_estimate(const cf_config *config, const cf_graph *graph,
                                          int n_folds, cf_rank_memory *memory);
/* "1.02 GiB (models 512.00 MiB, ...)"; and as the object `memory`, in bytes. */
void cf_rank_memory_write(const cf_rank_memory *memory, cf_buf *out);
void cf_rank_memory_write_json(const cf_rank_memory *memory, cf_json *j);

/* What a rank needs on its card. */
typedef struct cf_card_memory {
    int64_t models;  /* weights, moments and averages of its folds */
    int64_t sums;    /* of two steps */
    int64_t arenas;  /* activations and gradients of both programs; masks and max-pool winners */
    int64_t packed;  /* converted weights of both programs */
    int64_t images;  /* two micro-batches of pixels on their way, and one as network input */
    int64_t scratch; /* the engines' workspace (256 MiB a program), split gradients, sums over
                        pixels: the most that any layer takes, by the rules of kernels/cuda */
    int64_t library; /* what the driver, cuDNN and NCCL take for themselves: a round figure */
    int64_t total;   /* of these. The cells file's pixels come on top, where they fit */
} cf_card_memory;

/* As cf_rank_memory_estimate, of the card. Activations are an upper bound: outputs that a fused
 * engine never writes are counted. */
CF_CHECKED cf_err cf_card_memory_estimate(const cf_config *config, const cf_graph *graph,
                                          int n_folds, cf_card_memory *memory);
/* The largest divisor of train.batch below train.micro_batch whose estimate is at most `bytes`;
 * *micro 0: none. scheme: NULL as for cf_model_build. */
CF_CHECKED cf_err cf_card_memory_fit(const cf_config *config, const cf_scheme *scheme, int n_folds,
                                     int64_t bytes, int64_t *micro, cf_card_memory *memory);

/* "1.25 GiB". */
void cf_print_bytes(cf_buf *out, double bytes);

#endif
