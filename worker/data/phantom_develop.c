/* Loops over whole rows of floats without a branch, for the compiler to vectorise: this pass
 * touches every sample a dozen times and took most of a picture's time when it went pixel by pixel.
 */
#include "worker/data/phantom_develop.h"

#include <stddef.h>
#include <string.h>

enum { LANES = 16, WORDS = 4 }; /* of Philox: blocks at a time, numbers a block */

/* Mean 0, standard deviation near 1: the sum of four uniforms. */
static float bell(cf_rng *rng)
{
    float s = 0.0f;
    for (int i = 0; i < 4; i++) s += cf_rng_uniform(rng);
    return (s - 2.0f) * 1.7320508f;
}

static float between(cf_rng *rng, float lo, float hi)
{
    return lo + (hi - lo) * cf_rng_uniform(rng);
}

/* LANES blocks of the stream from the generator's next one on, in their order. Like cf_philox4x32,
 * with the lanes innermost. */
static void fill_blocks(const cf_rng *rng, float out[LANES * WORDS])
{
    uint32_t c[WORDS][LANES], k0 = rng->key[0], k1 = rng->key[1];
    for (uint32_t i = 0; i < LANES; i++) {
        c[0][i] = rng->counter[0] + i;
        for (int w = 1; w < WORDS; w++) c[w][i] = rng->counter[w];
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < LANES; i++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * c[0][i];
            uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2][i];
            c[0][i] = (uint32_t)(p1 >> 32) ^ c[1][i] ^ k0;
            c[1][i] = (uint32_t)p1;
            c[2][i] = (uint32_t)(p0 >> 32) ^ c[3][i] ^ k1;
            c[3][i] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < LANES; i++)
        for (int w = 0; w < WORDS; w++)
            out[WORDS * i + w] = (float)(c[w][i] >> 8) * (1.0f / 16777216.0f);
}

/* The next n numbers of cf_rng_uniform. */
static void fill_uniform(cf_rng *rng, float *out, int n)
{
    int i = 0;
    while (i < n && rng->used < WORDS) out[i++] = cf_rng_uniform(rng);
    for (; i + LANES * WORDS <= n; i += LANES * WORDS) {
        fill_blocks(rng, out + i);
        rng->counter[0] += LANES;
    }
    while (i < n) out[i++] = cf_rng_uniform(rng);
}

/* Taps 1 2 1 of three rows or columns, blended in by `amount`: [n] samples each. */
static void blend(const float *before, const float *at, const float *after, int n, float amount,
                  float *out)
{
    for (int i = 0; i < n; i++)
        out[i] = at[i] + amount * 0.25f * (before[i] - 2.0f * at[i] + after[i]);
}

/* Binomial blur along the rows; the border pixel is its own neighbour. */
static void blur_rows(const float *in, int size, float amount, float *out)
{
    int row = 3 * size;
    for (int j = 0; j < size; j++, in += row, out += row) {
        blend(in, in, in + 3, 3, amount, out);
        blend(in, in + 3, in + 6, row - 6, amount, out + 3);
        blend(in + row - 6, in + row - 3, in + row - 3, 3, amount, out + row - 3);
    }
}

static void blur_columns(const float *in, int size, float amount, float *out)
{
    int row = 3 * size;
    for (int j = 0; j < size; j++) {
        const float *at = in + (ptrdiff_t)j * row;
        blend(j > 0 ? at - row : at, at, j + 1 < size ? at + row : at, row, amount,
              out + (ptrdiff_t)j * row);
    }
}

/* One row: light, then noise, the sum of two uniforms, which is as good as a bell for a few levels.
 * random: [2 * n]; slope: [n] light along the row; gain: [n]. */
static void expose(const float *p, int n, const float *gain, const float *slope, float slope_y,
                   float grain, const float *random, uint8_t *pixels)
{
    for (int i = 0; i < n; i++) {
        float noise = random[2 * i] + random[2 * i + 1] - 1.0f;
        float value = p[i] * gain[i] * (slope[i] + slope_y) + grain * 2.4f * noise;
        float share = value * (1.0f / 255.0f);
        share = share < 0.0f ? 0.0f : share > 1.0f ? 1.0f : share;
        pixels[i] = (uint8_t)(255.0f * share + 0.5f);
    }
}

/* Where sample k of `size` lies among `side`: between *at and the next one. */
static float place(int k, int side, int size, int *at)
{
    float x = ((float)k + 0.5f) * (float)side / (float)size - 0.5f;
    x = x < 0.0f ? 0.0f : x > (float)(side - 1) ? (float)(side - 1) : x;
    *at = (int)x < side - 1 ? (int)x : side - 2;
    return x - (float)*at;
}

void cf_phantom_enlarge(const float *rgb, int side, int size, float *out)
{
    for (int j = 0; j < size; j++) {
        int y, x;
        float v = place(j, side, size, &y);
        const float *top = rgb + (ptrdiff_t)y * side * 3, *low = top + 3 * side;
        for (int i = 0; i < size; i++) {
            float u = place(i, side, size, &x);
            for (int c = 0; c < 3; c++) {
                const float *a = top + 3 * x + c, *b = low + 3 * x + c;
                float over = a[0] + u * (a[3] - a[0]), under = b[0] + u * (b[3] - b[0]);
                *out++ = over + v * (under - over);
            }
        }
    }
}

void cf_phantom_develop(float *rgb, int size, float blur, cf_rng *rng, float *other,
                        uint8_t *pixels)
{
    int row = 3 * size;
    /* variance of a pass is a half: 2 w^2 passes */
    for (float left = 2.0f * blur * blur; left > 0.0f; left -= 1.0f) {
        float amount = left < 1.0f ? left : 1.0f;
        blur_rows(rgb, size, amount, other);
        blur_columns(other, size, amount, rgb);
    }
    float pixel = 1.0f / (float)size;
    float slope_x = between(rng, -0.06f, 0.06f), slope_y = between(rng, -0.06f, 0.06f);
    float light = 1.0f + 0.06f * bell(rng), grain = between(rng, 1.5f, 4.5f);
    float *gain = other, *slope = gain + row, *random = slope + row; /* the blur is done with it */
    for (int c = 0; c < 3; c++) gain[c] = light * (1.0f + 0.03f * bell(rng));
    for (int k = 0; k < row; k++) {
        gain[k] = gain[k % 3];
        slope[k] = 1.0f + slope_x * ((float)(k / 3) * pixel - 0.5f);
    }
    for (int j = 0; j < size; j++) {
        fill_uniform(rng, random, 2 * row);
        expose(rgb + (ptrdiff_t)j * row, row, gain, slope, slope_y * ((float)j * pixel - 0.5f),
               grain, random, pixels + (ptrdiff_t)j * row);
    }
}
