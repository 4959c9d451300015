/* The run folder's lock: who may hold it beside whom, which owners are taken for dead, and what the
 * refused are told. Races are in tests/disk/lock_race.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "coordinator/lock_owner.h"
#include "coordinator/run_lock.h"
#include "coordinator/slurm_job.h"
#include "kernels/base/log.h"
#include "tests/support/scratch.h"

static char folder[CF_PATH_MAX]; /* one for each test */

/* Owners on their way out are waited for a tenth of a second, not half a minute. */
static cf_run_lock_times quick(void)
{
    cf_run_lock_times times = cf_run_lock_times_default();
    times.leaving_ns = 100000000;
    return times;
}

static cf_err take(int fold, cf_run_lock **lock)
{
    cf_run_lock_times times = quick();
    return cf_run_lock_take(folder, fold, &times, lock);
}

static void assert_taken(int fold)
{
    cf_run_lock *lock = NULL;
    cf_err err = take(fold, &lock);
    if (err != CF_OK) fail_msg("code %d: %s", (int)err, cf_err_text());
    cf_run_lock_release(lock);
}

static void assert_refused(int fold, const char *words)
{
    cf_run_lock *lock = NULL;
    cf_err err = take(fold, &lock);
    assert_null(lock);
    if (err != CF_E_BUSY || strstr(cf_err_text(), words) == NULL)
        fail_msg("code %d: %s; expected: %s", (int)err, cf_err_text(), words);
}

static const char *in_folder(const char *name)
{
    static char path[CF_PATH_MAX];
    assert_int_equal(cf_path_join(path, sizeof path, folder, name), CF_OK);
    return path;
}

/* A lock as its owner wrote it, last touched age_s ago. */
static void leave_lock(const char *name, const cf_lock_owner *o, int age_s)
{
    char text[CF_LOCK_OWNER_MAX_BYTES];
    struct timespec then[2];
    size_t n = cf_lock_owner_write(o, text);
    const char *path = in_folder(name);
    assert_int_equal(cf_file_save(path, text, n), CF_OK);
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &then[0]), 0);
    then[0].tv_sec -= age_s;
    then[1] = then[0];
    assert_int_equal(utimensat(AT_FDCWD, path, then, 0), 0);
}

static cf_lock_owner somebody(void)
{
    cf_lock_owner o;
    assert_int_equal(cf_lock_owner_self(&o), CF_OK);
    return o;
}

static cf_lock_owner on_another_host(void)
{
    cf_lock_owner o = somebody();
    strcpy(o.host, "elsewhere");
    strcpy(o.boot, "11111111-2222-3333-4444-555555555555");
    o.pid = 4711;
    return o;
}

static void whole_jobs_and_folds_exclude_each_other(void **state)
{
    (void)state;
    cf_run_lock *whole = NULL, *first = NULL, *second = NULL;
    char mark[64];
    snprintf(mark, sizeof mark, "job none, pid %d, since 2", (int)getpid());
    assert_int_equal(take(-1, &whole), CF_OK);
    assert_refused(-1, mark);
    assert_refused(2, "run.lock");
    cf_run_lock_release(whole);
    assert_int_equal(take(2, &first), CF_OK);
    assert_int_equal(take(0, &second), CF_OK);
    assert_refused(2, "fold-2.lock");
    assert_refused(-1, mark);
    assert_int_equal(cf_run_lock_check(first), CF_OK);
    cf_run_lock_release(first);
    assert_refused(-1, "fold-0.lock");
    cf_run_lock_release(second);
    assert_taken(-1);
    cf_strings names = {0};
    assert_int_equal(cf_dir_list(folder, &names), CF_OK);
    assert_int_equal(names.n, 1); /* the guard */
    assert_string_equal(names.items[0], ".lock");
    cf_strings_fini(&names);
}

static void dead_processes_are_taken_over(void **state)
{
    (void)state;
    cf_lock_owner o = somebody();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(0);
    o.pid = child;
    siginfo_t ended;
    assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT), 0);
    leave_lock("run.lock", &o, 0); /* dead, but not waited for: its number is still there */
    assert_taken(-1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    leave_lock("run.lock", &o, 0);
    assert_taken(-1);
    leave_lock("fold-3.lock", &o, 0);
    assert_taken(-1);
    assert_false(cf_path_exists(in_folder("fold-3.lock")));
    o.pid = getpid(); /* our number, but another process's start */
    o.start += 1;
    leave_lock("run.lock", &o, 0);
    assert_taken(1);
    o = somebody();
    strcpy(o.boot,
           "99999999-2222-3333-4444-555555555555"); /* before the machine was started anew */
    strcpy(o.host, "node-7");
    cf_lock_owner self = somebody();
    char why[160];
    strcpy(self.host, "node-7");
    assert_int_equal(cf_lock_owner_judge(&o, &self, 0, 300, why, sizeof why), CF_OWNER_GONE);
    assert_non_null(strstr(why, "started anew"));
    strcpy(self.host, "localhost"); /* may be any machine */
    strcpy(o.host, "localhost");
    assert_int_equal(cf_lock_owner_judge(&o, &self, 0, 300, why, sizeof why), CF_OWNER_ALIVE);
}

/* Without Slurm nothing is known of another host but when its lock was touched last. */
static void other_hosts_are_given_up_after_five_minutes(void **state)
{
    (void)state;
    cf_lock_owner o = on_another_host();
    leave_lock("run.lock", &o, 200);
    assert_refused(-1, "host elsewhere, job none, pid 4711, since");
    leave_lock("run.lock", &o, 310);
    assert_taken(-1);
    leave_lock("run.lock", &o, -86400); /* touched by a clock that is a day ahead */
    assert_refused(0, "pid 4711");
    o = somebody();
    o.space += 1; /* a container of this machine: its process numbers say nothing to us */
    o.pid = 1;
    leave_lock("run.lock", &o, 200);
    assert_refused(-1, "pid 1,");
    leave_lock("run.lock", &o, 310);
    assert_taken(-1);
}

static void torn_locks_are_given_up_after_five_minutes(void **state)
{
    (void)state;
    char text[CF_LOCK_OWNER_MAX_BYTES];
    cf_lock_owner o = somebody(), back;
    size_t n = cf_lock_owner_write(&o, text);
    assert_true(cf_lock_owner_parse(text, &back));
    assert_memory_equal(&o, &back, sizeof o);
    for (size_t i = 0; i < n; i++) {
        char cut[CF_LOCK_OWNER_MAX_BYTES];
        memcpy(cut, text, i);
        cut[i] = '\0';
        if (cf_lock_owner_parse(cut, &back)) fail_msg("%zu of %zu bytes are taken for whole", i, n);
    }
    assert_int_equal(cf_file_save(in_folder("run.lock"), text, n / 2), CF_OK);
    assert_refused(-1, "an owner that is not named");
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, in_folder("run.lock"), old, 0), 0);
    assert_taken(-1);
    assert_int_equal(cf_file_save(in_folder("run.lock"), "host \x1b[31m\npid 0\ntoken 0\n", 24),
                     CF_OK);
    assert_refused(-1, "an owner that is not named");
}

/* A squeue of our own: says `words` and ends with `status`. */
static void put_squeue(const char *words, int status)
{
    char script[512], path[CF_PATH_MAX + 64];
    int n = snprintf(script, sizeof script, "#!/bin/sh\necho \"$@\" >%.300s/asked\n%s\nexit %d\n",
                     folder, words, status);
    assert_int_equal(cf_dir_make(in_folder("bin")), CF_OK);
    assert_int_equal(cf_file_save(in_folder("bin/squeue"), script, (size_t)n), CF_OK);
    assert_int_equal(chmod(in_folder("bin/squeue"), 0755), 0);
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", in_folder("bin"));
    assert_int_equal(setenv("PATH", path, 1), 0);
}

static void slurm_is_asked_about_jobs_of_other_hosts(void **state)
{
    (void)state;
    char *before = strdup(getenv("PATH"));
    cf_lock_owner o = on_another_host();
    strcpy(o.scheduler, "slurm");
    strcpy(o.job, "1234");
    put_squeue("echo RUNNING", 0);
    leave_lock("run.lock", &o, 0);
    assert_refused(-1, "Slurm job 1234, pid 4711");
    put_squeue("", 0);
    assert_taken(-1);
    put_squeue("echo slurm_load_jobs error: Invalid job id specified >&2", 1);
    leave_lock("run.lock", &o, 0);
    assert_taken(-1);
    put_squeue("echo slurm_load_jobs error: Unable to contact slurm controller >&2", 1);
    leave_lock("run.lock", &o, 0);
    assert_refused(-1, "Slurm job 1234");
    put_squeue("echo COMPLETED", 0);
    assert_int_equal(cf_slurm_job_find("1234"), CF_SLURM_JOB_GONE);
    put_squeue("echo COMPLETED; echo FAILED", 0); /* an array: one line for each task */
    assert_int_equal(cf_slurm_job_find("1234"), CF_SLURM_JOB_GONE);
    put_squeue("echo COMPLETING; echo COMPLETED", 0);
    assert_int_equal(cf_slurm_job_find("1234"), CF_SLURM_JOB_ENDING);
    put_squeue("echo COMPLETED; echo RUNNING", 0);
    assert_int_equal(cf_slurm_job_find("1234"), CF_SLURM_JOB_THERE);
    assert_int_equal(cf_slurm_job_find("12 34; rm"), CF_SLURM_JOB_UNKNOWN);
    assert_int_equal(setenv("PATH", folder, 1), 0);
    assert_int_equal(cf_slurm_job_find("1234"), CF_SLURM_JOB_UNKNOWN);
    assert_int_equal(setenv("PATH", before, 1), 0);
    free(before);
}

/* Slurm starts a job again under its old number, on any host, when the first one is dead. */
static void requeued_job_takes_its_own_lock_over(void **state)
{
    (void)state;
    assert_int_equal(setenv("SLURM_JOB_ID", "77", 1), 0);
    cf_lock_owner o = on_another_host();
    assert_string_equal(o.scheduler, "slurm");
    assert_string_equal(o.job, "77");
    leave_lock("run.lock", &o, 0);
    assert_refused(-1, "Slurm job 77"); /* another step of the same job */
    assert_int_equal(setenv("SLURM_RESTART_COUNT", "1", 1), 0);
    assert_taken(-1);
    unsetenv("SLURM_RESTART_COUNT");
    unsetenv("SLURM_JOB_ID");
}

/* A ghost: its launcher is gone, it will be soon. The next start waits for it. */
static void orphans_are_waited_for(void **state)
{
    (void)state;
    cf_run_lock *lock = NULL;
    cf_run_lock_times times = quick();
    times.leaving_ns = 20LL * 1000000000; /* a deadline, not a duration */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        for (;;) pause();
    char path[64], text[512];
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    assert_int_equal(sscanf(strrchr(text, ')') + 1,
                            " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                            "%*s %*s %llu",
                            &start),
                     1);
    cf_lock_owner o = somebody();
    o.pid = child;
    o.start = start;
    o.parent = 999999999; /* not its parent any more */
    leave_lock("run.lock", &o, 0);
    assert_refused(-1, "pid"); /* alive beyond the patience of a quick test */
    pid_t killer = fork();
    assert_true(killer >= 0);
    if (killer == 0) {
        cf_sleep_ns(200000000);
        kill(child, SIGKILL);
        _exit(0);
    }
    assert_int_equal(cf_run_lock_take(folder, -1, &times, &lock), CF_OK);
    cf_run_lock_release(lock);
    waitpid(killer, NULL, 0);
    waitpid(child, NULL, 0);
}

static bool wait_for_loss(cf_run_lock *lock)
{
    int64_t deadline = cf_clock_ns() + 20LL * 1000000000;
    while (cf_clock_ns() < deadline) {
        if (cf_run_lock_check(lock) == CF_E_BUSY) return true;
        cf_sleep_ns(1000000);
    }
    return false;
}

static bool wait_for_file(const char *path)
{
    int64_t deadline = cf_clock_ns() + 20LL * 1000000000;
    while (cf_clock_ns() < deadline) {
        if (cf_path_exists(path)) return true;
        cf_sleep_ns(1000000);
    }
    return false;
}

static void owner_touches_its_lock_and_notices_its_loss(void **state)
{
    (void)state;
    cf_run_lock *lock = NULL;
    cf_run_lock_times times = quick();
    struct stat st;
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    times.touch_ns = 5000000;
    assert_int_equal(cf_run_lock_take(folder, -1, &times, &lock), CF_OK);
    const char *path = in_folder("run.lock");
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    int64_t deadline = cf_clock_ns() + 20LL * 1000000000;
    do {
        cf_sleep_ns(1000000);
        assert_int_equal(stat(path, &st), 0);
    } while (st.st_mtim.tv_sec == 1000 && cf_clock_ns() < deadline);
    assert_true(st.st_mtim.tv_sec != 1000);
    assert_int_equal(unlink(path), 0); /* by hand */
    assert_true(wait_for_file(path));
    assert_int_equal(cf_run_lock_check(lock), CF_OK);
    cf_lock_owner o = on_another_host();
    leave_lock("run.lock", &o, 0); /* written over: taken by a job that gave us up */
    assert_true(wait_for_loss(lock));
    assert_non_null(strstr(cf_err_text(), "another job has taken the run folder over"));
    cf_run_lock_release(lock);
    assert_true(cf_path_exists(path)); /* the other's stays */
}

static void jobs_of_folds_open_the_folder_one_at_a_time(void **state)
{
    (void)state;
    cf_run_lock *first = NULL, *second = NULL;
    cf_run_lock_times times = quick();
    bool others = true;
    times.section_ns = 100000000;
    assert_int_equal(cf_run_lock_take(folder, 0, &times, &first), CF_OK);
    assert_int_equal(cf_run_lock_enter(first, &others), CF_OK);
    assert_false(others);
    assert_int_equal(cf_run_lock_take(folder, 1, &times, &second), CF_OK);
    assert_int_equal(cf_run_lock_enter(second, &others), CF_E_BUSY);
    cf_run_lock_leave(second);
    assert_true(cf_path_exists(in_folder("folder.lock"))); /* still the first one's */
    cf_run_lock_leave(first);
    assert_int_equal(cf_run_lock_enter(second, &others), CF_OK);
    assert_true(others);
    cf_run_lock_release(second); /* gives back both */
    assert_false(cf_path_exists(in_folder("folder.lock")));
    cf_run_lock_release(first);
}

static void folder_that_cannot_be_written_is_a_matter_of_the_disk(void **state)
{
    (void)state;
    cf_run_lock *lock = NULL;
    cf_run_lock_times times = quick();
    assert_int_equal(cf_run_lock_take("/proc/cytofold-run", -1, &times, &lock), CF_E_DISK);
    assert_int_equal(cf_run_lock_take("/proc", -1, &times, &lock), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "/proc"));
}

static int make_folder(void **state)
{
    (void)state;
    return scratch_make(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    static const char *const jobs[] = {"SLURM_JOB_ID", "SLURM_RESTART_COUNT", "PBS_JOBID",
                                       "LSB_JOBID", "SLURM_CLUSTER_NAME"};
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) unsetenv(jobs[i]);
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        CASE(whole_jobs_and_folds_exclude_each_other),
        CASE(dead_processes_are_taken_over),
        CASE(other_hosts_are_given_up_after_five_minutes),
        CASE(torn_locks_are_given_up_after_five_minutes),
        CASE(slurm_is_asked_about_jobs_of_other_hosts),
        CASE(requeued_job_takes_its_own_lock_over),
        CASE(orphans_are_waited_for),
        CASE(owner_touches_its_lock_and_notices_its_loss),
        CASE(jobs_of_folds_open_the_folder_one_at_a_time),
        CASE(folder_that_cannot_be_written_is_a_matter_of_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
