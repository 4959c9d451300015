/* Sums of device memory over a comm of host memory: each buffer is copied out, summed, copied back.
 *
 * For ranks that share a device, which NCCL refuses, and where NCCL is not there. Knows no device:
 * how its memory is reached comes as a table. Threads: one caller. Read first: cf_stage. */
#ifndef CF_KERNELS_COMM_COMM_STAGED_H
#define CF_KERNELS_COMM_COMM_STAGED_H

#include "kernels/comm/comm.h"

/* How the device's memory is reached; the functions are those of the backend, `ctx` their first
 * argument. copy_out returns when all work issued before it is done and copied. */
typedef struct cf_stage {
    void *ctx; /* borrowed; outlives the comm */
    cf_err (*copy_out)(void *ctx, void *host_dst, const void *src, size_t bytes);
    cf_err (*copy_in)(void *ctx, void *dst, const void *host_src, size_t bytes);
    cf_err (*alloc_host)(void *ctx, size_t bytes, void **out); /* pinned */
    void (*free_host)(void *ctx, void *p);
} cf_stage;

/* Local. `host` is moved into the comm on success, and stays the caller's on an error. sum_start
 * blocks for the copy to the host, wait for the copy back; a buffer for the largest sum is kept for
 * each sum under way. */
CF_CHECKED cf_err cf_comm_staged_create(cf_comm *host, const cf_stage *stage, cf_comm **out);

#endif
