/* What check keeps of every image: colours, sharpness, bars at the borders, and a thumbnail. A
 * image's pixels are read once. Threads: any. Read first: cf_measure_image, cf_odd_find. */
#ifndef CF_WORKER_DATA_CHECK_MEASURE_H
#define CF_WORKER_DATA_CHECK_MEASURE_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"

enum { CF_THUMB_SIDE = 32, CF_THUMB_PIXELS = CF_THUMB_SIDE * CF_THUMB_SIDE };

/* Values are in grey levels, 0..255. */
typedef struct cf_measure {
    float mean[3], sd[3];     /* of R, G, B over the image; SD with n */
    float luma_mean, luma_sd; /* luma: Rec. 601 weights */
    float spread;             /* mean over the thumbnail of max(R,G,B) - min(R,G,B) */
    float sharpness;          /* mean squared Laplacian of green / variance of green; 0: flat */
    float bars;               /* share of the image in one-coloured bars at its borders, 0..1 */
} cf_measure;

/* pixels: uint8 [height][width][3], any size from 1 x 1. thumb: float [2][CF_THUMB_PIXELS],
 * receives area means of luma and of R - G on a square grid, whatever the aspect. scratch: uint32
 * [6 * width]. */
void cf_measure_image(const uint8_t *pixels, int height, int width, uint32_t *scratch,
                      cf_measure *m, float *thumb);

/* Rules for images that look odd; an image may fall under several. */
enum cf_odd {
    CF_ODD_FLAT = 1,   /* luma SD under 3: one colour */
    CF_ODD_DARK = 2,   /* mean luma under 25 */
    CF_ODD_BRIGHT = 4, /* mean luma over 248 */
    CF_ODD_FAINT = 8,  /* luma SD from 3 to 10: hardly anything to see */
    CF_ODD_GREY = 16,  /* channel spread under 2 in a site whose median is over 15 */
    CF_ODD_BARS =
        32, /* one-coloured bars of over 4 % of an image that is not faint: cut short, or padded */
    CF_ODD_BLURRED = 64, /* log sharpness under its site's median by more than 6 robust SD */
    CF_ODD_COLOR = 128   /* mean colour away from its site's median by more than 6 robust SD */
};
/* Names of the rules that hold, joined by "; ": "one colour; blurred". text: [160]. */
const char *cf_odd_words(unsigned odd, char text[160]);

/* Judges all images. The rules that compare look at sites of at least 30 images; a robust SD is
 * 1.4826 times the median absolute deviation (Hampel 1974), at least 0.05 for log sharpness and 2
 * levels for colours. odd: [n], receives the rules of each. */
CF_CHECKED cf_err cf_odd_find(const cf_cells *cells, const cf_measure *measures, uint8_t *odd);

#endif
