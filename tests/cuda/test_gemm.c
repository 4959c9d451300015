/* Dense convolutions as implicit matrix products, on the host shim, against double-precision loops.
 * Results are poisoned before each run, so what is not written is found. */
#include "tensors.h"

#include "conv_reference.h"

enum {
    FORWARD = 1 << CF_CONV_FORWARD,
    DATA = 1 << CF_CONV_DATA,
    WEIGHTS = 1 << CF_CONV_WEIGHTS,
    ALL = FORWARD | DATA | WEIGHTS
};

static const cf_dtype dtypes[] = {CF_BF16, CF_F16};

/* The reference rounds operands as the kernel does, so what remains is, relative to the whole
 * result: half a unit of the stored type (twice for a leaky mask, which multiplies a rounded value
 * and rounds again), and fp32 sums, of which a device's tensor cores cut the last bits: 1e-5 for
 * the few thousand products here. Sums over pixels are of rounded values, of which a few in a
 * thousand fall to the other side; behind a leaky mask the negative ones are all rounded twice. */
static void check_one(const cf_geometry *g, cf_conv_pass pass, bool fused, cf_act act)
{
    double unit = tensor_unit(g->dtype), off_sums = 0.0;
    bool twice = pass == CF_CONV_DATA && fused && act == CF_ACT_LEAKY;
    double limit = 1e-5 + (pass == CF_CONV_WEIGHTS ? 0.0 : twice ? 2.0 * unit : unit);
    double limit_sums = twice ? unit : 1e-4;
    assert_true(cf_conv_gemm.supports(g, pass));
    double off = conv_check(&cf_conv_gemm, g, pass, fused, act, &off_sums);
    if (!(off <= limit && off_sums <= limit_sums))
        fail_msg("n %d h %d w %d c %d k %d kernel %d stride %d pad %d %d to %d x %d pass %d %s "
                 "fused %d act %d: off by %g (limit %g), sums by %g (limit %g)",
                 g->n, g->h, g->w, g->c, g->k, g->kernel, g->stride, g->pad_top, g->pad_left, g->p,
                 g->q, (int)pass, cf_dtype_name(g->dtype), fused, (int)act, off, limit, off_sums,
                 limit_sums);
}

static void check(const cf_geometry *shape, int passes, bool fused, cf_act act)
{
    for (int d = 0; d < 2; d++) {
        cf_geometry g = *shape;
        g.dtype = dtypes[d];
        for (int pass = 0; pass < 3; pass++)
            if (passes >> pass & 1) check_one(&g, (cf_conv_pass)pass, fused, act);
    }
}

/* Rows, columns and reductions that no tile divides, and some that one does. */
static const int shapes[][8] = {
    /* n, h, w, c, k, kernel, stride, pad */
    {1, 5, 7, 8, 8, 1, 1, 0},      {1, 9, 11, 64, 24, 1, 1, 0},  {2, 8, 8, 72, 136, 1, 1, 0},
    {1, 16, 16, 136, 64, 1, 1, 0}, {1, 1, 1, 24, 40, 1, 1, 0},   {1, 5, 7, 24, 40, 3, 1, 1},
    {2, 9, 11, 8, 136, 3, 1, 1},   {1, 9, 11, 72, 8, 3, 2, 1},   {1, 5, 7, 64, 24, 7, 2, 3},
    {1, 5, 7, 8, 8, 5, 1, 2},      {1, 9, 11, 24, 136, 1, 1, 0},
};
static const int images[][8] = {
    /* n, h, w, c, k, kernel, stride, pad */
    {1, 9, 11, 4, 24, 7, 2, 3},  {2, 5, 7, 4, 8, 3, 1, 1},   {1, 5, 7, 4, 40, 1, 1, 0},
    {1, 16, 15, 4, 72, 3, 2, 0}, {1, 9, 8, 4, 136, 7, 1, 3},
};

static cf_geometry geometry(const int s[8])
{
    return conv_geometry(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], 1, CF_BF16);
}

static void check_shapes(int passes, bool fused)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cf_geometry g = geometry(shapes[i]);
        check(&g, passes, fused, fused ? (cf_act)(i % 3) : CF_ACT_NONE);
    }
}

static void forward_agrees_with_loops(void **state)
{
    (void)state;
    check_shapes(FORWARD, false);
}

static void forward_applies_views_and_sums(void **state)
{
    (void)state;
    check_shapes(FORWARD, true);
}

static void data_gradient_agrees_with_loops(void **state)
{
    (void)state;
    check_shapes(DATA, false);
}

static void data_gradient_joins_norms_and_masks(void **state)
{
    (void)state;
    check_shapes(DATA, true);
}

static void weight_gradient_agrees_with_loops(void **state)
{
    (void)state;
    check_shapes(WEIGHTS, false);
}

static void weight_gradient_applies_both_prologues(void **state)
{
    (void)state;
    check_shapes(WEIGHTS, true);
}

static void images_of_four_channels_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        cf_geometry g = geometry(images[i]);
        check(&g, FORWARD | WEIGHTS, false, CF_ACT_NONE);
        check(&g, FORWARD | WEIGHTS, true, (cf_act)(i % 3));
    }
}

/* Strides larger than the filter leave pixels that nothing reached: their gradient is zero, also
 * where the image ends inside of a cell. */
static void pixels_between_strides_get_zeros(void **state)
{
    (void)state;
    for (int stride = 2; stride <= 3; stride++)
        for (int size = 7; size <= 10; size++) {
            cf_geometry g = conv_geometry(2, size, 9, 24, 40, 1, stride, 0, 1, CF_BF16);
            check(&g, ALL, false, CF_ACT_NONE);
            check(&g, ALL, true, (cf_act)(size % 3));
        }
}

/* Top and left from 0 to 2, with outputs that end inside, at and beyond the image's edge, as
 * TensorFlow's SAME and VALID rules have them. */
static void every_padding_agrees(void **state)
{
    (void)state;
    for (int i = 0; i < 27; i++) {
        int stride = 1 + i % 2, kernel = i % 5 == 4 ? 1 : 3;
        cf_geometry g = conv_geometry(1, 9, 12, 8, 24, kernel, stride, 1, 1, CF_BF16);
        g.pad_top = i % 3;
        g.pad_left = i / 3 % 3;
        int after = i / 9;
        g.p = (g.h + g.pad_top + after - kernel) / stride + 1;
        g.q = (g.w + g.pad_left + after - kernel) / stride + 1;
        check(&g, ALL, true, CF_ACT_RELU);
    }
}

/* Enough tiles that the large one is chosen, or the one of half its width. */
static void large_tiles_agree(void **state)
{
    (void)state;
    cf_geometry wide = conv_geometry(1, 57, 56, 8, 1016, 3, 1, 1, 1, CF_BF16);
    cf_geometry half = conv_geometry(1, 92, 92, 24, 184, 1, 1, 0, 1, CF_F16);
    check_one(&wide, CF_CONV_FORWARD, true, CF_ACT_RELU);
    check_one(&half, CF_CONV_FORWARD, true, CF_ACT_RELU);
    cf_geometry wide_data = conv_geometry(1, 57, 56, 1016, 72, 1, 1, 0, 1, CF_BF16);
    cf_geometry half_data = conv_geometry(1, 92, 92, 184, 72, 1, 1, 0, 1, CF_F16);
    check_one(&wide_data, CF_CONV_DATA, true, CF_ACT_RELU);
    check_one(&half_data, CF_CONV_DATA, true, CF_ACT_RELU);
}

/* With so many pixels a block computes two tiles, the last block one. */
static void blocks_of_several_tiles_agree(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(1, 520, 520, 8, 8, 1, 1, 0, 1, CF_BF16);
    assert_int_equal(cf_conv_gemm.parts(&g, CF_CONV_FORWARD), (520 * 520 / 128 + 1) / 2 + 1);
    check_one(&g, CF_CONV_FORWARD, true, CF_ACT_RELU);
    check_one(&g, CF_CONV_DATA, true, CF_ACT_RELU);
}

static void weight_gradient_joins_its_parts(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(3, 17, 13, 8, 72, 3, 1, 1, 1, CF_BF16);
    assert_true(cf_conv_gemm.parts(&g, CF_CONV_WEIGHTS) > 2);
    check(&g, WEIGHTS, true, CF_ACT_RELU);
}

/* Rows past a part's end multiply zeros: an infinity of the next part must not be among them. */
static void weight_gradient_parts_keep_to_their_pixels(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(1, 13, 15, 8, 8, 1, 1, 0, 1, CF_BF16);
    int64_t parts = cf_conv_gemm.parts(&g, CF_CONV_WEIGHTS), filter = cf_geometry_filter(&g);
    assert_true(parts > 1);
    conv_data d;
    conv_data_init(&d, &g, false, CF_ACT_NONE);
    d.x[conv_inputs(&g) - 1] = INFINITY;
    conv_device v;
    conv_device_init(&v, &g, CF_CONV_WEIGHTS, &d, parts, false);
    assert_ok(cf_conv_gemm.run(NULL, &v.call));
    float *out = tensor_load(CF_F32, v.call.gradient, parts * filter);
    for (int64_t i = 0; i < (parts - 1) * filter; i++) assert_true(isfinite(out[i]));
    int infinite = 0;
    for (int64_t i = (parts - 1) * filter; i < parts * filter; i++) infinite += isinf(out[i]) != 0;
    assert_true(infinite > 0);
    free(out);
    conv_device_fini(&v);
    conv_data_fini(&d);
}

static void same_bits_when_run_again(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(2, 13, 15, 72, 136, 3, 1, 1, 1, CF_F16);
    for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) {
        int64_t parts = cf_conv_gemm.parts(&g, (cf_conv_pass)pass);
        size_t bytes[2] = {(size_t)(pass == CF_CONV_FORWARD ? conv_outputs(&g) * 2
                                    : pass == CF_CONV_DATA  ? conv_inputs(&g) * 2
                                                            : parts * cf_geometry_filter(&g) * 4),
                           pass == CF_CONV_WEIGHTS
                               ? 0
                               : (size_t)(parts * 2 * (pass == CF_CONV_FORWARD ? g.k : g.c)) *
                                     sizeof(double)};
        conv_data d;
        void *found[2][2];
        conv_data_init(&d, &g, true, CF_ACT_LEAKY);
        for (int i = 0; i < 2; i++) {
            conv_device v;
            conv_device_init(&v, &g, (cf_conv_pass)pass, &d, parts, true);
            assert_ok(cf_conv_gemm.run(NULL, &v.call));
            const void *out = pass == CF_CONV_FORWARD ? v.call.y
                              : pass == CF_CONV_DATA  ? v.call.gin
                                                      : v.call.gradient;
            found[i][0] = tensor_bytes(out, bytes[0]);
            found[i][1] = bytes[1] > 0 ? tensor_bytes(v.call.partials, bytes[1]) : NULL;
            conv_device_fini(&v);
        }
        for (int i = 0; i < 2; i++) {
            if (bytes[i] > 0) assert_memory_equal(found[0][i], found[1][i], bytes[i]);
            free(found[0][i]);
            free(found[1][i]);
        }
        conv_data_fini(&d);
    }
}

static void what_it_cannot_do_is_said(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(1, 8, 8, 16, 16, 3, 1, 1, 1, CF_BF16), other = g;
    for (int pass = 0; pass < 3; pass++) {
        assert_true(cf_conv_gemm.supports(&g, (cf_conv_pass)pass));
        other = g, other.dtype = CF_F32;
        assert_false(cf_conv_gemm.supports(&other, (cf_conv_pass)pass));
        other = g, other.groups = 2;
        assert_false(cf_conv_gemm.supports(&other, (cf_conv_pass)pass));
        other = g, other.c = 12;
        assert_false(cf_conv_gemm.supports(&other, (cf_conv_pass)pass));
        other = g, other.k = 20;
        assert_false(cf_conv_gemm.supports(&other, (cf_conv_pass)pass));
        other = g, other.w = other.q = 40000;
        assert_false(cf_conv_gemm.supports(&other, (cf_conv_pass)pass));
        other = g, other.c = 4;
        assert_int_equal(cf_conv_gemm.supports(&other, (cf_conv_pass)pass), pass != CF_CONV_DATA);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_agrees_with_loops),
        cmocka_unit_test(forward_applies_views_and_sums),
        cmocka_unit_test(data_gradient_agrees_with_loops),
        cmocka_unit_test(data_gradient_joins_norms_and_masks),
        cmocka_unit_test(weight_gradient_agrees_with_loops),
        cmocka_unit_test(weight_gradient_applies_both_prologues),
        cmocka_unit_test(images_of_four_channels_agree),
        cmocka_unit_test(pixels_between_strides_get_zeros),
        cmocka_unit_test(every_padding_agrees),
        cmocka_unit_test(large_tiles_agree),
        cmocka_unit_test(blocks_of_several_tiles_agree),
        cmocka_unit_test(weight_gradient_joins_its_parts),
        cmocka_unit_test(weight_gradient_parts_keep_to_their_pixels),
        cmocka_unit_test(same_bits_when_run_again),
        cmocka_unit_test(what_it_cannot_do_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
