/* The coordinator's watch against made-up workers: a forked process has the watch in it, this one
 * plays both workers. */
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

#include "coordinator/watch.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/comm/datagram.h"
#include "tests/support/scratch.h"

enum { N = 2 };

static const int64_t patience_ns = 20LL * 1000000000, timeout_ns = 1000LL * 1000000;

typedef struct stage {
    char folder[CF_PATH_MAX];
    cf_datagram sockets[N]; /* of the workers */
    cf_msg_watch where[N];
    pid_t child;
} stage;

/* The event loop: greets the workers, tells the test where heartbeats go, and listens for ever. */
static void coordinate(const char *folder, int to)
{
    static const int32_t groups[N] = {0, 0};
    const cf_watch_job job = {.rank = 0,
                              .first_worker = 1,
                              .n_workers = N,
                              .group_of_worker = groups,
                              .run_dir = folder,
                              .timeout_ns = timeout_ns,
                              .start_ns = cf_clock_ns()};
    cf_watch *watch = NULL;
    if (cf_watch_start(&job, &watch) != CF_OK) _exit(99);
    for (int i = 0; i < N; i++) {
        cf_msg_hello hello = {.host = "node", .pid = 100 + i};
        cf_msg_watch where;
        if (!cf_watch_meet(watch, i, &hello, &where)) _exit(98);
        if (write(to, &where, sizeof where) != sizeof where) _exit(97);
    }
    for (;;) {
        cf_watch_doing(watch, CF_DOING_LISTEN);
        cf_sleep_ns(1000000);
    }
}

static int set_up(void **state)
{
    static stage s;
    int ends[2];
    s = (stage){0};
    *state = &s;
    if (!scratch_make(s.folder) || pipe(ends) != 0) return 1;
    s.child = fork();
    if (s.child == 0) coordinate(s.folder, ends[1]);
    if (s.child < 0) return 1;
    close(ends[1]);
    for (int i = 0; i < N; i++) {
        if (read(ends[0], &s.where[i], sizeof s.where[i]) != sizeof s.where[i]) return 1;
        if (cf_datagram_open(&s.sockets[i]) != CF_OK) return 1;
    }
    close(ends[0]);
    return 0;
}

static int tear_down(void **state)
{
    stage *s = *state;
    if (s->child > 0) {
        kill(s->child, SIGKILL);
        waitpid(s->child, NULL, 0);
    }
    for (int i = 0; i < N; i++) cf_datagram_close(&s->sockets[i]);
    scratch_remove(s->folder);
    return 0;
}

static void beat(const stage *s, int worker, cf_doing doing, int64_t still_ns, uint64_t token)
{
    uint8_t bytes[CF_BEAT_BYTES];
    const cf_msg_watch *w = &s->where[worker];
    cf_peer to = {.port = (uint16_t)w->port};
    memcpy(to.address, w->addresses[w->n_addresses - 1], sizeof to.address);
    cf_beat_pack(&(cf_beat){.kind = CF_BEAT_ALIVE,
                            .token = token,
                            .worker = worker,
                            .route = 5,
                            .doing = doing,
                            .fold = 1,
                            .step = 40,
                            .still_ns = still_ns},
                 bytes);
    cf_datagram_send(&s->sockets[worker], &to, bytes, sizeof bytes);
}

/* The next word to this worker; kind 0 when none came in time. */
static cf_beat hear(const stage *s, int worker, int64_t within_ns)
{
    uint8_t bytes[CF_BEAT_BYTES];
    size_t n = 0;
    cf_peer from;
    cf_beat b = {0};
    if (cf_datagram_receive(&s->sockets[worker], within_ns, bytes, sizeof bytes, &n, &from))
        assert_true(cf_beat_unpack(bytes, n, s->where[worker].token, &b));
    return b;
}

/* Hears all words until there are none for a while. */
static bool is_told_to_end(const stage *s, int worker)
{
    cf_beat b = {.kind = CF_BEAT_PULSE};
    while (b.kind == CF_BEAT_PULSE) b = hear(s, worker, timeout_ns / 10);
    return b.kind == CF_BEAT_END;
}

static void assert_ended(stage *s)
{
    int status = 0;
    assert_int_equal(waitpid(s->child, &status, 0), s->child);
    s->child = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CF_E_HANG);
}

static void assert_logged(const stage *s, const char *const parts[], int n_parts)
{
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    assert_int_equal(cf_path_join(path, sizeof path, s->folder, "log.jsonl"), CF_OK);
    assert_int_equal(cf_file_read(path, 1 << 16, &text, &n), CF_OK);
    assert_int_equal(text[n - 1], '\n');
    for (int i = 0; i < n_parts; i++)
        if (strstr(text, parts[i]) == NULL) fail_msg("no %s in %s", parts[i], text);
    free(text);
}

static void a_heartbeat_gets_its_pulse_and_a_foreign_one_none(void **state)
{
    stage *s = *state;
    uint64_t token = s->where[0].token;
    beat(s, 0, CF_DOING_COMPUTE, 0, token + 1);
    beat(s, 0, CF_DOING_COMPUTE, 0, token);
    cf_beat b = hear(s, 0, patience_ns);
    assert_int_equal(b.kind, CF_BEAT_PULSE);
    assert_int_equal(b.worker, 0);
    assert_int_equal(b.route, 5);
    assert_int_equal(hear(s, 0, timeout_ns / 10).kind, 0); /* no second one */
    assert_true(s->where[1].token == token);
    assert_int_equal(s->where[0].pid, s->child);
}

static void a_silent_worker_is_named_in_the_log_and_the_others_are_told_to_leave(void **state)
{
    stage *s = *state;
    static const char *const parts[] = {"\"event\": \"hang\"",
                                        "\"kind\": \"silent\"",
                                        "\"rank\": 2",
                                        "\"host\": \"node\"",
                                        "\"pid\": 101",
                                        "\"doing\": \"computing\"",
                                        "\"fold\": 1",
                                        "\"step\": 40",
                                        "rank 2 on host node (process 101) stopped answering"};
    bool told = false;
    int64_t end_ns = cf_clock_ns() + patience_ns;
    beat(s, 1, CF_DOING_COMPUTE, 0, s->where[1].token);
    while (!told && cf_clock_ns() < end_ns) {
        beat(s, 0, CF_DOING_SUMS, 0, s->where[0].token);
        told = is_told_to_end(s, 0);
    }
    assert_true(told);
    assert_ended(s);
    assert_logged(s, parts, (int)(sizeof parts / sizeof *parts));
}

static void a_stuck_worker_is_named_although_its_heart_beats(void **state)
{
    stage *s = *state;
    static const char *const parts[] = {"\"kind\": \"stuck\"", "\"rank\": 1",
                                        "\"doing\": \"waiting for images\""};
    int64_t start_ns = cf_clock_ns();
    bool told = false;
    while (!told && cf_clock_ns() - start_ns < patience_ns) {
        beat(s, 0, CF_DOING_DATA, cf_clock_ns() - start_ns, s->where[0].token);
        beat(s, 1, CF_DOING_SUMS, cf_clock_ns() - start_ns, s->where[1].token);
        told = is_told_to_end(s, 1);
    }
    assert_true(told);
    assert_ended(s);
    assert_logged(s, parts, 3);
}

static void no_watch_is_wanted(void **state)
{
    (void)state;
    const cf_watch_job job = {.n_workers = 1};
    cf_watch *watch = (cf_watch *)(uintptr_t)1;
    cf_msg_watch where;
    assert_int_equal(cf_watch_start(&job, &watch), CF_OK);
    assert_null(watch);
    assert_false(cf_watch_meet(watch, 0, &(cf_msg_hello){.pid = 1}, &where));
    cf_watch_heard(watch, &(cf_message){.kind = CF_MSG_BYE});
    cf_watch_doing(watch, CF_DOING_WRITE);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_heartbeat_gets_its_pulse_and_a_foreign_one_none),
        CASE(a_silent_worker_is_named_in_the_log_and_the_others_are_told_to_leave),
        CASE(a_stuck_worker_is_named_although_its_heart_beats),
        cmocka_unit_test(no_watch_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
