/* The job as MPI sees it: who we are, who shares our host, and the program's own communicators.
 *
 * The one place that starts and ends MPI. Threads: cf_job_init and cf_job_fini in the main thread;
 * a finished cf_job is read-only. Read first: cf_job_init. */
#ifndef CF_KERNELS_COMM_JOB_H
#define CF_KERNELS_COMM_JOB_H

#include "kernels/comm/comm_mpi.h"

typedef struct cf_job {
    int rank, size;             /* in the whole job */
    int local_rank, local_size; /* among the ranks of this host, ordered by rank */
    char host[256];             /* MPI's processor name */
    MPI_Comm control,
        data; /* duplicates of the world: messages of one never meet the other's; owned */
} cf_job;

/* Collective. Starts MPI for several threads; without a launcher the job has one rank. Errors of
 * MPI come back as CF_E_DEVICE from here on (MPI_ERRORS_RETURN on all communicators). CF_E_DEVICE
 * also when this MPI was built without MPI_THREAD_MULTIPLE, which the coordinator's thread needs.
 */
CF_CHECKED cf_err cf_job_init(cf_job *job);
/* Collective; blocks until every rank is here. */
CF_CHECKED cf_err cf_job_fini(cf_job *job);
/* Local: ends all ranks at once; the launcher exits with `code`. For the mains, after an error that
 * the other ranks cannot be told of. MPI may let it return: the caller then leaves with the same
 * code. */
void cf_job_abort(cf_err code);

#endif
