/* Who is blamed when a job hangs: rules on a table, with times made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/roll.h"

#define S ((int64_t)1000000000)

enum { N = 4, TIMEOUT = 300 };

/* Workers 0 and 1 are group 0, 2 and 3 group 1; the coordinator is rank 0. All were met at 0 s. */
static cf_roll roll;

static int set_up(void **state)
{
    (void)state;
    const int32_t groups[N] = {0, 0, 1, 1};
    if (cf_roll_init(&roll, N, 1, groups, TIMEOUT * S) != CF_OK) return 1;
    for (int i = 0; i <= N; i++) {
        char host[32];
        snprintf(host, sizeof host, "node-%d", i);
        cf_roll_meet(&roll, i, host, 1000 + i, 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cf_roll_fini(&roll);
    return 0;
}

static void beat(int worker, cf_doing doing, int64_t still_s, int64_t now_s)
{
    const cf_beat b = {.kind = CF_BEAT_ALIVE,
                       .worker = worker,
                       .doing = doing,
                       .fold = 2,
                       .step = 340 + worker,
                       .still_ns = still_s * S};
    cf_roll_beat(&roll, &b, now_s * S);
    cf_roll_own(&roll, CF_DOING_LISTEN, -1, 0, now_s * S);
}

static void beat_all(cf_doing doing, int64_t still_s, int64_t now_s)
{
    for (int i = 0; i < N; i++) beat(i, doing, still_s, now_s);
}

static cf_verdict judge(int64_t now_s)
{
    return cf_roll_judge(&roll, now_s * S);
}

static void assert_blamed(int64_t now_s, cf_blame blame, int row)
{
    cf_verdict v = judge(now_s);
    assert_int_equal(v.blame, blame);
    assert_int_equal(v.row, row);
}

static void assert_nobody(int64_t now_s)
{
    assert_blamed(now_s, CF_BLAME_NOBODY, -1);
}

static void assert_said(int64_t now_s, const char *expected)
{
    cf_buf text = {0};
    cf_verdict v = judge(now_s);
    cf_roll_describe(&roll, &v, now_s * S, &text);
    if (strcmp(cf_buf_text(&text), expected) != 0) print_error("%s\n", cf_buf_text(&text));
    assert_string_equal(cf_buf_text(&text), expected);
    cf_buf_fini(&text);
}

static void a_job_that_works_blames_nobody(void **state)
{
    (void)state;
    static const cf_doing doings[] = {CF_DOING_SET_UP, CF_DOING_FIRST_DATA, CF_DOING_COMPUTE,
                                      CF_DOING_SUMS,   CF_DOING_SAVE,       CF_DOING_TEST};
    for (int64_t t = 1; t < 100000; t++) {
        for (int i = 0; i < N; i++) beat(i, doings[(t + i) % 6], (t + i) % 299, t);
        assert_nobody(t);
    }
}

static void a_silent_rank_is_named_before_those_that_wait_for_it(void **state)
{
    (void)state;
    beat_all(CF_DOING_COMPUTE, 0, 10);
    for (int64_t t = 11; t <= 310; t++) {
        for (int i = 0; i < N; i++)
            if (i != 2) beat(i, CF_DOING_SUMS, t - 9, t);
        beat(0, CF_DOING_COMPUTE, 0, t);
        assert_nobody(t);
    }
    assert_blamed(311, CF_BLAME_SILENT, 2);
    assert_said(311,
                "rank 3 on host node-2 (process 1002) stopped answering: last heard 301 s ago, "
                "computing at fold 2, step 342; of the others 1 is computing, 2 are waiting "
                "for sums");
}

/* It was about to wait for sums itself when it was stopped: the other must not call that a deadlock
 * although it waits for longer. */
static void a_rank_stopped_while_it_waits_is_silent_not_deadlocked(void **state)
{
    (void)state;
    beat_all(CF_DOING_COMPUTE, 0, 5);
    beat(1, CF_DOING_SUMS, 2, 10);
    for (int64_t t = 11; t <= 310; t++) {
        beat(0, CF_DOING_SUMS, t - 7, t);
        beat(2, CF_DOING_COMPUTE, 0, t);
        beat(3, CF_DOING_COMPUTE, 0, t);
        assert_nobody(t);
    }
    assert_blamed(311, CF_BLAME_SILENT, 1);
}

static void a_stuck_loader_is_named_and_not_who_waits_longer(void **state)
{
    (void)state;
    for (int64_t t = 1; t <= 301; t++) {
        beat(0, CF_DOING_SUMS, t + 1, t);
        beat(1, CF_DOING_DATA, t - 1, t);
        beat(2, CF_DOING_COMPUTE, 0, t);
        beat(3, CF_DOING_COMPUTE, 0, t);
        assert_nobody(t);
    }
    beat(0, CF_DOING_SUMS, 303, 302);
    beat(1, CF_DOING_DATA, 301, 302);
    assert_blamed(302, CF_BLAME_STUCK, 1);
    assert_said(303,
                "rank 2 on host node-1 (process 1001) is stuck: for 301 s without a move it is "
                "waiting for images at fold 2, step 341, last heard 1 s ago; of the others 2 "
                "are computing, 1 is waiting for sums");
}

static void of_two_that_are_stuck_the_first_is_named(void **state)
{
    (void)state;
    beat_all(CF_DOING_COMPUTE, 0, 400);
    beat(1, CF_DOING_COMPUTE, 310, 400);
    beat(3, CF_DOING_COMPUTE, 350, 400);
    assert_blamed(400, CF_BLAME_STUCK, 3);
}

static void what_is_long_by_nature_may_take_four_times_as_long(void **state)
{
    (void)state;
    static const cf_doing slow[] = {CF_DOING_SET_UP, CF_DOING_FIRST_DATA, CF_DOING_SAVE};
    for (int i = 0; i < 3; i++) {
        beat_all(CF_DOING_SUMS, 1100, 2000); /* those that wait for it are excused as long */
        beat(2, CF_DOING_COMPUTE, 0, 2000);
        beat(1, slow[i], 4 * TIMEOUT, 2000);
        assert_nobody(2000);
        beat(1, slow[i], 4 * TIMEOUT + 1, 2000);
        assert_blamed(2000, CF_BLAME_STUCK, 1);
    }
}

static void all_waiting_for_each_other_are_listed(void **state)
{
    (void)state;
    beat_all(CF_DOING_SUMS, 301, 400);
    beat(2, CF_DOING_COMPUTE, 0, 400);
    cf_verdict v = judge(400);
    assert_int_equal(v.blame, CF_BLAME_ALL);
    assert_in_range(v.row, 0, 1); /* of group 0: in group 1 one computes */
    assert_said(400, "ranks have waited for each other for 301 s: rank 1 on host node-0 (process "
                     "1000) is waiting for sums at fold 2, step 340; rank 2 on host node-1 "
                     "(process 1001) is waiting for sums at fold 2, step 341");
    beat(1, CF_DOING_SUMS, 200, 400); /* it moved: the sums are on their way */
    assert_nobody(400);
    beat(1, CF_DOING_AWAIT_BYE, 301, 400); /* it believes that it is done */
    assert_int_equal(judge(400).blame, CF_BLAME_ALL);
}

static void one_that_waits_for_itself_alone_is_stuck(void **state)
{
    (void)state;
    roll.rows[0].group = 2;
    beat_all(CF_DOING_COMPUTE, 0, 400);
    beat(0, CF_DOING_SUMS, 301, 400);
    assert_blamed(400, CF_BLAME_STUCK, 0);
}

static void set_up_waits_for_every_group(void **state)
{
    (void)state;
    beat_all(CF_DOING_AWAIT_SET_UP, 400, 500);
    beat(3, CF_DOING_SET_UP, 400, 500);
    assert_nobody(500);
    beat(3, CF_DOING_AWAIT_SET_UP, 400, 500);
    assert_int_equal(judge(500).blame, CF_BLAME_ALL);
}

static void waiting_for_the_last_word_is_no_sign_of_trouble(void **state)
{
    (void)state;
    beat_all(CF_DOING_AWAIT_BYE, 100000, 100001);
    assert_nobody(100001);
    beat_all(CF_DOING_AWAIT_PLAN, 100000, 100001);
    assert_nobody(100001);
}

static void a_coordinator_that_stands_still_names_itself(void **state)
{
    (void)state;
    beat_all(CF_DOING_AWAIT_BYE, 2000, 2000);
    cf_roll_own(&roll, CF_DOING_WRITE, 1, 4 * TIMEOUT * S, 2000 * S);
    assert_nobody(2000);
    cf_roll_own(&roll, CF_DOING_WRITE, -1, (4 * TIMEOUT + 1) * S, 2000 * S);
    assert_blamed(2000, CF_BLAME_STUCK, N);
    assert_said(
        2000, "the coordinator, rank 0 on host node-4 (process 1004) is stuck: for 1201 s "
              "without a move it is at work in the run folder; of the others 4 are waiting for the "
              "coordinator's last word");
}

/* All is written, but one was stopped on its way out: MPI_Finalize waits for it. */
static void one_that_does_not_leave_is_named(void **state)
{
    (void)state;
    beat_all(CF_DOING_LEAVE, 1, 10);
    for (int64_t t = 11; t <= 310; t++) {
        for (int i = 1; i < N; i++) beat(i, CF_DOING_LEAVE, t - 9, t);
        cf_roll_own(&roll, CF_DOING_LEAVE, -1, (t - 9) * S, t * S);
        assert_nobody(t);
    }
    assert_blamed(311, CF_BLAME_SILENT, 0);
}

static void without_heartbeats_messages_count_and_the_time_doubles(void **state)
{
    (void)state;
    for (int64_t t = 1; t <= 8 * TIMEOUT; t++) assert_nobody(t); /* a long set-up, nothing known */
    assert_int_equal(judge(8 * TIMEOUT + 1).blame, CF_BLAME_SILENT);
    assert_int_equal(cf_roll_muted(&roll, 10 * S), -1);
    for (int i = 0; i < N; i++) cf_roll_message(&roll, i, CF_DOING_COMPUTE, 1, 7, 3000 * S);
    assert_int_equal(cf_roll_muted(&roll, 3000 * S), 0);
    for (int i = 0; i < N; i++)
        if (i != 1) cf_roll_message(&roll, i, CF_DOING_COMPUTE, 1, 9, 3600 * S);
    assert_nobody(3600);
    assert_blamed(3601, CF_BLAME_SILENT, 1);
    assert_said(3601, "rank 2 on host node-1 (process 1001) stopped answering: last heard 601 s "
                      "ago, computing at fold 1, step 7; of the others 3 are computing");
    for (int i = 0; i < N; i++) cf_roll_message(&roll, i, CF_DOING_AWAIT_BYE, -1, 0, 3601 * S);
    assert_nobody(100000); /* it has said its last */
}

static void heartbeats_that_come_late_are_taken_up(void **state)
{
    (void)state;
    cf_roll_message(&roll, 1, CF_DOING_COMPUTE, 1, 7, 100 * S);
    assert_int_equal(cf_roll_muted(&roll, 100 * S), 1);
    beat_all(CF_DOING_COMPUTE, 0, 101);
    assert_int_equal(cf_roll_muted(&roll, 102 * S), -1);
    assert_nobody(401);
    assert_int_equal(judge(402).blame, CF_BLAME_SILENT);
}

/* A network that drops datagrams from some time on, but not MPI's messages. */
static void messages_keep_a_rank_alive_whose_heartbeats_are_lost(void **state)
{
    (void)state;
    beat_all(CF_DOING_COMPUTE, 0, 10);
    for (int64_t t = 100; t < 2000; t += 100) {
        for (int i = 0; i < N; i++) cf_roll_message(&roll, i, CF_DOING_COMPUTE, 1, t, t * S);
        assert_nobody(t + 99);
    }
}

/* Steps may be much shorter than the time between heartbeats. */
static void a_message_tells_more_than_the_heartbeat_before_it(void **state)
{
    (void)state;
    beat_all(CF_DOING_SET_UP, 0, 10);
    for (int i = 0; i < N; i++) cf_roll_message(&roll, i, CF_DOING_COMPUTE, 1, 7, 11 * S);
    for (int i = 1; i < N; i++) beat(i, CF_DOING_SUMS, 0, 312);
    assert_said(312,
                "rank 1 on host node-0 (process 1000) stopped answering: last heard 301 s ago, "
                "computing at fold 1, step 7; of the others 3 are waiting for sums");
}

static void a_rank_never_heard_is_found_where_its_host_is_heard(void **state)
{
    (void)state;
    cf_roll_meet(&roll, 1, "node-0", 1001, 0);
    for (int64_t t = 1; t <= 301; t++)
        for (int i = 0; i < N; i++)
            if (i != 1) beat(i, CF_DOING_SET_UP, 0, t);
    assert_nobody(300);
    assert_blamed(301, CF_BLAME_SILENT, 1);
    assert_said(301, "rank 2 on host node-0 (process 1001) stopped answering: never heard in the "
                     "301 s since it reported; of the others 3 are setting up");
}

static void ranks_not_met_and_workers_out_of_range_are_passed_over(void **state)
{
    (void)state;
    const int32_t groups[N] = {0};
    cf_roll_fini(&roll);
    assert_int_equal(cf_roll_init(&roll, N, 1, groups, TIMEOUT * S), CF_OK);
    assert_nobody(100000);
    beat(N, CF_DOING_COMPUTE, 100000, 5);
    beat(N + 1000, CF_DOING_COMPUTE, 100000, 5);
    assert_nobody(100000);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_job_that_works_blames_nobody),
        CASE(a_silent_rank_is_named_before_those_that_wait_for_it),
        CASE(a_rank_stopped_while_it_waits_is_silent_not_deadlocked),
        CASE(a_stuck_loader_is_named_and_not_who_waits_longer),
        CASE(of_two_that_are_stuck_the_first_is_named),
        CASE(what_is_long_by_nature_may_take_four_times_as_long),
        CASE(all_waiting_for_each_other_are_listed),
        CASE(one_that_waits_for_itself_alone_is_stuck),
        CASE(set_up_waits_for_every_group),
        CASE(waiting_for_the_last_word_is_no_sign_of_trouble),
        CASE(a_coordinator_that_stands_still_names_itself),
        CASE(one_that_does_not_leave_is_named),
        CASE(without_heartbeats_messages_count_and_the_time_doubles),
        CASE(heartbeats_that_come_late_are_taken_up),
        CASE(messages_keep_a_rank_alive_whose_heartbeats_are_lost),
        CASE(a_message_tells_more_than_the_heartbeat_before_it),
        CASE(a_rank_never_heard_is_found_where_its_host_is_heard),
        CASE(ranks_not_met_and_workers_out_of_range_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
