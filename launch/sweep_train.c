#include "launch/sweep_train.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/coordinator.h"
#include "coordinator/lanes.h"
#include "coordinator/run_lock.h"
#include "coordinator/sweep_folder.h"
#include "coordinator/sweep_report.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/idle.h"
#include "launch/report_images.h"
#include "launch/signals.h"
#include "worker/worker.h"

/* After an error the other lanes have so long to save; who failed there waits a little longer, for
 * rank 0 has the words and ends the job. */
#define SAVE_GRACE_NS  (120LL * 1000000000)
#define ABORT_GRACE_NS (150LL * 1000000000)
#define LOOK_NS        (20LL * 1000000)

typedef struct sweep_train sweep_train;

typedef struct lane {
    sweep_train *whole; /* borrowed */
    int first, n;       /* workers */
    MPI_Comm control;   /* owned: rank 0 and the lane's workers */
    pthread_t thread;
    bool has_thread;
    int point, next; /* under way, and taken already; -1: none */
    cf_err err;      /* OK, or REQUEUE */
} lane;

struct sweep_train {
    const cf_sweep_train_job *job;
    int n_lanes;
    lane *lanes; /* owned, [n_lanes]; elsewhere than on rank 0 only its own has a communicator */
    /* Rank 0's. */
    cf_train_sweep *sweep; /* owned */
    int32_t *todo;         /* owned, [n_todo]: points in the order in which they are taken */
    int n_todo;
    cf_run_lock *lock; /* owned: of the sweep's folder */
    cf_stop_word stop;
    int64_t start_ns;
    pthread_mutex_t mutex;  /* of what follows */
    int n_taken, n_running; /* points; lanes */
    bool failing;           /* a lane is ending the job */
};

/* The whole job ends here: the other ranks cannot be told. */
static void die(const sweep_train *s, cf_err err, const char *text)
{
    cf_log_error("%s", text);
    if (s->job->job->size > 1) cf_job_abort(err);
    _exit((int)err);
}

/* ---- a lane's coordinator, on rank 0 ----------------------------------------------------------
 */

/* -1: no more. */
static int take_point(sweep_train *s)
{
    pthread_mutex_lock(&s->mutex);
    int point = s->n_taken < s->n_todo ? s->todo[s->n_taken++] : -1;
    pthread_mutex_unlock(&s->mutex);
    return point;
}

static bool take_next(void *context)
{
    lane *l = context;
    char reason[400];
    if (!cf_stop_word_heard(&l->whole->stop, reason)) l->next = take_point(l->whole);
    return l->next >= 0;
}

/* Whether this lane's failure is the first: it ends the job, with its code. */
static bool is_first_failure(sweep_train *s)
{
    pthread_mutex_lock(&s->mutex);
    bool first = !s->failing;
    s->failing = true;
    pthread_mutex_unlock(&s->mutex);
    return first;
}

static int count_running(sweep_train *s, int change)
{
    pthread_mutex_lock(&s->mutex);
    int n = s->n_running += change;
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* World rank of a worker. */
static int rank_of_worker(const sweep_train *s, int worker)
{
    return worker + (s->job->beside ? 0 : 1);
}

/* Whether rank 0 is a worker of this lane, and the first of its communicator in both roles. */
static bool has_rank_0(const sweep_train *s, const lane *l)
{
    return s->job->beside && l->first == 0;
}

/* From ranks of the lane's communicator to those of the job. */
static int rank_offset(const sweep_train *s, const lane *l)
{
    return rank_of_worker(s, l->first) - (has_rank_0(s, l) ? 0 : 1);
}

static cf_err train_point(lane *l)
{
    sweep_train *s = l->whole;
    const cf_train_job *t = &s->sweep->jobs[l->point];
    cf_buf table = {0};
    cf_report_images images;
    cf_report_source source;
    const cf_coordinator_lane part = {.rank_offset = rank_offset(s, l),
                                      .start_ns = s->start_ns,
                                      .stop = &s->stop,
                                      .more = take_next,
                                      .context = l};
    cf_report_images_init(&images, &source);
    bool terminal = isatty(STDERR_FILENO) != 0 || getenv("CYTOFOLD_TERMINAL") != NULL;
    const cf_coordinator_job c = {.control = l->control,
                                  .first_worker = has_rank_0(s, l) ? 0 : 1,
                                  .n_workers = l->n,
                                  .config = &t->config,
                                  .run_dir = t->run_dir,
                                  .only_fold = -1,
                                  .cost = t->cost,
                                  .checkpoint_bytes = t->checkpoint_bytes,
                                  .signal_caught = cf_signals_caught,
                                  .report_source = &source,
                                  .terminal = terminal && s->n_lanes == 1,
                                  .lane = &part};
    cf_err err = cf_coordinator_run(&c, &table);
    cf_buf_fini(&table);
    cf_report_images_fini(&images);
    if (err == CF_OK) cf_sweep_folder_forget_error(s->sweep->dir, l->point);
    return err;
}

/* The others save what they have; then the job ends with the first error. Does not return. */
static void fail(lane *l, cf_err err)
{
    sweep_train *s = l->whole;
    cf_buf text = {0};
    bool first = is_first_failure(s);
    cf_buf_printf(&text, "(");
    cf_sweep_describe(&s->sweep->sweep, l->point, &text);
    cf_buf_printf(&text, ") %s", cf_err_text());
    cf_log_error("%s; the other points are saved first", cf_buf_text(&text));
    if (err != CF_E_BUSY) cf_sweep_folder_note_error(s->sweep->dir, l->point, cf_buf_text(&text));
    cf_stop_word_say(&s->stop, "another point has failed");
    int64_t deadline = cf_clock_ns() + SAVE_GRACE_NS;
    count_running(s, -1);
    while (!first) cf_sleep_ns(LOOK_NS); /* until the process ends */
    while (count_running(s, 0) > 0 && cf_clock_ns() < deadline) cf_sleep_ns(LOOK_NS);
    cf_run_lock_release(s->lock);
    die(s, err, cf_buf_text(&text));
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
        cf_sweep_describe(&l->whole->sweep->sweep, l->point, &values);
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
    count_running(l->whole, -1);
    return NULL;
}

static cf_err start_lanes(sweep_train *s)
{
    sigset_t all, before;
    int number = 0;
    s->n_running = s->n_lanes;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < s->n_lanes && number == 0; i++) {
        s->lanes[i].point = take_point(s);
        number = pthread_create(&s->lanes[i].thread, NULL, lane_thread, &s->lanes[i]);
        s->lanes[i].has_thread = number == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number != 0) return cf_fail(CF_E_UNEXPECTED, "cannot start a coordinator's thread");
    return CF_OK;
}

/* OK when all points are done, REQUEUE when a lane was stopped. */
static cf_err join_lanes(sweep_train *s)
{
    cf_err err = CF_OK;
    for (int i = 0; i < s->n_lanes; i++) {
        pthread_join(s->lanes[i].thread, NULL);
        if (s->lanes[i].err != CF_OK) err = s->lanes[i].err;
    }
    /* A lane that was through just before the stop has left its last points to nobody. */
    return s->n_taken < s->n_todo ? CF_E_REQUEUE : err;
}

/* ---- before and after, on rank 0 --------------------------------------------------------------
 */

/* Longest first; behind them what has failed before, which must not keep the others from their
 * turn.
 */
static cf_err order(sweep_train *s, const int32_t *points, const cf_lanes *lanes)
{
    int n = 0;
    for (int failed = 0; failed < 2; failed++)
        for (int i = 0; i < s->n_todo; i++) {
            cf_buf text = {0};
            int point = points[lanes->order[i]];
            cf_err err = cf_sweep_folder_error(s->sweep->dir, point, &text);
            if ((text.len > 0) == (failed == 1)) s->todo[n++] = point;
            cf_buf_fini(&text);
            CF_TRY(err);
        }
    return CF_OK;
}

/* Points that are to be trained, and how many lanes are best for them. */
static cf_err plan(sweep_train *s, int n_workers)
{
    const cf_train_sweep *sweep = s->sweep;
    cf_grid_cost *costs = NULL;
    int32_t *points = NULL;
    cf_lanes lanes = {0};
    cf_err err = CF_OK;
    size_t n = (size_t)sweep->sweep.n_points;
    int groups = (int)sweep->jobs[0].config.run_groups;
    CF_TRY(cf_new(&s->todo, n, sizeof *s->todo));
    CF_TRY(cf_new(&costs, n, sizeof *costs));
    CF_TRY_GOTO(cf_new(&points, n, sizeof *points), out);
    for (int p = 0; p < sweep->sweep.n_points; p++) {
        if (sweep->done[p]) continue;
        costs[s->n_todo] = sweep->jobs[p].cost;
        points[s->n_todo++] = p;
    }
    if (s->n_todo == 0) goto out;
    CF_TRY_GOTO(cf_lanes_plan(costs, s->n_todo, n_workers, groups, 0, &lanes), out);
    CF_TRY_GOTO(order(s, points, &lanes), out);
    s->n_lanes = lanes.n_lanes;
out:
    cf_lanes_fini(&lanes);
    free(points);
    free(costs);
    return err;
}

static cf_err prepare(sweep_train *s, int n_workers)
{
    cf_run_lock_times times = cf_run_lock_times_default();
    CF_TRY(cf_new(&s->sweep, 1, sizeof *s->sweep));
    CF_TRY(cf_train_sweep_prepare(s->job->wishes, s->sweep));
    CF_TRY(cf_run_lock_take(s->sweep->dir, -1, &times, &s->lock));
    CF_TRY(cf_train_sweep_look(s->sweep));
    CF_TRY(plan(s, n_workers));
    cf_log_info("sweep of %d points, %d done; %d worker%s in %d lane%s; folder %s",
                s->sweep->sweep.n_points, s->sweep->n_done, n_workers, n_workers == 1 ? "" : "s",
                s->n_lanes, s->n_lanes == 1 ? "" : "s", s->sweep->dir);
    return CF_OK;
}

static cf_err print_report(const sweep_train *s)
{
    cf_buf table = {0};
    cf_err err = cf_sweep_report_write(s->sweep->dir, &table);
    if (err == CF_OK) fputs(cf_buf_text(&table), stdout);
    fflush(stdout);
    cf_buf_fini(&table);
    return err;
}

/* The lanes are through, or nothing was left to be done. */
static cf_err finish(sweep_train *s)
{
    cf_err err = join_lanes(s);
    if (err == CF_E_REQUEUE)
        cf_log_info("stopped; the same command goes on with what is left in %s", s->sweep->dir);
    if (err == CF_OK) err = print_report(s);
    cf_run_lock_release(s->lock);
    s->lock = NULL;
    return err;
}

/* ---- all ranks --------------------------------------------------------------------------------
 */

/* Collective over the job: rank 0's word. Waits without spinning: it may take minutes. */
static cf_err share(const sweep_train *s, int *word)
{
    MPI_Request request;
    cf_idle idle = {0};
    int done = 0;
    CF_TRY(
        cf_mpi_check(MPI_Ibcast(word, 1, MPI_INT, 0, s->job->job->data, &request), "MPI_Ibcast"));
    for (;;) {
        CF_TRY(cf_mpi_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (done) return CF_OK;
        cf_idle_patiently(&idle, 10000000);
    }
}

/* Collective over rank 0 and the lane's workers. */
static cf_err make_control(const sweep_train *s, lane *l, int number)
{
    const cf_job *job = s->job->job;
    MPI_Group all = MPI_GROUP_NULL, mine = MPI_GROUP_NULL;
    int *ranks = NULL, n = 0;
    CF_TRY(cf_new(&ranks, (size_t)l->n + 1, sizeof *ranks));
    if (!has_rank_0(s, l)) ranks[n++] = 0;
    for (int i = 0; i < l->n; i++) ranks[n++] = rank_of_worker(s, l->first + i);
    MPI_Comm_group(job->control, &all);
    cf_err err = cf_mpi_check(MPI_Group_incl(all, n, ranks, &mine), "MPI_Group_incl");
    if (err == CF_OK)
        err = cf_mpi_check(MPI_Comm_create_group(job->control, mine, number, &l->control),
                           "MPI_Comm_create_group");
    if (mine != MPI_GROUP_NULL) MPI_Group_free(&mine);
    MPI_Group_free(&all);
    free(ranks);
    return err;
}

/* The lane that this rank works in; NULL for a rank that only coordinates. */
static lane *find_own(const sweep_train *s)
{
    int me = s->job->job->rank - (s->job->beside ? 0 : 1);
    for (int i = 0; i < s->n_lanes; i++)
        if (me >= s->lanes[i].first && me < s->lanes[i].first + s->lanes[i].n) return &s->lanes[i];
    return NULL;
}

/* Collective over the job. */
static cf_err make_lanes(sweep_train *s, int n_workers)
{
    CF_TRY(cf_new(&s->lanes, (size_t)s->n_lanes, sizeof *s->lanes));
    for (int i = 0; i < s->n_lanes; i++) {
        lane *l = &s->lanes[i];
        *l = (lane){.whole = s, .control = MPI_COMM_NULL, .point = -1, .next = -1};
        cf_lanes_workers(n_workers, s->n_lanes, i, &l->first, &l->n);
    }
    const lane *own = find_own(s);
    for (int i = 0; i < s->n_lanes; i++)
        if (s->job->job->rank == 0 || own == &s->lanes[i]) CF_TRY(make_control(s, &s->lanes[i], i));
    return CF_OK;
}

/* Devices and cores are shared with the other lanes' workers of this host. */
static cf_err find_host_mates(const sweep_train *s, cf_worker_job *w)
{
    MPI_Comm local = MPI_COMM_NULL;
    CF_TRY(cf_mpi_check(
        MPI_Comm_split_type(s->job->workers, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
        "MPI_Comm_split_type"));
    MPI_Comm_size(local, &w->local_workers);
    MPI_Comm_rank(local, &w->local_index);
    return cf_mpi_check(MPI_Comm_free(&local), "MPI_Comm_free");
}

/* Point after point. Only OK and REQUEUE return. */
static cf_err work(const sweep_train *s, const lane *own)
{
    cf_worker_job w = {.control = own->control,
                       .coordinator_rank = 0,
                       .signal_caught = cf_signals_caught,
                       .rank_offset = rank_offset(s, own),
                       .lane = true};
    bool more = true;
    CF_TRY(find_host_mates(s, &w));
    CF_TRY(cf_mpi_check(MPI_Comm_split(s->job->workers, own->first, s->job->job->rank, &w.workers),
                        "MPI_Comm_split"));
    cf_err err = CF_OK;
    while (err == CF_OK && more) err = cf_worker_run(&w, &more);
    if (err != CF_OK && err != CF_E_REQUEUE) {
        cf_sleep_ns(ABORT_GRACE_NS); /* the coordinator has the message and ends the job */
        die(s, err, cf_err_text());
    }
    cf_log_about("");
    MPI_Comm_free(&w.workers);
    return err;
}

static cf_err run(sweep_train *s)
{
    bool first = s->job->job->rank == 0;
    int n_workers = s->job->job->size - (s->job->beside ? 0 : 1), code = 0;
    if (first) CF_TRY(prepare(s, n_workers));
    CF_TRY(share(s, &s->n_lanes));
    CF_TRY(make_lanes(s, n_workers));
    if (first) CF_TRY(start_lanes(s));
    const lane *own = find_own(s);
    cf_err err = CF_OK;
    if (own != NULL) err = work(s, own);
    if (err != CF_OK && err != CF_E_REQUEUE) return err;
    if (first) {
        err = finish(s);
        if (err != CF_OK && err != CF_E_REQUEUE) return err;
        code = (int)err;
    }
    CF_TRY(share(s, &code));
    return code == CF_OK ? CF_OK : cf_fail((cf_err)code, "stopped");
}

static void clean_up(sweep_train *s)
{
    for (int i = 0; i < s->n_lanes && s->lanes != NULL; i++)
        if (s->lanes[i].control != MPI_COMM_NULL) MPI_Comm_free(&s->lanes[i].control);
    if (s->sweep != NULL) cf_train_sweep_fini(s->sweep);
    free(s->sweep);
    free(s->todo);
    free(s->lanes);
    cf_stop_word_fini(&s->stop);
    pthread_mutex_destroy(&s->mutex);
}

cf_err cf_sweep_train(const cf_sweep_train_job *job)
{
    sweep_train s = {.job = job, .start_ns = cf_clock_ns()};
    pthread_mutex_init(&s.mutex, NULL);
    cf_stop_word_init(&s.stop);
    cf_err err = run(&s);
    if (err != CF_OK && err != CF_E_REQUEUE) {
        cf_run_lock_release(s.lock);
        die(&s, err, cf_err_text());
    }
    clean_up(&s);
    return err;
}
