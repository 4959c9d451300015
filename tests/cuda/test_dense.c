/* Logits and their gradients against sums in double; the loss against the CPU's, bit for bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernels/cpu/dense.h"
#include "kernels/cuda/kernels.h"
#include "upload.h"

enum { SEED = 24 };

/* n, f, k: tiles of 4 x 4 with and without rests, features in fours and not, more than one block of
 * outputs (32) and of features (1024). */
static const int64_t shapes[][3] = {{1, 8, 1},   {5, 2048, 18}, {6, 27, 5},
                                    {3, 40, 70}, {2, 1100, 9},  {9, 1025, 4}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef struct numbers {
    int64_t n, f, k;
    cf_dtype dtype;
    void *x; /* as stored */
    float *weight, *bias, *glogits;
} numbers;

static float centred(cf_rng *rng)
{
    return cf_rng_uniform(rng) - 0.5f;
}

static numbers numbers_of(const int64_t shape[3], cf_dtype dtype)
{
    numbers m = {.n = shape[0], .f = shape[1], .k = shape[2], .dtype = dtype};
    cf_rng rng = cf_rng_at(SEED, 0, 0, (uint32_t)m.f, CF_PURPOSE_TEST);
    m.x = reserve((size_t)(m.n * m.f) * 4);
    m.weight = reserve((size_t)(m.k * m.f) * 4);
    m.bias = reserve((size_t)m.k * 4);
    m.glogits = reserve((size_t)(m.n * m.k) * 4);
    for (int64_t i = 0; i < m.n * m.f; i++) store_as(dtype, m.x, i, centred(&rng));
    for (int64_t i = 0; i < m.k * m.f; i++) m.weight[i] = centred(&rng);
    for (int64_t i = 0; i < m.k; i++) m.bias[i] = centred(&rng);
    for (int64_t i = 0; i < m.n * m.k; i++) m.glogits[i] = centred(&rng);
    return m;
}

static void numbers_fini(numbers *m)
{
    free(m->x);
    free(m->weight);
    free(m->bias);
    free(m->glogits);
}

/* sum over j of a[j] b[j], and of the products' magnitudes: what rounding errors grow with. */
typedef struct sum {
    double value, size;
} sum;

static void add_product(sum *s, double a, double b)
{
    s->value += a * b;
    s->size += fabs(a * b);
}

/* fp32 sums of products: 1e-6 of the sum of magnitudes. `half`: the unit of the type that the
 * result was rounded to, and the smallest step of fp16's denormals. */
static void expect(const char *what, int64_t i, double found, sum s, double half)
{
    double allowed = 1e-6 * s.size + half * (fabs(s.value) + 1e-6 * s.size) + half * 0x1p-14;
    if (!(fabs(found - s.value) <= allowed))
        fail_msg("%s[%d] is %.9g, expected %.9g +- %.2g", what, (int)i, found, s.value, allowed);
}

static double half_unit(cf_dtype dtype)
{
    return dtype == CF_F32 ? 0.0 : dtype == CF_BF16 ? 0x1p-8 : 0x1p-11;
}

static double x_at(const numbers *m, int64_t n, int64_t f)
{
    return (double)load_as(m->dtype, m->x, n * m->f + f);
}

static void check_logits(const numbers *m, const float *logits, bool with_bias)
{
    for (int64_t i = 0; i < m->n * m->k; i++) {
        sum s = {0};
        int64_t n = i / m->k, k = i % m->k;
        for (int64_t f = 0; f < m->f; f++)
            add_product(&s, x_at(m, n, f), (double)m->weight[k * m->f + f]);
        if (with_bias) add_product(&s, 1.0, (double)m->bias[k]);
        expect("logits", i, (double)logits[i], s, 0.0);
    }
}

static void check_weights(const numbers *m, const float *gweight)
{
    for (int64_t i = 0; i < m->k * m->f; i++) {
        sum s = {0};
        for (int64_t n = 0; n < m->n; n++)
            add_product(&s, (double)m->glogits[n * m->k + i / m->f], x_at(m, n, i % m->f));
        expect("gweight", i, (double)gweight[i], s, 0.0);
    }
}

static void check_bias(const numbers *m, const float *gbias)
{
    for (int64_t k = 0; k < m->k; k++) {
        sum s = {0};
        for (int64_t n = 0; n < m->n; n++) add_product(&s, 1.0, (double)m->glogits[n * m->k + k]);
        expect("gbias", k, (double)gbias[k], s, 0.0);
    }
}

static void check_features(const numbers *m, const void *gx)
{
    for (int64_t i = 0; i < m->n * m->f; i++) {
        sum s = {0};
        for (int64_t k = 0; k < m->k; k++)
            add_product(&s, (double)m->glogits[i / m->f * m->k + k],
                        (double)m->weight[k * m->f + i % m->f]);
        expect("gx", i, (double)load_as(m->dtype, gx, i), s, half_unit(m->dtype));
    }
}

/* Device memory of one case. Results have 16 bytes more, which must stay as they were. */
typedef struct device_numbers {
    cf_cuda_dense d;
    void *x, *weight, *bias, *glogits, *logits, *gx, *gweight, *gbias;
} device_numbers;

static device_numbers device_of(const numbers *m)
{
    size_t xs = (size_t)(m->n * m->f) * cf_dtype_bytes(m->dtype), ws = (size_t)(m->k * m->f) * 4;
    size_t zs = (size_t)(m->n * m->k) * 4, ks = (size_t)m->k * 4;
    device_numbers v = {.x = upload(m->x, xs),
                        .weight = upload(m->weight, ws),
                        .bias = upload(m->bias, ks),
                        .glogits = upload(m->glogits, zs),
                        .logits = upload(NULL, zs + 16),
                        .gx = upload(NULL, xs + 16),
                        .gweight = upload(NULL, ws + 16),
                        .gbias = upload(NULL, ks + 16)};
    v.d = (cf_cuda_dense){m->n,   m->f,     m->k,      m->dtype, v.x,       v.weight,
                          v.bias, v.logits, v.glogits, v.gx,     v.gweight, v.gbias};
    return v;
}

static void device_fini(device_numbers *v)
{
    void *const all[] = {v->x,      v->weight, v->bias,    v->glogits,
                         v->logits, v->gx,     v->gweight, v->gbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) CUDA_OK(cudaFree(all[i]));
}

/* A copy of a result on the host; what lies behind it is untouched. */
static void *fetch(const void *device, size_t bytes)
{
    unsigned char *p = reserve(bytes + 16), untouched[16];
    memset(untouched, 0xFF, sizeof untouched);
    download(p, device, bytes + 16);
    assert_memory_equal(p + bytes, untouched, sizeof untouched);
    return p;
}

static void logits_are_the_sums_of_products(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        for (int t = CF_F32; t <= CF_F16; t++) {
            numbers m = numbers_of(shapes[i], (cf_dtype)t);
            device_numbers v = device_of(&m);
            for (int with_bias = 0; with_bias < 2; with_bias++) {
                v.d.bias = with_bias ? v.bias : NULL;
                OK(cf_cuda_dense_forward(NULL, &v.d));
                float *logits = fetch(v.logits, (size_t)(m.n * m.k) * 4);
                check_logits(&m, logits, with_bias);
                free(logits);
            }
            device_fini(&v);
            numbers_fini(&m);
        }
}

static void gradients_are_the_sums_of_products(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        for (int t = CF_F32; t <= CF_F16; t++) {
            numbers m = numbers_of(shapes[i], (cf_dtype)t);
            device_numbers v = device_of(&m);
            OK(cf_cuda_dense_backward(NULL, &v.d));
            float *gweight = fetch(v.gweight, (size_t)(m.k * m.f) * 4);
            float *gbias = fetch(v.gbias, (size_t)m.k * 4);
            void *gx = fetch(v.gx, (size_t)(m.n * m.f) * cf_dtype_bytes(m.dtype));
            check_weights(&m, gweight);
            check_bias(&m, gbias);
            check_features(&m, gx);
            free(gweight);
            free(gbias);
            free(gx);
            device_fini(&v);
            numbers_fini(&m);
        }
}

static void gradients_not_wanted_are_left_out(void **state)
{
    (void)state;
    numbers m = numbers_of(shapes[1], CF_BF16);
    device_numbers v = device_of(&m);
    v.d.gx = NULL;
    v.d.gbias = NULL;
    OK(cf_cuda_dense_backward(NULL, &v.d));
    float *gweight = fetch(v.gweight, (size_t)(m.k * m.f) * 4);
    check_weights(&m, gweight);
    free(fetch(v.gx, 0)); /* as allocated */
    free(fetch(v.gbias, 0));
    free(gweight);
    device_fini(&v);
    numbers_fini(&m);
}

enum { ROWS = 300, OUTPUTS = 7, CLASSES = 5 };
static const int class_of[OUTPUTS] = {0, 1, 2, 3, 4, 1, 0};

/* A device's expf and logf are its own, good to two units of the last place; the host's are those
 * of the CPU backend, bit for bit. */
static bool same(float found, float expected)
{
#ifdef CF_HOST
    return found == expected;
#else
    return fabsf(found - expected) <= 1e-6f * (1.0f + fabsf(expected));
#endif
}

static void check_loss(int64_t n, float smoothing, float scale)
{
    cf_rng rng = cf_rng_at(SEED, 0, 0, (uint32_t)n, CF_PURPOSE_TEST);
    float logits[ROWS * OUTPUTS], expected[ROWS * OUTPUTS], shares[CLASSES], result[2];
    int labels[ROWS], classes[OUTPUTS];
    for (int64_t i = 0; i < n * OUTPUTS; i++) logits[i] = centred(&rng) * 12.0f;
    for (int64_t i = 0; i < n; i++) labels[i] = (int)cf_rng_below(&rng, CLASSES);
    memcpy(classes, class_of, sizeof classes);
    cf_graph g = {.n_outputs = OUTPUTS,
                  .n_classes = CLASSES,
                  .class_of = classes,
                  .label_smoothing = smoothing};
    double loss, correct;
    cf_dense_loss(&g, n, logits, labels, shares, expected, &loss, &correct);
    size_t bytes = (size_t)(n * OUTPUTS) * 4;
    void *z = upload(logits, bytes), *l = upload(labels, (size_t)n * sizeof *labels);
    void *c = upload(class_of, sizeof class_of), *s = upload(&scale, sizeof scale);
    void *scratch = upload(NULL, (size_t)(n * (CLASSES + 2)) * 4);
    void *grad = upload(NULL, bytes + 16), *out = upload(NULL, sizeof result);
    OK(cf_cuda_loss(NULL, n, OUTPUTS, CLASSES, c, l, smoothing, z, s, scratch, grad, out));
    float *found = fetch(grad, bytes);
    download(result, out, sizeof result);
    for (int64_t i = 0; i < n * OUTPUTS; i++)
        if (!same(found[i], expected[i] * scale)) /* a power of two: exact */
            fail_msg("glogits[%d] is %a, expected %a", (int)i, (double)found[i],
                     (double)(expected[i] * scale));
    assert_true(same(result[0], (float)loss) && result[1] == (float)correct);
    free(found);
    void *const all[] = {z, l, c, s, scratch, grad, out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) CUDA_OK(cudaFree(all[i]));
}

/* More rows than a block has threads, fewer than a warp, one. */
static void loss_is_that_of_the_cpu(void **state)
{
    (void)state;
    check_loss(1, 0.0f, 1.0f);
    check_loss(9, 0.1f, 1024.0f);
    check_loss(ROWS, 0.1f, 1.0f);
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_sums_of_products),
        cmocka_unit_test(gradients_are_the_sums_of_products),
        cmocka_unit_test(gradients_not_wanted_are_left_out),
        cmocka_unit_test(loss_is_that_of_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
