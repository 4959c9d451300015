/* Group normalisation on the host shim: statistics, the passes with every image's own arrays, and
 * gradients, against the definition in double precision. */
#include <math.h>

#include "tensors.h"

#include "kernels/cuda/group_norm.h"

static const cf_dtype dtypes[] = {CF_F32, CF_BF16, CF_F16};

typedef struct norm_case {
    int64_t n, rows, c;
    int groups;
    bool bias;
    cf_dtype dtype;
    float low, high; /* of y */
} norm_case;

/* One image; one pixel; images whose elements are no whole bytes of a mask; one group, one a
 * channel; more channels in a group than a block has threads; several parts of an image. */
static const norm_case cases[] = {
    {.n = 1, .rows = 7, .c = 8, .groups = 2, .low = -2.0f, .high = 3.0f},
    {.n = 3, .rows = 1, .c = 12, .groups = 3, .bias = true, .low = -2.0f, .high = 3.0f},
    {.n = 4, .rows = 7, .c = 3, .groups = 1, .bias = true, .low = -2.0f, .high = 3.0f},
    {.n = 5, .rows = 9, .c = 21, .groups = 21, .low = -2.0f, .high = 3.0f},
    {.n = 2, .rows = 30, .c = 64, .groups = 32, .bias = true, .low = -2.0f, .high = 3.0f},
    {.n = 2, .rows = 11, .c = 328, .groups = 1, .bias = true, .low = -2.0f, .high = 3.0f},
    {.n = 3, .rows = 1500, .c = 8, .groups = 4, .low = -2.0f, .high = 3.0f},
    {.n = 2, .rows = 1500, .c = 20, .groups = 2, .bias = true, .low = -2.0f, .high = 3.0f},
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* Host copies, and device memory of one case. */
typedef struct norm_data {
    tensors t;
    const norm_case *k;
    float *y, *g, *gamma, *beta, *bias;
    const void *d_y;
    void *d_g;
    cf_cuda_group_norm norm;
} norm_data;

static float *room(norm_data *d, int64_t n)
{
    return tensor_room(&d->t, (size_t)n * sizeof(float));
}

static void norm_data_init(norm_data *d, const norm_case *k)
{
    int64_t all = k->n * k->rows * k->c, own = k->n * k->c;
    size_t bytes = (size_t)k->c * sizeof(float);
    *d = (norm_data){.k = k,
                     .y = tensor_random(41, all, k->low, k->high),
                     .g = tensor_random(42, all, -1.0f, 1.0f),
                     .gamma = tensor_random(43, k->c, 0.5f, 2.0f),
                     .beta = tensor_random(44, k->c, -1.0f, 1.0f),
                     .bias = tensor_random(45, k->c, -1.0f, 1.0f)};
    for (int64_t c = 0; c < k->c && !k->bias; c++) d->bias[c] = 0.0f;
    d->d_y = tensor_store(&d->t, k->dtype, d->y, all);
    d->d_g = tensor_store(&d->t, k->dtype, d->g, all);
    d->norm = (cf_cuda_group_norm){.n_images = k->n,
                                   .rows = k->rows,
                                   .c = k->c,
                                   .groups = k->groups,
                                   .eps = 1e-5f,
                                   .gamma = tensor_copy(&d->t, d->gamma, bytes),
                                   .beta = tensor_copy(&d->t, d->beta, bytes)};
    if (k->bias) d->norm.bias = tensor_copy(&d->t, d->bias, bytes);
    cf_cuda_norm *n = &d->norm.norm;
    float **const arrays[] = {&n->mean, &n->rstd, &n->scale, &n->shift, &n->a, &n->b, &n->d};
    for (int i = 0; i < 7; i++) *arrays[i] = room(d, own);
    if (k->bias) d->norm.own_mean = room(d, own);
    d->norm.partials =
        tensor_room(&d->t, (size_t)cf_cuda_group_norm_room(k->n, k->rows, k->c) * sizeof(double));
}

static void norm_data_fini(norm_data *d)
{
    float *const all[] = {d->y, d->g, d->gamma, d->beta, d->bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    tensors_fini(&d->t);
}

/* ---- the definition ---------------------------------------------------------------------------
 */

typedef struct group_sums {
    double mean, rstd, first, second; /* first, second: means of gamma g and of gamma g x */
} group_sums;

static double normalised(const norm_data *d, const group_sums *s, int64_t e)
{
    return ((double)d->y[e] + (double)d->bias[e % d->k->c] - s->mean) * s->rstd;
}

/* Of the group that element e (of an image's first pixel) belongs to. */
static group_sums sums_of(const norm_data *d, int64_t image, int64_t group)
{
    const norm_case *k = d->k;
    int64_t each = k->c / k->groups, count = k->rows * each;
    group_sums s = {0};
    for (int pass = 0; pass < 3; pass++) {
        double squares = 0.0;
        for (int64_t i = 0; i < count; i++) {
            int64_t c = group * each + i % each, e = (image * k->rows + i / each) * k->c + c;
            double value = (double)d->y[e] + (double)d->bias[c], g = (double)d->gamma[c];
            if (pass == 0) s.mean += value / (double)count;
            if (pass == 1) squares += (value - s.mean) * (value - s.mean);
            if (pass < 2) continue;
            g *= (double)d->g[e];
            s.first += g / (double)count;
            s.second += g * normalised(d, &s, e) / (double)count;
        }
        if (pass == 1) s.rstd = 1.0 / sqrt(squares / (double)count + 1e-5);
    }
    return s;
}

/* ---- forward ----------------------------------------------------------------------------------
 */

/* Sums are fp32 within 32 rows: as in test_norm.c. */
static void check_forward(const norm_data *d)
{
    const norm_case *k = d->k;
    int64_t own = k->n * k->c;
    float *mean = tensor_load(CF_F32, d->norm.norm.mean, own);
    float *rstd = tensor_load(CF_F32, d->norm.norm.rstd, own);
    float *scale = tensor_load(CF_F32, d->norm.norm.scale, own);
    float *shift = tensor_load(CF_F32, d->norm.norm.shift, own);
    double spread = fabs((double)k->low) + fabs((double)k->high) + 1.0;
    for (int64_t i = 0; i < own; i++) {
        int64_t c = i % k->c;
        group_sums s = sums_of(d, i / k->c, c / (k->c / k->groups));
        double factor = (double)d->gamma[c] * s.rstd, seen = s.mean - (double)d->bias[c];
        assert_near((double)rstd[i], s.rstd, 1e-6 * s.rstd, "rstd", i);
        assert_near((double)mean[i], seen, 3e-7 * spread, "mean", i);
        assert_near((double)scale[i], factor, 1e-6 * factor, "scale", i);
        assert_near((double)shift[i], (double)d->beta[c] - seen * factor,
                    1e-6 * (1.0 + spread * factor), "shift", i);
    }
    float *const all[] = {mean, rstd, scale, shift};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void for_all(void (*f)(const norm_case *k))
{
    for (int i = 0; i < 3 * N_CASES; i++) {
        norm_case k = cases[i / 3];
        k.dtype = dtypes[i % 3];
        f(&k);
    }
}

static void run_forward(const norm_case *k)
{
    norm_data d;
    norm_data_init(&d, k);
    assert_ok(cf_cuda_group_norm_forward(NULL, k->dtype, d.d_y, &d.norm));
    check_forward(&d);
    norm_data_fini(&d);
}

static void statistics_are_those_of_each_image_and_group(void **state)
{
    (void)state;
    for_all(run_forward);
    norm_case far = {.n = 2, .rows = 1000, .c = 20, .groups = 5, .low = 9999.0f, .high = 10001.0f};
    run_forward(&far);
}

/* ---- apply ------------------------------------------------------------------------------------
 */

/* Each side through a normalisation of its own images or of all, in all combinations: every step is
 * one rounding, so the bits are equal. */
static void run_apply(const norm_case *k)
{
    int64_t all = k->n * k->rows * k->c, own = k->n * k->c;
    float *factors[4];
    for (int kind = 1; kind < 4; kind++) {
        norm_data d;
        norm_data_init(&d, k);
        const float *to[4];
        for (int i = 0; i < 4; i++) {
            factors[i] = tensor_random(51 + (uint32_t)i, own, -1.5f, 1.5f);
            to[i] = tensor_copy(&d.t, factors[i], (size_t)own * sizeof(float));
        }
        cf_cuda_norm_pass p = {
            .rows = k->n * k->rows, .c = k->c, .dtype = k->dtype, .n_images = k->n};
        bool y_own = kind & 1, r_own = kind & 2;
        p.y = (cf_cuda_view){d.d_y, to[0], to[1], CF_ACT_LEAKY, 0.3f, y_own};
        p.residual = (cf_cuda_view){d.d_g, to[2], to[3], CF_ACT_NONE, 1.0f, r_own};
        p.z = tensor_room(&d.t, (size_t)all * cf_dtype_bytes(k->dtype));
        p.mask = tensor_room(&d.t, (size_t)(all + 7) / 8);
        assert_ok(cf_cuda_norm_apply(NULL, &p));
        float *z = tensor_load(k->dtype, p.z, all);
        uint8_t *mask = tensor_bytes(p.mask, (size_t)(all + 7) / 8);
        for (int64_t e = 0; e < all; e++) {
            int64_t c = e % k->c, at = e / k->c / k->rows * k->c + c;
            int64_t i = y_own ? at : c, r = r_own ? at : c;
            float x = fmaf(d.y[e], factors[0][i], factors[1][i]);
            x += fmaf(d.g[e], factors[2][r], factors[3][r]);
            float expected = tensor_rounded(k->dtype, x > 0.0f ? x : x * 0.3f);
            assert_near((double)z[e], (double)expected, 0.0, "z", e);
            assert_int_equal(mask[e / 8] >> (e % 8) & 1, x > 0.0f);
        }
        for (int i = 0; i < 4; i++) free(factors[i]);
        free(z);
        free(mask);
        norm_data_fini(&d);
    }
}

static void apply_gives_the_bits_of_its_formula(void **state)
{
    (void)state;
    for_all(run_apply);
}

/* ---- backward ---------------------------------------------------------------------------------
 */

typedef struct gradients {
    float *gamma, *beta, *bias, *y; /* device; bias NULL without one; y in the case's type */
} gradients;

/* All passes of a node without activation, one after the other; gy takes the place of g. */
static gradients run_all(norm_data *d)
{
    const norm_case *k = d->k;
    gradients out = {room(d, k->c), room(d, k->c), k->bias ? room(d, k->c) : NULL, d->d_g};
    cf_cuda_norm_pass p = {.rows = k->n * k->rows, .c = k->c, .dtype = k->dtype, .n_images = k->n};
    p.y = (cf_cuda_view){.x = d->d_y, .act = CF_ACT_NONE, .slope = 1.0f, .per_image = true};
    p.y.scale = d->norm.norm.scale;
    p.y.shift = d->norm.norm.shift;
    p.mean = d->norm.norm.mean;
    p.contributions[0] = p.masked = d->d_g;
    p.n_contributions = 1;
    assert_ok(cf_cuda_group_norm_forward(NULL, k->dtype, d->d_y, &d->norm));
    assert_ok(cf_cuda_group_norm_reduce(NULL, &p, &d->norm, out.gamma, out.beta, out.bias));
    cf_cuda_gradient g = {d->d_g, d->d_y, d->norm.norm.a, d->norm.norm.b, d->norm.norm.d};
    assert_ok(cf_cuda_image_backward(NULL, k->dtype, k->n, k->rows, k->c, &g, d->d_g));
    return out;
}

/* fp32 sums within 32 rows and factors in fp32: a few 1e-6 of the largest gradients (2 rstd); and
 * the rounding of storage. A pixel's own group of few values has a large rstd. */
static void run_backward(const norm_case *k)
{
    norm_data d;
    norm_data_init(&d, k);
    gradients found = run_all(&d);
    int64_t all = k->n * k->rows * k->c, each = k->c / k->groups;
    float *gy = tensor_load(k->dtype, found.y, all),
          *dgamma = tensor_load(CF_F32, found.gamma, k->c);
    float *dbeta = tensor_load(CF_F32, found.beta, k->c);
    float *dbias = k->bias ? tensor_load(CF_F32, found.bias, k->c) : NULL;
    for (int64_t c = 0; c < k->c; c++) {
        double gamma = 0.0, beta = 0.0, bias = 0.0, most = 0.0;
        for (int64_t image = 0; image < k->n; image++) {
            group_sums s = sums_of(&d, image, c / each);
            most = fmax(most, s.rstd);
            for (int64_t r = 0; r < k->rows; r++) {
                int64_t e = (image * k->rows + r) * k->c + c;
                double x = normalised(&d, &s, e), g = (double)d.g[e];
                double expected = s.rstd * ((double)d.gamma[c] * g - s.first - x * s.second);
                double size = 2.0 * s.rstd * (1.0 + fabs(x));
                assert_near((double)gy[e], expected, size * (4e-6 + tensor_unit(k->dtype)), "gy",
                            e);
                gamma += g * x;
                beta += g;
                bias += expected;
            }
        }
        double values = (double)(k->n * k->rows);
        assert_near((double)dgamma[c], gamma, 2e-6 * values, "dgamma", c);
        assert_near((double)dbeta[c], beta, 1e-6 * values, "dbeta", c);
        if (k->bias) assert_near((double)dbias[c], bias, 2e-6 * most * values, "dbias", c);
    }
    float *const arrays[] = {gy, dgamma, dbeta, dbias};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    norm_data_fini(&d);
}

static void gradients_are_those_of_the_definition(void **state)
{
    (void)state;
    for_all(run_backward);
}

static void results_are_the_same_bits_in_any_order_of_threads(void **state)
{
    (void)state;
    norm_case k = cases[N_CASES - 1];
    size_t bytes = (size_t)(k.n * k.rows * k.c) * 2;
    void *found[3], *bias[3];
    assert_true(cf_cuda_image_parts(k.rows, k.c) > 1);
    k.dtype = CF_BF16;
    for (int i = 0; i < 3; i++) {
        norm_data d;
        tensors_order(i);
        norm_data_init(&d, &k);
        gradients g = run_all(&d);
        found[i] = tensor_bytes(g.y, bytes);
        bias[i] = tensor_bytes(g.bias, (size_t)k.c * sizeof(float));
        assert_memory_equal(found[i], found[0], bytes);
        assert_memory_equal(bias[i], bias[0], (size_t)k.c * sizeof(float));
        norm_data_fini(&d);
    }
    for (int i = 0; i < 3; i++) {
        free(found[i]);
        free(bias[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_are_those_of_each_image_and_group),
        cmocka_unit_test(apply_gives_the_bits_of_its_formula),
        cmocka_unit_test(gradients_are_those_of_the_definition),
        cmocka_unit_test(results_are_the_same_bits_in_any_order_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
