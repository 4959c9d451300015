#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/math/philox.h"
#include "worker/data/image.h"

static cf_image make(int height, int width, int (*value)(int y, int x, int c))
{
    cf_image image = {
        .height = height, .width = width, .pixels = malloc((size_t)height * (size_t)width * 3)};
    for (int i = 0; i < height * width * 3; i++)
        image.pixels[i] = (uint8_t)value(i / 3 / width, i / 3 % width, i % 3);
    return image;
}

static int pattern(int y, int x, int c)
{
    return (y * 37 + x * 53 + c * 91 + x * y * 7) % 256;
}
static int flat(int y, int x, int c)
{
    return y * 0 + x * 0 + 17 + c * 119;
}

/* The figures are those of PIL 9.4, Image.resize((width, height), Image.BILINEAR), of the same 5 x
 * 7 pattern. No tolerance: both are integer arithmetic. */
static void resize_equals_pil(void **state)
{
    (void)state;
    static const uint8_t smaller[] = {56,  147, 156, 144, 163, 107, 76,  126, 167, 106, 174, 86,
                                      122, 126, 127, 120, 173, 78,  125, 129, 82,  93,  141, 98,
                                      152, 140, 132, 152, 133, 132, 124, 152, 122, 116, 139, 148};
    static const uint8_t narrower[] = {45,  136, 173, 144, 175, 100, 71,  108, 199, 88,  179, 106,
                                       142, 127, 128, 90,  181, 70,  131, 168, 57,  94,  125, 126,
                                       163, 162, 89,  120, 101, 100, 92,  153, 78,  144, 125, 162,
                                       163, 144, 143, 135, 151, 136, 107, 144, 143};
    static const uint8_t larger_first_row[] = {0,   91,  182, 35,  126, 217, 77,  168, 145,
                                               118, 209, 44,  159, 250, 85,  200, 92,  126,
                                               99,  76,  167, 27,  118, 209, 62,  153, 244};
    static const uint8_t one[] = {116, 146, 116};
    cf_image in = make(5, 7, pattern), out;
    assert_int_equal(cf_image_resize(&in, 4, 3, &out), CF_OK);
    assert_memory_equal(out.pixels, smaller, sizeof smaller);
    cf_image_fini(&out);
    assert_int_equal(cf_image_resize(&in, 5, 3, &out), CF_OK);
    assert_memory_equal(out.pixels, narrower, sizeof narrower);
    cf_image_fini(&out);
    assert_int_equal(cf_image_resize(&in, 7, 9, &out), CF_OK);
    assert_memory_equal(out.pixels, larger_first_row, sizeof larger_first_row);
    cf_image_fini(&out);
    assert_int_equal(cf_image_resize(&in, 1, 1, &out), CF_OK);
    assert_memory_equal(out.pixels, one, sizeof one);
    cf_image_fini(&out);
    cf_image_fini(&in);
}

static void same_size_is_a_copy(void **state)
{
    (void)state;
    cf_image in = make(5, 7, pattern), out;
    assert_int_equal(cf_image_resize(&in, 5, 7, &out), CF_OK);
    assert_memory_equal(out.pixels, in.pixels, 5 * 7 * 3);
    assert_ptr_not_equal(out.pixels, in.pixels);
    cf_image_fini(&out);
    cf_image_fini(&in);
}

static void flat_color_stays_exactly(void **state)
{
    (void)state;
    static const int sides[][2] = {{1, 1}, {3, 200}, {64, 64}, {97, 31}, {250, 5}};
    cf_image in = make(50, 37, flat);
    for (int k = 0; k < 5; k++) {
        cf_image out;
        assert_int_equal(cf_image_resize(&in, sides[k][0], sides[k][1], &out), CF_OK);
        for (int i = 0; i < out.height * out.width * 3; i++)
            assert_int_equal(out.pixels[i], 17 + i % 3 * 119);
        cf_image_fini(&out);
    }
    cf_image_fini(&in);
}

/* Weight of input position i for output position o along one axis, by the definition. */
static double triangle(int i, int o, double scale)
{
    double support = scale > 1.0 ? scale : 1.0;
    double w = 1.0 - fabs((i + 0.5 - (o + 0.5) * scale) / support);
    return w > 0.0 ? w : 0.0;
}

/* Against the two-dimensional sum in doubles. Two roundings to 8 bits, each by at most a half, and
 * weights of 22 bits: at most one level apart. */
static void resize_follows_the_definition(void **state)
{
    (void)state;
    enum { IH = 40, IW = 56, OH = 13, OW = 21 };
    print_message("seed 7\n");
    cf_rng rng = cf_rng_at(7, 0, 0, 0, CF_PURPOSE_TEST);
    cf_image in = make(IH, IW, flat), out;
    for (int i = 0; i < IH * IW * 3; i++) in.pixels[i] = (uint8_t)cf_rng_below(&rng, 256);
    assert_int_equal(cf_image_resize(&in, OH, OW, &out), CF_OK);
    for (int o = 0; o < OH * OW * 3; o++) {
        int y = o / 3 / OW, x = o / 3 % OW, c = o % 3;
        double sum = 0.0, weight = 0.0;
        for (int i = 0; i < IH; i++)
            for (int j = 0; j < IW; j++) {
                double w = triangle(i, y, (double)IH / OH) * triangle(j, x, (double)IW / OW);
                sum += w * in.pixels[(i * IW + j) * 3 + c];
                weight += w;
            }
        assert_true(fabs(sum / weight - out.pixels[o]) <= 1.01);
    }
    cf_image_fini(&out);
    cf_image_fini(&in);
}

static int stripes(int y, int x, int c)
{
    return (y * 0 + x + c * 0) % 2 * 255;
}

/* Stripes of one pixel are finer than the smaller image can show: without widening the filter they
 * would come out as false, wide stripes (0 and 255). */
static void reduction_does_not_alias(void **state)
{
    (void)state;
    cf_image in = make(250, 250, stripes), out;
    assert_int_equal(cf_image_resize(&in, 64, 64, &out), CF_OK);
    for (int y = 0; y < 64; y++)
        for (int x = 1; x < 63; x++)
            assert_in_range(out.pixels[(y * 64 + x) * 3], 127 - 20, 128 + 20);
    cf_image_fini(&out);
    cf_image_fini(&in);
}

/* Index into n pixels mirrored at both ends, the slow way. */
static int mirrored(int k, int n)
{
    while (k < 0 || k >= n) k = k < 0 ? -k : 2 * (n - 1) - k;
    return k;
}

/* Rectangles inside, over every border and far outside. */
static void crop_is_mirrored_wherever_it_lies(void **state)
{
    (void)state;
    enum { H = 5, W = 7 };
    uint8_t pixels[H * W * 3];
    for (int i = 0; i < H * W * 3; i++) pixels[i] = (uint8_t)(i * 37); /* all different */
    const cf_image in = {.height = H, .width = W, .pixels = pixels};
    for (int side = 1; side <= 12; side++)
        for (int at = -30; at <= 30; at++) {
            cf_image out;
            assert_int_equal(cf_image_crop(&in, at, 3 - at, side, side, &out), CF_OK);
            for (int i = 0; i < side * side * 3; i++) {
                int x = mirrored(at + i / 3 % side, W), y = mirrored(3 - at + i / 3 / side, H);
                assert_int_equal(out.pixels[i], pixels[(y * W + x) * 3 + i % 3]);
            }
            cf_image_fini(&out);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resize_equals_pil),
        cmocka_unit_test(same_size_is_a_copy),
        cmocka_unit_test(flat_color_stays_exactly),
        cmocka_unit_test(resize_follows_the_definition),
        cmocka_unit_test(reduction_does_not_alias),
        cmocka_unit_test(crop_is_mirrored_wherever_it_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
