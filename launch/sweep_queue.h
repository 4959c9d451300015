/* The points of a sweep that are left to be trained, in the order in which lanes take them, under
 * the sweep's own lock. Rank 0's alone. Threads: one caller at a time. Read first:
 * cf_sweep_queue_open. */
#ifndef CF_LAUNCH_SWEEP_QUEUE_H
#define CF_LAUNCH_SWEEP_QUEUE_H

#include "coordinator/run_lock.h"
#include "launch/train_job.h"

typedef struct cf_sweep_queue {
    cf_train_sweep sweep; /* owned */
    int n_lanes;          /* that are best for what is left; 0 where nothing is */
    int32_t *todo;        /* owned, [n_todo]: points in the order in which they are taken */
    int n_todo, n_taken;
    cf_run_lock *lock; /* owned: of the sweep's folder */
} cf_sweep_queue;

/* Takes the folder's lock, looks which points are done, and whether there is room on the disk for
 * all that are not. *q is zero before. Errors: as cf_train_sweep_prepare, cf_run_lock_take,
 * cf_train_sweep_look; CF_E_DISK. Close in any case. */
CF_CHECKED cf_err cf_sweep_queue_open(const cf_train_wishes *wishes, int n_workers,
                                      cf_sweep_queue *q);
/* *point -1: there is none left. CF_E_BUSY where another job has taken the folder over. */
CF_CHECKED cf_err cf_sweep_queue_take(cf_sweep_queue *q, int *point);
/* Releases the folder, too. */
void cf_sweep_queue_close(cf_sweep_queue *q);

#endif
