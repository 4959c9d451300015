#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/channel.h"
#include "proto/control.h"
#include "worker/card.h"
#include "worker/data/loader.h"
#include "worker/evaluate.h"
#include "worker/group.h"
#include "worker/itinerary.h"
#include "worker/store.h"
#include "worker/sums.h"
#include "worker/trainer.h"
#include "worker/tuning.h"

#define PLAN_DEADLINE_NS (600LL * 1000000000)
#define ECHO_DELAY_NS    (2LL * 1000000000)
#define LISTEN_NS        (10LL * 1000000000)

typedef struct worker {
    const cf_worker_job *job;
    cf_channel *channel;
    cf_msg_plan plan;
    cf_config config;
    cf_cells cells;
    cf_engine engine;
    cf_comm *all;   /* every worker, host memory */
    cf_comm *group; /* those that share this one's folds */
    cf_seat *seats; /* owned, [all->size] */
    cf_departure departure;
    cf_loader *loader;      /* training batches, in the itinerary's order */
    cf_loader *test_loader; /* test batches */
    cf_store *store;
    cf_trainer trainers[CF_MAX_FOLDS];
    int n_folds;
    cf_itinerary now, ahead;
    int64_t n_ahead;       /* stops that `ahead` is in front of `now` */
    cf_step_sums slots[2]; /* two take turns: one computes, one travels */
    bool echo;             /* the error on the way out is another rank's */
    cf_err fault;          /* numeric error of this rank, until the group has heard of it */
    char fault_text[1024];
    char *config_yaml; /* owned: for checkpoints */
    cf_reporter reporter;
} worker;

/* ---- talking to the coordinator ------------------------------------------------------------- */

static cf_err send_hello(worker *w)
{
    cf_message m = {.kind = CF_MSG_HELLO};
    if (gethostname(m.hello.host, sizeof m.hello.host) != 0) strcpy(m.hello.host, "unknown");
    m.hello.pid = getpid();
    return cf_reporter_send(&w->reporter, &m);
}

/* Waits for one message of the given kind; deadline_ns 0: for ever, since the launcher ends us when
 * the coordinator is gone. */
static cf_err receive_kind(worker *w, cf_message_kind kind, int64_t deadline_ns, cf_message *m)
{
    bool got = false;
    int rank = 0;
    void *bytes = NULL;
    size_t n = 0;
    int64_t wait_ns = deadline_ns > 0 ? deadline_ns : LISTEN_NS;
    do {
        CF_TRY(cf_channel_receive(w->channel, wait_ns, &got, &rank, &bytes, &n));
    } while (!got && deadline_ns == 0);
    if (!got)
        return cf_fail(CF_E_HANG, "no word from the coordinator for %lld s",
                       (long long)(deadline_ns / 1000000000));
    cf_err err = cf_message_unpack(bytes, n, m);
    free(bytes);
    if (err == CF_OK && m->kind != kind) {
        cf_message_fini(m);
        err = cf_fail(CF_E_DEVICE, "message %d from the coordinator, expected %d", (int)m->kind,
                      (int)kind);
    }
    return err;
}

static cf_err receive_plan(worker *w)
{
    cf_message m;
    CF_TRY(receive_kind(w, CF_MSG_PLAN, PLAN_DEADLINE_NS, &m));
    w->plan = m.plan; /* moved */
    CF_TRY(
        cf_config_parse(w->plan.config_path, w->plan.config, strlen(w->plan.config), &w->config));
    CF_TRY(cf_cells_open(w->config.data_cells, &w->cells));
    if (w->cells.content_hash != w->plan.cells_hash || w->cells.n != w->plan.n_images)
        return cf_fail(CF_E_DATA,
                       "%s holds other images here (%016llx) than at the coordinator (%016llx)",
                       w->config.data_cells, (unsigned long long)w->cells.content_hash,
                       (unsigned long long)w->plan.cells_hash);
    return CF_OK;
}

/* Collective over `comm`: the highest error of its ranks. A rank that only echoes another's error
 * lets that one speak first. */
static cf_err agree(worker *w, cf_comm *comm, cf_err mine)
{
    cf_err err = cf_comm_agree(comm, mine);
    if (mine == CF_OK && err != CF_OK) w->echo = true;
    return err;
}

/* ---- setting up ------------------------------------------------------------------------------ */

/* Leader and followers take up the same step of the same checkpoint. */
static cf_err resume(worker *w, cf_trainer *t)
{
    char dir[CF_PATH_MAX];
    cf_checkpoint *c = NULL;
    int64_t word[2] = {CF_OK, -1}; /* the leader's error, step to resume; -1: from the start */
    bool found = false;
    CF_TRY(cf_reporter_fold_dir(&w->reporter, t->fold, dir, sizeof dir));
    CF_TRY(cf_new(&c, 1, sizeof *c));
    cf_err err = CF_OK;
    if (w->group->rank == 0) {
        err = cf_store_load_newest(dir, c, &found);
        word[0] = err;
        word[1] = found ? c->step : -1;
    }
    cf_err sent = w->group->ops->broadcast(w->group, word, sizeof word, 0);
    if (err == CF_OK) err = sent;
    if (err == CF_OK && w->group->rank != 0 && word[0] == CF_OK && word[1] >= 0)
        err = cf_store_load_step(dir, word[1], c);
    if (err == CF_OK && word[0] == CF_OK && word[1] >= 0) {
        err = cf_where(cf_trainer_restore(t, w->plan.data_hash, c), "%s", dir);
        if (err == CF_OK && w->group->rank == 0)
            cf_log_info("fold %d goes on at step %lld of %lld", t->fold, (long long)t->step,
                        (long long)t->total_steps);
    }
    cf_checkpoint_fini(c);
    free(c);
    return agree(w, w->group, err);
}

static cf_err set_up_folds(worker *w, int group)
{
    int64_t step[CF_MAX_FOLDS], total[CF_MAX_FOLDS];
    for (int fold = 0; fold < w->plan.n_folds; fold++) {
        if (w->plan.group_of_fold[fold] != group) continue;
        cf_trainer *t = &w->trainers[w->n_folds];
        w->n_folds++;
        cf_err err = cf_trainer_init(t, &w->engine, &w->cells, w->plan.fold_of, fold);
        CF_TRY(agree(w, w->group, err));
        CF_TRY(resume(w, t));
        step[w->n_folds - 1] = t->step;
        total[w->n_folds - 1] = t->total_steps;
    }
    cf_itinerary_init(&w->now, w->n_folds, step, total);
    w->ahead = w->now;
    return CF_OK;
}

/* Which device this worker has, and which everybody else. */
static cf_err take_seats(worker *w)
{
    char device[256];
    int rank = 0, me = w->all->rank;
    MPI_Comm_rank(w->job->control, &rank);
    cf_err err = cf_engine_open(&w->engine, &w->config, &w->cells.scheme, w->job->local_index,
                                (int)w->config.run_threads);
    if (err == CF_OK) err = cf_new(&w->seats, (size_t)w->all->size, sizeof *w->seats);
    if (err == CF_OK) err = cf_seat_take(&w->engine, rank, &w->seats[me]);
    CF_TRY(agree(w, w->all, err));
    CF_TRY(cf_seats_gather(w->all, w->seats));
    if (!w->engine.ops->on_device) return CF_OK;
    w->engine.ops->describe(w->engine.backend, device, sizeof device);
    cf_log_info("rank %d on host %s: GPU %s, %s", rank, w->seats[me].host, w->seats[me].device,
                device);
    return CF_OK;
}

/* Collective over all workers, whose groups form side by side. */
static cf_err join_group(worker *w, int group)
{
    int me = w->all->rank, n = 0;
    cf_comm *host = NULL;
    cf_seat *seats = NULL;
    CF_TRY(cf_comm_mpi_create(w->job->workers, group, me, &host));
    cf_err err = cf_new(&seats, (size_t)host->size, sizeof *seats);
    CF_TRY(agree(w, w->all, err));
    for (int i = 0; i < w->all->size; i++)
        if (w->plan.group_of_worker[i] == group) seats[n++] = w->seats[i];
    err = cf_group_create(host, &w->engine, seats, &w->group);
    free(seats);
    return agree(w, w->all, err);
}

/* Collective over all workers: what is wrong with the card is said before anything is allocated,
 * and the first compiles before the others (tuning.h). */
static cf_err compile_programs(worker *w, int group)
{
    int me = w->all->rank, n_folds = 0;
    bool alone = me == 0 || !w->engine.ops->on_device;
    for (int fold = 0; fold < w->plan.n_folds; fold++)
        n_folds += w->plan.group_of_fold[fold] == group;
    cf_err err = cf_card_check(&w->engine, &w->cells.scheme, n_folds, &w->seats[me],
                               cf_seat_sharers(w->seats, w->all->size, me));
    CF_TRY(agree(w, w->all, err));
    if (alone) err = cf_tuning_compile(&w->engine, w->plan.run_dir, CF_TUNING_FIRST);
    CF_TRY(agree(w, w->all, err));
    if (!alone) err = cf_tuning_compile(&w->engine, w->plan.run_dir, CF_TUNING_FOLLOW);
    return agree(w, w->all, err);
}

static cf_err create_loaders(worker *w)
{
    int batch = (int)w->config.train_micro_batch;
    cf_raw_room room;
    cf_err err = cf_card_hold(w->all, &w->engine, &w->cells, w->seats, &room);
    CF_TRY(agree(w, w->all, err));
    if (w->engine.ops->augments) {
        CF_TRY(cf_loader_create_raw(&w->cells, &w->config, batch, &room, &w->loader));
        return cf_loader_create_raw(&w->cells, &w->config, batch, &room, &w->test_loader);
    }
    CF_TRY(cf_loader_create(&w->cells, &w->config, batch, &w->loader));
    return cf_loader_create(&w->cells, &w->config, batch, &w->test_loader);
}

static cf_err set_up(worker *w)
{
    int me = 0;
    MPI_Comm_rank(w->job->workers, &me);
    int group = w->plan.group_of_worker[me];
    CF_TRY(cf_comm_mpi_create(w->job->workers, 0, me, &w->all));
    CF_TRY(take_seats(w));
    CF_TRY(join_group(w, group));
    CF_TRY(compile_programs(w, group));
    for (int i = 0; i < 2; i++) CF_TRY(cf_step_sums_init(&w->slots[i], &w->engine));
    CF_TRY(cf_store_create(&w->store));
    w->reporter.config = &w->config;
    w->reporter.run_dir = w->plan.run_dir;
    w->reporter.leader = w->group->rank == 0;
    CF_TRY(set_up_folds(w, group));
    w->departure = cf_step_sums_departure(&w->engine, w->group, w->n_folds);
    if (w->departure == CF_DEPART_AS_READY)
        cf_log_debug("one fold: its sums travel range by range during the backward pass");
    return create_loaders(w);
}

/* ---- the step loop --------------------------------------------------------------------------- */

/* Keeps the loader's queue filled: requests of the stops ahead, in the itinerary's order. */
static cf_err request_ahead(worker *w)
{
    int n_micro = (int)(w->config.train_batch / w->config.train_micro_batch);
    int64_t distance = 2 + w->config.run_prefetch * w->group->size / n_micro;
    while (w->n_ahead < distance) {
        cf_itinerary peek = w->ahead;
        int f = 0;
        int64_t step = 0;
        if (!cf_itinerary_next(&peek, &f, &step)) return CF_OK;
        /* Draws are kept for two epochs: the one being trained and the next. */
        cf_trainer *t = &w->trainers[f];
        int64_t per_epoch = t->sampler.steps_per_epoch;
        if (step / per_epoch > t->step / per_epoch + 1) return CF_OK;
        w->ahead = peek;
        w->n_ahead++;
        for (int micro = w->group->rank; micro < n_micro; micro += w->group->size) {
            cf_request r = {.n_images = (int)w->config.train_micro_batch,
                            .augment = 1,
                            .fold = t->fold,
                            .epoch = step / per_epoch};
            CF_TRY(cf_trainer_draws(t, step, micro, &r.images, &r.first_draw));
            CF_TRY(cf_loader_request(w->loader, &r));
        }
    }
    return CF_OK;
}

/* Keeps this rank's numeric error until all ranks of the group have stopped after the same step. */
static void keep_fault(worker *w, cf_err err)
{
    w->fault = err;
    snprintf(w->fault_text, sizeof w->fault_text, "%s", cf_err_text());
}

/* Forward and backward of this rank's micro-batches of one step, summed into slot->sums, which then
 * set out. */
static cf_err compute_step(worker *w, int f, cf_step_sums *slot)
{
    const cf_engine *e = &w->engine;
    cf_trainer *t = &w->trainers[f];
    int64_t wait_ns = 0, n_images = 0, start_ns = cf_clock_ns();
    CF_TRY(cf_step_sums_zero(slot, e));
    CF_TRY(cf_trainer_use_for_training(t));
    int n_micro = (int)(w->config.train_batch / w->config.train_micro_batch), n_done = 0;
    for (int micro = w->group->rank; micro < n_micro; micro += w->group->size) {
        cf_prepared p;
        CF_TRY(cf_loader_next(w->loader, &p, &wait_ns));
        w->reporter.wait_ns += wait_ns;
        n_images += p.n_images;
        if (w->fault != CF_OK) continue;
        cf_batch batch = cf_prepared_batch(&p, CF_MODE_TRAIN);
        cf_err err = e->ops->train(e->train, &batch, slot->sums);
        if (err == CF_E_NUMERIC) {
            keep_fault(w, cf_where(err, "fold %d, step %lld, micro-batch %d", t->fold,
                                   (long long)t->step, micro));
            CF_TRY(cf_step_sums_raise_flag(slot, e));
        } else if (err != CF_OK) {
            return err;
        }
        n_done++;
        CF_TRY(w->group->ops->progress(w->group));
    }
    CF_TRY(cf_step_sums_start(slot, e, w->group, w->departure, f, n_done));
    w->reporter.step_ns += cf_clock_ns() - start_ns;
    return cf_reporter_step(&w->reporter, t, n_images);
}

static cf_err save(worker *w, cf_trainer *t)
{
    if (w->group->rank != 0) return CF_OK;
    char dir[CF_PATH_MAX];
    void *block = NULL;
    cf_checkpoint *c = NULL;
    CF_TRY(cf_reporter_fold_dir(&w->reporter, t->fold, dir, sizeof dir));
    CF_TRY(cf_new(&c, 1, sizeof *c));
    cf_err err = cf_trainer_snapshot(t, w->plan.data_hash, w->config_yaml, c, &block);
    if (err == CF_OK) err = cf_store_save(w->store, dir, c);
    free(c->entries);
    free(block);
    free(c);
    return err;
}

static cf_err end_epoch(worker *w, cf_trainer *t)
{
    int64_t epoch = t->step / t->sampler.steps_per_epoch;
    bool last = t->step == t->total_steps;
    CF_TRY(cf_reporter_epoch(&w->reporter, t));
    if (last || epoch % w->config.train_checkpoint_every == 0) CF_TRY(save(w, t));
    int64_t every = w->config.train_evaluate_every;
    if (!last && every > 0 && epoch % every == 0)
        CF_TRY(cf_evaluate(t, w->test_loader, w->group->rank, w->group->size, CF_TEST_CURVE,
                           &w->reporter));
    return CF_OK;
}

/* After sums that carried the flag: a backend that works behind its caller only now says what this
 * rank met. In fp16 that is no error: the step was skipped. */
static cf_err look_into_fault(worker *w, const cf_trainer *t, cf_err update)
{
    const cf_engine *e = &w->engine;
    cf_err err = w->fault == CF_OK && e->ops->fault != NULL ? e->ops->fault(e->train) : CF_OK;
    if (err != CF_OK && err != CF_E_NUMERIC) return err;
    if (update == CF_OK) return CF_OK;
    if (err != CF_OK)
        keep_fault(w, cf_where(err, "fold %d, step %lld", t->fold, (long long)t->step));
    w->echo = w->fault == CF_OK;
    return w->echo ? update : cf_fail(w->fault, "%s", w->fault_text);
}

/* Waits for the sums of a step and applies them. */
static cf_err finish_step(worker *w, cf_step_sums *slot)
{
    if (slot->fold < 0) return CF_OK;
    cf_trainer *t = &w->trainers[slot->fold];
    int64_t start_ns = cf_clock_ns();
    CF_TRY(cf_step_sums_wait(slot, w->group));
    cf_err err = cf_trainer_update(t, slot->sums);
    if (t->flagged) err = look_into_fault(w, t, err);
    CF_TRY(err);
    w->reporter.step_ns += cf_clock_ns() - start_ns;
    return t->step % t->sampler.steps_per_epoch == 0 ? end_epoch(w, t) : CF_OK;
}

/* The whole of training: fold a's sums travel while fold b computes. */
static cf_err run_steps(worker *w)
{
    cf_step_sums *slot = &w->slots[0], *other = &w->slots[1];
    int64_t step = 0;
    int f = 0;
    for (;;) {
        CF_TRY(request_ahead(w));
        if (!cf_itinerary_next(&w->now, &f, &step)) break;
        w->n_ahead--;
        if (other->fold == f) CF_TRY(finish_step(w, other)); /* its weights are needed now */
        CF_TRY(compute_step(w, f, slot));
        CF_TRY(finish_step(w, other));
        cf_step_sums *swap = slot;
        slot = other;
        other = swap;
    }
    return finish_step(w, other);
}

static cf_err run_tests(worker *w)
{
    for (int f = 0; f < w->n_folds; f++) {
        cf_trainer *t = &w->trainers[f];
        CF_TRY(cf_evaluate(t, w->test_loader, w->group->rank, w->group->size, CF_TEST_FINAL,
                           &w->reporter));
        CF_TRY(cf_reporter_phase(&w->reporter, t, CF_PHASE_DONE));
    }
    return cf_store_flush(w->store);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void tear_down(worker *w, cf_err ending)
{
    if (ending != CF_OK && w->group != NULL && w->group->ops->give_up != NULL)
        w->group->ops->give_up(w->group);
    cf_loader_destroy(w->test_loader);
    cf_loader_destroy(w->loader);
    for (int f = 0; f < w->n_folds; f++) cf_trainer_fini(&w->trainers[f]);
    cf_store_destroy(w->store);
    for (int i = 0; i < 2; i++) cf_step_sums_fini(&w->slots[i], &w->engine);
    /* Comms are destroyed collectively: after an error the other ranks may be elsewhere. A group's
     * holds memory of the backend. */
    if (ending == CF_OK && w->group != NULL) w->group->ops->destroy(w->group);
    if (ending == CF_OK && w->all != NULL) w->all->ops->destroy(w->all);
    cf_engine_fini(&w->engine);
    free(w->seats);
    cf_cells_close(&w->cells);
    cf_message m = {.kind = CF_MSG_PLAN, .plan = w->plan};
    cf_message_fini(&m);
    free(w->config_yaml);
}

static cf_err write_config(worker *w)
{
    cf_buf yaml = {0};
    cf_config_write_essential(&w->config, &yaml);
    cf_err err = cf_buf_check(&yaml);
    w->config_yaml = yaml.data; /* moved */
    return err;
}

static cf_err work(worker *w)
{
    CF_TRY(send_hello(w));
    CF_TRY(receive_plan(w));
    CF_TRY(write_config(w));
    CF_TRY(set_up(w));
    CF_TRY(run_steps(w));
    return run_tests(w);
}

/* Tells the coordinator how it ended, and waits for its word when all is well. */
static cf_err take_leave(worker *w, cf_err err)
{
    cf_message m = {.kind = CF_MSG_DONE};
    m.done.code = err;
    if (err != CF_OK) snprintf(m.done.text, sizeof m.done.text, "%s", cf_err_text());
    if (w->echo) cf_sleep_ns(ECHO_DELAY_NS);
    cf_err sent = cf_reporter_send(&w->reporter, &m);
    if (err != CF_OK || sent != CF_OK) return err != CF_OK ? err : sent;
    CF_TRY(receive_kind(w, CF_MSG_BYE, 0, &m));
    cf_message_fini(&m);
    return CF_OK;
}

cf_err cf_worker_run(const cf_worker_job *job)
{
    worker *w = NULL;
    CF_TRY(cf_new(&w, 1, sizeof *w));
    w->job = job;
    w->slots[0].fold = w->slots[1].fold = -1;
    cf_err err = cf_channel_create(job->control, job->coordinator_rank, CF_CHANNEL_TO_COORDINATOR,
                                   &w->channel);
    if (err == CF_OK) {
        w->reporter.channel = w->channel;
        err = work(w);
        err = take_leave(w, err);
        tear_down(w, err);
        cf_reporter_fini(&w->reporter);
        cf_err closed = cf_channel_destroy(w->channel);
        if (err == CF_OK) err = closed;
    }
    free(w);
    return err;
}
