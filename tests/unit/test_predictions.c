/* predictions.csv: exact round trip, merged nodes, and the bad files a user could bring. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/csv.h"

static const char scheme_text[] = "name: tiny\n"
                                  "classes:\n"
                                  "  - {code: A, name: Alpha}\n"
                                  "  - {code: B}\n"
                                  "  - {code: C}\n"
                                  "merged_nodes: {B: [B_1, B_2]}\n"
                                  "aliases: {Beta: B}\n"
                                  "dropped: [Delta]\n";

static cf_scheme scheme;
static char folder[] = "/tmp/cf-predictions-XXXXXX";
static char path[128];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/p.csv", folder);
    return cf_scheme_parse("tiny", scheme_text, strlen(scheme_text), &scheme) == CF_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    cf_scheme_fini(&scheme);
    remove(path);
    return remove(folder);
}

static cf_err read_text(const char *text, cf_predictions *p)
{
    assert_int_equal(cf_file_save(path, text, strlen(text)), CF_OK);
    return cf_predictions_read(path, &scheme, p);
}

static cf_predictions must_read(const char *text)
{
    cf_predictions p;
    if (read_text(text, &p) != CF_OK) fail_msg("%s", cf_err_text());
    return p;
}

static void class_columns_are_read(void **state)
{
    (void)state;
    cf_predictions p = must_read("id,site,fold,label,predicted,p_A,p_B,p_C\n"
                                 "x,Munich,2,A,B,0.25,0.5,0.25\n"
                                 "x,Munich,3,Alpha,Beta,0,1,0\n");
    assert_int_equal(p.n, 2);
    assert_int_equal(p.n_classes, 3);
    assert_string_equal(p.ids[1], "x"); /* the same id in another fold */
    assert_string_equal(p.sites[0], "Munich");
    assert_int_equal(p.folds[0], 2);
    assert_int_equal(p.labels[1], 0);
    assert_int_equal(p.predicted[1], 1);
    assert_true(p.p[0] == 0.25 && p.p[1] == 0.5 && p.p[4] == 1.0);
    cf_predictions_fini(&p);
}

static void columns_may_stand_in_any_order_and_some_be_missing(void **state)
{
    (void)state;
    cf_predictions p = must_read("p_C,patient,predicted,p_A,label,p_B,id\n0.25,7,A,0.5,C,0.25,x\n");
    assert_string_equal(p.sites[0], "");
    assert_int_equal(p.folds[0], 0);
    assert_int_equal(p.labels[0], 2);
    assert_true(p.p[0] == 0.5 && p.p[1] == 0.25 && p.p[2] == 0.25);
    cf_predictions_fini(&p);
}

static void probabilities_of_nodes_are_merged(void **state)
{
    (void)state;
    cf_predictions p =
        must_read("id,label,predicted,p_A,p_B_1,p_B_2,p_C\nx,A,B,0.375,0.25,0.25,0.125\n");
    assert_true(p.p[0] == 0.375 && p.p[1] == 0.5 && p.p[2] == 0.125);
    cf_predictions_fini(&p);
}

/* Four nodes of equal logits: a quarter each, half for the merged class. Large logits must not
 * overflow: exp(1000) does. Softmax of equal numbers is exact. */
static void logits_of_nodes_are_merged(void **state)
{
    (void)state;
    cf_predictions p = must_read("id,label,predicted,z_A,z_B_1,z_B_2,z_C\n"
                                 "x,A,B,1000,1000,1000,1000\n"
                                 "y,A,A,800,-800,-800,-800\n"
                                 "z,A,A,2,0,0,0\n");
    assert_true(p.p[0] == 0.25 && p.p[1] == 0.5 && p.p[2] == 0.25);
    assert_true(p.p[3] == 1.0 && p.p[4] == 0.0 && p.p[5] == 0.0);
    double e2 = exp(2.0); /* against the formula; 1e-15 for a few roundings */
    assert_true(fabs(p.p[6] - e2 / (e2 + 3)) < 1e-15 && fabs(p.p[7] - 2 / (e2 + 3)) < 1e-15);
    cf_predictions_fini(&p);
}

static void ties_keep_the_word_of_the_file(void **state)
{
    (void)state;
    cf_predictions p =
        must_read("id,label,predicted,p_A,p_B,p_C\nx,A,B,0.4,0.4,0.2\ny,A,A,0.4,0.4,0.2\n");
    assert_int_equal(p.predicted[0], 1);
    assert_int_equal(p.predicted[1], 0);
    cf_predictions_fini(&p);
}

#define HEAD "id,site,fold,label,predicted,p_A,p_B,p_C\n"

/* The files that issue reports bring: each is refused with line and column. */
static const struct {
    const char *text, *message; /* behind the path */
} bad[] = {
    {"site,fold,label,predicted,p_A,p_B,p_C\n,0,A,A,1,0,0\n", ":1:7: no column \"id\""},
    {"id,predicted,p_A,p_B,p_C\nx,A,1,0,0\n", ":1:5: no column \"label\""},
    {"id,label,p_A,p_B,p_C\nx,A,1,0,0\n", ":1:5: no column \"predicted\""},
    {"id;label;predicted\nx;A;A\n",
     ":1:1: no column \"id\"; the file seems to be separated by semicolons, expected commas"},
    {"id,label,predicted,p_A,p_B\nx,A,A,1,0\n", ":1:5: no column \"p_C\" of scheme tiny"},
    {"id,label,predicted,z_A,z_B_1,z_C\nx,A,A,1,0,0\n", ":1:6: no column \"z_B_2\""},
    {"id,label,predicted\nx,A,A\n", ":1:3: no column \"p_A\" of scheme tiny"},
    {"id,label,predicted,p_A,p_B,p_C,p_D\nx,A,A,1,0,0,0\n",
     ":1:7: column \"p_D\" does not fit the others and scheme tiny"},
    {"id,label,predicted,p_A,p_B,p_C,p_B_1\nx,A,A,1,0,0,0\n",
     ":1:7: column \"p_B_1\" does not fit the others and scheme tiny"},
    {"id,label,predicted,z_A,z_B_1,z_B_2,z_C,p_A\nx,A,A,1,0,0,0,1\n",
     ":1:8: column \"p_A\" does not fit the others and scheme tiny"},
    {"id,label,predicted,p_A,p_B,p_C,p_A\nx,A,A,1,0,0,1\n", ":1:7: column \"p_A\" stands twice"},
    {HEAD, ":1:1: a header without rows"},
    {"", ":1:1: no header row"},
    {HEAD "x,,0,A,A,1,0,0\ny,,0,A,A,0.5,0.3,0.1\n", ":3:6: probabilities sum to 0.9; expected 1"},
    {HEAD "x,,0,A,A,1,1,1\n", ":2:6: probabilities sum to 3; expected 1"},
    {HEAD "x,,0,A,A,0.5,0.3,0.2011\n", ":2:6: probabilities sum to 1.0011; expected 1"},
    {HEAD "x,,0,A,A,0,0,0\n", ":2:6: probabilities sum to 0; expected 1"},
    {HEAD "x,,0,A,A,1.5,-0.5,0\n", ":2:6: p_A is \"1.5\"; expected a number from 0 to 1"},
    {HEAD "x,,0,A,A,1,-0.5,0.5\n", ":2:7: p_B is \"-0.5\"; expected a number from 0 to 1"},
    {HEAD "x,,0,A,A,1,nan,0\n", ":2:7: p_B is \"nan\"; expected a number from 0 to 1"},
    {HEAD "x,,0,A,A,1,,0\n", ":2:7: p_B is \"\"; expected a number from 0 to 1"},
    {HEAD "x,,0,A,A,1,0 %,0\n", ":2:7: p_B is \"0 %\"; expected a number from 0 to 1"},
    {"id,label,predicted,z_A,z_B_1,z_B_2,z_C\nx,A,A,inf,0,0,0\n",
     ":2:4: z_A is \"inf\"; expected a finite number"},
    {HEAD "x,,0,D,A,1,0,0\n", ":2:4: label \"D\" is no class of scheme tiny"},
    {HEAD "x,,0,a,A,1,0,0\n", ":2:4: label \"a\" is no class of scheme tiny"},
    {HEAD "x,,0,A,D,1,0,0\n", ":2:5: predicted \"D\" is no class of scheme tiny"},
    {HEAD "x,,0,Delta,A,1,0,0\n", ":2:4: label \"Delta\" is left out by scheme tiny"},
    {HEAD "x,,0,A,B,1,0,0\n", ":2:5: predicted is B with 0; but A has 1"},
    {HEAD "x,,-1,A,A,1,0,0\n", ":2:3: fold is \"-1\"; expected a whole number from 0 to 65535"},
    {HEAD "x,,0.0,A,A,1,0,0\n", ":2:3: fold is \"0.0\"; expected a whole number from 0 to 65535"},
    {HEAD ",,0,A,A,1,0,0\n", ":2:1: an empty id"},
    {HEAD "x,,0,A,A,1,0,0\ny,,0,A,A,1,0,0\nx,,1,A,A,1,0,0\nx,,0,B,A,1,0,0\nx,,0,A,A,1,0,0\n",
     ":5:1: id \"x\" stands twice in fold 0; before in line 2"},
    {HEAD "x,,0,A,A,1,0\n", ":2:7: a row of 7 cells; expected 8 as in the header"},
    {HEAD "\"x,,0,A,A,1,0,0\n", ":2:1: a quote that is not closed"},
};

static void bad_files_are_refused_with_line_and_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cf_predictions p;
        cf_err err = read_text(bad[i].text, &p);
        if (err != CF_E_DATA) fail_msg("code %d; expected a refusal of\n%s", err, bad[i].text);
        assert_memory_equal(cf_err_text(), path, strlen(path));
        assert_string_equal(cf_err_text() + strlen(path), bad[i].message);
        assert_null(p.ids);
    }
}

static void sums_within_a_thousandth_are_taken(void **state)
{
    (void)state;
    cf_predictions p = must_read(HEAD "x,,0,A,A,0.3335,0.3335,0.3335\ny,,0,A,A,1.0000001,0,0\n");
    assert_true(p.p[0] == 0.3335);
    cf_predictions_fini(&p);
}

/* Floats written with nine digits are the same floats again, so a second writing is the same file.
 */
static void predictions_survive_write_and_read(void **state)
{
    (void)state;
    enum { SEED = 7, N = 500 };
    print_message("seed %d\n", SEED);
    cf_predictions p, again;
    assert_int_equal(cf_predictions_init(&p, N, 3), CF_OK);
    uint32_t x = SEED;
    for (int i = 0; i < N; i++) {
        char id[64];
        snprintf(id, sizeof id, i % 2 ? "=B/cell, \"%d\".jpg" : "B/\xc3\xa4 %d.jpg", i);
        p.ids[i] = strdup(id);
        p.sites[i] = strdup(i % 3 ? "" : "+site");
        assert_non_null(p.ids[i]);
        assert_non_null(p.sites[i]);
        p.folds[i] = i % 5;
        p.labels[i] = i % 3;
        float a = 0, b = 0;
        x = x * 1664525u + 1013904223u;
        a = (float)(x >> 8) / 16777216.0f;
        x = x * 1664525u + 1013904223u;
        b = (1.0f - a) * (float)(x >> 8) / 16777216.0f;
        float all[3] = {a, b, 1.0f - a - b};
        for (int c = 0; c < 3; c++) {
            p.p[3 * i + c] = (double)(all[c] > 0 ? all[c] : 0);
            if (p.p[3 * i + c] > p.p[3 * i + p.predicted[i]]) p.predicted[i] = c;
        }
    }
    assert_int_equal(cf_predictions_write(path, &scheme, &p), CF_OK);
    char *first = NULL, *second = NULL;
    size_t n_first = 0, n_second = 0;
    assert_int_equal(cf_file_read(path, 1 << 20, &first, &n_first), CF_OK);
    if (cf_predictions_read(path, &scheme, &again) != CF_OK) fail_msg("%s", cf_err_text());
    assert_int_equal(again.n, N);
    for (int i = 0; i < N; i++) {
        assert_string_equal(again.ids[i], p.ids[i]);
        assert_string_equal(again.sites[i], p.sites[i]);
        for (int c = 0; c < 3; c++) assert_true((float)again.p[3 * i + c] == (float)p.p[3 * i + c]);
    }
    assert_memory_equal(again.folds, p.folds, N * sizeof *p.folds);
    assert_memory_equal(again.labels, p.labels, N * sizeof *p.labels);
    assert_memory_equal(again.predicted, p.predicted, N * sizeof *p.predicted);
    assert_int_equal(cf_predictions_write(path, &scheme, &again), CF_OK);
    assert_int_equal(cf_file_read(path, 1 << 20, &second, &n_second), CF_OK);
    assert_int_equal(n_first, n_second);
    assert_memory_equal(first, second, n_first);
    assert_memory_equal(first, "id,site,fold,label,predicted,p_A,p_B,p_C\n", 41);
    free(first);
    free(second);
    cf_predictions_fini(&p);
    cf_predictions_fini(&again);
}

static void rows_without_a_label_are_read_where_they_may(void **state)
{
    (void)state;
    static const char text[] =
        HEAD "x,,,A,A,1,0,0\ny,north,,,B,0.25,0.5,0.25\nz,south,,C,A,0.5,0.25,0.25\n";
    cf_predictions p;
    assert_int_equal(read_text(text, &p), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), ":3:4: label \"\" is no class of"));
    assert_int_equal(cf_predictions_read_any(path, &scheme, &p), CF_OK);
    assert_int_equal(p.n, 3);
    assert_int_equal(p.n_unknown, 1);
    assert_int_equal(p.labels[1], CF_LABEL_UNKNOWN);
    assert_int_equal(p.folds[1], 0);
    cf_predictions_drop_unknown(&p);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.n_unknown, 0);
    assert_string_equal(p.ids[1], "z");
    assert_string_equal(p.sites[1], "south");
    assert_int_equal(p.labels[1], 2);
    assert_true(p.p[3] == 0.5 && p.p[4] == 0.25);
    cf_predictions_fini(&p);
}

static void patients_are_read_where_there_are_any(void **state)
{
    (void)state;
    cf_predictions p = must_read("id,label,predicted,p_A,p_B,p_C\nx,A,A,1,0,0\n");
    assert_null(p.patients);
    cf_predictions_fini(&p);
    const char *text = "id,patient,label,predicted,p_A,p_B,p_C\n"
                       "x,P1,A,A,1,0,0\ny,P2,,A,1,0,0\nz,,B,A,1,0,0\n";
    assert_int_equal(cf_file_save(path, text, strlen(text)), CF_OK);
    assert_int_equal(cf_predictions_read_any(path, &scheme, &p), CF_OK);
    assert_string_equal(p.patients[1], "P2");
    cf_predictions_drop_unknown(&p);
    assert_int_equal(p.n, 2);
    assert_string_equal(p.patients[0], "P1");
    assert_string_equal(p.patients[1], "");
    cf_predictions_fini(&p);
}

static void unknown_labels_and_means_are_written_as_empty_cells(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    cf_predictions p = must_read(HEAD "x,,4,A,A,1,0,0\ny,,,C,C,0,0,1\n");
    p.labels[0] = CF_LABEL_UNKNOWN;
    p.folds[1] = CF_FOLD_MEAN;
    assert_int_equal(cf_predictions_write(path, &scheme, &p), CF_OK);
    cf_predictions_fini(&p);
    assert_int_equal(cf_file_read(path, 1000, &text, &n), CF_OK);
    assert_string_equal(text, HEAD "x,,4,,A,1,0,0\ny,,,C,C,0,0,1\n");
    free(text);
}

static void unwritable_folder_is_a_disk_error(void **state)
{
    (void)state;
    cf_predictions p = must_read(HEAD "x,,0,A,A,1,0,0\n");
    assert_int_equal(cf_predictions_write("/nonexistent/p.csv", &scheme, &p), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "/nonexistent/p.csv"));
    cf_predictions_fini(&p);
}

static void missing_file_is_a_data_error(void **state)
{
    (void)state;
    cf_predictions p;
    assert_int_equal(cf_predictions_read("/nonexistent/p.csv", &scheme, &p), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "/nonexistent/p.csv"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_columns_are_read),
        cmocka_unit_test(columns_may_stand_in_any_order_and_some_be_missing),
        cmocka_unit_test(probabilities_of_nodes_are_merged),
        cmocka_unit_test(logits_of_nodes_are_merged),
        cmocka_unit_test(ties_keep_the_word_of_the_file),
        cmocka_unit_test(bad_files_are_refused_with_line_and_column),
        cmocka_unit_test(sums_within_a_thousandth_are_taken),
        cmocka_unit_test(predictions_survive_write_and_read),
        cmocka_unit_test(rows_without_a_label_are_read_where_they_may),
        cmocka_unit_test(patients_are_read_where_there_are_any),
        cmocka_unit_test(unknown_labels_and_means_are_written_as_empty_cells),
        cmocka_unit_test(unwritable_folder_is_a_disk_error),
        cmocka_unit_test(missing_file_is_a_data_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
