/* The forward half of the normalisation on the host shim: statistics, their joining, apply. */
#include <math.h>

#include "tensors.h"

static const int64_t all_rows[] = {1, 2, 7, 1000}, all_c[] = {1, 3, 8, 20, 32, 64, 100, 301, 328};
static const cf_dtype dtypes[] = {CF_F32, CF_BF16, CF_F16};
static const float eps = 1e-5f;

/* Calls f for every type, number of rows and of channels. */
static void for_all(void (*f)(cf_dtype dtype, int64_t rows, int64_t c))
{
    for (int d = 0; d < 3; d++)
        for (size_t r = 0; r < sizeof all_rows / sizeof *all_rows; r++)
            for (size_t k = 0; k < sizeof all_c / sizeof *all_c; k++)
                f(dtypes[d], all_rows[r], all_c[k]);
}

/* ---- statistics -------------------------------------------------------------------------------
 */

typedef struct channel_sums {
    double mean, squares; /* of deviations from the mean */
} channel_sums;

static channel_sums two_pass(const float *y, int64_t rows, int64_t c, int64_t channel)
{
    channel_sums s = {0.0, 0.0};
    for (int64_t r = 0; r < rows; r++) s.mean += (double)y[r * c + channel] / (double)rows;
    for (int64_t r = 0; r < rows; r++) {
        double off = (double)y[r * c + channel] - s.mean;
        s.squares += off * off;
    }
    return s;
}

static cf_cuda_norm norm_room(tensors *t, int64_t c)
{
    size_t bytes = (size_t)c * sizeof(float);
    cf_cuda_norm n;
    float **const all[] = {&n.mean, &n.rstd, &n.scale, &n.shift, &n.a, &n.b, &n.d};
    for (int i = 0; i < 7; i++) *all[i] = tensor_room(t, bytes);
    return n;
}

/* What finish should give of the values y [rows, c], and how far the device may be off: the sums
 * are fp32 within 32 rows, so that a variance is good to a few 1e-7 of the squares around the
 * channel's first element, and a mean to as much of the spread. */
static void check_statistics(cf_dtype dtype, int64_t rows, int64_t c, float low, float high)
{
    tensors t = {.n = 0};
    size_t bytes = (size_t)c * sizeof(float);
    float *y = tensor_random(1, rows * c, low, high), *gamma = tensor_random(2, c, 0.5f, 2.0f);
    float *beta = tensor_random(3, c, -1.0f, 1.0f), *bias = tensor_random(4, c, -1.0f, 1.0f);
    const void *d_y = tensor_store(&t, dtype, y, rows * c);
    int64_t parts = cf_cuda_norm_parts(rows, c);
    double *partials = tensor_room(&t, (size_t)(parts * 2 * c) * sizeof(double));
    cf_cuda_norm n = norm_room(&t, c);
    float *d_mean = tensor_room(&t, bytes), *d_unbiased = tensor_room(&t, bytes);
    assert_ok(cf_cuda_statistics(NULL, dtype, d_y, rows, c, partials));
    assert_ok(cf_cuda_norm_finish(NULL, partials, parts, rows, c, eps,
                                  tensor_copy(&t, gamma, bytes), tensor_copy(&t, beta, bytes),
                                  tensor_copy(&t, bias, bytes), &n, d_mean, d_unbiased));
    float *mean = tensor_load(CF_F32, n.mean, c), *rstd = tensor_load(CF_F32, n.rstd, c);
    float *scale = tensor_load(CF_F32, n.scale, c), *shift = tensor_load(CF_F32, n.shift, c);
    float *mean_out = tensor_load(CF_F32, d_mean, c),
          *unbiased = tensor_load(CF_F32, d_unbiased, c);
    for (int64_t i = 0; i < c; i++) {
        channel_sums s = two_pass(y, rows, c, i);
        double expected = 1.0 / sqrt(s.squares / (double)rows + (double)eps);
        double size = fabs(s.mean) + (double)(high - low), off = 3e-7 * size;
        assert_near((double)mean[i], s.mean, off, "mean", i);
        assert_near((double)mean_out[i], s.mean + (double)bias[i], off + 1e-6, "mean + bias", i);
        assert_near((double)rstd[i], expected, 1e-6 * expected, "rstd", i);
        double factor = (double)gamma[i] * expected;
        assert_near((double)scale[i], factor, 1e-6 * factor, "scale", i);
        assert_near((double)shift[i], (double)beta[i] - s.mean * factor,
                    1e-6 * (1.0 + size * factor), "shift", i);
        double variance = s.squares / (double)(rows > 1 ? rows - 1 : 1);
        assert_near((double)unbiased[i], variance, 1e-6 * variance + 1e-12, "variance", i);
    }
    float *const all[] = {y, gamma, beta, bias, mean, rstd, scale, shift, mean_out, unbiased};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    tensors_fini(&t);
}

static void check_centred(cf_dtype dtype, int64_t rows, int64_t c)
{
    check_statistics(dtype, rows, c, -2.0f, 3.0f);
}

static void statistics_are_those_of_the_stored_values(void **state)
{
    (void)state;
    for_all(check_centred);
}

/* Sums of squares in fp32 would be off by the whole variance here. */
static void statistics_hold_where_the_mean_is_far_from_zero(void **state)
{
    (void)state;
    check_statistics(CF_F32, 1000, 20, 9999.0f, 10001.0f);
    check_statistics(CF_F32, 1000, 64, -10001.0f, -9999.0f);
    check_statistics(CF_F32, 5000, 8, 9999.0f, 10001.0f);
}

static void many_rows_keep_within_the_bound_of_parts(void **state)
{
    (void)state;
    static const int64_t c[] = {1, 3, 8, 64, 100, 512, 2048, 4096};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        assert_in_range(cf_cuda_norm_parts((int64_t)1 << 33, c[i]), 1, 1024);
        assert_int_equal(cf_cuda_norm_parts(1, c[i]), 1);
    }
}

static void running_moments_give_scale_and_shift(void **state)
{
    (void)state;
    enum { C = 300 };
    tensors t = {.n = 0};
    size_t bytes = C * sizeof(float);
    float *gamma = tensor_random(2, C, 0.5f, 2.0f), *beta = tensor_random(3, C, -1.0f, 1.0f);
    float *bias = tensor_random(4, C, -1.0f, 1.0f), *mean = tensor_random(5, C, -3.0f, 3.0f);
    float *var = tensor_random(6, C, 0.01f, 4.0f);
    const float *d_bias = tensor_copy(&t, bias, bytes);
    cf_cuda_norm n = norm_room(&t, C);
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        assert_ok(cf_cuda_norm_from_running(NULL, C, eps, tensor_copy(&t, gamma, bytes),
                                            tensor_copy(&t, beta, bytes), with_bias ? d_bias : NULL,
                                            tensor_copy(&t, mean, bytes),
                                            tensor_copy(&t, var, bytes), &n));
        float *scale = tensor_load(CF_F32, n.scale, C), *shift = tensor_load(CF_F32, n.shift, C);
        for (int i = 0; i < C; i++) {
            double factor = (double)gamma[i] / sqrt((double)var[i] + (double)eps);
            double seen = (double)mean[i] - (with_bias ? (double)bias[i] : 0.0);
            assert_near((double)scale[i], factor, 1e-7 * factor, "scale", i); /* one rounding */
            assert_near((double)shift[i], (double)beta[i] - seen * factor, 1e-5, "shift", i);
        }
        free(scale);
        free(shift);
    }
    float *const all[] = {gamma, beta, bias, mean, var};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    tensors_fini(&t);
}

/* ---- apply ------------------------------------------------------------------------------------
 */

typedef enum residual_kind { NO_RESIDUAL, PLAIN_RESIDUAL, NORM_RESIDUAL } residual_kind;
typedef enum norm_kind { NORM, BIAS_ONLY, NOTHING } norm_kind;

typedef struct apply_case {
    cf_dtype dtype;
    int64_t rows, c;
    cf_act act;
    residual_kind residual;
    norm_kind norm;
    bool in_place, mask;
} apply_case;

/* Host copies and the pass over their device copies. */
typedef struct apply_data {
    tensors t;
    cf_cuda_norm_pass pass;
    float *y, *r, *scale, *shift, *rscale, *rshift;
} apply_data;

static void apply_data_init(apply_data *d, const apply_case *k)
{
    int64_t n = k->rows * k->c;
    size_t bytes = (size_t)k->c * sizeof(float);
    *d = (apply_data){.y = tensor_random(11, n, -2.0f, 2.0f),
                      .r = tensor_random(12, n, -2.0f, 2.0f),
                      .scale = tensor_random(13, k->c, -1.5f, 1.5f),
                      .shift = tensor_random(14, k->c, -1.0f, 1.0f),
                      .rscale = tensor_random(15, k->c, -1.5f, 1.5f),
                      .rshift = tensor_random(16, k->c, -1.0f, 1.0f)};
    cf_cuda_norm_pass *p = &d->pass;
    *p = (cf_cuda_norm_pass){.rows = k->rows, .c = k->c, .dtype = k->dtype};
    p->y.act = k->act;
    p->y.slope = k->act == CF_ACT_LEAKY ? 0.3f : 7.0f; /* ignored without LEAKY */
    p->y.x = tensor_store(&d->t, k->dtype, d->y, n);
    if (k->norm == NORM) p->y.scale = tensor_copy(&d->t, d->scale, bytes);
    if (k->norm != NOTHING) p->y.shift = tensor_copy(&d->t, d->shift, bytes);
    if (k->residual != NO_RESIDUAL) p->residual.x = tensor_store(&d->t, k->dtype, d->r, n);
    if (k->residual == NORM_RESIDUAL) {
        p->residual.scale = tensor_copy(&d->t, d->rscale, bytes);
        p->residual.shift = tensor_copy(&d->t, d->rshift, bytes);
    }
    p->z = tensor_room(&d->t, (size_t)n * cf_dtype_bytes(k->dtype));
    if (k->in_place) p->z = (void *)(uintptr_t)p->y.x;
    if (k->mask) p->mask = tensor_room(&d->t, (size_t)(n + 7) / 8);
}

static void apply_data_fini(apply_data *d)
{
    float *const all[] = {d->y, d->r, d->scale, d->shift, d->rscale, d->rshift};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    tensors_fini(&d->t);
}

/* What the activation sees at element e. */
static float activation_input(const apply_data *d, const apply_case *k, int64_t e)
{
    int64_t i = e % k->c;
    float x = d->y[e];
    if (k->norm == NORM) x = fmaf(x, d->scale[i], d->shift[i]);
    if (k->norm == BIAS_ONLY) x += d->shift[i];
    if (k->residual == PLAIN_RESIDUAL) x += d->r[e];
    if (k->residual == NORM_RESIDUAL) x += fmaf(d->r[e], d->rscale[i], d->rshift[i]);
    return x;
}

/* Every step is one rounding, in the same order on both sides: equal, not near. */
static void check_apply(const apply_case *k)
{
    apply_data d;
    apply_data_init(&d, k);
    assert_ok(cf_cuda_norm_apply(NULL, &d.pass));
    int64_t n = k->rows * k->c;
    float *z = tensor_load(k->dtype, d.pass.z, n);
    uint8_t *mask = k->mask ? tensor_bytes(d.pass.mask, (size_t)(n + 7) / 8) : NULL;
    float slope = k->act == CF_ACT_NONE ? 1.0f : k->act == CF_ACT_RELU ? 0.0f : 0.3f;
    for (int64_t e = 0; e < n; e++) {
        float x = activation_input(&d, k, e), expected = x > 0.0f ? x : x * slope;
        assert_near((double)z[e], (double)tensor_rounded(k->dtype, expected), 0.0, "z", e);
        if (k->mask) assert_int_equal(mask[e / 8] >> (e % 8) & 1, x > 0.0f);
    }
    free(z);
    free(mask);
    apply_data_fini(&d);
}

/* Residuals, normalisations and activations in all combinations. */
static void check_kinds(apply_case k)
{
    for (int i = 0; i < 27; i++) {
        k.act = (cf_act)(i % 3);
        k.residual = (residual_kind)(i / 3 % 3);
        k.norm = (norm_kind)(i / 9);
        k.in_place = i % 2 == 0;
        k.mask = i % 4 != 3;
        check_apply(&k);
    }
}

static void check_apply_at(cf_dtype dtype, int64_t rows, int64_t c)
{
    if (rows * c <= 3200) check_kinds((apply_case){.dtype = dtype, .rows = rows, .c = c});
}

static void apply_gives_the_bits_of_its_formula(void **state)
{
    (void)state;
    for_all(check_apply_at);
}

static void apply_handles_many_rows(void **state)
{
    (void)state;
    for (int d = 0; d < 3; d++) {
        static const int64_t c[] = {20, 64};
        for (int i = 0; i < 2; i++) {
            apply_case k = {.dtype = dtypes[d],
                            .rows = 1000,
                            .c = c[i],
                            .act = CF_ACT_RELU,
                            .residual = NORM_RESIDUAL,
                            .mask = true};
            check_apply(&k);
        }
    }
}

static void sums_are_the_same_bits_in_any_order_of_threads(void **state)
{
    (void)state;
    enum { ROWS = 3000, C = 24 };
    tensors t = {.n = 0};
    float *y = tensor_random(1, ROWS * C, -1.0f, 1.0f);
    const void *d_y = tensor_store(&t, CF_BF16, y, ROWS * C);
    size_t bytes = (size_t)(cf_cuda_norm_parts(ROWS, C) * 2 * C) * sizeof(double);
    void *found[3];
    assert_true(cf_cuda_norm_parts(ROWS, C) > 1);
    for (int i = 0; i < 3; i++) {
        double *partials = tensor_room(&t, bytes);
        tensors_order(i);
        assert_ok(cf_cuda_statistics(NULL, CF_BF16, d_y, ROWS, C, partials));
        found[i] = tensor_bytes(partials, bytes);
        assert_memory_equal(found[i], found[0], bytes);
    }
    for (int i = 0; i < 3; i++) free(found[i]);
    free(y);
    tensors_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_are_those_of_the_stored_values),
        cmocka_unit_test(statistics_hold_where_the_mean_is_far_from_zero),
        cmocka_unit_test(many_rows_keep_within_the_bound_of_parts),
        cmocka_unit_test(running_moments_give_scale_and_shift),
        cmocka_unit_test(apply_gives_the_bits_of_its_formula),
        cmocka_unit_test(apply_handles_many_rows),
        cmocka_unit_test(sums_are_the_same_bits_in_any_order_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
