/* The heart: a thread of the worker that tells the coordinator every second that this rank is there
 * and what its step loop does, and ends the process when the job has hung.
 *
 * It uses neither MPI nor a device and shares no lock with the step loop, which only sets a stamp.
 * It leaves the process with exit code 8 when the coordinator says so, or when nothing has been
 * heard of the coordinator for run.hang_timeout. It ends with the process, on purpose: leaving may
 * hang as well. Threads: one caller, the step loop, and the heart's own. Read first:
 * cf_heart_start. */
#ifndef CF_WORKER_HEART_H
#define CF_WORKER_HEART_H

#include "proto/beat.h"
#include "proto/control.h"

typedef struct cf_heart cf_heart;

/* worker: this one's number, 0-based. `where` is copied. */
CF_CHECKED cf_err cf_heart_start(const cf_msg_watch *where, int worker, cf_heart **out);
/* What the step loop does from here on; again for each micro-batch, so that it is seen to move. Two
 * stores. fold: -1 for none. A heart of NULL (no watch) is fine. */
void cf_heart_doing(cf_heart *h, cf_doing doing, int fold, int64_t step);

/* No more heartbeats, where the process goes on with other work: the thread leaves by itself within
 * a second or so and releases the heart. Accepts NULL. */
void cf_heart_end(cf_heart *h);

#endif
