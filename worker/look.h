/* How an image looks, in ten figures that need no network: colours and sharpness. Threads: any.
 * Read first: cf_look. */
#ifndef CF_WORKER_LOOK_H
#define CF_WORKER_LOOK_H

#include <stdint.h>

enum { CF_LOOK_FIGURES = 10 };

/* Of optical densities, -ln((I + 1) / 240), of all pixels: their mean over R, G, B; their standard
 * deviation; the correlations RG, RB, GB; and the logarithm of the mean squared difference of
 * neighbours against the variance, of the mean of the three channels: lower where it is blurred.
 * pixels: uint8 [height][width][3]. Finite for any image. */
void cf_look(const uint8_t *pixels, int height, int width, double figures[CF_LOOK_FIGURES]);

/* The figures of the same image with red and blue exchanged; may work in place. */
void cf_look_swap(const double figures[CF_LOOK_FIGURES], double swapped[CF_LOOK_FIGURES]);

#endif
