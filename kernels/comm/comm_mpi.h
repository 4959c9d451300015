/* The MPI comm, and the few facts of the job that only MPI knows. The one header of this floor that
 * names mpi.h. Read first: cf_mpi_init. */
#ifndef CF_KERNELS_COMM_COMM_MPI_H
#define CF_KERNELS_COMM_COMM_MPI_H

#include <mpi.h>

#include "kernels/comm/comm.h"

/* Collective over `parent`: ranks with the same colour form a comm, ordered by `key`. */
CF_CHECKED cf_err cf_comm_mpi_create(MPI_Comm parent, int color, int key, cf_comm **out);

/* A cf_err from an MPI return code, with MPI's own text. */
CF_CHECKED cf_err cf_mpi_check(int code, const char *call);

#endif
