/* The watch: a thread of the coordinator that hears every rank's heartbeat and ends a job that has
 * hung, with exit code 8 and one message that names who is to blame (rules: roll.h).
 *
 * It uses neither MPI nor a device and shares no lock with the event loop, so that it works when
 * those hang. Without cf_watch_end it ends with the process, on purpose: leaving may hang as well.
 * With run.hang_timeout 0 there is no watch: cf_watch is NULL, which every function here accepts.
 * Threads: one caller, the event loop, and the watch's own. Read first: cf_watch_start. */
#ifndef CF_COORDINATOR_WATCH_H
#define CF_COORDINATOR_WATCH_H

#include "proto/beat.h"
#include "proto/control.h"

typedef struct cf_watch cf_watch;

typedef struct cf_watch_job {
    int rank; /* of the coordinator */
    int first_worker, n_workers;
    const int32_t *group_of_worker; /* [n_workers]; borrowed for the call */
    const char *run_dir;            /* borrowed for the call */
    int64_t timeout_ns;             /* run.hang_timeout; 0: no watch */
    int64_t start_ns;               /* of the job, for log.jsonl */
} cf_watch_job;

/* *out is NULL where no watch is wanted. Without a socket it goes on with messages over MPI alone,
 * and says so. */
CF_CHECKED cf_err cf_watch_start(const cf_watch_job *job, cf_watch **out);
/* A worker has reported: it is watched from here on. *where is what to send it, so that its
 * heartbeats find us; false where there is nothing to send. */
bool cf_watch_meet(cf_watch *w, int worker, const cf_msg_hello *hello, cf_msg_watch *where);
/* A message of m->from came over MPI. */
void cf_watch_heard(cf_watch *w, const cf_message *m);
/* What the event loop itself does; called again when it moves on. */
void cf_watch_doing(cf_watch *w, cf_doing doing);

/* The job has failed and ends otherwise: nobody is to blame from here on, but heartbeats are still
 * answered, so that workers do not leave on their own account. */
void cf_watch_rest(cf_watch *w);
/* No more watch, where the process goes on with other work: the thread leaves by itself within a
 * second or so and releases it. */
void cf_watch_end(cf_watch *w);

#endif
