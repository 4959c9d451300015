#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/math/half.h"

/* Clang before 15 defines the limits of _Float16 without having the type here. */
#if defined(__FLT16_MAX__) && (!defined(__clang__) || __clang_major__ >= 15)
#define HAVE_FLOAT16 1
#else
#define HAVE_FLOAT16 0
#endif

typedef struct format {
    const char *name;
    uint16_t (*from)(float);
    float (*to)(uint16_t);
    int exponent_bits, fraction_bits;
} format;

static uint16_t bf16_from(float x)
{
    return cf_bf16_from_float(x);
}
static float bf16_to(uint16_t b)
{
    return cf_bf16_to_float(b);
}
static uint16_t f16_from(float x)
{
    return cf_f16_from_float(x);
}
static float f16_to(uint16_t h)
{
    return cf_f16_to_float(h);
}
static const format formats[2] = {{"bf16", bf16_from, bf16_to, 8, 7},
                                  {"fp16", f16_from, f16_to, 5, 10}};

static uint32_t infinity_of(const format *f)
{
    return 0x7FFFu & ~((1u << f->fraction_bits) - 1u);
}

/* IEEE 754-2008, 3.4: the value of a bit pattern, exact in double. */
static double value_of(const format *f, uint32_t bits)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1, hidden = 1 << f->fraction_bits;
    int exponent = (int)(bits >> f->fraction_bits) & ((1 << f->exponent_bits) - 1);
    int fraction = (int)bits & (hidden - 1);
    double x = exponent == 0 ? ldexp(fraction, 1 - bias - f->fraction_bits)
                             : ldexp(hidden + fraction, exponent - bias - f->fraction_bits);
    return bits & 0x8000u ? -x : x;
}

static void every_pattern_has_its_value_and_comes_back(void **state)
{
    (void)state;
    for (const format *f = formats; f < formats + 2; f++) {
        for (uint32_t bits = 0; bits < 0x10000u; bits++) {
            float x = f->to((uint16_t)bits);
            uint32_t rest = bits & 0x7FFFu;
            if (rest > infinity_of(f)) { /* a NaN keeps sign and payload, and becomes quiet */
                assert_true(isnan(x));
                assert_int_equal(f->from(x), bits | 1u << (f->fraction_bits - 1));
                continue;
            }
            if (rest == infinity_of(f)) {
                assert_true(isinf(x) && !signbit(x) == !(bits & 0x8000u));
            } else {
                assert_true((double)x == value_of(f, bits));
            }
            assert_int_equal(f->from(x), bits); /* the sign of zero too */
        }
    }
}

static void expect(const format *f, float x, uint32_t bits)
{
    if (f->from(x) != bits)
        fail_msg("%s of %a is %04x, expected %04x", f->name, (double)x, (unsigned)f->from(x),
                 (unsigned)bits);
    if (f->from(-x) != (bits | 0x8000u)) fail_msg("%s of %a: wrong sign", f->name, (double)-x);
}

/* Between all neighbours, denormals and the step to infinity included: a midpoint goes to the even
 * one, its float neighbours to the nearer one. */
static void midpoints_go_to_the_even_neighbour(void **state)
{
    (void)state;
    for (const format *f = formats; f < formats + 2; f++) {
        for (uint32_t bits = 0; bits < infinity_of(f); bits++) {
            /* of the largest finite value and what would follow it */
            float middle = (float)((value_of(f, bits) + value_of(f, bits + 1)) / 2.0);
            expect(f, middle, bits + (bits & 1u));
            expect(f, nextafterf(middle, INFINITY), bits + 1);
            expect(f, nextafterf(middle, 0.0f), bits);
        }
    }
}

static void large_values_become_infinite(void **state)
{
    (void)state;
    for (const format *f = formats; f < formats + 2; f++) {
        expect(f, INFINITY, infinity_of(f));
        expect(f, 3.4028235e38f, infinity_of(f)); /* the largest float */
    }
    expect(&formats[1], 65519.996f, 0x7BFF); /* below 65504 + 16 */
    expect(&formats[1], 65520.0f, 0x7C00);
    expect(&formats[1], 1e5f, 0x7C00);
}

static void small_values_become_zero_or_denormal(void **state)
{
    (void)state;
    const format *f = &formats[1];
    expect(f, 0x1p-24f, 0x0001);
    expect(f, 0x1p-25f, 0x0000); /* half of the smallest: to even */
    expect(f, 0x1.000002p-25f, 0x0001);
    expect(f, 0x1p-149f, 0x0000);    /* the smallest float */
    expect(f, 0x1.ff8p-15f, 0x03FF); /* the largest denormal */
    expect(f, 0x1.ffcp-15f, 0x0400); /* halfway to the smallest normal */
}

static void random_floats_agree_with_the_compilers_type(void **state)
{
    (void)state;
#if HAVE_FLOAT16
    print_message("seed 7\n");
    cf_rng rng = cf_rng_at(7, 0, 0, 0, CF_PURPOSE_TEST);
    for (int i = 0; i < 2000000; i++) {
        /* any pattern, and every other time one whose exponent is fp16's */
        uint32_t u = cf_rng_u32(&rng);
        if (i % 2) u = (u & 0x807FFFFFu) | (100u + cf_rng_below(&rng, 45)) << 23;
        float x = cf_float_of_bits(u);
        if (isnan(x)) continue;
        _Float16 half = (_Float16)x;
        uint16_t expected;
        memcpy(&expected, &half, sizeof expected);
        if (cf_f16_from_float(x) != expected)
            fail_msg("%a is %04x, expected %04x", (double)x, (unsigned)cf_f16_from_float(x),
                     (unsigned)expected);
        assert_true(cf_f16_to_float(expected) == (float)half);
    }
#else
    print_message("the compiler has no _Float16\n");
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern_has_its_value_and_comes_back),
        cmocka_unit_test(midpoints_go_to_the_even_neighbour),
        cmocka_unit_test(large_values_become_infinite),
        cmocka_unit_test(small_values_become_zero_or_denormal),
        cmocka_unit_test(random_floats_agree_with_the_compilers_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
