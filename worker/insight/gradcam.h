/* Grad-CAM (Selvaraju et al., ICCV 2017): where a layer speaks for a class. Threads: any. Read
 * first: cf_gradcam. */
#ifndef CF_WORKER_INSIGHT_GRADCAM_H
#define CF_WORKER_INSIGHT_GRADCAM_H

#include <stdint.h>

#include "kernels/base/err.h"

/* Equations 1 and 2: each channel of the output is weighted with its mean gradient, and what speaks
 * against the class is left out. output, gradient: [pixels][c] of one image; map: [pixels], at
 * least 0. In double precision, in the order of pixels and channels. */
CF_CHECKED cf_err cf_gradcam(const float *output, const float *gradient, int64_t pixels, int64_t c,
                             float *map);

/* Where the pixels of a map lie over the image: pixel i reads around image pixel start + step * i.
 */
typedef struct cf_map_place {
    double start, step; /* px; step above 0 */
} cf_map_place;

/* map [h][w] to `large` [height][width], over the image: smooth between the places of its pixels
 * (Catmull and Rom's cubic, bounded below by 0), beyond them the nearest one's. scratch:
 * [h][width].
 */
void cf_map_enlarge(const float *map, int h, int w, cf_map_place place, int height, int width,
                    float *scratch, float *large);
/* Divides by the highest value of [n], so that it becomes 1; a map of zeros stays. Returns it. */
float cf_map_scale(float *map, int64_t n);

#endif
