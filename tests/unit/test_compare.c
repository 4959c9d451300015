/* Two sets of predictions side by side. Expected p-values: worked out by hand, or from the table
 * named; tests/parity/metrics_sklearn.py holds more of them against scipy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "coordinator/compare.h"
#include "kernels/base/mem.h"

static void assert_near(double found, double expected, double tolerance)
{
    if (fabs(found - expected) <= tolerance) return;
    print_message("found %.17g, expected %.17g within %g\n", found, expected, tolerance);
    fail();
}

static const cf_bootstrap_options OPTIONS = {500, CF_BOOTSTRAP_SEED, 0};

static cf_scheme ab_scheme(void)
{
    static const char AB[] = "name: ab\nclasses:\n  - {code: A}\n  - {code: B}\n";
    cf_scheme s = {0};
    assert_int_equal(cf_scheme_parse("ab", AB, strlen(AB), &s), CF_OK);
    return s;
}

/* Row i is image first + i, of class A where that is even, in fold (first + i) % 4; right unless
 * its number modulo `wrong_each` is 0. */
static void make(cf_predictions *p, int64_t n, int first, int wrong_each)
{
    assert_int_equal(cf_predictions_init(p, n, 2), CF_OK);
    for (int i = 0; i < n; i++) {
        char id[32];
        int image = first + i, label = image % 2;
        int predicted = image % wrong_each == 0 ? 1 - label : label;
        snprintf(id, sizeof id, "image-%d", image);
        assert_int_equal(cf_strdup(id, &p->ids[i]), CF_OK);
        p->folds[i] = image % 4;
        p->labels[i] = label;
        p->predicted[i] = predicted;
        p->p[2 * i + predicted] = 0.9;
        p->p[2 * i + 1 - predicted] = 0.1;
    }
}

/* ---- tests of significance --------------------------------------------------------------------
 */

static void few_discordant_images_are_tested_exactly(void **state)
{
    (void)state;
    cf_mcnemar m = cf_mcnemar_test(10, 2);
    assert_true(m.exact && isnan(m.statistic));
    assert_near(m.p, 2.0 * (1 + 12 + 66) / 4096, 1e-15);
    assert_near(cf_mcnemar_test(2, 10).p, m.p, 0);
    assert_near(cf_mcnemar_test(3, 3).p, 1, 0);
    assert_near(cf_mcnemar_test(0, 0).p, 1, 0);
    assert_true(cf_mcnemar_test(20, 4).exact);
}

static void many_discordant_images_are_tested_by_chi_square(void **state)
{
    (void)state;
    cf_mcnemar m = cf_mcnemar_test(40, 20);
    assert_true(!m.exact);
    assert_near(m.statistic, 19.0 * 19 / 60, 1e-12);
    /* 3.841459 is the 5 % point of chi-square with one degree of freedom. */
    assert_near(erfc(sqrt(3.841459 / 2)), 0.05, 1e-7);
    assert_true(m.p > 0.01 && m.p < 0.02);
    assert_near(cf_mcnemar_test(30, 30).p, 1, 0);
    assert_near(cf_mcnemar_test(31, 30).statistic, 0, 0);
}

/* df 1 is Cauchy's distribution; df 2 has a closed form; 2.776445 is the table's 5 % point for 4.
 */
static void student_matches_closed_forms(void **state)
{
    (void)state;
    const double pi = acos(-1);
    for (double t = 0.1; t < 40; t *= 1.7) {
        assert_near(cf_student_p(t, 1), 1 - 2 * atan(t) / pi, 1e-12);
        assert_near(cf_student_p(t, 2), 1 - t / sqrt(2 + t * t), 1e-12);
        assert_near(cf_student_p(-t, 2), cf_student_p(t, 2), 0);
    }
    assert_near(cf_student_p(2.776445, 4), 0.05, 1e-7);
    assert_near(cf_student_quantile(0.05, 4), 2.776445, 1e-6);
    assert_near(cf_student_p(0, 9), 1, 0);
    assert_near(cf_student_p((double)INFINITY, 9), 0, 0);
}

/* Mean .02, s^2 = 5e-5: the standard error is sqrt((1/5 + 1/4) 5e-5). */
static void folds_are_tested_with_the_corrected_variance(void **state)
{
    (void)state;
    static const double differences[] = {0.01, 0.03, 0.02, 0.02, 0.02};
    static const double equal[] = {0.02, 0.02}, zero[] = {0, 0};
    cf_fold_test t = cf_fold_test_corrected(differences, 5, 0.25);
    double error = sqrt(0.45 * 5e-5);
    assert_near(t.mean, 0.02, 1e-15);
    assert_near(t.t, 0.02 / error, 1e-9);
    assert_near(t.p, cf_student_p(0.02 / error, 4), 1e-9);
    assert_near(t.low, 0.02 - 2.776445 * error, 1e-8);
    assert_near(t.high, 0.02 + 2.776445 * error, 1e-8);
    assert_near(cf_fold_test_corrected(equal, 2, 1).p, 0, 0);
    assert_near(cf_fold_test_corrected(zero, 2, 1).p, 1, 0);
    assert_true(isnan(cf_fold_test_corrected(equal, 1, 1).p));
    assert_true(isnan(cf_fold_test_corrected(equal, 0, 1).mean));
}

/* ---- comparing --------------------------------------------------------------------------------
 */

static void a_run_does_not_differ_from_itself(void **state)
{
    (void)state;
    cf_scheme s = ab_scheme();
    cf_predictions a;
    cf_comparison c;
    make(&a, 80, 0, 5);
    assert_int_equal(cf_compare(&s, &a, &a, &OPTIONS, &c), CF_OK);
    assert_int_equal(c.n, 80);
    assert_near(c.accuracy.difference, 0, 0);
    assert_near(c.accuracy.low, 0, 0);
    assert_near(c.nll.high, 0, 0);
    assert_near(c.macro_f1.p, 1, 0);
    assert_near(c.mcnemar.p, 1, 0);
    assert_int_equal(c.fold_accuracy.n_folds, 4);
    assert_near(c.fold_accuracy.p, 1, 0);
    cf_comparison_fini(&c);
    cf_predictions_fini(&a);
    cf_scheme_fini(&s);
}

/* A errs in 16 of images 20..99, B in 4 of them; images 0..19 and 100..119 are not common. */
static void only_common_images_count_and_sides_swap_signs(void **state)
{
    (void)state;
    cf_scheme s = ab_scheme();
    cf_predictions a, b;
    cf_comparison ab, ba;
    make(&a, 100, 0, 5);
    make(&b, 100, 20, 20);
    assert_int_equal(cf_compare(&s, &a, &b, &OPTIONS, &ab), CF_OK);
    assert_int_equal(cf_compare(&s, &b, &a, &OPTIONS, &ba), CF_OK);
    assert_int_equal(ab.n, 80);
    assert_int_equal(ab.only_a, 20);
    assert_int_equal(ab.only_b, 20);
    assert_near(ab.accuracy.a, 64.0 / 80, 1e-15);
    assert_near(ab.accuracy.b, 76.0 / 80, 1e-15);
    assert_near(ab.accuracy.difference, -12.0 / 80, 1e-15);
    assert_int_equal(ab.mcnemar.only_a, 0);
    assert_int_equal(ab.mcnemar.only_b, 12);
    assert_near(ab.mcnemar.p, 2.0 / 4096, 1e-15);
    assert_true(ab.accuracy.low < -0.15 && -0.15 < ab.accuracy.high && ab.accuracy.high < 0);
    assert_near(ab.accuracy.p, 2.0 / 501, 1e-15); /* no resample at or above zero */
    assert_near(ba.accuracy.difference, 12.0 / 80, 1e-15);
    assert_near(ba.accuracy.p, ab.accuracy.p, 0);
    assert_true(ab.nll.difference > 0);
    cf_comparison_fini(&ab);
    cf_comparison_fini(&ba);
    cf_predictions_fini(&a);
    cf_predictions_fini(&b);
    cf_scheme_fini(&s);
}

/* Every resample is the same rows: no spread, which is not the same as none in the world. */
static void one_patient_gives_no_interval_and_no_p(void **state)
{
    (void)state;
    cf_scheme s = ab_scheme();
    cf_predictions a, b;
    cf_comparison c;
    make(&a, 80, 0, 5);
    make(&b, 80, 0, 20);
    assert_int_equal(cf_new(&a.patients, (size_t)a.n, sizeof *a.patients), CF_OK);
    for (int64_t i = 0; i < a.n; i++) assert_int_equal(cf_strdup("P1", &a.patients[i]), CF_OK);
    assert_int_equal(cf_compare(&s, &a, &b, &OPTIONS, &c), CF_OK);
    assert_int_equal(c.resampling.n_units, 1);
    assert_true(c.accuracy.difference < 0);
    assert_true(isnan(c.accuracy.p) && isnan(c.accuracy.low) && isnan(c.accuracy.high));
    cf_comparison_fini(&c);
    cf_predictions_fini(&a);
    cf_predictions_fini(&b);
    cf_scheme_fini(&s);
}

/* Images 0 to 39 of ten patients, the odd images' names on one side, the even ones' on the other.
 */
static void a_patient_that_one_side_names_counts_for_both(void **state)
{
    (void)state;
    cf_scheme s = ab_scheme();
    cf_predictions a, b;
    cf_comparison c;
    make(&a, 40, 0, 5);
    make(&b, 40, 0, 3);
    assert_int_equal(cf_new(&a.patients, 40, sizeof *a.patients), CF_OK);
    assert_int_equal(cf_new(&b.patients, 40, sizeof *b.patients), CF_OK);
    for (int i = 0; i < 40; i++) {
        char name[2] = {(char)('a' + i / 4), '\0'};
        assert_int_equal(cf_strdup(i % 2 ? name : "", &a.patients[i]), CF_OK);
        assert_int_equal(cf_strdup(i % 2 ? "" : name, &b.patients[i]), CF_OK);
    }
    assert_int_equal(cf_compare(&s, &a, &b, &OPTIONS, &c), CF_OK);
    assert_true(c.resampling.by_patient);
    assert_int_equal(c.resampling.n_units, 10);
    cf_comparison_fini(&c);
    for (int i = 0; i < 40; i++) a.patients[i][0] = '\0'; /* a column without a name */
    assert_int_equal(cf_compare(&s, &a, &b, &OPTIONS, &c), CF_OK);
    assert_true(c.resampling.by_patient);
    assert_int_equal(c.resampling.n_units, 10 + 20);
    cf_comparison_fini(&c);
    cf_predictions_fini(&b);
    cf_predictions_fini(&a);
    cf_scheme_fini(&s);
}

/* One image a fold: of 1,200 folds A has every fifth wrong, B every third. */
static void every_fold_counts_however_many_there_are(void **state)
{
    (void)state;
    enum { FOLDS = 1200 };
    cf_scheme s = ab_scheme();
    cf_predictions a, b;
    cf_comparison c;
    make(&a, FOLDS, 0, 5);
    make(&b, FOLDS, 0, 3);
    for (int i = 0; i < FOLDS; i++) a.folds[i] = b.folds[i] = i;
    assert_int_equal(cf_compare(&s, &a, &b, &OPTIONS, &c), CF_OK);
    assert_int_equal(c.fold_accuracy.n_folds, FOLDS);
    assert_near(c.fold_accuracy.mean, 1.0 / 3 - 1.0 / 5, 1e-12);
    cf_comparison_fini(&c);
    cf_predictions_fini(&b);
    cf_predictions_fini(&a);
    cf_scheme_fini(&s);
}

static void other_folds_have_no_fold_test(void **state)
{
    (void)state;
    cf_scheme s = ab_scheme();
    cf_predictions a, b;
    cf_comparison c;
    make(&a, 40, 0, 5);
    make(&b, 40, 0, 7);
    b.folds[3] = 0;
    assert_int_equal(cf_compare(&s, &a, &b, &OPTIONS, &c), CF_OK);
    assert_int_equal(c.fold_accuracy.n_folds, 0);
    assert_true(isnan(c.fold_accuracy.p));
    cf_comparison_fini(&c);
    cf_predictions_fini(&a);
    cf_predictions_fini(&b);
    cf_scheme_fini(&s);
}

static void assert_refused(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                           const char *message)
{
    cf_comparison c;
    assert_int_equal(cf_compare(s, a, b, &OPTIONS, &c), CF_E_DATA);
    if (!strstr(cf_err_text(), message)) print_message("found: %s\n", cf_err_text());
    assert_non_null(strstr(cf_err_text(), message));
}

static void what_cannot_be_compared_is_refused_by_name(void **state)
{
    (void)state;
    cf_scheme s = ab_scheme();
    cf_predictions a, b, c;
    make(&a, 10, 0, 5);
    make(&b, 10, 0, 5);
    make(&c, 10, 500, 5);
    assert_refused(&s, &a, &c, "no image in common (10 and 10");
    b.labels[7] = 0;
    assert_refused(&s, &a, &b, "image \"image-7\" is labelled B in A and A in B");
    strcpy(b.ids[7], "image-6");
    assert_refused(&s, &a, &b, "B: image \"image-6\" stands twice");
    a.labels[2] = CF_LABEL_UNKNOWN;
    assert_refused(&s, &a, &b, "A: image image-2 has no label");
    cf_predictions_fini(&a);
    cf_predictions_fini(&b);
    cf_predictions_fini(&c);
    cf_scheme_fini(&s);
}

static void both_forms_name_the_sides_and_figures(void **state)
{
    (void)state;
    cf_scheme s = ab_scheme();
    cf_predictions a, b;
    cf_comparison c;
    cf_buf json = {0}, markdown = {0};
    make(&a, 100, 0, 5);
    make(&b, 100, 20, 20);
    assert_int_equal(cf_compare(&s, &a, &b, &OPTIONS, &c), CF_OK);
    assert_int_equal(cf_comparison_json(&s, &c, "run|1", "run2", &json), CF_OK);
    assert_int_equal(cf_comparison_markdown(&s, &c, "run|1", "run2", &markdown), CF_OK);
    static const char *const keys[] = {
        "\"a\": \"run|1\"",     "\"images\": 80",   "\"only_b\": 20",
        "\"only_b_right\": 12", "\"exact\": true",  "\"statistic\": null",
        "\"unit\": \"image\"",  "\"per_class_f1\"", "\"n_folds\": 4"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!strstr(cf_buf_text(&json), keys[i])) print_message("missing: %s\n", keys[i]);
        assert_non_null(strstr(cf_buf_text(&json), keys[i]));
    }
    assert_non_null(strstr(cf_buf_text(&markdown), "A: run\\|1\n"));
    assert_non_null(
        strstr(cf_buf_text(&markdown), "McNemar: 0 images only A has right, 12 only B"));
    assert_non_null(strstr(cf_buf_text(&markdown), "20 that only A has, 20 that only B has"));
    cf_buf_fini(&json);
    cf_buf_fini(&markdown);
    cf_comparison_fini(&c);
    cf_predictions_fini(&a);
    cf_predictions_fini(&b);
    cf_scheme_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_discordant_images_are_tested_exactly),
        cmocka_unit_test(many_discordant_images_are_tested_by_chi_square),
        cmocka_unit_test(student_matches_closed_forms),
        cmocka_unit_test(folds_are_tested_with_the_corrected_variance),
        cmocka_unit_test(a_run_does_not_differ_from_itself),
        cmocka_unit_test(only_common_images_count_and_sides_swap_signs),
        cmocka_unit_test(one_patient_gives_no_interval_and_no_p),
        cmocka_unit_test(a_patient_that_one_side_names_counts_for_both),
        cmocka_unit_test(every_fold_counts_however_many_there_are),
        cmocka_unit_test(other_folds_have_no_fold_test),
        cmocka_unit_test(what_cannot_be_compared_is_refused_by_name),
        cmocka_unit_test(both_forms_name_the_sides_and_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
