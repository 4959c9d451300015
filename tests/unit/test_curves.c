/* Curves, areas and agreement against examples worked out by hand; 1e-15 and 1e-12 allow for the
 * rounding of the same few operations in another order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "coordinator/agreement.h"
#include "coordinator/curves.h"
#include "coordinator/metrics.h"
#include "kernels/math/philox.h"

static void assert_near(double found, double expected, double tolerance)
{
    if (fabs(found - expected) <= tolerance) return;
    print_message("found %.17g, expected %.17g within %g\n", found, expected, tolerance);
    fail();
}

static void assert_point(const cf_curve *c, int64_t i, double x, double y, double threshold)
{
    assert_true(i < c->n);
    assert_near(c->points[i].x, x, 1e-15);
    assert_near(c->points[i].y, y, 1e-15);
    if (isinf(threshold))
        assert_true(isinf(c->points[i].threshold));
    else
        assert_near(c->points[i].threshold, threshold, 0);
}

/* From the top: .8 +, .6 + and - tied, .4 -, .2 +. */
static const double SCORES[] = {0.6, 0.2, 0.8, 0.4, 0.6};
static const bool POSITIVE[] = {true, true, true, false, false};

static void roc_takes_tied_rows_together(void **state)
{
    (void)state;
    cf_curve c;
    assert_int_equal(cf_curve_make(CF_CURVE_ROC, SCORES, POSITIVE, 5, &c), CF_OK);
    assert_int_equal(c.n, 5);
    assert_point(&c, 0, 0, 0, (double)INFINITY);
    assert_point(&c, 1, 0, 1.0 / 3, 0.8);
    assert_point(&c, 2, 0.5, 2.0 / 3, 0.6);
    assert_point(&c, 3, 1, 2.0 / 3, 0.4);
    assert_point(&c, 4, 1, 1, 0.2);
    assert_near(c.areas.auc, (2 + 1.5 + 0) / 6, 1e-15);
    cf_curve_fini(&c);
}

static void precision_recall_begins_at_no_recall(void **state)
{
    (void)state;
    cf_curve c;
    assert_int_equal(cf_curve_make(CF_CURVE_PRECISION_RECALL, SCORES, POSITIVE, 5, &c), CF_OK);
    assert_int_equal(c.n, 5);
    assert_point(&c, 0, 0, 1, (double)INFINITY);
    assert_point(&c, 1, 1.0 / 3, 1, 0.8);
    assert_point(&c, 2, 2.0 / 3, 2.0 / 3, 0.6);
    assert_point(&c, 3, 2.0 / 3, 0.5, 0.4);
    assert_point(&c, 4, 1, 0.6, 0.2);
    assert_near(c.areas.average_precision, (1 + 2.0 / 3 + 0.6) / 3, 1e-15);
    cf_curve_fini(&c);
}

static void straight_pieces_lose_their_inner_points(void **state)
{
    (void)state;
    static const double scores[] = {0.9, 0.8, 0.7, 0.6, 0.5, 0.4};
    static const bool positive[] = {true, true, true, false, false, false};
    cf_curve c;
    assert_int_equal(cf_curve_make(CF_CURVE_ROC, scores, positive, 6, &c), CF_OK);
    assert_int_equal(c.n, 4);
    assert_point(&c, 1, 0, 1.0 / 3, 0.9);
    assert_point(&c, 2, 0, 1, 0.7);
    assert_near(c.areas.auc, 1, 0);
    cf_curve_fini(&c);
    assert_int_equal(cf_curve_make(CF_CURVE_PRECISION_RECALL, scores, positive, 6, &c), CF_OK);
    assert_int_equal(c.n, 5); /* .9 .8 .7 and the last; .6 and .5 gain no positive */
    assert_near(c.areas.average_precision, 1, 0);
    cf_curve_fini(&c);
}

/* Of both signs, of all sizes, -0 beside 0, many of them twice. */
static void rows_are_sorted_by_falling_score_and_keep_their_order(void **state)
{
    (void)state;
    enum { N = 3000 };
    static cf_scored rows[N];
    cf_rng r = cf_rng_at(11, 0, 0, 0, CF_PURPOSE_TEST);
    for (uint32_t i = 0; i < N; i++) {
        double size = ldexp(1 + (double)cf_rng_below(&r, 5) / 8, (int)cf_rng_below(&r, 400) - 200);
        rows[i] = (cf_scored){i % 7 == 0 ? 0 * -size : i % 3 == 0 ? -size : size, i, false};
    }
    rows[0].score = 5e-324;
    rows[1].score = -1.7e308;
    assert_int_equal(cf_auc_sort(rows, N), CF_OK);
    for (int i = 1; i < N; i++) {
        assert_true(rows[i - 1].score >= rows[i].score);
        if (rows[i - 1].score == rows[i].score) assert_true(rows[i - 1].row < rows[i].row);
    }
    assert_int_equal(rows[N - 1].row, 1);
}

static void one_sided_truth_has_no_curve(void **state)
{
    (void)state;
    static const bool all[] = {true, true, true, true, true}, none[5] = {false};
    cf_curve c;
    assert_int_equal(cf_curve_make(CF_CURVE_ROC, SCORES, all, 5, &c), CF_OK);
    assert_int_equal(c.n, 0);
    assert_true(isnan(c.areas.auc));
    assert_near(c.areas.average_precision, 1, 0);
    cf_curve_fini(&c);
    assert_int_equal(cf_curve_make(CF_CURVE_PRECISION_RECALL, SCORES, none, 5, &c), CF_OK);
    assert_int_equal(c.n, 0);
    assert_true(isnan(c.areas.average_precision));
    cf_curve_fini(&c);
    assert_int_equal(cf_curve_make(CF_CURVE_ROC, SCORES, all, 0, &c), CF_OK);
    assert_int_equal(c.n, 0);
    cf_curve_fini(&c);
}

/* Cohen's own kind of table: po .7, pe .5. */
static void kappa_matches_hand_count(void **state)
{
    (void)state;
    static const int64_t counts[] = {20, 5, 10, 15}, one_class[] = {7, 0, 0, 0};
    static const int64_t nothing[4] = {0};
    assert_near(cf_agreement_kappa(counts, 2), (0.7 - 0.5) / (1 - 0.5), 1e-15);
    assert_true(isnan(cf_agreement_kappa(one_class, 2)));
    assert_true(isnan(cf_agreement_kappa(nothing, 2)));
}

static void mcc_matches_hand_count(void **state)
{
    (void)state;
    /* Two classes: (TP TN - FP FN) / sqrt(...) with TP 15, TN 20, FP 5, FN 10. */
    static const int64_t two[] = {20, 5, 10, 15}, one_said[] = {3, 0, 2, 0};
    /* Three: c = 6, s = 9, t = (4, 3, 2), p = (3, 3, 3). */
    static const int64_t three[] = {3, 1, 0, 0, 2, 1, 0, 0, 2};
    assert_near(cf_agreement_mcc(two, 2), (15.0 * 20 - 5.0 * 10) / sqrt(20.0 * 25 * 25 * 30),
                1e-12);
    assert_near(cf_agreement_mcc(three, 3), (7 * 9 - 27) / sqrt((81.0 - 27) * (81 - 29)), 1e-12);
    assert_near(cf_agreement_mcc(one_said, 2), 0, 0);
}

/* Two rows right at .8 and .6, one wrong at .7. */
static void brier_and_bins_match_hand_count(void **state)
{
    (void)state;
    static const double top[] = {0.8, 0.6, 0.7};
    static const int labels[] = {0, 0, 1};
    static const int64_t rows[] = {0, 1, 2};
    cf_predictions p;
    cf_calibration c;
    assert_int_equal(cf_predictions_init(&p, 3, 2), CF_OK);
    for (int i = 0; i < 3; i++) {
        p.labels[i] = labels[i];
        p.p[2 * i] = top[i];
        p.p[2 * i + 1] = 1 - top[i];
    }
    cf_calibrate(&p, rows, 3, &c);
    assert_near(c.brier, 2 * (0.04 + 0.16 + 0.49) / 3, 1e-15);
    assert_int_equal(c.bins[8].n, 1); /* (8/15, 9/15] */
    assert_int_equal(c.bins[10].n, 1);
    assert_int_equal(c.bins[10].n_right, 0);
    assert_near(c.bins[11].confidence, 0.8, 0);
    assert_int_equal(cf_calibration_bin(0), 0);
    assert_int_equal(cf_calibration_bin(1), CF_ECE_BINS - 1);
    cf_predictions_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roc_takes_tied_rows_together),
        cmocka_unit_test(precision_recall_begins_at_no_recall),
        cmocka_unit_test(straight_pieces_lose_their_inner_points),
        cmocka_unit_test(rows_are_sorted_by_falling_score_and_keep_their_order),
        cmocka_unit_test(one_sided_truth_has_no_curve),
        cmocka_unit_test(kappa_matches_hand_count),
        cmocka_unit_test(mcc_matches_hand_count),
        cmocka_unit_test(brier_and_bins_match_hand_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
