/* The last pass over a painted phantom: defocus, uneven light, stain and sensor noise, then bytes.
 * Private to this room. Threads: any. */
#ifndef CF_WORKER_DATA_PHANTOM_DEVELOP_H
#define CF_WORKER_DATA_PHANTOM_DEVELOP_H

#include <stdint.h>

#include "kernels/math/philox.h"

/* out: [size][size][3], bilinear, from rgb: [side][side][3]; side: at most size. */
void cf_phantom_enlarge(const float *rgb, int side, int size, float *out);
/* rgb: [size][size][3], 0..255, used up; blur: px; other: [size][size][3] floats of
 * scratch; pixels: uint8 [size][size][3]. size: at least 4. Takes its numbers from rng. */
void cf_phantom_develop(float *rgb, int size, float blur, cf_rng *rng, float *other,
                        uint8_t *pixels);

#endif
