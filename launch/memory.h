/* Bytes that a worker will need, from the configuration, before anything runs; for plan and
 * inspect. Threads: any. Read first: cf_rank_memory. */
#ifndef CF_LAUNCH_MEMORY_H
#define CF_LAUNCH_MEMORY_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/graph/graph.h"
#include "proto/config.h"

typedef struct cf_rank_memory {
    int64_t models; /* weights, moments and averages of its folds */
    int64_t sums;   /* of two steps: one computed, one travelling */
    int64_t arenas; /* activations and gradients of the training and the test program */
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

/* "1.25 GiB". */
void cf_print_bytes(cf_buf *out, double bytes);

#endif
