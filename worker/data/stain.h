/* Stains: separation of an image into two dyes, and the changes of them that augmentation draws and
 * normalisation asks for. What a change does to a pixel stands in kernels/math/stain.h. Threads:
 * any. Read first: cf_stain_estimate. */
#ifndef CF_WORKER_DATA_STAIN_H
#define CF_WORKER_DATA_STAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/math/stain.h"
#include "proto/config.h"

/* Pixels of an image that are looked at: every n-th of every n-th row, for the smallest n that
 * leaves no more than this (a 250 x 250 image is thinned by 3). */
enum { CF_STAIN_MAX_SAMPLES = 8192 };

/* The two stains of an image: uint8 [height][width][3]. Pixels of which any channel has OD < 0.15
 * are background; the others are projected on the plane of the two leading eigenvectors of their
 * covariance, and the 1st and 99th percentile of their angle there are the two stains. `max` is
 * over all pixels, background too, and at least 1/16. Percentiles are read from histograms and
 * interpolated within a bin, which is 1e-3 rad wide or 0.4 % of a concentration. Returns true, or
 * false where the image has no two stains: fewer than 100 pixels kept, the two angles less than two
 * bins apart, |od[0] x od[1]| < 1e-3, or anything not finite; *out is then cf_stain_default().
 * Never NaN. Deterministic in double, up to the system's log(). Source: Macenko et al., A method
 * for normalizing histology slides, ISBI 2009. */
bool cf_stain_estimate(const uint8_t *pixels, int height, int width, cf_stain *out);

/* A pair that stands in where there is none: May-Gruenwald-Giemsa, the medians over the 5,338 of
 * 5,359 marrow images of seven classes (bm7, 250 px) that have one of their own, made unit vectors.
 */
cf_stain cf_stain_default(void);

/* Whether the pair can be inverted: unit vectors, far enough apart, maxima above 0, all finite. */
bool cf_stain_is_valid(const cf_stain *s);

/* S^+ [2][3]: concentrations are S^+ OD by least squares. s: valid. */
void cf_stain_invert(const cf_stain *s, double inverse[2][3]);

/* The map of one draw: each concentration c becomes alpha c + beta, alpha ~ U(1-s, 1+s), beta ~
 * U(-s', s'), and what the two stains do not explain is kept. Off where config says so. s = s' =
 * 0.05 (light) or 0.2 (medium); strong: s = 0.9, s' = 0.9 / 255. Its numbers come from a stream of
 * its own, so that it leaves all other draws alone. `stain`: of the image; an invalid pair counts
 * as cf_stain_default(). Source: Tellez et al., Medical Image Analysis 58 (2019). */
void cf_stain_draw(const cf_config *config, const cf_stain *stain, int fold, int64_t epoch,
                   int64_t draw, cf_stain_map *map);

/* The map that gives an image of stains `from` the stains `to`: its concentrations, scaled so that
 * their 99th percentiles are those of `to`, mixed with the vectors of `to`. What the two stains of
 * `from` do not explain is dropped, as Macenko et al. do. Invalid pairs count as
 * cf_stain_default(). */
void cf_stain_normalize(const cf_stain *from, const cf_stain *to, cf_stain_map *map);

#endif
