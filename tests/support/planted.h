/* Copies of pictures as they get into data sets: unchanged, saved again, shifted, turned, brighter.
 * To be planted among others and found again. Read first: plant_copy. */
#ifndef CF_TESTS_SUPPORT_PLANTED_H
#define CF_TESTS_SUPPORT_PLANTED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math/philox.h"
#include "tests/support/pictures.h"
#include "worker/data/image.h"

enum plant { PLANT_EXACT, PLANT_JPEG, PLANT_SHIFT, PLANT_TURN, PLANT_BRIGHT, N_PLANTS };

static const char *const plant_names[N_PLANTS] = {"exact", "saved as JPEG at quality 75",
                                                  "shifted by 2 % of the side",
                                                  "turned by 90, 180 or 270", "brightness"};

static inline bool plant_jpeg(const uint8_t *in, int side, uint8_t *out)
{
    const jpeg_form form = {
        .width = side, .height = side, .channels = 3, .space = JCS_RGB, .quality = 75};
    picture p = picture_jpeg(&form, in);
    cf_image image;
    bool good = cf_image_decode("planted", p.bytes, p.n, CF_IMAGE_DEFAULT_LIMIT, &image) == CF_OK;
    if (good) memcpy(out, image.pixels, (size_t)side * (size_t)side * 3);
    if (good) cf_image_fini(&image);
    free(p.bytes);
    return good;
}

/* 5 px of 250 in one of eight directions; what comes in at the border is the mirrored picture. */
static inline bool plant_shift(const uint8_t *in, int side, cf_rng *rng, uint8_t *out)
{
    const cf_image image = {.height = side, .width = side, .pixels = (uint8_t *)(uintptr_t)in};
    cf_image moved;
    int by = (5 * side + 125) / 250, way = (int)cf_rng_below(rng, 8);
    int cell = way < 4 ? way : way + 1; /* of a 3 x 3 grid, but its middle */
    if (by < 1) by = 1;
    if (cf_image_crop(&image, (cell % 3 - 1) * by, (cell / 3 - 1) * by, side, side, &moved) !=
        CF_OK)
        return false;
    memcpy(out, moved.pixels, (size_t)side * (size_t)side * 3);
    cf_image_fini(&moved);
    return true;
}

static inline void plant_turn(const uint8_t *in, int side, cf_rng *rng, uint8_t *out)
{
    int quarters = 1 + (int)cf_rng_below(rng, 3);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            int u = x, v = y;
            for (int q = 0; q < quarters; q++) {
                int t = u;
                u = v;
                v = side - 1 - t;
            }
            memcpy(out + 3 * (v * side + u), in + 3 * (y * side + x), 3);
        }
}

/* Contrast by 0.8 to 1.2 about mid-grey, brightness by -25 to 25 levels, cut to 0..255. */
static inline void plant_bright(const uint8_t *in, int side, cf_rng *rng, uint8_t *out)
{
    int contrast = 80 + (int)cf_rng_below(rng, 41), offset = (int)cf_rng_below(rng, 51) - 25;
    for (int k = 0; k < side * side * 3; k++) {
        int v = 128 + (in[k] - 128) * contrast / 100 + offset;
        out[k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

/* in, out: uint8 [side][side][3]. False on a failure. */
static inline bool plant_copy(enum plant kind, const uint8_t *in, int side, cf_rng *rng,
                              uint8_t *out)
{
    switch (kind) {
    case PLANT_JPEG:
        return plant_jpeg(in, side, out);
    case PLANT_SHIFT:
        return plant_shift(in, side, rng, out);
    case PLANT_TURN:
        plant_turn(in, side, rng, out);
        return true;
    case PLANT_BRIGHT:
        plant_bright(in, side, rng, out);
        return true;
    default:
        memcpy(out, in, (size_t)side * (size_t)side * 3);
        return true;
    }
}

#endif
