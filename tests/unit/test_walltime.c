#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/walltime.h"
#include "kernels/base/log.h"

static void slurms_time_left_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {{"0:07", 7},           {"59:59\n", 3599},          {"1:00:00\n", 3600},
                 {"1-00:00:00", 86400}, {"30-23:59:59\n", 2678399}, {"0:00", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t found = -1;
        assert_true(cf_walltime_parse_left(cases[i].text, &found));
        assert_int_equal(found, cases[i].seconds);
    }
}

static void all_else_is_no_time(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",        "UNLIMITED",
                                        "NOT_SET", "INVALID\n",
                                        "5",       "1:",
                                        ":5",      "1:60",
                                        "-1:00",   "1-2-3:00:00",
                                        "1:2:3:4", "1:00x",
                                        " 1:00",   "99999999999999999999:00"};
    int64_t found = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (cf_walltime_parse_left(wrong[i], &found)) fail_msg("'%s' was read", wrong[i]);
}

static double left_with(int64_t limit_seconds)
{
    cf_walltime *w = NULL;
    assert_int_equal(cf_walltime_start(limit_seconds, cf_clock_ns(), 0, &w), CF_OK);
    double left = cf_walltime_left(w);
    cf_walltime_stop(w);
    return left;
}

static void the_earlier_of_two_ends_counts(void **state)
{
    (void)state;
    char end[32];
    snprintf(end, sizeof end, "%lld", (long long)time(NULL) + 1000);
    assert_true(left_with(0) > 1e29);
    setenv("SLURM_JOB_END_TIME", end, 1);
    /* the clock counts whole seconds; the test may be held up for a while */
    assert_true(left_with(0) > 800 && left_with(0) <= 1000);
    assert_true(left_with(500) > 300 && left_with(500) <= 500);
    assert_true(left_with(5000) <= 1000);
    setenv("SLURM_JOB_END_TIME", "1000", 1); /* behind us: clocks differ */
    assert_true(left_with(0) > 1e29);
    setenv("SLURM_JOB_END_TIME", "soon", 1);
    assert_true(left_with(0) > 1e29);
    unsetenv("SLURM_JOB_END_TIME");
    assert_true(cf_walltime_left(NULL) > 1e29);
}

static void write_squeue(const char *body)
{
    FILE *f = fopen("squeue", "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", body);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod("squeue", 0755), 0);
}

/* A limit that is changed while the job runs is heard of; a silent squeue is ended with us. */
static void squeue_is_asked_again_and_never_waited_for(void **state)
{
    (void)state;
    char folder[] = "/tmp/cytofold-walltime-XXXXXX", path[4096];
    cf_walltime *w = NULL;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    snprintf(path, sizeof path, "%s:%s", folder, getenv("PATH"));
    setenv("PATH", path, 1);
    setenv("SLURM_JOB_ID", "7", 1);
    write_squeue("if [ -e asked ]; then echo 2:00; else touch asked; echo 1-00:00:00; fi");
    assert_int_equal(cf_walltime_start(0, cf_clock_ns(), 1000000, &w), CF_OK);
    int64_t deadline = cf_clock_ns() + 60LL * 1000000000;
    while (cf_walltime_left(w) > 120 && cf_clock_ns() < deadline) cf_sleep_ns(1000000);
    assert_true(cf_walltime_left(w) <= 120);
    cf_walltime_stop(w);
    write_squeue("exec sleep 1003.7");
    assert_int_equal(cf_walltime_start(0, cf_clock_ns(), 0, &w), CF_OK);
    int64_t start_ns = cf_clock_ns();
    cf_walltime_stop(w);
    assert_true(cf_clock_ns() - start_ns < 15LL * 1000000000); /* not the 20 s of its patience */
    /* the whole array's number stands for other tasks too, which have more time left */
    setenv("SLURM_ARRAY_JOB_ID", "7", 1);
    setenv("SLURM_ARRAY_TASK_ID", "3", 1);
    write_squeue("if [ \"$5\" = 7_3 ]; then echo 2:00; else echo 1-00:00:00; fi");
    assert_int_equal(cf_walltime_start(0, cf_clock_ns(), 1000000, &w), CF_OK);
    deadline = cf_clock_ns() + 60LL * 1000000000;
    while (cf_walltime_left(w) > 1e29 && cf_clock_ns() < deadline) cf_sleep_ns(1000000);
    assert_true(cf_walltime_left(w) <= 120);
    cf_walltime_stop(w);
    unsetenv("SLURM_ARRAY_TASK_ID");
    unsetenv("SLURM_ARRAY_JOB_ID");
    unsetenv("SLURM_JOB_ID");
    unlink("asked");
    unlink("squeue");
    assert_int_equal(chdir("/"), 0);
    rmdir(folder);
}

int main(void)
{
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_JOB_END_TIME");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slurms_time_left_is_read),
        cmocka_unit_test(all_else_is_no_time),
        cmocka_unit_test(the_earlier_of_two_ends_counts),
        cmocka_unit_test(squeue_is_asked_again_and_never_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
