#include "kernels/comm/vote.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/comm/idle.h"

typedef struct ballot {
    int64_t values[CF_VOTE_VALUES]; /* MPI's until the request is done */
    MPI_Request request;
    bool open; /* started and not finished */
} ballot;

struct cf_vote {
    MPI_Comm comm; /* owned: a collective of another module never comes in between */
    int size;
    ballot slots[CF_VOTE_SLOTS];
};

cf_err cf_vote_create(MPI_Comm parent, int color, int key, cf_vote **out)
{
    MPI_Comm comm = MPI_COMM_NULL;
    *out = NULL;
    CF_TRY(cf_mpi_check(MPI_Comm_split(parent, color, key, &comm), "MPI_Comm_split"));
    cf_vote *v = NULL;
    cf_err err = cf_new(&v, 1, sizeof *v);
    if (err != CF_OK) {
        MPI_Comm_free(&comm);
        return err;
    }
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Comm_size(comm, &v->size);
    v->comm = comm;
    for (int i = 0; i < CF_VOTE_SLOTS; i++) v->slots[i].request = MPI_REQUEST_NULL;
    *out = v;
    return CF_OK;
}

void cf_vote_destroy(cf_vote *v)
{
    if (v == NULL) return;
    MPI_Comm_free(&v->comm);
    free(v);
}

static cf_err find_slot(cf_vote *v, int slot, bool open, ballot **out)
{
    if (slot < 0 || slot >= CF_VOTE_SLOTS || v->slots[slot].open != open)
        return cf_fail(CF_E_UNEXPECTED, "vote: slot %d of %d, expected one that is %s", slot,
                       CF_VOTE_SLOTS, open ? "under way" : "free");
    *out = &v->slots[slot];
    return CF_OK;
}

cf_err cf_vote_start(cf_vote *v, int slot, const int64_t values[CF_VOTE_VALUES])
{
    ballot *b = NULL;
    CF_TRY(find_slot(v, slot, false, &b));
    memcpy(b->values, values, sizeof b->values);
    if (v->size > 1)
        CF_TRY(cf_mpi_check(MPI_Iallreduce(MPI_IN_PLACE, b->values, CF_VOTE_VALUES, MPI_INT64_T,
                                           MPI_MAX, v->comm, &b->request),
                            "MPI_Iallreduce"));
    b->open = true;
    return CF_OK;
}

static cf_err await(MPI_Request *request)
{
    cf_idle idle = {0};
    for (;;) {
        int done = 0;
        CF_TRY(cf_mpi_check(MPI_Test(request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (done) return CF_OK;
        cf_idle_briefly(&idle);
    }
}

cf_err cf_vote_finish(cf_vote *v, int slot, int64_t highest[CF_VOTE_VALUES])
{
    ballot *b = NULL;
    CF_TRY(find_slot(v, slot, true, &b));
    CF_TRY(await(&b->request));
    memcpy(highest, b->values, sizeof b->values);
    b->open = false;
    return CF_OK;
}

cf_err cf_vote_gather(cf_vote *v, int64_t mine, int64_t *all)
{
    MPI_Request request = MPI_REQUEST_NULL;
    CF_TRY(
        cf_mpi_check(MPI_Iallgather(&mine, 1, MPI_INT64_T, all, 1, MPI_INT64_T, v->comm, &request),
                     "MPI_Iallgather"));
    return await(&request);
}
