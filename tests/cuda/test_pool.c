/* Pooling kernels on the host shim against loops, bit for bit where every step is one rounding. */
#include <math.h>

#include "tensors.h"

static const cf_dtype dtypes[] = {CF_F32, CF_BF16, CF_F16};

typedef struct pool_case {
    int64_t n, h, w, c;
    int kernel, stride, pad; /* of TensorFlow's SAME rule: -1 */
} pool_case;

static const pool_case shapes[] = {
    {1, 1, 1, 1, 1, 1, 0},    {2, 5, 7, 3, 3, 2, 1},   {2, 6, 9, 8, 3, 2, 1},
    {1, 8, 8, 20, 2, 2, 0},   {3, 7, 5, 32, 3, 1, 1},  {1, 4, 5, 100, 3, 2, -1},
    {1, 17, 16, 8, 15, 3, 7}, {2, 9, 9, 64, 3, 3, 0},  {1, 3, 4, 328, 2, 3, 0},
    {1, 7, 8, 5, 5, 4, -1},   {1, 3, 4, 301, 2, 1, 0},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef struct pool_data {
    tensors t;
    cf_cuda_pool pool;
    float *in, *scale, *shift, *g[CF_GRAPH_MAX_USES];
    uint8_t *winner; /* host, of the reference */
    float *out;
} pool_data;

static int64_t outputs_of(int64_t size, const pool_case *k)
{
    if (k->pad < 0) return (size + k->stride - 1) / k->stride;
    return (size + 2 * k->pad - k->kernel) / k->stride + 1;
}

static int pad_of(int64_t size, const pool_case *k)
{
    if (k->pad >= 0) return k->pad;
    int64_t all = (outputs_of(size, k) - 1) * k->stride + k->kernel - size;
    return all > 0 ? (int)(all / 2) : 0;
}

/* step: values are multiples of it, so that there are ties; 0: no two need be equal. */
static void pool_data_init(pool_data *d, const pool_case *k, cf_dtype dtype, bool view, float step,
                           int n_contributions)
{
    *d = (pool_data){.pool = {.n = k->n, .h = k->h, .w = k->w, .c = k->c}};
    cf_cuda_pool *p = &d->pool;
    p->p = outputs_of(k->h, k);
    p->q = outputs_of(k->w, k);
    p->pad_top = pad_of(k->h, k);
    p->pad_left = pad_of(k->w, k);
    p->kernel = k->kernel;
    p->stride = k->stride;
    p->dtype = dtype;
    p->n_contributions = n_contributions;
    int64_t n_in = k->n * k->h * k->w * k->c, n_out = k->n * p->p * p->q * k->c;
    size_t bytes = (size_t)k->c * sizeof(float), item = cf_dtype_bytes(dtype);
    d->in = tensor_random(1, n_in, -2.0f, 2.0f);
    for (int64_t i = 0; step > 0.0f && i < n_in; i++) d->in[i] = step * roundf(d->in[i] / step);
    d->scale = tensor_random(2, k->c, -1.5f, 1.5f);
    d->shift = tensor_random(3, k->c, -0.5f, 0.5f);
    p->in = (cf_cuda_view){.x = tensor_store(&d->t, dtype, d->in, n_in),
                           .act = view ? CF_ACT_RELU : CF_ACT_NONE};
    if (view) p->in.scale = tensor_copy(&d->t, d->scale, bytes);
    if (view) p->in.shift = tensor_copy(&d->t, d->shift, bytes);
    for (int m = 0; m < n_contributions; m++) {
        d->g[m] = tensor_random(4 + (uint32_t)m, n_out, -1.0f, 1.0f);
        p->contributions[m] = tensor_store(&d->t, dtype, d->g[m], n_out);
    }
    p->out = tensor_room(&d->t, (size_t)n_out * item);
    p->gin = tensor_room(&d->t, (size_t)n_in * item);
    p->winner = tensor_room(&d->t, (size_t)n_out);
    d->winner = malloc((size_t)n_out);
    d->out = malloc((size_t)n_out * sizeof(float));
    assert_true(d->winner != NULL && d->out != NULL);
}

static void pool_data_fini(pool_data *d)
{
    for (int m = 0; m < d->pool.n_contributions; m++) free(d->g[m]);
    void *const all[] = {d->in, d->scale, d->shift, d->winner, d->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    tensors_fini(&d->t);
}

/* Where element (r, s) of the window of output o lies in `in`, or -1. */
static int64_t under(const cf_cuda_pool *p, int64_t o, int64_t r, int64_t s)
{
    int64_t c = o % p->c, q = o / p->c % p->q, row = o / p->c / p->q % p->p;
    int64_t image = o / p->c / p->q / p->p;
    int64_t y = row * p->stride - p->pad_top + r, x = q * p->stride - p->pad_left + s;
    if (y < 0 || x < 0 || y >= p->h || x >= p->w) return -1;
    return ((image * p->h + y) * p->w + x) * p->c + c;
}

/* in[i] as it would have been stored behind the view. */
static float seen(const pool_data *d, int64_t i)
{
    int64_t c = i % d->pool.c;
    if (d->pool.in.scale == NULL) return d->in[i];
    float x = fmaf(d->in[i], d->scale[c], d->shift[c]);
    return tensor_rounded(d->pool.dtype, x > 0.0f ? x : 0.0f);
}

static void reference_max(pool_data *d)
{
    const cf_cuda_pool *p = &d->pool;
    for (int64_t o = 0; o < p->n * p->p * p->q * p->c; o++) {
        bool any = false;
        for (int rs = 0; rs < p->kernel * p->kernel; rs++) {
            int64_t i = under(p, o, rs / p->kernel, rs % p->kernel);
            if (i < 0 || (any && !(seen(d, i) > d->out[o]))) continue;
            any = true;
            d->out[o] = seen(d, i);
            d->winner[o] = (uint8_t)rs;
        }
        assert_true(any);
    }
}

static void check_max(const pool_case *k, cf_dtype dtype, bool view, float step)
{
    pool_data d;
    pool_data_init(&d, k, dtype, view, step, 1);
    reference_max(&d);
    assert_ok(cf_cuda_pool_max(NULL, &d.pool));
    int64_t n = k->n * d.pool.p * d.pool.q * k->c;
    float *out = tensor_load(dtype, d.pool.out, n);
    uint8_t *winner = tensor_bytes(d.pool.winner, (size_t)n);
    for (int64_t o = 0; o < n; o++) {
        assert_near((double)out[o], (double)d.out[o], 0.0, "out", o);
        assert_int_equal(winner[o], d.winner[o]);
    }
    free(out);
    free(winner);
    pool_data_fini(&d);
}

static void max_finds_the_largest_and_its_place(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * N_SHAPES; i++) check_max(&shapes[i / 3], dtypes[i % 3], false, 0.0f);
}

static void first_of_equals_wins(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * N_SHAPES; i++) check_max(&shapes[i / 3], dtypes[i % 3], false, 1.0f);
}

/* Compared as rounded for storage, so that the winner is the one of a stored tensor. */
static void max_sees_its_input_through_a_view(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * N_SHAPES; i++) check_max(&shapes[i / 3], dtypes[i % 3], true, 0.0f);
}

static void nan_wins_and_stays(void **state)
{
    (void)state;
    enum { SIDE = 3 };
    for (int at = 0; at < SIDE * SIDE; at++) {
        tensors t = {.n = 0};
        float in[SIDE * SIDE] = {1, 2, 3, 4, 9, 5, 6, 7, 8};
        in[at] = NAN;
        cf_cuda_pool p = {.n = 1, .h = 3, .w = 3, .c = 1, .p = 1, .q = 1, .kernel = 3, .stride = 1};
        p.in.x = tensor_copy(&t, in, sizeof in);
        p.out = tensor_room(&t, sizeof(float));
        p.winner = tensor_room(&t, 1);
        assert_ok(cf_cuda_pool_max(NULL, &p));
        float *out = tensor_load(CF_F32, p.out, 1);
        uint8_t *winner = tensor_bytes(p.winner, 1);
        assert_true(isnan(out[0]));
        assert_int_equal(*winner, at);
        free(out);
        free(winner);
        tensors_fini(&t);
    }
}

static void winners_are_left_out_where_nobody_asks(void **state)
{
    (void)state;
    pool_data d;
    pool_data_init(&d, &shapes[2], CF_BF16, false, 0.0f, 1);
    int64_t n = d.pool.n * d.pool.p * d.pool.q * d.pool.c;
    d.pool.winner = NULL;
    reference_max(&d);
    assert_ok(cf_cuda_pool_max(NULL, &d.pool));
    float *out = tensor_load(CF_BF16, d.pool.out, n);
    assert_memory_equal(out, d.out, (size_t)n * sizeof(float));
    free(out);
    pool_data_fini(&d);
}

static void large_windows_are_refused(void **state)
{
    (void)state;
    cf_cuda_pool p = {.n = 1, .h = 16, .w = 16, .c = 1, .p = 1, .q = 1, .kernel = 16, .stride = 1};
    assert_int_equal(cf_cuda_pool_max(NULL, &p), CF_E_DEVICE);
    assert_int_equal(cf_cuda_pool_max_backward(NULL, &p), CF_E_DEVICE);
}

/* Each output's gradient, the fp32 sum of its contributions, goes to its winner; an input adds what
 * it gets in the order of outputs: equal, not near. */
static void check_max_backward(const pool_case *k, cf_dtype dtype, int n_contributions)
{
    pool_data d;
    pool_data_init(&d, k, dtype, false, 0.5f, n_contributions);
    reference_max(&d);
    const cf_cuda_pool *p = &d.pool;
    int64_t n_in = k->n * k->h * k->w * k->c, n_out = k->n * p->p * p->q * k->c;
    assert_cuda(cudaMemcpy(p->winner, d.winner, (size_t)n_out, cudaMemcpyHostToDevice));
    assert_ok(cf_cuda_pool_max_backward(NULL, p));
    float *expected = calloc((size_t)n_in, sizeof *expected);
    assert_non_null(expected);
    for (int64_t o = 0; o < n_out; o++) {
        float g = d.g[0][o];
        for (int m = 1; m < n_contributions; m++) g += d.g[m][o];
        expected[under(p, o, d.winner[o] / p->kernel, d.winner[o] % p->kernel)] += g;
    }
    float *gin = tensor_load(dtype, p->gin, n_in);
    for (int64_t i = 0; i < n_in; i++)
        assert_near((double)gin[i], (double)tensor_rounded(dtype, expected[i]), 0.0, "gin", i);
    free(expected);
    free(gin);
    pool_data_fini(&d);
}

static void winners_get_the_gradient(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * N_SHAPES; i++)
        check_max_backward(&shapes[i / 3], dtypes[i % 3], 1 + i % CF_GRAPH_MAX_USES);
}

/* ---- mean -------------------------------------------------------------------------------------
 */

static const int64_t mean_shapes[][4] = {
    {1, 1, 1, 1},   {3, 8, 8, 64},  {1, 2, 3, 301},  {2, 5, 3, 3},
    {2, 7, 7, 328}, {1, 33, 31, 8}, {1, 16, 17, 20},
};
enum { N_MEANS = sizeof mean_shapes / sizeof *mean_shapes };

static void mean_data_init(pool_data *d, int i, cf_dtype dtype, bool view, int n_contributions)
{
    const int64_t *s = mean_shapes[i];
    pool_case k = {s[0], s[1], s[2], s[3], (int)(s[1] > s[2] ? s[1] : s[2]), 1, 0};
    k.pad = -1;
    k.stride = k.kernel; /* one output */
    pool_data_init(d, &k, dtype, view, 0.0f, n_contributions);
    assert_true(d->pool.p == 1 && d->pool.q == 1);
}

/* Summed in double, then rounded twice: to fp32 and to storage. */
static void check_mean(int i, cf_dtype dtype, bool view)
{
    pool_data d;
    mean_data_init(&d, i, dtype, view, 1);
    int64_t c = d.pool.c, pixels = d.pool.h * d.pool.w;
    assert_ok(cf_cuda_pool_mean(NULL, &d.pool));
    float *out = tensor_load(dtype, d.pool.out, d.pool.n * c);
    for (int64_t o = 0; o < d.pool.n * c; o++) {
        double sum = 0.0;
        for (int64_t k = 0; k < pixels; k++)
            sum += (double)seen(&d, (o / c * pixels + k) * c + o % c);
        sum /= (double)pixels;
        double limit = 1.01 * tensor_unit(dtype) * fabs(sum) + 1e-7;
        assert_near((double)out[o], sum, limit, "mean", o);
    }
    free(out);
    pool_data_fini(&d);
}

static void mean_is_that_of_all_pixels(void **state)
{
    (void)state;
    for (int i = 0; i < 6 * N_MEANS; i++) check_mean(i / 6, dtypes[i % 3], i % 2 == 1);
}

static void mean_shares_its_gradient_evenly(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * N_MEANS; i++) {
        pool_data d;
        int n_contributions = 1 + i % CF_GRAPH_MAX_USES;
        mean_data_init(&d, i / 3, dtypes[i % 3], false, n_contributions);
        int64_t c = d.pool.c, pixels = d.pool.h * d.pool.w, n = d.pool.n * pixels * c;
        assert_ok(cf_cuda_pool_mean_backward(NULL, &d.pool));
        float *gin = tensor_load(dtypes[i % 3], d.pool.gin, n);
        for (int64_t e = 0; e < n; e++) {
            int64_t o = e / c / pixels * c + e % c;
            float g = d.g[0][o];
            for (int m = 1; m < n_contributions; m++) g += d.g[m][o];
            float expected = tensor_rounded(dtypes[i % 3], g * (1.0f / (float)pixels));
            assert_near((double)gin[e], (double)expected, 0.0, "gin", e);
        }
        free(gin);
        pool_data_fini(&d);
    }
}

static void mean_has_the_same_bits_in_any_order_of_threads(void **state)
{
    (void)state;
    float *found[3];
    for (int i = 0; i < 3; i++) {
        pool_data d;
        mean_data_init(&d, 4, CF_F32, true, 1);
        tensors_order(i);
        assert_ok(cf_cuda_pool_mean(NULL, &d.pool));
        found[i] = tensor_load(CF_F32, d.pool.out, d.pool.c);
        assert_memory_equal(found[i], found[0], (size_t)d.pool.c * sizeof(float));
        pool_data_fini(&d);
    }
    for (int i = 0; i < 3; i++) free(found[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_finds_the_largest_and_its_place),
        cmocka_unit_test(first_of_equals_wins),
        cmocka_unit_test(max_sees_its_input_through_a_view),
        cmocka_unit_test(nan_wins_and_stays),
        cmocka_unit_test(winners_are_left_out_where_nobody_asks),
        cmocka_unit_test(large_windows_are_refused),
        cmocka_unit_test(winners_get_the_gradient),
        cmocka_unit_test(mean_is_that_of_all_pixels),
        cmocka_unit_test(mean_shares_its_gradient_evenly),
        cmocka_unit_test(mean_has_the_same_bits_in_any_order_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
