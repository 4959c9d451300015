#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "worker/models.h"

/* The configuration is 15 KB with its texts, so it lives on the heap. Owned by the caller. */
static cf_config *config_of(int network, int variant, int64_t outputs)
{
    cf_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    cf_config_defaults(config);
    config->model_network = network;
    config->model_variant = variant;
    config->model_outputs = outputs;
    return config;
}

static cf_graph *build(const cf_config *config, int64_t batch)
{
    cf_graph *g = NULL;
    assert_int_equal(cf_model_build(config, NULL, batch, &g), CF_OK);
    return g;
}

static void parameter_counts_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        int network, variant;
        int64_t outputs, count;
    } cases[] = {
        {CF_NETWORK_RESNEXT, CF_VARIANT_PAPER, 22, 23059094},
        {CF_NETWORK_RESNEXT, CF_VARIANT_PAPER, 16, 23046800},
        {CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, 22, 23024982},
        {CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, 1000, 25028904},
        {CF_NETWORK_SEQUENTIAL, CF_VARIANT_STANDARD, 22, 303694},
        {CF_NETWORK_SEQUENTIAL, CF_VARIANT_PAPER, 22, 303694},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cf_config *config = config_of(cases[i].network, cases[i].variant, cases[i].outputs);
        cf_graph *g = build(config, 1);
        assert_int_equal(g->n_weights, cases[i].count);
        assert_int_equal(g->n_outputs, cases[i].outputs);
        cf_graph_destroy(g);
        free(config);
    }
}

/* Scale and shift cost what batch norm's do; running moments there are none. */
static void group_norm_has_the_weights_of_batch_norm_and_no_state(void **state)
{
    (void)state;
    static const struct {
        int network, variant, norm;
        int64_t count, state;
    } cases[] = {
        {CF_NETWORK_RESNEXT, CF_VARIANT_PAPER, CF_NORM_WORD_GROUP, 23059094, 0},
        {CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, CF_NORM_WORD_GROUP, 23024982, 0},
        {CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, CF_NORM_WORD_BATCH, 23024982, 68224},
        /* 544 channels: gamma and beta for the bias, or beside it. */
        {CF_NETWORK_SEQUENTIAL, CF_VARIANT_STANDARD, CF_NORM_WORD_GROUP, 303694 + 544, 0},
        {CF_NETWORK_SEQUENTIAL, CF_VARIANT_STANDARD, CF_NORM_WORD_BATCH, 303694 + 544, 1088},
        {CF_NETWORK_SEQUENTIAL, CF_VARIANT_PAPER, CF_NORM_WORD_GROUP, 303694 + 1088, 0},
        {CF_NETWORK_SEQUENTIAL, CF_VARIANT_STANDARD, CF_NORM_WORD_NONE, 303694, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cf_config *config = config_of(cases[i].network, cases[i].variant, 22);
        config->model_norm = cases[i].norm;
        cf_graph *g = build(config, 1);
        assert_int_equal(g->n_weights, cases[i].count);
        assert_int_equal(g->n_state, cases[i].state);
        cf_graph_destroy(g);
        free(config);
    }
}

static void groups_of_a_norm_divide_its_channels(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_SEQUENTIAL, CF_VARIANT_STANDARD, 22);
    static const int expected[] = {8, 8, 16, 16, 32, 32, 32};
    config->model_norm = CF_NORM_WORD_GROUP;
    cf_graph *g = build(config, 1);
    for (int i = 0; i < 7; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "block%d.conv2", i + 1);
        const cf_conv *conv = &g->nodes[cf_graph_find(g, name)].conv;
        assert_int_equal(conv->norm, CF_NORM_GROUP);
        assert_int_equal(conv->norm_groups, expected[i]);
        assert_int_equal(conv->act, CF_ACT_RELU);
        assert_false(conv->bias);
    }
    cf_graph_destroy(g);
    config->model_norm_groups = 12;
    config->model_widths = (cf_int_list){{8, 18, 7}, 3};
    g = build(config, 1);
    assert_int_equal(g->nodes[cf_graph_find(g, "block1.conv1")].conv.norm_groups, 4);
    assert_int_equal(g->nodes[cf_graph_find(g, "block2.conv1")].conv.norm_groups, 6);
    assert_int_equal(g->nodes[cf_graph_find(g, "block3.conv1")].conv.norm_groups, 1);
    cf_graph_destroy(g);
    free(config);
}

static void resnext_without_a_norm_is_refused(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, 22);
    config->model_norm = CF_NORM_WORD_NONE;
    assert_int_equal(cf_config_validate(config), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "model.norm"));
    config->model_norm = CF_NORM_WORD_GROUP;
    assert_int_equal(cf_config_validate(config), CF_OK);
    config->model_norm = CF_NORM_WORD_NONE;
    config->model_network = CF_NETWORK_SEQUENTIAL;
    assert_int_equal(cf_config_validate(config), CF_OK);
    free(config);
}

static void final_map_is_8_by_8_in_both_variants(void **state)
{
    (void)state;
    for (int variant = CF_VARIANT_STANDARD; variant <= CF_VARIANT_PAPER; variant++) {
        cf_config *config = config_of(CF_NETWORK_RESNEXT, variant, 22);
        cf_graph *g = build(config, 4);
        const cf_node *last = &g->nodes[cf_graph_find(g, "stage4.2.conv3")];
        assert_int_equal(last->out_shape.n, 4);
        assert_int_equal(last->out_shape.h, 8);
        assert_int_equal(last->out_shape.w, 8);
        assert_int_equal(last->out_shape.c, 2048);
        cf_graph_destroy(g);
        free(config);
    }
}

/* 5.48 GMAC forward at 250 px, from the layer-by-layer account in the performance notes. */
static void resnext50_has_the_accounted_work(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, 22);
    cf_graph *g = build(config, 1);
    assert_in_range(cf_graph_macs(g) / 1000000, 5475, 5485);
    cf_graph_destroy(g);
    free(config);
}

static void variants_differ_as_published(void **state)
{
    (void)state;
    for (int variant = CF_VARIANT_STANDARD; variant <= CF_VARIANT_PAPER; variant++) {
        bool paper = variant == CF_VARIANT_PAPER;
        cf_config *config = config_of(CF_NETWORK_RESNEXT, variant, 22);
        cf_graph *g = build(config, 1);
        const cf_node *stem = &g->nodes[cf_graph_find(g, "stem")];
        const cf_node *strided = &g->nodes[cf_graph_find(g, "stage3.0.conv2")];
        const cf_node *down = &g->nodes[cf_graph_find(g, "stage2.0.down")];
        const cf_node *sum = &g->nodes[cf_graph_find(g, "stage2.1.conv3")];
        assert_int_equal(stem->pad_top, paper ? 2 : 3);
        assert_int_equal(stem->pad_bottom, 3);
        assert_int_equal(strided->conv.stride, 2);
        assert_int_equal(strided->conv.groups, 32);
        assert_int_equal(strided->pad_left, paper ? 0 : 1);
        assert_int_equal(down->bias >= 0, paper);
        assert_int_equal(down->conv.act, CF_ACT_NONE);
        assert_int_equal(down->conv.stride, 2);
        assert_int_equal(down->conv.norm, CF_NORM_BATCH);
        assert_int_equal(sum->conv.act, paper ? CF_ACT_LEAKY : CF_ACT_RELU);
        assert_int_equal(sum->residual, cf_graph_find(g, "stage2.0.conv3"));
        assert_true(stem->conv.norm_eps == (paper ? 1e-3f : 1e-5f));
        assert_true(stem->conv.norm_momentum == (paper ? 0.99f : 0.9f));
        cf_graph_destroy(g);
        free(config);
    }
}

static void small_stem_keeps_the_resolution(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, 7);
    config->model_image_size = 64;
    config->model_stem = CF_STEM_SMALL;
    config->model_stem_stride = 1;
    config->model_depths = (cf_int_list){{1, 2}, 2};
    cf_graph *g = build(config, 1);
    assert_int_equal(cf_graph_find(g, "stem.pool"), -1);
    assert_int_equal(g->nodes[cf_graph_find(g, "stem")].conv.kernel, 3);
    assert_int_equal(g->nodes[cf_graph_find(g, "stage1.0.conv3")].out_shape.h, 64);
    assert_int_equal(g->nodes[cf_graph_find(g, "stage2.1.conv3")].out_shape.h, 32);
    assert_int_equal(cf_graph_find(g, "stage3.0.conv1"), -1);
    cf_graph_destroy(g);
    free(config);
}

static void image_too_small_for_the_blocks_is_refused(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_SEQUENTIAL, CF_VARIANT_STANDARD, 22);
    cf_graph *g = NULL;
    config->model_image_size = 64; /* 64 -> 32 -> 16 -> 8 -> 4 -> 2 -> 1 -> nothing */
    assert_int_equal(cf_model_build(config, NULL, 1, &g), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "block7.pool"));
    assert_null(g);
    free(config);
}

static void widths_beyond_reason_are_refused(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, 22);
    cf_graph *g = NULL;
    config->model_image_size = 1024;
    config->model_depths.n = CF_LIST_MAX;
    for (int i = 0; i < CF_LIST_MAX; i++) config->model_depths.items[i] = 1;
    assert_int_equal(cf_model_build(config, NULL, 1, &g), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "model.depths"));
    free(config);
}

static void outputs_follow_the_scheme(void **state)
{
    (void)state;
    int class_of[3] = {0, 1, 1};
    cf_scheme scheme = {.name = "tiny", .n_classes = 2, .n_nodes = 3, .class_of = class_of};
    cf_config *config = config_of(CF_NETWORK_SEQUENTIAL, CF_VARIANT_STANDARD, 0);
    cf_graph *g = NULL;
    assert_int_equal(cf_model_build(config, &scheme, 1, &g), CF_OK);
    assert_int_equal(g->n_outputs, 3);
    assert_int_equal(g->n_classes, 2);
    assert_memory_equal(g->class_of, class_of, sizeof class_of);
    cf_graph_destroy(g);
    config->model_outputs = 4;
    assert_int_equal(cf_model_build(config, &scheme, 1, &g), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "scheme tiny has 3"));
    config->model_outputs = 0;
    assert_int_equal(cf_model_build(config, NULL, 1, &g), CF_E_USAGE);
    free(config);
}

/* ---- initial weights --------------------------------------------------------------------------
 */

typedef struct weights {
    cf_graph *g;
    float *weights, *state; /* owned */
} weights;

static weights initial(const cf_config *config, int fold)
{
    weights w = {.g = build(config, 1)};
    w.weights = malloc((size_t)w.g->n_weights * sizeof *w.weights);
    w.state = malloc((size_t)w.g->n_state * sizeof *w.state + 1);
    assert_non_null(w.weights);
    assert_non_null(w.state);
    cf_model_init(w.g, config, fold, w.weights, w.state);
    return w;
}

static void weights_free(weights *w)
{
    free(w->weights);
    free(w->state);
    cf_graph_destroy(w->g);
}

static const float *tensor(const weights *w, const char *name, int64_t *count)
{
    for (int i = 0; i < w->g->n_params; i++) {
        const cf_param *p = &w->g->params[i];
        if (strcmp(p->name, name) != 0) continue;
        *count = p->count;
        bool state = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
        return (state ? w->state : w->weights) + p->offset;
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

static void moments(const float *x, int64_t n, double *mean, double *sd, double *peak)
{
    double sum = 0.0, squares = 0.0;
    *peak = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
        *peak = fmax(*peak, fabs((double)x[i]));
    }
    *mean = sum / (double)n;
    *sd = sqrt(squares / (double)n - *mean * *mean);
}

/* Over 131,072 or more values the SD is known to 0.2 % (one sigma); 2 % can only be a wrong
 * formula. */
static void standard_filters_are_he_normal(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_RESNEXT, CF_VARIANT_STANDARD, 22);
    weights w = initial(config, 0);
    static const struct {
        const char *name;
        double fan_out;
    } cases[] = {{"stage4.0.conv1.weight", 1024},
                 {"stage4.1.conv2.weight", 1024 * 9},
                 {"stage2.0.down.weight", 512}};
    for (int i = 0; i < 3; i++) {
        int64_t n = 0;
        double mean, sd, peak, expected = sqrt(2.0 / cases[i].fan_out);
        const float *x = tensor(&w, cases[i].name, &n);
        moments(x, n, &mean, &sd, &peak);
        assert_true(fabs(sd / expected - 1.0) < 0.02);
        assert_true(fabs(mean) < 5.0 * expected / sqrt((double)n));
        assert_true(peak > 3.5 * expected); /* tails: not a uniform */
    }
    int64_t n = 0;
    double mean, sd, peak, limit = 1.0 / sqrt(2048.0);
    const float *dense = tensor(&w, "fc.weight", &n);
    moments(dense, n, &mean, &sd, &peak);
    /* 1e-6: the limit itself is rounded to float. */
    assert_true(peak <= limit * (1.0 + 1e-6) && peak > 0.99 * limit);
    weights_free(&w);
    free(config);
}

static void paper_filters_are_glorot_uniform_of_one_group(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_RESNEXT, CF_VARIANT_PAPER, 22);
    weights w = initial(config, 0);
    static const struct {
        const char *name;
        double fans;
    } cases[] = {{"stage4.0.conv1.weight", 1024 + 1024},
                 {"stage4.1.conv2.weight", 2 * 32 * 9},
                 {"fc.weight", 2048 + 22}};
    for (int i = 0; i < 3; i++) {
        int64_t n = 0;
        double mean, sd, peak, limit = sqrt(6.0 / cases[i].fans);
        const float *x = tensor(&w, cases[i].name, &n);
        moments(x, n, &mean, &sd, &peak);
        assert_true(peak <= limit * (1.0 + 1e-6) && peak > 0.99 * limit);
        assert_true(fabs(sd / (limit / sqrt(3.0)) - 1.0) < 0.02);
    }
    weights_free(&w);
    free(config);
}

static void norms_and_biases_start_neutral(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_RESNEXT, CF_VARIANT_PAPER, 22);
    weights w = initial(config, 3);
    static const struct {
        const char *name;
        float value;
    } cases[] = {{"stem.bias", 0.0f}, {"stem.gamma", 1.0f}, {"stem.beta", 0.0f},
                 {"stem.mean", 0.0f}, {"stem.var", 1.0f},   {"fc.bias", 0.0f}};
    for (int i = 0; i < 6; i++) {
        int64_t n = 0;
        const float *x = tensor(&w, cases[i].name, &n);
        for (int64_t k = 0; k < n; k++) assert_true(x[k] == cases[i].value);
    }
    weights_free(&w);
    free(config);
}

static void every_fold_and_seed_has_its_own_weights(void **state)
{
    (void)state;
    cf_config *config = config_of(CF_NETWORK_SEQUENTIAL, CF_VARIANT_STANDARD, 22);
    weights a = initial(config, 0), same = initial(config, 0), fold = initial(config, 1);
    config->train_seed = 2;
    weights seed = initial(config, 0);
    size_t bytes = (size_t)a.g->n_weights * sizeof(float);
    assert_memory_equal(a.weights, same.weights, bytes);
    int64_t n = 0;
    const float *x = tensor(&a, "block1.conv1.weight", &n);
    assert_memory_not_equal(x, tensor(&fold, "block1.conv1.weight", &n), (size_t)n * sizeof(float));
    assert_memory_not_equal(x, tensor(&seed, "block1.conv1.weight", &n), (size_t)n * sizeof(float));
    /* Two tensors of one shape differ as well: each has a stream of its own. */
    x = tensor(&a, "block1.conv2.weight", &n);
    assert_memory_not_equal(x, tensor(&a, "block2.conv1.weight", &n), (size_t)n * sizeof(float));
    weights_free(&a);
    weights_free(&same);
    weights_free(&fold);
    weights_free(&seed);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameter_counts_are_the_published_ones),
        cmocka_unit_test(group_norm_has_the_weights_of_batch_norm_and_no_state),
        cmocka_unit_test(groups_of_a_norm_divide_its_channels),
        cmocka_unit_test(resnext_without_a_norm_is_refused),
        cmocka_unit_test(final_map_is_8_by_8_in_both_variants),
        cmocka_unit_test(resnext50_has_the_accounted_work),
        cmocka_unit_test(variants_differ_as_published),
        cmocka_unit_test(small_stem_keeps_the_resolution),
        cmocka_unit_test(image_too_small_for_the_blocks_is_refused),
        cmocka_unit_test(widths_beyond_reason_are_refused),
        cmocka_unit_test(outputs_follow_the_scheme),
        cmocka_unit_test(standard_filters_are_he_normal),
        cmocka_unit_test(paper_filters_are_glorot_uniform_of_one_group),
        cmocka_unit_test(norms_and_biases_start_neutral),
        cmocka_unit_test(every_fold_and_seed_has_its_own_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
