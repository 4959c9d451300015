/* Cutting a rectangle out of an image, over its borders where need be. */
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

/* Columns from..to-1 of a row that begins at column x0 of `row` ([n][3]), mirrored. */
static void put_mirrored(const uint8_t *row, int n, int x0, int from, int to, uint8_t *out)
{
    for (int x = from; x < to; x++)
        memcpy(out + 3 * (size_t)x, row + 3 * (size_t)mirror((int64_t)x0 + x, n), 3);
}

cf_err cf_image_crop(const cf_image *in, int x0, int y0, int height, int width, cf_image *out)
{
    *out = (cf_image){0};
    CF_TRY(cf_image_alloc("patch", height, width, INT64_MAX, out));
    /* columns that are inside: copied in one go */
    int64_t left = -(int64_t)x0, right = (int64_t)in->width - x0;
    int from = (int)(left < 0 ? 0 : left > width ? width : left);
    int to = (int)(right < from ? from : right > width ? width : right);
    for (int y = 0; y < height; y++) {
        const uint8_t *row =
            in->pixels + (size_t)mirror((int64_t)y0 + y, in->height) * (size_t)in->width * 3;
        uint8_t *q = out->pixels + (size_t)y * (size_t)width * 3;
        put_mirrored(row, in->width, x0, 0, from, q);
        if (to > from)
            memcpy(q + 3 * (size_t)from, row + 3 * ((int64_t)x0 + from), 3 * (size_t)(to - from));
        put_mirrored(row, in->width, x0, to, width, q);
    }
    return CF_OK;
}
