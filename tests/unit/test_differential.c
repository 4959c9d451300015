/* The differential count: shares, Wilson's interval beside published values, order of what is to be
 * looked at first, names that are anything. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/differential.h"

static const char scheme_text[] = "name: tiny\n"
                                  "classes:\n"
                                  "  - {code: A, name: Alpha}\n"
                                  "  - {code: B}\n"
                                  "  - {code: N}\n"
                                  "questions:\n"
                                  "  other: [B]\n"
                                  "  blast: [A, B]\n"
                                  "no_confident: [N]\n";

enum { ROWS = 6, CLASSES = 3 };
static const double p[ROWS][CLASSES] = {{0.5, 0.25, 0.25}, {0.125, 0.75, 0.125},
                                        {0.25, 0.25, 0.5}, {0.75, 0.125, 0.125},
                                        {0, 0, 1},         {0.5, 0.5, 0}};
static const int32_t group[ROWS] = {2, 0, 2, -1, 2, 2};

typedef struct fixture {
    cf_scheme scheme;
    cf_predictions rows;
    cf_strings names;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    if (f == NULL ||
        cf_scheme_parse("tiny", scheme_text, strlen(scheme_text), &f->scheme) != CF_OK ||
        cf_predictions_init(&f->rows, ROWS, CLASSES) != CF_OK)
        return -1;
    memcpy(f->rows.p, p, sizeof p);
    for (int i = 0; i < ROWS; i++) {
        char id[32];
        snprintf(id, sizeof id, "cell-%d", i);
        f->rows.ids[i] = strdup(id);
        f->rows.predicted[i] = cf_scheme_highest(&f->scheme, p[i]);
    }
    return cf_strings_add(&f->names, "=cmd()|\n<b>") != CF_OK ||
           cf_strings_add(&f->names, "nobody") != CF_OK ||
           cf_strings_add(&f->names, "../7") != CF_OK;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    cf_strings_fini(&f->names);
    cf_predictions_fini(&f->rows);
    cf_scheme_fini(&f->scheme);
    free(f);
    return 0;
}

/* Values of scipy 1.17, binomtest(count, n).proportion_ci(method="wilson"), as printed. */
static void wilson_intervals_have_published_values(void **state)
{
    (void)state;
    static const struct {
        int64_t count, n;
        double low, high;
    } known[] = {{0, 10, 0, 0.277532800},
                 {10, 10, 0.722467200, 1},
                 {1, 1, 0.206549314, 1},
                 {3, 20, 0.052368746, 0.360418865},
                 {50, 100, 0.403831530, 0.596168470},
                 {37, 5359, 0.005013332, 0.009501634}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double low, high;
        cf_wilson(known[i].count, known[i].n, &low, &high);
        if (fabs(low - known[i].low) > 1e-9 || fabs(high - known[i].high) > 1e-9)
            fail_msg("%d of %d: %.9f to %.9f", (int)known[i].count, (int)known[i].n, low, high);
    }
}

static void groups_are_counted(void **state)
{
    fixture *f = *state;
    static const uint8_t unlike[ROWS] = {1, 0, 1, 0, 0, 0};
    cf_differential d;
    assert_int_equal(cf_differential_count(&f->scheme, &f->rows, group, &f->names, unlike, 2, &d),
                     CF_OK);
    assert_int_equal(d.n_groups, 3); /* nobody has no cell; those without a group stand last */
    assert_string_equal(d.groups[0].name, "=cmd()|\n<b>");
    assert_string_equal(d.groups[1].name, "../7");
    assert_string_equal(d.groups[2].name, "");
    const cf_differential_group *g = &d.groups[1];
    assert_int_equal(g->n, 4);
    assert_int_equal(g->classes[0].count, 2);
    assert_int_equal(g->classes[1].count, 0);
    assert_int_equal(g->classes[2].count, 2);
    assert_true(g->classes[0].share == 0.5 && g->classes[0].by_p == (0.5 + 0.25 + 0 + 0.5) / 4);
    assert_int_equal(g->no_confident.count, 2);
    assert_int_equal(g->n_unlike, 2);
    assert_int_equal(d.question, 1); /* the one called blast */
    assert_int_equal(g->questions[1].count, 2);
    assert_true(g->questions[1].by_p == (0.75 + 0.5 + 0 + 1) / 4);
    assert_int_equal(g->n_first, 2); /* 1.0 of row 5, 0.75 of row 0 */
    assert_int_equal(g->first[0], 5);
    assert_int_equal(g->first[1], 0);
    assert_int_equal(d.groups[0].n_first, 1);
    cf_differential_fini(&d);
}

static void tables_hold_any_name(void **state)
{
    fixture *f = *state;
    cf_differential d;
    cf_buf text = {0}, csv = {0}, json = {0};
    cf_json j;
    cf_csv read;
    assert_int_equal(cf_differential_count(&f->scheme, &f->rows, group, &f->names, NULL, 2, &d),
                     CF_OK);
    assert_int_equal(cf_differential_text(&d, "patient", &text), CF_OK);
    assert_null(strstr(cf_buf_text(&text), "<b>"));
    assert_non_null(strstr(cf_buf_text(&text), "patient not known: 1 cells"));
    cf_differential_csv(&d, "patient", &csv);
    assert_int_equal(cf_csv_parse("d.csv", csv.data, csv.len, &read), CF_OK);
    assert_int_equal(read.n_rows, 1 + 3 * (3 + 2 + 1));
    assert_string_equal(cf_csv_cell(&read, 1, 0), "=cmd()|\n<b>");
    assert_string_equal(cf_csv_cell(&read, 7, 0), "../7");
    cf_csv_fini(&read);
    cf_json_begin(&j, &json, false);
    cf_json_object(&j, NULL);
    cf_differential_json(&d, "groups", &j);
    cf_json_end_object(&j);
    assert_null(strstr(cf_buf_text(&json), "unlike"));
    assert_non_null(strstr(cf_buf_text(&json), "\"cell-5\""));
    cf_buf_fini(&text);
    cf_buf_fini(&csv);
    cf_buf_fini(&json);
    cf_differential_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wilson_intervals_have_published_values),
        cmocka_unit_test_setup_teardown(groups_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tables_hold_any_name, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
