/* A sum takes two rounds. Every rank owns one share of the buffer: first each sends every other
 * rank's share to its owner, who adds what arrives; then each owner sends its finished share to
 * all. That moves 2 (size-1)/size of the buffer, as little as a ring does, but needs only two
 * reactions of the host between start and end, so it goes on well when the step calls `progress`
 * seldom. A sum of 6,000,000 int64 between two ranks of one host took 17-20 ms, MPI_Iallreduce of
 * Open MPI 4.1 97 ms in one piece and 33-47 ms in pieces of 1 MiB (two cores, five runs each;
 * without single-copy shared memory 43 and 55). Own value first, then the others in rank order:
 * float sums too are the same on every run with one number of ranks. */
#include "kernels/comm/comm_mpi.h"

#include <limits.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/comm/idle.h"

enum {
    N_TAGS = 4096
}; /* far more than sums under way; two a sum stay below MPI's smallest tag limit */

/* One sum under way. */
typedef struct sum {
    bool held;   /* from its start until its wait: the ticket is not given away before */
    bool active; /* not done yet */
    int round;   /* 0: shares go to their owners; 1: finished shares come back */
    int tag;     /* of round 0; round 1 uses tag + 1 */
    int n_added; /* ranks whose contribution was added (round 0) */
    cf_sum_type type;
    char *buf; /* borrowed until the sum is done */
    int64_t n;
    char *
        inbox; /* owned, [size][own share]: contributions to the own share; kept for the next sum */
    size_t inbox_bytes;
    MPI_Request *receives, *sends; /* owned, [size] */
} sum;

typedef struct mpi_comm {
    cf_comm base; /* first: a cf_comm * is a mpi_comm * */
    MPI_Comm comm;
    uint32_t n_started; /* same on every rank: names the messages of a sum */
    sum sums[CF_COMM_MAX_PENDING];
} mpi_comm;

cf_err cf_mpi_check(int code, const char *call)
{
    if (code == MPI_SUCCESS) return CF_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    if (MPI_Error_string(code, text, &n) != MPI_SUCCESS) n = 0;
    return cf_fail(CF_E_DEVICE, "%s: %.*s (code %d)", call, n, text, code);
}

static size_t type_bytes(cf_sum_type type)
{
    return type == CF_SUM_I64 ? sizeof(int64_t) : sizeof(float);
}

static MPI_Datatype mpi_type(cf_sum_type type)
{
    return type == CF_SUM_I64 ? MPI_INT64_T : MPI_FLOAT;
}

/* First element of a rank's share; share_start(.., size) is n. */
static int64_t share_start(const mpi_comm *m, int64_t n, int rank)
{
    int64_t part = n / m->base.size, rest = n % m->base.size;
    return part * rank + (rank < rest ? rank : rest);
}

static int share_count(const mpi_comm *m, int64_t n, int rank)
{
    return (int)(share_start(m, n, rank + 1) - share_start(m, n, rank));
}

static char *share_at(const mpi_comm *m, const sum *s, int rank)
{
    return s->buf + (size_t)share_start(m, s->n, rank) * type_bytes(s->type);
}

static char *inbox_at(const mpi_comm *m, const sum *s, int rank)
{
    size_t own_bytes = (size_t)share_count(m, s->n, m->base.rank) * type_bytes(s->type);
    return s->inbox + (size_t)rank * own_bytes;
}

/* Wraps round like the hardware: the scales of exact sums keep them within 63 bits. */
static void add_i64(int64_t *restrict to, const int64_t *restrict from, int n)
{
    for (int i = 0; i < n; i++) to[i] = (int64_t)((uint64_t)to[i] + (uint64_t)from[i]);
}

static void add_f32(float *restrict to, const float *restrict from, int n)
{
    for (int i = 0; i < n; i++) to[i] += from[i];
}

static void add_share(const mpi_comm *m, sum *s, int from)
{
    void *own = share_at(m, s, m->base.rank), *theirs = inbox_at(m, s, from);
    int n = share_count(m, s->n, m->base.rank);
    if (s->type == CF_SUM_I64) {
        add_i64(own, theirs, n);
    } else {
        add_f32(own, theirs, n);
    }
}

/* Receives before sends, so that large messages find their place at once. */
static cf_err start_round(mpi_comm *m, sum *s)
{
    int me = m->base.rank, tag = s->tag + s->round;
    MPI_Datatype type = mpi_type(s->type);
    for (int r = 0; r < m->base.size; r++) {
        if (r == me) continue;
        void *to = s->round == 0 ? inbox_at(m, s, r) : share_at(m, s, r);
        int n = share_count(m, s->n, s->round == 0 ? me : r);
        CF_TRY(cf_mpi_check(MPI_Irecv(to, n, type, r, tag, m->comm, &s->receives[r]), "MPI_Irecv"));
    }
    for (int i = 1; i < m->base.size; i++) {
        int r = (me + i) % m->base.size; /* not all to rank 0 first */
        int whose = s->round == 0 ? r : me, n = share_count(m, s->n, whose);
        CF_TRY(cf_mpi_check(
            MPI_Isend(share_at(m, s, whose), n, type, r, tag, m->comm, &s->sends[r]), "MPI_Isend"));
    }
    return CF_OK;
}

static cf_err all_done(MPI_Request *requests, int n, bool *done)
{
    int flag = 0;
    CF_TRY(cf_mpi_check(MPI_Testall(n, requests, &flag, MPI_STATUSES_IGNORE), "MPI_Testall"));
    *done = flag != 0;
    return CF_OK;
}

/* Adds contributions in rank order, as far as they have arrived. */
static cf_err add_arrived(mpi_comm *m, sum *s)
{
    for (; s->n_added < m->base.size; s->n_added++) {
        int flag = 0;
        if (s->n_added == m->base.rank) continue;
        CF_TRY(
            cf_mpi_check(MPI_Test(&s->receives[s->n_added], &flag, MPI_STATUS_IGNORE), "MPI_Test"));
        if (!flag) return CF_OK;
        add_share(m, s, s->n_added);
    }
    return CF_OK;
}

static cf_err advance(mpi_comm *m, sum *s)
{
    bool done = false;
    if (s->round == 0) {
        CF_TRY(add_arrived(m, s));
        /* Round 1 receives into shares that round 0 sends from. */
        CF_TRY(all_done(s->sends, m->base.size, &done));
        if (!done || s->n_added < m->base.size) return CF_OK;
        s->round = 1;
        CF_TRY(start_round(m, s));
    }
    CF_TRY(all_done(s->receives, m->base.size, &done));
    if (!done) return CF_OK;
    CF_TRY(all_done(s->sends, m->base.size, &done));
    if (done) s->active = false;
    return CF_OK;
}

/* What the first sum of a slot needs; later ones of that size allocate nothing. */
static cf_err reserve(const mpi_comm *m, sum *s)
{
    size_t ranks = (size_t)m->base.size, bytes = 0;
    size_t own_bytes = (size_t)share_count(m, s->n, m->base.rank) * type_bytes(s->type);
    if (!cf_size_mul(ranks, own_bytes, &bytes)) {
        return cf_fail(CF_E_UNEXPECTED, "sum of %lld elements: size overflows", (long long)s->n);
    }
    if (!s->receives) {
        CF_TRY(cf_new(&s->receives, ranks, sizeof *s->receives));
        for (size_t r = 0; r < ranks; r++) s->receives[r] = MPI_REQUEST_NULL;
    }
    if (!s->sends) {
        CF_TRY(cf_new(&s->sends, ranks, sizeof *s->sends));
        for (size_t r = 0; r < ranks; r++) s->sends[r] = MPI_REQUEST_NULL;
    }
    if (bytes > s->inbox_bytes) {
        free(s->inbox);
        s->inbox = NULL;
        s->inbox_bytes = 0;
        CF_TRY(cf_new_aligned(&s->inbox, bytes, 1));
        s->inbox_bytes = bytes;
    }
    return CF_OK;
}

static cf_err mpi_sum_start(cf_comm *c, void *buf, int64_t n, cf_sum_type type, int *ticket)
{
    mpi_comm *m = (mpi_comm *)c;
    int slot = 0;
    *ticket = 0;
    if (c->size == 1) return CF_OK;
    while (slot < CF_COMM_MAX_PENDING && m->sums[slot].held) slot++;
    if (slot == CF_COMM_MAX_PENDING) {
        return cf_fail(CF_E_UNEXPECTED, "expected at most %d sums under way, found one more",
                       CF_COMM_MAX_PENDING);
    }
    if (n < 0 || n / c->size >= INT_MAX) {
        return cf_fail(CF_E_UNEXPECTED, "sum of %lld elements on %d ranks: expected 0..%d each",
                       (long long)n, c->size, INT_MAX);
    }
    sum *s = &m->sums[slot];
    s->round = s->n_added = 0;
    s->tag = 2 * (int)(m->n_started++ % N_TAGS);
    s->type = type;
    s->buf = buf;
    s->n = n;
    CF_TRY(reserve(m, s));
    s->held = true;
    s->active = n > 0;
    *ticket = slot;
    return n > 0 ? start_round(m, s) : CF_OK;
}

static cf_err mpi_progress(cf_comm *c)
{
    mpi_comm *m = (mpi_comm *)c;
    for (int i = 0; i < CF_COMM_MAX_PENDING; i++) {
        if (m->sums[i].active) CF_TRY(advance(m, &m->sums[i]));
    }
    return CF_OK;
}

static cf_err mpi_wait(cf_comm *c, int ticket)
{
    mpi_comm *m = (mpi_comm *)c;
    cf_idle idle = {0};
    if (ticket < 0 || ticket >= CF_COMM_MAX_PENDING) {
        return cf_fail(CF_E_UNEXPECTED, "ticket %d is none of a sum", ticket);
    }
    for (;;) {
        CF_TRY(mpi_progress(c)); /* all sums: another rank may be waiting for an earlier one */
        if (!m->sums[ticket].active) break;
        cf_idle_briefly(&idle);
    }
    m->sums[ticket].held = false;
    return CF_OK;
}

static cf_err finish(MPI_Request *request)
{
    cf_idle idle = {0};
    for (;;) {
        bool done = false;
        CF_TRY(all_done(request, 1, &done));
        if (done) return CF_OK;
        cf_idle_briefly(&idle);
    }
}

static cf_err mpi_broadcast(cf_comm *c, void *buf, size_t bytes, int root)
{
    mpi_comm *m = (mpi_comm *)c;
    const size_t piece = (size_t)1 << 30; /* MPI counts are int */
    for (size_t at = 0; at < bytes; at += piece) {
        MPI_Request request;
        int n = (int)(bytes - at < piece ? bytes - at : piece);
        CF_TRY(cf_mpi_check(MPI_Ibcast((char *)buf + at, n, MPI_BYTE, root, m->comm, &request),
                            "MPI_Ibcast"));
        CF_TRY(finish(&request));
    }
    return CF_OK;
}

static cf_err mpi_highest(cf_comm *c, int mine, int *value, int *rank)
{
    mpi_comm *m = (mpi_comm *)c;
    struct {
        int value, rank;
    } pair = {mine, c->rank};
    MPI_Request request;
    CF_TRY(cf_mpi_check(
        MPI_Iallreduce(MPI_IN_PLACE, &pair, 1, MPI_2INT, MPI_MAXLOC, m->comm, &request),
        "MPI_Iallreduce"));
    CF_TRY(finish(&request));
    *value = pair.value;
    *rank = pair.rank;
    return CF_OK;
}

static cf_err mpi_barrier(cf_comm *c)
{
    mpi_comm *m = (mpi_comm *)c;
    MPI_Request request;
    CF_TRY(cf_mpi_check(MPI_Ibarrier(m->comm, &request), "MPI_Ibarrier"));
    return finish(&request);
}

static void mpi_destroy(cf_comm *c)
{
    mpi_comm *m = (mpi_comm *)c;
    if (!m) return;
    for (int i = 0; i < CF_COMM_MAX_PENDING; i++) {
        free(m->sums[i].inbox);
        free(m->sums[i].receives);
        free(m->sums[i].sends);
    }
    if (m->comm != MPI_COMM_NULL) MPI_Comm_free(&m->comm);
    free(m);
}

static const cf_comm_ops mpi_ops = {.name = "mpi",
                                    .memory = CF_MEMORY_HOST,
                                    .sum_start = mpi_sum_start,
                                    .progress = mpi_progress,
                                    .wait = mpi_wait,
                                    .broadcast = mpi_broadcast,
                                    .highest = mpi_highest,
                                    .barrier = mpi_barrier,
                                    .destroy = mpi_destroy};

cf_err cf_comm_mpi_create(MPI_Comm parent, int color, int key, cf_comm **out)
{
    *out = NULL;
    MPI_Comm comm = MPI_COMM_NULL;
    CF_TRY(cf_mpi_check(MPI_Comm_split(parent, color, key, &comm), "MPI_Comm_split"));
    if (comm == MPI_COMM_NULL) return CF_OK;
    mpi_comm *m = NULL;
    cf_err err = cf_new(&m, 1, sizeof *m);
    if (err != CF_OK) {
        MPI_Comm_free(&comm);
        return err;
    }
    m->comm = comm;
    m->base.ops = &mpi_ops;
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm, &m->base.rank);
    MPI_Comm_size(comm, &m->base.size);
    *out = &m->base;
    return CF_OK;
}
