/* Neighbours, trustworthiness and UMAP on made-up points. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/dnnl_products.h"
#include "kernels/math/philox.h"
#include "worker/insight/trust.h"
#include "worker/insight/umap.h"

enum { N = 700, D = 20, K = 12, GROUPS = 4, SEED = 11 };
static const cf_crew crew1 = {.threads = 1}, crew2 = {.threads = 2};

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
    assert_int_equal(cf_neighbours_find(x, N, D, K, &crew2, &nb), CF_OK);
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
    assert_int_equal(cf_neighbours_find(x, WIDE_N, WIDE_D, K, &crew2, &nb), CF_OK);
    assert_int_equal(cf_neighbours_find(x, WIDE_N, WIDE_D, K, &crew1, &alone), CF_OK);
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
    assert_int_equal(cf_neighbours_find(x, WIDE_N, WIDE_D, K, &crew2, &nb), CF_OK);
    for (int64_t i = 0; i < EQUAL; i++)
        for (int j = 0; j < K; j++) {
            assert_true(nb.distance[i * K + j] == 0);
            assert_int_equal(nb.index[i * K + j], j + (j >= i));
        }
    cf_cpu_tiles *tiles;
    if (cf_cpu_tiles_create(16, 16, WIDE_D, &tiles) == CF_OK) assert_true(nb.n_again >= EQUAL);
    cf_cpu_tiles_destroy(tiles);
    cf_neighbours_fini(&nb);
    free(x);
}

/* So many rows of so many features that they are compared along their axes. Half of what a row is
 * lies along no axis that others share. */
static void neighbours_of_many_long_rows_are_nearly_all_found(void **state)
{
    (void)state;
    enum { MANY = CF_NEIGHBOURS_MANY, LONG = CF_NEIGHBOURS_LONG, LATENT = 12 };
    cf_neighbours nb, alone;
    float *x = clouds(MANY, LATENT), *wide = malloc((size_t)MANY * LONG * sizeof *wide);
    assert_non_null(wide);
    for (int64_t i = 0; i < MANY; i++) {
        cf_rng rng = cf_rng_at(SEED, 1, 0, (uint32_t)i, CF_PURPOSE_TEST);
        for (int64_t j = 0; j < LONG; j++)
            wide[i * LONG + j] = x[i * LATENT + j % LATENT] + 0.5f * cf_rng_uniform(&rng);
    }
    assert_int_equal(cf_neighbours_find(wide, MANY, LONG, K, &crew2, &nb), CF_OK);
    assert_int_equal(cf_neighbours_find(wide, MANY, LONG, K, &crew1, &alone), CF_OK);
    assert_memory_equal(nb.index, alone.index, (size_t)MANY * K * sizeof *nb.index);
    assert_true(nb.approximate && nb.found == alone.found);
    int found = 0, asked = 0;
    for (int64_t i = 0; i < MANY; i += 1999)
        for (int j = 0; j < K; j++, asked++) {
            double d = distance(wide, LONG, i, nb.index[i * K + j]);
            assert_true(fabs(d - (double)nb.distance[i * K + j]) <= 1e-6 * d);
            found += count_nearer(wide, MANY, LONG, i, d) < K;
        }
    print_message("%.3f of the neighbours of 64 rows found; here %d of %d\n", nb.found, found,
                  asked);
    assert_true(nb.found > 0.95 && found > 0.95 * asked);
    cf_neighbours_fini(&alone);
    cf_neighbours_fini(&nb);
    free(wide);
    free(x);
}

static void equal_rows_come_in_order_of_their_index(void **state)
{
    (void)state;
    cf_neighbours nb;
    float x[30] = {0};
    assert_int_equal(cf_neighbours_find(x, 30, 1, 3, &crew1, &nb), CF_OK);
    assert_int_equal(nb.index[3 * 5], 0);
    assert_int_equal(nb.index[3 * 5 + 2], 2);
    assert_int_equal(nb.index[0], 1);
    assert_true(nb.distance[0] == 0);
    cf_neighbours_fini(&nb);
}

static void too_many_neighbours_are_refused(void **state)
{
    (void)state;
    cf_neighbours nb, two;
    float x[4] = {0, 1, 2, 3}, y[8];
    cf_umap_options o = cf_umap_defaults();
    assert_int_equal(cf_neighbours_find(x, 4, 1, 4, &crew1, &nb), CF_E_USAGE);
    cf_neighbours_fini(&nb);
    assert_int_equal(cf_neighbours_find(x, 4, 1, 2, &crew1, &two), CF_OK);
    assert_int_equal(cf_umap(x, 1, &two, &o, y), CF_E_USAGE);
    o.neighbours = 2;
    o.min_dist = 2;
    assert_int_equal(cf_umap(x, 1, &two, &o, y), CF_E_USAGE);
    cf_neighbours_fini(&two);
}

static void trust_is_whole_for_a_picture_of_itself_and_half_for_noise(void **state)
{
    (void)state;
    float *x = clouds(N, 2), *y = clouds(N, 2);
    double value = 0;
    assert_int_equal(cf_trustworthiness(x, N, 2, x, K, 0, &crew2, &value), CF_OK);
    assert_true(value == 1);
    for (int64_t i = 0; i < N; i++) {
        cf_rng rng = cf_rng_at(SEED, 1, 0, (uint32_t)i, CF_PURPOSE_TEST);
        y[2 * i] = cf_rng_uniform(&rng);
        y[2 * i + 1] = cf_rng_uniform(&rng);
    }
    /* ranks of strangers are uniform: the mean loss is half of the most */
    assert_int_equal(cf_trustworthiness(x, N, 2, y, K, 0, &crew2, &value), CF_OK);
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
    assert_int_equal(cf_trustworthiness(x, n, D, y, k, 0, &crew2, &value), CF_OK);
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
    assert_int_equal(cf_neighbours_find(x, N, D, K, &crew1, &nb), CF_OK);
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

/* ---- forces, without lanes --------------------------------------------------------------------
 */

/* What one point's epoch is, by the formulas of umap_layout.c's head. */
typedef struct alone {
    const cf_umap_graph *g;
    double a, b, step, at[2];
    uint32_t state, gamma;
} alone;

static void push(alone *p, const float *other, bool towards)
{
    double d[2] = {p->at[0] - (double)other[0], p->at[1] - (double)other[1]};
    double t2 = d[0] * d[0] + d[1] * d[1], power = pow(t2, p->b);
    if (t2 < 1e-30) return;
    double force = towards ? -2 * p->a * p->b * power / (t2 * (1 + p->a * power))
                           : 2 * p->b / ((0.001 + t2) * (1 + p->a * power));
    for (int c = 0; c < 2; c++) p->at[c] += p->step * fmax(-4, fmin(4, force * d[c]));
}

static int64_t draw(alone *p)
{
    p->state += p->gamma;
    uint32_t z = (p->state ^ p->state >> 16) * 0x85EBCA6Bu;
    z = (z ^ z >> 13) * 0xC2B2AE35u;
    return (int64_t)((uint64_t)(z ^ z >> 16) * (uint64_t)p->g->n >> 32);
}

static void move(alone *p, int64_t i, int epoch, const float *from, float *to)
{
    cf_rng rng = cf_rng_at(SEED, 2, (uint32_t)epoch, (uint32_t)i, CF_PURPOSE_UMAP);
    p->state = cf_rng_u32(&rng);
    p->gamma = cf_rng_u32(&rng) | 1;
    p->at[0] = (double)from[2 * i];
    p->at[1] = (double)from[2 * i + 1];
    for (int64_t e = p->g->start[i]; e < p->g->start[i + 1]; e++) {
        float rate = p->g->weight[e];
        if ((int)(rate * (float)(epoch + 1)) == (int)(rate * (float)epoch)) continue;
        push(p, from + 2 * p->g->column[e], true);
        push(p, from + 2 * p->g->column[e], true);
        for (int r = 0; r < 5; r++) push(p, from + 2 * draw(p), false);
    }
    to[2 * i] = (float)p->at[0];
    to[2 * i + 1] = (float)p->at[1];
}

/* More points than a block holds, some with many edges, some with hardly any. Forces near points
 * that touch are steep, so what rounding moves in one epoch grows in the next: four epochs. */
static void layout_is_what_each_point_does_alone(void **state)
{
    (void)state;
    enum { n = 300, EPOCHS = 4 };
    cf_neighbours nb;
    cf_umap_graph g;
    cf_umap_options o = cf_umap_defaults();
    float *x = clouds(n, D), y[2 * n], want[2][2 * n];
    alone p = {.g = &g};
    assert_int_equal(cf_neighbours_find(x, n, D, K, &crew1, &nb), CF_OK);
    assert_int_equal(cf_umap_graph_make(&nb, &g), CF_OK);
    cf_umap_curve(o.min_dist, o.spread, &p.a, &p.b);
    for (int64_t i = 0; i < 2 * n; i++) y[i] = want[0][i] = 10 * (x[i] - 2);
    o.epochs = EPOCHS;
    o.seed = SEED;
    assert_int_equal(cf_umap_layout(&g, &o, y), CF_OK);
    float heaviest = 0;
    for (int64_t e = 0; e < g.start[n]; e++) heaviest = fmaxf(heaviest, g.weight[e]);
    for (int64_t e = 0; e < g.start[n]; e++) {
        g.weight[e] /= heaviest;
        if (g.weight[e] * EPOCHS < 1) g.weight[e] = 0;
    }
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        p.step = 1 - (double)epoch / EPOCHS;
        for (int64_t i = 0; i < n; i++) move(&p, i, epoch, want[epoch % 2], want[1 - epoch % 2]);
    }
    int close = 0;
    for (int i = 0; i < 2 * n; i++) close += fabsf(y[i] - want[EPOCHS % 2][i]) < 1e-3f;
    print_message("%d of %d places are the same\n", close, 2 * n);
    assert_true(close >= 2 * n * 0.99);
    cf_umap_graph_fini(&g);
    cf_neighbours_fini(&nb);
    free(x);
}

static void picture_keeps_clouds_apart_on_any_number_of_threads(void **state)
{
    (void)state;
    float *x = clouds(N, D), y[2][2 * N];
    double value = 0;
    cf_neighbours nb;
    assert_int_equal(cf_neighbours_find(x, N, D, 2 * K, &crew2, &nb), CF_OK);
    for (int t = 0; t < 2; t++) {
        cf_umap_options o = cf_umap_defaults();
        o.crew.threads = 1 + 2 * t;
        o.seed = SEED;
        assert_int_equal(cf_umap(x, D, &nb, &o, y[t]), CF_OK);
    }
    cf_neighbours_fini(&nb);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    for (int i = 0; i < 2 * N; i++) assert_true(isfinite(y[0][i]));
    for (int64_t i = 0; i < N; i++) { /* the nearest in the picture is of the same cloud */
        int64_t nearest = i == 0;
        for (int64_t j = 0; j < N; j++)
            if (j != i && distance(y[0], 2, i, j) < distance(y[0], 2, i, nearest)) nearest = j;
        assert_int_equal(nearest % GROUPS, i % GROUPS);
    }
    assert_int_equal(cf_trustworthiness(x, N, D, y[0], K, 0, &crew1, &value), CF_OK);
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
        cmocka_unit_test(neighbours_of_many_long_rows_are_nearly_all_found),
        cmocka_unit_test(equal_rows_come_in_order_of_their_index),
        cmocka_unit_test(too_many_neighbours_are_refused),
        cmocka_unit_test(trust_is_whole_for_a_picture_of_itself_and_half_for_noise),
        cmocka_unit_test(trust_agrees_with_its_definition),
        cmocka_unit_test(curve_has_the_published_constants),
        cmocka_unit_test(graph_is_symmetric_with_weights_up_to_one),
        cmocka_unit_test(layout_is_what_each_point_does_alone),
        cmocka_unit_test(picture_keeps_clouds_apart_on_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
