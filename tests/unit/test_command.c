/* Programs that answer, refuse, are silent, or are not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/command.h"
#include "kernels/base/log.h"

#define SECOND 1000000000LL

static char text[16];
static int code;

static cf_err run(const char *script, cf_command_errors errors, int64_t patience_ns,
                  bool (*give_up)(void *))
{
    const char *const words[] = {"sh", "-c", script, NULL};
    const cf_command c = {
        .words = words, .errors = errors, .patience_ns = patience_ns, .give_up = give_up};
    return cf_command_run(&c, text, sizeof text, &code);
}

static void answer_and_code_come_back(void **state)
{
    (void)state;
    assert_int_equal(run("echo one; echo two >&2; exit 3", CF_COMMAND_ERRORS_DROPPED, 0, NULL),
                     CF_OK);
    assert_string_equal(text, "one\n");
    assert_int_equal(code, 3);
    assert_int_equal(run("echo one; echo two >&2", CF_COMMAND_ERRORS_READ, 0, NULL), CF_OK);
    assert_string_equal(text, "one\ntwo\n");
    assert_int_equal(code, 0);
    assert_int_equal(run("kill -9 $$", CF_COMMAND_ERRORS_DROPPED, 0, NULL), CF_OK);
    assert_int_equal(code, 128 + 9);
}

static void long_answer_is_cut_and_read_to_its_end(void **state)
{
    (void)state;
    assert_int_equal(
        run("yes 0123456789 | head -n 20000; exit 4", CF_COMMAND_ERRORS_DROPPED, 60 * SECOND, NULL),
        CF_OK);
    assert_string_equal(text, "0123456789\n0123");
    assert_int_equal(code, 4);
}

static bool at_once(void *context)
{
    (void)context;
    return true;
}

static void silent_program_is_killed(void **state)
{
    (void)state;
    int64_t start = cf_clock_ns();
    assert_int_equal(run("exec sleep 600", CF_COMMAND_ERRORS_DROPPED, SECOND / 5, NULL), CF_OK);
    assert_int_equal(code, -1);
    assert_int_equal(run("exec sleep 600", CF_COMMAND_ERRORS_DROPPED, 0, at_once), CF_OK);
    assert_int_equal(code, -1);
    assert_true(cf_clock_ns() - start < 300 * SECOND);
}

static void program_that_is_not_there_is_named(void **state)
{
    (void)state;
    const char *const words[] = {"no-such-program", NULL};
    const cf_command c = {.words = words};
    assert_int_equal(cf_command_run(&c, text, sizeof text, &code), CF_E_UNEXPECTED);
    assert_non_null(strstr(cf_err_text(), "no-such-program"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_and_code_come_back),
        cmocka_unit_test(long_answer_is_cut_and_read_to_its_end),
        cmocka_unit_test(silent_program_is_killed),
        cmocka_unit_test(program_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
