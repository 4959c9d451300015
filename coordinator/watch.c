#include "coordinator/watch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "coordinator/roll.h"
#include "kernels/base/deadline.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/datagram.h"
#include "proto/stamp.h"

_Static_assert((int)CF_ADDRESS_BYTES == (int)CF_WATCH_ADDRESS_BYTES &&
                   (int)CF_ADDRESSES_MAX == (int)CF_WATCH_MAX_ADDRESSES,
               "a message holds what a host has");

/* Words may hang (a disk, a terminal that is held): no longer than this. */
#define LAST_WORDS_NS (3LL * 1000000000)
#define END_PAUSE_NS  (20LL * 1000000)
enum { END_REPEATS = 3 };

/* What the event loop writes of a worker and the watch reads. */
typedef struct mail {
    char host[256];
    int64_t pid;
    atomic_bool met; /* set behind host and pid */
    cf_stamp said;   /* moved by every message */
} mail;

struct cf_watch {
    cf_watch_job job;
    char log_path[CF_PATH_MAX];
    char host[256];
    uint64_t token;
    cf_datagram socket;
    mail *mails; /* owned, [n_workers] */
    cf_stamp own;
    atomic_bool resting, over; /* over: the last that its owner does with it */
    /* The thread's alone from here on. */
    cf_roll roll;
    cf_stamp_look *looks; /* owned, [n_workers + 1]: the coordinator's own is the last */
    cf_peer *peers;       /* owned, [n_workers]: where the last heartbeat came from */
    cf_awake awake;
    bool muted_said;
};

/* ---- what the event loop calls ----------------------------------------------------------------
 */

bool cf_watch_meet(cf_watch *w, int worker, const cf_msg_hello *hello, cf_msg_watch *where)
{
    if (w == NULL) return false;
    mail *m = &w->mails[worker];
    memcpy(m->host, hello->host, sizeof m->host);
    m->pid = hello->pid;
    atomic_store_explicit(&m->met, true, memory_order_release);
    if (w->socket.fd < 0) return false;
    *where = (cf_msg_watch){.token = w->token,
                            .port = w->socket.port,
                            .timeout_ns = w->job.timeout_ns,
                            .rank = w->job.rank,
                            .pid = getpid()};
    memcpy(where->host, w->host, sizeof where->host);
    where->n_addresses = cf_datagram_addresses(where->addresses);
    return true;
}

static cf_doing doing_of(cf_phase phase)
{
    if (phase == CF_PHASE_SAVED) return CF_DOING_SAVE;
    return phase == CF_PHASE_TRAIN || phase == CF_PHASE_EPOCH ? CF_DOING_COMPUTE : CF_DOING_TEST;
}

void cf_watch_heard(cf_watch *w, const cf_message *m)
{
    if (w == NULL || m->from < 0 || m->from >= w->job.n_workers) return;
    cf_stamp *said = &w->mails[m->from].said;
    switch (m->kind) {
    case CF_MSG_PROGRESS:
        cf_stamp_set(said, doing_of(m->progress.phase), m->progress.fold, m->progress.step);
        break;
    case CF_MSG_RESULT:
        cf_stamp_set(said, CF_DOING_TEST, m->result.fold, 0);
        break;
    case CF_MSG_DONE:
        cf_stamp_set(said, CF_DOING_AWAIT_BYE, -1, 0);
        break;
    default: /* says nothing of what comes next */
        break;
    }
}

void cf_watch_doing(cf_watch *w, cf_doing doing)
{
    if (w != NULL) cf_stamp_set(&w->own, doing, -1, 0);
}

void cf_watch_rest(cf_watch *w)
{
    if (w != NULL) atomic_store(&w->resting, true);
}

void cf_watch_end(cf_watch *w)
{
    if (w != NULL) atomic_store(&w->over, true);
}

/* ---- the end ----------------------------------------------------------------------------------
 */

/* Their beat threads leave on this word: a launcher that does not kill the others when one rank
 * fails would wait for them for ever. */
static void end_workers(const cf_watch *w)
{
    uint8_t bytes[CF_BEAT_BYTES];
    for (int k = 0; k < END_REPEATS; k++) {
        for (int i = 0; i < w->job.n_workers; i++) {
            if (!w->roll.rows[i].beats) continue;
            cf_beat_pack(
                &(cf_beat){.kind = CF_BEAT_END, .token = w->token, .worker = i, .fold = -1}, bytes);
            cf_datagram_send(&w->socket, &w->peers[i], bytes, sizeof bytes);
        }
        cf_sleep_ns(END_PAUSE_NS);
    }
}

typedef struct last_words {
    const cf_watch *watch;
    cf_verdict verdict;
    int64_t now_ns;
} last_words;

static void log_hang(const cf_watch *w, const cf_verdict *v, const char *text)
{
    static const char *const kinds[] = {"", "silent", "stuck", "waiting"};
    const cf_roll_row *row = &w->roll.rows[v->row];
    cf_buf line = {0};
    cf_json j;
    cf_json_begin(&j, &line, true);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "event", "hang");
    cf_json_number(&j, "seconds", (double)(cf_clock_ns() - w->job.start_ns) * 1e-9);
    cf_json_string(&j, "kind", kinds[v->blame]);
    cf_json_integer(&j, "rank", row->rank);
    cf_json_string(&j, "host", row->host);
    cf_json_integer(&j, "pid", row->pid);
    cf_json_string(&j, "doing", cf_doing_find(row->doing)->words);
    cf_json_integer(&j, "fold", row->fold);
    cf_json_integer(&j, "step", row->step);
    cf_json_number(&j, "for_seconds", (double)v->for_ns * 1e-9);
    cf_json_string(&j, "text", text);
    cf_json_end_object(&j);
    cf_buf_printf(&line, "\n");
    if (cf_buf_check(&line) != CF_OK || cf_file_append(w->log_path, line.data, line.len) != CF_OK)
        cf_log_error("%s", cf_err_text());
    cf_buf_fini(&line);
}

static void say_why(void *argument)
{
    const last_words *l = argument;
    const cf_watch *w = l->watch;
    cf_buf text = {0};
    cf_roll_describe(&w->roll, &l->verdict, l->now_ns, &text);
    cf_log_error("%s; the job ends (run.hang_timeout is %lld s), the same command goes on at the "
                 "last checkpoint",
                 cf_buf_text(&text), (long long)(w->job.timeout_ns / 1000000000));
    log_hang(w, &l->verdict, cf_buf_text(&text));
    cf_buf_fini(&text);
}

/* Words first, since the launcher ends us as soon as one rank has left. It reports the 8. */
static void end_job(const cf_watch *w, const cf_verdict *v, int64_t now_ns)
{
    last_words l = {w, *v, now_ns}; /* words that hang find it: we do not return */
    (void)cf_run_within(say_why, &l, LAST_WORDS_NS);
    end_workers(w);
    _exit(CF_E_HANG);
}

/* ---- the thread -------------------------------------------------------------------------------
 */

static void look_at_stamps(cf_watch *w, int64_t now_ns)
{
    int n = w->job.n_workers;
    for (int i = 0; i < n; i++) {
        mail *m = &w->mails[i];
        cf_stamp_look *look = &w->looks[i];
        if (!w->roll.rows[i].met && atomic_load_explicit(&m->met, memory_order_acquire))
            cf_roll_meet(&w->roll, i, m->host, m->pid, now_ns);
        if (cf_stamp_see(&m->said, now_ns, look))
            cf_roll_message(&w->roll, i, look->doing, look->fold, look->step, now_ns);
    }
    cf_stamp_look *own = &w->looks[n];
    cf_stamp_see(&w->own, now_ns, own);
    cf_roll_own(&w->roll, own->doing, own->fold, now_ns - own->moved_ns, now_ns);
}

/* Once: which rank it is, and what that means. */
static void say_muted(cf_watch *w, int64_t now_ns)
{
    int i = w->muted_said ? -1 : cf_roll_muted(&w->roll, now_ns);
    if (i < 0) return;
    w->muted_said = true;
    cf_log_warn("no heartbeat of rank %d on host %s arrives over UDP: a rank like it is watched by "
                "its messages over MPI alone, with twice run.hang_timeout",
                w->roll.rows[i].rank, w->roll.rows[i].host);
}

static void answer(cf_watch *w, const uint8_t *bytes, size_t n, const cf_peer *from, int64_t now_ns)
{
    cf_beat b;
    uint8_t pulse[CF_BEAT_BYTES];
    if (!cf_beat_unpack(bytes, n, w->token, &b) || b.kind != CF_BEAT_ALIVE ||
        b.worker >= w->job.n_workers)
        return;
    cf_roll_beat(&w->roll, &b, now_ns);
    w->peers[b.worker] = *from;
    cf_beat_pack(&(cf_beat){.kind = CF_BEAT_PULSE,
                            .token = w->token,
                            .worker = b.worker,
                            .route = b.route,
                            .fold = -1},
                 pulse);
    cf_datagram_send(&w->socket, from, pulse, sizeof pulse);
}

static void destroy(cf_watch *w)
{
    cf_datagram_close(&w->socket);
    cf_roll_fini(&w->roll);
    free(w->peers);
    free(w->looks);
    free(w->mails);
    free(w);
}

static void *watch_thread(void *argument)
{
    cf_watch *w = argument;
    const int64_t tick_ns = w->roll.beat_ns;
    int64_t next_ns = cf_clock_ns() + tick_ns;
    while (!atomic_load(&w->over)) {
        uint8_t bytes[CF_BEAT_BYTES];
        size_t n = 0;
        cf_peer from;
        bool got = cf_datagram_receive(&w->socket, next_ns - cf_clock_ns(), bytes, sizeof bytes, &n,
                                       &from);
        int64_t clock_ns = cf_clock_ns();
        int64_t now_ns = cf_awake_now(&w->awake, clock_ns, 2 * tick_ns);
        if (got) answer(w, bytes, n, &from, now_ns);
        if (clock_ns < next_ns) continue;
        next_ns = clock_ns + tick_ns;
        if (atomic_load(&w->resting) || atomic_load(&w->over)) continue;
        look_at_stamps(w, now_ns);
        say_muted(w, now_ns);
        cf_verdict v = cf_roll_judge(&w->roll, now_ns);
        if (v.blame != CF_BLAME_NOBODY) end_job(w, &v, now_ns);
    }
    destroy(w);
    return NULL;
}

/* ---- start ------------------------------------------------------------------------------------
 */

static cf_err fill(cf_watch *w)
{
    const cf_watch_job *job = &w->job;
    size_t n = (size_t)job->n_workers;
    CF_TRY(cf_path_join(w->log_path, sizeof w->log_path, job->run_dir, "log.jsonl"));
    CF_TRY(cf_new(&w->mails, n, sizeof *w->mails));
    CF_TRY(cf_new(&w->looks, n + 1, sizeof *w->looks));
    CF_TRY(cf_new(&w->peers, n, sizeof *w->peers));
    CF_TRY(cf_roll_init(&w->roll, job->n_workers, job->first_worker, job->group_of_worker,
                        job->timeout_ns));
    if (gethostname(w->host, sizeof w->host - 1) != 0) strcpy(w->host, "unknown");
    w->roll.rows[n].rank = job->rank;
    cf_roll_meet(&w->roll, job->n_workers, w->host, getpid(), 0);
    cf_stamp_set(&w->own, CF_DOING_LISTEN, -1, 0);
    /* No secret, but other jobs on the same hosts must not have the same. */
    if (getrandom(&w->token, sizeof w->token, 0) != (ssize_t)sizeof w->token)
        return cf_fail_errno(CF_E_UNEXPECTED, "getrandom");
    return CF_OK;
}

cf_err cf_watch_start(const cf_watch_job *job, cf_watch **out)
{
    cf_watch *w = NULL;
    *out = NULL;
    if (job->timeout_ns <= 0) return CF_OK;
    CF_TRY(cf_new(&w, 1, sizeof *w));
    w->job = *job;
    w->socket.fd = -1;
    cf_err err = fill(w);
    if (err == CF_OK && cf_datagram_open(&w->socket) != CF_OK)
        cf_log_warn("heartbeats: %s: ranks are watched by their messages over MPI alone",
                    cf_err_text());
    if (err == CF_OK) err = cf_thread_detached(watch_thread, w);
    if (err != CF_OK)
        destroy(w);
    else
        *out = w;
    return err;
}
