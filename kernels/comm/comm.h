/* Sums and broadcasts over the ranks of a group, behind one table: self (one rank), MPI (host
 * memory), NCCL and MPI staged through pinned memory (device memory).
 *
 * Integer sums do not depend on the order of ranks, so neither does a result. MPI never sees a
 * device pointer: `memory` is checked against the backend when a group is made. Threads: one caller
 * a comm. Read first: cf_comm_ops. */
#ifndef CF_KERNELS_COMM_COMM_H
#define CF_KERNELS_COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef enum cf_memory { CF_MEMORY_HOST, CF_MEMORY_DEVICE } cf_memory;
typedef enum cf_sum_type { CF_SUM_I64, CF_SUM_F32 } cf_sum_type;

typedef struct cf_comm cf_comm;

typedef struct cf_comm_ops {
    const char *name; /* "self", "mpi", "staged", "nccl" */
    cf_memory memory; /* where buffers of sum_start must live */
    /* Collective. Starts summing buf [n] over all ranks, in place; at most CF_COMM_MAX_PENDING at a
     * time, in the same order on every rank. The buffer belongs to the comm until `wait`. */
    cf_err (*sum_start)(cf_comm *c, void *buf, int64_t n, cf_sum_type type, int *ticket);
    /* The same for a buffer that is final once `event` (cudaEvent_t, recorded by the caller) has
     * passed, not only after all that was issued so far: a range travels while the rest is
     * computed. NULL: not supported. */
    cf_err (*sum_start_after)(cf_comm *c, void *buf, int64_t n, cf_sum_type type, void *event,
                              int *ticket);
    /* Local progress; does not block. To be called between pieces of compute. */
    cf_err (*progress)(cf_comm *c);
    /* Blocks until the sum is done. */
    cf_err (*wait)(cf_comm *c, int ticket);
    /* Collective, host memory. */
    cf_err (*broadcast)(cf_comm *c, void *buf, size_t bytes, int root);
    /* Collective: the highest of all ranks' values, and the lowest rank that has it. */
    cf_err (*highest)(cf_comm *c, int mine, int *value, int *rank);
    cf_err (*barrier)(cf_comm *c);
    /* Local, after an error: ends what is under way on the device, whose memory could else not be
     * released while a peer is awaited that never comes. Nothing may follow. NULL: nothing to end.
     */
    void (*give_up)(cf_comm *c);
    void (*destroy)(cf_comm *c); /* collective; accepts NULL */
} cf_comm_ops;

enum { CF_COMM_MAX_PENDING = 16 };

struct cf_comm {
    const cf_comm_ops *ops;
    int rank, size;
};

/* One rank, nothing to send. */
CF_CHECKED cf_err cf_comm_self_create(cf_comm **out);

/* Collective: all ranks learn the highest error code of any of them; a rank that was fine gets that
 * code with the message "rank R failed", a failed one keeps its own message. Stands before every
 * branch that skips a collective. */
CF_CHECKED cf_err cf_comm_agree(cf_comm *c, cf_err mine);

#endif
