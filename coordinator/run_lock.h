/* The lock of a run folder: one job writes there at a time.
 *
 * A whole job holds DIR/run.lock; a job of one fold holds DIR/fold-K.lock, beside other folds' but
 * not beside a whole job. A lock is a file made by exclusive create (a link to a finished file
 * where the file system has links, O_EXCL elsewhere) that names its owner. A dead owner's lock is
 * taken over, with a warning. Removed on every orderly end; what kill -9 leaves is stale.
 *
 * What is assumed: link or O_EXCL creates exclusively, and rename is atomic. Starts look at each
 * other's locks one at a time, under a byte-range lock on DIR/.lock. Where the file system has
 * none, or only within one host, two that both took a lock for stale are still told apart: a stale
 * lock is renamed away first, which one of them alone can do; who finds another lock in his hand
 * puts it back. A third would have to come within these microseconds; the owner whose lock is gone
 * notices at its next touch (20 s) and ends with CF_E_BUSY. Bits are safe in any case: whatever a
 * job writes, another one of the same folder would write the same.
 *
 * Threads: one caller; a thread of its own touches the lock. Read first: cf_run_lock_take. */
#ifndef CF_COORDINATOR_RUN_LOCK_H
#define CF_COORDINATOR_RUN_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef struct cf_run_lock cf_run_lock;

/* How patient a lock is. */
typedef struct cf_run_lock_times {
    int64_t touch_ns;   /* between touches by the owner */
    int64_t stale_ns;   /* without a touch, by the file system's clock: given up */
    int64_t leaving_ns; /* waited for an owner that is on its way out */
    int64_t section_ns; /* waited for other folds' jobs to open the folder */
} cf_run_lock_times;
/* 20 s, 5 min, 30 s, 10 min. */
cf_run_lock_times cf_run_lock_times_default(void);

/* Makes the folder and takes its lock; only_fold -1: of a whole job. *out is owned by the caller.
 * Errors: CF_E_BUSY, naming host, job and pid of the owner and since when, at once, or after
 * leaving_ns where the owner has lost its launcher or is of our own job; CF_E_DISK. */
CF_CHECKED cf_err cf_run_lock_take(const char *dir, int only_fold, const cf_run_lock_times *times,
                                   cf_run_lock **out);
/* Takes nothing: CF_E_BUSY, as cf_run_lock_take, while a whole job or one of a fold holds a lock of
 * the folder; OK for a folder that is not there. For a sweep, whose folder and points are locked
 * one by one. */
CF_CHECKED cf_err cf_run_lock_look(const char *dir, const cf_run_lock_times *times);
/* Removes the lock, if it is still ours, and ends its thread. Accepts NULL. */
void cf_run_lock_release(cf_run_lock *lock);
/* CF_E_BUSY once the lock was found to be another job's, because this one was out of reach. */
CF_CHECKED cf_err cf_run_lock_check(cf_run_lock *lock);

/* Between enter and leave no other job opens this folder or gathers in it; waits for its turn.
 * *others: jobs of other folds hold a lock there. A whole job is alone in any case. */
CF_CHECKED cf_err cf_run_lock_enter(cf_run_lock *lock, bool *others);
void cf_run_lock_leave(cf_run_lock *lock);

#endif
