/* A communicator is non-blocking: its calls may return ncclInProgress, and nothing may be asked of
 * it or its stream until ncclCommGetAsyncError says otherwise (NCCL user guide, "Asynchronous
 * errors and error handling"). `settle` is that wait, with the deadline. */
#include "kernels/comm/comm_nccl.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/idle.h"

#define DEADLINE_NS (600LL * 1000000000)

typedef struct nccl_sum {
    bool active;
    cudaEvent_t filled; /* on the compute stream: the buffer may be read */
    cudaEvent_t done;   /* on the comm's stream */
} nccl_sum;

typedef struct nccl_comm {
    cf_comm base;        /* first: a cf_comm * is a nccl_comm * */
    cf_comm *host;       /* owned */
    ncclComm_t nccl;     /* owned; NULL after an abort */
    cudaStream_t queue;  /* borrowed */
    cudaStream_t stream; /* owned */
    int64_t deadline_ns;
    nccl_sum sums[CF_COMM_MAX_PENDING];
    char who[320]; /* "rank 1 on host a" */
} nccl_comm;

static cf_err check_cuda(const nccl_comm *m, cudaError_t code, const char *call)
{
    if (code == cudaSuccess) return CF_OK;
    return cf_fail(CF_E_DEVICE, "%s: %s: %s", m->who, call, cudaGetErrorString(code));
}

static cf_err check_nccl(const nccl_comm *m, ncclResult_t code, const char *call)
{
    if (code == ncclSuccess || code == ncclInProgress) return CF_OK;
    return cf_fail(CF_E_DEVICE, "%s: %s: %s (%s)", m->who, call, ncclGetErrorString(code),
                   ncclGetLastError(m->nccl));
}

/* After this the peers' waits end too: they meet a closed connection instead of silence. */
static void give_up(nccl_comm *m)
{
    if (m->nccl != NULL) (void)ncclCommAbort(m->nccl);
    m->nccl = NULL;
}

static cf_err too_late(const nccl_comm *m, const char *what)
{
    return cf_fail(CF_E_HANG, "%s: %s took more than %lld s: another rank does not answer", m->who,
                   what, (long long)(m->deadline_ns / 1000000000));
}

static cf_err check_alive(const nccl_comm *m)
{
    if (m->nccl == NULL)
        return cf_fail(CF_E_DEVICE, "%s: the communicator was given up after an error", m->who);
    return CF_OK;
}

/* Waits until a call on the communicator is over. */
static cf_err settle(nccl_comm *m, ncclResult_t code, const char *call)
{
    cf_idle idle = {0};
    int64_t start = cf_clock_ns();
    cf_err err = check_nccl(m, code, call);
    while (err == CF_OK && code == ncclInProgress) {
        err = check_nccl(m, ncclCommGetAsyncError(m->nccl, &code), "ncclCommGetAsyncError");
        if (err == CF_OK) err = check_nccl(m, code, call);
        if (err == CF_OK && code == ncclInProgress) {
            if (cf_clock_ns() - start > m->deadline_ns) err = too_late(m, call);
            cf_idle_briefly(&idle);
        }
    }
    if (err != CF_OK) give_up(m);
    return err;
}

static cf_err look_for_errors(nccl_comm *m)
{
    ncclResult_t state = ncclSuccess;
    CF_TRY(check_alive(m));
    cf_err err = check_nccl(m, ncclCommGetAsyncError(m->nccl, &state), "ncclCommGetAsyncError");
    if (err == CF_OK) err = check_nccl(m, state, "the network");
    if (err != CF_OK) give_up(m);
    return err;
}

/* ---- sums ------------------------------------------------------------------------------------ */

static cf_err find_slot(nccl_comm *m, int *slot)
{
    *slot = 0;
    while (*slot < CF_COMM_MAX_PENDING && m->sums[*slot].active) ++*slot;
    if (*slot < CF_COMM_MAX_PENDING) return CF_OK;
    return cf_fail(CF_E_UNEXPECTED, "expected at most %d sums under way, found one more",
                   CF_COMM_MAX_PENDING);
}

static cf_err start_after(nccl_comm *m, int slot, void *buf, int64_t n, cf_sum_type type,
                          cudaEvent_t event)
{
    nccl_sum *s = &m->sums[slot];
    ncclDataType_t element = type == CF_SUM_I64 ? ncclInt64 : ncclFloat32;
    CF_TRY(check_cuda(m, cudaStreamWaitEvent(m->stream, event, 0), "cudaStreamWaitEvent"));
    if (n > 0)
        CF_TRY(settle(m, ncclAllReduce(buf, buf, (size_t)n, element, ncclSum, m->nccl, m->stream),
                      "ncclAllReduce"));
    CF_TRY(check_cuda(m, cudaEventRecord(s->done, m->stream), "cudaEventRecord"));
    s->active = true;
    return CF_OK;
}

static cf_err nccl_sum_start_after(cf_comm *c, void *buf, int64_t n, cf_sum_type type, void *event,
                                   int *ticket)
{
    nccl_comm *m = (nccl_comm *)c;
    *ticket = 0;
    if (n < 0) return cf_fail(CF_E_UNEXPECTED, "sum of %lld elements", (long long)n);
    CF_TRY(check_alive(m));
    CF_TRY(find_slot(m, ticket));
    return start_after(m, *ticket, buf, n, type, event);
}

static cf_err nccl_sum_start(cf_comm *c, void *buf, int64_t n, cf_sum_type type, int *ticket)
{
    nccl_comm *m = (nccl_comm *)c;
    *ticket = 0;
    if (n < 0) return cf_fail(CF_E_UNEXPECTED, "sum of %lld elements", (long long)n);
    CF_TRY(check_alive(m));
    CF_TRY(find_slot(m, ticket));
    cudaEvent_t filled = m->sums[*ticket].filled;
    CF_TRY(check_cuda(m, cudaEventRecord(filled, m->queue), "cudaEventRecord"));
    return start_after(m, *ticket, buf, n, type, filled);
}

static cf_err nccl_progress(cf_comm *c)
{
    return look_for_errors((nccl_comm *)c);
}

/* The device stands still until the host has seen the sum and goes on: nothing sleeps here, other
 * threads get the core in between. */
static cf_err nccl_wait(cf_comm *c, int ticket)
{
    enum { LOOKS = 64 }; /* at the event for each look for errors */
    nccl_comm *m = (nccl_comm *)c;
    int64_t start = cf_clock_ns();
    if (ticket < 0 || ticket >= CF_COMM_MAX_PENDING || !m->sums[ticket].active)
        return cf_fail(CF_E_UNEXPECTED, "ticket %d is none of a sum", ticket);
    for (unsigned look = 0;; look++) {
        cudaError_t code = cudaEventQuery(m->sums[ticket].done);
        if (code == cudaSuccess) break;
        if (code != cudaErrorNotReady) {
            give_up(m);
            return check_cuda(m, code, "a sum");
        }
        sched_yield();
        if (look % LOOKS != 0) continue;
        CF_TRY(look_for_errors(m));
        if (cf_clock_ns() - start > m->deadline_ns) {
            give_up(m);
            return too_late(m, "a sum");
        }
    }
    m->sums[ticket].active = false;
    return CF_OK;
}

/* ---- the rest is the host comm's ------------------------------------------------------------- */

static cf_err nccl_broadcast(cf_comm *c, void *buf, size_t bytes, int root)
{
    nccl_comm *m = (nccl_comm *)c;
    return m->host->ops->broadcast(m->host, buf, bytes, root);
}

static cf_err nccl_highest(cf_comm *c, int mine, int *value, int *rank)
{
    nccl_comm *m = (nccl_comm *)c;
    return m->host->ops->highest(m->host, mine, value, rank);
}

static cf_err nccl_barrier(cf_comm *c)
{
    nccl_comm *m = (nccl_comm *)c;
    return m->host->ops->barrier(m->host);
}

static void nccl_give_up(cf_comm *c)
{
    give_up((nccl_comm *)c);
}

static void free_cuda(nccl_comm *m)
{
    for (int i = 0; i < CF_COMM_MAX_PENDING; i++) {
        if (m->sums[i].filled != NULL) (void)cudaEventDestroy(m->sums[i].filled);
        if (m->sums[i].done != NULL) (void)cudaEventDestroy(m->sums[i].done);
    }
    if (m->stream != NULL) (void)cudaStreamDestroy(m->stream);
}

/* With a sum under way, or after an error, there is nothing to wait for: the others may be gone. */
static void nccl_destroy(cf_comm *c)
{
    nccl_comm *m = (nccl_comm *)c;
    if (m == NULL) return;
    for (int i = 0; i < CF_COMM_MAX_PENDING; i++)
        if (m->sums[i].active) give_up(m);
    if (m->nccl != NULL && settle(m, ncclCommFinalize(m->nccl), "ncclCommFinalize") == CF_OK)
        (void)ncclCommDestroy(m->nccl);
    free_cuda(m);
    m->host->ops->destroy(m->host);
    free(m);
}

static const cf_comm_ops nccl_ops = {.name = "nccl",
                                     .memory = CF_MEMORY_DEVICE,
                                     .sum_start = nccl_sum_start,
                                     .sum_start_after = nccl_sum_start_after,
                                     .progress = nccl_progress,
                                     .wait = nccl_wait,
                                     .broadcast = nccl_broadcast,
                                     .highest = nccl_highest,
                                     .barrier = nccl_barrier,
                                     .give_up = nccl_give_up,
                                     .destroy = nccl_destroy};

/* ---- setting up ------------------------------------------------------------------------------ */

static cf_err make_cuda(nccl_comm *m)
{
    int least = 0, greatest = 0;
    CF_TRY(check_cuda(m, cudaDeviceGetStreamPriorityRange(&least, &greatest),
                      "cudaDeviceGetStreamPriorityRange"));
    /* Ahead of the compute: a sum's few blocks are what the other ranks wait for. */
    CF_TRY(check_cuda(m, cudaStreamCreateWithPriority(&m->stream, cudaStreamNonBlocking, greatest),
                      "cudaStreamCreateWithPriority"));
    for (int i = 0; i < CF_COMM_MAX_PENDING; i++) {
        nccl_sum *s = &m->sums[i];
        CF_TRY(check_cuda(m, cudaEventCreateWithFlags(&s->filled, cudaEventDisableTiming),
                          "cudaEventCreateWithFlags"));
        CF_TRY(check_cuda(m, cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming),
                          "cudaEventCreateWithFlags"));
    }
    return CF_OK;
}

/* No rank joins unless every rank can: one that does not come would leave the others waiting for
 * the deadline. */
static cf_err join(nccl_comm *m)
{
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    memset(&id, 0, sizeof id);
    config.blocking = 0;
    cf_err err = make_cuda(m);
    if (err == CF_OK && m->base.rank == 0)
        err = check_nccl(m, ncclGetUniqueId(&id), "ncclGetUniqueId");
    CF_TRY(cf_comm_agree(m->host, err));
    CF_TRY(m->host->ops->broadcast(m->host, &id, sizeof id, 0));
    return settle(m, ncclCommInitRankConfig(&m->nccl, m->base.size, id, m->base.rank, &config),
                  "ncclCommInitRankConfig");
}

cf_err cf_comm_nccl_create(cf_comm *host, const cf_nccl_options *options, cf_comm **out)
{
    char name[256] = "unknown";
    nccl_comm *m = NULL;
    *out = NULL;
    CF_TRY(cf_new(&m, 1, sizeof *m));
    m->base = (cf_comm){.ops = &nccl_ops, .rank = host->rank, .size = host->size};
    m->host = host;
    m->queue = options->queue;
    m->deadline_ns = options->deadline_ns > 0 ? options->deadline_ns : DEADLINE_NS;
    (void)gethostname(name, sizeof name - 1);
    snprintf(m->who, sizeof m->who, "rank %d on host %s", host->rank, name);
    cf_err err = join(m);
    if (err != CF_OK) {
        give_up(m);
        free_cuda(m);
        free(m);
        return err;
    }
    *out = &m->base;
    return CF_OK;
}
