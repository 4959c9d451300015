/* The backward half of the normalisation on the host shim, and the whole of it beside the CPU's. */
#include <math.h>

#include "tensors.h"

#include "kernels/cpu/norm.h"

static const int64_t all_rows[] = {1, 2, 7, 300}, all_c[] = {1, 3, 8, 20, 32, 64, 100, 301, 328};
static const cf_dtype dtypes[] = {CF_F32, CF_BF16, CF_F16};

/* Where the activation's sign comes from; OUTPUT: y is the node's output, without normalisation. */
typedef enum sign_kind { NO_ACTIVATION, MASK, VALUE, OUTPUT, N_SIGNS } sign_kind;
/* Where the gradient goes: nowhere, to memory of its own, in place of the last contribution. */
typedef enum masked_kind { NOT_WANTED, OWN, IN_PLACE } masked_kind;

typedef struct reduce_case {
    cf_dtype dtype;
    int64_t rows, c;
    sign_kind sign;
    masked_kind masked;
    int n_contributions;
    bool with_mean;
    float slope; /* 0: RELU */
} reduce_case;

typedef struct reduce_data {
    tensors t;
    cf_cuda_norm_pass pass;
    float *g[CF_GRAPH_MAX_USES], *y, *scale, *shift, *mean;
    uint8_t *mask;
    double *partials; /* device */
} reduce_data;

static uint8_t *random_mask(int64_t n)
{
    cf_rng rng = cf_rng_at(TENSORS_SEED, 0, 0, 27, CF_PURPOSE_TEST);
    uint8_t *mask = calloc((size_t)(n + 7) / 8, 1);
    assert_non_null(mask);
    for (int64_t e = 0; e < n; e++)
        if (cf_rng_below(&rng, 2) == 1) mask[e / 8] = (uint8_t)(mask[e / 8] | 1u << (e % 8));
    return mask;
}

static void reduce_data_init(reduce_data *d, const reduce_case *k)
{
    int64_t n = k->rows * k->c;
    size_t bytes = (size_t)k->c * sizeof(float), stored = (size_t)n * cf_dtype_bytes(k->dtype);
    *d = (reduce_data){.y = tensor_random(21, n, -2.0f, 2.0f),
                       .scale = tensor_random(22, k->c, -1.5f, 1.5f),
                       .shift = tensor_random(23, k->c, -1.0f, 1.0f),
                       .mean = tensor_random(24, k->c, -1.0f, 1.0f),
                       .mask = random_mask(n)};
    cf_cuda_norm_pass *p = &d->pass;
    *p = (cf_cuda_norm_pass){.rows = k->rows, .c = k->c, .dtype = k->dtype};
    p->y.x = tensor_store(&d->t, k->dtype, d->y, n);
    if (k->sign != OUTPUT) p->y.scale = tensor_copy(&d->t, d->scale, bytes);
    if (k->sign != OUTPUT) p->y.shift = tensor_copy(&d->t, d->shift, bytes);
    p->y.act = k->sign == NO_ACTIVATION ? CF_ACT_NONE
               : k->slope > 0.0f        ? CF_ACT_LEAKY
                                        : CF_ACT_RELU;
    p->y.slope = k->slope;
    if (k->with_mean) p->mean = tensor_copy(&d->t, d->mean, bytes);
    if (k->sign == MASK) p->mask = tensor_copy(&d->t, d->mask, (size_t)(n + 7) / 8);
    p->n_contributions = k->n_contributions;
    for (int m = 0; m < k->n_contributions; m++) {
        d->g[m] = tensor_random(30 + (uint32_t)m, n, -1.0f, 1.0f);
        p->contributions[m] = p->masked = tensor_store(&d->t, k->dtype, d->g[m], n);
    }
    if (k->masked == OWN) p->masked = tensor_room(&d->t, stored);
    if (k->masked == NOT_WANTED) p->masked = NULL;
    int64_t parts = cf_cuda_norm_parts(k->rows, k->c);
    d->partials = tensor_room(&d->t, (size_t)(parts * 2 * k->c) * sizeof(double));
}

static void reduce_data_fini(reduce_data *d)
{
    for (int m = 0; m < d->pass.n_contributions; m++) free(d->g[m]);
    float *const all[] = {d->y, d->scale, d->shift, d->mean};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free(d->mask);
    tensors_fini(&d->t);
}

static float expected_gradient(const reduce_data *d, const reduce_case *k, int64_t e)
{
    int64_t i = e % k->c;
    float g = d->g[0][e];
    for (int m = 1; m < k->n_contributions; m++) g += d->g[m][e];
    bool up = true;
    if (k->sign == MASK) up = d->mask[e / 8] >> (e % 8) & 1;
    if (k->sign == VALUE) up = fmaf(d->y[e], d->scale[i], d->shift[i]) > 0.0f;
    if (k->sign == OUTPUT) up = d->y[e] > 0.0f;
    return tensor_rounded(k->dtype, up ? g : g * k->slope);
}

/* Partials joined in order: found [2][c]. */
static double *join(const reduce_data *d, const reduce_case *k)
{
    int64_t parts = cf_cuda_norm_parts(k->rows, k->c), n = 2 * k->c;
    double *all = tensor_bytes(d->partials, (size_t)(parts * n) * sizeof *all);
    for (int64_t p = 1; p < parts; p++)
        for (int64_t i = 0; i < n; i++) all[i] += all[p * n + i];
    return all;
}

/* Gradients are equal (each step is one rounding); their sums are fp32 within 32 rows, off by a few
 * 1e-7 of the sum of sizes. */
static void check_reduce(const reduce_case *k)
{
    reduce_data d;
    reduce_data_init(&d, k);
    assert_ok(cf_cuda_norm_reduce(NULL, &d.pass, d.partials));
    int64_t n = k->rows * k->c;
    float *masked = d.pass.masked == NULL ? NULL : tensor_load(k->dtype, d.pass.masked, n);
    double *sums = join(&d, k);
    for (int64_t i = 0; i < k->c; i++) {
        double first = 0.0, second = 0.0, size = 1e-12;
        for (int64_t e = i; e < n; e += k->c) {
            float g = expected_gradient(&d, k, e);
            if (masked != NULL) assert_near((double)masked[e], (double)g, 0.0, "masked", e);
            first += (double)g;
            second += (double)g * ((double)d.y[e] - (double)d.mean[i]);
            size += fabs((double)g) * 3.0;
        }
        assert_near(sums[i], first, 5e-7 * size, "first sum", i);
        if (k->with_mean) assert_near(sums[k->c + i], second, 5e-7 * size, "second sum", i);
    }
    free(masked);
    free(sums);
    reduce_data_fini(&d);
}

static void check_kinds(reduce_case k)
{
    for (int i = 0; i < 4 * N_SIGNS; i++) {
        k.sign = (sign_kind)(i % N_SIGNS);
        k.n_contributions = 1 + i / N_SIGNS;
        k.masked = (masked_kind)(i % 3);
        k.with_mean = i % 5 != 0 && k.sign != OUTPUT;
        k.slope = i % 2 == 0 ? 0.0f : 0.3f;
        check_reduce(&k);
    }
}

static void reduce_masks_and_sums_the_gradient(void **state)
{
    (void)state;
    for (int d = 0; d < 3; d++)
        for (size_t r = 0; r < sizeof all_rows / sizeof *all_rows; r++)
            for (size_t i = 0; i < sizeof all_c / sizeof *all_c; i++)
                if (all_rows[r] * all_c[i] <= 9600)
                    check_kinds(
                        (reduce_case){.dtype = dtypes[d], .rows = all_rows[r], .c = all_c[i]});
}

static void gradient_sums_are_the_same_bits_in_any_order_of_threads(void **state)
{
    (void)state;
    reduce_case k = {.dtype = CF_F16,
                     .rows = 3000,
                     .c = 24,
                     .sign = VALUE,
                     .n_contributions = 2,
                     .with_mean = true};
    size_t bytes = (size_t)(cf_cuda_norm_parts(k.rows, k.c) * 2 * k.c) * sizeof(double);
    assert_true(cf_cuda_norm_parts(k.rows, k.c) > 1);
    void *found[3];
    for (int i = 0; i < 3; i++) {
        reduce_data d;
        reduce_data_init(&d, &k);
        tensors_order(i);
        assert_ok(cf_cuda_norm_reduce(NULL, &d.pass, d.partials));
        found[i] = tensor_bytes(d.partials, bytes);
        assert_memory_equal(found[i], found[0], bytes);
        reduce_data_fini(&d);
    }
    for (int i = 0; i < 3; i++) free(found[i]);
}

/* ---- finish, gradient of y --------------------------------------------------------------------
 */

enum { PARTS = 37, C = 45, ROWS = 999 };

static void finish_joins_parts_into_factors(void **state)
{
    (void)state;
    tensors t = {.n = 0};
    size_t bytes = C * sizeof(float);
    float *raw = tensor_random(41, PARTS * 2 * C, -1.0f, 1.0f);
    double partials[PARTS * 2 * C], sums[2 * C] = {0};
    for (int i = 0; i < PARTS * 2 * C; i++) partials[i] = (double)raw[i];
    for (int i = 0; i < PARTS * 2 * C; i++) sums[i % (2 * C)] += partials[i];
    float *gamma = tensor_random(42, C, 0.5f, 2.0f), *mean = tensor_random(43, C, -1.0f, 1.0f);
    float *rstd = tensor_random(44, C, 0.5f, 2.0f);
    cf_cuda_norm n = {.mean = tensor_copy(&t, mean, bytes),
                      .rstd = tensor_copy(&t, rstd, bytes),
                      .a = tensor_room(&t, bytes),
                      .b = tensor_room(&t, bytes),
                      .d = tensor_room(&t, bytes)};
    float *d_dgamma = tensor_room(&t, bytes), *d_dbeta = tensor_room(&t, bytes);
    float *d_dbias = tensor_room(&t, bytes);
    const double *d_partials = tensor_copy(&t, partials, sizeof partials);
    assert_ok(cf_cuda_norm_reduce_finish(NULL, d_partials, PARTS, ROWS, C,
                                         tensor_copy(&t, gamma, bytes), &n, d_dgamma, d_dbeta));
    assert_ok(cf_cuda_bias_finish(NULL, d_partials, PARTS, C, d_dbias));
    float *a = tensor_load(CF_F32, n.a, C), *b = tensor_load(CF_F32, n.b, C);
    float *d = tensor_load(CF_F32, n.d, C), *dgamma = tensor_load(CF_F32, d_dgamma, C);
    float *dbeta = tensor_load(CF_F32, d_dbeta, C), *dbias = tensor_load(CF_F32, d_dbias, C);
    for (int i = 0; i < C; i++) { /* double inside, one rounding to fp32: 2^-24 of the value */
        double r = (double)rstd[i], ea = (double)gamma[i] * r;
        double eb = -ea * r * r * sums[C + i] / ROWS;
        double ed = -ea * sums[i] / ROWS - eb * (double)mean[i];
        assert_near((double)a[i], ea, 1e-7 * fabs(ea), "a", i);
        assert_near((double)b[i], eb, 1e-7 * fabs(eb), "b", i);
        assert_near((double)d[i], ed, 1e-7 * fabs(ed) + 1e-12, "d", i);
        assert_near((double)dgamma[i], sums[C + i] * r, 1e-7 * fabs(sums[C + i] * r), "dgamma", i);
        assert_near((double)dbeta[i], sums[i], 1e-7 * fabs(sums[i]), "dbeta", i);
        assert_near((double)dbias[i], sums[i], 1e-7 * fabs(sums[i]), "dbias", i);
    }
    float *const all[] = {raw, gamma, mean, rstd, a, b, d, dgamma, dbeta, dbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    tensors_fini(&t);
}

/* Two fused multiply-adds and one rounding: equal. */
static void check_backward(cf_dtype dtype, int64_t rows, int64_t c, bool in_place, bool factors)
{
    tensors t = {.n = 0};
    int64_t n = rows * c;
    size_t bytes = (size_t)c * sizeof(float);
    float *g = tensor_random(51, n, -1.0f, 1.0f), *y = tensor_random(52, n, -2.0f, 2.0f);
    float *a = tensor_random(53, c, -1.0f, 1.0f), *b = tensor_random(54, c, -1.0f, 1.0f);
    float *d = tensor_random(55, c, -1.0f, 1.0f);
    void *d_g = tensor_store(&t, dtype, g, n);
    cf_cuda_gradient from = {.g = d_g, .y = tensor_store(&t, dtype, y, n)};
    if (factors) {
        from.a = tensor_copy(&t, a, bytes);
        from.b = tensor_copy(&t, b, bytes);
        from.d = tensor_copy(&t, d, bytes);
    }
    void *gy = in_place ? d_g : tensor_room(&t, (size_t)n * cf_dtype_bytes(dtype));
    assert_ok(cf_cuda_norm_backward(NULL, dtype, rows, c, &from, gy));
    float *found = tensor_load(dtype, gy, n);
    for (int64_t e = 0; e < n; e++) {
        int64_t i = e % c;
        float expected = factors ? fmaf(a[i], g[e], fmaf(b[i], y[e], d[i])) : g[e];
        assert_near((double)found[e], (double)tensor_rounded(dtype, expected), 0.0, "gy", e);
    }
    float *const all[] = {g, y, a, b, d, found};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    tensors_fini(&t);
}

static void gradient_of_y_has_the_bits_of_its_formula(void **state)
{
    (void)state;
    for (int d = 0; d < 3; d++)
        for (size_t r = 0; r < sizeof all_rows / sizeof *all_rows; r++)
            for (size_t i = 0; i < sizeof all_c / sizeof *all_c; i++)
                check_backward(dtypes[d], all_rows[r], all_c[i], (r + i) % 2 == 0, true);
}

static void gradient_without_factors_passes_unchanged(void **state)
{
    (void)state;
    check_backward(CF_BF16, 7, 20, false, false);
    check_backward(CF_F32, 7, 20, true, false);
}

/* ---- beside the CPU backend -------------------------------------------------------------------
 */

enum { IMAGES = 3, PIXELS = 35, ALL = IMAGES * PIXELS };
static const float eps = 1e-5f;

/* A node's tensors as the CPU stores them, and what its passes gave. fp32: float; bf16: bits. */
typedef struct cpu_node {
    int64_t c;
    cf_dtype dtype;
    void *y, *residual, *g, *z, *gy; /* [ALL, c], host */
    float *channels[7];              /* of cf_norm_channels, [c] */
    float *gamma, *beta, *unbiased, *dgamma, *dbeta;
} cpu_node;

static void *room(size_t n)
{
    void *p = calloc(n, 1);
    assert_non_null(p);
    return p;
}

static void cpu_node_init(cpu_node *k, cf_dtype dtype, int64_t c)
{
    size_t bytes = (size_t)(ALL * c) * cf_dtype_bytes(dtype), channels = (size_t)c * sizeof(float);
    *k = (cpu_node){.c = c, .dtype = dtype, .z = room(bytes), .gy = room(bytes)};
    void **const tensor[] = {&k->y, &k->residual, &k->g};
    for (uint32_t i = 0; i < 3; i++) {
        float *values = tensor_random(61 + i, ALL * c, -1.0f, 2.0f);
        tensors t = {.n = 0};
        void *stored = tensor_store(&t, dtype, values, ALL * c);
        *tensor[i] = tensor_bytes(stored, bytes);
        tensors_fini(&t);
        free(values);
    }
    for (int i = 0; i < 7; i++) k->channels[i] = room(channels);
    k->gamma = tensor_random(64, c, 0.5f, 2.0f);
    k->beta = tensor_random(65, c, -1.0f, 1.0f);
    float **const out[] = {&k->unbiased, &k->dgamma, &k->dbeta};
    for (int i = 0; i < 3; i++) *out[i] = room(channels);
}

static void cpu_node_fini(cpu_node *k)
{
    void *const all[] = {k->y,     k->residual, k->g,        k->z,      k->gy,
                         k->gamma, k->beta,     k->unbiased, k->dgamma, k->dbeta};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    for (int i = 0; i < 7; i++) free(k->channels[i]);
}

static cf_norm_pass cpu_pass(const cpu_node *k, const cf_norm_channels *n, int image)
{
    size_t at = (size_t)(image * PIXELS * k->c) * cf_dtype_bytes(k->dtype);
    return (cf_norm_pass){.rows = PIXELS,
                          .c = k->c,
                          .dtype = k->dtype,
                          .act = CF_ACT_RELU,
                          .channels = n,
                          .y = (const char *)k->y + at,
                          .residual = (const char *)k->residual + at,
                          .z = (char *)k->z + at,
                          .contributions = {(const char *)k->g + at},
                          .n_contributions = 1,
                          .masked = (char *)k->gy + at,
                          .gy = (char *)k->gy + at};
}

static void cpu_node_run(cpu_node *k)
{
    float *const *f = k->channels;
    cf_norm_channels n = {f[0], f[1], f[2], f[3], f[4], f[5], f[6], NULL};
    double *memory = room((size_t)(IMAGES * 2 * k->c) * sizeof *memory);
    cf_norm_sums sums[IMAGES];
    cf_norm_pass passes[IMAGES];
    for (int i = 0; i < IMAGES; i++) {
        sums[i] = (cf_norm_sums){memory + 2 * i * k->c, memory + (2 * i + 1) * k->c};
        passes[i] = cpu_pass(k, &n, i);
        cf_norm_statistics(&passes[i], sums[i]);
    }
    cf_norm_finish(&n, sums, IMAGES, PIXELS, k->c, eps, k->gamma, k->beta, k->unbiased);
    for (int i = 0; i < IMAGES; i++) {
        cf_norm_apply(&passes[i]);
        cf_norm_reduce(&passes[i], sums[i]);
    }
    cf_norm_reduce_finish(&n, sums, IMAGES, PIXELS, k->c, k->gamma, k->dgamma, k->dbeta);
    for (int i = 0; i < IMAGES; i++) cf_norm_backward(&passes[i]);
    free(memory);
}

/* The same on the device; *out: z, gy, unbiased, dgamma, dbeta there. */
static void device_run(tensors *t, const cpu_node *k, const void *out[5])
{
    size_t bytes = (size_t)(ALL * k->c) * cf_dtype_bytes(k->dtype);
    size_t channels = (size_t)k->c * sizeof(float);
    const float *gamma = tensor_copy(t, k->gamma, channels);
    float *unbiased = tensor_room(t, channels), *dgamma = tensor_room(t, channels);
    float *dbeta = tensor_room(t, channels), *f[7];
    for (int i = 0; i < 7; i++) f[i] = tensor_room(t, channels);
    cf_cuda_norm n = {f[0], f[1], f[2], f[3], f[4], f[5], f[6]};
    cf_cuda_norm_pass p = {.rows = ALL, .c = k->c, .dtype = k->dtype, .n_contributions = 1};
    p.y = (cf_cuda_view){tensor_copy(t, k->y, bytes), n.scale, n.shift, CF_ACT_RELU, 0.0f, false};
    p.residual.x = tensor_copy(t, k->residual, bytes);
    p.z = tensor_room(t, bytes);
    p.mask = tensor_room(t, (size_t)(ALL * k->c + 7) / 8);
    p.contributions[0] = p.masked = tensor_copy(t, k->g, bytes);
    p.mean = n.mean;
    int64_t parts = cf_cuda_norm_parts(ALL, k->c);
    double *partials = tensor_room(t, (size_t)parts * 2 * channels * 2);
    assert_ok(cf_cuda_statistics(NULL, k->dtype, p.y.x, ALL, k->c, partials));
    assert_ok(cf_cuda_norm_finish(NULL, partials, parts, ALL, k->c, eps, gamma,
                                  tensor_copy(t, k->beta, channels), NULL, &n, NULL, unbiased));
    assert_ok(cf_cuda_norm_apply(NULL, &p));
    assert_ok(cf_cuda_norm_reduce(NULL, &p, partials));
    assert_ok(
        cf_cuda_norm_reduce_finish(NULL, partials, parts, ALL, k->c, gamma, &n, dgamma, dbeta));
    cf_cuda_gradient g = {p.masked, p.y.x, n.a, n.b, n.d};
    assert_ok(cf_cuda_norm_backward(NULL, k->dtype, ALL, k->c, &g, p.masked));
    const void *const results[] = {p.z, p.masked, unbiased, dgamma, dbeta};
    memcpy(out, results, sizeof results);
}

/* Both round the same values once: fp32 sums differ in the last digits, 16-bit results by a unit of
 * the last place (two halves) where they straddle a boundary. */
static void check_beside_cpu(cf_dtype dtype, int64_t c)
{
    cpu_node k;
    tensors t = {.n = 0};
    const void *found[5];
    cpu_node_init(&k, dtype, c);
    cpu_node_run(&k);
    device_run(&t, &k, found);
    const void *const expected[] = {k.z, k.gy, k.unbiased, k.dgamma, k.dbeta};
    static const char *const names[] = {"z", "gy", "variance", "dgamma", "dbeta"};
    for (int i = 0; i < 5; i++) {
        cf_dtype type = i < 2 ? dtype : CF_F32;
        int64_t n = i < 2 ? ALL * c : c;
        tensors host = {.n = 0};
        void *copy = tensor_copy(&host, expected[i], (size_t)n * cf_dtype_bytes(type));
        float *a = tensor_load(type, found[i], n), *b = tensor_load(type, copy, n);
        for (int64_t e = 0; e < n; e++) {
            double size = fabs((double)b[e]);
            double unit = type == CF_F32 ? 0.0 : 2.0 * tensor_unit(type);
            assert_near((double)a[e], (double)b[e], unit * size + 1e-5 * (1.0 + size), names[i], e);
        }
        free(a);
        free(b);
        tensors_fini(&host);
    }
    tensors_fini(&t);
    cpu_node_fini(&k);
}

static void whole_node_agrees_with_the_cpu(void **state)
{
    (void)state;
    static const int64_t c[] = {8, 20, 32, 64, 100};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        check_beside_cpu(CF_F32, c[i]);
        check_beside_cpu(CF_BF16, c[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reduce_masks_and_sums_the_gradient),
        cmocka_unit_test(gradient_sums_are_the_same_bits_in_any_order_of_threads),
        cmocka_unit_test(finish_joins_parts_into_factors),
        cmocka_unit_test(gradient_of_y_has_the_bits_of_its_formula),
        cmocka_unit_test(gradient_without_factors_passes_unchanged),
        cmocka_unit_test(whole_node_agrees_with_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
