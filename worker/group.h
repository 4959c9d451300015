/* Who shares which device, and how the ranks of a group sum: over MPI in host memory, with NCCL, or
 * over MPI staged through pinned memory. Threads: one caller. Read first: cf_group_choose. */
#ifndef CF_WORKER_GROUP_H
#define CF_WORKER_GROUP_H

#include "kernels/comm/comm.h"
#include "worker/engine.h"

/* Where one worker sits. */
typedef struct cf_seat {
    char host[256];
    char device[64]; /* its physical device; "": none apart from the host */
    int rank;        /* in the job, for messages */
    int strangers;   /* workers of a sweep's other lanes on it, which come and go */
} cf_seat;

/* Local. job_rank: this worker's in the whole job. */
CF_CHECKED cf_err cf_seat_take(const cf_engine *e, int job_rank, cf_seat *seat);
/* Local: the same before anything is opened. device: run.device in words; local_index: of the
 * worker on its host. */
CF_CHECKED cf_err cf_seat_find(const char *device, int local_index, int job_rank, cf_seat *seat);
/* Collective over `workers`: everybody's seat, in the comm's order. seats: [size]; this rank's own
 * is set before the call. */
CF_CHECKED cf_err cf_seats_gather(cf_comm *workers, cf_seat *seats);
/* Workers on the device of `seats[me]`, itself among them; and how many of them stand before it. */
int cf_seat_sharers(const cf_seat *seats, int n, int me);
int cf_seat_turn(const cf_seat *seats, int n, int me);

typedef enum cf_transport {
    CF_TRANSPORT_HOST, /* MPI, or nothing to sum */
    CF_TRANSPORT_STAGED /* MPI through pinned memory */,
    CF_TRANSPORT_NCCL
} cf_transport;

/* What a group uses; a function of its ranks' seats, so that all of them choose alike. wanted:
 * run.comm; has_nccl: this program was built with it. auto is NCCL where every rank has a device of
 * its own and there is more than one rank. Errors, the same on every rank: CF_E_DEVICE where some
 * ranks have a device and some none; for nccl where two share one (both named), where there is
 * none, or without NCCL. */
CF_CHECKED cf_err cf_group_choose(const cf_seat *seats, int n, enum cf_run_comm wanted,
                                  bool has_nccl, cf_transport *transport);

/* Collective over `host`, a comm of host memory, which is moved into the group's comm on success
 * and stays the caller's on an error. seats: of its ranks, in order. */
CF_CHECKED cf_err cf_group_create(cf_comm *host, const cf_engine *e, const cf_seat *seats,
                                  cf_comm **out);

#endif
