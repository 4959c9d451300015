/* Preloaded: one bit of one finished share of a sum changes on its way to another rank, as a faulty
 * network card would. CYTOFOLD_FLIP_RANK: the rank that sends it (in the job); CYTOFOLD_FLIP_AFTER:
 * how many such messages go out whole before. Sums tag the shares that go out with odd numbers
 * (kernels/comm/comm_mpi.c); changed on the way in, before they are added, the sum would be wrong
 * but the same on all ranks. Read first: MPI_Isend. */
#include <mpi.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int wanted(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? atoi(text) : -1;
}

/* The copy is never freed: MPI may read it until the send is done. */
int MPI_Isend(const void *buf, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request *request)
{
    static int n_sent;
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (type != MPI_INT64_T || tag % 2 == 0 || rank != wanted("CYTOFOLD_FLIP_RANK") ||
        n_sent++ != wanted("CYTOFOLD_FLIP_AFTER"))
        return PMPI_Isend(buf, count, type, to, tag, comm, request);
    int64_t *copy = malloc((size_t)count * sizeof *copy);
    if (copy == NULL) return MPI_ERR_NO_MEM;
    memcpy(copy, buf, (size_t)count * sizeof *copy);
    copy[count / 2] ^= (int64_t)1 << 38;
    return PMPI_Isend(copy, count, type, to, tag, comm, request);
}
