/* Augmentation per pixel, for host and device: one affine map, bilinear sampling with edge
 * replication, a mean over samples where the map reduces, a change of stains, colour factors,
 * normalisation. Compiled by both compilers to the same bits (no fused multiply-add). Read first:
 * cf_augment_pixel. */
#ifndef CF_KERNELS_MATH_AUGMENT_H
#define CF_KERNELS_MATH_AUGMENT_H

#include <math.h>
#include <stdint.h>

#include "kernels/math/philox.h"
#include "kernels/math/stain.h"

/* What one draw does to its image. Output pixel (x, y) reads the source at
 * (a[0] x + a[1] y + a[2], a[3] x + a[4] y + a[5]), in source pixels, pixel centres at integers. */
typedef struct cf_augment {
    float a[6];
    cf_stain_map stain;       /* of the sampled value, before the colours */
    float gain[3], offset[3]; /* of RGB in [0,1]: value * gain + offset, then clamped to [0,1] */
    int erase[4];             /* x0, y0, x1, y1 of a rectangle set to 0.5; empty: none */
} cf_augment;

typedef struct cf_normalize {
    float mean[3], inv_std[3];
} cf_normalize;

/* Samples along one output axis, along which the map moves by (dx, dy): 1, or, where it reduces the
 * picture, enough that they lie at most one source pixel apart. */
CF_HD int cf_augment_samples(float dx, float dy)
{
    float step = sqrtf(dx * dx + dy * dy);
    return step > 1.5f ? (int)ceilf(step) : 1;
}

/* Where one map reads: an image and the samples an output pixel takes along x and y. */
typedef struct cf_augment_source {
    const uint8_t *pixels; /* [height][width][3], borrowed */
    int height, width;
    int nx, ny;
} cf_augment_source;

CF_HD cf_augment_source cf_augment_source_of(const uint8_t *pixels, int height, int width,
                                             const cf_augment *t)
{
    cf_augment_source s = {pixels, height, width, cf_augment_samples(t->a[0], t->a[3]),
                           cf_augment_samples(t->a[1], t->a[4])};
    return s;
}

/* sum += the source at output position (x, y), in 0..255. */
CF_HD void cf_augment_sample(const cf_augment_source *s, const cf_augment *t, float x, float y,
                             float sum[3])
{
    float sx = t->a[0] * x + t->a[1] * y + t->a[2];
    float sy = t->a[3] * x + t->a[4] * y + t->a[5];
    float max_x = (float)(s->width - 1), max_y = (float)(s->height - 1);
    sx = sx < 0.0f ? 0.0f : sx > max_x ? max_x : sx;
    sy = sy < 0.0f ? 0.0f : sy > max_y ? max_y : sy;
    int x0 = (int)sx, y0 = (int)sy;
    int right = x0 + 1 < s->width ? 3 : 0;
    int64_t row = 3 * (int64_t)s->width, below = y0 + 1 < s->height ? row : 0;
    float fx = sx - (float)x0, fy = sy - (float)y0;
    const uint8_t *p = s->pixels + y0 * row + 3 * x0, *q = p + below;
    for (int c = 0; c < 3; c++) {
        float top = (float)p[c] + fx * ((float)p[c + right] - (float)p[c]);
        float low = (float)q[c] + fx * ((float)q[c + right] - (float)q[c]);
        sum[c] += top + fy * (low - top);
    }
}

/* Output pixel (x, y): the mean of its samples, stained, coloured, clamped, erased, normalised. */
CF_HD void cf_augment_pixel(const cf_augment_source *s, const cf_augment *t,
                            const cf_normalize *norm, int x, int y, float out[3])
{
    float sum[3] = {0.0f, 0.0f, 0.0f}, share = 1.0f / (float)(s->nx * s->ny);
    for (int j = 0; j < s->ny; j++) {
        float dy = ((float)j + 0.5f) / (float)s->ny - 0.5f; /* exactly 0 where ny is 1 */
        for (int i = 0; i < s->nx; i++) {
            float dx = ((float)i + 0.5f) / (float)s->nx - 0.5f;
            cf_augment_sample(s, t, (float)x + dx, (float)y + dy, sum);
        }
    }
    int erased = x >= t->erase[0] && x < t->erase[2] && y >= t->erase[1] && y < t->erase[3];
    for (int c = 0; c < 3; c++) sum[c] *= share;
    if (t->stain.on) cf_stain_apply(&t->stain, sum, sum);
    for (int c = 0; c < 3; c++) {
        float v = sum[c] * (1.0f / 255.0f);
        v = v * t->gain[c] + t->offset[c];
        v = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
        if (erased) v = 0.5f;
        out[c] = (v - norm->mean[c]) * norm->inv_std[c];
    }
}

#endif
