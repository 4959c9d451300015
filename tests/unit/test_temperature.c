/* Temperature scaling against examples whose answer is known in closed form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "coordinator/metrics.h"
#include "coordinator/temperature.h"
#include "kernels/math/temperature.h"

static void assert_near(double found, double expected, double tolerance)
{
    if (fabs(found - expected) <= tolerance) return;
    print_message("found %.17g, expected %.17g within %g\n", found, expected, tolerance);
    fail();
}

static void set_row(cf_predictions *p, int64_t i, int fold, int label, double first)
{
    p->folds[i] = fold;
    p->labels[i] = label;
    p->predicted[i] = first >= 0.5 ? 0 : 1;
    p->p[2 * i] = first;
    p->p[2 * i + 1] = 1 - first;
}

/* n rows that say class 0 with `confidence`, `right` of them truly so. Rounding of the logarithms
 * and Newton's stop at 1e-10 leave less than 1e-8. */
static void certain_rows(cf_predictions *p, int64_t begin, int64_t n, int64_t right, int fold,
                         double confidence)
{
    for (int64_t i = 0; i < n; i++) set_row(p, begin + i, fold, i < right ? 0 : 1, confidence);
}

static double logit(double p)
{
    return log(p) - log(1 - p);
}

static void scaling_divides_the_logits(void **state)
{
    (void)state;
    double p[] = {0.9, 0.1}, three[] = {0.5, 0.3, 0.2};
    cf_temperature_apply(p, 2, 2);
    assert_near(logit(p[0]), logit(0.9) / 2, 1e-14);
    assert_near(p[0] + p[1], 1, 1e-15);
    cf_temperature_apply(three, 3, 0.5);
    assert_near(three[0], 0.25 / 0.38, 1e-15);
    assert_near(three[2], 0.04 / 0.38, 1e-15);
}

static void one_keeps_every_bit_and_zero_stays_zero(void **state)
{
    (void)state;
    double p[] = {0.7, 0.1, 0.2}, same[] = {0.7, 0.1, 0.2};
    double zeros[] = {0, 1, 0}, none[] = {0, 0}, tiny[] = {5e-324, 1e-300};
    cf_temperature_apply(p, 3, 1);
    assert_memory_equal(p, same, sizeof p);
    cf_temperature_apply(zeros, 3, 100);
    assert_near(zeros[0], 0, 0);
    assert_near(zeros[1], 1, 0);
    cf_temperature_apply(none, 2, 2);
    assert_near(none[0], 0, 0);
    cf_temperature_apply(tiny, 2, 0.01); /* no overflow, no 0/0 */
    assert_near(tiny[0] + tiny[1], 1, 1e-15);
}

/* Rows that all say p are best scaled to the share that is right: T = logit(p) / logit(share). */
static void fit_finds_the_share_that_is_right(void **state)
{
    (void)state;
    static const double confidences[] = {0.99, 0.6, 0.999999, 0.75};
    for (size_t i = 0; i < sizeof confidences / sizeof confidences[0]; i++) {
        cf_predictions p;
        double t = 0;
        assert_int_equal(cf_predictions_init(&p, 100, 2), CF_OK);
        certain_rows(&p, 0, 100, 75, 0, confidences[i]);
        assert_int_equal(cf_temperature_fit(&p, &t), CF_OK);
        assert_near(t, logit(confidences[i]) / logit(0.75), 1e-8 * t);
        cf_predictions_fini(&p);
    }
}

static void fit_ends_at_the_range_where_there_is_no_best(void **state)
{
    (void)state;
    cf_predictions p;
    double t = 0;
    assert_int_equal(cf_predictions_init(&p, 4, 2), CF_OK);
    certain_rows(&p, 0, 4, 4, 0, 0.9); /* all right: as sure as can be */
    assert_int_equal(cf_temperature_fit(&p, &t), CF_OK);
    assert_true(t >= CF_TEMPERATURE_MIN && t < 0.05); /* at .05 the loss is below 1e-19 */
    certain_rows(&p, 0, 4, 1, 0, 0.9);                /* worse than chance */
    assert_int_equal(cf_temperature_fit(&p, &t), CF_OK);
    assert_near(t, CF_TEMPERATURE_MAX, 1e-9);
    certain_rows(&p, 0, 4, 0, 0, 1); /* the label has probability 0 in every row */
    assert_int_equal(cf_temperature_fit(&p, &t), CF_OK);
    assert_true(isnan(t));
    cf_predictions_fini(&p);
}

static void start_does_not_matter(void **state)
{
    (void)state;
    cf_predictions p;
    cf_temperature_table table;
    int64_t rows[50];
    assert_int_equal(cf_predictions_init(&p, 50, 2), CF_OK);
    for (int i = 0; i < 50; i++) {
        set_row(&p, i, 0, i % 3 == 0, 0.5 + 0.49 * sin(i));
        rows[i] = i;
    }
    assert_int_equal(cf_temperature_table_init(&table, &p), CF_OK);
    double t = cf_temperature_fit_rows(&table, rows, 50, 1);
    assert_near(cf_temperature_fit_rows(&table, rows, 50, 0.01), t, 1e-8 * t);
    assert_near(cf_temperature_fit_rows(&table, rows, 50, 100), t, 1e-8 * t);
    cf_temperature_table_fini(&table);
    cf_predictions_fini(&p);
}

/* Fold 0 says .99 with 3 of 4 right, fold 1 says .9 with 4 of 5 right: each is judged after the
 * temperature of the other. */
static void folds_are_calibrated_by_the_others(void **state)
{
    (void)state;
    static const char AB[] = "name: ab\nclasses:\n  - {code: A}\n  - {code: B}\n";
    cf_scheme s = {0};
    cf_predictions p;
    cf_metrics m;
    assert_int_equal(cf_scheme_parse("ab", AB, strlen(AB), &s), CF_OK);
    assert_int_equal(cf_predictions_init(&p, 9, 2), CF_OK);
    certain_rows(&p, 0, 4, 3, 0, 0.99);
    certain_rows(&p, 4, 5, 4, 1, 0.9);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    double t0 = logit(0.99) / logit(0.75), t1 = logit(0.9) / logit(0.8);
    assert_near(m.folds[0].temperature, t0, 1e-8 * t0);
    assert_near(m.folds[1].temperature, t1, 1e-8 * t1);
    double p0 = 1 / (1 + exp(-logit(0.99) / t1)), p1 = 1 / (1 + exp(-logit(0.9) / t0));
    double nll0 = -(3 * log(p0) + log(1 - p0)) / 4, nll1 = -(4 * log(p1) + log(1 - p1)) / 5;
    assert_near(m.folds[0].nll_calibrated, nll0, 1e-8);
    assert_near(m.folds[1].nll_calibrated, nll1, 1e-8);
    assert_near(m.folds[0].ece_calibrated, fabs(0.75 - p0), 1e-8);
    assert_near(m.pooled.nll_calibrated, (4 * nll0 + 5 * nll1) / 9, 1e-8);
    cf_metrics_fini(&m);
    for (int i = 0; i < 9; i++) p.folds[i] = 0;
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_true(isnan(m.pooled.nll_calibrated) && isnan(m.folds[0].ece_calibrated));
    assert_true(m.pooled.temperature > 0);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scaling_divides_the_logits),
        cmocka_unit_test(one_keeps_every_bit_and_zero_stays_zero),
        cmocka_unit_test(fit_finds_the_share_that_is_right),
        cmocka_unit_test(fit_ends_at_the_range_where_there_is_no_best),
        cmocka_unit_test(start_does_not_matter),
        cmocka_unit_test(folds_are_calibrated_by_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
