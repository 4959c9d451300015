/* Heartbeats: datagrams come back as sent, foreign and damaged ones are passed over; stamps and the
 * clock of waking hours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math/philox.h"
#include "proto/beat.h"
#include "proto/stamp.h"

enum { SEED = 4712 };

static const uint64_t token = 0x8123456789abcdefu;

static const cf_beat sample = {.kind = CF_BEAT_ALIVE,
                               .token = 0x8123456789abcdefu,
                               .worker = 1023,
                               .route = 15,
                               .doing = CF_DOING_SUMS,
                               .fold = 127,
                               .step = 1000000000000,
                               .still_ns = 299999999999};

static void assert_same(const cf_beat *a, const cf_beat *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(a->token == b->token);
    assert_int_equal(a->worker, b->worker);
    assert_int_equal(a->route, b->route);
    assert_int_equal(a->doing, b->doing);
    assert_int_equal(a->fold, b->fold);
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->still_ns, b->still_ns);
}

static void beats_come_back_as_sent(void **state)
{
    (void)state;
    uint8_t bytes[CF_BEAT_BYTES];
    cf_beat b = sample, back;
    for (int fold = -1; fold < CF_BEAT_MAX_FOLDS; fold++) {
        b.fold = fold;
        b.doing = (cf_doing)((fold + 1) % CF_DOING_N);
        b.kind = (cf_beat_kind)(CF_BEAT_ALIVE + (fold + 1) % 3);
        cf_beat_pack(&b, bytes);
        assert_true(cf_beat_unpack(bytes, sizeof bytes, token, &back));
        assert_same(&b, &back);
    }
}

static void beats_of_another_job_are_not_ours(void **state)
{
    (void)state;
    uint8_t bytes[CF_BEAT_BYTES];
    cf_beat back;
    cf_beat_pack(&sample, bytes);
    assert_false(cf_beat_unpack(bytes, sizeof bytes, token + 1, &back));
    assert_false(cf_beat_unpack(bytes, sizeof bytes, 0, &back));
}

static void beats_of_another_size_are_not_ours(void **state)
{
    (void)state;
    uint8_t bytes[CF_BEAT_BYTES + 1] = {0};
    cf_beat back;
    cf_beat_pack(&sample, bytes);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        uint8_t *exact = malloc(n > 0 ? n : 1); /* so that a sanitizer sees a read past the end */
        assert_non_null(exact);
        if (n > 0) memcpy(exact, bytes, n);
        assert_true(cf_beat_unpack(exact, n, token, &back) == (n == CF_BEAT_BYTES));
        free(exact);
    }
}

static void fields_out_of_range_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{0, 0},     {4, 2},  {5, 0},  {5, 4},     {6, CF_DOING_N}, {6, 255}, {18, 0x10},
                 {19, 0x80}, {21, 1}, {23, 1}, {31, 0x80}, {39, 0x80},      {40, 1},  {47, 1}};
    cf_beat back;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t bytes[CF_BEAT_BYTES];
        cf_beat_pack(&sample, bytes);
        assert_int_not_equal(bytes[wrong[i].at], wrong[i].value);
        bytes[wrong[i].at] = wrong[i].value;
        assert_false(cf_beat_unpack(bytes, sizeof bytes, token, &back));
    }
}

/* Random bytes behind the right magic and token: refused, or in range and the same when packed. */
static void whatever_is_taken_is_in_range(void **state)
{
    (void)state;
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    int taken = 0;
    print_message("seed %d\n", SEED);
    for (int run = 0; run < 200000; run++) {
        uint8_t bytes[CF_BEAT_BYTES], again[CF_BEAT_BYTES];
        cf_beat back;
        cf_beat_pack(&sample, bytes);
        for (uint32_t k = 1 + cf_rng_below(&rng, 3); k > 0; k--)
            bytes[cf_rng_below(&rng, CF_BEAT_BYTES)] = (uint8_t)cf_rng_u32(&rng);
        if (!cf_beat_unpack(bytes, sizeof bytes, token, &back)) continue;
        taken++;
        assert_in_range(back.doing, 0, CF_DOING_N - 1);
        assert_true(back.fold >= -1 && back.fold < CF_BEAT_MAX_FOLDS);
        assert_true(back.worker >= 0 && back.step >= 0 && back.still_ns >= 0);
        cf_beat_pack(&back, again);
        assert_memory_equal(bytes, again, sizeof bytes);
    }
    print_message("%d of 200000 taken\n", taken);
    assert_in_range(taken, 1, 199999); /* both outcomes were met */
}

static void every_doing_has_words_and_an_allowance(void **state)
{
    (void)state;
    for (int i = 0; i < CF_DOING_N; i++) {
        const cf_doing_row *row = cf_doing_find((cf_doing)i);
        assert_non_null(row->words);
        assert_in_range(row->allowance, 1, 4);
    }
}

static void a_stamp_tells_what_was_set_last_and_when_it_was_first_seen(void **state)
{
    (void)state;
    cf_stamp s = {0};
    cf_stamp_look look = {0};
    assert_false(cf_stamp_see(&s, 5, &look));
    cf_stamp_set(&s, CF_DOING_COMPUTE, 127, ((int64_t)1 << 48) - 1);
    assert_true(cf_stamp_see(&s, 10, &look));
    assert_int_equal(look.doing, CF_DOING_COMPUTE);
    assert_int_equal(look.fold, 127);
    assert_int_equal(look.step, ((int64_t)1 << 48) - 1);
    assert_false(cf_stamp_see(&s, 20, &look));
    assert_int_equal(look.moved_ns, 10);
    cf_stamp_set(&s, CF_DOING_COMPUTE, 127, ((int64_t)1 << 48) - 1); /* the next micro-batch */
    assert_true(cf_stamp_see(&s, 30, &look));
    assert_int_equal(look.moved_ns, 30);
    cf_stamp_set(&s, CF_DOING_AWAIT_PLAN, -1, 0);
    assert_true(cf_stamp_see(&s, 40, &look));
    assert_int_equal(look.fold, -1);
    assert_int_equal(look.step, 0);
}

/* An hour in which the whole job was suspended is no hour of silence. */
static void time_asleep_does_not_count(void **state)
{
    (void)state;
    cf_awake a = {0};
    int64_t second = 1000000000, hour = 3600 * second;
    assert_int_equal(cf_awake_now(&a, hour, 2 * second), 0);
    assert_int_equal(cf_awake_now(&a, hour + second, 2 * second), second);
    assert_int_equal(cf_awake_now(&a, 3 * hour, 2 * second), 3 * second);
    assert_int_equal(cf_awake_now(&a, 3 * hour + second / 2, 2 * second), 3 * second + second / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beats_come_back_as_sent),
        cmocka_unit_test(beats_of_another_job_are_not_ours),
        cmocka_unit_test(beats_of_another_size_are_not_ours),
        cmocka_unit_test(fields_out_of_range_are_refused),
        cmocka_unit_test(whatever_is_taken_is_in_range),
        cmocka_unit_test(every_doing_has_words_and_an_allowance),
        cmocka_unit_test(a_stamp_tells_what_was_set_last_and_when_it_was_first_seen),
        cmocka_unit_test(time_asleep_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
