#include "coordinator/coordinator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/board.h"
#include "coordinator/bootstrap.h"
#include "coordinator/event_line.h"
#include "coordinator/gather.h"
#include "coordinator/report.h"
#include "coordinator/run_folder.h"
#include "coordinator/space.h"
#include "coordinator/stop.h"
#include "coordinator/tensorboard.h"
#include "coordinator/walltime.h"
#include "coordinator/watch.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/channel.h"
#include "proto/control.h"
#include "proto/stop_rules.h"

#define HELLO_DEADLINE_NS (300LL * 1000000000) /* without run.hang_timeout */
#define HELLO_MARGIN_NS   (5LL * 1000000000)   /* ranks do not start in the same instant */
#define LISTEN_NS         (100LL * 1000000)

enum { TEXT_MAX = 2048 }; /* of an error, at most */

typedef struct coordinator {
    const cf_coordinator_job *job;
    cf_channel *channel;
    cf_cells cells;
    cf_run_folder run;
    cf_grid grid;
    cf_gather gather;
    cf_board board;
    cf_msg_hello *hellos; /* owned, [n_workers] */
    cf_watch *watch;      /* NULL: none; ends with the process */
    cf_stop stop;
    cf_walltime *walltime;       /* owned */
    cf_tensorboard *tensorboard; /* owned; NULL: none */
    int n_done;
    bool more; /* another job of this lane follows */
    int64_t start_ns;
    cf_buf wire;
} coordinator;

/* A worker's rank as the launcher counts. */
static int rank_of(const coordinator *c, int worker)
{
    const cf_coordinator_lane *lane = c->job->lane;
    return c->job->first_worker + worker + (lane != NULL ? lane->rank_offset : 0);
}

/* ---- log.jsonl --------------------------------------------------------------------------------
 */

static cf_err log_start(const coordinator *c)
{
    cf_event_line line;
    cf_event_begin(&line, c->run.resumed ? "resume" : "start", c->start_ns);
    cf_json_string(&line.json, "version", CYTOFOLD_VERSION);
    cf_json_integer(&line.json, "images", c->cells.n);
    cf_json_integer(&line.json, "folds", c->run.n_folds);
    if (c->job->only_fold >= 0) cf_json_integer(&line.json, "fold", c->job->only_fold);
    cf_json_integer(&line.json, "groups", c->grid.n_groups);
    cf_json_array(&line.json, "workers");
    for (int i = 0; i < c->job->n_workers; i++) {
        cf_json_object(&line.json, NULL);
        cf_json_string(&line.json, "host", c->hellos[i].host);
        cf_json_integer(&line.json, "pid", c->hellos[i].pid);
        cf_json_integer(&line.json, "group", c->grid.group_of_worker[i]);
        cf_json_end_object(&line.json);
    }
    cf_json_end_array(&line.json);
    return cf_event_end(&line, &c->run);
}

static cf_err log_stop(const coordinator *c)
{
    cf_event_line line;
    cf_event_begin(&line, "stop", c->start_ns);
    cf_stop_write(&c->stop, &line.json);
    return cf_event_end(&line, &c->run);
}

static cf_err log_finish(const coordinator *c)
{
    cf_event_line line;
    const cf_board *b = &c->board;
    double waiting = b->step_seconds > 0 ? b->wait_seconds / b->step_seconds : 0;
    cf_event_begin(&line, "end", c->start_ns);
    cf_json_number(&line.json, "data_wait_share", waiting);
    cf_json_integer(&line.json, "worker_peak_bytes", b->resident_bytes);
    cf_log_info("done in %.0f s; waiting for data took %.2f %% of the steps; the largest worker "
                "had %.2f GiB",
                (double)(cf_clock_ns() - c->start_ns) * 1e-9, 100 * waiting,
                (double)b->resident_bytes / (1 << 30));
    return cf_event_end(&line, &c->run);
}

/* ---- messages ---------------------------------------------------------------------------------
 */

static cf_err send_to_all(coordinator *c, const cf_message *m)
{
    cf_buf_clear(&c->wire);
    CF_TRY(cf_message_pack(m, &c->wire));
    for (int i = 0; i < c->job->n_workers; i++)
        CF_TRY(cf_channel_send(c->channel, c->job->first_worker + i, c->wire.data, c->wire.len));
    return CF_OK;
}

/* One message, or *got = false after timeout_ns. m->from is the worker's number. */
static cf_err receive(coordinator *c, int64_t timeout_ns, bool *got, cf_message *m)
{
    void *bytes = NULL;
    size_t n = 0;
    int rank = 0;
    cf_watch_doing(c->watch, CF_DOING_LISTEN);
    CF_TRY(cf_channel_receive(c->channel, timeout_ns, got, &rank, &bytes, &n));
    cf_watch_doing(c->watch, CF_DOING_WRITE);
    if (!*got) return CF_OK;
    int worker = rank - c->job->first_worker;
    cf_err err = cf_where(cf_message_unpack(bytes, n, m), "from rank %d", rank_of(c, worker));
    free(bytes);
    if (err != CF_OK) return err;
    m->from = worker;
    cf_watch_heard(c->watch, m);
    return CF_OK;
}

static cf_err name_missing(const coordinator *c, int n_missing, int64_t waited_ns)
{
    cf_buf ranks = {0};
    for (int i = 0; i < c->job->n_workers && ranks.len < 200; i++)
        if (c->hellos[i].pid == 0) cf_buf_printf(&ranks, " %d", rank_of(c, i));
    cf_err err = cf_fail(CF_E_HANG, "%d of %d workers did not report within %lld s: rank%s%s",
                         n_missing, c->job->n_workers, (long long)(waited_ns / 1000000000),
                         n_missing == 1 ? "" : "s", cf_buf_text(&ranks));
    cf_buf_fini(&ranks);
    return err;
}

/* A worker is here: from now on it is watched, and told where its heartbeats go. */
static cf_err take_hello(coordinator *c, const cf_message *m)
{
    cf_message where = {.kind = CF_MSG_WATCH};
    c->hellos[m->from] = m->hello;
    if (!cf_watch_meet(c->watch, m->from, &m->hello, &where.watch)) return CF_OK;
    cf_buf_clear(&c->wire);
    CF_TRY(cf_message_pack(&where, &c->wire));
    return cf_channel_send(c->channel, c->job->first_worker + m->from, c->wire.data, c->wire.len);
}

/* ---- stopping ---------------------------------------------------------------------------------
 */

/* Looks for a reason to stop. What another lane was asked concerns this one, too, and the other way
 * round. */
static void ask_stop(coordinator *c)
{
    cf_stop *s = &c->stop;
    cf_stop_word *word = c->job->lane != NULL ? c->job->lane->stop : NULL;
    char storage[32], heard[sizeof s->reason];
    int number = c->job->signal_caught != NULL ? c->job->signal_caught() : 0;
    double left = cf_walltime_left(c->walltime);
    double needed = cf_stop_needed(s, (double)c->job->config->run_stop_margin);
    if (number != 0)
        cf_stop_ask(s, "signal %s at the coordinator", cf_signal_name(number, storage));
    if (left < needed)
        cf_stop_ask(s, "the job's time ends in %.0f s; %.0f s are kept free", left, needed);
    if (word == NULL) return;
    if (s->asked) cf_stop_word_say(word, s->reason);
    if (cf_stop_word_heard(word, heard)) cf_stop_ask(s, "%s", heard);
}

/* Tells all workers once there is one. */
static cf_err heed_stop(coordinator *c)
{
    cf_stop *s = &c->stop;
    if (s->told) return CF_OK;
    ask_stop(c);
    if (!s->asked) return CF_OK;
    cf_message m = {.kind = CF_MSG_STOP};
    snprintf(m.stop.reason, sizeof m.stop.reason, "%.255s", s->reason);
    cf_board_end(&c->board);
    cf_log_info("stopping: %s; all folds are saved where they stand", s->reason);
    s->told = true;
    return send_to_all(c, &m);
}

static void note_stop(coordinator *c, const cf_message *m)
{
    cf_stop_ask(&c->stop, "%s at rank %d on %s", m->stop.reason, rank_of(c, m->from),
                c->hellos[m->from].host);
}

static cf_err collect_hellos(coordinator *c)
{
    int64_t timeout_ns = c->job->config->run_hang_timeout * 1000000000;
    int64_t wait_ns = timeout_ns > 0 ? timeout_ns + HELLO_MARGIN_NS : HELLO_DEADLINE_NS;
    int64_t deadline = cf_clock_ns() + wait_ns;
    int n = 0;
    while (n < c->job->n_workers) {
        cf_message m;
        bool got = false;
        CF_TRY(receive(c, LISTEN_NS, &got, &m));
        if (!got) {
            if (cf_clock_ns() > deadline) return name_missing(c, c->job->n_workers - n, wait_ns);
            continue;
        }
        if (m.kind == CF_MSG_DONE && m.done.code != CF_OK)
            return cf_fail(m.done.code, "rank %d: %s", rank_of(c, m.from), m.done.text);
        if (m.kind == CF_MSG_HELLO) {
            CF_TRY(take_hello(c, &m));
            n++;
        }
        if (m.kind == CF_MSG_STOP) note_stop(c, &m);
        cf_message_fini(&m);
    }
    return heed_stop(c);
}

static cf_err send_plan(coordinator *c)
{
    cf_buf yaml = {0};
    cf_config_write(c->job->config, false, &yaml);
    cf_err err = cf_buf_check(&yaml);
    cf_message m = {.kind = CF_MSG_PLAN};
    m.plan.config = yaml.data;
    m.plan.config_path = (char *)(uintptr_t)c->job->config->path; /* read only while packing */
    m.plan.run_dir = (char *)(uintptr_t)c->job->run_dir;
    m.plan.data_hash = c->run.data_hash;
    m.plan.cells_hash = c->cells.content_hash;
    m.plan.init_hash = c->run.init_hash;
    m.plan.n_folds = c->run.n_folds;
    m.plan.fold_of = c->run.fold_of;
    m.plan.n_images = c->cells.n;
    m.plan.n_groups = c->grid.n_groups;
    m.plan.group_of_fold = c->grid.group_of_fold;
    m.plan.group_of_worker = c->grid.group_of_worker;
    m.plan.n_workers = c->job->n_workers;
    if (err == CF_OK) err = send_to_all(c, &m);
    cf_buf_fini(&yaml);
    return err;
}

static cf_err save_predictions(coordinator *c, int fold)
{
    char dir[CF_PATH_MAX], path[CF_PATH_MAX], name[32];
    snprintf(name, sizeof name, "fold-%d", fold);
    CF_TRY(cf_path_join(dir, sizeof dir, c->job->run_dir, name));
    CF_TRY(cf_dir_make(dir));
    CF_TRY(cf_path_join(path, sizeof path, dir, "predictions.csv"));
    cf_predictions p = {0};
    cf_err err = cf_gather_predictions(&c->gather, fold, &p);
    if (err == CF_OK) err = cf_predictions_write(path, &c->cells.scheme, &p);
    cf_predictions_fini(&p);
    return err;
}

static cf_err take_result(coordinator *c, const cf_msg_result *r)
{
    bool complete = false;
    CF_TRY(cf_gather_add(&c->gather, r, &complete));
    if (!complete) return CF_OK;
    if (r->final) return save_predictions(c, r->fold);
    double accuracy = cf_gather_take_curve(&c->gather, r->fold);
    cf_board_end(&c->board);
    cf_log_info("fold %d, epoch %lld: test accuracy %.4f", r->fold, (long long)r->epoch, accuracy);
    return cf_event_test(&c->run, c->tensorboard, c->start_ns, r->fold, r->epoch, accuracy);
}

static cf_err take_message(coordinator *c, const cf_message *m)
{
    int rank = rank_of(c, m->from);
    switch (m->kind) {
    case CF_MSG_PROGRESS:
        cf_board_update(&c->board, &m->progress);
        cf_stop_hear(&c->stop, &m->progress);
        if (m->progress.phase != CF_PHASE_EPOCH) return CF_OK;
        return cf_event_epoch(&c->run, c->tensorboard, c->start_ns, &m->progress,
                              cf_board_rate(&c->board));
    case CF_MSG_RESULT:
        return take_result(c, &m->result);
    case CF_MSG_DONE:
        if (m->done.code == CF_E_REQUEUE)
            c->stop.n_stopped++;
        else if (m->done.code != CF_OK)
            return cf_fail(m->done.code, "rank %d on %s: %s", rank, c->hellos[m->from].host,
                           m->done.text);
        c->n_done++;
        return CF_OK;
    case CF_MSG_STOP:
        note_stop(c, m);
        return CF_OK;
    default:
        return cf_fail(CF_E_DEVICE, "rank %d sent a message of kind %d", rank, (int)m->kind);
    }
}

static cf_err serve(coordinator *c)
{
    while (c->n_done < c->job->n_workers) {
        cf_message m;
        bool got = false;
        CF_TRY(cf_run_lock_check(c->run.lock));
        CF_TRY(heed_stop(c));
        CF_TRY(receive(c, LISTEN_NS, &got, &m));
        if (!got) continue;
        cf_err err = take_message(c, &m);
        cf_message_fini(&m);
        CF_TRY(err);
    }
    return CF_OK;
}

/* Nothing is left to be written here. In a sweep the workers stay where they are, watched and
 * heard, until there is another job for them or the other lanes are through, too. */
static cf_err await_lanes(coordinator *c, bool whole)
{
    const cf_coordinator_lane *lane = c->job->lane;
    cf_lane_next next = CF_LANE_OVER;
    int64_t patience_ns = 0;
    if (lane == NULL) return CF_OK;
    cf_run_lock_release(c->run.lock); /* the sweep has one of its own */
    c->run.lock = NULL;
    do {
        for (bool got = true; got;) {
            cf_message m;
            CF_TRY(receive(c, patience_ns, &got, &m));
            cf_err err = got ? take_message(c, &m) : CF_OK;
            if (got) cf_message_fini(&m);
            CF_TRY(err);
        }
        ask_stop(c);
        CF_TRY(lane->next(lane->context, whole, &next));
        patience_ns = LISTEN_NS;
    } while (next == CF_LANE_WAIT);
    c->more = next == CF_LANE_MORE;
    return CF_OK;
}

/* All workers have left their work in order; they end with the code that we end with. */
static cf_err end_stopped(coordinator *c)
{
    CF_TRY(log_stop(c));
    CF_TRY(await_lanes(c, false));
    cf_message bye = {.kind = CF_MSG_BYE, .bye.code = CF_E_REQUEUE};
    CF_TRY(send_to_all(c, &bye));
    return cf_stop_error(&c->stop, c->job->run_dir);
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static cf_err plan_grid(coordinator *c)
{
    cf_grid_cost cost = c->job->cost;
    cost.n_folds = c->job->only_fold >= 0 ? 1 : c->run.n_folds;
    if (c->job->only_fold >= c->run.n_folds)
        return cf_fail(CF_E_USAGE, "--fold %d: this run has folds 0 to %d", c->job->only_fold,
                       c->run.n_folds - 1);
    int groups = c->job->only_fold >= 0 ? 0 : (int)c->job->config->run_groups;
    CF_TRY(cf_grid_plan(&cost, c->job->n_workers, groups, &c->grid));
    if (c->job->only_fold < 0) return CF_OK;
    CF_TRY(cf_resize(&c->grid.group_of_fold, (size_t)c->run.n_folds, sizeof(int32_t)));
    for (int f = 0; f < c->run.n_folds; f++)
        c->grid.group_of_fold[f] = f == c->job->only_fold ? 0 : -1;
    return CF_OK;
}

static cf_err start_watch(coordinator *c)
{
    const cf_coordinator_job *job = c->job;
    const cf_watch_job watch = {.rank = 0,
                                .first_worker = rank_of(c, 0),
                                .n_workers = job->n_workers,
                                .group_of_worker = c->grid.group_of_worker,
                                .run_dir = job->run_dir,
                                .timeout_ns = job->config->run_hang_timeout * 1000000000,
                                .start_ns = c->start_ns};
    return cf_watch_start(&watch, &c->watch);
}

static cf_err check_space(const coordinator *c)
{
    cf_space space = {.dir = c->job->run_dir,
                      .n_folds = c->run.n_folds,
                      .only_fold = c->job->only_fold,
                      .checkpoint_bytes = c->job->checkpoint_bytes,
                      .n_images = c->cells.n,
                      .n_nodes = c->cells.scheme.n_nodes};
    return cf_space_check(&space);
}

static cf_err prepare(coordinator *c)
{
    const cf_coordinator_job *job = c->job;
    const cf_run_lock_times times = cf_run_lock_times_default();
    int64_t limit = 0;
    CF_TRY(cf_cells_open(job->config->data_cells, &c->cells));
    CF_TRY(cf_run_folder_take(job->run_dir, job->only_fold, job->config, &c->cells, &c->run));
    if (job->sweep_dir != NULL) CF_TRY(cf_run_lock_look(job->sweep_dir, &times));
    CF_TRY(plan_grid(c));
    CF_TRY(check_space(c));
    CF_TRY(cf_gather_init(&c->gather, &c->cells, c->run.fold_of, c->run.n_folds));
    CF_TRY(cf_time_limit_parse(job->config->run_time_limit, &limit));
    int64_t start_ns = job->lane != NULL ? job->lane->start_ns : c->start_ns;
    CF_TRY(cf_walltime_start(limit, start_ns, 0, &c->walltime));
    CF_TRY(cf_new(&c->hellos, (size_t)job->n_workers, sizeof *c->hellos));
    return start_watch(c);
}

/* Jobs of single folds gather one after the other, so that the last one's tables have them all. */
static cf_err gather_tables(coordinator *c, cf_buf *table)
{
    bool others = false;
    CF_TRY(cf_run_lock_enter(c->run.lock, &others));
    cf_err err = cf_report_run(c->job->run_dir, &c->cells.scheme, c->job->report_source,
                               CF_BOOTSTRAP_RESAMPLES, table);
    if (err == CF_OK && c->job->config->run_tensorboard)
        cf_tensorboard_finish(c->job->run_dir, c->job->only_fold, &c->cells.scheme,
                              c->job->report_source);
    cf_run_lock_leave(c->run.lock);
    return err;
}

static cf_err run(coordinator *c, cf_buf *table)
{
    CF_TRY(prepare(c));
    CF_TRY(collect_hellos(c));
    CF_TRY(log_start(c));
    if (c->job->config->run_tensorboard)
        c->tensorboard = cf_tensorboard_open(c->job->run_dir, c->job->only_fold);
    cf_log_info("%lld images, %d fold%s, %d worker%s in %d group%s; run folder %s",
                (long long)c->cells.n, c->run.n_folds, c->run.n_folds == 1 ? "" : "s",
                c->job->n_workers, c->job->n_workers == 1 ? "" : "s", c->grid.n_groups,
                c->grid.n_groups == 1 ? "" : "s", c->job->run_dir);
    if (!c->stop.told) CF_TRY(send_plan(c));
    cf_board_init(&c->board, c->job->terminal, c->run.n_folds, c->grid.group_of_fold);
    cf_err err = serve(c);
    cf_board_end(&c->board);
    CF_TRY(err);
    if (c->stop.n_stopped > 0) return end_stopped(c);
    CF_TRY(gather_tables(c, table));
    CF_TRY(log_finish(c));
    CF_TRY(await_lanes(c, true));
    cf_message bye = {.kind = CF_MSG_BYE, .bye.more = c->more};
    return send_to_all(c, &bye);
}

/* The process goes on with the lane's next job, or until the other lanes have saved. Else the watch
 * ends with the process. */
static void leave_watch(coordinator *c, cf_err err)
{
    if (err != CF_OK && err != CF_E_REQUEUE)
        cf_watch_rest(c->watch);
    else if (c->more)
        cf_watch_end(c->watch);
}

/* Keeps the message of `err`: on a disk that fails, removing the lock fails too. */
static cf_err clean_up(coordinator *c, cf_err err)
{
    char text[TEXT_MAX];
    snprintf(text, sizeof text, "%s", cf_err_text());
    cf_walltime_stop(c->walltime);
    cf_tensorboard_close(c->tensorboard);
    free(c->hellos);
    cf_gather_fini(&c->gather);
    cf_grid_fini(&c->grid);
    cf_run_folder_fini(&c->run);
    cf_cells_close(&c->cells);
    cf_buf_fini(&c->wire);
    free(c);
    return err == CF_OK ? CF_OK : cf_fail(err, "%s", text);
}

cf_err cf_coordinator_run(const cf_coordinator_job *job, cf_buf *table)
{
    coordinator *c = NULL;
    CF_TRY(cf_new(&c, 1, sizeof *c));
    c->job = job;
    c->start_ns = cf_clock_ns();
    cf_err err = cf_channel_create(job->control, 0, CF_CHANNEL_TO_WORKERS, &c->channel);
    if (err == CF_OK) err = run(c, table);
    cf_watch_doing(c->watch, CF_DOING_LEAVE);
    if (err == CF_OK || err == CF_E_REQUEUE) { /* the workers wait for what is under way */
        cf_err closed = cf_channel_destroy(c->channel);
        if (closed != CF_OK) err = closed;
    }
    if (job->lane != NULL) leave_watch(c, err);
    return clean_up(c, err);
}
