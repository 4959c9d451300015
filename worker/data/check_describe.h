/* A short descriptor of a picture that hardly changes when the picture is shifted a little, turned,
 * mirrored, made brighter or compressed again: so pictures of one cell stand close together among
 * all, and a nearest-neighbour search finds them.
 *
 * Of luma and of R - G, each under a round window that fades out before the border: magnitudes of
 * the Fourier transform at 8 radii and 16 angles of the frequency plane (shifts change phases only;
 * Fourier-Mellin, Casasent and Psaltis 1976), their roots, and of these the magnitudes of the first
 * 4 harmonics over the angle (turning and mirroring change phases only). Threads: any, once made.
 * Read first: cf_describe. */
#ifndef CF_WORKER_DATA_CHECK_DESCRIBE_H
#define CF_WORKER_DATA_CHECK_DESCRIBE_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/data/check_measure.h"

enum {
    CF_DESCRIBE_RADII = 8,
    CF_DESCRIBE_ANGLES = 16,
    CF_DESCRIBE_HARMONICS = 4,
    CF_DESCRIBE_DIMS = 2 * CF_DESCRIBE_RADII * CF_DESCRIBE_HARMONICS
};

typedef struct cf_describer cf_describer; /* its tables; 1 MiB */

CF_CHECKED cf_err cf_describer_create(cf_describer **out);
void cf_describer_destroy(cf_describer *d);

/* thumb: float [2][CF_THUMB_PIXELS] as cf_measure_image fills it; out: float [CF_DESCRIBE_DIMS]. A
 * picture without structure gets zeros. */
void cf_describe(const cf_describer *d, const float *thumb, float *out);

/* Brings every dimension to mean 0 and SD 1 over the n descriptors; one that does not vary becomes
 * 0. Two unrelated pictures are then about sqrt(2 * CF_DESCRIBE_DIMS) = 11.3 apart. */
void cf_describe_standardise(float *descriptors, int64_t n);

#endif
