/* Prints one hash a function of kernels/math, over a grid of inputs. Compiled as C, as C++ and by
 * nvcc for the host; math_bits.sh compares what they print. Read first: main. */
#include <stdio.h>

#include "kernels/math/augment.h"
#include "kernels/math/digest.h"
#include "kernels/math/fixed.h"
#include "kernels/math/group_norm.h"
#include "kernels/math/half.h"
#include "kernels/math/loss.h"
#include "kernels/math/optimizer.h"

enum { N = 20000, SIDE = 48, SIZE = 20, OUTPUTS = 18, CLASSES = 15 };

/* FNV-1a over words. */
static void mix(uint64_t *hash, uint32_t word)
{
    for (int i = 0; i < 4; i++) *hash = (*hash ^ (word >> 8 * i & 255u)) * 1099511628211ull;
}
static void mix_float(uint64_t *hash, float x)
{
    mix(hash, cf_float_bits(x));
}
static void mix_long(uint64_t *hash, int64_t x)
{
    mix(hash, (uint32_t)x);
    mix(hash, (uint32_t)((uint64_t)x >> 32));
}

static const uint64_t start = 14695981039346656037ull;

static void show(const char *name, uint64_t hash)
{
    printf("%-16s %016llx\n", name, (unsigned long long)hash);
}

static cf_rng stream(uint32_t draw)
{
    return cf_rng_at(11, 0, 0, draw, CF_PURPOSE_TEST);
}

/* Both signs, magnitudes 2^lo to 2^hi. */
static float spread(cf_rng *rng, int lo, int hi)
{
    uint32_t u = cf_rng_u32(rng) & 0x807FFFFFu;
    return cf_float_of_bits(u | (uint32_t)(127 + lo + (int)cf_rng_below(rng, (uint32_t)(hi - lo)))
                                    << 23);
}

static void random_numbers(void)
{
    cf_rng rng = stream(0);
    uint64_t words = start, uniform = start, below = start;
    for (int i = 0; i < N; i++) mix(&words, cf_rng_u32(&rng));
    for (int i = 0; i < N; i++) mix_float(&uniform, cf_rng_uniform(&rng));
    for (int i = 0; i < N; i++) mix(&below, cf_rng_below(&rng, 1u + (uint32_t)i * 977u));
    uint64_t digest = 0;
    for (uint32_t i = 0; i < N; i++) digest += cf_digest_element(i * 2654435761u, i);
    show("digest", digest);
    show("philox", words);
    show("rng_uniform", uniform);
    show("rng_below", below);
}

static void halves(void)
{
    cf_rng rng = stream(1);
    uint64_t hash = start;
    for (uint32_t bits = 0; bits < 0x10000u; bits++) {
        mix_float(&hash, cf_bf16_to_float((uint16_t)bits));
        mix_float(&hash, cf_f16_to_float((uint16_t)bits));
    }
    for (int i = 0; i < N; i++) {
        float any = cf_float_of_bits(cf_rng_u32(&rng)), near = spread(&rng, -27, 18);
        mix(&hash, cf_bf16_from_float(any));
        mix(&hash, cf_f16_from_float(any));
        mix(&hash, cf_f16_from_float(near));
    }
    show("half", hash);
}

static void fixed_point(void)
{
    cf_rng rng = stream(2);
    uint64_t hash = start;
    for (int i = 0; i < N; i++) {
        float x = spread(&rng, -60, 13);
        mix_long(&hash, cf_fixed_of_float(x, 1099511627776.0)); /* 2^40 */
        mix(&hash, (uint32_t)cf_fixed_fits(x, 64.0f));
    }
    mix(&hash, (uint32_t)cf_fixed_fits(cf_float_of_bits(0x7FC00000u), 64.0f));
    show("fixed", hash);
}

static void optimizers(void)
{
    cf_rng rng = stream(3);
    uint64_t sgd = start, adam = start, rest = start;
    for (int i = 0; i < N; i++) {
        float g = spread(&rng, -30, 4), w = spread(&rng, -10, 1), m = spread(&rng, -30, 2);
        float v = fabsf(spread(&rng, -60, 2)), rate = cf_rng_uniform(&rng), by = rate * 0.1f;
        float sw = w, sm = m, aw = w, am = m;
        cf_sgd_step(cf_sgd_at(rate, 0.9f, i % 2), g, &sw, &sm);
        mix_float(&sgd, sw);
        mix_float(&sgd, sm);
        cf_adam_step(cf_adam_at(rate, 0.9f, 0.999f, 1e-8f, i + 1), g, &aw, &am, &v);
        mix_float(&adam, aw);
        mix_float(&adam, am);
        mix_float(&adam, v);
        mix_float(&rest, cf_mean_exact((int64_t)cf_rng_u32(&rng) << 20 | i, 1e-12 / (1 + i % 7)));
        mix_float(&rest, cf_mean_fast(g, 1.0f / (float)(1 + i % 7)));
        mix_float(&rest, cf_decay_gradient(g, w, by, i % 2));
        mix_float(&rest, cf_decay_weight(w, 1.0f - by, i % 2));
        mix_float(&rest, cf_ema_step(m, w, rate));
        mix_float(&rest, cf_running_step(m, (double)w, rate));
        mix_float(&rest, cf_clip_factor((double)v * 1e9, rate));
    }
    show("sgd", sgd);
    show("adam", adam);
    show("update", rest);
}

static uint8_t picture[SIDE * SIDE * 3];

static void augmentation(void)
{
    cf_rng rng = stream(4);
    uint64_t hash = start;
    const cf_normalize norm = {{0.4f, 0.5f, 0.6f}, {5.0f, 4.0f, 3.0f}};
    for (int i = 0; i < SIDE * SIDE * 3; i++) picture[i] = (uint8_t)cf_rng_below(&rng, 256);
    for (int draw = 0; draw < 60; draw++) {
        cf_augment t = {
            {0}, {{0}, {0}, 0}, {1.1f, 0.9f, 1.0f}, {0.1f, -0.05f, 0.0f}, {3, 4, 9, 11}};
        for (int i = 0; i < 6; i++) t.a[i] = spread(&rng, -2, 2);
        t.a[2] = cf_rng_uniform(&rng) * SIDE;
        t.a[5] = cf_rng_uniform(&rng) * SIDE;
        t.stain.on = draw % 2;
        for (int i = 0; i < 9; i++) t.stain.m[i] = spread(&rng, -6, 0) + (i % 4 == 0 ? 1.0f : 0.0f);
        for (int i = 0; i < 3; i++) t.stain.k[i] = spread(&rng, -6, 1);
        cf_augment_source s = cf_augment_source_of(picture, SIDE, SIDE, &t);
        for (int i = 0; i < SIZE * SIZE; i++) {
            float out[3];
            cf_augment_pixel(&s, &t, &norm, i % SIZE, i / SIZE, out);
            for (int c = 0; c < 3; c++) mix_float(&hash, out[c]);
        }
    }
    show("augment", hash);
}

static void stains(void)
{
    uint64_t logarithm = start, power = start;
    for (int i = 0; i <= N; i++) {
        mix_float(&logarithm, cf_stain_log2(1.0f + 255.0f * (float)i / (float)N));
        mix_float(&power, cf_stain_exp2(8.0f * (float)i / (float)N));
    }
    show("stain_log2", logarithm);
    show("stain_exp2", power);
}

static void group_norms(void)
{
    cf_rng rng = stream(6);
    uint64_t hash = start;
    for (int i = 0; i < N; i++) {
        float mean = spread(&rng, -4, 4), gamma = spread(&rng, -2, 2), bias = spread(&rng, -2, 2);
        double first = (double)spread(&rng, -4, 8), second = (double)spread(&rng, -4, 8);
        double rstd = cf_group_rstd(fabs(second), 1.0 + i, 1e-5f);
        cf_group_scale s = cf_group_forward((double)mean, rstd, gamma, -bias, bias);
        cf_group_slope b = cf_group_backward(first, second, 1.0 + i, s.seen, (float)rstd, gamma);
        const float all[] = {s.seen, s.scale, s.shift, b.a, b.b, b.d};
        for (int k = 0; k < 6; k++) mix_float(&hash, all[k]);
        mix_float(&hash, (float)cf_group_bias(b, first, mean, 1.0 + i));
    }
    show("group_norm", hash);
}

static void losses(void)
{
    cf_rng rng = stream(5);
    uint64_t hash = start;
    for (int row = 0; row < 1000; row++) {
        float logits[OUTPUTS], scratch[CLASSES], grad[OUTPUTS];
        int class_of[OUTPUTS], correct;
        for (int o = 0; o < OUTPUTS; o++) {
            logits[o] = spread(&rng, -8, 1 + row % 7);
            class_of[o] = o % CLASSES;
        }
        float smoothing = row % 2 ? 0.1f : 0.0f;
        mix_float(&hash, cf_loss_row(logits, OUTPUTS, class_of, CLASSES, row % CLASSES, smoothing,
                                     1.0f / 64.0f, scratch, grad, &correct));
        mix(&hash, (uint32_t)correct);
        for (int o = 0; o < OUTPUTS; o++) mix_float(&hash, grad[o]);
    }
    show("loss_row", hash);
}

int main(void)
{
    random_numbers();
    halves();
    fixed_point();
    optimizers();
    stains();
    augmentation();
    group_norms();
    losses();
    return 0;
}
