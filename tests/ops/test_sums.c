/* The step's sum: exact, independent of order, and watched. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static cf_graph *small_graph(void)
{
    cf_graph *g = graph_new(4, 8, 8, 3);
    cf_conv norm = {.k = 16, .kernel = 3, .norm = CF_NORM_BATCH, .act = CF_ACT_RELU};
    int a = graph_conv(g, "one", 0, -1, norm);
    norm.bias = true;
    int b = graph_conv(g, "two", a, -1, norm);
    graph_head(g, b, 5, 5, 0.0f);
    return g;
}

/* Micro-batch m: the fixture's images moved along by m images' worth of values. */
static void train_micro(fixture *f, int m, void *sums)
{
    int64_t n = cf_shape_elements(f->g->nodes[0].out_shape);
    float *images = malloc((size_t)n * sizeof *images);
    int labels[4];
    assert_non_null(images);
    for (int64_t i = 0; i < n; i++) images[i] = f->images[(i + m * 37) % n];
    for (int i = 0; i < 4; i++) labels[i] = (f->labels[i] + m) % 5;
    cf_batch batch = {.images = images, .labels = labels};
    OK(fixture_add(f, f->program, &batch, sums, sizeof(int64_t)));
    free(images);
}

static void sums_do_not_depend_on_order(void **state)
{
    (void)state;
    cf_dtype dtypes[3];
    for (int t = 0, n = fixture_dtypes(dtypes); t < n; t++) {
        fixture f;
        fixture_init(&f, small_graph(), dtypes[t], CF_MODE_TRAIN, 2);
        size_t bytes = fixture_sums_bytes(&f);
        int64_t *forward = calloc(1, bytes), *backward = calloc(1, bytes);
        assert_non_null(forward);
        assert_non_null(backward);
        for (int m = 0; m < 5; m++) train_micro(&f, m, forward);
        for (int m = 4; m >= 0; m--) train_micro(&f, m, backward);
        assert_memory_equal(forward, backward, bytes);
        free(forward);
        free(backward);
        fixture_fini(&f);
    }
}

/* Two sums of one micro-batch each, added by the caller as ranks do, are the sum of both. */
static void sums_of_ranks_add_up(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, small_graph(), CF_BF16, CF_MODE_TRAIN, 1);
    size_t n = (size_t)cf_sums_count(f.g) + 1;
    int64_t *both = calloc(n, sizeof *both), *one = calloc(n, sizeof *one);
    int64_t *two = calloc(n, sizeof *two);
    train_micro(&f, 0, both);
    train_micro(&f, 1, both);
    train_micro(&f, 0, one);
    train_micro(&f, 1, two);
    for (size_t i = 0; i < n; i++) assert_int_equal(both[i], one[i] + two[i]);
    free(both);
    free(one);
    free(two);
    fixture_fini(&f);
}

/* A bias under batch normalisation: gradient exactly zero, but the mean's sum has the bias. */
static void bias_under_norm_is_in_the_mean_only(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 1);
    fixture_train(&f);
    int node = cf_graph_find(f.g, "two");
    const cf_param *bias = &f.g->params[f.g->nodes[node].bias];
    const cf_param *mean = &f.g->params[f.g->nodes[node].mean];
    for (int64_t i = 0; i < bias->count; i++) {
        assert_true(fixture_sum(&f, bias->offset + i) == 0.0);
        double found = fixture_sum(&f, f.g->n_weights + mean->offset + i);
        /* fp32 mean of 256 values around 1 */
        assert_true(fabs(found - f.expected.moments[mean->offset + i]) < 1e-5);
    }
    fixture_fini(&f);
}

static void expect_numeric(fixture *f, const char *name)
{
    cf_batch batch = {.images = f->images, .labels = f->labels};
    memset(f->sums, 0, fixture_sums_bytes(f));
    assert_int_equal(fixture_add(f, f->program, &batch, f->sums, sizeof(int64_t)), CF_E_NUMERIC);
    if (strstr(cf_err_text(), name) == NULL)
        fail_msg("message \"%s\" does not name %s", cf_err_text(), name);
}

static void nan_in_an_image_is_named(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, small_graph(), CF_BF16, CF_MODE_TRAIN, 1);
    f.images[100] = NAN;
    expect_numeric(&f, "one.mean");
    fixture_fini(&f);
}

static void infinite_weight_is_named(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 2);
    int two = cf_graph_find(f.g, "two");
    f.weights[f.g->params[f.g->nodes[two].weight].offset + 7] = INFINITY;
    fixture_set_weights(&f, f.program);
    expect_numeric(&f, "two.mean");
    fixture_fini(&f);
}

static void nan_in_the_dense_layer_is_in_the_loss(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 1);
    int dense = cf_graph_find(f.g, "dense");
    f.weights[f.g->params[f.g->nodes[dense].weight].offset] = NAN;
    fixture_set_weights(&f, f.program);
    expect_numeric(&f, "loss");
    fixture_fini(&f);
}

/* Logits 4e4 apart. */
static void certain_and_wrong_has_a_finite_loss(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 1);
    int dense = cf_graph_find(f.g, "dense");
    const cf_param *bias = &f.g->params[f.g->nodes[dense].bias];
    for (int i = 0; i < 4; i++) f.labels[i] = 1;
    f.weights[bias->offset] = 2e4f;
    f.weights[bias->offset + 1] = -2e4f;
    fixture_set_weights(&f, f.program);
    cf_batch batch = {.images = f.images, .labels = f.labels};
    cf_err err = fixture_add(&f, f.program, &batch, f.sums, sizeof(int64_t));
    /* The share of the label's class underflows to 1e-30: a large, but finite and allowed loss. */
    assert_int_equal(err, CF_OK);
    int64_t tail = f.g->n_weights + f.g->n_state;
    assert_true(fixture_sum(&f, tail) > 60.0 && fixture_sum(&f, tail) < 100.0);
    fixture_fini(&f);
}

static void gradient_over_the_limit_is_named(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 1);
    /* A dense layer of 1e6 makes gradients of its input, and so of beta, as large. */
    int dense = cf_graph_find(f.g, "dense");
    const cf_param *w = &f.g->params[f.g->nodes[dense].weight];
    for (int64_t i = 0; i < w->count; i++)
        f.weights[w->offset + i] = i < w->count / 5 ? 1e6f : -1e6f;
    for (int i = 0; i < 4; i++) f.labels[i] = 2;
    fixture_set_weights(&f, f.program);
    expect_numeric(&f, "gradient of two."); /* gamma or beta: one pass gives both */
    fixture_fini(&f);
}

static void fast_sums_are_close_to_exact_ones(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 1);
    cf_compile_options o = {.mode = CF_MODE_TRAIN, .dtype = CF_F32, .reduce = CF_REDUCE_FAST};
    cf_program *fast = NULL;
    OK(f.ops->compile(f.backend, f.g, &f.plan, &o, &fast));
    fixture_set_weights(&f, fast);
    fixture_train(&f);
    size_t n = (size_t)cf_sums_count(f.g);
    float *sums = calloc(n + 1, sizeof *sums);
    assert_non_null(sums);
    cf_batch batch = {.images = f.images, .labels = f.labels};
    OK(fixture_add(&f, fast, &batch, sums, sizeof *sums));
    /* Gradients are the same floats; the fixed point of moments rounds to 2^-33. */
    for (size_t i = 0; i < n; i++)
        assert_true(fabs((double)sums[i] - fixture_sum(&f, (int64_t)i)) <= 2e-10);
    free(sums);
    f.ops->release(fast);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_do_not_depend_on_order),
        cmocka_unit_test(sums_of_ranks_add_up),
        cmocka_unit_test(bias_under_norm_is_in_the_mean_only),
        cmocka_unit_test(nan_in_an_image_is_named),
        cmocka_unit_test(infinite_weight_is_named),
        cmocka_unit_test(nan_in_the_dense_layer_is_in_the_loss),
        cmocka_unit_test(certain_and_wrong_has_a_finite_loss),
        cmocka_unit_test(gradient_over_the_limit_is_named),
        cmocka_unit_test(fast_sums_are_close_to_exact_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
