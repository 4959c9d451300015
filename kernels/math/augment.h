/* Augmentation per pixel, for host and device: one affine map, bilinear sampling with edge
 * replication, colour factors, normalisation. Compiled by both compilers to the same bits
 * (no fused multiply-add). Read first: cf_augment_pixel. */
#ifndef CF_KERNELS_MATH_AUGMENT_H
#define CF_KERNELS_MATH_AUGMENT_H

#include <stdint.h>

#include "kernels/math/philox.h"

/* What one draw does to its image. Output pixel (x, y) reads the source at
 * (a[0] x + a[1] y + a[2], a[3] x + a[4] y + a[5]), in source pixels, pixel centres at integers. */
typedef struct cf_augment {
    float a[6];
    float gain[3], offset[3]; /* of RGB in [0,1]: value * gain + offset, then clamped to [0,1] */
    int erase[4];             /* x0, y0, x1, y1 of a rectangle set to 0.5; empty: none */
} cf_augment;

typedef struct cf_normalize {
    float mean[3], inv_std[3];
} cf_normalize;

/* src: uint8 [height][width][3]. out: 3 floats. */
CF_HD void cf_augment_pixel(const uint8_t *src, int height, int width, const cf_augment *t,
                            const cf_normalize *norm, int x, int y, float out[3])
{
    float sx = t->a[0] * (float)x + t->a[1] * (float)y + t->a[2];
    float sy = t->a[3] * (float)x + t->a[4] * (float)y + t->a[5];
    float max_x = (float)(width - 1), max_y = (float)(height - 1);
    sx = sx < 0.0f ? 0.0f : sx > max_x ? max_x : sx;
    sy = sy < 0.0f ? 0.0f : sy > max_y ? max_y : sy;
    int x0 = (int)sx, y0 = (int)sy;
    int x1 = x0 + 1 < width ? x0 + 1 : x0, y1 = y0 + 1 < height ? y0 + 1 : y0;
    float fx = sx - (float)x0, fy = sy - (float)y0;
    const uint8_t *p00 = src + 3 * ((int64_t)y0 * width + x0);
    const uint8_t *p01 = src + 3 * ((int64_t)y0 * width + x1);
    const uint8_t *p10 = src + 3 * ((int64_t)y1 * width + x0);
    const uint8_t *p11 = src + 3 * ((int64_t)y1 * width + x1);
    int erased = x >= t->erase[0] && x < t->erase[2] && y >= t->erase[1] && y < t->erase[3];
    for (int c = 0; c < 3; c++) {
        float top = (float)p00[c] + fx * ((float)p01[c] - (float)p00[c]);
        float low = (float)p10[c] + fx * ((float)p11[c] - (float)p10[c]);
        float v = (top + fy * (low - top)) * (1.0f / 255.0f);
        v = v * t->gain[c] + t->offset[c];
        v = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
        if (erased) v = 0.5f;
        out[c] = (v - norm->mean[c]) * norm->inv_std[c];
    }
}

#endif
