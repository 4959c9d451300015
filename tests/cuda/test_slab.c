/* Grouped 3x3 convolutions as slabs of 32 channels, on the host shim, against double-precision
 * loops. Results are poisoned with NaN before each run, so what is not written is found. */
#include <math.h>

#include "tensors.h"

#include "conv_reference.h"

enum { FORWARD = 1 << CF_CONV_FORWARD, DATA = 1 << CF_CONV_DATA, WEIGHTS = 1 << CF_CONV_WEIGHTS };

static const cf_dtype dtypes[] = {CF_BF16, CF_F16};

/* The reference rounds operands as the kernel does, so what remains is, relative to the whole
 * result: half a unit of the stored type (twice for a leaky mask, which multiplies a rounded value
 * and rounds again), and fp32 sums of up to 3000 products, of which a device's tensor cores cut the
 * last bits: 1e-5 (1e-7 on the host). Sums over pixels are of rounded values, of which a few in ten
 * thousand fall to the other side; behind a leaky mask the negative ones are all rounded twice. */
static void check_one(const cf_geometry *g, cf_conv_pass pass, bool fused, cf_act act)
{
    double unit = tensor_unit(g->dtype), off_sums = 0.0;
    bool twice = pass == CF_CONV_DATA && act == CF_ACT_LEAKY;
    double limit = 1e-5 + (pass == CF_CONV_WEIGHTS ? 0.0 : twice ? 2.0 * unit : unit);
    double limit_sums = twice ? unit : 1e-4;
    assert_true(cf_conv_slab.supports(g, pass));
    double off = conv_check(&cf_conv_slab, g, pass, fused, act, &off_sums);
    if (!(off <= limit && off_sums <= limit_sums))
        fail_msg("n %d h %d w %d c %d groups %d stride %d pad %d %d to %d x %d pass %d %s fused %d "
                 "act %d: off by %g (limit %g), sums by %g (limit %g)",
                 g->n, g->h, g->w, g->c, g->groups, g->stride, g->pad_top, g->pad_left, g->p, g->q,
                 (int)pass, cf_dtype_name(g->dtype), fused, (int)act, off, limit, off_sums,
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

/* Sizes that tiles of 8x8 and 8x16 do not divide, and some that they do. */
static const int sizes[][4] = {
    /* n, h, w, c */
    {1, 7, 9, 32}, {5, 7, 9, 64}, {1, 13, 11, 96}, {2, 8, 8, 32}, {1, 9, 33, 32}, {1, 1, 1, 64},
};

static void check_sizes(int stride, int passes)
{
    for (int group = 1; group <= 32; group *= 2) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const int *s = sizes[i];
            cf_geometry g =
                conv_geometry(s[0], s[1], s[2], s[3], s[3], 3, stride, 1, s[3] / group, CF_BF16);
            check(&g, passes, true, (cf_act)(i % 3));
        }
    }
}

static void forward_agrees_for_every_group(void **state)
{
    (void)state;
    check_sizes(1, FORWARD);
}

static void forward_agrees_with_stride_two(void **state)
{
    (void)state;
    check_sizes(2, FORWARD);
}

static void data_gradient_agrees_for_every_group(void **state)
{
    (void)state;
    check_sizes(1, DATA);
}

static void data_gradient_agrees_with_stride_two(void **state)
{
    (void)state;
    check_sizes(2, DATA);
}

static void weight_gradient_agrees_for_every_group(void **state)
{
    (void)state;
    check_sizes(1, WEIGHTS);
}

static void weight_gradient_agrees_with_stride_two(void **state)
{
    (void)state;
    check_sizes(2, WEIGHTS);
}

static void raw_tensors_are_read_as_they_are(void **state)
{
    (void)state;
    for (int group = 4; group <= 32; group *= 2) {
        for (int stride = 1; stride <= 2; stride++) {
            cf_geometry g = conv_geometry(2, 10, 17, 32, 32, 3, stride, 1, 32 / group, CF_BF16);
            check(&g, FORWARD | DATA | WEIGHTS, false, CF_ACT_NONE);
        }
    }
}

/* Top and left from 0 to 2, with outputs that end inside, at and beyond the image's edge. */
static void every_padding_agrees(void **state)
{
    (void)state;
    for (int i = 0; i < 27; i++) {
        int stride = 1 + i % 2, group = 4 << i % 4;
        cf_geometry g = conv_geometry(1, 9, 12, 32, 32, 3, stride, 1, 32 / group, CF_BF16);
        g.pad_top = i % 3;
        g.pad_left = i / 3 % 3;
        int after = i / 9;
        g.p = (g.h + g.pad_top + after - 3) / stride + 1;
        g.q = (g.w + g.pad_left + after - 3) / stride + 1;
        check(&g, FORWARD | DATA | WEIGHTS, true, CF_ACT_RELU);
    }
}

/* More tiles than parts, and not a multiple: a block walks over several tiles, the next one under
 * way meanwhile. Images are of one tile, so that many channels leave few parts for many images. */
static void a_part_of_several_tiles_agrees(void **state)
{
    (void)state;
    static const int shapes[][4] = {
        /* height, width, group, stride */
        {5, 9, 8, 1},
        {7, 13, 16, 2},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *s = shapes[i];
        cf_geometry g =
            conv_geometry(9, s[0], s[1], 2048, 2048, 3, s[3], 1, 2048 / s[2], dtypes[i % 2]);
        for (int pass = 0; pass < 3; pass++) {
            int64_t parts = cf_conv_slab.parts(&g, (cf_conv_pass)pass);
            if (parts >= g.n) fail_msg("height %d pass %d: %d parts", s[0], pass, (int)parts);
            check_one(&g, (cf_conv_pass)pass, true, CF_ACT_RELU);
        }
    }
}

/* A call of its own: results to `out` [n] and, where wanted, sums to `sums` [2 c]. */
static void run_once(const cf_geometry *g, cf_conv_pass pass, bool with_sums, double *out,
                     double *sums)
{
    conv_data d;
    conv_device v;
    conv_data_init(&d, g, true, CF_ACT_RELU);
    conv_device_init(&v, g, pass, &d, cf_conv_slab.parts(g, pass), with_sums);
    assert_ok(cf_conv_slab.run(NULL, &v.call));
    conv_device_read(&v, out, with_sums ? sums : NULL, sums + g->c);
    conv_device_fini(&v);
    conv_data_fini(&d);
}

static void results_have_the_same_bits_in_any_order_and_without_sums(void **state)
{
    (void)state;
    cf_geometry g = conv_geometry(3, 9, 18, 64, 64, 3, 1, 1, 16, CF_BF16);
    int64_t n = conv_inputs(&g);
    double *out[4], *sums[4];
    for (int pass = 0; pass < 3; pass++) {
        for (int i = 0; i < 4; i++) {
            out[i] = calloc((size_t)n, sizeof **out);
            sums[i] = calloc((size_t)g.c * 2, sizeof **sums);
            assert_non_null(out[i]);
            assert_non_null(sums[i]);
            tensors_order(i % 3);
            run_once(&g, (cf_conv_pass)pass, i < 3 && pass != CF_CONV_WEIGHTS, out[i], sums[i]);
            assert_memory_equal(out[i], out[0], (size_t)n * sizeof **out);
            if (i < 3) assert_memory_equal(sums[i], sums[0], (size_t)g.c * 2 * sizeof **sums);
        }
        double size = 0.0;
        for (int64_t i = 0; i < n; i++) size += fabs(out[0][i]);
        assert_true(size > 1.0);
        for (int i = 0; i < 4; i++) {
            free(out[i]);
            free(sums[i]);
        }
    }
}

static void other_convolutions_are_refused(void **state)
{
    (void)state;
    const cf_geometry good = conv_geometry(2, 8, 8, 64, 64, 3, 1, 1, 8, CF_F16);
    assert_true(cf_conv_slab.supports(&good, CF_CONV_FORWARD));
    cf_geometry bad[7];
    for (int i = 0; i < 7; i++) bad[i] = good;
    bad[0].dtype = CF_F32;
    bad[1].kernel = 1;
    bad[2].stride = 3;
    bad[3].groups = 1;        /* 64 channels a group */
    bad[4].c = bad[4].k = 48; /* not a multiple of 32 */
    bad[5].k = 128;           /* more outputs than inputs */
    bad[6].c = bad[6].k = 96; /* 12 channels a group */
    for (int i = 0; i < 7; i++)
        for (int pass = 0; pass < 3; pass++)
            if (cf_conv_slab.supports(&bad[i], (cf_conv_pass)pass)) fail_msg("case %d", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_agrees_for_every_group),
        cmocka_unit_test(forward_agrees_with_stride_two),
        cmocka_unit_test(data_gradient_agrees_for_every_group),
        cmocka_unit_test(data_gradient_agrees_with_stride_two),
        cmocka_unit_test(weight_gradient_agrees_for_every_group),
        cmocka_unit_test(weight_gradient_agrees_with_stride_two),
        cmocka_unit_test(raw_tensors_are_read_as_they_are),
        cmocka_unit_test(every_padding_agrees),
        cmocka_unit_test(a_part_of_several_tiles_agrees),
        cmocka_unit_test(other_convolutions_are_refused),
        cmocka_unit_test(results_have_the_same_bits_in_any_order_and_without_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
