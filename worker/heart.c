#include "worker/heart.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/deadline.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/datagram.h"
#include "proto/stamp.h"

/* Words may hang (a terminal that is held): no longer than this. */
#define LAST_WORDS_NS (3LL * 1000000000)
/* The lowest rank speaks for all; the others only should it be gone. */
#define ECHO_NS (2LL * 1000000000)

enum { NO_ROUTE = -1 };

struct cf_heart {
    cf_msg_watch where;
    int worker;
    cf_stamp stamp;
    atomic_bool over; /* the last that its owner does with it */
    /* The thread's alone from here on. */
    cf_datagram socket;
    int64_t beat_ns;
    cf_stamp_look look;
    cf_awake awake;
    int route;        /* the coordinator's address that answered last */
    bool pulsed;      /* one has answered at all: else UDP may be blocked here */
    int64_t pulse_ns; /* when */
};

void cf_heart_doing(cf_heart *h, cf_doing doing, int fold, int64_t step)
{
    if (h != NULL) cf_stamp_set(&h->stamp, doing, fold, step);
}

/* By the address that answers; by every one until then, and when it answers no more. */
static void send_beat(const cf_heart *h, int64_t now_ns)
{
    bool known = h->route != NO_ROUTE && now_ns - h->pulse_ns <= CF_BEATS_LATE * h->beat_ns;
    for (int i = 0; i < h->where.n_addresses; i++) {
        uint8_t bytes[CF_BEAT_BYTES];
        cf_peer to = {.port = (uint16_t)h->where.port};
        if (known && i != h->route) continue;
        memcpy(to.address, h->where.addresses[i], sizeof to.address);
        cf_beat_pack(&(cf_beat){.kind = CF_BEAT_ALIVE,
                                .token = h->where.token,
                                .worker = h->worker,
                                .route = (uint8_t)i,
                                .doing = h->look.doing,
                                .fold = h->look.fold,
                                .step = h->look.step,
                                .still_ns = now_ns - h->look.moved_ns},
                     bytes);
        cf_datagram_send(&h->socket, &to, bytes, sizeof bytes);
    }
}

static void take(cf_heart *h, const uint8_t *bytes, size_t n, int64_t now_ns)
{
    cf_beat b;
    if (!cf_beat_unpack(bytes, n, h->where.token, &b) || b.worker != h->worker) return;
    if (b.kind == CF_BEAT_END) _exit(CF_E_HANG); /* the coordinator has said why */
    if (b.kind != CF_BEAT_PULSE) return;
    h->pulsed = true;
    h->pulse_ns = now_ns;
    h->route = b.route;
}

static void say_why(void *argument)
{
    const cf_heart *h = argument;
    const cf_msg_watch *c = &h->where;
    double seconds = (double)(h->awake.awake_ns - h->pulse_ns) * 1e-9;
    if (h->worker > 0) {
        cf_log_error("nothing heard from the coordinator for %.0f s here either", seconds);
        return;
    }
    cf_log_error(
        "nothing heard from the coordinator (rank %d on host %s, process %lld) for %.0f s: "
        "it was stopped, or its host or the network is gone; this rank is %s; the job ends "
        "(run.hang_timeout is %lld s), the same command goes on at the last checkpoint",
        c->rank, c->host, (long long)c->pid, seconds, cf_doing_find(h->look.doing)->words,
        (long long)(c->timeout_ns / 1000000000));
}

static void beat(cf_heart *h, int64_t now_ns)
{
    int64_t limit_ns = h->where.timeout_ns + (h->worker == 0 ? 0 : ECHO_NS);
    cf_stamp_see(&h->stamp, now_ns, &h->look);
    if (h->pulsed && now_ns - h->pulse_ns > limit_ns) {
        (void)cf_run_within(say_why, h, LAST_WORDS_NS);
        _exit(CF_E_HANG); /* nobody else is left to end this rank */
    }
    send_beat(h, now_ns);
}

static int64_t awake_now(cf_heart *h)
{
    return cf_awake_now(&h->awake, cf_clock_ns(), 2 * h->beat_ns);
}

static void *heart_thread(void *argument)
{
    cf_heart *h = argument;
    while (!atomic_load(&h->over)) {
        int64_t next_ns = cf_clock_ns() + h->beat_ns, left_ns = h->beat_ns;
        beat(h, awake_now(h));
        for (; left_ns > 0 && !atomic_load(&h->over); left_ns = next_ns - cf_clock_ns()) {
            uint8_t bytes[CF_BEAT_BYTES];
            size_t n = 0;
            cf_peer from;
            if (cf_datagram_receive(&h->socket, left_ns, bytes, sizeof bytes, &n, &from))
                take(h, bytes, n, awake_now(h));
        }
    }
    cf_datagram_close(&h->socket);
    free(h);
    return NULL;
}

void cf_heart_end(cf_heart *h)
{
    if (h != NULL) atomic_store(&h->over, true);
}

cf_err cf_heart_start(const cf_msg_watch *where, int worker, cf_heart **out)
{
    cf_heart *h = NULL;
    *out = NULL;
    CF_TRY(cf_new(&h, 1, sizeof *h));
    h->where = *where;
    h->worker = worker;
    h->route = NO_ROUTE;
    h->beat_ns = cf_beat_interval_ns(where->timeout_ns);
    cf_stamp_set(&h->stamp, CF_DOING_AWAIT_PLAN, -1, 0);
    /* Without a socket this rank is watched by its messages over MPI, as behind a firewall. */
    if (cf_datagram_open(&h->socket) != CF_OK) cf_log_warn("heartbeats: %s", cf_err_text());
    cf_err err = cf_thread_detached(heart_thread, h);
    if (err != CF_OK) {
        cf_datagram_close(&h->socket);
        free(h);
        return err;
    }
    *out = h;
    return CF_OK;
}
