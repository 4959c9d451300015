/* Control messages: each kind comes back as sent; bytes that are no message are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math/philox.h"
#include "proto/control.h"

enum { SEED = 4711 };

/* Packs, unpacks into *back and checks the kind. */
static void send(const cf_message *m, cf_message *back)
{
    cf_buf wire = {0};
    assert_int_equal(cf_message_pack(m, &wire), CF_OK);
    assert_int_equal(cf_message_unpack(wire.data, wire.len, back), CF_OK);
    assert_int_equal(back->kind, m->kind);
    cf_buf_fini(&wire);
}

static void assert_refused(const void *bytes, size_t n)
{
    cf_message m;
    assert_int_equal(cf_message_unpack(bytes, n, &m), CF_E_DEVICE);
    assert_non_null(strstr(cf_err_text(), "control message"));
    assert_int_equal(m.kind, 0); /* nothing left to release */
}

static void hello_comes_back_as_sent(void **state)
{
    (void)state;
    cf_message back, m = {.kind = CF_MSG_HELLO};
    m.hello = (cf_msg_hello){.host = "node-17", .pid = 1234567, .threads = 16, .device = "cpu é"};
    send(&m, &back);
    assert_string_equal(back.hello.host, "node-17");
    assert_int_equal(back.hello.pid, 1234567);
    assert_int_equal(back.hello.threads, 16);
    assert_string_equal(back.hello.device, "cpu é");
    cf_message_fini(&back);
}

static void fill_plan(cf_message *m, uint8_t *fold_of, int32_t *group_of_fold, int32_t *workers)
{
    *m = (cf_message){.kind = CF_MSG_PLAN};
    m->plan = (cf_msg_plan){.config = "train: {}\n",
                            .config_path = "a/b.yaml",
                            .run_dir = "",
                            .data_hash = 0xf000000000000001u,
                            .cells_hash = 0xe000000000000002u,
                            .init_hash = 0xd000000000000003u,
                            .n_folds = 3,
                            .fold_of = fold_of,
                            .n_images = 5,
                            .n_groups = 2,
                            .group_of_fold = group_of_fold,
                            .group_of_worker = workers,
                            .n_workers = 4};
}

static void plan_comes_back_as_sent(void **state)
{
    (void)state;
    uint8_t fold_of[] = {0, 2, 1, CF_FOLD_TRAIN, 0};
    int32_t group_of_fold[] = {1, -1, 0}, workers[] = {0, 0, 1, 1};
    cf_message m, back;
    fill_plan(&m, fold_of, group_of_fold, workers);
    send(&m, &back);
    assert_string_equal(back.plan.config, "train: {}\n");
    assert_string_equal(back.plan.config_path, "a/b.yaml");
    assert_string_equal(back.plan.run_dir, "");
    assert_true(back.plan.data_hash == m.plan.data_hash);
    assert_true(back.plan.cells_hash == m.plan.cells_hash);
    assert_true(back.plan.init_hash == m.plan.init_hash);
    assert_int_equal(back.plan.n_folds, 3);
    assert_int_equal(back.plan.n_images, 5);
    assert_int_equal(back.plan.n_groups, 2);
    assert_int_equal(back.plan.n_workers, 4);
    assert_memory_equal(back.plan.fold_of, fold_of, sizeof fold_of);
    assert_memory_equal(back.plan.group_of_fold, group_of_fold, sizeof group_of_fold);
    assert_memory_equal(back.plan.group_of_worker, workers, sizeof workers);
    cf_message_fini(&back);
}

static void plan_with_indices_out_of_range_is_refused(void **state)
{
    (void)state;
    uint8_t fold_of[] = {0, 2, 1, 1, 0};
    int32_t group_of_fold[] = {1, -1, 0}, workers[] = {0, 0, 1, 1};
    struct {
        uint8_t fold;
        int32_t group_of_fold, group_of_worker;
        int n_folds, n_groups;
    } wrong[] = {{3, 0, 0, 3, 2},  {255, 0, 0, 3, 2}, {0, 2, 0, 3, 2}, {0, -2, 0, 3, 2},
                 {0, 0, -1, 3, 2}, {0, 0, 2, 3, 2},   {0, 0, 0, 0, 2}, {0, 0, 0, 3, 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cf_message m;
        cf_buf wire = {0};
        fold_of[1] = wrong[i].fold;
        group_of_fold[1] = wrong[i].group_of_fold;
        workers[2] = wrong[i].group_of_worker;
        fill_plan(&m, fold_of, group_of_fold, workers);
        m.plan.n_folds = wrong[i].n_folds;
        m.plan.n_groups = wrong[i].n_groups;
        assert_int_equal(cf_message_pack(&m, &wire), CF_OK);
        assert_refused(wire.data, wire.len);
        cf_buf_fini(&wire);
    }
}

static void progress_comes_back_as_sent(void **state)
{
    (void)state;
    cf_message back, m = {.kind = CF_MSG_PROGRESS};
    m.progress = (cf_msg_progress){.fold = 4,
                                   .phase = CF_PHASE_TEST,
                                   .step = 7,
                                   .total_steps = 900,
                                   .epoch = 2,
                                   .epochs = 20,
                                   .loss = (double)NAN,
                                   .accuracy = 0.75,
                                   .learning_rate = 3e-3,
                                   .wait_seconds = 0.25,
                                   .step_seconds = 1.5,
                                   .images = 640,
                                   .resident_bytes = 1 << 30,
                                   .longest_step = 0.125,
                                   .longest_save = 2.5};
    send(&m, &back);
    assert_true(isnan(back.progress.loss));
    back.progress.loss = m.progress.loss = 0;
    assert_int_equal(back.progress.fold, 4);
    assert_int_equal(back.progress.phase, CF_PHASE_TEST);
    assert_int_equal(back.progress.step, 7);
    assert_int_equal(back.progress.total_steps, 900);
    assert_int_equal(back.progress.epoch, 2);
    assert_int_equal(back.progress.epochs, 20);
    assert_true(back.progress.accuracy == 0.75 && back.progress.learning_rate == 3e-3);
    assert_true(back.progress.wait_seconds == 0.25 && back.progress.step_seconds == 1.5);
    assert_int_equal(back.progress.images, 640);
    assert_int_equal(back.progress.resident_bytes, 1 << 30);
    assert_true(back.progress.longest_step == 0.125 && back.progress.longest_save == 2.5);
    cf_message_fini(&back);
}

static void result_comes_back_as_sent(void **state)
{
    (void)state;
    int64_t images[] = {5, 0, 171373};
    float logits[] = {1.5f, -0.0f, 3e-39f /* denormal */, INFINITY, -2.0f, 0.1f};
    cf_message back, m = {.kind = CF_MSG_RESULT};
    m.result = (cf_msg_result){.fold = 1,
                               .n = 3,
                               .n_nodes = 2,
                               .final = true,
                               .epoch = 20,
                               .images = images,
                               .logits = logits};
    send(&m, &back);
    assert_int_equal(back.result.fold, 1);
    assert_int_equal(back.result.n, 3);
    assert_int_equal(back.result.n_nodes, 2);
    assert_true(back.result.final);
    assert_int_equal(back.result.epoch, 20);
    assert_memory_equal(back.result.images, images, sizeof images);
    assert_memory_equal(back.result.logits, logits, sizeof logits);
    cf_message_fini(&back);
}

/* Only n counts: a result of no images is fine, one with logits missing is not. */
static void result_with_missing_logits_is_refused(void **state)
{
    (void)state;
    int64_t images[] = {1, 2};
    float logits[] = {1, 2};
    cf_buf wire = {0};
    cf_message m = {.kind = CF_MSG_RESULT};
    m.result = (cf_msg_result){.n = 2, .n_nodes = 1, .images = images, .logits = logits};
    assert_int_equal(cf_message_pack(&m, &wire), CF_OK);
    /* fold 0 is not on the wire: the body starts with n_nodes (field 2) = 1 */
    assert_int_equal(wire.data[2], 0x10);
    wire.data[3] = 2;
    assert_refused(wire.data, wire.len);
    cf_buf_fini(&wire);
}

static void result_too_large_for_a_message_is_not_sent(void **state)
{
    (void)state;
    int64_t n = CF_CONTROL_MAX_BYTES / 8 + 1;
    cf_buf wire = {0};
    cf_message m = {.kind = CF_MSG_RESULT};
    m.result = (cf_msg_result){.n = n, .n_nodes = 2};
    m.result.images = calloc((size_t)n, sizeof *m.result.images);
    m.result.logits = calloc((size_t)n * 2, sizeof *m.result.logits);
    assert_int_equal(cf_message_pack(&m, &wire), CF_E_UNEXPECTED);
    cf_buf_fini(&wire);
    cf_message_fini(&m);
}

static void done_and_bye_come_back_as_sent(void **state)
{
    (void)state;
    cf_message back, m = {.kind = CF_MSG_DONE};
    m.done.code = CF_E_REQUEUE;
    strcpy(m.done.text, "rank 3: \"quoted\"\nline");
    send(&m, &back);
    assert_int_equal(back.done.code, CF_E_REQUEUE);
    assert_string_equal(back.done.text, m.done.text);
    for (int code = 0; code <= CF_E_REQUEUE; code += CF_E_REQUEUE) {
        m = (cf_message){.kind = CF_MSG_BYE, .bye.code = (cf_err)code};
        send(&m, &back);
        assert_int_equal(back.bye.code, code);
    }
    cf_message_fini(&back);
}

static void stop_comes_back_as_sent(void **state)
{
    (void)state;
    cf_message back, m = {.kind = CF_MSG_STOP, .stop.reason = "signal USR1 on host a"};
    send(&m, &back);
    assert_string_equal(back.stop.reason, m.stop.reason);
    m.stop.reason[0] = '\0';
    send(&m, &back);
    assert_string_equal(back.stop.reason, "");
    cf_message_fini(&back);
}

static void every_truncation_of_a_message_is_refused_or_whole(void **state)
{
    (void)state;
    uint8_t fold_of[] = {0, 2, 1, 1, 0};
    int32_t group_of_fold[] = {1, -1, 0}, workers[] = {0, 0, 1, 1};
    cf_message m, back;
    cf_buf wire = {0};
    fill_plan(&m, fold_of, group_of_fold, workers);
    assert_int_equal(cf_message_pack(&m, &wire), CF_OK);
    for (size_t n = 0; n < wire.len; n++) {
        char *exact = malloc(n > 0 ? n : 1); /* so that a sanitizer sees a read past the end */
        if (n > 0) memcpy(exact, wire.data, n);
        /* A plan cut between two fields is a shorter plan, but never one without workers, which
         * come last. */
        assert_int_equal(cf_message_unpack(exact, n, &back), CF_E_DEVICE);
        free(exact);
    }
    cf_buf_fini(&wire);
}

static void watch_comes_back_as_sent_and_never_cut(void **state)
{
    (void)state;
    cf_message back, m = {.kind = CF_MSG_WATCH};
    cf_buf wire = {0};
    m.watch = (cf_msg_watch){.token = 0xf00000000000000fu,
                             .port = 65535,
                             .timeout_ns = 300000000000,
                             .host = "node-1",
                             .rank = 4,
                             .pid = 99,
                             .n_addresses = 2,
                             .addresses = {{0xfd, [15] = 1}, {[10] = 0xff, 0xff, 10, 0, 0, 7}}};
    send(&m, &back);
    assert_memory_equal(&back.watch, &m.watch, sizeof m.watch);
    assert_int_equal(cf_message_pack(&m, &wire), CF_OK);
    for (size_t n = 0; n < wire.len; n++) assert_refused(wire.data, n);
    cf_buf_fini(&wire);
    m.watch.port = 0;
    assert_int_equal(cf_message_pack(&m, &wire), CF_OK);
    assert_refused(wire.data, wire.len);
    cf_buf_fini(&wire);
}

static void hostile_bytes_are_refused(void **state)
{
    (void)state;
    static const char *const bytes[] = {
        "\x00\x01",
        "\x09\x01",
        "\xff\x01",
        "\x01\x02",
        "\x01\x00",                                             /* kinds and versions */
        "\x06\x01\x08\x63",                                     /* BYE with exit code 99 */
        "\x01\x01\x0a\xff\xff\xff\xff\x0f",                     /* length past the end */
        "\x01\x01\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", /* length of 64 bits */
        "\x01\x01\x0b\x0b\x0b\x0c",
        "\x01\x01\x0e",
        "\x01\x01\x0f",                                             /* groups, unknown wire types */
        "\x01\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", /* varint of 11 bytes */
        "\x05\x01\x08\x0a",
        "\x05\x01\x08\x55\x08\x56", /* unknown codes */
        "\x03\x01\x10\x06",         /* unknown phase */
        "\x03\x01\x08\x80\x01",     /* fold 128 */
    };
    static const size_t sizes[] = {2, 2, 2, 2, 2, 4, 8, 13, 6, 3, 3, 14, 4, 6, 4, 5};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) assert_refused(bytes[i], sizes[i]);
    assert_refused("", 0);
    assert_refused("\x01", 1);
}

/* Two megabytes of empty fields, of deep nesting, and of one column in many pieces: refused or read
 * as an empty message, in little memory and no recursion. */
static void floods_of_fields_do_not_hurt(void **state)
{
    (void)state;
    enum { N = 2 << 20 };
    static const uint8_t patterns[][6] = {
        {2, 0x7a, 0x00},                   /* unknown field, empty */
        {2, 0x42, 0x00},                   /* group_of_fold, empty pieces */
        {2, 0x0a, 0x00},                   /* config again and again */
        {1, 0x0b},                         /* groups in groups */
        {5, 0x7a, 0xfa, 0xff, 0x7f, 0x7a}, /* messages in messages */
        {2, 0x40, 0x02},                   /* group_of_fold one by one, not packed */
    };
    uint8_t *bytes = malloc(N);
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        bytes[0] = CF_MSG_PLAN;
        bytes[1] = 1;
        for (size_t i = 2; i < N; i++) bytes[i] = patterns[p][1 + (i - 2) % patterns[p][0]];
        assert_refused(bytes, N);
    }
    free(bytes);
}

/* Random damage to a valid message: either refused, or a message within its ranges; never a crash
 * (run under sanitizers too). */
static void damaged_plans_are_refused_or_in_range(void **state)
{
    (void)state;
    uint8_t fold_of[] = {0, 2, 1, 1, 0};
    int32_t group_of_fold[] = {1, -1, 0}, workers[] = {0, 0, 1, 1};
    cf_message m, back;
    cf_buf wire = {0};
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    int refused = 0;
    print_message("seed %d\n", SEED);
    fill_plan(&m, fold_of, group_of_fold, workers);
    assert_int_equal(cf_message_pack(&m, &wire), CF_OK);
    for (int run = 0; run < 20000; run++) {
        char *copy = malloc(wire.len);
        memcpy(copy, wire.data, wire.len);
        for (uint32_t k = 1 + cf_rng_below(&rng, 3); k > 0; k--) {
            copy[cf_rng_below(&rng, (uint32_t)wire.len)] = (char)cf_rng_u32(&rng);
        }
        cf_err err = cf_message_unpack(copy, wire.len, &back);
        if (err != CF_OK) {
            assert_int_equal(err, CF_E_DEVICE);
            refused++;
        } else if (back.kind == CF_MSG_PLAN) {
            for (int64_t i = 0; i < back.plan.n_images; i++) {
                uint8_t fold = back.plan.fold_of[i];
                assert_true(fold < back.plan.n_folds || fold == CF_FOLD_TRAIN);
            }
            for (int i = 0; i < back.plan.n_workers; i++) {
                assert_in_range(back.plan.group_of_worker[i], 0, back.plan.n_groups - 1);
            }
        }
        if (err == CF_OK) cf_message_fini(&back);
        free(copy);
    }
    print_message("%d of 20000 refused\n", refused);
    assert_in_range(refused, 1, 19999); /* both outcomes were met */
    cf_buf_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_comes_back_as_sent),
        cmocka_unit_test(plan_comes_back_as_sent),
        cmocka_unit_test(plan_with_indices_out_of_range_is_refused),
        cmocka_unit_test(progress_comes_back_as_sent),
        cmocka_unit_test(result_comes_back_as_sent),
        cmocka_unit_test(result_with_missing_logits_is_refused),
        cmocka_unit_test(result_too_large_for_a_message_is_not_sent),
        cmocka_unit_test(done_and_bye_come_back_as_sent),
        cmocka_unit_test(stop_comes_back_as_sent),
        cmocka_unit_test(every_truncation_of_a_message_is_refused_or_whole),
        cmocka_unit_test(watch_comes_back_as_sent_and_never_cut),
        cmocka_unit_test(hostile_bytes_are_refused),
        cmocka_unit_test(floods_of_fields_do_not_hurt),
        cmocka_unit_test(damaged_plans_are_refused_or_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
