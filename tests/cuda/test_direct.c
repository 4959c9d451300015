/* The direct convolution on the host shim against double-precision loops. */
#include "tensors.h"

#include "conv_reference.h"

static const cf_dtype dtypes[] = {CF_F32, CF_BF16, CF_F16};

/* The relative error of a whole result (norms): fp32 sums of up to 300 terms stay below 1e-6; a
 * result stored in 16 bits is off by at most half a unit, which weights, in fp32, are not. */
static void check(const cf_geometry *shape, cf_conv_pass pass)
{
    for (int d = 0; d < 3; d++) {
        cf_geometry g = *shape;
        g.dtype = dtypes[d];
        bool stored = pass != CF_CONV_WEIGHTS && g.dtype != CF_F32;
        double sums = 0.0, limit = 1e-6 + (stored ? tensor_unit(g.dtype) : 0.0);
        assert_true(cf_conv_direct.supports(&g, pass));
        double off = conv_check(&cf_conv_direct, &g, pass, false, CF_ACT_NONE, &sums);
        if (!(off <= limit))
            fail_msg("n %d h %d w %d c %d k %d kernel %d stride %d groups %d pass %d %s: off by %g",
                     g.n, g.h, g.w, g.c, g.k, g.kernel, g.stride, g.groups, (int)pass,
                     cf_dtype_name(g.dtype), off);
    }
}

static const int shapes[][9] = {
    /* n, h, w, c, k, kernel, stride, pad, groups */
    {1, 1, 1, 1, 1, 1, 1, 0, 1},   {2, 5, 7, 3, 5, 3, 1, 1, 1},  {1, 9, 6, 4, 8, 7, 2, 3, 1},
    {3, 4, 4, 20, 70, 1, 1, 0, 1}, {2, 6, 5, 8, 8, 3, 2, 1, 8},  {1, 5, 5, 32, 32, 3, 1, 1, 8},
    {1, 7, 5, 6, 36, 3, 2, 1, 2},  {2, 8, 8, 66, 9, 2, 3, 0, 1}, {1, 6, 6, 40, 40, 5, 1, 2, 2},
};

static void check_all(cf_conv_pass pass)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *s = shapes[i];
        cf_geometry g = conv_geometry(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], CF_F32);
        check(&g, pass);
    }
}

static void forward_agrees_with_loops(void **state)
{
    (void)state;
    check_all(CF_CONV_FORWARD);
}

static void data_gradient_agrees_with_loops(void **state)
{
    (void)state;
    check_all(CF_CONV_DATA);
}

static void weight_gradient_agrees_with_loops(void **state)
{
    (void)state;
    check_all(CF_CONV_WEIGHTS);
}

/* TensorFlow's SAME rule: the odd pixel at the bottom and right. */
static void padding_may_differ_between_sides(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(2, 8, 6, 3, 4, 3, 2, 1, 1, CF_F32);
    g.pad_top = g.pad_left = 0;
    g.p = 4;
    g.q = 3;
    for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) check(&g, (cf_conv_pass)pass);
}

/* Enough pixels for several parts, the last one short. */
static void weight_gradient_joins_its_parts(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(3, 17, 13, 4, 8, 3, 1, 1, 1, CF_F32);
    assert_true(cf_conv_direct.parts(&g, CF_CONV_WEIGHTS) > 2);
    check(&g, CF_CONV_WEIGHTS);
}

static void same_bits_in_any_order_of_threads(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(2, 9, 9, 12, 20, 3, 1, 1, 1, CF_F32);
    for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) {
        int64_t parts = cf_conv_direct.parts(&g, (cf_conv_pass)pass);
        int64_t n = pass == CF_CONV_FORWARD ? conv_outputs(&g)
                    : pass == CF_CONV_DATA  ? conv_inputs(&g)
                                            : cf_geometry_filter(&g) * parts;
        conv_data d;
        float *results[3];
        conv_data_init(&d, &g, false, CF_ACT_NONE);
        for (int i = 0; i < 3; i++) {
            conv_device v;
            tensors_order(i);
            conv_device_init(&v, &g, (cf_conv_pass)pass, &d, parts, false);
            assert_ok(cf_conv_direct.run(NULL, &v.call));
            const void *from = pass == CF_CONV_FORWARD ? v.call.y
                               : pass == CF_CONV_DATA  ? v.call.gin
                                                       : v.call.gradient;
            results[i] = tensor_load(CF_F32, from, n);
            conv_device_fini(&v);
            assert_memory_equal(results[i], results[0], (size_t)n * sizeof(float));
        }
        for (int i = 0; i < 3; i++) free(results[i]);
        conv_data_fini(&d);
    }
}

static void fused_calls_are_refused(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(1, 4, 4, 8, 8, 3, 1, 1, 1, CF_F32);
    conv_data d;
    conv_device v;
    conv_data_init(&d, &g, true, CF_ACT_RELU);
    conv_device_init(&v, &g, CF_CONV_FORWARD, &d, 1, true);
    assert_int_equal(cf_conv_direct.run(NULL, &v.call), CF_E_DEVICE);
    conv_device_fini(&v);
    conv_data_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_agrees_with_loops),
        cmocka_unit_test(data_gradient_agrees_with_loops),
        cmocka_unit_test(weight_gradient_agrees_with_loops),
        cmocka_unit_test(padding_may_differ_between_sides),
        cmocka_unit_test(weight_gradient_joins_its_parts),
        cmocka_unit_test(same_bits_in_any_order_of_threads),
        cmocka_unit_test(fused_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
