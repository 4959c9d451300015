#include "worker/sums.h"

#include <string.h>

cf_err cf_step_sums_init(cf_step_sums *s, const cf_engine *e)
{
    memset(s, 0, sizeof *s);
    s->fold = -1;
    size_t bytes = (size_t)cf_engine_sums_count(e) * cf_engine_sum_bytes(e);
    return e->ops->alloc(e->backend, bytes, &s->sums);
}

void cf_step_sums_fini(cf_step_sums *s, const cf_engine *e)
{
    if (e->backend != NULL && s->fold < 0) e->ops->free(e->backend, s->sums);
}

cf_err cf_step_sums_zero(cf_step_sums *s, const cf_engine *e)
{
    size_t bytes = (size_t)cf_engine_sums_count(e) * cf_engine_sum_bytes(e);
    return e->ops->zero(e->backend, s->sums, bytes);
}

cf_err cf_step_sums_raise_flag(cf_step_sums *s, const cf_engine *e)
{
    const int64_t flag_i64 = 1;
    const float flag_f32 = 1.0f;
    bool fast = e->config->train_reduce == 1;
    size_t item = cf_engine_sum_bytes(e);
    char *at = (char *)s->sums + (size_t)(cf_engine_sums_count(e) - 1) * item;
    return e->ops->copy_in(e->backend, at, fast ? (const void *)&flag_f32 : (const void *)&flag_i64,
                           item);
}

static int ready_ranges(const cf_engine *e, const cf_ready **ranges)
{
    return e->ops->ready != NULL ? e->ops->ready(e->train, ranges) : 0;
}

cf_departure cf_step_sums_departure(const cf_engine *e, const cf_comm *group, int n_folds)
{
    const cf_ready *ranges = NULL;
    int n = ready_ranges(e, &ranges);
    bool can = group->ops->sum_start_after != NULL && n > 1 && n <= CF_COMM_MAX_PENDING;
    return n_folds == 1 && group->size > 1 && can ? CF_DEPART_AS_READY : CF_DEPART_TOGETHER;
}

static cf_err start_ranges(cf_step_sums *s, const cf_engine *e, cf_comm *group, cf_sum_type type,
                           int n_micro)
{
    const cf_ready *ranges = NULL;
    int n = ready_ranges(e, &ranges);
    for (int i = 0; i < n; i++) {
        const cf_ready *r = &ranges[i];
        int *ticket = &s->tickets[s->n_tickets];
        void *at = (char *)s->sums + (size_t)r->first * cf_engine_sum_bytes(e);
        if (n_micro > 0)
            CF_TRY(group->ops->sum_start_after(group, at, r->count, type, r->event, ticket));
        else
            CF_TRY(group->ops->sum_start(group, at, r->count, type, ticket));
        s->n_tickets++;
    }
    return CF_OK;
}

cf_err cf_step_sums_start(cf_step_sums *s, const cf_engine *e, cf_comm *group,
                          cf_departure departure, int fold, int n_micro)
{
    cf_sum_type type = e->config->train_reduce == 1 ? CF_SUM_F32 : CF_SUM_I64;
    s->fold = fold;
    s->n_tickets = 0;
    if (departure == CF_DEPART_AS_READY) return start_ranges(s, e, group, type, n_micro);
    int64_t count = cf_engine_sums_count(e);
    CF_TRY(group->ops->sum_start(group, s->sums, count, type, &s->tickets[0]));
    s->n_tickets = 1;
    return CF_OK;
}

cf_err cf_step_sums_wait(cf_step_sums *s, cf_comm *group)
{
    for (int i = 0; i < s->n_tickets; i++) CF_TRY(group->ops->wait(group, s->tickets[i]));
    s->n_tickets = 0;
    s->fold = -1;
    return CF_OK;
}
