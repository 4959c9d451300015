/* Principal axes, turns, features of several networks in one space, and whether folds mix. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/math/philox.h"
#include "worker/insight/axes.h"
#include "worker/insight/features.h"
#include "worker/insight/mixing.h"

enum { N = 300, D = 12, R = 3, SEED = 7 };

static double noise(int stream, int64_t i)
{
    cf_rng rng = cf_rng_at(SEED, 0, (uint32_t)stream, (uint32_t)i, CF_PURPOSE_TEST);
    return (double)cf_rng_uniform(&rng) - 0.5;
}

static void singular_values_rebuild_the_matrix(void **state)
{
    (void)state;
    double a[16], u[16], s[4], v[16];
    for (int i = 0; i < 16; i++) a[i] = u[i] = noise(0, i);
    for (int i = 0; i < 4; i++) a[4 * i + 3] = u[4 * i + 3] = 2 * a[4 * i]; /* of rank 3 */
    cf_axes_svd(u, 4, s, v);
    assert_true(s[0] >= s[1] && s[1] >= s[2] && s[2] > 0.01 && s[3] == 0);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            double sum = 0, right = 0;
            for (int k = 0; k < 4; k++) {
                sum += u[4 * i + k] * s[k] * v[4 * j + k];
                right += v[4 * k + i] * v[4 * k + j];
            }
            assert_true(fabs(sum - a[4 * i + j]) < 1e-12); /* some hundred roundings of 1e-16 */
            assert_true(fabs(right - (i == j)) < 1e-12);
        }
}

/* Rows that lie along three of twelve directions (columns 9, 4 and 0), 5, 2 and 1 wide. */
static void fill_flat(float *x)
{
    static const int column[R] = {9, 4, 0};
    static const double width[R] = {5, 2, 1};
    for (int64_t i = 0; i < (int64_t)N * D; i++) x[i] = 3;
    for (int64_t i = 0; i < N; i++)
        for (int p = 0; p < R; p++) x[i * D + column[p]] += (float)(width[p] * noise(1 + p, i));
}

static void widest_axes_come_first(void **state)
{
    (void)state;
    float x[N * D];
    cf_axes a;
    fill_flat(x);
    assert_int_equal(cf_axes_find(x, N, D, R + 1, &a), CF_OK);
    /* 300 draws of three directions are correlated by chance, a few hundredths. */
    assert_true(fabs((double)a.axis[0 * D + 9]) > 0.99);
    assert_true(fabs((double)a.axis[1 * D + 4]) > 0.99);
    assert_true(fabs((double)a.axis[2 * D + 0]) > 0.99);
    /* 25/12, and 0 for the direction in which nothing is; floats leave 1e-7. */
    assert_true(fabs(a.variance[0] - 25.0 / 12) < 0.3);
    assert_true(a.variance[3] < 1e-6);
    assert_true(fabs(a.variance[0] + a.variance[1] + a.variance[2] - a.total) < 1e-4);
    double y[N * (R + 1)], sum = 0;
    cf_axes_project(&a, x, N, y);
    for (int64_t i = 0; i < N; i++) sum += y[i * (R + 1)] * y[i * (R + 1)] / N;
    assert_true(fabs(sum - a.variance[0]) < 1e-4);
    cf_axes_fini(&a);
}

static void a_turn_that_was_made_is_found(void **state)
{
    (void)state;
    double a[N * R], b[N * R];
    float y[N * R];
    const double c = cos(0.7), s = sin(0.7);
    cf_turn t;
    for (int64_t i = 0; i < N; i++) {
        for (int p = 0; p < R; p++) a[i * R + p] = (p + 1) * noise(10 + p, i);
        b[i * R] = 4 + 2.5 * (c * a[i * R] - s * a[i * R + 2]);
        b[i * R + 1] = 1 - 2.5 * a[i * R + 1]; /* mirrored */
        b[i * R + 2] = 2.5 * (s * a[i * R] + c * a[i * R + 2]);
    }
    assert_int_equal(cf_turn_fit(a, b, N, R, &t), CF_OK);
    assert_true(fabs(t.scale - 2.5) < 1e-9);
    assert_true(fabs(t.agreement - 1) < 1e-9);
    cf_turn_apply(&t, a, N, y);
    for (int i = 0; i < N * R; i++) assert_true(fabs((double)y[i] - b[i]) < 1e-5); /* floats */
    cf_turn_fini(&t);
}

static void points_that_have_nothing_in_common_do_not_agree(void **state)
{
    (void)state;
    double a[N * R], b[N * R];
    cf_turn t;
    for (int i = 0; i < N * R; i++) {
        a[i] = noise(20, i);
        b[i] = noise(21, i);
    }
    assert_int_equal(cf_turn_fit(a, b, N, R, &t), CF_OK);
    assert_true(t.agreement < 0.1); /* of 300 rows; chance leaves (some 3/sqrt(300))^2 */
    cf_turn_fini(&t);
}

enum { FOLDS = 3, CLASSES = 4 };

/* What network k makes of place u [R] of image i: another order of columns, sign, size and shift.
 */
static void see(int k, const double *u, float *x)
{
    for (int j = 0; j < D; j++) x[j] = (float)(10 * k);
    for (int p = 0; p < R; p++)
        x[(5 * p + 2 * k) % D] += (float)((k % 2 ? -1 : 1) * (1 + k) * u[p]);
}

/* Owned by the caller: FOLDS networks, all images in the sample. */
static cf_features make_features(const uint8_t *fold_of)
{
    cf_features f = {.n = N, .d = D, .n_folds = FOLDS, .fold = {0, 1, 2}, .n_sample = N};
    f.images = calloc(N, sizeof *f.images);
    f.folds = calloc(N, sizeof *f.folds);
    f.sample = calloc(N, sizeof *f.sample);
    f.x = calloc((size_t)N * D, sizeof *f.x);
    f.seen = calloc((size_t)FOLDS * N * D, sizeof *f.seen);
    assert_true(f.images && f.folds && f.sample && f.x && f.seen);
    for (int64_t i = 0; i < N; i++) {
        double u[R];
        for (int p = 0; p < R; p++) u[p] = 6 * (double)((i % CLASSES) >> p & 1) + noise(30 + p, i);
        f.images[i] = f.sample[i] = i;
        f.folds[i] = fold_of[i];
        for (int k = 0; k < FOLDS; k++) see(k, u, f.seen + ((int64_t)k * N + i) * D);
        see(fold_of[i], u, f.x + i * D);
    }
    return f;
}

static double fold_excess(const float *x, int64_t d, const uint8_t *folds, const int32_t *labels)
{
    const cf_crew crew = {.threads = 1};
    cf_neighbours nb;
    cf_mixing m;
    assert_int_equal(cf_neighbours_find(x, N, d, 10, &crew, &nb), CF_OK);
    assert_int_equal(cf_mixing_measure(&nb, folds, labels, CLASSES, &m), CF_OK);
    cf_neighbours_fini(&nb);
    assert_true(m.same_class > 0.99); /* classes lie 6 apart, their images 1 */
    return m.same_fold / m.chance;
}

static void folds_that_lie_apart_mix_in_the_common_space(void **state)
{
    (void)state;
    uint8_t fold_of[N];
    int32_t labels[N];
    cf_common c;
    for (int64_t i = 0; i < N; i++) {
        fold_of[i] = (uint8_t)(i / CLASSES % FOLDS);
        labels[i] = (int32_t)(i % CLASSES);
    }
    cf_features f = make_features(fold_of);
    assert_int_equal(cf_features_join(&f, fold_of, R, &c), CF_OK);
    assert_int_equal(c.d, R);
    for (int k = 0; k < FOLDS; k++) {
        assert_true(c.turns[k].agreement > 0.999 && c.turns[k].kept > 0.999);
        assert_int_equal(c.turns[k].n_shared, k == 0 ? 2 * N / 3 : N / 3);
        assert_true(c.turns[k].trained_by_both);
    }
    assert_true(fold_excess(f.x, D, f.folds, labels) > 2.9); /* of FOLDS: each lies by itself */
    assert_true(fabs(fold_excess(c.x, R, f.folds, labels) - 1) < 0.1); /* 3,000 pairs: SD 0.03 */
    cf_common_fini(&c);
    cf_features_fini(&f);
}

static void one_fold_keeps_its_features(void **state)
{
    (void)state;
    uint8_t fold_of[N] = {0};
    cf_common c;
    cf_features f = make_features(fold_of);
    f.n_folds = 1;
    assert_int_equal(cf_features_join(&f, fold_of, R, &c), CF_OK);
    assert_int_equal(c.d, D);
    assert_memory_equal(c.x, f.x, N * D * sizeof *f.x);
    cf_common_fini(&c);
    cf_features_fini(&f);
}

static void two_folds_say_that_no_image_has_trained_both(void **state)
{
    (void)state;
    uint8_t fold_of[N];
    cf_common c;
    for (int64_t i = 0; i < N; i++) fold_of[i] = (uint8_t)(i / CLASSES % 2);
    cf_features f = make_features(fold_of);
    f.n_folds = 2;
    assert_int_equal(cf_features_join(&f, fold_of, R, &c), CF_OK);
    assert_true(c.turns[0].trained_by_both && c.turns[0].n_shared == 148);
    assert_true(!c.turns[1].trained_by_both && c.turns[1].n_shared == N);
    assert_true(c.turns[1].agreement > 0.999);
    cf_common_fini(&c);
    cf_features_fini(&f);
}

static void centred_rows_have_no_mean_and_keep_what_they_are_apart(void **state)
{
    (void)state;
    float x[N * D], before[N * D];
    cf_common c = {.n = N, .d = D, .x = x};
    fill_flat(x);
    memcpy(before, x, sizeof x);
    assert_int_equal(cf_common_centre(&c), CF_OK);
    for (int k = 0; k < D; k++) {
        double sum = 0;
        for (int64_t i = 0; i < N; i++) sum += (double)x[i * D + k];
        assert_true(fabs(sum / N) < 1e-6); /* values below 6 as floats: 2e-7 each */
    }
    for (int64_t i = D; i < (int64_t)N * D; i++)
        assert_true(fabsf((x[i] - x[i % D]) - (before[i] - before[i % D])) < 2e-6f);
}

static void neighbours_of_a_fold_are_counted(void **state)
{
    (void)state;
    /* Four points in a row, each with its nearest: 0-1, 1-0, 2-3, 3-2. */
    int32_t index[4] = {1, 0, 3, 2}, labels[4] = {0, 0, 0, 1};
    float distance[4] = {1, 1, 1, 1};
    const uint8_t folds[4] = {0, 0, 1, 0};
    cf_neighbours nb = {.n = 4, .k = 1, .index = index, .distance = distance};
    cf_mixing m;
    assert_int_equal(cf_mixing_measure(&nb, folds, labels, 2, &m), CF_OK);
    assert_true(m.same_class == 0.5 && m.same_fold == 0.5);
    /* Class 0 has folds 0, 0, 1; class 1 has 0. Point 0 beside one of the other two of class 0: 1/2
     * of fold 0; point 1 the same; point 2 beside class 1: none of fold 1; point 3: 2/3 of fold 0.
     */
    assert_true(fabs(m.chance - (0.5 + 0.5 + 0 + 2.0 / 3) / 4) < 1e-12);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    float x[4] = {0};
    cf_axes a;
    cf_turn t;
    assert_int_equal(cf_axes_find(x, 2, 2, 3, &a), CF_E_USAGE);
    cf_axes_fini(&a);
    assert_int_equal(cf_turn_fit((double[2]){0}, (double[2]){0}, 1, 2, &t), CF_E_USAGE);
    cf_turn_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(singular_values_rebuild_the_matrix),
        cmocka_unit_test(widest_axes_come_first),
        cmocka_unit_test(a_turn_that_was_made_is_found),
        cmocka_unit_test(points_that_have_nothing_in_common_do_not_agree),
        cmocka_unit_test(folds_that_lie_apart_mix_in_the_common_space),
        cmocka_unit_test(one_fold_keeps_its_features),
        cmocka_unit_test(two_folds_say_that_no_image_has_trained_both),
        cmocka_unit_test(centred_rows_have_no_mean_and_keep_what_they_are_apart),
        cmocka_unit_test(neighbours_of_a_fold_are_counted),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
