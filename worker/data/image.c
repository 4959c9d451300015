/* The table of formats, and the memory of images. */
#include "worker/data/image.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/data/decoders.h"

typedef struct format {
    uint8_t magic[8];
    size_t n_magic;
    const char *name;
    /* NULL: known by name only, for the message. */
    cf_err (*decode)(const char *name, const uint8_t *bytes, size_t n, int64_t max_pixels,
                     cf_image *image);
} format;

static const format formats[] = {
    {{0xFF, 0xD8, 0xFF}, 3, "JPEG", cf_jpeg_decode},
    {{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'}, 8, "PNG", cf_png_decode},
    {{'I', 'I', '*', 0}, 4, "TIFF", cf_tiff_decode},
    {{'M', 'M', 0, '*'}, 4, "TIFF", cf_tiff_decode},
    {{'I', 'I', '+', 0}, 4, "BigTIFF", cf_tiff_decode},
    {{'M', 'M', 0, '+'}, 4, "BigTIFF", cf_tiff_decode},
    {{'G', 'I', 'F', '8'}, 4, "GIF", NULL},
    {{'B', 'M'}, 2, "BMP", NULL},
};

cf_err cf_image_decode(const char *name, const uint8_t *bytes, size_t n, int64_t max_pixels,
                       cf_image *image)
{
    *image = (cf_image){0};
    return cf_image_decode_again(name, bytes, n, max_pixels, image);
}

static cf_err decode(const char *name, const uint8_t *bytes, size_t n, int64_t max_pixels,
                     cf_image *image)
{
    if (n == 0) return cf_fail(CF_E_DATA, "%s: empty file", name);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const format *f = &formats[i];
        if (n < f->n_magic || memcmp(bytes, f->magic, f->n_magic) != 0) continue;
        /* the others may put memory of their own in the image's place */
        if (f->decode != cf_jpeg_decode) cf_image_fini(image);
        if (f->decode) return f->decode(name, bytes, n, max_pixels, image);
        return cf_fail(CF_E_DATA,
                       "%s: %s images are not read: no library here decodes them (expected JPEG, "
                       "PNG or TIFF)",
                       name, f->name);
    }
    return cf_fail(CF_E_DATA, "%s: not an image (expected JPEG, PNG or TIFF)", name);
}

cf_err cf_image_decode_again(const char *name, const uint8_t *bytes, size_t n, int64_t max_pixels,
                             cf_image *image)
{
    cf_err err = decode(name, bytes, n, max_pixels, image);
    if (err != CF_OK) cf_image_fini(image);
    return err;
}

void cf_image_fini(cf_image *image)
{
    free(image->pixels);
    *image = (cf_image){0};
}

cf_err cf_image_alloc(const char *name, int64_t height, int64_t width, int64_t max_pixels,
                      cf_image *image)
{
    if (height < 1 || width < 1 || height > INT32_MAX || width > INT32_MAX)
        return cf_fail(CF_E_DATA, "%s: no image has sides of %lld x %lld", name, (long long)height,
                       (long long)width);
    if (height > max_pixels / width)
        return cf_fail(CF_E_DATA,
                       "%s: %lld x %lld pixels are over the limit of %lld (--max-pixels)", name,
                       (long long)width, (long long)height, (long long)max_pixels);
    size_t bytes;
    bool fits = cf_size_mul((size_t)height * (size_t)width, 3, &bytes);
    if (!fits || bytes > image->n_room) {
        cf_image_fini(image);
        if (!fits || !(image->pixels = malloc(bytes)))
            return cf_fail(CF_E_UNEXPECTED, "%s: no memory for %lld x %lld pixels", name,
                           (long long)width, (long long)height);
        image->n_room = bytes;
    }
    image->height = (int)height;
    image->width = (int)width;
    return CF_OK;
}

cf_err cf_image_check_room(const char *name, const char *what, uint64_t bytes, int64_t max_pixels)
{
    uint64_t room = 3 * (uint64_t)max_pixels + (1 << 20);
    if (bytes <= room) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%s: %s take %llu bytes to decode, over the limit of %llu (3 a pixel of "
                   "--max-pixels)",
                   name, what, (unsigned long long)bytes, (unsigned long long)room);
}

cf_err cf_image_orient(cf_image *image, int o)
{
    if (o <= 1 || o > 8) return CF_OK;
    bool transposed = o >= 5;
    bool flip_x = o == 2 || o == 3 || o == 7 || o == 8;
    bool flip_y = o == 3 || o == 4 || o == 6 || o == 7;
    int h = image->height, w = image->width;
    cf_image out = {0};
    CF_TRY(cf_image_alloc("turned image", transposed ? w : h, transposed ? h : w, INT64_MAX, &out));
    uint8_t *q = out.pixels;
    for (int y = 0; y < out.height; y++) {
        for (int x = 0; x < out.width; x++, q += 3) {
            int u = transposed ? y : x, v = transposed ? x : y;
            if (flip_x) u = w - 1 - u;
            if (flip_y) v = h - 1 - v;
            memcpy(q, image->pixels + 3 * ((size_t)v * (size_t)w + (size_t)u), 3);
        }
    }
    free(image->pixels);
    *image = out;
    return CF_OK;
}
