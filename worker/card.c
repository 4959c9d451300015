#include "worker/card.h"

#include "kernels/base/log.h"
#include "worker/memory.h"

/* Left free beside the pixels: what libraries still take when they first run. */
#define RESERVE ((size_t)1 << 30)

/* part: of a card's free bytes, that a worker may take. */
static cf_err too_large(const cf_engine *e, const cf_scheme *scheme, int n_folds,
                        const cf_seat *seat, int sharers, int64_t part, size_t free_bytes,
                        int64_t needed)
{
    const cf_config *c = e->config;
    cf_card_memory memory;
    cf_buf text = {0};
    int64_t micro = 0;
    CF_TRY(cf_card_memory_fit(c, scheme, n_folds, part, &micro, &memory));
    cf_buf_printf(&text, "rank %d on host %s: ", seat->rank, seat->host);
    cf_print_bytes(&text, (double)needed);
    cf_buf_printf(&text, " (%lld bytes) of GPU memory needed for %d %s with train.micro_batch %lld",
                  (long long)needed, n_folds, n_folds == 1 ? "fold" : "folds",
                  (long long)c->train_micro_batch);
    if (sharers > 1) cf_buf_printf(&text, ", by each of %d workers of this GPU", sharers);
    cf_buf_printf(&text, "; ");
    cf_print_bytes(&text, (double)free_bytes);
    cf_buf_printf(&text, " (%zu bytes) are free; ", free_bytes);
    if (micro > 0)
        cf_buf_printf(&text, "train.micro_batch %lld would fit", (long long)micro);
    else
        cf_buf_printf(&text, "no micro-batch of train.batch %lld would fit",
                      (long long)c->train_batch);
    cf_err err = cf_fail(CF_E_DEVICE, "%s", cf_buf_text(&text));
    cf_buf_fini(&text);
    return err;
}

cf_err cf_card_check(const cf_engine *e, const cf_scheme *scheme, int n_folds, const cf_seat *seat,
                     int sharers)
{
    size_t free_bytes = 0, total = 0;
    cf_card_memory memory;
    if (e->ops->memory == NULL || n_folds == 0) return CF_OK;
    CF_TRY(e->ops->memory(e->backend, &free_bytes, &total));
    CF_TRY(cf_card_memory_estimate(e->config, e->graph, n_folds, &memory));
    int64_t part = (int64_t)free_bytes / sharers;
    int all = sharers + seat->strangers;
    if (seat->strangers > 0 && part > (int64_t)total / all) part = (int64_t)total / all;
    if (memory.total <= part) return CF_OK;
    return too_large(e, scheme, n_folds, seat, all, part, free_bytes, memory.total);
}

static cf_err hold(cf_engine *e, const cf_cells *cells, const cf_seat *seat, bool *held)
{
    size_t bytes = (size_t)cells->n * (size_t)cells->height * (size_t)cells->width * 3;
    const char *why = "do not fit the GPU: loaded with each micro-batch";
    cf_buf text = {0};
    if (seat->strangers > 0)
        why = "are loaded with each micro-batch: other lanes have this GPU, too";
    else
        CF_TRY(e->ops->hold_pixels(e->backend, cf_cells_image(cells, 0), bytes, RESERVE, held));
    cf_print_bytes(&text, (double)bytes);
    cf_log_info("rank %d on host %s: images (%s) %s", seat->rank, seat->host, cf_buf_text(&text),
                *held ? "are held on the GPU" : why);
    cf_buf_fini(&text);
    return CF_OK;
}

static cf_err alloc_host(void *ctx, size_t bytes, void **out)
{
    cf_engine *e = ctx;
    return e->ops->alloc_host(e->backend, bytes, out);
}

static void free_host(void *ctx, void *p)
{
    cf_engine *e = ctx;
    e->ops->free_host(e->backend, p);
}

cf_raw_room cf_card_room(cf_engine *e)
{
    return (cf_raw_room){.ctx = e, .alloc_host = alloc_host, .free_host = free_host};
}

cf_err cf_card_hold(cf_comm *workers, cf_engine *e, const cf_cells *cells, const cf_seat *seats,
                    cf_raw_room *room)
{
    int me = workers->rank, n = workers->size, n_turns = 0;
    /* encoded images are decoded when they are needed: there are no pixels to hold */
    bool can = e->ops->augments && e->ops->hold_pixels != NULL && cells->starts == NULL;
    *room = cf_card_room(e);
    for (int i = 0; i < n; i++) {
        int turn = cf_seat_turn(seats, n, i);
        if (seats[i].device[0] != '\0' && turn >= n_turns) n_turns = turn + 1;
    }
    cf_err err = CF_OK;
    for (int turn = 0; turn < n_turns; turn++) {
        if (can && turn == cf_seat_turn(seats, n, me))
            err = hold(e, cells, &seats[me], &room->held);
        CF_TRY(workers->ops->barrier(workers));
    }
    return err;
}
