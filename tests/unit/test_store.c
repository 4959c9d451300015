/* The store of checkpoints: saves beside the step, keeps two, resumes the newest that verifies, and
 * never loses what it had, whatever the disk does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shim.h"
#include "tests/support/scratch.h"
#include "worker/store.h"

enum { N = 1000 };

static char folder[CF_PATH_MAX]; /* one for each test */
static char fold_dir[CF_PATH_MAX];

/* The value of weight i at a step: no two steps are alike. */
static float weight_at(int64_t step, int i)
{
    return (float)step + (float)i / 1024.0f;
}

static void save_step(cf_store *s, int64_t step, cf_err expected)
{
    static cf_checkpoint c;
    static float weights[N];
    static cf_tensor_entry entry = {.name = "w", .flat = "weights", .rank = 1, .dim = {N}};
    c = (cf_checkpoint){.step = step, .n_flats = 1, .entries = &entry, .n_entries = 1};
    c.flats[0] = (cf_flat){.name = "weights", .count = N, .data = weights};
    for (int i = 0; i < N; i++) weights[i] = weight_at(step, i);
    assert_int_equal(cf_store_save(s, fold_dir, &c), expected);
    memset(weights, 0xee, sizeof weights); /* the step goes on while the thread writes */
    memset(&entry.dim, 0, sizeof entry.dim);
    entry.dim[0] = N;
}

/* Step of the newest checkpoint, whole and right; -1 for none. */
static int64_t newest(void)
{
    static cf_checkpoint c;
    bool found = false;
    assert_int_equal(cf_store_load_newest(fold_dir, &c, &found), CF_OK);
    if (!found) return -1;
    int64_t step = c.step;
    assert_int_equal(c.n_flats, 1);
    assert_int_equal(c.flats[0].count, N);
    for (int i = 0; i < N; i++) assert_true(c.flats[0].data[i] == weight_at(step, i));
    cf_checkpoint_fini(&c);
    return step;
}

static void assert_files(size_t n, const char *const *names)
{
    cf_strings found = {0};
    assert_int_equal(cf_dir_list(fold_dir, &found), CF_OK);
    assert_int_equal(found.n, n);
    for (size_t i = 0; i < n; i++) assert_string_equal(found.items[i], names[i]);
    cf_strings_fini(&found);
}

static void file_path(char path[CF_PATH_MAX], const char *name)
{
    assert_int_equal(cf_path_join(path, CF_PATH_MAX, fold_dir, name), CF_OK);
}

static void flip_byte(const char *name, off_t at)
{
    char path[CF_PATH_MAX];
    uint8_t byte = 0;
    file_path(path, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void last_two_checkpoints_are_kept(void **state)
{
    (void)state;
    static const char *const kept[] = {"checkpoint-100.ckpt", "checkpoint-20.ckpt"};
    cf_store *s = NULL;
    assert_int_equal(cf_store_create(&s), CF_OK);
    assert_int_equal(newest(), -1); /* the folder is not even there */
    save_step(s, 3, CF_OK);
    save_step(s, 20, CF_OK);
    save_step(s, 100, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    assert_files(2, kept);
    assert_int_equal(newest(), 100);
    cf_store_destroy(s);
}

static void damaged_newest_falls_back_to_the_one_before(void **state)
{
    (void)state;
    static cf_checkpoint c;
    cf_store *s = NULL;
    assert_int_equal(cf_store_create(&s), CF_OK);
    save_step(s, 9, CF_OK);
    save_step(s, 10, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    flip_byte("checkpoint-10.ckpt", 2000);
    assert_int_equal(newest(), 9);
    assert_int_equal(cf_store_load_step(fold_dir, 10, &c), CF_E_CHECKPOINT);
    assert_int_equal(cf_store_load_step(fold_dir, 9, &c), CF_OK);
    cf_checkpoint_fini(&c);
    assert_int_equal(cf_store_load_step(fold_dir, 8, &c), CF_E_CHECKPOINT);
    flip_byte("checkpoint-9.ckpt", 30);
    /* None is left: starting from nothing would throw the run away. */
    bool found = true;
    assert_int_equal(cf_store_load_newest(fold_dir, &c, &found), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "none of its 2 checkpoints"));
    assert_false(found);
    cf_store_destroy(s);
}

/* A damaged file of a later step must not push a good one out. */
static void resumed_run_keeps_its_checkpoints_beside_a_damaged_later_one(void **state)
{
    (void)state;
    static const char *const kept[] = {"checkpoint-10.ckpt", "checkpoint-30.ckpt",
                                       "checkpoint-5.ckpt"};
    cf_store *s = NULL;
    assert_int_equal(cf_store_create(&s), CF_OK);
    save_step(s, 5, CF_OK);
    save_step(s, 30, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    flip_byte("checkpoint-30.ckpt", 100);
    assert_int_equal(newest(), 5);
    save_step(s, 10, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    assert_files(3, kept);
    assert_int_equal(newest(), 10);
    cf_store_destroy(s);
}

static void checkpoint_of_another_step_is_refused(void **state)
{
    (void)state;
    static cf_checkpoint c;
    char from[CF_PATH_MAX], to[CF_PATH_MAX];
    cf_store *s = NULL;
    assert_int_equal(cf_store_create(&s), CF_OK);
    save_step(s, 1, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    file_path(from, "checkpoint-1.ckpt");
    file_path(to, "checkpoint-2.ckpt");
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(cf_store_load_step(fold_dir, 2, &c), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "holds step 1"));
    cf_store_destroy(s);
}

static void put_file(const char *name)
{
    char path[CF_PATH_MAX];
    file_path(path, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("half a checkpoint", f);
    fclose(f);
}

/* As another process of this host would name its temporary: our own, with its number. */
static void temporary_name(char *name, size_t n, int pid)
{
    char path[CF_PATH_MAX];
    cf_file f;
    assert_int_equal(cf_path_join(path, sizeof path, fold_dir, "checkpoint-7.ckpt"), CF_OK);
    assert_int_equal(cf_file_create(path, &f), CF_OK);
    const char *base = strrchr(f.temporary, '/') + 1;
    snprintf(name, n, "%.*s-%d", (int)(strrchr(base, '-') - base), base, pid);
    cf_file_abandon(&f);
}

/* A child that has ended gives a process number that is surely dead; the parent's is surely alive.
 */
static void leftovers_of_dead_processes_are_removed(void **state)
{
    (void)state;
    char dead[64], alive[64], own[64];
    cf_store *s = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(cf_dir_make(fold_dir), CF_OK);
    temporary_name(dead, sizeof dead, (int)child);
    temporary_name(alive, sizeof alive, (int)getppid());
    temporary_name(own, sizeof own, (int)getpid());
    put_file(dead);
    put_file(alive);
    put_file(own);
    put_file("predictions.csv");
    put_file("checkpoint-x.ckpt");
    put_file("checkpoint-007.ckpt");
    assert_int_equal(newest(), -1);
    const char *const rest[] = {"checkpoint-007.ckpt", alive, "checkpoint-x.ckpt",
                                "predictions.csv"};
    assert_files(4, rest);
    put_file(dead);
    assert_int_equal(cf_store_create(&s), CF_OK);
    save_step(s, 1, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    const char *const saved[] = {"checkpoint-007.ckpt", "checkpoint-1.ckpt", alive,
                                 "checkpoint-x.ckpt", "predictions.csv"};
    assert_files(5, saved);
    cf_store_destroy(s);
}

/* The failed save is reported by the next call, once; after it the store works again. */
static void failed_save_is_reported_once(void **state)
{
    (void)state;
    cf_store *s = NULL;
    assert_int_equal(cf_store_create(&s), CF_OK);
    save_step(s, 1, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    cf_fault_arm(1, ENOSPC, CF_FAULT_ALWAYS);
    save_step(s, 2, CF_OK); /* the failure is the thread's, later */
    assert_int_equal(cf_store_flush(s), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "checkpoint-2.ckpt"));
    save_step(s, 2, CF_OK);
    save_step(s, 3, CF_E_DISK);
    assert_true(cf_fault_disarm());
    assert_int_equal(cf_store_flush(s), CF_OK);
    save_step(s, 4, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    assert_int_equal(newest(), 4);
    cf_store_destroy(s);
}

/* A sample of weights and its one entry, whose storage is static. */
static cf_checkpoint *sample(int64_t step)
{
    static cf_checkpoint c;
    static float weights[N];
    static cf_tensor_entry entry = {.name = "w", .flat = "weights", .rank = 1, .dim = {N}};
    c = (cf_checkpoint){.step = step, .n_flats = 1, .entries = &entry, .n_entries = 1};
    c.flats[0] = (cf_flat){.name = "weights", .count = N, .data = weights};
    for (int i = 0; i < N; i++) weights[i] = weight_at(step, i);
    return &c;
}

/* Any failing operation of the proof is an error of the disk, leaves the checkpoints alone, and
 * nothing behind that the next proof does not remove. */
static void proof_finds_every_fault_and_leaves_nothing(void **state)
{
    (void)state;
    static const char *const kept[] = {"checkpoint-1.ckpt"};
    long n = 1;
    cf_store *s = NULL;
    scratch_remove(fold_dir);
    assert_int_equal(cf_store_prove(fold_dir, sample(7)), CF_OK);
    assert_false(cf_path_exists(fold_dir)); /* it would say that something was trained */
    assert_int_equal(cf_store_create(&s), CF_OK);
    save_step(s, 1, CF_OK);
    assert_int_equal(cf_store_flush(s), CF_OK);
    for (;; n++) {
        cf_fault_arm(n, ENOSPC, CF_FAULT_ALWAYS);
        cf_err err = cf_store_prove(fold_dir, sample(7));
        if (!cf_fault_disarm()) {
            assert_int_equal(err, CF_OK);
            break;
        }
        /* close(2) after reading has nothing to say about what was written. */
        if (err != CF_OK) assert_int_equal(err, CF_E_DISK);
        assert_true(err == CF_E_DISK || n > 12);
        assert_int_equal(newest(), 1);
    }
    print_message("failed each of %ld operations of the proof\n", n - 1);
    assert_files(1, kept);
    cf_store_destroy(s);
}

/* RELIABILITY 2: the n-th file operation of a save fails, for every n that a save has. Before it
 * there is step 1; after it there must be step 1 or step 2, and step 2 if the store said so. */
static long fail_every_operation(int error, cf_fault_mode mode, bool may_fail)
{
    long n = 1, operations = 0;
    for (;; n++) {
        cf_store *s = NULL;
        scratch_remove(fold_dir);
        assert_int_equal(cf_store_create(&s), CF_OK);
        save_step(s, 1, CF_OK);
        assert_int_equal(cf_store_flush(s), CF_OK);
        cf_fault_arm(n, error, mode);
        save_step(s, 2, CF_OK);
        cf_err err = cf_store_flush(s);
        int met = cf_fault_disarm();
        int64_t step = newest();
        if (err != CF_OK) {
            assert_true(may_fail);
            assert_int_equal(err, CF_E_DISK);
            assert_true(step == 1 || step == 2);
        } else {
            assert_int_equal(step, 2);
        }
        /* The disk has room again: the same save succeeds. */
        save_step(s, 2, CF_OK);
        assert_int_equal(cf_store_flush(s), CF_OK);
        assert_int_equal(newest(), 2);
        cf_store_destroy(s);
        if (!met) break; /* the save has fewer than n operations */
        operations = n;
    }
    print_message("errno %d, mode %d: failed each of %ld operations\n", error, (int)mode,
                  operations);
    return operations;
}

static void any_failing_operation_leaves_a_valid_checkpoint(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO, EDQUOT};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        /* open, 5 writes or more, fsync, close, rename, and fsync of the folder */
        assert_true(fail_every_operation(errors[i], CF_FAULT_ONCE, true) >= 10);
        assert_true(fail_every_operation(errors[i], CF_FAULT_ALWAYS, true) >= 10);
    }
}

static void short_writes_and_interruptions_are_no_failure(void **state)
{
    (void)state;
    assert_true(fail_every_operation(0, CF_FAULT_SHORT, false) >= 10);
    assert_true(fail_every_operation(0, CF_FAULT_INTERRUPT, false) >= 10);
}

static int make_folder(void **state)
{
    (void)state;
    if (!scratch_make(folder)) return -1;
    return cf_path_join(fold_dir, sizeof fold_dir, folder, "run/fold-0") == CF_OK ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    cf_fault_disarm();
    scratch_remove(folder);
    return 0;
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        CASE(last_two_checkpoints_are_kept),
        CASE(damaged_newest_falls_back_to_the_one_before),
        CASE(resumed_run_keeps_its_checkpoints_beside_a_damaged_later_one),
        CASE(checkpoint_of_another_step_is_refused),
        CASE(leftovers_of_dead_processes_are_removed),
        CASE(failed_save_is_reported_once),
        CASE(proof_finds_every_fault_and_leaves_nothing),
        CASE(any_failing_operation_leaves_a_valid_checkpoint),
        CASE(short_writes_and_interruptions_are_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
