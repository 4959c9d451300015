/* The worker: receives the plan, trains and tests its group's folds, saves, reports.
 *
 * Knows the coordinator only through proto/control.h. Threads: one for the step, those of the
 * loader, one that writes checkpoints. Read first: cf_worker_run, then cf_worker_train in steps.c.
 */
#ifndef CF_WORKER_WORKER_H
#define CF_WORKER_WORKER_H

#include <mpi.h>
#include <stdbool.h>

#include "kernels/base/err.h"

typedef struct cf_worker_job {
    MPI_Comm control;           /* the program's own duplicate of all ranks; borrowed */
    MPI_Comm workers;           /* the workers alone, in worker order; borrowed */
    int coordinator_rank;       /* in `control` */
    int local_workers;          /* workers on this host: they share its cores */
    int local_index;            /* of this worker among them: its device */
    int strangers;              /* workers of other lanes that have this one's device, too */
    int (*signal_caught)(void); /* the signal that asks to save and leave; 0: none came */
    int rank_offset;            /* added to ranks of `control` where people read them */
    struct cf_stage_seen
        *seen; /* kept between the jobs of a lane (stage.h); borrowed; NULL: none */
    bool lane; /* of a sweep: the process goes on when the job is over */
} cf_worker_job;

/* Collective over the workers. CF_E_REQUEUE when the job was stopped and all that is to be saved is
 * on disk: all workers return it alike. Else returns when the coordinator has said that all is
 * written, or with this worker's own error, which the coordinator has then been told. *more:
 * another job follows, for which the same call is to be made. */
CF_CHECKED cf_err cf_worker_run(const cf_worker_job *job, bool *more);

#endif
