/* Event files of folds: what log.jsonl tells, each point once, whatever happened to the job. What
 * is in the records is read by tests/cli/event_files.py; here bytes of files that must be the same
 * are compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/tensorboard.h"
#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/hash.h"
#include "proto/events.h"

static char folder[] = "/tmp/cytofold-test-tensorboard-XXXXXX";

/* A run folder of its own for each test. */
static const char *new_run(void)
{
    static int n;
    static char run[128];
    snprintf(run, sizeof run, "%s/run-%d", folder, n++);
    assert_int_equal(mkdir(run, 0777), 0);
    return run;
}

static void path_of(const char *run, int fold, char path[CF_PATH_MAX])
{
    snprintf(path, CF_PATH_MAX, "%s/fold-%d/%s", run, fold, CF_TENSORBOARD_FILE);
}

static cf_buf bytes_of(const char *run, int fold)
{
    char path[CF_PATH_MAX];
    cf_buf b = {0};
    path_of(run, fold, path);
    if (cf_file_read(path, 1 << 20, &b.data, &b.len) != CF_OK) fail_msg("%s", cf_err_text());
    return b;
}

static void assert_same_file(const char *run, const char *other, int fold)
{
    cf_buf a = bytes_of(run, fold), b = bytes_of(other, fold);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    cf_buf_fini(&b);
    cf_buf_fini(&a);
}

static void log_text(const char *run, const char *text)
{
    char path[CF_PATH_MAX];
    snprintf(path, sizeof path, "%s/log.jsonl", run);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void log_entry(const char *run, const cf_log_entry *e)
{
    char line[512];
    if (e->kind == CF_LOG_EPOCH)
        snprintf(line, sizeof line,
                 "{\"event\": \"epoch\", \"seconds\": %.17g, \"fold\": %d, \"epoch\": %lld, "
                 "\"step\": %lld, \"loss\": %.17g, \"accuracy\": %.17g, \"learning_rate\": %.17g, "
                 "\"images_per_second\": %.17g}\n",
                 e->seconds, e->fold, (long long)e->epoch, (long long)e->step, e->loss, e->accuracy,
                 e->learning_rate, e->images_per_second);
    else
        snprintf(line, sizeof line,
                 "{\"event\": \"test\", \"seconds\": %.17g, \"fold\": %d, \"epoch\": %lld, "
                 "\"accuracy\": %.17g}\n",
                 e->seconds, e->fold, (long long)e->epoch, e->accuracy);
    log_text(run, line);
}

static cf_log_entry epoch_of(int fold, int64_t epoch, double seconds)
{
    return (cf_log_entry){CF_LOG_EPOCH,        fold, epoch, 10 * epoch,         seconds,
                          1.0 / (double)epoch, 1e-3, 300.1, 0.1 * (double)epoch};
}

static cf_log_entry test_of(int fold, int64_t epoch, double seconds)
{
    return (cf_log_entry){CF_LOG_TEST, fold, epoch, -1, seconds, .accuracy = 0.7};
}

/* As the coordinator does: the log first. */
static void tell(const char *run, cf_tensorboard *t, cf_log_entry e)
{
    log_entry(run, &e);
    cf_tensorboard_take(t, &e);
}

/* One job that does epochs first..last of two folds; each is tested after its epoch 2. */
static void job(const char *run, int64_t first, int64_t last, double seconds)
{
    cf_tensorboard *t = cf_tensorboard_open(run, -1);
    assert_non_null(t);
    for (int64_t e = first; e <= last; e++)
        for (int fold = 0; fold < 2; fold++) {
            double at = seconds + (double)(e - first) + 0.25 * fold;
            tell(run, t, epoch_of(fold, e, at));
            if (e == 2) tell(run, t, test_of(fold, e, at + 0.125));
        }
    cf_tensorboard_close(t);
}

/* The records of a file: checksums hold, nothing is left over. Returns how many. */
static int count_records(const cf_buf *file)
{
    int n = 0;
    for (size_t at = 0; at < file->len; n++) {
        uint64_t length = 0;
        uint32_t crc = 0;
        assert_true(file->len - at >= 16);
        memcpy(&length, file->data + at, 8);
        assert_true(length <= file->len - at - 16);
        for (int part = 0; part < 2; part++) { /* the mask undone: a turn to the left */
            const char *bytes = file->data + at + (part ? 12 : 0);
            size_t size = part ? (size_t)length : 8;
            memcpy(&crc, bytes + size, 4);
            crc -= 0xa282ead8u;
            crc = crc << 15 | crc >> 17;
            assert_int_equal(crc, cf_crc32c(0, bytes, size));
        }
        at += 16 + (size_t)length;
    }
    return n;
}

static void epochs_and_tests_are_records(void **state)
{
    (void)state;
    const char *run = new_run();
    job(run, 1, 4, 1.0);
    for (int fold = 0; fold < 2; fold++) {
        cf_buf b = bytes_of(run, fold);
        assert_int_equal(count_records(&b), 1 + 4 + 1); /* the version, epochs, a test */
        cf_buf_fini(&b);
    }
}

/* Opening makes from the log what a job that lived wrote record by record, and changes nothing
 * then. */
static void a_file_follows_from_the_log(void **state)
{
    (void)state;
    char run[128], path[CF_PATH_MAX];
    struct stat before, after;
    snprintf(run, sizeof run, "%s", new_run());
    job(run, 1, 3, 1.0);
    cf_buf lived = bytes_of(run, 1);
    path_of(run, 1, path);
    assert_int_equal(stat(path, &before), 0);
    cf_tensorboard_close(cf_tensorboard_open(run, -1));
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino); /* not replaced */
    assert_int_equal(unlink(path), 0);
    cf_tensorboard_close(cf_tensorboard_open(run, -1));
    cf_buf again = bytes_of(run, 1);
    assert_int_equal(lived.len, again.len);
    assert_memory_equal(lived.data, again.data, lived.len);
    cf_buf_fini(&again);
    cf_buf_fini(&lived);
}

/* Killed after epoch 3, saved at 1: epochs 2 and 3 come again. Their points stand once, and the
 * times of the second job go on where the first one's ended. */
static void epochs_that_come_again_stand_once(void **state)
{
    (void)state;
    char killed[128];
    snprintf(killed, sizeof killed, "%s", new_run());
    job(killed, 1, 3, 1.0);
    job(killed, 2, 4, 0.5);
    cf_buf b = bytes_of(killed, 0);
    assert_int_equal(count_records(&b), 1 + 4 + 1);
    cf_buf_fini(&b);
    cf_run_log log;
    assert_int_equal(cf_run_log_read(killed, &log), CF_OK);
    assert_int_equal(log.n, 2 * 5);
    const int64_t steps[] = {10, 20, 20, 30, 40};
    const double seconds[] = {1, 2, 2.125, 3, 3 + 2.5};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(log.items[i].fold, 0);
        assert_int_equal(log.items[i].step, steps[i]);
        assert_true(log.items[i].seconds == seconds[i]); /* sums of small binary fractions */
    }
    cf_run_log_fini(&log);
}

/* Killed after 10 s, right after epoch 1, and taken up by jobs whose first epochs come later in
 * their own time than that: only the log's starts tell. A job of fold 1 leaves fold 0's clock. */
static void the_seconds_of_a_killed_job_are_counted(void **state)
{
    (void)state;
    char run[128];
    snprintf(run, sizeof run, "%s", new_run());
    log_text(run, "{\"event\": \"start\", \"seconds\": 0.1, \"folds\": 2}\n");
    cf_tensorboard *t = cf_tensorboard_open(run, -1);
    tell(run, t, epoch_of(0, 1, 10));
    cf_tensorboard_close(t);
    log_text(run, "{\"event\": \"resume\", \"seconds\": 0.1, \"folds\": 2}\n");
    t = cf_tensorboard_open(run, -1);
    tell(run, t, epoch_of(0, 2, 12));
    log_text(run, "{\"event\": \"resume\", \"seconds\": 0.1, \"folds\": 2, \"fold\": 1}\n");
    tell(run, t, epoch_of(0, 3, 14));
    cf_tensorboard_close(t);
    cf_run_log log;
    assert_int_equal(cf_run_log_read(run, &log), CF_OK);
    assert_int_equal(log.n, 3);
    const double seconds[] = {10, 22, 24};
    for (int i = 0; i < 3; i++) assert_true(log.items[i].seconds == seconds[i]);
    cf_run_log_fini(&log);
    cf_buf lived = bytes_of(run, 0);
    cf_tensorboard_close(cf_tensorboard_open(run, -1));
    cf_buf again = bytes_of(run, 0);
    assert_int_equal(lived.len, again.len);
    assert_memory_equal(lived.data, again.data, lived.len);
    cf_buf_fini(&again);
    cf_buf_fini(&lived);
}

/* A node without power leaves zero bytes; the next job goes on behind them. */
static void what_stands_behind_zero_bytes_counts(void **state)
{
    (void)state;
    char run[128], path[CF_PATH_MAX];
    static const char zeros[512];
    snprintf(run, sizeof run, "%s", new_run());
    cf_log_entry first = epoch_of(0, 1, 1), second = epoch_of(0, 2, 0.5), third = epoch_of(0, 3, 1);
    log_entry(run, &first);
    snprintf(path, sizeof path, "%s/log.jsonl", run);
    assert_int_equal(cf_file_append(path, zeros, sizeof zeros), CF_OK);
    log_entry(run, &second);
    log_entry(run, &third);
    cf_run_log log;
    assert_int_equal(cf_run_log_read(run, &log), CF_OK);
    assert_int_equal(log.n, 3);
    assert_true(log.items[2].seconds == 2);
    cf_run_log_fini(&log);
}

static void damage_is_mended_at_the_next_start(void **state)
{
    (void)state;
    char whole[128], torn[128], path[CF_PATH_MAX];
    snprintf(whole, sizeof whole, "%s", new_run());
    job(whole, 1, 4, 1.0);
    cf_buf b = bytes_of(whole, 0);
    for (size_t cut = 0; cut <= b.len; cut += 7) {
        snprintf(torn, sizeof torn, "%s", new_run());
        job(torn, 1, 2, 1.0);
        path_of(torn, 0, path);
        assert_int_equal(cf_file_save(path, b.data, cut), CF_OK);
        for (int fold = 0; fold < 2; fold++) { /* the same job's later lines */
            cf_log_entry third = epoch_of(fold, 3, 3.0 + 0.25 * fold);
            cf_log_entry fourth = epoch_of(fold, 4, 4.0 + 0.25 * fold);
            log_entry(torn, &third);
            log_entry(torn, &fourth);
        }
        cf_tensorboard_close(cf_tensorboard_open(torn, -1));
        assert_same_file(whole, torn, 0);
        assert_same_file(whole, torn, 1);
    }
    cf_buf_fini(&b);
}

static void a_file_that_vanishes_is_made_again(void **state)
{
    (void)state;
    char whole[128], run[128], path[CF_PATH_MAX];
    snprintf(whole, sizeof whole, "%s", new_run());
    snprintf(run, sizeof run, "%s", new_run());
    cf_tensorboard *t = cf_tensorboard_open(whole, -1), *u = cf_tensorboard_open(run, -1);
    for (int64_t e = 1; e <= 4; e++) {
        path_of(run, 0, path);
        if (e == 3) assert_int_equal(unlink(path), 0);
        if (e == 4) assert_int_equal(truncate(path, 50), 0);
        tell(whole, t, epoch_of(0, e, (double)e));
        tell(run, u, epoch_of(0, e, (double)e));
    }
    cf_tensorboard_close(u);
    cf_tensorboard_close(t);
    assert_same_file(whole, run, 0);
}

/* A job array: each job keeps to its own fold's file. */
static void a_job_of_one_fold_leaves_the_others_alone(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    const char *run = new_run();
    cf_log_entry other = epoch_of(0, 1, 1);
    log_entry(run, &other);
    cf_tensorboard *t = cf_tensorboard_open(run, 1);
    tell(run, t, epoch_of(1, 1, 1));
    cf_tensorboard_close(t);
    path_of(run, 0, path);
    assert_false(cf_path_exists(path));
    path_of(run, 1, path);
    assert_true(cf_path_exists(path));
}

/* Torn lines, other events, counts that are none: passed over, and the rest is there. */
static void lines_of_no_use_are_passed_over(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "{\"event\": \"start\", \"seconds\": 0.1, \"workers\": [{\"host\": \"\\\"event\\\": "
        "\\\"epoch\\\"\"}]}\n",
        "{\"event\": \"epoch\", \"seconds\": 1, \"fold\": 0, \"epoch\": 1, \"st\n",
        "{\"event\": \"epoch\", \"seconds\": 1, \"fold\": -1, \"epoch\": 1, \"step\": 5}\n",
        "{\"event\": \"epoch\", \"seconds\": 1, \"fold\": 128, \"epoch\": 1, \"step\": 5}\n",
        "{\"event\": \"epoch\", \"seconds\": 1, \"fold\": 0, \"epoch\": 0, \"step\": 5}\n",
        "{\"event\": \"epoch\", \"seconds\": 1, \"fold\": 0, \"epoch\": 1.5, \"step\": 5}\n",
        "{\"event\": \"epoch\", \"seconds\": null, \"fold\": 0, \"epoch\": 1, \"step\": 5}\n",
        "{\"event\": \"test\", \"seconds\": 1, \"epoch\": 1, \"accuracy\": 0.5}\n",
        "\n",
        "no JSON\n",
        "{\"event\": \"epoch\", \"seconds\": 2, \"fold\": 3, \"epoch\": 1, \"step\": 5, \"loss\": "
        "null}\n",
    };
    const char *run = new_run();
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) log_text(run, lines[i]);
    log_text(run, "{\"event\": \"epoch\", \"seconds\": 3, \"fold\": 3, \"ep"); /* killed here */
    cf_run_log log;
    assert_int_equal(cf_run_log_read(run, &log), CF_OK);
    assert_int_equal(log.n, 1);
    assert_int_equal(log.items[0].fold, 3);
    assert_int_equal(log.items[0].step, 5);
    assert_true(isnan(log.items[0].loss));
    cf_run_log_fini(&log);
}

/* No result depends on the file: where it cannot be, the run goes on. */
static void a_file_that_cannot_be_written_is_a_warning(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    const char *run = new_run();
    snprintf(path, sizeof path, "%s/fold-0", run);
    assert_int_equal(cf_file_save(path, "x", 1), CF_OK); /* a file where the folder should be */
    cf_tensorboard *t = cf_tensorboard_open(run, -1);
    assert_non_null(t);
    tell(run, t, epoch_of(0, 1, 1));
    tell(run, t, epoch_of(1, 1, 1));
    cf_tensorboard_close(t);
    assert_null(cf_tensorboard_open(run, -1));
    cf_tensorboard_take(NULL, NULL);
}

static void tags_are_made_utf8(void **state)
{
    (void)state;
    cf_buf out = {0};
    const cf_event_place place = {.wall_time = 1, .step = 2};
    const cf_event_scalar bad[] = {{"a\xff\xc3(", 1}, {"nan", (double)NAN}};
    assert_int_equal(cf_events_scalars(&place, bad, 2, &out), CF_OK);
    assert_int_equal(count_records(&out), 1);
    assert_non_null(memmem(out.data, out.len, "a\xef\xbf\xbd\xef\xbf\xbd(", 8));
    assert_null(memmem(out.data, out.len, "nan", 3));
    size_t before = out.len;
    assert_int_equal(cf_events_scalars(&place, bad + 1, 1, &out), CF_OK);
    assert_int_equal(out.len, before);
    cf_buf_fini(&out);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
    char command[256];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command); /* NOLINT: our own name */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_and_tests_are_records),
        cmocka_unit_test(a_file_follows_from_the_log),
        cmocka_unit_test(epochs_that_come_again_stand_once),
        cmocka_unit_test(the_seconds_of_a_killed_job_are_counted),
        cmocka_unit_test(what_stands_behind_zero_bytes_counts),
        cmocka_unit_test(damage_is_mended_at_the_next_start),
        cmocka_unit_test(a_file_that_vanishes_is_made_again),
        cmocka_unit_test(a_job_of_one_fold_leaves_the_others_alone),
        cmocka_unit_test(lines_of_no_use_are_passed_over),
        cmocka_unit_test(a_file_that_cannot_be_written_is_a_warning),
        cmocka_unit_test(tags_are_made_utf8),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
