#include "worker/set_up.h"

#include <stdlib.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/card.h"
#include "worker/tuning.h"

/* Collective over `comm`: the highest error of its ranks. A rank that only echoes another's error
 * lets that one speak first. */
static cf_err agree(cf_worker *w, cf_comm *comm, cf_err mine)
{
    cf_heart_doing(w->reporter.heart, CF_DOING_AWAIT_SET_UP, -1, 0);
    cf_err err = cf_comm_agree(comm, mine);
    cf_heart_doing(w->reporter.heart, CF_DOING_SET_UP, -1, 0);
    if (mine == CF_OK && err != CF_OK) w->echo = true;
    return err;
}

/* Collective over all workers: the same, and a point where a stop is heeded: either all of them go
 * on or none. */
static cf_err agree_all(cf_worker *w, cf_err mine)
{
    cf_err err = mine;
    if (err == CF_OK) err = cf_reporter_listen(&w->reporter);
    if (err == CF_OK && w->reporter.stop) err = CF_E_REQUEUE;
    cf_heart_doing(w->reporter.heart, CF_DOING_AWAIT_SET_UP, -1, 0);
    cf_err highest = cf_comm_agree(w->all, err);
    cf_heart_doing(w->reporter.heart, CF_DOING_SET_UP, -1, 0);
    if (err != CF_OK && err != CF_E_REQUEUE) return err;
    if (highest == CF_E_REQUEUE) return cf_fail(CF_E_REQUEUE, "stopped before the first step");
    if (highest != CF_OK) w->echo = true;
    return highest;
}

/* Leader and followers take up the same step of the same checkpoint. */
static cf_err resume(cf_worker *w, cf_trainer *t)
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
    if (w->group->rank != 0) cf_heart_doing(w->reporter.heart, CF_DOING_AWAIT_SET_UP, t->fold, 0);
    cf_err sent = w->group->ops->broadcast(w->group, word, sizeof word, 0);
    cf_heart_doing(w->reporter.heart, CF_DOING_SET_UP, t->fold, 0);
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

/* The leader's disk takes a checkpoint of full size and gives it back, before any work is done.
 * Once for each rank that saves, whatever its folds: they share a file system and are of one size;
 * each time a job starts, since a resumed one may meet a disk that has filled up. A rank whose
 * folds are all finished saves nothing. */
static cf_err prove_disk(cf_worker *w)
{
    char dir[CF_PATH_MAX];
    void *block = NULL;
    cf_checkpoint *c = NULL;
    cf_trainer *t = NULL;
    for (int f = 0; f < w->n_folds && t == NULL; f++)
        if (w->trainers[f].step < w->trainers[f].total_steps) t = &w->trainers[f];
    if (w->group->rank != 0 || t == NULL) return CF_OK;
    CF_TRY(cf_reporter_fold_dir(&w->reporter, t->fold, dir, sizeof dir));
    CF_TRY(cf_new(&c, 1, sizeof *c));
    int64_t start_ns = cf_clock_ns();
    cf_err err = cf_trainer_snapshot(t, w->plan.data_hash, w->config_yaml, c, &block);
    if (err == CF_OK) err = cf_store_prove(dir, c);
    /* A first word on how long it takes to save all, for the end of the job's time. */
    w->reporter.longest_save_ns = (cf_clock_ns() - start_ns) * w->n_folds;
    free(c->entries);
    free(block);
    free(c);
    return err;
}

/* Once a job: what of model.init the networks start from. */
static void tell_start(const cf_worker *w)
{
    const cf_trainer *t = &w->trainers[0];
    if (w->all->rank != 0 || w->config.model_init[0] == '\0' || t->step > 0) return;
    cf_log_info("%s: %d of %d tensors of the network start there%s%s", w->config.model_init,
                t->started.n, w->engine.graph->n_params,
                t->started.classifier_left ? "; the classifier starts at random: " : "",
                t->started.why);
}

static cf_err set_up_folds(cf_worker *w, int group)
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
    tell_start(w);
    cf_itinerary_init(&w->now, w->n_folds, step, total);
    w->ahead = w->now;
    return CF_OK;
}

/* Which device this worker has, and which everybody else. */
static cf_err take_seats(cf_worker *w)
{
    char device[256];
    int rank = 0, me = w->all->rank;
    MPI_Comm_rank(w->job->control, &rank);
    rank += w->job->rank_offset;
    cf_err err = cf_engine_open(&w->engine, &w->config, &w->cells.scheme, w->job->local_index,
                                (int)w->config.run_threads);
    w->engine.init_hash = w->plan.init_hash;
    if (err == CF_OK) err = cf_new(&w->seats, (size_t)w->all->size, sizeof *w->seats);
    if (err == CF_OK) err = cf_seat_take(&w->engine, rank, &w->seats[me]);
    if (err == CF_OK) w->seats[me].strangers = w->job->strangers;
    CF_TRY(agree_all(w, err));
    CF_TRY(cf_seats_gather(w->all, w->seats));
    if (!w->engine.ops->on_device) return CF_OK;
    w->engine.ops->describe(w->engine.backend, device, sizeof device);
    cf_log_info("rank %d on host %s: GPU %s, %s", rank, w->seats[me].host, w->seats[me].device,
                device);
    return CF_OK;
}

/* Collective over all workers, whose groups form side by side. */
static cf_err join_group(cf_worker *w, int group)
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
    CF_TRY(agree_all(w, err));
    err = cf_vote_create(w->job->workers, group, me, &w->vote);
    return agree_all(w, err);
}

/* Collective over all workers: what is wrong with the card is said before anything is allocated,
 * and the first compiles before the others (tuning.h). */
static cf_err compile_programs(cf_worker *w, int group)
{
    int me = w->all->rank, n_folds = 0;
    bool alone = me == 0 || !w->engine.ops->on_device;
    for (int fold = 0; fold < w->plan.n_folds; fold++)
        n_folds += w->plan.group_of_fold[fold] == group;
    cf_err err = cf_card_check(&w->engine, &w->cells.scheme, n_folds, &w->seats[me],
                               cf_seat_sharers(w->seats, w->all->size, me));
    CF_TRY(agree_all(w, err));
    if (alone) err = cf_tuning_compile(&w->engine, w->plan.run_dir, CF_TUNING_FIRST);
    CF_TRY(agree_all(w, err));
    if (!alone) err = cf_tuning_compile(&w->engine, w->plan.run_dir, CF_TUNING_FOLLOW);
    return agree_all(w, err);
}

static cf_err create_loaders(cf_worker *w)
{
    int batch = (int)w->config.train_micro_batch;
    cf_raw_room room;
    cf_err err = cf_card_hold(w->all, &w->engine, &w->cells, w->seats, &room);
    CF_TRY(agree_all(w, err));
    if (w->engine.ops->augments) {
        CF_TRY(cf_loader_create_raw(&w->cells, &w->config, batch, &room, &w->loader));
        return cf_loader_create_raw(&w->cells, &w->config, batch, &room, &w->test_loader);
    }
    CF_TRY(cf_loader_create(&w->cells, &w->config, batch, &w->loader));
    return cf_loader_create(&w->cells, &w->config, batch, &w->test_loader);
}

cf_err cf_worker_set_up(cf_worker *w)
{
    int me = 0;
    MPI_Comm_rank(w->job->workers, &me);
    int group = w->plan.group_of_worker[me];
    cf_heart_doing(w->reporter.heart, CF_DOING_AWAIT_SET_UP, -1, 0);
    CF_TRY(cf_comm_mpi_create(w->job->workers, 0, me, &w->all));
    cf_heart_doing(w->reporter.heart, CF_DOING_SET_UP, -1, 0);
    CF_TRY(take_seats(w));
    CF_TRY(join_group(w, group));
    CF_TRY(compile_programs(w, group));
    for (int i = 0; i < 2; i++) CF_TRY(cf_step_sums_init(&w->slots[i], &w->engine));
    CF_TRY(cf_store_create(&w->store));
    w->reporter.config = &w->config;
    w->reporter.run_dir = w->plan.run_dir;
    w->reporter.leader = w->group->rank == 0;
    CF_TRY(set_up_folds(w, group));
    cf_err err = prove_disk(w);
    CF_TRY(agree(w, w->group, err));
    w->departure = cf_step_sums_departure(&w->engine, w->group, w->n_folds);
    if (w->departure == CF_DEPART_AS_READY)
        cf_log_debug("one fold: its sums travel range by range during the backward pass");
    return create_loaders(w);
}
