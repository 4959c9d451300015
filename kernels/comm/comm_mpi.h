/* The MPI comm: sums in two rounds of point-to-point messages, everything else MPI's own.
 * Threads: one caller a comm; several comms may be used by several threads when MPI was started
 * with MPI_THREAD_MULTIPLE (job.h). Read first: cf_comm_mpi_create. */
#ifndef CF_KERNELS_COMM_COMM_MPI_H
#define CF_KERNELS_COMM_COMM_MPI_H

#include <mpi.h>

#include "kernels/comm/comm.h"

/* Collective over `parent`: ranks with the same colour form a comm, ordered by `key`. A rank with
 * color MPI_UNDEFINED takes part in the call and gets *out = NULL. A sum may have at most 2^31-1
 * elements for each rank. Its waits have no deadline of their own: a rank that never answers is the
 * watchdog's business, which must not depend on MPI. */
CF_CHECKED cf_err cf_comm_mpi_create(MPI_Comm parent, int color, int key, cf_comm **out);

/* A cf_err from an MPI return code, with MPI's own text. */
CF_CHECKED cf_err cf_mpi_check(int code, const char *call);

#endif
