#include "kernels/comm/channel.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/idle.h"

/* Messages to the coordinator and to workers have their own tags, so that two ends of one rank
 * never take each other's. */
enum { TAG_TO_COORDINATOR = 11, TAG_TO_WORKERS = 12 };

/* Long enough for a coordinator that is writing its report; a send that hangs longer is a dead
 * rank. */
static const int64_t destroy_deadline_ns = 60LL * 1000 * 1000 * 1000;

typedef struct pending {
    MPI_Request request;
    void *bytes; /* owned until delivered */
} pending;

struct cf_channel {
    MPI_Comm comm; /* borrowed */
    cf_channel_end end;
    int coordinator_rank;
    pending *sends; /* owned, [n_sends], in order of sending */
    size_t n_sends, capacity;
};

cf_err cf_channel_create(MPI_Comm comm, int coordinator_rank, cf_channel_end end, cf_channel **out)
{
    int size = 0;
    *out = NULL;
    CF_TRY(cf_mpi_check(MPI_Comm_size(comm, &size), "MPI_Comm_size"));
    if (coordinator_rank < 0 || coordinator_rank >= size) {
        return cf_fail(CF_E_UNEXPECTED, "control channel: coordinator rank %d of %d ranks",
                       coordinator_rank, size);
    }
    CF_TRY(cf_new(out, 1, sizeof **out));
    **out = (cf_channel){.comm = comm, .end = end, .coordinator_rank = coordinator_rank};
    return CF_OK;
}

/* Frees what has been delivered and moves the rest forward. */
static cf_err collect(cf_channel *c)
{
    size_t kept = 0;
    cf_err err = CF_OK;
    for (size_t i = 0; i < c->n_sends; i++) {
        int done = 0;
        pending p = c->sends[i];
        if (err == CF_OK) {
            err = cf_mpi_check(MPI_Test(&p.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
        }
        if (done) {
            free(p.bytes);
        } else {
            c->sends[kept++] = p;
        }
    }
    c->n_sends = kept;
    return err;
}

cf_err cf_channel_send(cf_channel *c, int rank, const void *bytes, size_t n)
{
    int to = c->end == CF_CHANNEL_TO_COORDINATOR ? c->coordinator_rank : rank;
    int tag = c->end == CF_CHANNEL_TO_COORDINATOR ? TAG_TO_COORDINATOR : TAG_TO_WORKERS;
    if (n > INT_MAX) {
        return cf_fail(CF_E_DEVICE, "message to rank %d of %zu bytes, expected at most %d", to, n,
                       INT_MAX);
    }
    CF_TRY(collect(c));
    if (c->n_sends == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 16;
        CF_TRY(cf_resize(&c->sends, capacity, sizeof *c->sends));
        c->capacity = capacity;
    }
    pending *p = &c->sends[c->n_sends];
    CF_TRY(cf_new(&p->bytes, n, 1));
    if (n > 0) memcpy(p->bytes, bytes, n);
    int code = MPI_Isend(p->bytes, (int)n, MPI_BYTE, to, tag, c->comm, &p->request);
    if (code != MPI_SUCCESS) {
        free(p->bytes);
        return cf_where(cf_mpi_check(code, "MPI_Isend"), "message to rank %d", to);
    }
    c->n_sends++;
    return CF_OK;
}

/* The matched probe takes the message out of the queue at once, so that no other thread of this
 * rank can receive it between the look and the receive. */
static cf_err take(cf_channel *c, bool *got, int *rank, void **bytes, size_t *n)
{
    bool coordinator = c->end == CF_CHANNEL_TO_WORKERS;
    int from = coordinator ? MPI_ANY_SOURCE : c->coordinator_rank;
    int tag = coordinator ? TAG_TO_COORDINATOR : TAG_TO_WORKERS;
    int flag = 0, count = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    CF_TRY(cf_mpi_check(MPI_Improbe(from, tag, c->comm, &flag, &message, &status), "MPI_Improbe"));
    if (!flag) return CF_OK;
    CF_TRY(cf_mpi_check(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count"));
    CF_TRY(cf_new(bytes, (size_t)count, 1));
    cf_err err = cf_mpi_check(MPI_Mrecv(*bytes, count, MPI_BYTE, &message, &status), "MPI_Mrecv");
    if (err != CF_OK) {
        free(*bytes);
        *bytes = NULL;
        return cf_where(err, "message from rank %d", status.MPI_SOURCE);
    }
    *got = true;
    *rank = status.MPI_SOURCE;
    *n = (size_t)count;
    return CF_OK;
}

cf_err cf_channel_receive(cf_channel *c, int64_t timeout_ns, bool *got, int *rank, void **bytes,
                          size_t *n)
{
    int64_t start = cf_clock_ns();
    cf_idle idle = {0};
    *got = false;
    *bytes = NULL;
    *n = 0;
    for (;;) {
        CF_TRY(collect(c));
        CF_TRY(take(c, got, rank, bytes, n));
        if (*got) return CF_OK;
        int64_t left = timeout_ns - (cf_clock_ns() - start);
        if (left <= 0) return CF_OK;
        cf_idle_patiently(&idle, left);
    }
}

cf_err cf_channel_destroy(cf_channel *c)
{
    if (!c) return CF_OK;
    int64_t start = cf_clock_ns();
    cf_idle idle = {0};
    cf_err err = collect(c);
    while (err == CF_OK && c->n_sends > 0) {
        int64_t left = destroy_deadline_ns - (cf_clock_ns() - start);
        if (left <= 0) {
            err = cf_fail(CF_E_HANG, "%zu control messages were not taken within %lld s",
                          c->n_sends, (long long)(destroy_deadline_ns / 1000000000));
            break;
        }
        cf_idle_patiently(&idle, left);
        err = collect(c);
    }
    /* Bytes of a send that failed stay allocated: MPI may still read them. */
    free(c->sends);
    free(c);
    return err;
}
