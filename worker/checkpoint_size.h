/* How large a fold's checkpoint will be, before anything is trained. Threads: any. Read first:
 * cf_checkpoint_bytes. */
#ifndef CF_WORKER_CHECKPOINT_SIZE_H
#define CF_WORKER_CHECKPOINT_SIZE_H

#include "kernels/graph/graph.h"
#include "proto/config.h"

/* Bytes of a checkpoint of this network and configuration; a few KB too many, never too few. */
int64_t cf_checkpoint_bytes(const cf_config *config, const cf_graph *g);

#endif
