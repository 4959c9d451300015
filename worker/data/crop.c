/* Cutting a rectangle out of an image, over its borders where need be. */
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/data/decoders.h"

/* Position k of an axis of n pixels, mirrored at the first and the last of them, which are not
 * repeated: 2 1 [0 1 2 3] 2 1. A mirrored border keeps the texture and the colours of the stain;
 * the last row drawn out would be stripes, and a constant a new colour. */
static int mirror(int64_t k, int n)
{
    int64_t period = n > 1 ? 2 * (int64_t)(n - 1) : 1;
    k %= period;
    if (k < 0) k += period;
    return (int)(k < n ? k : period - k);
}

cf_err cf_image_crop(const cf_image *in, int x0, int y0, int height, int width, cf_image *out)
{
    *out = (cf_image){0};
    CF_TRY(cf_image_alloc("patch", height, width, INT64_MAX, out));
    uint8_t *q = out->pixels;
    for (int y = 0; y < height; y++) {
        const uint8_t *row =
            in->pixels + (size_t)mirror((int64_t)y0 + y, in->height) * (size_t)in->width * 3;
        for (int x = 0; x < width; x++, q += 3)
            memcpy(q, row + (size_t)mirror((int64_t)x0 + x, in->width) * 3, 3);
    }
    return CF_OK;
}
