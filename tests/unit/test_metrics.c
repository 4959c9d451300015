/* Metrics against examples worked out by hand. Where nothing else is said the tolerance is 1e-12:
 * the expected value is the same few operations on the same small integers, in another order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "coordinator/auc.h"
#include "coordinator/calibration.h"
#include "coordinator/metrics.h"
#include "kernels/base/mem.h"

#define TINY 1e-12

static void assert_near(double found, double expected, double tolerance)
{
    if (fabs(found - expected) <= tolerance) return;
    print_message("found %.17g, expected %.17g within %g\n", found, expected, tolerance);
    fail();
}

static const char ABC[] = "name: abc\n"
                          "classes:\n"
                          "  - {code: A}\n"
                          "  - {code: B}\n"
                          "  - {code: C}\n"
                          "tolerance:\n"
                          "  - [A, B]\n"
                          "questions:\n"
                          "  first: [A]\n";

static cf_scheme abc_scheme(void)
{
    cf_scheme s = {0};
    cf_err err = cf_scheme_parse("abc", ABC, strlen(ABC), &s);
    if (err != CF_OK) print_message("%s\n", cf_err_text());
    assert_int_equal(err, CF_OK);
    return s;
}

/* Row i: the predicted class gets `confidence`, the others share the rest. */
static void set_row(cf_predictions *p, int64_t i, int fold, int label, int predicted,
                    double confidence)
{
    p->folds[i] = fold;
    p->labels[i] = label;
    p->predicted[i] = predicted;
    for (int k = 0; k < p->n_classes; k++)
        p->p[i * p->n_classes + k] =
            k == predicted ? confidence : (1 - confidence) / (p->n_classes - 1);
}

/* Predictions with the confusion matrix `counts` [k][k], all in fold 0. */
static void from_confusion(const int64_t *counts, int k, cf_predictions *p)
{
    int64_t n = 0;
    for (int i = 0; i < k * k; i++) n += counts[i];
    assert_int_equal(cf_predictions_init(p, n, k), CF_OK);
    int64_t row = 0;
    for (int i = 0; i < k * k; i++)
        for (int64_t c = 0; c < counts[i]; c++) set_row(p, row++, 0, i / k, i % k, 0.9);
}

static const int64_t SMALL[] = {6, 3, 1, 2, 5, 1, 0, 1, 1};

static void strict_and_tolerant_ratios_match_hand_count(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    from_confusion(SMALL, 3, &p);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    const cf_class_metrics *c = m.pooled.classes;
    assert_int_equal(c[0].support, 10);
    assert_int_equal(c[0].predicted, 8);
    assert_near(c[0].recall_strict, 6.0 / 10, TINY);
    assert_near(c[1].recall_strict, 5.0 / 8, TINY);
    assert_near(c[2].recall_strict, 1.0 / 2, TINY);
    assert_near(c[0].precision_strict, 6.0 / 8, TINY);
    assert_near(c[1].precision_strict, 5.0 / 9, TINY);
    assert_near(c[2].precision_strict, 1.0 / 3, TINY);
    assert_near(c[0].recall_tolerant, 9.0 / 10, TINY);
    assert_near(c[1].recall_tolerant, 7.0 / 8, TINY);
    assert_near(c[2].recall_tolerant, 1.0 / 2, TINY);
    assert_near(c[0].precision_tolerant, 8.0 / 8, TINY);
    assert_near(c[1].precision_tolerant, 8.0 / 9, TINY);
    assert_near(c[2].precision_tolerant, 1.0 / 3, TINY);
    assert_near(c[1].f1_tolerant, 2 * (8.0 / 9) * (7.0 / 8) / (8.0 / 9 + 7.0 / 8), TINY);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void summaries_match_hand_count(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    from_confusion(SMALL, 3, &p);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    const double f1[] = {12.0 / 18, 10.0 / 17, 2.0 / 5};
    assert_int_equal(m.n_folds, 1);
    assert_int_equal(m.pooled.n, 20);
    assert_int_equal(m.pooled.fold, -1);
    assert_near(m.pooled.accuracy, 12.0 / 20, TINY);
    assert_near(m.pooled.accuracy_tolerant, 17.0 / 20, TINY);
    assert_near(m.pooled.balanced_accuracy, (0.6 + 0.625 + 0.5) / 3, TINY);
    assert_near(m.pooled.balanced_accuracy_tolerant, (0.9 + 0.875 + 0.5) / 3, TINY);
    assert_near(m.pooled.macro_f1, (f1[0] + f1[1] + f1[2]) / 3, TINY);
    assert_near(m.pooled.weighted_f1, (10 * f1[0] + 8 * f1[1] + 2 * f1[2]) / 20, TINY);
    assert_memory_equal(m.pooled.confusion, SMALL, sizeof SMALL);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* Table 1 of the marrow paper, proerythroblasts: P .69 / .57, R .85 / .63 (tolerant / strict), with
 * erythroblasts as their only partner. 57 * 63 images right make every ratio exact. */
static void paper_row_of_proerythroblasts_comes_out(void **state)
{
    (void)state;
    cf_scheme s = {0};
    cf_predictions p;
    cf_metrics m;
    assert_int_equal(cf_scheme_read(CYTOFOLD_SOURCE "/configs/schemes/matek2021.yaml", &s), CF_OK);
    int peb = cf_scheme_find(&s, "PEB"), ebo = cf_scheme_find(&s, "EBO"),
        art = cf_scheme_find(&s, "ART");
    const struct {
        int truth, predicted, n;
    } cells[] = {
        {peb, peb, 3591}, {peb, ebo, 1254}, {peb, art, 855}, {ebo, peb, 756}, {art, peb, 1953}};
    assert_int_equal(cf_predictions_init(&p, 3591 + 1254 + 855 + 756 + 1953, s.n_classes), CF_OK);
    int64_t row = 0;
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++)
        for (int n = 0; n < cells[i].n; n++)
            set_row(&p, row++, 0, cells[i].truth, cells[i].predicted, 0.9);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    const cf_class_metrics *c = &m.pooled.classes[peb];
    assert_near(c->precision_tolerant, 0.69, TINY);
    assert_near(c->recall_tolerant, 0.85, TINY);
    assert_near(c->precision_strict, 0.57, TINY);
    assert_near(c->recall_strict, 0.63, TINY);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* BLA-PMO and PMO-MYB are pairs; BLA-MYB is none. */
static void tolerance_is_not_transitive(void **state)
{
    (void)state;
    cf_scheme s = {0};
    cf_predictions p;
    cf_metrics m;
    assert_int_equal(cf_scheme_read(CYTOFOLD_SOURCE "/configs/schemes/matek2021.yaml", &s), CF_OK);
    int bla = cf_scheme_find(&s, "BLA"), pmo = cf_scheme_find(&s, "PMO"),
        myb = cf_scheme_find(&s, "MYB");
    assert_int_equal(cf_predictions_init(&p, 3, s.n_classes), CF_OK);
    set_row(&p, 0, 0, bla, pmo, 0.9);
    set_row(&p, 1, 0, myb, pmo, 0.9);
    set_row(&p, 2, 0, bla, myb, 0.9);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_near(m.pooled.classes[bla].recall_tolerant, 0.5, TINY);
    assert_near(m.pooled.classes[pmo].precision_tolerant, 1, TINY);
    assert_near(m.pooled.classes[myb].precision_tolerant, 0, TINY);
    assert_near(m.pooled.accuracy_tolerant, 2.0 / 3, TINY);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* B is never seen: left out of both means. C is never predicted: precision 0/0 counts as 0. */
static void zero_denominators_are_zero_and_unseen_classes_left_out(void **state)
{
    (void)state;
    const int64_t counts[] = {3, 0, 0, 0, 0, 0, 1, 0, 0};
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    from_confusion(counts, 3, &p);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_near(m.pooled.classes[2].precision_strict, 0, 0);
    assert_near(m.pooled.classes[2].f1_strict, 0, 0);
    assert_near(m.pooled.classes[1].recall_tolerant, 0, 0);
    assert_near(m.pooled.balanced_accuracy, (1.0 + 0.0) / 2, TINY);
    assert_near(m.pooled.macro_f1, (2 * 0.75 / 1.75 + 0.0) / 2, TINY);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void auc_counts_ties_half(void **state)
{
    (void)state;
    const double scores[] = {0.5, 0.2, 0.8, 0.5};
    const bool positive[] = {true, false, true, false};
    const double same[] = {0.3, 0.3, 0.3, 0.3};
    const double perfect[] = {0.9, 0.1, 0.8, 0.2};
    cf_areas areas;
    assert_int_equal(cf_auc(scores, positive, 4, &areas), CF_OK);
    assert_near(areas.auc, 3.5 / 4, TINY);
    assert_int_equal(cf_auc(same, positive, 4, &areas), CF_OK);
    assert_near(areas.auc, 0.5, TINY);
    assert_int_equal(cf_auc(perfect, positive, 4, &areas), CF_OK);
    assert_near(areas.auc, 1, TINY);
}

static void auc_of_one_side_is_not_a_number(void **state)
{
    (void)state;
    const double scores[] = {0.5, 0.2};
    const bool positive[] = {true, true};
    cf_areas areas;
    assert_int_equal(cf_auc(scores, positive, 2, &areas), CF_OK);
    assert_true(isnan(areas.auc));
}

/* Four rows at .9 of which three are right, two at .65 both right: (|3 - 3.6| + |2 - 1.3|) / 6. */
static void calibration_error_matches_hand_count(void **state)
{
    (void)state;
    const int64_t rows[] = {0, 1, 2, 3, 4, 5};
    cf_predictions p;
    cf_calibration c;
    assert_int_equal(cf_predictions_init(&p, 6, 3), CF_OK);
    for (int i = 0; i < 6; i++) set_row(&p, i, 0, i == 0 ? 1 : 2, 2, i < 4 ? 0.9 : 0.65);
    cf_calibrate(&p, rows, 6, &c);
    assert_near(c.ece, (0.6 + 0.7) / 6, TINY);
    assert_near(c.nll, -(log(0.05) + 3 * log(0.9) + 2 * log(0.65)) / 6, TINY);
    cf_predictions_fini(&p);
}

static void probability_zero_of_the_label_is_clipped(void **state)
{
    (void)state;
    const int64_t rows[] = {0};
    cf_predictions p;
    cf_calibration c;
    assert_int_equal(cf_predictions_init(&p, 1, 3), CF_OK);
    set_row(&p, 0, 0, 0, 1, 1.0);
    cf_calibrate(&p, rows, 1, &c);
    assert_near(c.nll, -log(1e-12), TINY);
    assert_near(c.ece, 1, 0);
    cf_predictions_fini(&p);
}

/* Fold 4: one of two right. Fold 1: both right. In file order 4, 1, 4, 1. */
static void folds_are_in_order_with_mean_and_sample_sd(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    double mean = 0, sd = 0;
    assert_int_equal(cf_predictions_init(&p, 4, 3), CF_OK);
    set_row(&p, 0, 4, 0, 0, 0.9);
    set_row(&p, 1, 1, 0, 0, 0.9);
    set_row(&p, 2, 4, 0, 2, 0.9);
    set_row(&p, 3, 1, 1, 1, 0.9);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_int_equal(m.n_folds, 2);
    assert_int_equal(m.folds[0].fold, 1);
    assert_int_equal(m.folds[1].fold, 4);
    cf_metrics_mean_sd(&m, offsetof(cf_fold_metrics, accuracy), &mean, &sd);
    assert_near(mean, 0.75, TINY);
    assert_near(sd, sqrt(0.125), TINY);
    cf_metrics_class_mean_sd(&m, 0, offsetof(cf_class_metrics, recall_strict), &mean, &sd);
    assert_near(mean, 0.75, TINY);
    assert_near(sd, sqrt(0.125), TINY);
    assert_near(m.pooled.accuracy, 0.75, TINY);
    /* All of fold 4 are A: its AUC is not defined and does not enter the mean. */
    assert_true(isnan(m.folds[1].question_auc[0]));
    cf_metrics_question_mean_sd(&m, 0, &mean, &sd);
    assert_near(mean, 1, TINY);
    assert_near(sd, 0, 0);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void one_fold_has_no_spread(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    double mean = 0, sd = -1;
    from_confusion(SMALL, 3, &p);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    cf_metrics_mean_sd(&m, offsetof(cf_fold_metrics, macro_f1), &mean, &sd);
    assert_near(mean, m.pooled.macro_f1, 0);
    assert_near(sd, 0, 0);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void set_site(cf_predictions *p, int64_t i, const char *site)
{
    assert_int_equal(cf_strdup(site, &p->sites[i]), CF_OK);
}

/* Munich: 2 of 3 right; Basel: 1 of 2; one row without a site, right. */
static void sites_have_figures_of_their_own(void **state)
{
    (void)state;
    static const char *const sites[] = {"Munich", "Basel", "Munich", "Basel", "Munich", ""};
    static const int said[] = {0, 0, 1, 1, 0, 2}, labels[] = {0, 0, 1, 2, 1, 2};
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    assert_int_equal(cf_predictions_init(&p, 6, 3), CF_OK);
    for (int i = 0; i < 6; i++) {
        set_row(&p, i, i / 3, labels[i], said[i], 0.9);
        set_site(&p, i, sites[i]);
    }
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_int_equal(m.n_sites, 3);
    assert_string_equal(m.site_names[0], "");
    assert_string_equal(m.site_names[1], "Basel");
    assert_near(m.sites[1].accuracy, 1.0 / 2, TINY);
    assert_near(m.sites[2].accuracy, 2.0 / 3, TINY);
    assert_int_equal(m.sites[2].n, 3);
    assert_null(m.left_out);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void folds_that_are_sites_are_known_as_left_out(void **state)
{
    (void)state;
    static const int folds[] = {4, 2, 4, 2, 7, 7};
    static const char *const sites[] = {"Basel", "Munich", "Basel", "Munich", "Aachen", "Aachen"};
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    cf_buf out = {0};
    assert_int_equal(cf_predictions_init(&p, 6, 3), CF_OK);
    for (int i = 0; i < 6; i++) {
        set_row(&p, i, folds[i], 0, i == 1 ? 1 : 0, 0.9);
        set_site(&p, i, sites[i]);
    }
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_non_null(m.left_out);
    assert_string_equal(m.site_names[m.left_out[0]], "Munich");
    assert_string_equal(m.site_names[m.left_out[1]], "Basel");
    assert_near(m.folds[0].accuracy, 0.5, TINY);
    assert_int_equal(cf_metrics_write_json(&s, &m, &out), CF_OK);
    assert_non_null(strstr(cf_buf_text(&out), "\"leave_one_site_out\": [\n    {\n      "
                                              "\"site\": \"Munich\",\n      \"fold\": 2"));
    cf_buf_fini(&out);
    cf_metrics_fini(&m);
    p.folds[0] = 7; /* Basel in two folds: no longer one site left out at a time */
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_null(m.left_out);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* The same rows in the opposite order: counts and ranks give the same bits, sums of logarithms the
 * same to rounding. */
static void order_of_rows_does_not_matter(void **state)
{
    (void)state;
    enum { N = 90 };
    cf_scheme s = abc_scheme();
    cf_predictions p, q;
    cf_metrics m, n;
    assert_int_equal(cf_predictions_init(&p, N, 3), CF_OK);
    assert_int_equal(cf_predictions_init(&q, N, 3), CF_OK);
    for (int i = 0; i < N; i++) {
        int label = i % 3, said = i % 7 == 0 ? (i / 7) % 3 : label;
        set_row(&p, i, i % 2, label, said, 0.4 + 0.01 * (i % 50));
        set_row(&q, N - 1 - i, i % 2, label, said, 0.4 + 0.01 * (i % 50));
    }
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_int_equal(cf_metrics_compute(&s, &q, &n), CF_OK);
    assert_near(n.pooled.mcc, m.pooled.mcc, 0);
    assert_near(n.pooled.macro_auc, m.pooled.macro_auc, 0);
    assert_near(n.folds[1].classes[2].average_precision, m.folds[1].classes[2].average_precision,
                0);
    assert_near(n.pooled.nll, m.pooled.nll, TINY);
    assert_near(n.pooled.temperature, m.pooled.temperature, 1e-8);
    cf_metrics_fini(&m);
    cf_metrics_fini(&n);
    cf_predictions_fini(&p);
    cf_predictions_fini(&q);
    cf_scheme_fini(&s);
}

static void foreign_predictions_are_refused(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    assert_int_equal(cf_predictions_init(&p, 1, 4), CF_OK);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "4 classes, scheme abc has 3"));
    cf_predictions_fini(&p);
    assert_int_equal(cf_predictions_init(&p, 1, 3), CF_OK);
    p.labels[0] = 3;
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "label 3"));
    cf_predictions_fini(&p);
    assert_int_equal(cf_predictions_init(&p, 0, 3), CF_OK);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_E_DATA);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void a_thousand_and_one_folds_are_refused(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    assert_int_equal(cf_predictions_init(&p, CF_METRICS_MAX_FOLDS + 1, 3), CF_OK);
    for (int i = 0; i <= CF_METRICS_MAX_FOLDS; i++) set_row(&p, i, i, 0, 0, 1.0);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "1001 different fold numbers"));
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void json_has_documented_keys_and_null_for_undefined(void **state)
{
    (void)state;
    static const char *const expected[] = {
        "\"scheme\": \"abc\"", "\"images\": 1",  "\"n_folds\": 1", "\"balanced_accuracy_tolerant\"",
        "\"weighted_f1\"",     "\"ece\"",        "\"auc\": null",  "\"precision_tolerant\"",
        "\"confusion\"",       "\"fold\": null", "\"fold\": 7",    "\"support\": 1"};
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_metrics m;
    cf_buf out = {0};
    assert_int_equal(cf_predictions_init(&p, 1, 3), CF_OK);
    set_row(&p, 0, 7, 0, 0, 1.0);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_int_equal(cf_metrics_write_json(&s, &m, &out), CF_OK);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        if (strstr(cf_buf_text(&out), expected[i]) == NULL)
            print_message("missing: %s\n", expected[i]);
        assert_non_null(strstr(cf_buf_text(&out), expected[i]));
    }
    cf_buf_fini(&out);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_and_tolerant_ratios_match_hand_count),
        cmocka_unit_test(summaries_match_hand_count),
        cmocka_unit_test(paper_row_of_proerythroblasts_comes_out),
        cmocka_unit_test(tolerance_is_not_transitive),
        cmocka_unit_test(zero_denominators_are_zero_and_unseen_classes_left_out),
        cmocka_unit_test(auc_counts_ties_half),
        cmocka_unit_test(auc_of_one_side_is_not_a_number),
        cmocka_unit_test(calibration_error_matches_hand_count),
        cmocka_unit_test(probability_zero_of_the_label_is_clipped),
        cmocka_unit_test(folds_are_in_order_with_mean_and_sample_sd),
        cmocka_unit_test(one_fold_has_no_spread),
        cmocka_unit_test(sites_have_figures_of_their_own),
        cmocka_unit_test(folds_that_are_sites_are_known_as_left_out),
        cmocka_unit_test(order_of_rows_does_not_matter),
        cmocka_unit_test(foreign_predictions_are_refused),
        cmocka_unit_test(a_thousand_and_one_folds_are_refused),
        cmocka_unit_test(json_has_documented_keys_and_null_for_undefined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
