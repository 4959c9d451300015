#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/config.h"
#include "proto/stop_rules.h"

static void signals_are_read_with_and_without_sig(void **state)
{
    (void)state;
    cf_save_on s;
    assert_int_equal(cf_save_on_parse("USR1 TERM,SIGINT", &s), CF_OK);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.numbers[0], SIGUSR1);
    assert_int_equal(s.numbers[1], SIGTERM);
    assert_int_equal(s.numbers[2], SIGINT);
    assert_int_equal(cf_save_on_parse(" , ", &s), CF_OK);
    assert_int_equal(s.n, 0);
    assert_int_equal(cf_save_on_parse("", &s), CF_OK);
    assert_int_equal(s.n, 0);
}

static void words_that_are_no_such_signal_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"KILL", "SEGV", "usr1", "10", "USR", "USR1 USR1", "SIG"};
    cf_save_on s;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(cf_save_on_parse(wrong[i], &s), CF_E_USAGE);
}

static void every_name_comes_back(void **state)
{
    (void)state;
    char storage[32];
    cf_save_on s;
    assert_int_equal(cf_save_on_parse("USR1 USR2 TERM INT HUP QUIT XCPU CONT", &s), CF_OK);
    for (int i = 0; i < s.n; i++) {
        cf_save_on again;
        assert_int_equal(cf_save_on_parse(cf_signal_name(s.numbers[i], storage), &again), CF_OK);
        assert_int_equal(again.numbers[0], s.numbers[i]);
    }
    assert_string_equal(cf_signal_name(63, storage), "number 63");
}

static void times_are_read_in_minutes_hours_and_days(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        {"", 0},
        {"0", 0},
        {"90", 5400},
        {"1:30", 5400},
        {"1:30:05", 5405},
        {"100:00:00", 360000},
        {"2-00:00:00", 172800},
        {"1-2", 93600},
        {"1-02:03", 93780},
        {"0:0:7", 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t found = -1;
        assert_int_equal(cf_time_limit_parse(cases[i].text, &found), CF_OK);
        assert_int_equal(found, cases[i].seconds);
    }
}

static void other_times_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"-1", "1h",   "1.5", "1:60", "1:00:00:00", "1:", ":1",
                                        "1-", "1--2", " 5",  "5 ",   "1234567",    "0x5"};
    int64_t found = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(cf_time_limit_parse(wrong[i], &found), CF_E_USAGE);
}

static void a_configuration_with_wrong_words_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {"run:\n  save_on: USR1 KILL\n", "run:\n  time_limit: 1h\n"};
    static cf_config c;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(cf_config_parse("a.yaml", wrong[i], strlen(wrong[i]), &c), CF_E_USAGE);
        assert_non_null(strstr(cf_err_text(), "a.yaml:2:"));
        assert_non_null(strstr(cf_err_text(), i == 0 ? "run.save_on" : "run.time_limit"));
    }
    cf_config_defaults(&c);
    assert_int_equal(cf_config_set(&c, "run.save_on=KILL"), CF_E_USAGE);
    assert_int_equal(cf_config_set(&c, "run.save_on="), CF_OK);
    assert_int_equal(cf_config_set(&c, "run.time_limit=1:30:00"), CF_OK);
    assert_string_equal(c.run_time_limit, "1:30:00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_are_read_with_and_without_sig),
        cmocka_unit_test(words_that_are_no_such_signal_are_refused),
        cmocka_unit_test(every_name_comes_back),
        cmocka_unit_test(times_are_read_in_minutes_hours_and_days),
        cmocka_unit_test(other_times_are_refused),
        cmocka_unit_test(a_configuration_with_wrong_words_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
