#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "kernels/base/buf.h"

static void text_grows_and_stays_terminated(void **state)
{
    (void)state;
    cf_buf buf = {0};
    assert_string_equal(cf_buf_text(&buf), "");
    size_t expected = 0;
    for (int i = 0; i < 2000; i++) {
        cf_buf_printf(&buf, "%d,", i);
        expected += (size_t)snprintf(NULL, 0, "%d,", i);
        assert_int_equal(strlen(cf_buf_text(&buf)), expected);
    }
    assert_int_equal(buf.len, expected);
    assert_int_equal(cf_buf_check(&buf), CF_OK);
    cf_buf_clear(&buf);
    assert_string_equal(cf_buf_text(&buf), "");
    cf_buf_fini(&buf);
}

static void long_line_is_printed_whole(void **state)
{
    (void)state;
    cf_buf buf = {0};
    char line[3001];
    memset(line, 'x', 3000);
    line[3000] = '\0';
    cf_buf_add(&buf, "ab", 2);
    cf_buf_printf(&buf, "%s|%d", line, 5);
    assert_int_equal(buf.len, 3004);
    assert_string_equal(cf_buf_text(&buf) + 3002, "|5");
    cf_buf_fini(&buf);
}

static void failed_buffer_reports_and_ignores_later_writes(void **state)
{
    (void)state;
    cf_buf buf = {0};
    cf_buf_add(&buf, "abc", 3);
    cf_buf_add(&buf, "x", SIZE_MAX / 2 + 1); /* refused before a byte is read */
    cf_buf_printf(&buf, "later");
    assert_string_equal(cf_buf_text(&buf), "abc");
    assert_int_equal(cf_buf_check(&buf), CF_E_UNEXPECTED);
    cf_buf_fini(&buf);
}

static void json_of_nested_values(void **state)
{
    (void)state;
    const char *expected =
        "{\n  \"a\": 1,\n  \"list\": [\n    true,\n    {\n      \"b\": \"c\"\n    }\n  ],"
        "\n  \"none\": [],\n  \"empty\": {}\n}";
    const char *one_line =
        "{\"a\": 1, \"list\": [true, {\"b\": \"c\"}], \"none\": [], \"empty\": {}}";
    for (int compact = 0; compact < 2; compact++) {
        cf_buf buf = {0};
        cf_json j;
        cf_json_begin(&j, &buf, compact != 0);
        cf_json_object(&j, NULL);
        cf_json_integer(&j, "a", 1);
        cf_json_array(&j, "list");
        cf_json_boolean(&j, NULL, true);
        cf_json_object(&j, NULL);
        cf_json_string(&j, "b", "c");
        cf_json_end_object(&j);
        cf_json_end_array(&j);
        cf_json_array(&j, "none");
        cf_json_end_array(&j);
        cf_json_object(&j, "empty");
        cf_json_end_object(&j);
        cf_json_end_object(&j);
        assert_string_equal(cf_buf_text(&buf), compact ? one_line : expected);
        cf_buf_fini(&buf);
    }
}

static void assert_string_becomes(const char *text, const char *json)
{
    cf_buf buf = {0};
    cf_json j;
    cf_json_begin(&j, &buf, true);
    cf_json_string(&j, NULL, text);
    assert_string_equal(cf_buf_text(&buf), json);
    cf_buf_fini(&buf);
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    assert_string_becomes("\"q\" \\ /", "\"\\\"q\\\" \\\\ /\"");
    assert_string_becomes("a\nb\tc\rd\x01\x1f\x7f", "\"a\\nb\\tc\\rd\\u0001\\u001f\\u007f\"");
    assert_string_becomes("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\xac",
                          "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\xac\"");
}

static void json_strings_that_are_not_utf8_are_repaired(void **state)
{
    (void)state;
    const char *mark = "\xef\xbf\xbd";
    const char *const bad[] = {"\xff", "\xc3", "\x80", "\xc0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16], json[32];
        snprintf(text, sizeof text, "a%sb", bad[i]);
        snprintf(json, sizeof json, "\"a%sb\"", mark);
        assert_string_becomes(text, json);
    }
    char three[64];
    snprintf(three, sizeof three, "\"%s%s%s\"", mark, mark, mark);
    assert_string_becomes("\xed\xa0\x80", three); /* a surrogate */
    assert_string_becomes("\xe0\x80\xaf", three); /* an overlong slash */
    snprintf(three, sizeof three, "\"%s%s\"", mark, mark);
    assert_string_becomes("\xe2\x82", three); /* cut short at the end */
}

static double number_read_back(double value)
{
    cf_buf buf = {0};
    cf_json j;
    cf_json_begin(&j, &buf, true);
    cf_json_number(&j, NULL, value);
    double back = strtod(cf_buf_text(&buf), NULL);
    cf_buf_fini(&buf);
    return back;
}

static void json_numbers_read_back_exactly(void **state)
{
    (void)state;
    const double values[] = {0.1,     1.0 / 3.0, -2.5e-300,  DBL_MAX,
                             DBL_MIN, 4.9e-324,  1e15 + 0.3, 0.0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        double back = number_read_back(values[i]);
        assert_memory_equal(&back, &values[i], sizeof back);
    }
}

static void json_has_null_for_nan_and_infinity(void **state)
{
    (void)state;
    cf_buf buf = {0};
    cf_json j;
    cf_json_begin(&j, &buf, true);
    cf_json_array(&j, NULL);
    cf_json_number(&j, NULL, (double)NAN);
    cf_json_number(&j, NULL, (double)INFINITY);
    cf_json_number(&j, NULL, -(double)INFINITY);
    cf_json_integer(&j, NULL, INT64_MIN);
    cf_json_end_array(&j);
    assert_string_equal(cf_buf_text(&buf), "[null, null, null, -9223372036854775808]");
    cf_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows_and_stays_terminated),
        cmocka_unit_test(long_line_is_printed_whole),
        cmocka_unit_test(failed_buffer_reports_and_ignores_later_writes),
        cmocka_unit_test(json_of_nested_values),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(json_strings_that_are_not_utf8_are_repaired),
        cmocka_unit_test(json_numbers_read_back_exactly),
        cmocka_unit_test(json_has_null_for_nan_and_infinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
