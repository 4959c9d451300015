/* `train` of a sweep: the points are trained in lanes (coordinator/lanes.h), all in one job.
 *
 * Rank 0 has a coordinator for each lane (sweep_lanes.h); each lane has a control communicator with
 * rank 0 and its workers, and one of its workers alone. A lane trains point after point as runs of
 * their own, each in its folder: what a point leaves behind are the bytes that its configuration
 * leaves behind when it is trained alone. A signal or the end of the time at one lane stops all;
 * one lane's error lets the others save and then ends the job; a rank that hangs ends it at once,
 * with what all lanes saved last. Threads: main only. Read first: cf_sweep_train. */
#ifndef CF_LAUNCH_SWEEP_TRAIN_H
#define CF_LAUNCH_SWEEP_TRAIN_H

#include "kernels/comm/job.h"
#include "launch/train_job.h"

typedef struct cf_sweep_train_job {
    const cf_train_wishes *wishes; /* borrowed */
    const cf_job *job;             /* borrowed */
    bool beside;                   /* rank 0 is a worker, too */
    const char *device;            /* run.device in words; borrowed */
    MPI_Comm workers;              /* all workers, in worker order; elsewhere not looked at */
} cf_sweep_train_job;

/* Collective over all ranks; blocks until the sweep is over and prints its table on rank 0.
 * CF_E_REQUEUE, alike on all ranks, when it was stopped and saved. Other errors end the whole job
 * here, with their code. */
CF_CHECKED cf_err cf_sweep_train(const cf_sweep_train_job *job);

#endif
