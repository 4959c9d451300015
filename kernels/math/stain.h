/* Stains of one image, for host and device: two absorbing dyes and how much of each there is
 * (Macenko et al. 2009). Read first: cf_stain. */
#ifndef CF_KERNELS_MATH_STAIN_H
#define CF_KERNELS_MATH_STAIN_H

/* Optical density is OD = -ln((I + 1) / 240) of a channel value I in 0..255; an image's is about
 * od[0] * c0 + od[1] * c1 with concentrations c0, c1 of its two stains. */
typedef struct cf_stain {
    float od[2][3]; /* unit vectors over R, G, B; the one with the larger R first */
    float max[2];   /* 99th percentile of each concentration */
} cf_stain;

#endif
