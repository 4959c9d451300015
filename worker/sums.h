/* A step's sums on their way through the group: filled by this rank's micro-batches, summed over
 * the ranks, applied. A worker has two: one computes while the other travels. Threads: one caller.
 * Read first: cf_step_sums. */
#ifndef CF_WORKER_SUMS_H
#define CF_WORKER_SUMS_H

#include "kernels/comm/comm.h"
#include "worker/engine.h"

typedef struct cf_step_sums {
    void *sums;                       /* owned, backend memory, [cf_engine_sums_count] */
    int fold;                         /* index of its trainer; -1: nothing under way */
    int tickets[CF_COMM_MAX_PENDING]; /* of the comm */
    int n_tickets;
} cf_step_sums;

/* When sums may set out: all at once at the end of a step, or range by range as the backward pass
 * finishes them. */
typedef enum cf_departure { CF_DEPART_TOGETHER, CF_DEPART_AS_READY } cf_departure;

CF_CHECKED cf_err cf_step_sums_init(cf_step_sums *s, const cf_engine *e);
/* After an error a sum may still be on its way: its buffer then stays until the process ends. */
void cf_step_sums_fini(cf_step_sums *s, const cf_engine *e);
CF_CHECKED cf_err cf_step_sums_zero(cf_step_sums *s, const cf_engine *e);
/* Marks the sums as faulty: every rank of the group then hears of it with the sums. */
CF_CHECKED cf_err cf_step_sums_raise_flag(cf_step_sums *s, const cf_engine *e);
/* AS_READY where one fold is stepped by several ranks, and comm and backend can: then nothing else
 * hides the sum. The same on every rank of the group. */
cf_departure cf_step_sums_departure(const cf_engine *e, const cf_comm *group, int n_folds);
/* Collective: the sums of `fold` set out. n_micro: micro-batches that this rank has computed of the
 * step. With AS_READY each range waits for its event of the last of them; a rank without any has no
 * such event, and waits for all that was issued. */
CF_CHECKED cf_err cf_step_sums_start(cf_step_sums *s, const cf_engine *e, cf_comm *group,
                                     cf_departure departure, int fold, int n_micro);
/* Blocks until they are summed; the slot is then free. */
CF_CHECKED cf_err cf_step_sums_wait(cf_step_sums *s, cf_comm *group);

#endif
