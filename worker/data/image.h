/* Decoding image files to 8-bit RGB, and resizing. One decoder a format behind one table; limits
 * are checked from the header before anything is allocated. Threads: any. Read first:
 * cf_image_decode. */
#ifndef CF_WORKER_DATA_IMAGE_H
#define CF_WORKER_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

typedef struct cf_image {
    int height, width;
    uint8_t *pixels; /* owned, [height][width][3] */
    size_t n_room;   /* bytes of pixels that may be used again; 0: not known */
} cf_image;

#define CF_IMAGE_DEFAULT_LIMIT (64LL * 1000 * 1000) /* pixels */

/* By the file's content, not its name: JPEG (libjpeg-turbo), PNG (libpng), TIFF (libtiff; the first
 * page). 16 bit are cut to 8, grey and palette expanded, the orientation of EXIF and TIFF applied.
 * Alpha is dropped and the colours are left as stored, be it associated (then they stay multiplied
 * by it) or not: so were the published networks trained. `name` is for messages. Errors: CF_E_DATA:
 * unknown format, damaged or truncated (also when the library would fill the rest with grey), more
 * than max_pixels. */
CF_CHECKED cf_err cf_image_decode(const char *name, const uint8_t *bytes, size_t n,
                                  int64_t max_pixels, cf_image *image);
/* The same into the memory of an image decoded before, where that is large enough: thousands of
 * images a second would otherwise spend their time on fresh pages. image: {0} at first; empty on an
 * error. */
CF_CHECKED cf_err cf_image_decode_again(const char *name, const uint8_t *bytes, size_t n,
                                        int64_t max_pixels, cf_image *image);
void cf_image_fini(cf_image *image);
/* Resizes to height x width, triangle filter with support scaled to the reduction (antialiased
 * bilinear, as PIL's), in fixed point: the same bits on every machine. */
CF_CHECKED cf_err cf_image_resize(const cf_image *in, int height, int width, cf_image *out);
/* Cuts height x width pixels from column x0 and row y0 on. What lies outside the image is mirrored
 * at its border pixels. */
CF_CHECKED cf_err cf_image_crop(const cf_image *in, int x0, int y0, int height, int width,
                                cf_image *out);
/* Writes a PNG file (synth, contact sheets). */
CF_CHECKED cf_err cf_image_write_png(const char *path, const uint8_t *pixels, int height,
                                     int width);
/* Appends the pixels as a baseline JPEG, 4:2:0; quality: 1..100, libjpeg's scale. */
CF_CHECKED cf_err cf_image_encode_jpeg(const uint8_t *pixels, int height, int width, int quality,
                                       cf_buf *bytes);
/* The same into a file. */
CF_CHECKED cf_err cf_image_write_jpeg(const char *path, const uint8_t *pixels, int height,
                                      int width, int quality);

#endif
