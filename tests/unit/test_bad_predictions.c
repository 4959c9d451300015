/* Predictions files that a user could bring: each is refused with the place and the reason, or
 * taken as the header says. The columns and numbers that belong to a scheme are in
 * test_predictions.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "proto/csv.h"

static char path[] = "/tmp/cytofold-test-bad-predictions-XXXXXX";
static cf_scheme scheme;

static int set_up(void **state)
{
    (void)state;
    static const char text[] = "name: tiny\nclasses:\n  - {code: A, name: Alpha}\n  - {code: B}\n"
                               "merged_nodes: {B: [B_1, B_2]}\ndropped: [Delta]\n";
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0) return 1;
    return cf_scheme_parse("tiny", text, sizeof text - 1, &scheme) != CF_OK;
}

static int tear_down(void **state)
{
    (void)state;
    cf_scheme_fini(&scheme);
    return unlink(path);
}

#define HEAD  "id,site,patient,fold,label,predicted,p_A,p_B\n"
#define START "x,,,0,A,A,1,0\n"
/* Text with NULs in it. */
#define BYTES(text) text, sizeof(text) - 1
#define TEXT(text)  text, 0

typedef struct bad_file {
    const char *text;
    size_t n;            /* 0: up to its NUL */
    const char *message; /* behind the path */
} bad_file;

static const bad_file bad[] = {
    /* not a table of this kind */
    {TEXT(""), ":1:1: no header row"},
    {TEXT("\n\r\n\n"), ":1:1: no header row"},
    {TEXT("\xef\xbb\xbf"), ":1:1: no header row"},
    {TEXT(HEAD), ":1:1: a header without rows"},
    {TEXT("\xef\xbb\xbf" HEAD "\r\n"), ":1:1: a header without rows"},
    {TEXT("<!DOCTYPE html>\n<html>not found</html>\n"), ":1:1: no column \"id\""},
    {TEXT("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n"),
     ":1:1: no column \"id\""},
    {TEXT("{\"id\": 1}\n"), ":1:1: a quote inside an unquoted cell"},
    {BYTES("PK\3\4\x14\0\6\0"), ":1:1: a NUL byte; expected text"},
    {BYTES("\x1f\x8b\x08\0\0\0"), ":1:1: a NUL byte; expected text"},
    {BYTES(HEAD START "y\0,,,0,A,A,1,0\n"), ":3:1: a NUL byte; expected text"},
    {BYTES("\xff\xfei\0d\0,\0"), ":1:1: UTF-16 text; save the file as UTF-8"},
    {BYTES("\xfe\xff\0i\0d\0,"), ":1:1: UTF-16 text; save the file as UTF-8"},
    {TEXT("id;label;predicted\nx;A;A\n"),
     ":1:1: no column \"id\"; the file seems to be separated by semicolons, expected commas"},
    {TEXT("id\tlabel\tpredicted\nx\tA\tA\n"),
     ":1:1: no column \"id\"; the file seems to be separated by tabs, expected commas"},
    {TEXT("ID,Label,Predicted,p_A,p_B\nx,A,A,1,0\n"), ":1:5: no column \"id\""},
    {TEXT("id, label, predicted, p_A, p_B\nx,A,A,1,0\n"), ":1:5: no column \"label\""},
    {TEXT("x,,,0,A,A,1,0\ny,,,0,A,A,1,0\n"), ":1:6: column \"A\" stands twice"},
    {TEXT("id,label,predicted,p_A,p_B,id\nx,A,A,1,0,x\n"), ":1:6: column \"id\" stands twice"},
    {TEXT("id,label,predicted,p_A,p_B,p_A.1\nx,A,A,1,0,1\n"),
     ":1:6: column \"p_A.1\" does not fit the others and scheme tiny"},
    {TEXT("id,label,predicted,A,B\nx,A,A,1,0\n"), ":1:5: no column \"p_A\" of scheme tiny"},
    {TEXT("id,label,predicted,p_A,p_B_1\nx,A,A,1,0\n"), ":1:5: no column \"p_B\" of scheme tiny"},
    /* rows */
    {TEXT(HEAD "x,,,0,A,A,1\n"), ":2:7: a row of 7 cells; expected 8 as in the header"},
    {TEXT(HEAD START "y,,,0,A,A,1,0,\n"), ":3:9: a row of 9 cells; expected 8 as in the header"},
    {TEXT(HEAD "x,,,0,A,A,1,0 x,,,0,A,A,1,0\n"),
     ":2:15: a row of 15 cells; expected 8 as in the header"},
    {TEXT(HEAD START "   \n"), ":3:1: a row of 1 cells; expected 8 as in the header"},
    {TEXT(HEAD START "# made by hand\n"), ":3:1: a row of 1 cells; expected 8 as in the header"},
    {TEXT(HEAD "x,,,0,A,A,0,7,0,3\n"), ":2:10: a row of 10 cells; expected 8 as in the header"},
    {TEXT(HEAD START "y,,,0,A"), ":3:5: a row of 5 cells; expected 8 as in the header"},
    {TEXT("id,site,patient,fold,label,predicted,p_A,p_B\rx,,,0,A,A,1,0\r"),
     ":1:8: a carriage return without a line feed"},
    {TEXT(HEAD "\"x,,,0,A,A,1,0\ny,,,0,A,A,1,0\n"), ":2:1: a quote that is not closed"},
    {TEXT(HEAD "x\"y,,,0,A,A,1,0\n"), ":2:1: a quote inside an unquoted cell"},
    {TEXT(HEAD "\"x\"y,,,0,A,A,1,0\n"), ":2:1: text behind a closing quote"},
    {TEXT(HEAD START HEAD), ":3:4: fold is \"fold\"; expected a whole number from 0 to 65535"},
    /* names */
    {TEXT(HEAD START ",,,0,A,A,1,0\n"), ":3:1: an empty id"},
    {TEXT(HEAD "\"\",,,0,A,A,1,0\n"), ":2:1: an empty id"},
    {TEXT(HEAD START "x,other,,0,A,A,1,0\n"),
     ":3:1: id \"x\" stands twice in fold 0; before in line 2"},
    {TEXT(HEAD START "\"x\",,,,A,A,1,0\n"),
     ":3:1: id \"x\" stands twice in fold 0; before in line 2"},
    {TEXT(HEAD "'=x,,,0,A,A,1,0\n=x,,,0,A,A,1,0\n"),
     ":3:1: id \"=x\" stands twice in fold 0; before in line 2"},
    {TEXT(HEAD "x\xfc,,,0,A,A,1,0\n"),
     ":2:1: id is not UTF-8 at its byte 2; save the file as UTF-8"},
    {TEXT(HEAD "x,M\xfcnchen,,0,A,A,1,0\n"),
     ":2:2: site is not UTF-8 at its byte 2; save the file as UTF-8"},
    {TEXT(HEAD "x,,\xed\xa0\x80,0,A,A,1,0\n"),
     ":2:3: patient is not UTF-8 at its byte 1; save the file as UTF-8"},
    /* folds */
    {TEXT(HEAD "x,,,zero,A,A,1,0\n"),
     ":2:4: fold is \"zero\"; expected a whole number from 0 to 65535"},
    {TEXT(HEAD "x,,,-1,A,A,1,0\n"),
     ":2:4: fold is \"-1\"; expected a whole number from 0 to 65535"},
    {TEXT(HEAD "x,,,1e1,A,A,1,0\n"),
     ":2:4: fold is \"1e1\"; expected a whole number from 0 to 65535"},
    {TEXT(HEAD "x,,,65536,A,A,1,0\n"),
     ":2:4: fold is \"65536\"; expected a whole number from 0 to 65535"},
    {TEXT(HEAD "x,,,99999999999999999999,A,A,1,0\n"),
     ":2:4: fold is \"99999999999999999999\"; expected a whole number from 0 to 65535"},
    {TEXT(HEAD "x,,, 1,A,A,1,0\n"),
     ":2:4: fold is \" 1\"; expected a whole number from 0 to 65535"},
    /* classes */
    {TEXT(HEAD "x,,,0,,A,1,0\n"), ":2:5: label \"\" is no class of scheme tiny"},
    {TEXT(HEAD "x,,,0,A,,1,0\n"), ":2:6: predicted \"\" is no class of scheme tiny"},
    {TEXT(HEAD "x,,,0,A ,A,1,0\n"), ":2:5: label \"A \" is no class of scheme tiny"},
    {TEXT(HEAD "x,,,0,0,A,1,0\n"), ":2:5: label \"0\" is no class of scheme tiny"},
    {TEXT(HEAD "x,,,0,B_1,A,1,0\n"), ":2:5: label \"B_1\" is no class of scheme tiny"},
    {TEXT(HEAD "x,,,0,A,Delta,1,0\n"), ":2:6: predicted \"Delta\" is left out by scheme tiny"},
    {TEXT(HEAD "x,,,0,A,B,0.6,0.4\n"), ":2:6: predicted is B with 0.4; but A has 0.6"},
    {TEXT(HEAD START "y,,,0,A,A,0.499,0.501\n"),
     ":3:6: predicted is A with 0.499; but B has 0.501"},
    /* numbers */
    {TEXT(HEAD "x,,,0,A,A,nan,0\n"), ":2:7: p_A is \"nan\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,NaN,nan\n"), ":2:7: p_A is \"NaN\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,inf,0\n"), ":2:7: p_A is \"inf\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,1,1e400\n"), ":2:8: p_B is \"1e400\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,1,1e-400\n"), ":2:8: p_B is \"1e-400\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,1,-1e-9\n"), ":2:8: p_B is \"-1e-9\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,1.1,-0.1\n"), ":2:7: p_A is \"1.1\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,100,0\n"), ":2:7: p_A is \"100\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,0x1p0,0\n"), ":2:7: p_A is \"0x1p0\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A, 1,0\n"), ":2:7: p_A is \" 1\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,+1,0\n"), ":2:7: p_A is \"+1\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,\"0,7\",\"0,3\"\n"),
     ":2:7: p_A is \"0,7\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,tensor(1.),0\n"),
     ":2:7: p_A is \"tensor(1.)\"; expected a number from 0 to 1"},
    {TEXT(HEAD "x,,,0,A,A,,1\n"), ":2:7: p_A is \"\"; expected a number from 0 to 1"},
    {TEXT(HEAD START "y,,,0,A,A,0.6,0.3\n"), ":3:7: probabilities sum to 0.9; expected 1"},
    {TEXT(HEAD "x,,,0,A,A,0.6,0.402\n"), ":2:7: probabilities sum to 1.002; expected 1"},
    {TEXT(HEAD "x,,,0,A,A,1,1\n"), ":2:7: probabilities sum to 2; expected 1"},
    {TEXT(HEAD "x,,,0,A,A,0,0\n"), ":2:7: probabilities sum to 0; expected 1"},
    {TEXT("id,label,predicted,z_A,z_B_1,z_B_2\nx,A,A,1e309,0,0\n"),
     ":2:4: z_A is \"1e309\"; expected a finite number"},
    {TEXT("id,label,predicted,z_A,z_B_1,z_B_2\nx,A,A,-inf,0,0\n"),
     ":2:4: z_A is \"-inf\"; expected a finite number"},
};

static void bad_files_are_refused_with_line_and_column(void **state)
{
    (void)state;
    size_t n = sizeof bad / sizeof bad[0];
    for (size_t i = 0; i < n; i++) {
        cf_predictions p;
        size_t length = bad[i].n > 0 ? bad[i].n : strlen(bad[i].text);
        assert_int_equal(cf_file_save(path, bad[i].text, length), CF_OK);
        cf_err err = cf_predictions_read(path, &scheme, &p);
        if (err != CF_E_DATA) fail_msg("code %d; expected a refusal of\n%s", err, bad[i].text);
        assert_memory_equal(cf_err_text(), path, strlen(path));
        assert_string_equal(cf_err_text() + strlen(path), bad[i].message);
        assert_null(p.ids);
        assert_int_equal(p.n, 0);
    }
    print_message("%zu files\n", n);
    assert_true(n >= 70);
}

/* One row of each is read, with the id given. */
static const struct {
    const char *text, *id;
} good[] = {
    {HEAD "x,,,0,A,A,1,0", "x"},
    {"\xef\xbb\xbf" HEAD "x,,,0,A,A,1,0\r\n", "x"},
    {"\n" HEAD "\nx,,,0,A,A,1,0\n\n", "x"},
    {"\"id\",\"label\",\"predicted\",\"p_A\",\"p_B\"\n\"x\",\"A\",\"A\",\"1\",\"0\"\n", "x"},
    {"note,id,label,predicted,p_A,p_B,\n,x,Alpha,A,1,0,\n", "x"},
    {HEAD "x,,,0,A,A,1,-0\n", "x"},
    {HEAD "x,,,0,A,A,1.0000000001,0\n", "x"},
    {HEAD "x,,,0,A,A,.9995,4.9e-324\n", "x"},
    {HEAD "x,,,65535,A,A,1e0,0e5\n", "x"},
    {HEAD "'=cmd(),,,0,A,A,1,0\n", "=cmd()"},
    {HEAD "'x',,,0,A,A,1,0\n", "'x'"},
    {HEAD "\"a\nb\r\n\"\"c\"\"\",,,0,A,A,1,0\n", "a\nb\r\n\"c\""},
    {HEAD "\x1b[2J\a,,,0,A,A,1,0\n", "\x1b[2J\a"},
    {HEAD "\xe2\x80\xaegnp.x,,,0,A,A,1,0\n", "\xe2\x80\xaegnp.x"},
};

static void odd_files_are_taken_as_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cf_predictions p;
        assert_int_equal(cf_file_save(path, good[i].text, strlen(good[i].text)), CF_OK);
        if (cf_predictions_read(path, &scheme, &p) != CF_OK)
            fail_msg("%s; expected to take\n%s", cf_err_text(), good[i].text);
        assert_int_equal(p.n, 1);
        assert_string_equal(p.ids[0], good[i].id);
        cf_predictions_fini(&p);
    }
}

static cf_err read_long(size_t n, char filler, const char *tail)
{
    cf_predictions p;
    cf_buf text = {0};
    cf_buf_printf(&text, "%s", HEAD);
    for (size_t i = 0; i < n; i++) cf_buf_add(&text, &filler, 1);
    cf_buf_printf(&text, "%s", tail);
    assert_int_equal(cf_file_save(path, text.data, text.len), CF_OK);
    cf_buf_fini(&text);
    cf_err err = cf_predictions_read(path, &scheme, &p);
    cf_predictions_fini(&p);
    return err;
}

static void lines_without_end_are_bounded(void **state)
{
    (void)state;
    enum { MANY = 4 << 20 };
    assert_int_equal(read_long(MANY, 'x', ",,,0,A,A,1,0\n"), CF_OK); /* a name of 4 MiB is a name */
    assert_int_equal(read_long(MANY, 'x', ""), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), ":2:1: a row of 1 cells; expected 8 as in the header"));
    assert_int_equal(read_long(MANY, ',', "\n"), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), ":2:8193: too many columns"));
    assert_int_equal(read_long(MANY, '"', "\n"), CF_E_DATA);
    assert_int_equal(read_long(MANY, '\n', ""), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), ":1:1: a header without rows"));
}

/* A line of two gigabytes, as a sparse file; and what is no file. Refused before anything is read.
 */
static void what_is_too_large_or_no_file_is_refused(void **state)
{
    (void)state;
    cf_predictions p;
    assert_int_equal(cf_file_save(path, HEAD, strlen(HEAD)), CF_OK);
    assert_int_equal(truncate(path, (off_t)2 << 30), 0);
    assert_int_equal(cf_predictions_read(path, &scheme, &p), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), ": expected at most 1073741824 bytes, found 2147483648"));
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(cf_predictions_read("/tmp", &scheme, &p), CF_E_DATA);
    assert_string_equal(cf_err_text(), "/tmp: expected a regular file, found a folder");
    assert_int_equal(cf_predictions_read("/dev/zero", &scheme, &p), CF_E_DATA);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(cf_predictions_read(path, &scheme, &p),
                     CF_E_DATA); /* nobody writes: no waiting */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(path, path), 0);
    assert_int_equal(cf_predictions_read(path, &scheme, &p), CF_E_DATA); /* a ring of links */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused_with_line_and_column),
        cmocka_unit_test(odd_files_are_taken_as_they_are),
        cmocka_unit_test(lines_without_end_are_bounded),
        cmocka_unit_test(what_is_too_large_or_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
