#include "tests/cuda/nccl_fake.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TAG = 4242, POLLS = 3, MAX_RANKS = 64 };

struct ncclComm {
    MPI_Comm comm;
    MPI_Request request;
    int polls; /* looks until a call that is done says so: callers must not count on the first */
    bool busy;
    ncclResult_t error;
};

/* A rank that comes to the meeting, and the meeting's list. */
typedef struct guest {
    int rank, world, device;
} guest;

static ncclResult_t broken = ncclSuccess;

void nccl_fake_break(ncclResult_t error)
{
    broken = error;
}

/* The id is where the ranks meet: the world rank of who made it, and a number of its own. */
ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    static int made;
    int words[2] = {0, made++};
    MPI_Comm_rank(MPI_COMM_WORLD, &words[0]);
    memset(id, 0, sizeof *id);
    memcpy(id->internal, words, sizeof words);
    return ncclSuccess;
}

static void meet(int n, const int words[2], const guest *mine, guest *all)
{
    int tag = TAG + words[1] % 1000;
    if (mine->rank != 0) {
        MPI_Send(mine, sizeof *mine, MPI_BYTE, words[0], tag, MPI_COMM_WORLD);
        MPI_Recv(all, (int)(sizeof *all * (size_t)n), MPI_BYTE, words[0], tag, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
        return;
    }
    all[0] = *mine;
    for (int i = 1; i < n; i++) {
        guest g;
        MPI_Recv(&g, sizeof g, MPI_BYTE, MPI_ANY_SOURCE, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        all[g.rank] = g;
    }
    for (int i = 1; i < n; i++)
        MPI_Send(all, (int)(sizeof *all * (size_t)n), MPI_BYTE, all[i].world, tag, MPI_COMM_WORLD);
}

static void connect_all(struct ncclComm *c, int n, const guest *all, int tag)
{
    int ranks[MAX_RANKS];
    MPI_Group world, group;
    for (int i = 0; i < n; i++) ranks[i] = all[i].world;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_incl(world, n, ranks, &group);
    MPI_Comm_create_group(MPI_COMM_WORLD, group, tag, &c->comm);
    MPI_Group_free(&group);
    MPI_Group_free(&world);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int n_ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    int words[2];
    guest mine = {.rank = rank}, all[MAX_RANKS];
    if (n_ranks < 1 || n_ranks > MAX_RANKS || rank < 0 || rank >= n_ranks || config->blocking != 0)
        return ncclInvalidArgument;
    struct ncclComm *c = calloc(1, sizeof *c);
    if (c == NULL) return ncclSystemError;
    memcpy(words, id.internal, sizeof words);
    MPI_Comm_rank(MPI_COMM_WORLD, &mine.world);
    if (cudaGetDevice(&mine.device) != cudaSuccess) mine.device = -1;
    meet(n_ranks, words, &mine, all);
    for (int i = 0; i < n_ranks; i++)
        for (int k = 0; k < i; k++)
            if (all[i].device == all[k].device) c->error = ncclInvalidUsage;
    connect_all(c, n_ranks, all, TAG + words[1] % 1000);
    c->request = MPI_REQUEST_NULL;
    c->busy = true;
    c->polls = POLLS;
    *comm = c;
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *state)
{
    int done = 0;
    if (broken != ncclSuccess) {
        c->error = broken;
        broken = ncclSuccess;
    }
    MPI_Test(&c->request, &done, MPI_STATUS_IGNORE);
    if (done && c->polls > 0) c->polls--;
    if (done && c->polls == 0) c->busy = false;
    *state = c->busy ? ncclInProgress : ncclSuccess;
    if (!c->busy || c->error == ncclRemoteError)
        *state = c->error != ncclSuccess ? c->error : *state;
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t n, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t c, cudaStream_t stream)
{
    struct cudaPointerAttributes a;
    if (c->busy) return ncclInvalidUsage;
    if (from != to || op != ncclSum || stream == NULL) return ncclInvalidArgument;
    if (cudaPointerGetAttributes(&a, to) != cudaSuccess || a.type != cudaMemoryTypeDevice)
        return ncclInvalidArgument;
    MPI_Datatype element = type == ncclInt64 ? MPI_INT64_T : MPI_FLOAT;
    if (type != ncclInt64 && type != ncclFloat32) return ncclInvalidArgument;
    MPI_Iallreduce(MPI_IN_PLACE, to, (int)n, element, MPI_SUM, c->comm, &c->request);
    c->busy = true;
    c->polls = POLLS;
    return ncclInProgress;
}

ncclResult_t ncclCommFinalize(ncclComm_t c)
{
    if (c->busy) return ncclInvalidUsage;
    c->busy = true;
    c->polls = POLLS;
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    if (c->busy) return ncclInvalidUsage;
    MPI_Comm_free(&c->comm);
    free(c);
    return ncclSuccess;
}

/* What is under way stays so: its buffer and communicator are left to the end of the process. */
ncclResult_t ncclCommAbort(ncclComm_t c)
{
    if (c->request == MPI_REQUEST_NULL) free(c);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return texts[result];
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "played by MPI";
}
