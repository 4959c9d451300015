#include "launch/sweep_lanes.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "coordinator/coordinator.h"
#include "coordinator/sweep_folder.h"
#include "coordinator/sweep_report.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/job.h"
#include "launch/report_images.h"
#include "launch/signals.h"
#include "launch/sweep_queue.h"

/* After an error the other lanes have so long to save. */
#define SAVE_GRACE_NS (120LL * 1000000000)
#define LOOK_NS       (20LL * 1000000)

typedef struct lane {
    cf_sweep_lanes *whole; /* borrowed */
    cf_sweep_place place;
    pthread_t thread;
    int point, next; /* under way, and taken already; -1: none */
    bool through;    /* has no more points; or has failed */
    cf_err err;      /* OK, or REQUEUE */
} lane;

struct cf_sweep_lanes {
    int n_ranks;
    int64_t start_ns;
    cf_stop_word stop;
    lane *lanes; /* owned, [queue.n_lanes] */
    pthread_t reporter;
    pthread_mutex_t mutex; /* of what follows */
    cf_sweep_queue queue;
    int n_running;     /* lanes */
    bool stopped;      /* a lane was, before it was through */
    bool failing;      /* one is ending the job */
    bool reporting;    /* the reporter was started */
    bool closed;       /* nothing more is to be done: the lanes let their workers go */
    cf_err report_err; /* OK, or REQUEUE */
    cf_buf table;      /* of the report */
};

void cf_sweep_die(int n_ranks, cf_err err, const char *text)
{
    cf_log_error("%s", text);
    if (n_ranks > 1) cf_job_abort(err);
    _exit((int)err);
}

static void lock(cf_sweep_lanes *s)
{
    pthread_mutex_lock(&s->mutex);
}

static void unlock(cf_sweep_lanes *s)
{
    pthread_mutex_unlock(&s->mutex);
}

/* ---- the end of all ---------------------------------------------------------------------------
 */

/* Whether this failure is the first: it ends the job, with its code. */
static bool is_first_failure(cf_sweep_lanes *s)
{
    lock(s);
    bool first = !s->failing;
    s->failing = true;
    unlock(s);
    return first;
}

/* Removes the lock behind the others' backs, who take nothing more. */
static void end_job(cf_sweep_lanes *s, cf_err err, const char *text)
{
    lock(s);
    cf_run_lock_release(s->queue.lock);
    s->queue.lock = NULL;
    cf_sweep_die(s->n_ranks, err, text);
}

static cf_err go_on(void *lanes)
{
    char reason[400], storage[32];
    cf_sweep_lanes *s = lanes;
    int number = cf_signals_caught();
    if (cf_stop_word_heard(&s->stop, reason))
        return cf_fail(CF_E_REQUEUE, "the report is left: %s", reason);
    if (number == 0) return CF_OK;
    return cf_fail(CF_E_REQUEUE, "the report is left: signal %s", cf_signal_name(number, storage));
}

/* Over all points, while all lanes wait and still listen. */
static cf_err write_report(cf_sweep_lanes *s)
{
    const cf_sweep_patience patience = {go_on, s};
    cf_err err = cf_sweep_report_write(s->queue.sweep.dir, &patience, &s->table);
    if (err == CF_E_REQUEUE) cf_log_info("%s", cf_err_text());
    if (err == CF_OK || err == CF_E_REQUEUE) return err;
    if (is_first_failure(s)) end_job(s, err, cf_err_text());
    for (;;) pause();
}

static void *reporter_thread(void *argument)
{
    cf_sweep_lanes *s = argument;
    cf_err err = write_report(s);
    lock(s);
    s->report_err = err;
    s->closed = true;
    unlock(s);
    return NULL;
}

/* Under the mutex. The lane has no more points; the last one that comes here sees to the report. */
static cf_err leave(lane *l)
{
    cf_sweep_lanes *s = l->whole;
    l->through = true;
    if (--s->n_running > 0 || s->failing) return CF_OK;
    /* A lane that was through just before the stop has left its last points to nobody. */
    s->stopped = s->stopped || s->queue.n_taken < s->queue.n_todo;
    s->closed = s->stopped;
    if (s->closed) return CF_OK;
    if (pthread_create(&s->reporter, NULL, reporter_thread, s) != 0)
        return cf_fail(CF_E_UNEXPECTED, "cannot start the report's thread");
    s->reporting = true;
    return CF_OK;
}

/* ---- a lane -----------------------------------------------------------------------------------
 */

/* Under the mutex. */
static cf_err take(lane *l, bool whole)
{
    char reason[400];
    cf_sweep_lanes *s = l->whole;
    if (l->through) return CF_OK;
    s->stopped = s->stopped || !whole;
    if (!cf_stop_word_heard(&s->stop, reason)) CF_TRY(cf_sweep_queue_take(&s->queue, &l->next));
    return l->next < 0 ? leave(l) : CF_OK;
}

static cf_err next_job(void *context, bool whole, cf_lane_next *next)
{
    lane *l = context;
    cf_sweep_lanes *s = l->whole;
    if (whole && !l->through) cf_sweep_folder_forget_error(s->queue.sweep.dir, l->point);
    lock(s);
    cf_err err = take(l, whole);
    *next = l->next >= 0 ? CF_LANE_MORE : s->closed ? CF_LANE_OVER : CF_LANE_WAIT;
    unlock(s);
    return err;
}

static cf_err train_point(lane *l)
{
    cf_sweep_lanes *s = l->whole;
    const cf_train_job *t = &s->queue.sweep.jobs[l->point];
    cf_buf table = {0};
    cf_report_images images;
    cf_report_source source;
    const cf_coordinator_lane part = {.rank_offset = l->place.rank_offset,
                                      .start_ns = s->start_ns,
                                      .stop = &s->stop,
                                      .next = next_job,
                                      .context = l};
    cf_report_images_init(&images, &source);
    bool terminal = isatty(STDERR_FILENO) != 0 || getenv("CYTOFOLD_TERMINAL") != NULL;
    const cf_coordinator_job c = {.control = l->place.control,
                                  .first_worker = l->place.first_worker,
                                  .n_workers = l->place.n_workers,
                                  .config = &t->config,
                                  .run_dir = t->run_dir,
                                  .only_fold = -1,
                                  .cost = t->cost,
                                  .checkpoint_bytes = t->checkpoint_bytes,
                                  .signal_caught = cf_signals_caught,
                                  .report_source = &source,
                                  .terminal = terminal && s->queue.n_lanes == 1,
                                  .lane = &part};
    cf_err err = cf_coordinator_run(&c, &table);
    cf_buf_fini(&table);
    cf_report_images_fini(&images);
    return err;
}

/* Lanes that may still save. */
static int count_running(cf_sweep_lanes *s)
{
    lock(s);
    int n = s->n_running;
    unlock(s);
    return n;
}

/* The others save what they have; then the job ends with the first error. Does not return. */
static void fail(lane *l, cf_err err)
{
    cf_sweep_lanes *s = l->whole;
    cf_buf text = {0};
    bool first = is_first_failure(s);
    cf_buf_printf(&text, "(");
    cf_sweep_describe(&s->queue.sweep.sweep, l->point, &text);
    cf_buf_printf(&text, ") %s", cf_err_text());
    cf_log_error("%s; the other points are saved first", cf_buf_text(&text));
    if (err != CF_E_BUSY && !l->through)
        cf_sweep_folder_note_error(s->queue.sweep.dir, l->point, cf_buf_text(&text));
    cf_stop_word_say(&s->stop, "another point has failed");
    int64_t deadline = cf_clock_ns() + SAVE_GRACE_NS;
    lock(s);
    s->n_running -= !l->through;
    l->through = true;
    unlock(s);
    while (!first) pause(); /* until the process ends */
    while (count_running(s) > 0 && cf_clock_ns() < deadline) cf_sleep_ns(LOOK_NS);
    end_job(s, err, cf_buf_text(&text));
}

static void *lane_thread(void *argument)
{
    lane *l = argument;
    l->err = CF_OK;
    while (l->point >= 0 && l->err == CF_OK) {
        char name[32];
        cf_sweep_name(l->point, name);
        cf_log_about(name);
        cf_buf values = {0};
        cf_sweep_describe(&l->whole->queue.sweep.sweep, l->point, &values);
        cf_log_info("%s", cf_buf_text(&values));
        cf_buf_fini(&values);
        l->next = -1;
        l->err = train_point(l);
        if (l->err == CF_OK) l->point = l->next;
    }
    if (l->err == CF_E_REQUEUE)
        cf_log_info("%s", cf_err_text());
    else if (l->err != CF_OK)
        fail(l, l->err);
    return NULL;
}

/* ---- before and after -------------------------------------------------------------------------
 */

cf_err cf_sweep_lanes_open(const cf_train_wishes *wishes, int n_workers, int n_ranks,
                           cf_sweep_lanes **out, int *n_lanes)
{
    *n_lanes = 0;
    CF_TRY(cf_new(out, 1, sizeof **out));
    cf_sweep_lanes *s = *out;
    s->n_ranks = n_ranks;
    s->start_ns = cf_clock_ns();
    pthread_mutex_init(&s->mutex, NULL);
    cf_stop_word_init(&s->stop);
    CF_TRY(cf_sweep_queue_open(wishes, n_workers, &s->queue));
    *n_lanes = s->queue.n_lanes;
    return CF_OK;
}

static cf_err start_lane(cf_sweep_lanes *s, const cf_sweep_place *place, lane *l)
{
    *l = (lane){.whole = s, .place = *place, .point = -1, .next = -1};
    lock(s);
    cf_err err = cf_sweep_queue_take(&s->queue, &l->point);
    unlock(s);
    if (err == CF_OK && pthread_create(&l->thread, NULL, lane_thread, l) != 0)
        err = cf_fail(CF_E_UNEXPECTED, "cannot start a coordinator's thread");
    return err;
}

cf_err cf_sweep_lanes_start(cf_sweep_lanes *s, const cf_sweep_place *places)
{
    sigset_t all, before;
    cf_err err = CF_OK;
    CF_TRY(cf_new(&s->lanes, (size_t)s->queue.n_lanes, sizeof *s->lanes));
    s->n_running = s->queue.n_lanes;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < s->queue.n_lanes && err == CF_OK; i++)
        err = start_lane(s, &places[i], &s->lanes[i]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err != CF_OK && is_first_failure(s)) end_job(s, err, cf_err_text());
    return err;
}

cf_err cf_sweep_lanes_finish(cf_sweep_lanes *s)
{
    cf_err err = CF_OK;
    for (int i = 0; i < s->queue.n_lanes; i++) {
        pthread_join(s->lanes[i].thread, NULL);
        if (s->lanes[i].err != CF_OK) err = s->lanes[i].err;
    }
    if (s->reporting) pthread_join(s->reporter, NULL);
    if (s->stopped) err = CF_E_REQUEUE;
    if (s->queue.n_lanes == 0) s->report_err = write_report(s);
    if (err == CF_OK) err = s->report_err;
    if (err == CF_E_REQUEUE)
        cf_log_info("stopped; the same command goes on with what is left in %s",
                    s->queue.sweep.dir);
    else
        fputs(cf_buf_text(&s->table), stdout);
    fflush(stdout);
    cf_run_lock_release(s->queue.lock);
    s->queue.lock = NULL;
    return err;
}

void cf_sweep_lanes_destroy(cf_sweep_lanes *s)
{
    if (s == NULL) return;
    cf_sweep_queue_close(&s->queue);
    cf_buf_fini(&s->table);
    cf_stop_word_fini(&s->stop);
    pthread_mutex_destroy(&s->mutex);
    free(s->lanes);
    free(s);
}
