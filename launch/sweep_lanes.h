/* Rank 0's part in `train` of a sweep: a coordinator for each lane, in a thread of its own, which
 * all take points from one queue, hear one word to stop, and wait for one report.
 *
 * A lane that is through keeps its workers where they are, watched and heard, until all lanes are
 * and the report is written: a signal to any rank counts to the end, and a rank that hangs is
 * named. One lane's error lets the others save and then ends the process with the job. Threads: one
 * caller, a thread for each lane and one for the report. Read first: cf_sweep_lanes_open. */
#ifndef CF_LAUNCH_SWEEP_LANES_H
#define CF_LAUNCH_SWEEP_LANES_H

#include <mpi.h>

#include "launch/train_job.h"

typedef struct cf_sweep_lanes cf_sweep_lanes;

/* Where the workers of a lane are. */
typedef struct cf_sweep_place {
    MPI_Comm control; /* rank 0 and the lane's workers; borrowed */
    int first_worker; /* in `control`: 0 where rank 0 is one of them, else 1 */
    int n_workers;
    int rank_offset; /* from ranks of `control` to those of the job */
} cf_sweep_place;

/* Looks what there is to be done and takes the folder's lock; *n_lanes 0: nothing. n_ranks: of the
 * job. *out is owned by the caller, set on errors, too. Errors: as cf_sweep_queue_open. */
CF_CHECKED cf_err cf_sweep_lanes_open(const cf_train_wishes *wishes, int n_workers, int n_ranks,
                                      cf_sweep_lanes **out, int *n_lanes);
/* Starts the threads; where one cannot be had the job ends here. places: [n_lanes]. */
CF_CHECKED cf_err cf_sweep_lanes_start(cf_sweep_lanes *s, const cf_sweep_place *places);
/* Waits until all lanes are through and the report is written, and prints its table. CF_E_REQUEUE
 * when they were stopped and saved. Releases the folder. */
CF_CHECKED cf_err cf_sweep_lanes_finish(cf_sweep_lanes *s);
/* Before the start or after the finish. Releases the folder, if it is still held. Accepts NULL. */
void cf_sweep_lanes_destroy(cf_sweep_lanes *s);

/* The whole job ends here with a message: the other ranks cannot be told. */
_Noreturn void cf_sweep_die(int n_ranks, cf_err err, const char *text);

#endif
