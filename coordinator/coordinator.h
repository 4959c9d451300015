/* The coordinator: makes the folds, plans the grid, hears progress, gathers, reports. It trains
 * nothing and needs no device; while it waits it sleeps.
 *
 * Knows the workers only through proto/control.h. Threads: one; it may be a thread beside a worker
 * of the same rank. Read first: cf_coordinator_run, then serve in coordinator.c. */
#ifndef CF_COORDINATOR_COORDINATOR_H
#define CF_COORDINATOR_COORDINATOR_H

#include <mpi.h>

#include "coordinator/grid.h"
#include "coordinator/report_source.h"
#include "coordinator/stop.h"
#include "proto/config.h"

/* What comes after a job of a lane: nothing; nothing, but the other lanes are not through yet;
 * another job. */
typedef enum cf_lane_next { CF_LANE_OVER, CF_LANE_WAIT, CF_LANE_MORE } cf_lane_next;

/* What a job knows of the larger one that it is a part of: a point that a lane of a sweep trains.
 */
typedef struct cf_coordinator_lane {
    int rank_offset;    /* added to ranks of `control` where people read them */
    int64_t start_ns;   /* when the whole began, for its wall time (cf_clock_ns) */
    cf_stop_word *stop; /* who asks one lane to stop means all; borrowed */
    /* Asked when all is written (whole), or the job was stopped and saved, and about ten times a
     * second again while the answer is to wait. An error is the job's. */
    cf_err (*next)(void *context, bool whole, cf_lane_next *next);
    void *context; /* borrowed */
} cf_coordinator_lane;

typedef struct cf_coordinator_job {
    MPI_Comm control; /* the program's own duplicate of all ranks; borrowed */
    int first_worker; /* rank in `control` of worker 0: 1 beside a coordinator rank, else 0 */
    int n_workers;
    const cf_config *config;    /* effective and valid; data.cells is an absolute path; borrowed */
    const char *run_dir;        /* absolute; borrowed */
    const char *sweep_dir;      /* of a point that is trained alone: its lock is looked at when the
                                   run's own is held; borrowed; NULL: none */
    int only_fold;              /* -1: all folds */
    cf_grid_cost cost;          /* the planner's estimate; n_folds is filled in here */
    int64_t checkpoint_bytes;   /* of one fold: is there room for the job's? */
    bool terminal;              /* progress as a bar */
    int (*signal_caught)(void); /* the signal that asks to save and leave; 0: none came */
    const cf_report_source *report_source; /* images for report.html; borrowed; NULL: none */
    const cf_coordinator_lane *lane;       /* NULL: the job is the whole; borrowed */
} cf_coordinator_job;

/* Local to the coordinator; blocks until the job is over. `table` receives the Markdown table.
 * CF_E_REQUEUE, after an orderly end of all workers, when the job was stopped by a signal to any
 * rank or before the end of its time: the message says what is on disk.
 * Errors: its own, or the first of a worker, with rank and host named. */
CF_CHECKED cf_err cf_coordinator_run(const cf_coordinator_job *job, cf_buf *table);

#endif
