/* Compiled programs as a whole: repeatable, same in training and inference, honest refusals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

/* Every kind of node; 6 images, so that chunks and threads do not divide evenly. */
static cf_graph *graph_with(int64_t n, cf_norm kind)
{
    cf_graph *g = graph_new(n, 17, 15, 3);
    cf_conv norm = {.k = 32, .kernel = 3, .norm = kind, .norm_groups = 8, .act = CF_ACT_RELU};
    int a = graph_conv(g, "stem", 0, -1, norm), pool = -1;
    cf_conv window = {.kernel = 3, .stride = 2, .pad = CF_PAD_SAME};
    OK(cf_graph_maxpool(g, "max", a, &window, &pool));
    cf_conv grouped = norm, side = norm;
    grouped.groups = 8;
    side.kernel = 1, side.act = CF_ACT_NONE;
    int b = graph_conv(g, "grouped", pool, -1, grouped);
    int c = graph_conv(g, "side", pool, -1, side);
    norm.kernel = 1, norm.bias = true;
    int d = graph_conv(g, "sum", b, c, norm);
    int e = graph_conv(g, "next", d, b, norm);
    graph_head(g, e, 7, 5, 0.1f);
    return g;
}

static cf_graph *whole_graph(int64_t n)
{
    return graph_with(n, CF_NORM_BATCH);
}

static void train_twice(cf_norm kind)
{
    cf_dtype dtypes[3];
    for (int t = 0, n = fixture_dtypes(dtypes); t < n; t++) {
        fixture f;
        fixture_init(&f, graph_with(6, kind), dtypes[t], CF_MODE_TRAIN, 2);
        size_t bytes = fixture_sums_bytes(&f);
        int64_t *first = malloc(bytes);
        assert_non_null(first);
        fixture_train(&f);
        memcpy(first, f.sums, bytes);
        for (int again = 0; again < 3; again++) {
            fixture_set_weights(&f, f.program);
            fixture_train(&f);
            assert_memory_equal(first, f.sums, bytes);
        }
        free(first);
        fixture_fini(&f);
    }
}

static void train_twice_gives_the_same_bits(void **state)
{
    (void)state;
    train_twice(CF_NORM_BATCH);
    train_twice(CF_NORM_GROUP);
}

/* fp32 sums over pixels are cut at images, so only the convolutions' own order can differ. */
static void any_number_of_threads_matches(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 8; threads += 3) {
        for (int kind = CF_NORM_BATCH; kind <= CF_NORM_GROUP; kind++) {
            fixture f;
            fixture_init(&f, graph_with(6, (cf_norm)kind), CF_F32, CF_MODE_TRAIN, threads);
            fixture_train(&f);
            fixture_compare(&f, 2e-5);
            fixture_fini(&f);
        }
    }
}

static void one_image_matches(void **state)
{
    (void)state;
    for (int kind = CF_NORM_BATCH; kind <= CF_NORM_GROUP; kind++) {
        fixture f;
        fixture_init(&f, graph_with(1, (cf_norm)kind), CF_F32, CF_MODE_TRAIN, 2);
        fixture_train(&f);
        fixture_compare(&f, 1e-4); /* variances of few values: small ones amplify rounding */
        fixture_fini(&f);
    }
}

static void check_inference(cf_norm kind)
{
    cf_dtype dtypes[3];
    for (int t = 0, n = fixture_dtypes(dtypes); t < n; t++) {
        fixture f;
        fixture_init(&f, graph_with(6, kind), dtypes[t], CF_MODE_INFER, 2);
        float logits[6 * 7], again[6 * 7];
        cf_batch batch = {.images = f.images};
        OK(f.ops->infer(f.program, &batch, logits));
        fixture_set_weights(&f, f.program);
        OK(f.ops->infer(f.program, &batch, again));
        assert_memory_equal(logits, again, sizeof logits);
        reference_run(&f.expected, f.weights, f.state, f.images, NULL);
        const double *expected = f.expected.z[cf_graph_find(f.g, "dense")];
        /* Logits are around 1; bf16 rounds seven layers' activations by 2^-9 each, fp16 by 2^-12.
         */
        double limit = dtypes[t] == CF_F32 ? 1e-4 : dtypes[t] == CF_BF16 ? 5e-2 : 5e-2 / 8.0;
        for (int i = 0; i < 6 * 7; i++)
            if (!(fabs((double)logits[i] - expected[i]) <= limit))
                fail_msg("logit %d is %.6g, expected %.6g", i, (double)logits[i], expected[i]);
        fixture_fini(&f);
    }
}

static void inference_matches(void **state)
{
    (void)state;
    check_inference(CF_NORM_BATCH);
    check_inference(CF_NORM_GROUP);
}

/* With group normalisation an image's logits are its own: in any company, in training's program and
 * in inference's. */
static void group_norm_looks_at_one_image_only(void **state)
{
    (void)state;
    fixture f, train;
    fixture_init(&f, graph_with(6, CF_NORM_GROUP), CF_F32, CF_MODE_INFER, 2);
    fixture_init(&train, graph_with(6, CF_NORM_GROUP), CF_F32, CF_MODE_TRAIN, 2);
    fixture_train(&train);
    float alone[6 * 7], together[6 * 7];
    size_t image = (size_t)(17 * 15 * 3);
    cf_batch batch = {.images = f.images};
    OK(f.ops->infer(f.program, &batch, together));
    for (size_t i = image; i < 6 * image; i++) f.images[i] = 3.0f - 2.0f * f.images[i];
    OK(f.ops->infer(f.program, &batch, alone));
    assert_memory_equal(alone, together, 7 * sizeof *alone);
    assert_memory_not_equal(alone + 7, together + 7, 7 * sizeof *alone);
    const double *expected = train.expected.z[cf_graph_find(train.g, "dense")];
    for (int i = 0; i < 6 * 7; i++) /* fp32 through seven layers of values around 1 */
        assert_true(fabs((double)together[i] - expected[i]) < 5e-5);
    fixture_fini(&train);
    fixture_fini(&f);
}

/* With the moments of the very batch as running moments, inference gives training's logits. The
 * running variance is the unbiased one, so it is scaled back. */
static void inference_is_training_with_given_moments(void **state)
{
    (void)state;
    fixture train, infer;
    fixture_init(&train, whole_graph(6), CF_F32, CF_MODE_TRAIN, 1);
    fixture_init(&infer, whole_graph(6), CF_F32, CF_MODE_INFER, 1);
    fixture_train(&train);
    for (int i = 0; i < train.g->n_params; i++) {
        const cf_param *p = &train.g->params[i];
        if (p->kind != CF_PARAM_MEAN && p->kind != CF_PARAM_VAR) continue;
        const cf_shape *s = &train.g->nodes[p->node].out_shape;
        double n = (double)(s->n * s->h * s->w),
               back = p->kind == CF_PARAM_VAR ? (n - 1.0) / n : 1.0;
        for (int64_t c = 0; c < p->count; c++)
            infer.state[p->offset + c] =
                (float)(back * fixture_sum(&train, train.g->n_weights + p->offset + c));
    }
    fixture_set_weights(&infer, infer.program);
    float logits[6 * 7];
    cf_batch batch = {.images = infer.images};
    OK(infer.ops->infer(infer.program, &batch, logits));
    const double *expected = train.expected.z[cf_graph_find(train.g, "dense")];
    for (int i = 0; i < 6 * 7; i++) /* fp32 through seven layers of values around 1 */
        assert_true(fabs((double)logits[i] - expected[i]) < 5e-5);
    fixture_fini(&train);
    fixture_fini(&infer);
}

/* Central difference of the backend's own loss along its gradient: what training relies on. */
static double loss_at(fixture *f, const float *direction, float step)
{
    size_t n = (size_t)f->g->n_weights;
    float *moved = malloc(n * sizeof *moved);
    assert_non_null(moved);
    for (size_t i = 0; i < n; i++) moved[i] = f->weights[i] + step * direction[i];
    OK(f->ops->copy_in(f->backend, f->b_weights, moved, n * sizeof *moved));
    OK(f->ops->set_weights(f->program, f->b_weights, f->b_state));
    free(moved);
    cf_batch batch = {.images = f->images, .labels = f->labels};
    memset(f->sums, 0, fixture_sums_bytes(f));
    OK(fixture_add(f, f->program, &batch, f->sums, sizeof(int64_t)));
    return fixture_sum(f, f->g->n_weights + f->g->n_state);
}

static void check_slope(cf_norm kind)
{
    fixture f;
    fixture_init(&f, graph_with(6, kind), CF_F32, CF_MODE_TRAIN, 2);
    fixture_train(&f);
    size_t n = (size_t)f.g->n_weights;
    float *direction = malloc(n * sizeof *direction);
    assert_non_null(direction);
    double square = 0.0;
    for (size_t i = 0; i < n; i++) square += pow(fixture_sum(&f, (int64_t)i), 2.0);
    for (size_t i = 0; i < n; i++)
        direction[i] = (float)(fixture_sum(&f, (int64_t)i) / sqrt(square));
    /* Steps of 2e-3: rounding of the loss (1e-7) gives 1e-4 of the slope (about 0.5), curvature and
     * kinks of the rectifier below 1 %. */
    float step = 2e-3f;
    double slope =
        (loss_at(&f, direction, step) - loss_at(&f, direction, -step)) / (2.0 * (double)step);
    if (!(fabs(slope - sqrt(square)) <= 0.02 * sqrt(square)))
        fail_msg("slope of the loss %.6g, norm of the gradient %.6g", slope, sqrt(square));
    free(direction);
    fixture_fini(&f);
}

static void loss_falls_as_the_gradient_says(void **state)
{
    (void)state;
    check_slope(CF_NORM_BATCH);
    check_slope(CF_NORM_GROUP);
}

static void peek_refuses_what_is_gone(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, whole_graph(6), CF_F32, CF_MODE_TRAIN, 1);
    int stem = cf_graph_find(f.g, "stem");
    size_t count = (size_t)cf_shape_elements(f.g->nodes[stem].out_shape);
    float *host = calloc(count, sizeof *host);
    assert_non_null(host);
    assert_int_equal(f.ops->peek(f.program, stem, CF_SLOT_Z, host), CF_E_USAGE);
    fixture_train(&f);
    assert_int_equal(f.ops->peek(f.program, 99, CF_SLOT_Z, host), CF_E_USAGE);
    OK(f.ops->peek(f.program, stem, CF_SLOT_Z, host)); /* its backward pass is the last */
    for (size_t i = 0; i < count; i++)
        assert_true(fabs((double)host[i] - f.expected.z[stem][i]) < 1e-4);
    /* The gradient became that of the convolution, in place; the logits' memory was given away. */
    assert_int_equal(f.ops->peek(f.program, stem, CF_SLOT_GIN, host), CF_E_USAGE);
    int dense = cf_graph_find(f.g, "dense");
    assert_int_equal(f.ops->peek(f.program, dense, CF_SLOT_Z, host), CF_E_USAGE);
    free(host);
    fixture_fini(&f);
}

static void wrong_use_is_refused(void **state)
{
    (void)state;
    fixture f;
    const cf_backend_ops *ops = NULL;
    fixture_init(&f, whole_graph(2), CF_F32, CF_MODE_TRAIN, 1);
    float logits[2 * 7];
    cf_batch batch = {.images = f.images, .labels = f.labels};
    assert_int_equal(f.ops->infer(f.program, &batch, logits), CF_E_UNEXPECTED);
    f.labels[1] = 5;
    assert_int_equal(f.ops->train(f.program, &batch, f.b_sums), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "label 5"));
    assert_int_equal(cf_backend_find("tpu", &ops), CF_E_DEVICE);
    assert_true(cf_backend_device_count(f.ops) >= 1);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(train_twice_gives_the_same_bits),
        cmocka_unit_test(any_number_of_threads_matches),
        cmocka_unit_test(one_image_matches),
        cmocka_unit_test(inference_matches),
        cmocka_unit_test(group_norm_looks_at_one_image_only),
        cmocka_unit_test(inference_is_training_with_given_moments),
        cmocka_unit_test(loss_falls_as_the_gradient_says),
        cmocka_unit_test(peek_refuses_what_is_gone),
        cmocka_unit_test(wrong_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
