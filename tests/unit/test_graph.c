#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/graph/graph.h"

static cf_conv window(int64_t k, int kernel, int stride, cf_pad pad)
{
    return (cf_conv){.k = k, .kernel = kernel, .stride = stride, .groups = 1, .pad = pad};
}

static cf_graph *graph_of(int64_t n, int64_t side, int64_t channels)
{
    cf_graph *g = NULL;
    int id = -1;
    assert_int_equal(cf_graph_create(&g), CF_OK);
    assert_int_equal(cf_graph_input(g, (cf_shape){n, side, side, channels}, &id), CF_OK);
    assert_int_equal(id, 0);
    return g;
}

/* in, kernel, stride, rule -> out, before, after; the SAME rows were read off TensorFlow's rule for
 * the paper's network at 250 px, the SYMMETRIC rows are the usual network's. */
static void windows_pad_as_their_rule_says(void **state)
{
    (void)state;
    static const struct {
        int in, kernel, stride;
        cf_pad pad;
        int out, before, after;
    } cases[] = {
        {250, 7, 2, CF_PAD_SAME, 125, 2, 3},      {125, 3, 2, CF_PAD_SAME, 63, 1, 1},
        {63, 3, 2, CF_PAD_SAME, 32, 1, 1},        {32, 3, 2, CF_PAD_SAME, 16, 0, 1},
        {16, 3, 2, CF_PAD_SAME, 8, 0, 1},         {8, 3, 1, CF_PAD_SAME, 8, 1, 1},
        {63, 1, 2, CF_PAD_SAME, 32, 0, 0},        {32, 1, 2, CF_PAD_SAME, 16, 0, 0},
        {1, 3, 1, CF_PAD_SAME, 1, 1, 1},          {5, 4, 1, CF_PAD_SAME, 5, 1, 2},
        {250, 7, 2, CF_PAD_SYMMETRIC, 125, 3, 3}, {125, 3, 2, CF_PAD_SYMMETRIC, 63, 1, 1},
        {32, 3, 2, CF_PAD_SYMMETRIC, 16, 1, 1},   {32, 1, 2, CF_PAD_SYMMETRIC, 16, 0, 0},
        {125, 2, 2, CF_PAD_VALID, 62, 0, 0},      {3, 2, 2, CF_PAD_VALID, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cf_graph *g = graph_of(1, cases[i].in, 3);
        cf_conv w = window(5, cases[i].kernel, cases[i].stride, cases[i].pad);
        int conv = 0, pool = 0;
        assert_int_equal(cf_graph_conv(g, "conv", 0, -1, &w, &conv), CF_OK);
        assert_int_equal(cf_graph_maxpool(g, "pool", 0, &w, &pool), CF_OK);
        for (int n = conv; n <= pool; n++) {
            const cf_node *node = &g->nodes[n];
            assert_int_equal(node->out_shape.h, cases[i].out);
            assert_int_equal(node->out_shape.w, cases[i].out);
            assert_int_equal(node->pad_top, cases[i].before);
            assert_int_equal(node->pad_left, cases[i].before);
            assert_int_equal(node->pad_bottom, cases[i].after);
            assert_int_equal(node->pad_right, cases[i].after);
        }
        assert_int_equal(g->nodes[conv].out_shape.c, 5);
        assert_int_equal(g->nodes[pool].out_shape.c, 3);
        cf_graph_destroy(g);
    }
}

static void parameters_are_named_counted_and_placed(void **state)
{
    (void)state;
    cf_graph *g = graph_of(2, 8, 8);
    cf_conv c = window(12, 3, 1, CF_PAD_SAME);
    c.groups = 4;
    c.bias = true;
    c.norm = CF_NORM_BATCH;
    c.norm_eps = 1e-5f;
    c.norm_momentum = 0.9f;
    int x = 0;
    assert_int_equal(cf_graph_conv(g, "a", x, -1, &c, &x), CF_OK);
    assert_int_equal(cf_graph_dense(g, "fc", x, 7, true, &x), CF_OK);
    static const struct {
        const char *name;
        int rank;
        int64_t count, offset;
    } expected[] = {{"a.weight", 4, 12 * 3 * 3 * 2, 0},
                    {"a.bias", 1, 12, 216},
                    {"a.gamma", 1, 12, 228},
                    {"a.beta", 1, 12, 240},
                    {"a.mean", 1, 12, 0},
                    {"a.var", 1, 12, 12},
                    {"fc.weight", 2, 7 * 768, 252},
                    {"fc.bias", 1, 7, 5628}};
    assert_int_equal(g->n_params, 8);
    for (int i = 0; i < 8; i++) {
        const cf_param *p = &g->params[i];
        assert_string_equal(p->name, expected[i].name);
        assert_int_equal(p->rank, expected[i].rank);
        assert_int_equal(p->count, expected[i].count);
        assert_int_equal(p->offset, expected[i].offset);
        assert_int_equal(p->node, i < 6 ? 1 : 2);
    }
    assert_int_equal(g->n_weights, 5635);
    assert_int_equal(g->n_state, 24);
    assert_int_equal(g->params[0].fan_in, 2 * 9); /* of one group */
    assert_int_equal(g->params[0].fan_out, 3 * 9);
    assert_int_equal(g->nodes[1].macs, 8 * 8 * 12 * 18);
    assert_int_equal(cf_graph_macs(g), 8 * 8 * 12 * 18 + 7 * 768);
    cf_graph_destroy(g);
}

static void readers_are_listed_in_node_order(void **state)
{
    (void)state;
    cf_graph *g = graph_of(1, 4, 4);
    cf_conv c = window(4, 1, 1, CF_PAD_SAME);
    int a = 0, b = 0, sum = 0, fc = 0;
    const int class_of[2] = {0, 1};
    assert_int_equal(cf_graph_conv(g, "a", 0, -1, &c, &a), CF_OK);
    assert_int_equal(cf_graph_conv(g, "b", a, -1, &c, &b), CF_OK);
    assert_int_equal(cf_graph_conv(g, "sum", b, a, &c, &sum), CF_OK);
    assert_int_equal(cf_graph_dense(g, "fc", sum, 2, true, &fc), CF_OK);
    assert_int_equal(cf_graph_loss(g, fc, class_of, 2, 0.0f), CF_OK);
    assert_int_equal(g->nodes[a].n_uses, 2);
    assert_int_equal(g->nodes[a].uses[0], b);
    assert_int_equal(g->nodes[a].uses[1], sum);
    assert_int_equal(g->nodes[sum].residual, a);
    assert_int_equal(cf_graph_find(g, "sum"), sum);
    assert_int_equal(cf_graph_find(g, "summ"), -1);
    assert_int_equal(cf_graph_find(g, "loss"), fc + 1);
    cf_graph_destroy(g);
}

static void assert_refused(cf_err err, const char *node, const char *why)
{
    assert_int_equal(err, CF_E_USAGE);
    char start[64];
    snprintf(start, sizeof start, "node %s: ", node);
    if (strncmp(cf_err_text(), start, strlen(start)) != 0 || !strstr(cf_err_text(), why)) {
        fail_msg("expected \"%s...%s...\", found \"%s\"", start, why, cf_err_text());
    }
}

static void bad_convolutions_are_refused_by_name(void **state)
{
    (void)state;
    cf_graph *g = graph_of(1, 8, 6);
    int id = 0;
    cf_conv good = window(6, 3, 1, CF_PAD_VALID), c = good;
    c.groups = 4;
    assert_refused(cf_graph_conv(g, "c1", 0, -1, &c, &id), "c1", "not divisible by 4");
    c = window(6, 9, 1, CF_PAD_VALID);
    assert_refused(cf_graph_conv(g, "c2", 0, -1, &c, &id), "c2",
                   "9 px does not fit its input of 8x8");
    c = window(6, 3, 0, CF_PAD_VALID);
    assert_refused(cf_graph_conv(g, "c3", 0, -1, &c, &id), "c3", "stride 0");
    c = window(0, 3, 1, CF_PAD_VALID);
    assert_refused(cf_graph_conv(g, "c4", 0, -1, &c, &id), "c4", "0 output channels");
    c = good;
    c.norm = CF_NORM_BATCH;
    assert_refused(cf_graph_conv(g, "c5", 0, -1, &c, &id), "c5", "eps 0");
    c.norm = CF_NORM_GROUP;
    c.norm_groups = 5;
    assert_refused(cf_graph_conv(g, "c6", 0, -1, &c, &id), "c6", "5 norm groups");
    c = good;
    c.act = CF_ACT_LEAKY;
    assert_refused(cf_graph_conv(g, "c7", 0, -1, &c, &id), "c7", "slope 0");
    c = window(INT64_MAX / 64, 3, 1, CF_PAD_VALID);
    assert_refused(cf_graph_conv(g, "c8", 0, -1, &c, &id), "c8", "too many");
    assert_int_equal(g->n_nodes, 1); /* nothing was left behind */
    assert_int_equal(g->n_params, 0);
    assert_int_equal(g->nodes[0].n_uses, 0);
    assert_int_equal(cf_graph_conv(g, "good", 0, -1, &good, &id), CF_OK);
    cf_graph_destroy(g);
}

static void bad_connections_are_refused_by_name(void **state)
{
    (void)state;
    cf_graph *g = graph_of(1, 8, 6);
    int a = 0, id = 0;
    cf_conv c = window(6, 3, 1, CF_PAD_VALID);
    char long_name[49];
    memset(long_name, 'n', 48);
    long_name[48] = '\0';
    assert_int_equal(cf_graph_conv(g, "a", 0, -1, &c, &a), CF_OK);
    assert_refused(cf_graph_conv(g, "a", 0, -1, &c, &id), "a", "used twice");
    assert_refused(cf_graph_conv(g, "b", 2, -1, &c, &id), "b", "reads node 2 of 2");
    assert_refused(cf_graph_conv(g, "b", a, 0, &c, &id), "b",
                   "residual input is 8x8x6, expected 4x4x6");
    assert_int_equal(cf_graph_conv(g, long_name, a, -1, &c, &id), CF_E_USAGE);
    assert_int_equal(cf_graph_conv(g, "", a, -1, &c, &id), CF_E_USAGE);
    cf_conv same = window(6, 3, 1, CF_PAD_SAME);
    assert_refused(cf_graph_conv(g, "b", a, a, &same, &id), "b", "the same node");
    assert_refused(cf_graph_input(g, (cf_shape){1, 8, 8, 3}, &id), "input", "first");
    for (int i = 0; i < CF_GRAPH_MAX_USES; i++) {
        const char *const names[] = {"r0", "r1", "r2", "r3"};
        assert_int_equal(cf_graph_conv(g, names[i], a, -1, &same, &id), CF_OK);
    }
    assert_refused(cf_graph_avgpool(g, "r4", a, &id), "r4", "a is read by 4 nodes");
    cf_graph_destroy(g);
}

static void bad_losses_are_refused(void **state)
{
    (void)state;
    cf_graph *g = graph_of(1, 8, 6);
    int wide = 0, fc = 0, id = 0;
    cf_conv c = window(6, 3, 1, CF_PAD_SAME);
    const int good[3] = {0, 1, 1}, outside[3] = {0, 1, 2}, gap[3] = {0, 0, 0};
    assert_int_equal(cf_graph_conv(g, "wide", 0, -1, &c, &wide), CF_OK);
    assert_refused(cf_graph_loss(g, wide, good, 2, 0.0f), "loss", "reads 8x8x6");
    assert_int_equal(cf_graph_dense(g, "fc", 0, 3, true, &fc), CF_OK);
    assert_refused(cf_graph_loss(g, fc, outside, 2, 0.0f), "loss", "output node 2 is of class 2");
    assert_refused(cf_graph_loss(g, fc, gap, 2, 0.0f), "loss", "class 1 has no output node");
    assert_refused(cf_graph_loss(g, fc, good, 4, 0.0f), "loss", "4 classes over 3");
    assert_refused(cf_graph_loss(g, fc, good, 2, 1.0f), "loss", "smoothing 1");
    assert_refused(cf_graph_loss(g, fc, good, 2, 0.0f), "wide", "nothing reads");
    cf_graph_destroy(g);
    g = graph_of(1, 8, 6);
    assert_int_equal(cf_graph_dense(g, "fc", 0, 3, true, &fc), CF_OK);
    assert_int_equal(cf_graph_loss(g, fc, good, 2, 0.1f), CF_OK);
    assert_int_equal(g->n_outputs, 3);
    assert_int_equal(g->n_classes, 2);
    assert_memory_equal(g->class_of, good, sizeof good);
    assert_refused(cf_graph_avgpool(g, "late", 0, &id), "late", "closed");
    cf_graph_destroy(g);
}

static void empty_input_is_refused(void **state)
{
    (void)state;
    cf_graph *g = NULL;
    int id = 0;
    assert_int_equal(cf_graph_create(&g), CF_OK);
    assert_refused(cf_graph_input(g, (cf_shape){0, 8, 8, 3}, &id), "input", "empty shape 0x8x8x3");
    assert_refused(cf_graph_input(g, (cf_shape){1 << 30, 1 << 30, 8, 3}, &id), "input", "too many");
    cf_memory_plan plan;
    assert_int_equal(cf_graph_plan(g, CF_MODE_TRAIN, CF_F32, &plan), CF_E_USAGE);
    cf_graph_destroy(g);
    cf_graph_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_pad_as_their_rule_says),
        cmocka_unit_test(parameters_are_named_counted_and_placed),
        cmocka_unit_test(readers_are_listed_in_node_order),
        cmocka_unit_test(bad_convolutions_are_refused_by_name),
        cmocka_unit_test(bad_connections_are_refused_by_name),
        cmocka_unit_test(bad_losses_are_refused),
        cmocka_unit_test(empty_input_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
