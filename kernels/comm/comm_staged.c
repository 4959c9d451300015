#include "kernels/comm/comm_staged.h"

#include <stdlib.h>

#include "kernels/base/mem.h"

/* One sum under way. */
typedef struct staged_sum {
    bool active;
    int ticket;   /* of the host comm */
    void *device; /* borrowed until the sum is done */
    size_t bytes;
    void *host; /* owned, pinned, [room]; kept for the next sum */
    size_t room;
} staged_sum;

typedef struct staged_comm {
    cf_comm base;  /* first: a cf_comm * is a staged_comm * */
    cf_comm *host; /* owned */
    cf_stage stage;
    staged_sum sums[CF_COMM_MAX_PENDING];
} staged_comm;

static cf_err reserve(staged_comm *m, staged_sum *s)
{
    if (s->bytes <= s->room) return CF_OK;
    m->stage.free_host(m->stage.ctx, s->host);
    s->host = NULL;
    s->room = 0;
    CF_TRY(m->stage.alloc_host(m->stage.ctx, s->bytes, &s->host));
    s->room = s->bytes;
    return CF_OK;
}

static cf_err staged_sum_start(cf_comm *c, void *buf, int64_t n, cf_sum_type type, int *ticket)
{
    staged_comm *m = (staged_comm *)c;
    int slot = 0;
    *ticket = 0;
    while (slot < CF_COMM_MAX_PENDING && m->sums[slot].active) slot++;
    if (slot == CF_COMM_MAX_PENDING)
        return cf_fail(CF_E_UNEXPECTED, "expected at most %d sums under way, found one more",
                       CF_COMM_MAX_PENDING);
    staged_sum *s = &m->sums[slot];
    size_t item = type == CF_SUM_I64 ? sizeof(int64_t) : sizeof(float);
    if (n < 0 || !cf_size_mul((size_t)n, item, &s->bytes))
        return cf_fail(CF_E_UNEXPECTED, "sum of %lld elements: size overflows", (long long)n);
    CF_TRY(reserve(m, s));
    s->device = buf;
    CF_TRY(m->stage.copy_out(m->stage.ctx, s->host, buf, s->bytes));
    CF_TRY(m->host->ops->sum_start(m->host, s->host, n, type, &s->ticket));
    s->active = true;
    *ticket = slot;
    return CF_OK;
}

static cf_err staged_progress(cf_comm *c)
{
    staged_comm *m = (staged_comm *)c;
    return m->host->ops->progress(m->host);
}

static cf_err staged_wait(cf_comm *c, int ticket)
{
    staged_comm *m = (staged_comm *)c;
    if (ticket < 0 || ticket >= CF_COMM_MAX_PENDING || !m->sums[ticket].active)
        return cf_fail(CF_E_UNEXPECTED, "ticket %d is none of a sum", ticket);
    staged_sum *s = &m->sums[ticket];
    CF_TRY(m->host->ops->wait(m->host, s->ticket));
    s->active = false;
    return m->stage.copy_in(m->stage.ctx, s->device, s->host, s->bytes);
}

static cf_err staged_broadcast(cf_comm *c, void *buf, size_t bytes, int root)
{
    staged_comm *m = (staged_comm *)c;
    return m->host->ops->broadcast(m->host, buf, bytes, root);
}

static cf_err staged_highest(cf_comm *c, int mine, int *value, int *rank)
{
    staged_comm *m = (staged_comm *)c;
    return m->host->ops->highest(m->host, mine, value, rank);
}

static cf_err staged_barrier(cf_comm *c)
{
    staged_comm *m = (staged_comm *)c;
    return m->host->ops->barrier(m->host);
}

static void staged_destroy(cf_comm *c)
{
    staged_comm *m = (staged_comm *)c;
    if (m == NULL) return;
    for (int i = 0; i < CF_COMM_MAX_PENDING; i++) m->stage.free_host(m->stage.ctx, m->sums[i].host);
    m->host->ops->destroy(m->host);
    free(m);
}

static const cf_comm_ops staged_ops = {.name = "staged",
                                       .memory = CF_MEMORY_DEVICE,
                                       .sum_start = staged_sum_start,
                                       .progress = staged_progress,
                                       .wait = staged_wait,
                                       .broadcast = staged_broadcast,
                                       .highest = staged_highest,
                                       .barrier = staged_barrier,
                                       .destroy = staged_destroy};

cf_err cf_comm_staged_create(cf_comm *host, const cf_stage *stage, cf_comm **out)
{
    staged_comm *m = NULL;
    *out = NULL;
    if (host->ops->memory != CF_MEMORY_HOST)
        return cf_fail(CF_E_UNEXPECTED, "staged sums need a comm of host memory, found %s",
                       host->ops->name);
    CF_TRY(cf_new(&m, 1, sizeof *m));
    m->base = (cf_comm){.ops = &staged_ops, .rank = host->rank, .size = host->size};
    m->host = host; /* moved */
    m->stage = *stage;
    *out = &m->base;
    return CF_OK;
}
