/* CSV: what is written reads back, spreadsheets run nothing, faults are named by line and column.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/csv.h"

static cf_csv parse(const char *text)
{
    cf_csv csv;
    if (cf_csv_parse("x.csv", text, strlen(text), &csv) != CF_OK) fail_msg("%s", cf_err_text());
    return csv;
}

static void quoted_cells_are_read(void **state)
{
    (void)state;
    cf_csv csv = parse("id,label\n\"a,b\",\"say \"\"x\"\"\"\n\"two\nlines\",\n\"\",last");
    assert_int_equal(csv.n_rows, 4);
    assert_int_equal(csv.n_columns, 2);
    assert_string_equal(cf_csv_cell(&csv, 0, 1), "label");
    assert_string_equal(cf_csv_cell(&csv, 1, 0), "a,b");
    assert_string_equal(cf_csv_cell(&csv, 1, 1), "say \"x\"");
    assert_string_equal(cf_csv_cell(&csv, 2, 0), "two\nlines");
    assert_string_equal(cf_csv_cell(&csv, 2, 1), "");
    assert_string_equal(cf_csv_cell(&csv, 3, 0), "");
    assert_string_equal(cf_csv_cell(&csv, 3, 1), "last");
    assert_int_equal(csv.lines[2], 3);
    assert_int_equal(csv.lines[3], 5); /* a row that spans two lines stands before it */
    assert_int_equal(cf_csv_column(&csv, "label"), 1);
    assert_int_equal(cf_csv_column(&csv, "none"), -1);
    cf_csv_fini(&csv);
}

static void line_ends_and_byte_order_mark_do_not_matter(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "id,label\na,b\n",
        "id,label\r\na,b\r\n",
        "id,label\na,b",
        "\xef\xbb\xbfid,label\na,b",
        "\n\nid,label\r\n\r\n\na,b\n\n",
        "\"id\",\"label\"\r\n\"a\",\"b\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cf_csv csv = parse(texts[i]);
        assert_int_equal(csv.n_rows, 2);
        assert_int_equal(cf_csv_column(&csv, "id"), 0);
        assert_string_equal(cf_csv_cell(&csv, 1, 0), "a");
        assert_string_equal(cf_csv_cell(&csv, 1, 1), "b");
        cf_csv_fini(&csv);
    }
}

static void faults_are_named_by_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "x.csv:1:1: no header row"},
        {"\n\r\n", "x.csv:1:1: no header row"},
        {"a,b\n1,2\n3\n", "x.csv:3:1: a row of 1 cells; expected 2 as in the header"},
        {"a,b\n1,2,3\n", "x.csv:2:3: a row of 3 cells; expected 2 as in the header"},
        {"a,b\n1,\"2\n3,4\n", "x.csv:2:2: a quote that is not closed"},
        {"a,b\n1,\"2\"x\n", "x.csv:2:2: text behind a closing quote"},
        {"a,b\n1,2\"x\"\n", "x.csv:2:2: a quote inside an unquoted cell"},
        {"a,b\n\"x\ny\",1\n2\n", "x.csv:4:1: a row of 1 cells; expected 2 as in the header"},
        {"a,b\r1,2\r", "x.csv:1:2: a carriage return without a line feed"},
        {"a,b,a\n1,2,3\n", "x.csv:1:3: column \"a\" stands twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cf_csv csv;
        assert_int_equal(cf_csv_parse("x.csv", bad[i].text, strlen(bad[i].text), &csv), CF_E_DATA);
        assert_string_equal(cf_err_text(), bad[i].message);
        assert_null(csv.text);
    }
    cf_csv csv;
    assert_int_equal(cf_csv_parse("x.csv", "a,b\n1,\0\n", 8, &csv), CF_E_DATA);
    assert_string_equal(cf_err_text(), "x.csv:2:1: a NUL byte; expected text");
}

static void too_many_columns_are_refused(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    char *commas = malloc(N);
    assert_non_null(commas);
    memset(commas, ',', N);
    cf_csv csv;
    assert_int_equal(cf_csv_parse("x.csv", commas, N, &csv), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "too many columns"));
    free(commas);
}

/* RELIABILITY 15. The second column is what the file holds: no cell starts with a sign that a
 * spreadsheet obeys. */
static const struct {
    const char *cell, *written;
} cells[] = {
    {"=cmd()", "'=cmd()"},
    {"=1+1", "'=1+1"},
    {"=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""},
    {"+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"},
    {"-2+3+cmd", "'-2+3+cmd"},
    {"@SUM(A1)", "'@SUM(A1)"},
    {"\t=1", "'\t=1"},
    {"\r=1", "\"'\r=1\""},
    {"\n=1", "\"'\n=1\""},
    {"-", "'-"},
    {"'=1", "''=1"},
    {"''-x", "'''-x"},
    {"'quoted'", "'quoted'"},
    {"'", "'"},
    {"-1.5e-3", "-1.5e-3"}, /* a number is one in spreadsheets too */
    {"'-5", "''-5"},
    {"a=b", "a=b"},
    {"<script>alert(1)</script>", "<script>alert(1)</script>"},
    {"say \"x\"", "\"say \"\"x\"\"\""},
    {"a,b", "\"a,b\""},
    {"a;b", "a;b"},
    {"two\nlines", "\"two\nlines\""},
    {"", ""},
    {" ", " "},
    {"\xc3\xa4", "\xc3\xa4"},
};

static void cells_are_written_harmless_and_read_back(void **state)
{
    (void)state;
    cf_buf out = {0};
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        cf_buf_clear(&out);
        cf_buf_printf(&out, "a,b\nfirst,");
        size_t start = out.len;
        cf_csv_put(&out, cells[i].cell, CF_CSV_END_ROW);
        char *end = out.data + out.len - 1;
        assert_int_equal(*end, '\n');
        *end = '\0';
        assert_string_equal(out.data + start, cells[i].written);
        *end = '\n';
        cf_csv csv = parse(cf_buf_text(&out));
        assert_int_equal(csv.n_rows, 2);
        assert_string_equal(cf_csv_cell(&csv, 1, 1), cells[i].cell);
        cf_csv_fini(&csv);
    }
    cf_buf_fini(&out);
}

static void empty_single_cells_stay_rows(void **state)
{
    (void)state;
    cf_buf out = {0};
    cf_csv_put(&out, "id", CF_CSV_END_ROW);
    cf_csv_put(&out, "", CF_CSV_END_ROW);
    cf_csv_put(&out, "x", CF_CSV_END_ROW);
    cf_csv csv = parse(cf_buf_text(&out));
    assert_int_equal(csv.n_rows, 3);
    assert_string_equal(cf_csv_cell(&csv, 1, 0), "");
    cf_csv_fini(&csv);
    cf_buf_fini(&out);
}

/* Any bytes but NUL survive: random rows of the characters that matter. */
static void random_cells_read_back(void **state)
{
    (void)state;
    static const char alphabet[] = "a'=+-@\",\r\n\t 1.";
    enum { SEED = 20240607, ROWS = 2000, COLUMNS = 3, LONGEST = 6 };
    print_message("seed %d\n", SEED);
    static char drawn[ROWS][COLUMNS][LONGEST + 1];
    uint32_t x = SEED;
    cf_buf out = {0};
    cf_buf_printf(&out, "a,b,c\n");
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < COLUMNS; c++) {
            x = x * 1664525u + 1013904223u;
            int n = (int)(x >> 16) % (LONGEST + 1);
            for (int i = 0; i < n; i++) {
                x = x * 1664525u + 1013904223u;
                drawn[r][c][i] = alphabet[(x >> 16) % (sizeof alphabet - 1)];
            }
            cf_csv_put(&out, drawn[r][c], c + 1 == COLUMNS ? CF_CSV_END_ROW : CF_CSV_MORE);
        }
    }
    cf_csv csv = parse(cf_buf_text(&out));
    assert_int_equal(csv.n_rows, ROWS + 1);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++)
            assert_string_equal(cf_csv_cell(&csv, r + 1, c), drawn[r][c]);
    cf_csv_fini(&csv);
    cf_buf_fini(&out);
}

static void missing_file_is_named(void **state)
{
    (void)state;
    cf_csv csv;
    assert_int_equal(cf_csv_read("/nonexistent/x.csv", 1000, &csv), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "/nonexistent/x.csv"));
    assert_null(csv.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoted_cells_are_read),
        cmocka_unit_test(line_ends_and_byte_order_mark_do_not_matter),
        cmocka_unit_test(faults_are_named_by_line_and_column),
        cmocka_unit_test(too_many_columns_are_refused),
        cmocka_unit_test(cells_are_written_harmless_and_read_back),
        cmocka_unit_test(empty_single_cells_stay_rows),
        cmocka_unit_test(random_cells_read_back),
        cmocka_unit_test(missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
