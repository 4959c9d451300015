#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/safetensors.h"
#include "worker/set_up.h"
#include "worker/stage.h"
#include "worker/steps.h"

#define PLAN_DEADLINE_NS (600LL * 1000000000)
#define ECHO_DELAY_NS    (2LL * 1000000000)
#define LISTEN_NS        (100LL * 1000000)

/* ---- talking to the coordinator ------------------------------------------------------------- */

static cf_err send_hello(cf_worker *w)
{
    cf_message m = {.kind = CF_MSG_HELLO};
    if (gethostname(m.hello.host, sizeof m.hello.host) != 0) strcpy(m.hello.host, "unknown");
    m.hello.pid = getpid();
    return cf_reporter_send(&w->reporter, &m);
}

/* Waits for one message; deadline_ns 0: for ever, since the launcher ends us when the coordinator
 * is gone, and the heart when it is silent. */
static cf_err receive(cf_worker *w, int64_t deadline_ns, cf_message *m)
{
    bool got = false;
    int rank = 0;
    void *bytes = NULL;
    size_t n = 0;
    int64_t start_ns = cf_clock_ns();
    do {
        CF_TRY(cf_reporter_pass_signal_on(&w->reporter));
        CF_TRY(cf_channel_receive(w->channel, LISTEN_NS, &got, &rank, &bytes, &n));
    } while (!got && (deadline_ns == 0 || cf_clock_ns() - start_ns < deadline_ns));
    if (!got)
        return cf_fail(CF_E_HANG, "no word from the coordinator for %lld s",
                       (long long)(deadline_ns / 1000000000));
    cf_err err = cf_message_unpack(bytes, n, m);
    free(bytes);
    return err;
}

/* The same for a message of the given kind. */
static cf_err receive_kind(cf_worker *w, cf_message_kind kind, int64_t deadline_ns, cf_message *m)
{
    CF_TRY(receive(w, deadline_ns, m));
    if (m->kind == CF_MSG_WATCH) { /* before the plan, where there is a watch */
        int me = 0;
        MPI_Comm_rank(w->job->workers, &me);
        CF_TRY(cf_heart_start(&m->watch, me, &w->reporter.heart));
        CF_TRY(receive(w, deadline_ns, m));
    }
    if (m->kind == kind) return CF_OK;
    if (m->kind == CF_MSG_STOP && kind == CF_MSG_PLAN)
        return cf_fail(CF_E_REQUEUE, "stopped before the plan came");
    if (m->kind == CF_MSG_STOP) return receive_kind(w, kind, deadline_ns, m); /* nothing to stop */
    cf_message_fini(m);
    return cf_fail(CF_E_DEVICE, "message %d from the coordinator, expected %d", (int)m->kind,
                   (int)kind);
}

/* Bytes of a staged copy moved, or are waited for. A stop leaves the rest of them; the job's ranks
 * heed it together a little later, in set-up. */
static cf_err stage_moved(void *worker)
{
    cf_worker *w = worker;
    cf_heart_doing(w->reporter.heart, CF_DOING_SET_UP, -1, 0);
    CF_TRY(cf_reporter_listen(&w->reporter));
    return w->reporter.stop ? cf_fail(CF_E_REQUEUE, "stopped while copying") : CF_OK;
}

/* Collective over all workers: the node's copy where there is one, else the shared file. */
static cf_err open_cells(cf_worker *w)
{
    char path[CF_PATH_MAX];
    const char *shared = w->config.data_cells;
    const cf_stage stage = {.path = shared,
                            .where = w->config.run_stage,
                            .content_hash = w->plan.cells_hash,
                            .moved = stage_moved,
                            .context = w,
                            .seen = w->job->seen};
    CF_TRY(cf_stage_cells(&stage, w->job->workers, path));
    /* Another job may have made room in between. */
    if (strcmp(path, shared) != 0 && cf_cells_open(path, &w->cells) == CF_OK) return CF_OK;
    return cf_cells_open(shared, &w->cells);
}

/* The file of initial weights that this rank sees is the coordinator's. */
static cf_err check_init(const cf_worker *w)
{
    uint64_t hash = 0;
    if (w->config.model_init[0] == '\0') return CF_OK;
    CF_TRY(cf_where(cf_safetensors_hash(w->config.model_init, &hash), "model.init"));
    if (hash == w->plan.init_hash) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "model.init: %s holds other weights here (%016llx) than at the coordinator "
                   "(%016llx)",
                   w->config.model_init, (unsigned long long)hash,
                   (unsigned long long)w->plan.init_hash);
}

static cf_err receive_plan(cf_worker *w)
{
    cf_message m;
    CF_TRY(receive_kind(w, CF_MSG_PLAN, PLAN_DEADLINE_NS, &m));
    w->plan = m.plan;                                                  /* moved */
    if (w->job->lane) cf_log_about(strrchr(w->plan.run_dir, '/') + 1); /* absolute */
    cf_heart_doing(w->reporter.heart, CF_DOING_SET_UP, -1, 0);
    CF_TRY(
        cf_config_parse(w->plan.config_path, w->plan.config, strlen(w->plan.config), &w->config));
    CF_TRY(open_cells(w));
    if (w->cells.content_hash != w->plan.cells_hash || w->cells.n != w->plan.n_images)
        return cf_fail(CF_E_DATA,
                       "%s holds other images here (%016llx) than at the coordinator (%016llx)",
                       w->config.data_cells, (unsigned long long)w->cells.content_hash,
                       (unsigned long long)w->plan.cells_hash);
    return check_init(w);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void tear_down(cf_worker *w, cf_err ending)
{
    bool orderly = ending == CF_OK || ending == CF_E_REQUEUE;
    if (!orderly && w->group != NULL && w->group->ops->give_up != NULL)
        w->group->ops->give_up(w->group);
    cf_loader_destroy(w->test_loader);
    cf_loader_destroy(w->loader);
    for (int f = 0; f < w->n_folds; f++) cf_trainer_fini(&w->trainers[f]);
    cf_store_destroy(w->store);
    for (int i = 0; i < 2; i++) cf_step_sums_fini(&w->slots[i], &w->engine);
    /* Comms are destroyed collectively: after an error the other ranks may be elsewhere. A group's
     * holds memory of the backend. */
    if (orderly) cf_vote_destroy(w->vote);
    if (orderly && w->group != NULL) w->group->ops->destroy(w->group);
    if (orderly && w->all != NULL) w->all->ops->destroy(w->all);
    cf_engine_fini(&w->engine);
    free(w->seats);
    cf_cells_close(&w->cells);
    cf_message m = {.kind = CF_MSG_PLAN, .plan = w->plan};
    cf_message_fini(&m);
    free(w->config_yaml);
}

static cf_err write_config(cf_worker *w)
{
    cf_buf yaml = {0};
    cf_config_write_essential(&w->config, &yaml);
    cf_err err = cf_buf_check(&yaml);
    w->config_yaml = yaml.data; /* moved */
    return err;
}

static cf_err work(cf_worker *w)
{
    CF_TRY(send_hello(w));
    CF_TRY(receive_plan(w));
    CF_TRY(write_config(w));
    CF_TRY(cf_worker_set_up(w));
    CF_TRY(cf_worker_train(w));
    return cf_worker_test(w);
}

/* Tells the coordinator how it ended, and waits for its word when all is well or saved: workers
 * leave with one code, though some may have been through before the stop. */
static cf_err take_leave(cf_worker *w, cf_err err, bool *more)
{
    bool orderly = err == CF_OK || err == CF_E_REQUEUE;
    cf_message m = {.kind = CF_MSG_DONE};
    m.done.code = err;
    if (err != CF_OK) snprintf(m.done.text, sizeof m.done.text, "%s", cf_err_text());
    if (w->echo && !orderly) cf_sleep_ns(ECHO_DELAY_NS);
    cf_err sent = cf_reporter_send(&w->reporter, &m);
    if (!orderly || sent != CF_OK) return orderly ? sent : err;
    cf_heart_doing(w->reporter.heart, CF_DOING_AWAIT_BYE, -1, 0);
    CF_TRY(receive_kind(w, CF_MSG_BYE, 0, &m));
    *more = m.bye.more;
    return m.bye.code == CF_OK ? CF_OK : cf_fail(m.bye.code, "stopped");
}

cf_err cf_worker_run(const cf_worker_job *job, bool *more)
{
    cf_worker *w = NULL;
    *more = false;
    CF_TRY(cf_new(&w, 1, sizeof *w));
    w->job = job;
    w->slots[0].fold = w->slots[1].fold = -1;
    cf_err err = cf_channel_create(job->control, job->coordinator_rank, CF_CHANNEL_TO_COORDINATOR,
                                   &w->channel);
    if (err == CF_OK) {
        w->reporter.channel = w->channel;
        w->reporter.signal_caught = job->signal_caught;
        err = work(w);
        err = take_leave(w, err, more);
        cf_heart_doing(w->reporter.heart, CF_DOING_LEAVE, -1, 0);
        /* Else it ends with the process, on purpose: leaving may hang as well. */
        if (*more) cf_heart_end(w->reporter.heart);
        tear_down(w, err);
        cf_reporter_fini(&w->reporter);
        cf_err closed = cf_channel_destroy(w->channel);
        if (err == CF_OK || err == CF_E_REQUEUE) err = closed != CF_OK ? closed : err;
    }
    free(w);
    return err;
}
