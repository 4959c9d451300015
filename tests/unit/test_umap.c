/* Neighbours, trustworthiness and UMAP on made-up points. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/math/philox.h"
#include "worker/insight/trust.h"
#include "worker/insight/umap.h"

enum { N = 700, D = 20, K = 12, GROUPS = 4, SEED = 11 };

/* GROUPS clouds far from each other; owned by the caller. */
static float *clouds(int64_t n, int64_t d)
{
    float *x = malloc((size_t)(n * d) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        cf_rng rng = cf_rng_at(SEED, 0, 0, (uint32_t)i, CF_PURPOSE_TEST);
        for (int64_t j = 0; j < d; j++)
            x[i * d + j] = cf_rng_uniform(&rng) + (j % GROUPS == i % GROUPS ? 3.0f : 0.0f);
    }
    return x;
}

static double distance(const float *x, int64_t d, int64_t a, int64_t b)
{
    double sum = 0;
    for (int64_t j = 0; j < d; j++) sum += pow((double)x[a * d + j] - (double)x[b * d + j], 2);
    return sqrt(sum);
}

/* How many rows are nearer to `row` than `than`. */
static int count_nearer(const float *x, int64_t n, int64_t d, int64_t row, double than)
{
    int count = 0;
    for (int64_t j = 0; j < n; j++) count += j != row && distance(x, d, row, j) < than;
    return count;
}

static void neighbours_are_the_nearest_rows(void **state)
{
    (void)state;
    cf_neighbours nb;
    float *x = clouds(N, D);
    assert_int_equal(cf_neighbours_find(x, N, D, K, 2, &nb), CF_OK);
    for (int64_t i = 0; i < N; i += 7)
        for (int j = 0; j < K; j++) {
            int64_t other = nb.index[i * K + j];
            double d = distance(x, D, i, other);
            assert_true(other != i);
            assert_true(fabs(d - (double)nb.distance[i * K + j]) <= 1e-6 * d);
            assert_true(count_nearer(x, N, D, i, d) == j);
        }
    cf_neighbours_fini(&nb);
    free(x);
}

/* Of so many columns that rows are compared in bf16 first: near neighbours and a proof for most. */
static void neighbours_of_wide_rows_are_the_nearest_too(void **state)
{
    (void)state;
    enum { WIDE_N = 900, WIDE_D = 130 };
    cf_neighbours nb, alone;
    float *x = clouds(WIDE_N, WIDE_D);
    assert_int_equal(cf_neighbours_find(x, WIDE_N, WIDE_D, K, 2, &nb), CF_OK);
    assert_int_equal(cf_neighbours_find(x, WIDE_N, WIDE_D, K, 1, &alone), CF_OK);
    assert_memory_equal(nb.index, alone.index, WIDE_N * K * sizeof *nb.index);
    assert_memory_equal(nb.distance, alone.distance, WIDE_N * K * sizeof *nb.distance);
    for (int64_t i = 0; i < WIDE_N; i += 7)
        for (int j = 0; j < K; j++)
            assert_int_equal(
                count_nearer(x, WIDE_N, WIDE_D, i, distance(x, WIDE_D, i, nb.index[i * K + j])), j);
    cf_neighbours_fini(&alone);
    cf_neighbours_fini(&nb);
    free(x);
}

/* More rows in one place than are kept: no proof, so they are compared again as floats. */
static void many_equal_wide_rows_are_compared_again(void **state)
{
    (void)state;
    enum { WIDE_N = 600, WIDE_D = 64, EQUAL = 200 };
    cf_neighbours nb;
    float *x = clouds(WIDE_N, WIDE_D);
    for (int64_t i = 1; i < EQUAL; i++) memcpy(x + i * WIDE_D, x, WIDE_D * sizeof *x);
    assert_int_equal(cf_neighbours_find(x, WIDE_N, WIDE_D, K, 2, &nb), CF_OK);
    for (int64_t i = 0; i < EQUAL; i++)
        for (int j = 0; j < K; j++)
            assert_true(nb.distance[i * K + j] == 0 && nb.index[i * K + j] < EQUAL);
    cf_neighbours_fini(&nb);
    free(x);
}

static void equal_rows_come_in_order_of_their_index(void **state)
{
    (void)state;
    cf_neighbours nb;
    float x[30] = {0};
    assert_int_equal(cf_neighbours_find(x, 30, 1, 3, 1, &nb), CF_OK);
    assert_int_equal(nb.index[3 * 5], 0);
    assert_int_equal(nb.index[3 * 5 + 2], 2);
    assert_int_equal(nb.index[0], 1);
    assert_true(nb.distance[0] == 0);
    cf_neighbours_fini(&nb);
}

static void too_many_neighbours_are_refused(void **state)
{
    (void)state;
    cf_neighbours nb;
    float x[4] = {0}, y[8];
    cf_umap_options o = cf_umap_defaults();
    assert_int_equal(cf_neighbours_find(x, 4, 1, 4, 1, &nb), CF_E_USAGE);
    cf_neighbours_fini(&nb);
    assert_int_equal(cf_umap(x, 4, 1, &o, y), CF_E_USAGE);
    o.neighbours = 2;
    o.min_dist = 2;
    assert_int_equal(cf_umap(x, 4, 1, &o, y), CF_E_USAGE);
}

static void trust_is_whole_for_a_picture_of_itself_and_half_for_noise(void **state)
{
    (void)state;
    float *x = clouds(N, 2), *y = clouds(N, 2);
    double value = 0;
    assert_int_equal(cf_trustworthiness(x, N, 2, x, K, 0, 2, &value), CF_OK);
    assert_true(value == 1);
    for (int64_t i = 0; i < N; i++) {
        cf_rng rng = cf_rng_at(SEED, 1, 0, (uint32_t)i, CF_PURPOSE_TEST);
        y[2 * i] = cf_rng_uniform(&rng);
        y[2 * i + 1] = cf_rng_uniform(&rng);
    }
    /* ranks of strangers are uniform: the mean loss is half of the most */
    assert_int_equal(cf_trustworthiness(x, N, 2, y, K, 0, 2, &value), CF_OK);
    assert_true(value > 0.45 && value < 0.55);
    free(y);
    free(x);
}

/* The definition, without blocks: ranks by counting. */
static void trust_agrees_with_its_definition(void **state)
{
    (void)state;
    enum { n = 90, k = 7 };
    float *x = clouds(n, D), *y = clouds(n, 2);
    double value = 0, loss = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            if (i == j || count_nearer(y, n, 2, i, distance(y, 2, i, j)) >= k) continue;
            int rank = 1 + count_nearer(x, n, D, i, distance(x, D, i, j));
            loss += rank > k ? rank - k : 0;
        }
    assert_int_equal(cf_trustworthiness(x, n, D, y, k, 0, 2, &value), CF_OK);
    assert_true(fabs(value - (1 - 2 * loss / (n * k * (2.0 * n - 3.0 * k - 1)))) < 1e-12);
    free(y);
    free(x);
}

/* Constants that the authors' program (0.5.12) prints for its defaults. */
static void curve_has_the_published_constants(void **state)
{
    (void)state;
    double a = 0, b = 0;
    cf_umap_curve(0.1, 1, &a, &b);
    assert_true(fabs(a - 1.5769434) < 1e-5 && fabs(b - 0.8950609) < 1e-5);
}

static void graph_is_symmetric_with_weights_up_to_one(void **state)
{
    (void)state;
    cf_neighbours nb;
    cf_umap_graph g;
    float *x = clouds(N, D);
    assert_int_equal(cf_neighbours_find(x, N, D, K, 1, &nb), CF_OK);
    assert_int_equal(cf_umap_graph_make(&nb, &g), CF_OK);
    for (int64_t i = 0; i < N; i++) {
        float strongest = 0;
        for (int64_t e = g.start[i]; e < g.start[i + 1]; e++) {
            int64_t j = g.column[e], f = g.start[j];
            while (f < g.start[j + 1] && g.column[f] != i) f++;
            assert_true(f < g.start[j + 1] && g.weight[f] == g.weight[e]);
            assert_true(e == g.start[i] || g.column[e] > g.column[e - 1]);
            assert_true(g.weight[e] > 0 && g.weight[e] <= 1 + 1e-6f);
            strongest = fmaxf(strongest, g.weight[e]);
        }
        /* of the nearest neighbour each point is sure, but for the rounding of u + v - u v */
        assert_true(strongest >= 1 - 1e-6f);
    }
    cf_umap_graph_fini(&g);
    cf_neighbours_fini(&nb);
    free(x);
}

static void picture_keeps_clouds_apart_on_any_number_of_threads(void **state)
{
    (void)state;
    float *x = clouds(N, D), y[2][2 * N];
    double value = 0;
    for (int t = 0; t < 2; t++) {
        cf_umap_options o = cf_umap_defaults();
        o.threads = 1 + 2 * t;
        o.seed = SEED;
        assert_int_equal(cf_umap(x, N, D, &o, y[t]), CF_OK);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    for (int i = 0; i < 2 * N; i++) assert_true(isfinite(y[0][i]));
    for (int64_t i = 0; i < N; i++) { /* the nearest in the picture is of the same cloud */
        int64_t nearest = i == 0;
        for (int64_t j = 0; j < N; j++)
            if (j != i && distance(y[0], 2, i, j) < distance(y[0], 2, i, nearest)) nearest = j;
        assert_int_equal(nearest % GROUPS, i % GROUPS);
    }
    assert_int_equal(cf_trustworthiness(x, N, D, y[0], K, 0, 1, &value), CF_OK);
    print_message("seed %d: trustworthiness %.4f\n", SEED, value);
    assert_true(value > 0.85); /* clouds without a shape of their own: about 0.9 */
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_the_nearest_rows),
        cmocka_unit_test(neighbours_of_wide_rows_are_the_nearest_too),
        cmocka_unit_test(many_equal_wide_rows_are_compared_again),
        cmocka_unit_test(equal_rows_come_in_order_of_their_index),
        cmocka_unit_test(too_many_neighbours_are_refused),
        cmocka_unit_test(trust_is_whole_for_a_picture_of_itself_and_half_for_noise),
        cmocka_unit_test(trust_agrees_with_its_definition),
        cmocka_unit_test(curve_has_the_published_constants),
        cmocka_unit_test(graph_is_symmetric_with_weights_up_to_one),
        cmocka_unit_test(picture_keeps_clouds_apart_on_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
