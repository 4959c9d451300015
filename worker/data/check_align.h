/* Do two pictures show the same? Their alignment, first roughly on thumbnails, then on pixels.
 *
 * Places are in units of a square of CF_ALIGN_SIDE a side, (0, 0) its middle, whatever the images'
 * size. A map tells where a place of picture a stands in picture b. Threads: any. Read first:
 * cf_align_confirm. */
#ifndef CF_WORKER_DATA_CHECK_ALIGN_H
#define CF_WORKER_DATA_CHECK_ALIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/data/check_measure.h"

enum { CF_ALIGN_SIDE = 128, CF_ALIGN_PIXELS = CF_ALIGN_SIDE * CF_ALIGN_SIDE };

/* u = m[0][0] x + m[0][1] y + t[0], v = m[1][0] x + m[1][1] y + t[1]. */
typedef struct cf_align_map {
    double m[2][2], t[2];
} cf_align_map;

/* The best of eight orientations and shifts by up to 6 px of two thumbnails of luma (uint8
 * [CF_THUMB_PIXELS]): the normalised correlation over their overlap, -1 to 1, and the map. */
float cf_align_thumbs(const uint8_t *a, const uint8_t *b, cf_align_map *map);

/* A picture for the alignment on pixels. */
typedef struct cf_align_picture {
    float
        smooth[CF_ALIGN_PIXELS / 4]; /* luma without its details at half the side, to be aligned */
    float detail[CF_ALIGN_PIXELS];   /* what is 1 to 4 px wide, evened out, to be compared */
} cf_align_picture;

/* pixels: uint8 [height][width][3]. */
CF_CHECKED cf_err cf_align_picture_fill(const uint8_t *pixels, int height, int width,
                                        cf_align_picture *p);

/* Refines a map that is right to within about 5 units (Lucas and Kanade 1981, for similarity maps)
 * and returns the normalised correlation of the details over the overlap; 0 where the overlap is
 * under half of the picture or one of the two has no details there. Different cells look alike from
 * afar but not in their details, which this compares. */
float cf_align_confirm(const cf_align_picture *a, const cf_align_picture *b, cf_align_map *map);

/* "same place", or what was done to a to get b: "mirrored, turned 90, scaled 1.02, shifted 5 0 px",
 * px of an image of this height and width. text: [96]. */
const char *cf_align_words(const cf_align_map *map, int height, int width, char text[96]);

#endif
