#include "worker/group.h"

#include <string.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/comm/comm_staged.h"
#include "kernels/nccl.h"

/* ---- seats ----------------------------------------------------------------------------------- */

static cf_err take(const cf_backend_ops *ops, int device, int job_rank, cf_seat *seat)
{
    memset(seat, 0, sizeof *seat);
    seat->rank = job_rank;
    if (gethostname(seat->host, sizeof seat->host - 1) != 0) strcpy(seat->host, "unknown");
    if (!ops->on_device) return CF_OK;
    if (ops->identity == NULL) { /* then all may sit on one */
        strcpy(seat->device, "unknown");
        return CF_OK;
    }
    return ops->identity(device, seat->device);
}

cf_err cf_seat_take(const cf_engine *e, int job_rank, cf_seat *seat)
{
    return take(e->ops, e->device, job_rank, seat);
}

cf_err cf_seat_find(const char *device, int local_index, int job_rank, cf_seat *seat)
{
    const cf_backend_ops *ops = NULL;
    CF_TRY(cf_backend_find(device, &ops));
    return take(ops, cf_engine_device(ops, local_index), job_rank, seat);
}

cf_err cf_seats_gather(cf_comm *workers, cf_seat *seats)
{
    for (int r = 0; r < workers->size; r++)
        CF_TRY(workers->ops->broadcast(workers, &seats[r], sizeof *seats, r));
    return CF_OK;
}

static bool same_device(const cf_seat *a, const cf_seat *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->device, b->device) == 0;
}

int cf_seat_sharers(const cf_seat *seats, int n, int me)
{
    int sharers = 0;
    for (int i = 0; i < n; i++) sharers += same_device(&seats[i], &seats[me]);
    return sharers;
}

int cf_seat_turn(const cf_seat *seats, int n, int me)
{
    return cf_seat_sharers(seats, n, me) - cf_seat_sharers(seats + me, n - me, 0);
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* The first two ranks on one device; false when each has its own. */
static bool find_shared(const cf_seat *seats, int n, int *first, int *second)
{
    for (*first = 0; *first < n; ++*first)
        for (*second = *first + 1; *second < n; ++*second)
            if (same_device(&seats[*first], &seats[*second])) return true;
    return false;
}

/* run.device auto may find a GPU on one host and none on another. */
static cf_err check_alike(const cf_seat *seats, int n)
{
    bool first = seats[0].device[0] != '\0';
    for (int i = 1; i < n; i++)
        if ((seats[i].device[0] != '\0') != first)
            return cf_fail(CF_E_DEVICE,
                           "rank %d on host %s trains on %s, rank %d on host %s on %s: set "
                           "run.device to cpu or cuda",
                           seats[0].rank, seats[0].host, first ? "a GPU" : "the CPU", seats[i].rank,
                           seats[i].host, first ? "the CPU" : "a GPU");
    return CF_OK;
}

/* Why NCCL cannot serve this group, as an error. */
static cf_err check_nccl(const cf_seat *seats, int n, bool has_nccl)
{
    int a = 0, b = 0;
    if (seats[0].device[0] == '\0')
        return cf_fail(CF_E_DEVICE, "run.comm is nccl, but the workers train without a GPU; "
                                    "expected auto or mpi");
    if (!has_nccl)
        return cf_fail(CF_E_DEVICE, "run.comm is nccl, but this program was built without NCCL; "
                                    "expected auto or mpi");
    if (find_shared(seats, n, &a, &b))
        return cf_fail(CF_E_DEVICE,
                       "run.comm is nccl, but ranks %d and %d share GPU %s of host %s, which NCCL "
                       "does not do: start one worker for each GPU, or leave run.comm at auto",
                       seats[a].rank, seats[b].rank, seats[a].device, seats[a].host);
    return CF_OK;
}

cf_err cf_group_choose(const cf_seat *seats, int n, enum cf_run_comm wanted, bool has_nccl,
                       cf_transport *transport)
{
    int a = 0, b = 0;
    *transport = CF_TRANSPORT_HOST;
    CF_TRY(check_alike(seats, n));
    if (wanted == CF_RUN_COMM_NCCL) {
        CF_TRY(check_nccl(seats, n, has_nccl));
        *transport = CF_TRANSPORT_NCCL;
        return CF_OK;
    }
    if (n == 1 || seats[0].device[0] == '\0') return CF_OK;
    bool nccl = wanted == CF_RUN_COMM_AUTO && has_nccl && !find_shared(seats, n, &a, &b);
    *transport = nccl ? CF_TRANSPORT_NCCL : CF_TRANSPORT_STAGED;
    return CF_OK;
}

/* ---- making ---------------------------------------------------------------------------------- */

static cf_err stage_copy_out(void *ctx, void *host_dst, const void *src, size_t bytes)
{
    const cf_engine *e = ctx;
    return e->ops->copy_out(e->backend, host_dst, src, bytes);
}

static cf_err stage_copy_in(void *ctx, void *dst, const void *host_src, size_t bytes)
{
    const cf_engine *e = ctx;
    return e->ops->copy_in(e->backend, dst, host_src, bytes);
}

static cf_err stage_alloc(void *ctx, size_t bytes, void **out)
{
    const cf_engine *e = ctx;
    return e->ops->alloc_host(e->backend, bytes, out);
}

static void stage_free(void *ctx, void *p)
{
    const cf_engine *e = ctx;
    e->ops->free_host(e->backend, p);
}

static cf_err create_staged(cf_comm *host, const cf_engine *e, cf_comm **out)
{
    const cf_stage stage = {.ctx = (void *)(uintptr_t)e, /* only read */
                            .copy_out = stage_copy_out,
                            .copy_in = stage_copy_in,
                            .alloc_host = stage_alloc,
                            .free_host = stage_free};
    return cf_comm_staged_create(host, &stage, out);
}

cf_err cf_group_create(cf_comm *host, const cf_engine *e, const cf_seat *seats, cf_comm **out)
{
    static const char *const names[] = {"MPI", "MPI, staged through pinned memory", "NCCL"};
    cf_transport transport;
    *out = NULL;
    CF_TRY(cf_group_choose(seats, host->size, (enum cf_run_comm)e->config->run_comm,
                           cf_nccl_is_built(), &transport));
    if (host->rank == 0 && e->ops->on_device && host->size > 1)
        cf_log_info("gradients of %d ranks are summed over %s", host->size, names[transport]);
    if (transport == CF_TRANSPORT_NCCL) {
        const cf_nccl_options options = {.queue = e->ops->queue(e->backend)};
        return cf_nccl_create(host, &options, out);
    }
    if (transport == CF_TRANSPORT_STAGED) return create_staged(host, e, out);
    *out = host; /* moved */
    return CF_OK;
}
