/* The worker's heart against a made-up coordinator: each case forks a process with a heart in it,
 * which must live or leave as said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/comm/datagram.h"
#include "worker/heart.h"

static const uint64_t token = 0x1122334455667788u;
static const int64_t patience_ns = 20LL * 1000000000, timeout_ns = 400LL * 1000000;

enum { WORKER = 0 }; /* the others give it time to speak first */

typedef struct stage {
    cf_datagram socket; /* the coordinator's */
    pid_t child;
    cf_peer peer; /* of its last heartbeat */
} stage;

/* What a rank does: computes, micro-batch after micro-batch, for ever. */
static void live(const cf_msg_watch *where, int worker)
{
    cf_heart *heart = NULL;
    if (cf_heart_start(where, worker, &heart) != CF_OK) _exit(99);
    for (int64_t step = 0;; step++) {
        cf_heart_doing(heart, CF_DOING_COMPUTE, 1, step);
        cf_sleep_ns(1000000);
    }
}

static int set_up(void **state)
{
    static stage s;
    s = (stage){0};
    *state = &s;
    if (cf_datagram_open(&s.socket) != CF_OK) return 1;
    cf_msg_watch where = {
        .token = token, .port = s.socket.port, .timeout_ns = timeout_ns, .host = "h", .rank = 7};
    where.n_addresses = 2;
    /* the first leads nowhere: documentation's own network (RFC 5737) */
    memcpy(where.addresses[0], (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 1}, 16);
    memcpy(where.addresses[1], (uint8_t[16]){[10] = 0xff, 0xff, 127, 0, 0, 1}, 16);
    s.child = fork();
    if (s.child == 0) live(&where, WORKER);
    return s.child < 0;
}

static int tear_down(void **state)
{
    stage *s = *state;
    if (s->child > 0) {
        kill(s->child, SIGKILL);
        waitpid(s->child, NULL, 0);
    }
    cf_datagram_close(&s->socket);
    return 0;
}

/* The next heartbeat. */
static cf_beat hear(stage *s)
{
    uint8_t bytes[CF_BEAT_BYTES];
    size_t n = 0;
    cf_beat b = {0};
    assert_true(cf_datagram_receive(&s->socket, patience_ns, bytes, sizeof bytes, &n, &s->peer));
    assert_true(cf_beat_unpack(bytes, n, token, &b));
    assert_int_equal(b.kind, CF_BEAT_ALIVE);
    assert_int_equal(b.worker, WORKER);
    return b;
}

static void say(const stage *s, cf_beat_kind kind, uint64_t with_token, int worker, int route)
{
    uint8_t bytes[CF_BEAT_BYTES];
    cf_beat_pack(&(cf_beat){.kind = kind,
                            .token = with_token,
                            .worker = worker,
                            .route = (uint8_t)route,
                            .fold = -1},
                 bytes);
    cf_datagram_send(&s->socket, &s->peer, bytes, sizeof bytes);
}

/* Its exit code once it has left; -1 while it lives on. */
static int left_with(stage *s, int64_t within_ns)
{
    int status = 0;
    for (int64_t end_ns = cf_clock_ns() + within_ns; cf_clock_ns() < end_ns; cf_sleep_ns(5000000)) {
        if (waitpid(s->child, &status, WNOHANG) != s->child) continue;
        s->child = 0;
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
    }
    return -1;
}

static void a_heart_tells_what_the_rank_does_and_that_it_moves(void **state)
{
    stage *s = *state;
    cf_beat b = hear(s);
    int64_t first = b.step;
    for (int i = 0; i < 200 && b.step <= first; i++) {
        say(s, CF_BEAT_PULSE, token, WORKER, b.route);
        b = hear(s);
    }
    assert_true(b.step > first);
    assert_int_equal(b.doing, CF_DOING_COMPUTE);
    assert_int_equal(b.fold, 1);
    assert_int_equal(b.route, 1); /* the address that works */
    assert_true(b.still_ns < patience_ns);
}

static void a_rank_leaves_when_the_coordinator_says_so(void **state)
{
    stage *s = *state;
    hear(s);
    say(s, CF_BEAT_END, token, WORKER, 0);
    assert_int_equal(left_with(s, patience_ns), CF_E_HANG);
}

static void a_rank_leaves_when_the_coordinator_is_silent(void **state)
{
    stage *s = *state;
    int64_t start_ns = cf_clock_ns();
    say(s, CF_BEAT_PULSE, token, WORKER, hear(s).route);
    assert_int_equal(left_with(s, patience_ns), CF_E_HANG);
    assert_true(cf_clock_ns() - start_ns > timeout_ns);
}

/* UDP may be blocked: then the coordinator watches the messages over MPI. */
static void a_rank_never_answered_stays(void **state)
{
    stage *s = *state;
    int64_t start_ns = cf_clock_ns();
    while (cf_clock_ns() - start_ns < 4 * timeout_ns) hear(s);
    assert_int_equal(left_with(s, 1), -1);
}

static void words_of_other_jobs_and_for_other_ranks_do_not_count(void **state)
{
    stage *s = *state;
    for (int i = 0; i < 20; i++) {
        cf_beat b = hear(s);
        say(s, CF_BEAT_END, token + 1, WORKER, 0);
        say(s, CF_BEAT_END, token, WORKER + 1, 0);
        cf_datagram_send(&s->socket, &s->peer, "end", 3);
        say(s, CF_BEAT_PULSE, token, WORKER, b.route);
    }
    assert_int_equal(left_with(s, 1), -1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_heart_tells_what_the_rank_does_and_that_it_moves),
        CASE(a_rank_leaves_when_the_coordinator_says_so),
        CASE(a_rank_leaves_when_the_coordinator_is_silent),
        CASE(a_rank_never_answered_stays),
        CASE(words_of_other_jobs_and_for_other_ranks_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
