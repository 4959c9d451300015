/* Bootstrap intervals: what they must not depend on, and where they must lie. Predictions are
 * random numbers of the fixed seeds below, not of any network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "coordinator/bootstrap.h"
#include "coordinator/bootstrap_areas.h"
#include "coordinator/curves.h"
#include "coordinator/parallel.h"
#include "coordinator/resample.h"
#include "kernels/base/mem.h"
#include "kernels/math/philox.h"

static void assert_near(double found, double expected, double tolerance)
{
    if (fabs(found - expected) <= tolerance) return;
    print_message("found %.17g, expected %.17g within %g\n", found, expected, tolerance);
    fail();
}

static const char ABC[] = "name: abc\nclasses:\n  - {code: A}\n  - {code: B}\n  - {code: C}\n"
                          "tolerance:\n  - [A, B]\nquestions:\n  first: [A, C]\n";

static cf_scheme abc_scheme(void)
{
    cf_scheme s = {0};
    assert_int_equal(cf_scheme_parse("abc", ABC, strlen(ABC), &s), CF_OK);
    return s;
}

/* n rows, right in about seven of ten; every fourth has probabilities in eighths, which tie. */
static void random_rows(cf_predictions *p, int64_t n, uint64_t seed)
{
    cf_rng r = cf_rng_at(seed, 0, 0, 0, CF_PURPOSE_TEST);
    assert_int_equal(cf_predictions_init(p, n, 3), CF_OK);
    for (int64_t i = 0; i < n; i++) {
        double *probability = p->p + 3 * i, sum = 0;
        p->labels[i] = (int32_t)cf_rng_below(&r, 3);
        for (int k = 0; k < 3; k++) {
            probability[k] = (double)cf_rng_uniform(&r) + (k == p->labels[i] ? 0.5 : 0.01);
            if (i % 4 == 0) probability[k] = floor(probability[k] * 8 + 1) / 8;
            sum += probability[k];
        }
        for (int k = 0; k < 3; k++) probability[k] /= sum;
        for (int k = 1; k < 3; k++)
            if (probability[k] > probability[p->predicted[i]]) p->predicted[i] = k;
        p->folds[i] = (int32_t)(i % 5);
    }
}

static void name_patients(cf_predictions *p, int64_t images_each)
{
    char name[32];
    assert_int_equal(cf_new(&p->patients, (size_t)p->n, sizeof *p->patients), CF_OK);
    for (int64_t i = 0; i < p->n; i++) {
        snprintf(name, sizeof name, "P%lld", (long long)(i / images_each));
        assert_int_equal(cf_strdup(name, &p->patients[i]), CF_OK);
    }
}

static cf_metrics must_compute(const cf_scheme *s, const cf_predictions *p, int n_resamples,
                               int n_threads)
{
    cf_metrics m;
    cf_bootstrap_options o = {n_resamples, CF_BOOTSTRAP_SEED, n_threads};
    assert_int_equal(cf_metrics_compute(s, p, &m), CF_OK);
    assert_int_equal(cf_bootstrap(s, p, &o, &m), CF_OK);
    return m;
}

static void assert_same_json(const cf_scheme *s, const cf_metrics *a, const cf_metrics *b)
{
    cf_buf x = {0}, y = {0};
    assert_int_equal(cf_metrics_write_json(s, a, &x), CF_OK);
    assert_int_equal(cf_metrics_write_json(s, b, &y), CF_OK);
    assert_string_equal(cf_buf_text(&x), cf_buf_text(&y));
    cf_buf_fini(&x);
    cf_buf_fini(&y);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    random_rows(&p, 200, 1);
    name_patients(&p, 3);
    cf_metrics one = must_compute(&s, &p, 101, 1), four = must_compute(&s, &p, 101, 4);
    assert_same_json(&s, &one, &four);
    assert_true(four.resampling.by_patient);
    assert_int_equal(four.resampling.n_units, 67);
    cf_metrics_fini(&one);
    cf_metrics_fini(&four);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void intervals_hold_the_figure_and_shrink_with_images(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    double widths[2];
    for (int i = 0; i < 2; i++) {
        cf_predictions p;
        random_rows(&p, i == 0 ? 150 : 2400, 2);
        cf_metrics m = must_compute(&s, &p, 1000, 0);
        assert_true(m.low.accuracy < m.pooled.accuracy && m.pooled.accuracy < m.high.accuracy);
        assert_true(m.low.kappa < m.pooled.kappa && m.pooled.kappa < m.high.kappa);
        assert_true(m.low.nll < m.pooled.nll && m.pooled.nll < m.high.nll);
        assert_true(m.low.classes[1].auc < m.pooled.classes[1].auc);
        assert_true(m.high.question_auc[0] > m.pooled.question_auc[0]);
        assert_true(isnan(m.low.temperature));
        assert_false((int)m.resampling.by_patient);
        widths[i] = m.high.accuracy - m.low.accuracy;
        /* The normal interval of a share; the percentile one differs by its own noise: 1000
         * resamples know an end to a tenth of the width, and the binomial's steps add 1/150. */
        double sd = sqrt(m.pooled.accuracy * (1 - m.pooled.accuracy) / (double)p.n);
        assert_near(widths[i] / (2 * 1.96 * sd), 1, 0.2);
        cf_metrics_fini(&m);
        cf_predictions_fini(&p);
    }
    assert_near(widths[0] / widths[1], 4, 1); /* sixteen times the images; noise as above */
    cf_scheme_fini(&s);
}

/* Ten identical images of each patient: they know as much as one. */
static void patients_widen_intervals(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions one, ten;
    random_rows(&one, 120, 3);
    random_rows(&ten, 1200, 3);
    for (int64_t i = 0; i < ten.n; i++) {
        ten.labels[i] = one.labels[i / 10];
        ten.predicted[i] = one.predicted[i / 10];
        memcpy(ten.p + 3 * i, one.p + 3 * (i / 10), 3 * sizeof *ten.p);
    }
    name_patients(&ten, 10);
    cf_metrics single = must_compute(&s, &one, 400, 0), copies = must_compute(&s, &ten, 400, 0);
    assert_int_equal(copies.resampling.n_units, 120);
    assert_near(copies.pooled.accuracy, single.pooled.accuracy, 1e-12);
    /* Patients are numbered by name, so the draws differ: ends agree to their noise, about a fifth
     * of the width at 400 resamples; by image the width would be a third. */
    double width = single.high.accuracy - single.low.accuracy;
    assert_near(copies.high.accuracy - copies.low.accuracy, width, 0.3 * width);
    cf_metrics_fini(&single);
    cf_metrics_fini(&copies);
    cf_predictions_fini(&one);
    cf_predictions_fini(&ten);
    cf_scheme_fini(&s);
}

static void one_patient_alone_gives_no_interval(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    random_rows(&p, 50, 3);
    name_patients(&p, 50);
    cf_metrics m = must_compute(&s, &p, 100, 0);
    assert_int_equal(m.resampling.n_units, 1);
    assert_true(isnan(m.low.accuracy) && isnan(m.high.accuracy));
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void images_without_a_patient_stand_for_themselves(void **state)
{
    (void)state;
    char x[] = "x", none[] = "", *names[] = {x, none, x, NULL, none};
    uint8_t units[4 * CF_LANES], weights[5 * CF_LANES];
    cf_resampler r;
    assert_int_equal(cf_resampler_init(&r, names, 5, 1), CF_OK);
    assert_true(cf_resampler_by_patient(&r));
    assert_int_equal(r.n_units, 4);
    cf_resample(&r, 0, units, weights);
    for (int lane = 0; lane < CF_LANES; lane++) {
        assert_int_equal(weights[0 + lane], weights[2 * CF_LANES + lane]);
        int drawn = 0;
        for (int i = 1; i < 5; i++) drawn += weights[i * CF_LANES + lane];
        assert_int_equal(drawn, 4);
    }
    cf_resampler_fini(&r);
    names[0] = names[2] = none;
    assert_int_equal(cf_resampler_init(&r, names, 5, 1), CF_OK);
    assert_false((int)cf_resampler_by_patient(&r));
    assert_int_equal(r.n_units, 5);
    cf_resampler_fini(&r);
}

/* The areas of resamples are those of the rows repeated as often as drawn. */
static void weighted_areas_are_those_of_repeated_rows(void **state)
{
    (void)state;
    enum { N = 60 };
    cf_predictions p;
    cf_ranking ranking;
    cf_resampler r;
    cf_areas areas[CF_LANES], expected;
    uint8_t weights[N * CF_LANES];
    double scores[N];
    bool positive[N];
    random_rows(&p, N, 4);
    assert_int_equal(cf_ranking_init(&ranking, &p, 1, NULL), CF_OK);
    assert_int_equal(cf_resampler_init(&r, NULL, N, 5), CF_OK);
    cf_resample(&r, 0, NULL, weights);
    cf_ranking_areas(&ranking, weights, areas);
    for (int lane = 0; lane < CF_LANES; lane++) {
        int64_t n = 0;
        for (int i = 0; i < N; i++)
            for (int c = 0; c < weights[i * CF_LANES + lane]; c++) {
                scores[n] = p.p[3 * i + 1];
                positive[n++] = p.labels[i] == 1;
            }
        assert_int_equal(n, N);
        assert_int_equal(cf_auc(scores, positive, n, &expected), CF_OK);
        assert_near(areas[lane].auc, expected.auc, 1e-14);
        assert_near(areas[lane].average_precision, expected.average_precision, 1e-14);
    }
    cf_resampler_fini(&r);
    cf_ranking_fini(&ranking);
    cf_predictions_fini(&p);
}

/* 0, 1, ..., 40: the 2.5 % quantile is 1, that of 97.5 % is 39. */
static void interval_is_the_central_part(void **state)
{
    (void)state;
    double values[82], low, high;
    for (int i = 0; i < 41; i++) values[i] = (i * 7) % 41;
    cf_resample_interval(values, 41, &low, &high);
    assert_near(low, 1, 1e-12);
    assert_near(high, 39, 1e-12);
    for (int i = 0; i < 82; i++) values[i] = i % 2 ? (double)NAN : i / 2;
    cf_resample_interval(values, 82, &low, &high);
    assert_near(low, 1, 1e-12);
    values[0] = (double)NAN; /* sorted by now: one of the defined ones */
    for (int i = 1; i < 82; i++) values[i] = i < 41 ? i : (double)NAN;
    cf_resample_interval(values, 82, &low, &high);
    assert_true(isnan(low) && isnan(high));
}

/* One image of class C among forty: a third of the resamples are without it. */
static void a_class_that_a_resample_lacks_is_left_out_there(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    random_rows(&p, 40, 6);
    for (int i = 0; i < 40; i++) {
        p.labels[i] = p.predicted[i] = i == 0 ? 2 : i % 2;
        for (int k = 0; k < 3; k++) p.p[3 * i + k] = k == p.labels[i] ? 0.8 : 0.1;
    }
    cf_metrics m = must_compute(&s, &p, 200, 0);
    assert_near(m.low.classes[2].recall_strict, 1, 0);
    assert_near(m.low.classes[2].auc, 1, 0);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void no_resamples_leave_no_interval(void **state)
{
    (void)state;
    cf_scheme s = abc_scheme();
    cf_predictions p;
    cf_buf out = {0};
    random_rows(&p, 10, 7);
    cf_metrics m = must_compute(&s, &p, 0, 0);
    assert_int_equal(m.resampling.n_resamples, 0);
    assert_int_equal(cf_metrics_write_json(&s, &m, &out), CF_OK);
    assert_non_null(strstr(cf_buf_text(&out), "\"interval\": null"));
    cf_buf_fini(&out);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void add_one(void *argument, int i, int thread)
{
    int *calls = argument;
    (void)thread;
    calls[i]++;
}

static void every_piece_of_work_is_done_once(void **state)
{
    (void)state;
    for (int threads = 0; threads < 9; threads += 4) {
        int calls[1000] = {0};
        cf_parallel_for(1000, threads, add_one, calls);
        for (int i = 0; i < 1000; i++) assert_int_equal(calls[i], 1);
    }
    assert_int_equal(cf_parallel_threads(0, 0), 1);
    assert_int_equal(cf_parallel_threads(3, 8), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(intervals_hold_the_figure_and_shrink_with_images),
        cmocka_unit_test(patients_widen_intervals),
        cmocka_unit_test(one_patient_alone_gives_no_interval),
        cmocka_unit_test(images_without_a_patient_stand_for_themselves),
        cmocka_unit_test(weighted_areas_are_those_of_repeated_rows),
        cmocka_unit_test(interval_is_the_central_part),
        cmocka_unit_test(a_class_that_a_resample_lacks_is_left_out_there),
        cmocka_unit_test(no_resamples_leave_no_interval),
        cmocka_unit_test(every_piece_of_work_is_done_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
