/* Local features (SIFT, Lowe 2004, by VLFeat) of a picture, and the similarity map that most of two
 * pictures' features agree on: any angle and scale. Threads: any. Read first: cf_sift_match. */
#ifndef CF_WORKER_DATA_CHECK_SIFT_H
#define CF_WORKER_DATA_CHECK_SIFT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/data/check_align.h"

enum { CF_SIFT_DIMS = 128, CF_SIFT_MAX = 400 };

typedef struct cf_sift {
    int n;
    float place[CF_SIFT_MAX][4]; /* x, y, scale in units of CF_ALIGN_SIDE; angle in radians */
    float descriptor[CF_SIFT_MAX][CF_SIFT_DIMS]; /* of length 1 */
} cf_sift;

enum cf_sift_side { CF_SIFT_AS_IS, CF_SIFT_MIRRORED };

/* Features of luma at a side of at most 160 px, the first CF_SIFT_MAX in VLFeat's order. MIRRORED:
 * of the picture mirrored at its vertical axis, places in the mirrored picture. pixels: uint8
 * [height][width][3]. */
CF_CHECKED cf_err cf_sift_fill(const uint8_t *pixels, int height, int width, enum cf_sift_side side,
                               cf_sift *s);

/* The similarity map from a's places to b's with the most matches in agreement (within 4 units):
 * matches pass Lowe's ratio test at 0.8, every match proposes a map, the best is fitted to those
 * that agree with it. Returns how many these are; under 6 no map. */
int cf_sift_match(const cf_sift *a, const cf_sift *b, cf_align_map *map);

#endif
