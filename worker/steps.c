#include "worker/steps.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/evaluate.h"
#include "worker/replicas.h"

/* Places in a step's vote. */
enum { VOTE_STOP, VOTE_SAVE, VOTE_DIGEST, VOTE_NOT_DIGEST };

/* Keeps the loader's queue filled: requests of the stops ahead, in the itinerary's order. */
static cf_err request_ahead(cf_worker *w)
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
static void keep_fault(cf_worker *w, cf_err err)
{
    w->fault = err;
    snprintf(w->fault_text, sizeof w->fault_text, "%s", cf_err_text());
}

/* Minutes since the fold was last saved; the leader's clock alone counts, as it alone saves. */
static bool save_is_due(const cf_worker *w, const cf_trainer *t)
{
    double minutes = (double)(cf_clock_ns() - t->saved_ns) / 60e9;
    return w->group->rank == 0 && w->config.train_checkpoint_minutes > 0 &&
           minutes >= w->config.train_checkpoint_minutes;
}

/* What one rank knows and all must, with the sums of the same step. */
static cf_err start_vote(cf_worker *w, const cf_trainer *t, const cf_step_sums *slot)
{
    const cf_digest_pair *digest = &w->digests[slot - w->slots];
    CF_TRY(cf_reporter_listen(&w->reporter));
    const int64_t values[CF_VOTE_VALUES] = {
        [VOTE_STOP] = w->reporter.stop,
        [VOTE_SAVE] = save_is_due(w, t),
        [VOTE_DIGEST] = digest->h,
        [VOTE_NOT_DIGEST] = digest->not_h,
    };
    return cf_vote_start(w->vote, (int)(slot - w->slots), values);
}

/* What this rank does from here on, for the watch. */
static void doing(const cf_worker *w, cf_doing what, const cf_trainer *t)
{
    cf_heart_doing(w->reporter.heart, what, t->fold, t->step);
}

/* The two halves of a step, for the shares of time and for how long the next may take at most. */
static void count_time(cf_worker *w, int64_t start_ns, int64_t *longest_ns)
{
    int64_t ns = cf_clock_ns() - start_ns;
    w->reporter.step_ns += ns;
    if (ns > *longest_ns) *longest_ns = ns;
    w->reporter.longest_step_ns = w->longest_compute_ns + w->longest_finish_ns;
}

/* Forward and backward of this rank's micro-batches of one step, summed into slot->sums, which then
 * set out. */
static cf_err compute_step(cf_worker *w, int f, cf_step_sums *slot)
{
    const cf_engine *e = &w->engine;
    cf_trainer *t = &w->trainers[f];
    int64_t wait_ns = 0, n_images = 0, start_ns = cf_clock_ns();
    doing(w, CF_DOING_COMPUTE, t);
    CF_TRY(cf_replicas_digest(w, t, CF_REPLICAS_ROUTINE, &w->digests[slot - w->slots]));
    CF_TRY(cf_step_sums_zero(slot, e));
    CF_TRY(cf_trainer_use_for_training(t));
    int n_micro = (int)(w->config.train_batch / w->config.train_micro_batch), n_done = 0;
    for (int micro = w->group->rank; micro < n_micro; micro += w->group->size) {
        cf_prepared p;
        doing(w, w->fed ? CF_DOING_DATA : CF_DOING_FIRST_DATA, t);
        CF_TRY(cf_loader_next(w->loader, &p, &wait_ns));
        doing(w, CF_DOING_COMPUTE, t);
        w->fed = true;
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
    CF_TRY(start_vote(w, t, slot));
    count_time(w, start_ns, &w->longest_compute_ns);
    return cf_reporter_step(&w->reporter, t, n_images);
}

/* Collective over the group, though the leader alone writes: what is not the same on all ranks is
 * not saved. */
static cf_err save(cf_worker *w, cf_trainer *t)
{
    if (t->saved_step == t->step) return CF_OK;
    CF_TRY(cf_replicas_check(w, t));
    t->saved_step = t->step;
    t->saved_ns = cf_clock_ns();
    if (w->group->rank != 0) return CF_OK;
    doing(w, CF_DOING_SAVE, t);
    char dir[CF_PATH_MAX];
    void *block = NULL;
    cf_checkpoint *c = NULL;
    int64_t start_ns = cf_clock_ns();
    CF_TRY(cf_reporter_fold_dir(&w->reporter, t->fold, dir, sizeof dir));
    CF_TRY(cf_new(&c, 1, sizeof *c));
    cf_err err = cf_trainer_snapshot(t, w->plan.data_hash, w->config_yaml, c, &block);
    if (err == CF_OK) err = cf_store_save(w->store, dir, c);
    free(c->entries);
    free(block);
    free(c);
    int64_t ns = (cf_clock_ns() - start_ns + cf_store_longest_ns(w->store)) * w->n_folds;
    if (ns > w->reporter.longest_save_ns) w->reporter.longest_save_ns = ns;
    return err;
}

static cf_err end_epoch(cf_worker *w, cf_trainer *t)
{
    int64_t epoch = t->step / t->sampler.steps_per_epoch;
    bool last = t->step == t->total_steps;
    CF_TRY(cf_reporter_epoch(&w->reporter, t));
    if (last || epoch % w->config.train_checkpoint_every == 0) CF_TRY(save(w, t));
    int64_t every = w->config.train_evaluate_every;
    cf_err err = CF_OK;
    if (!last && every > 0 && epoch % every == 0)
        err = cf_evaluate(t, w->test_loader, w->group->rank, w->group->size, CF_TEST_CURVE,
                          &w->reporter);
    /* The group stops together, after the next vote; a cut curve has no point here. */
    return err == CF_E_REQUEUE ? CF_OK : err;
}

/* After sums that carried the flag: a backend that works behind its caller only now says what this
 * rank met. In fp16 that is no error: the step was skipped. */
static cf_err look_into_fault(cf_worker *w, const cf_trainer *t, cf_err update)
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
static cf_err finish_step(cf_worker *w, cf_step_sums *slot)
{
    if (slot->fold < 0) return CF_OK;
    cf_trainer *t = &w->trainers[slot->fold];
    int64_t start_ns = cf_clock_ns();
    int64_t votes[CF_VOTE_VALUES];
    doing(w, CF_DOING_SUMS, t);
    CF_TRY(cf_step_sums_wait(slot, w->group));
    CF_TRY(cf_vote_finish(w->vote, (int)(slot - w->slots), votes));
    if (votes[VOTE_STOP]) w->leaving = true;
    CF_TRY(cf_replicas_compare(w, t, w->digests[slot - w->slots],
                               (cf_digest_pair){votes[VOTE_DIGEST], votes[VOTE_NOT_DIGEST]}));
    cf_err err = cf_trainer_update(t, slot->sums);
    if (t->flagged) err = look_into_fault(w, t, err);
    CF_TRY(err);
    count_time(w, start_ns, &w->longest_finish_ns);
    if (t->step % t->sampler.steps_per_epoch == 0) return end_epoch(w, t);
    return votes[VOTE_SAVE] ? save(w, t) : CF_OK;
}

/* A stop that was heard of during set-up: no step is begun. */
static cf_err vote_before_steps(cf_worker *w)
{
    int64_t votes[CF_VOTE_VALUES] = {0};
    CF_TRY(cf_reporter_listen(&w->reporter));
    votes[VOTE_STOP] = w->reporter.stop;
    cf_heart_doing(w->reporter.heart, CF_DOING_AWAIT_SET_UP, -1, 0);
    CF_TRY(cf_vote_start(w->vote, CF_VOTE_SLOTS - 1, votes));
    CF_TRY(cf_vote_finish(w->vote, CF_VOTE_SLOTS - 1, votes));
    w->leaving = votes[VOTE_STOP] != 0;
    return CF_OK;
}

/* All folds of the group on disk where they stand; one that was not begun needs no file. */
static cf_err leave(cf_worker *w)
{
    for (int f = 0; f < w->n_folds; f++)
        if (w->trainers[f].step > 0) CF_TRY(save(w, &w->trainers[f]));
    cf_heart_doing(w->reporter.heart, CF_DOING_SAVE, -1, 0);
    CF_TRY(cf_store_flush(w->store));
    for (int f = 0; f < w->n_folds && w->reporter.leader; f++)
        CF_TRY(cf_reporter_phase(&w->reporter, &w->trainers[f], CF_PHASE_SAVED));
    return cf_fail(CF_E_REQUEUE, "stopped and saved");
}

/* Every step that is left, until the group has voted to leave: fold a's sums travel while fold b
 * computes. */
static cf_err run_steps(cf_worker *w)
{
    cf_step_sums *slot = &w->slots[0], *other = &w->slots[1];
    int64_t step = 0;
    int f = 0;
    while (!w->leaving) {
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

cf_err cf_worker_train(cf_worker *w)
{
    CF_TRY(vote_before_steps(w));
    CF_TRY(run_steps(w));
    return w->leaving ? leave(w) : CF_OK;
}

cf_err cf_worker_test(cf_worker *w)
{
    for (int f = 0; f < w->n_folds; f++) {
        cf_trainer *t = &w->trainers[f];
        cf_err err = cf_evaluate(t, w->test_loader, w->group->rank, w->group->size, CF_TEST_FINAL,
                                 &w->reporter);
        if (err == CF_E_REQUEUE) return leave(w);
        CF_TRY(err);
        CF_TRY(cf_reporter_phase(&w->reporter, t, CF_PHASE_DONE));
    }
    cf_heart_doing(w->reporter.heart, CF_DOING_SAVE, -1, 0);
    return cf_store_flush(w->store);
}
