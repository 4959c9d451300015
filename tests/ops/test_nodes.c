/* Every node of a backend, forward and backward, against the double-precision reference. */
#include <stdio.h>

#include "fixture.h"

/* fp32: products and sums of some hundred terms of rounding 6e-8, amplified where a normalisation
 * divides; 2e-5 of a tensor's norm holds with a factor of ten to spare. bf16: the reference rounds
 * activations as the backend does, but not gradients, of which a handful, each rounded by 2^-9 at
 * most, stand between loss and filter. fp16 has three bits more: an eighth of it. */
static const double FP32 = 2e-5, BF16 = 3e-2, FP16 = 4e-3;

/* Behind several activations some signs differ from the reference's after all: one that flips near
 * zero changes its element's gradient by all of it. fp32 is the test of the logic there. An eighth
 * of the flips is a third of their norm. */
static const double BF16_DEEP = 1.5e-1, FP16_DEEP = 5e-2;

typedef enum depth { SHALLOW, DEEP } depth;

static double tolerance(cf_dtype dtype, depth d)
{
    if (dtype == CF_F32) return FP32;
    if (dtype == CF_BF16) return d == DEEP ? BF16_DEEP : BF16;
    return d == DEEP ? FP16_DEEP : FP16;
}

/* The convolution under test with the normalisation of `other`, for the nodes around it. */
static cf_conv like(const cf_conv *other, cf_conv conv)
{
    conv.norm = other->norm == CF_NORM_GROUP ? CF_NORM_GROUP : CF_NORM_BATCH;
    conv.norm_groups = other->norm_groups;
    conv.bias = other->norm == CF_NORM_GROUP && other->bias;
    return conv;
}

typedef cf_graph *(*build_fn)(const cf_conv *conv);

/* input -> conv -> the convolution under test -> head: the first filter's gradient needs the tested
 * node's gradient of its input. */
static cf_graph *plain_graph(const cf_conv *conv)
{
    cf_graph *g = graph_new(4, 11, 9, 3);
    int64_t c = conv->groups > 1 ? 48 : 20;
    int a = graph_conv(g, "first", 0, -1, (cf_conv){.k = c, .kernel = 3, .norm = CF_NORM_BATCH});
    int b = graph_conv(g, "tested", a, -1, *conv);
    graph_head(g, b, 5, 5, 0.0f);
    return g;
}

static void check_within(build_fn build, cf_conv conv, depth d)
{
    cf_dtype dtypes[3];
    for (int t = 0, n = fixture_dtypes(dtypes); t < n; t++) {
        fixture f;
        fixture_init(&f, build(&conv), dtypes[t], CF_MODE_TRAIN, 2);
        fixture_train(&f);
        fixture_compare(&f, tolerance(dtypes[t], d));
        fixture_fini(&f);
    }
}

static void check(build_fn build, cf_conv conv)
{
    check_within(build, conv, SHALLOW);
}

static void conv_1x1_matches(void **state)
{
    (void)state;
    check(plain_graph, (cf_conv){.k = 32, .kernel = 1});
    check(plain_graph, (cf_conv){.k = 17, .kernel = 1, .bias = true, .act = CF_ACT_RELU});
}

static void conv_1x1_stride_2_matches(void **state)
{
    (void)state;
    check(plain_graph, (cf_conv){.k = 32, .kernel = 1, .stride = 2, .norm = CF_NORM_BATCH});
}

static void conv_3x3_matches_with_every_padding(void **state)
{
    (void)state;
    for (int pad = CF_PAD_SYMMETRIC; pad <= CF_PAD_VALID; pad++)
        for (int stride = 1; stride <= 2; stride++)
            check(plain_graph, (cf_conv){.k = 24,
                                         .kernel = 3,
                                         .stride = stride,
                                         .pad = (cf_pad)pad,
                                         .bias = true,
                                         .act = CF_ACT_LEAKY,
                                         .slope = 0.3f});
}

/* 48 channels: 12 groups of 4 are slabs of 16 or 32, 3 of 16 are slabs or not, 16 of 3 become one
 * dense filter, 48 of 1 are depthwise. */
static void grouped_conv_matches(void **state)
{
    (void)state;
    static const int groups[] = {2, 3, 6, 12, 16, 48};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        check(plain_graph, (cf_conv){.k = 48,
                                     .kernel = 3,
                                     .stride = 1 + (int)i % 2,
                                     .groups = groups[i],
                                     .norm = CF_NORM_BATCH,
                                     .act = CF_ACT_RELU});
    check(plain_graph, (cf_conv){.k = 96, .kernel = 3, .groups = 12});
}

static cf_graph *stem_graph(const cf_conv *conv)
{
    cf_graph *g = graph_new(4, 21, 18, 3);
    graph_head(g, graph_conv(g, "stem", 0, -1, *conv), 5, 5, 0.0f);
    return g;
}

static void conv_7x7_of_images_matches(void **state)
{
    (void)state;
    check(stem_graph, (cf_conv){.k = 32,
                                .kernel = 7,
                                .stride = 2,
                                .pad = CF_PAD_SAME,
                                .norm = CF_NORM_BATCH,
                                .act = CF_ACT_RELU});
}

static void batch_norm_with_bias_and_leaky_matches(void **state)
{
    (void)state;
    check(plain_graph, (cf_conv){.k = 32,
                                 .kernel = 3,
                                 .bias = true,
                                 .norm = CF_NORM_BATCH,
                                 .norm_eps = 1e-3f,
                                 .act = CF_ACT_LEAKY,
                                 .slope = 0.3f});
    check(plain_graph, (cf_conv){.k = 21, .kernel = 1, .norm = CF_NORM_BATCH, .act = CF_ACT_RELU});
}

/* Two blocks, the first with a projection, the second with the identity: outputs with two readers,
 * a residual that its reader normalises, one that is an earlier output. */
static cf_graph *residual_graph(const cf_conv *conv)
{
    cf_graph *g = graph_new(4, 10, 10, 3);
    cf_conv norm = like(conv, (cf_conv){.k = 32, .kernel = 1, .act = conv->act});
    norm.slope = conv->slope;
    int x = graph_conv(g, "stem", 0, -1, norm);
    for (int block = 0; block < 2; block++) {
        char name[32];
        const char *prefix = block == 0 ? "a" : "b";
        cf_conv grouped = norm, last = norm, side = norm;
        grouped.kernel = 3, grouped.groups = 8, grouped.stride = block == 0 ? 2 : 1;
        last.k = side.k = 64;
        last.act = conv->act;
        side.stride = 2, side.act = CF_ACT_NONE;
        (void)snprintf(name, sizeof name, "%s1", prefix);
        int one = graph_conv(g, name, x, -1, norm);
        (void)snprintf(name, sizeof name, "%s2", prefix);
        int two = graph_conv(g, name, one, -1, grouped);
        int shortcut = x;
        if (block == 0) shortcut = graph_conv(g, "side", x, -1, side);
        (void)snprintf(name, sizeof name, "%s3", prefix);
        x = graph_conv(g, name, two, shortcut, last);
    }
    graph_head(g, x, 7, 5, 0.1f);
    return g;
}

static void residual_blocks_match(void **state)
{
    (void)state;
    check_within(residual_graph, (cf_conv){.act = CF_ACT_RELU}, DEEP);
    check_within(residual_graph, (cf_conv){.act = CF_ACT_LEAKY, .slope = 0.3f}, DEEP);
}

/* Residuals in unusual places: the input itself, without normalisation, a normalised one with
 * several readers, and one with four readers. */
static cf_graph *crossing_graph(const cf_conv *conv)
{
    cf_graph *g = graph_new(3, 7, 6, 16);
    cf_conv plain = {.k = 16, .kernel = 3, .act = conv->act, .slope = conv->slope, .bias = true};
    cf_conv norm = like(conv, (cf_conv){.k = 16, .kernel = 1, .act = conv->act});
    norm.slope = conv->slope;
    cf_conv quiet = like(conv, (cf_conv){.k = 16, .kernel = 1});
    int a = graph_conv(g, "a", 0, -1, norm);
    int b = graph_conv(g, "b", a, 0, norm);
    int c = graph_conv(g, "c", b, a, plain);
    int d = graph_conv(g, "d", c, -1, quiet);
    int e = graph_conv(g, "e", c, d, norm);
    int f = graph_conv(g, "f", e, d, plain);
    int h = graph_conv(g, "h", f, d, norm);
    graph_head(g, h, 5, 5, 0.0f);
    return g;
}

static void crossing_residuals_match(void **state)
{
    (void)state;
    check_within(crossing_graph, (cf_conv){.act = CF_ACT_RELU}, DEEP);
    check_within(crossing_graph, (cf_conv){.act = CF_ACT_NONE}, DEEP);
}

static cf_graph *pool_graph(const cf_conv *conv)
{
    cf_graph *g = graph_new(4, 13, 12, 3);
    cf_conv norm = like(conv, (cf_conv){.k = conv->k, .kernel = 3, .act = CF_ACT_RELU});
    int a = graph_conv(g, "first", 0, -1, norm), pool = -1;
    OK(cf_graph_maxpool(g, "max", a, conv, &pool));
    norm.kernel = 1;
    int b = graph_conv(g, "left", pool, -1, norm);
    int c = graph_conv(g, "right", pool, b, norm);
    graph_head(g, c, 5, 5, 0.0f);
    return g;
}

/* Ties are everywhere behind a rectifier: the first maximum takes the gradient. 20 and 40 channels:
 * less and more than one vector of 32. */
static void max_pool_matches(void **state)
{
    (void)state;
    for (int pad = CF_PAD_SYMMETRIC; pad <= CF_PAD_VALID; pad++) {
        for (int kernel = 2; kernel <= 3; kernel++) {
            check_within(
                pool_graph,
                (cf_conv){
                    .k = kernel == 2 ? 20 : 40, .kernel = kernel, .stride = 2, .pad = (cf_pad)pad},
                DEEP);
        }
    }
}

/* Activations of one image above the cache's share: images are worked on in slices of rows. Without
 * rectifiers in fp32: among 10^6 elements one lies so near zero that its sign differs from the
 * reference's, which alone is 2e-3 of the filter's gradient. */
static cf_graph *large_graph(const cf_conv *conv)
{
    cf_graph *g = graph_new(2, 36, 40, 3);
    cf_conv norm = like(conv, (cf_conv){.k = 32, .kernel = 7, .stride = 1, .act = conv->act});
    int a = graph_conv(g, "stem", 0, -1, norm);
    norm.kernel = 1;
    int b = graph_conv(g, "reduce", a, -1, norm);
    cf_conv grouped = norm, wide = norm, side = norm;
    grouped.kernel = 3, grouped.groups = 8;
    int c = graph_conv(g, "grouped", b, -1, grouped);
    wide.k = side.k = conv->k;
    side.act = CF_ACT_NONE;
    int d = graph_conv(g, "side", a, -1, side);
    int e = graph_conv(g, "wide", c, d, wide);
    int f = graph_conv(g, "narrow", e, -1, norm);
    graph_head(g, f, 5, 5, 0.0f);
    return g;
}

static void sliced_images_match(void **state)
{
    (void)state;
    cf_dtype dtypes[3];
    for (int t = 0, n = fixture_dtypes(dtypes); t < n; t++) {
        int most =
            t == 0 ? CF_NORM_GROUP : CF_NORM_BATCH; /* slices are joined alike in all types */
        for (int norm = CF_NORM_BATCH; norm <= most; norm++) {
            fixture f;
            cf_conv conv = {.k = 512, .norm = (cf_norm)norm, .norm_groups = 8};
            conv.act = t == 0 ? CF_ACT_NONE : CF_ACT_RELU;
            fixture_init(&f, large_graph(&conv), dtypes[t], CF_MODE_TRAIN, 2);
            fixture_train(&f);
            /* fp32: sums of thousands of pixels. */
            fixture_compare(&f, t == 0 ? 1e-4 : tolerance(dtypes[t], DEEP));
            fixture_fini(&f);
        }
    }
}

/* ---- group normalisation ----------------------------------------------------------------------
 */

/* One group, some, and one a channel; channels that are and are no multiple of a vector; a bias,
 * whose gradient is not zero here unless every channel is a group. */
static void group_norm_matches(void **state)
{
    (void)state;
    static const struct {
        int64_t k;
        int groups;
    } cases[] = {{32, 1}, {32, 4}, {32, 32}, {21, 3}, {21, 21}, {40, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cf_conv conv = {.k = cases[i].k,
                        .kernel = i % 2 ? 3 : 1,
                        .bias = i % 4 < 2,
                        .norm = CF_NORM_GROUP,
                        .norm_groups = cases[i].groups,
                        .act = i % 3 == 0 ? CF_ACT_LEAKY : CF_ACT_RELU,
                        .slope = i % 3 == 0 ? 0.3f : 0.0f};
        check(plain_graph, conv);
    }
}

static void group_norm_of_strided_and_grouped_convolutions_matches(void **state)
{
    (void)state;
    cf_conv conv = {.k = 48, .kernel = 3, .stride = 2, .groups = 12, .act = CF_ACT_RELU};
    conv.norm = CF_NORM_GROUP;
    conv.norm_groups = 6;
    check(plain_graph, conv);
    conv.kernel = 1, conv.groups = 1;
    check(plain_graph, conv);
    cf_conv stem = {.k = 32, .kernel = 7, .stride = 2, .pad = CF_PAD_SAME, .act = CF_ACT_RELU};
    stem.norm = CF_NORM_GROUP;
    stem.norm_groups = 16;
    check(stem_graph, stem);
}

static void group_normed_residual_blocks_match(void **state)
{
    (void)state;
    cf_conv conv = {.act = CF_ACT_RELU, .norm = CF_NORM_GROUP, .norm_groups = 8};
    check_within(crossing_graph, conv, DEEP);
    conv = (cf_conv){.act = CF_ACT_LEAKY, .slope = 0.3f, .norm = CF_NORM_GROUP, .norm_groups = 16};
    conv.bias = true;
    check_within(residual_graph, conv, DEEP);
}

static void group_norm_before_a_max_pool_matches(void **state)
{
    (void)state;
    cf_conv conv = {.k = 20, .kernel = 2, .stride = 2, .norm = CF_NORM_GROUP, .norm_groups = 4};
    check_within(pool_graph, conv, DEEP);
    conv.k = 40, conv.kernel = 3;
    check_within(pool_graph, conv, DEEP);
}

/* Batch norm folded into a group norm's sum, and the other way round. */
static cf_graph *mixed_graph(const cf_conv *conv)
{
    cf_graph *g = graph_new(3, 9, 8, 16);
    cf_conv group = {.k = 24, .kernel = 1, .norm = CF_NORM_GROUP, .norm_groups = 6, .bias = true};
    cf_conv batch = {.k = 24, .kernel = 3, .norm = CF_NORM_BATCH};
    cf_conv sum = group, other = batch;
    sum.act = other.act = conv->act;
    int a = graph_conv(g, "a", 0, -1, other);
    int side = graph_conv(g, "side", a, -1, batch);
    int b = graph_conv(g, "b", a, side, sum);
    int edge = graph_conv(g, "edge", b, -1, group);
    int c = graph_conv(g, "c", b, edge, other);
    graph_head(g, c, 5, 5, 0.0f);
    return g;
}

static void group_and_batch_norm_mix(void **state)
{
    (void)state;
    check_within(mixed_graph, (cf_conv){.act = CF_ACT_RELU}, DEEP);
}

static void merged_and_smoothed_loss_matches(void **state)
{
    (void)state;
    static const float smoothing[] = {0.0f, 0.1f, 0.5f};
    for (size_t i = 0; i < 3; i++) {
        cf_graph *g = graph_new(8, 4, 4, 16);
        graph_head(g, 0, 9, 4, smoothing[i]);
        fixture f;
        fixture_init(&f, g, CF_F32, CF_MODE_TRAIN, 1);
        fixture_train(&f);
        fixture_compare(&f, 1e-6); /* no convolution stands between */
        fixture_fini(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_1x1_matches),
        cmocka_unit_test(conv_1x1_stride_2_matches),
        cmocka_unit_test(conv_3x3_matches_with_every_padding),
        cmocka_unit_test(grouped_conv_matches),
        cmocka_unit_test(conv_7x7_of_images_matches),
        cmocka_unit_test(batch_norm_with_bias_and_leaky_matches),
        cmocka_unit_test(residual_blocks_match),
        cmocka_unit_test(crossing_residuals_match),
        cmocka_unit_test(max_pool_matches),
        cmocka_unit_test(sliced_images_match),
        cmocka_unit_test(group_norm_matches),
        cmocka_unit_test(group_norm_of_strided_and_grouped_convolutions_matches),
        cmocka_unit_test(group_normed_residual_blocks_match),
        cmocka_unit_test(group_norm_before_a_max_pool_matches),
        cmocka_unit_test(group_and_batch_norm_mix),
        cmocka_unit_test(merged_and_smoothed_loss_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
