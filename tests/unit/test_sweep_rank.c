/* Points of a sweep beside the best: Holm's adjustment, and what is called noise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/sweep_rank.h"
#include "kernels/base/mem.h"
#include "kernels/math/philox.h"

/* p.adjust(c(.01, .04, .03, .005), "holm") of R 4.2: .03 .06 .06 .02 */
static void holm_is_that_of_r(void **state)
{
    (void)state;
    const double p[] = {0.01, 0.04, 0.03, 0.005};
    double adjusted[4];
    const double expected[] = {0.03, 0.06, 0.06, 0.02};
    cf_holm_adjust(p, 4, adjusted);
    for (int i = 0; i < 4; i++) assert_true(fabs(adjusted[i] - expected[i]) < 1e-15);
}

static void holm_keeps_ones_ties_and_the_empty_list(void **state)
{
    (void)state;
    const double ties[] = {0.02, 0.02, 1, 0.02}, one[] = {0.3}, zero[] = {0, 0.5};
    const double expected[] = {0.08, 0.08, 1, 0.08};
    double adjusted[4];
    cf_holm_adjust(ties, 4, adjusted);
    for (int i = 0; i < 4; i++) assert_true(fabs(adjusted[i] - expected[i]) < 1e-15);
    cf_holm_adjust(one, 1, adjusted);
    assert_true(adjusted[0] == 0.3);
    cf_holm_adjust(zero, 2, adjusted);
    assert_true(adjusted[0] == 0 && adjusted[1] == 0.5);
    cf_holm_adjust(NULL, 0, adjusted);
}

/* ---- ranking ---------------------------------------------------------------------------------
 */

enum { IMAGES = 700, FOLDS = 5, POINTS = 4 };

/* Right for a share of the images: those whose number is below it, so that of two points the better
 * one is right wherever the other is. */
static void predict(cf_predictions *p, int n_classes, double share, uint32_t stream)
{
    cf_rng rng = cf_rng_at(3, 0, 0, stream, CF_PURPOSE_TEST);
    if (cf_predictions_init(p, IMAGES, n_classes) != CF_OK) fail_msg("%s", cf_err_text());
    for (int i = 0; i < IMAGES; i++) {
        char id[32];
        snprintf(id, sizeof id, "image %d", i);
        assert_int_equal(cf_strdup(id, &p->ids[i]), CF_OK);
        assert_int_equal(cf_strdup("", &p->sites[i]), CF_OK);
        p->folds[i] = i % FOLDS;
        p->labels[i] = i / FOLDS % n_classes;
        bool right = (double)cf_rng_u32(&rng) / 4294967296.0 < share;
        p->predicted[i] = right ? p->labels[i] : (p->labels[i] + 1) % n_classes;
        for (int k = 0; k < n_classes; k++)
            p->p[i * n_classes + k] = k == p->predicted[i] ? 0.7 : 0.3 / (n_classes - 1);
    }
}

static void read_scheme(cf_scheme *s)
{
    char path[512];
    snprintf(path, sizeof path, "%s/configs/schemes/bm7.yaml", CYTOFOLD_SOURCE);
    if (cf_scheme_read(path, s) != CF_OK) fail_msg("%s", cf_err_text());
}

/* shares: below 0 for a point that is not finished. */
static void make_results(cf_sweep_results *r, const double *shares)
{
    *r = (cf_sweep_results){.sweep = {.n_points = POINTS}};
    read_scheme(&r->scheme);
    assert_int_equal(cf_new(&r->rows, POINTS, sizeof *r->rows), CF_OK);
    for (int point = 0; point < POINTS; point++) {
        cf_sweep_result *row = &r->rows[point];
        row->point = point;
        row->finished = shares[point] >= 0;
        if (!row->finished) continue;
        r->n_finished++;
        predict(&row->predictions, r->scheme.n_classes, shares[point], (uint32_t)(point / 2));
        assert_int_equal(cf_metrics_compute(&r->scheme, &row->predictions, &row->metrics), CF_OK);
    }
}

static void a_large_difference_is_beyond_noise_a_small_one_is_not(void **state)
{
    (void)state;
    const double shares[POINTS] = {0.5, 0.8, 0.79, -1};
    cf_sweep_results r;
    cf_sweep_ranking k;
    make_results(&r, shares);
    assert_int_equal(cf_sweep_rank(&r, &k), CF_OK);
    assert_int_equal(k.n_ranked, 3);
    const int best = k.order[0], second = k.order[1];
    assert_true((best == 1 && second == 2) || (best == 2 && second == 1));
    assert_int_equal(k.order[2], 0);
    assert_int_equal(k.standings[3].rank, 0);
    assert_true(k.standings[second].within_noise && k.standings[best].within_noise);
    assert_false(k.standings[0].within_noise);
    const cf_sweep_standing *worst = &k.standings[0];
    assert_true(worst->comparison.macro_f1.high < 0); /* worse than the best */
    assert_true(worst->p_holm >= worst->p && worst->p_holm < CF_SWEEP_LEVEL);
    assert_true(worst->p >= worst->comparison.macro_f1.p);
    assert_true(worst->p >= worst->comparison.fold_macro_f1.p);
    assert_true(r.rows[0].metrics.low.macro_f1 < r.rows[0].metrics.pooled.macro_f1);
    cf_sweep_ranking_fini(&k);
    cf_sweep_results_fini(&r);
}

static void equal_points_are_in_order_of_number_and_within_noise(void **state)
{
    (void)state;
    const double shares[POINTS] = {-1, -1, 0.8, 0.8};
    cf_sweep_results r;
    cf_sweep_ranking k;
    make_results(&r, shares);
    assert_int_equal(cf_sweep_rank(&r, &k), CF_OK);
    assert_int_equal(k.order[0], 2);
    assert_int_equal(k.order[1], 3);
    assert_true(k.standings[3].within_noise);
    assert_true(k.standings[3].p == 1);
    cf_sweep_ranking_fini(&k);
    cf_sweep_results_fini(&r);
}

static cf_err count_down(void *left)
{
    int *n = left;
    return --*n >= 0 ? CF_OK : cf_fail(CF_E_REQUEUE, "told to stop");
}

static void who_is_told_to_stop_leaves_before_the_next_point(void **state)
{
    (void)state;
    const double shares[POINTS] = {0.5, 0.8, 0.79, -1};
    for (int patient = 0; patient <= 5; patient++) { /* three points resampled, two compared */
        int left = patient;
        const cf_sweep_patience patience = {count_down, &left};
        cf_sweep_results r;
        cf_sweep_ranking k;
        make_results(&r, shares);
        r.patience = &patience;
        assert_int_equal(cf_sweep_rank(&r, &k), patient < 5 ? CF_E_REQUEUE : CF_OK);
        cf_sweep_ranking_fini(&k);
        cf_sweep_results_fini(&r);
    }
}

static void the_smallest_p_stays_below_the_level_for_any_number_of_points(void **state)
{
    (void)state;
    for (int n = 2; n <= CF_SWEEP_MAX_POINTS; n++)
        assert_true(2.0 / (cf_sweep_resamples(n) + 1) * (n - 1) < CF_SWEEP_LEVEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holm_is_that_of_r),
        cmocka_unit_test(holm_keeps_ones_ties_and_the_empty_list),
        cmocka_unit_test(a_large_difference_is_beyond_noise_a_small_one_is_not),
        cmocka_unit_test(equal_points_are_in_order_of_number_and_within_noise),
        cmocka_unit_test(who_is_told_to_stop_leaves_before_the_next_point),
        cmocka_unit_test(the_smallest_p_stays_below_the_level_for_any_number_of_points),
    };
    return cmocka_run_group_tests_name("sweep_rank", tests, NULL, NULL);
}
