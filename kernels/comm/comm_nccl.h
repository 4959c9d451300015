/* The NCCL comm: sums of device memory on a stream of their own, beside the compute stream.
 *
 * Stands on a host comm of the same ranks, which carries the unique id and all that is not a sum.
 * Only in builds with CUDA (kernels/nccl.h asks). Every wait has a deadline; an error of NCCL's
 * network thread is looked for in each of them, and ends the communicator, so that a rank whose
 * peer died does not hang. Threads: one caller. Read first: cf_comm_nccl_create. */
#ifndef CF_KERNELS_COMM_COMM_NCCL_H
#define CF_KERNELS_COMM_COMM_NCCL_H

#include "kernels/comm/comm.h"

typedef struct cf_nccl_options {
    void *queue;         /* cudaStream_t that fills the buffers; NULL: the default stream */
    int64_t deadline_ns; /* of each wait; 0: 600 s */
} cf_nccl_options;

/* Collective over `host`; the calling thread's current device is the rank's own, and no other
 * rank's (NCCL refuses shared devices). `host` is moved into the comm on success, and stays the
 * caller's on an error; the caller agrees on the error, since the last step can fail on some ranks
 * alone. Errors: CF_E_DEVICE with NCCL's text, CF_E_HANG after the deadline; both name host and
 * rank. */
CF_CHECKED cf_err cf_comm_nccl_create(cf_comm *host, const cf_nccl_options *options, cf_comm **out);

#endif
