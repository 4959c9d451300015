/* The decoders behind cf_image_decode, and what they share; private to this room.
 *
 * A decoder is called with bytes whose magic it owns. It checks limits from the header before it
 * allocates, and it refuses whatever the library would repair in silence. Threads: any. */
#ifndef CF_WORKER_DATA_DECODERS_H
#define CF_WORKER_DATA_DECODERS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/data/image.h"

CF_CHECKED cf_err cf_jpeg_decode(const char *name, const uint8_t *bytes, size_t n,
                                 int64_t max_pixels, cf_image *image);
CF_CHECKED cf_err cf_png_decode(const char *name, const uint8_t *bytes, size_t n,
                                int64_t max_pixels, cf_image *image);
CF_CHECKED cf_err cf_tiff_decode(const char *name, const uint8_t *bytes, size_t n,
                                 int64_t max_pixels, cf_image *image);

/* Allocates the pixels (not initialised) of an image of these sides, or takes those that it has.
 * CF_E_DATA when there are more than max_pixels. */
CF_CHECKED cf_err cf_image_alloc(const char *name, int64_t height, int64_t width,
                                 int64_t max_pixels, cf_image *image);

/* CF_E_DATA when decoding `what` takes more than 3 bytes a pixel of the limit (and 1 MiB) beside
 * the image itself: with the limit that users have, an image and its decoder stay below 512 MB. */
CF_CHECKED cf_err cf_image_check_room(const char *name, const char *what, uint64_t bytes,
                                      int64_t max_pixels);

/* Writes a file of encoded bytes as cf_image_write_png does; none is left on an error. CF_E_DISK.
 */
CF_CHECKED cf_err cf_image_save(const char *path, const void *bytes, size_t n);

/* The orientation 1..8 of an EXIF block ("Exif\0\0" and a TIFF structure; EXIF 2.3, 4.6.4 A); 1
 * when it has none or is damaged. */
int cf_exif_orientation(const uint8_t *bytes, size_t n);
/* The same of the TIFF structure alone: what an eXIf chunk of PNG holds. */
int cf_exif_tiff_orientation(const uint8_t *tiff, size_t n);
/* Turns the image so that orientation o becomes 1. */
CF_CHECKED cf_err cf_image_orient(cf_image *image, int o);

#endif
