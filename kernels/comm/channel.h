/* The control channel: byte messages between the coordinator and every worker, over MPI on a
 * communicator of its own. The coordinator may be a thread beside a worker of the same rank.
 *
 * Sends are buffered and return at once; receives poll with a sleep, so that a waiting coordinator
 * uses almost no CPU. Threads: one thread an end; the two ends of one rank may be two threads
 * (MPI_THREAD_MULTIPLE). Read first: cf_channel_receive. */
#ifndef CF_KERNELS_COMM_CHANNEL_H
#define CF_KERNELS_COMM_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/comm/comm_mpi.h"

typedef struct cf_channel cf_channel;
/* TO_COORDINATOR ends are held by workers, TO_WORKERS by the coordinator: a rank that is both holds
 * two, and their messages do not meet (they have different tags). */
typedef enum cf_channel_end { CF_CHANNEL_TO_COORDINATOR, CF_CHANNEL_TO_WORKERS } cf_channel_end;

/* Local. `comm` is borrowed and must be the program's own duplicate. */
CF_CHECKED cf_err cf_channel_create(MPI_Comm comm, int coordinator_rank, cf_channel_end end,
                                    cf_channel **out);
/* Copies the bytes and returns; delivery goes on in later calls. `rank` counts for TO_WORKERS only.
 */
CF_CHECKED cf_err cf_channel_send(cf_channel *c, int rank, const void *bytes, size_t n);
/* Waits up to timeout_ns for a message. *got is false when none came. *bytes is owned by the
 * caller; *rank is the sender. */
CF_CHECKED cf_err cf_channel_receive(cf_channel *c, int64_t timeout_ns, bool *got, int *rank,
                                     void **bytes, size_t *n);
/* Waits until all sends have been delivered, then frees. Accepts NULL. */
CF_CHECKED cf_err cf_channel_destroy(cf_channel *c);

#endif
