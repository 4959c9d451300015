/* Near duplicates in two stages: pictures whose descriptors stand close (nearest neighbours in
 * VLFeat's kd-forest), then each such pair aligned and compared on pixels. Turned pictures are
 * tried in eight orientations first, at other angles through SIFT features (the 5,000 closest
 * pairs). Threads: one caller. Read first: cf_near_find. */
#ifndef CF_WORKER_DATA_CHECK_NEAR_H
#define CF_WORKER_DATA_CHECK_NEAR_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"
#include "worker/data/check_align.h"
#include "worker/data/crew.h"

/* Correlation of details from which two pictures are near duplicates, by default. The most alike of
 * different pictures had 0.67 among 5,359 real cells and 0.94 among 10,000 phantoms (blurred ones,
 * which have no details); copies shifted, turned, brighter or saved as JPEG at quality 75 had 0.98
 * and more. */
#define CF_NEAR_SIMILARITY 0.9

typedef struct cf_near_input {
    const cf_cells *cells;    /* borrowed */
    const int32_t *images;    /* borrowed, [n]: images to compare, no two of them equal */
    const float *descriptors; /* borrowed, [n][CF_DESCRIBE_DIMS], standardised */
    const uint8_t *thumbs;    /* borrowed, [n][CF_THUMB_PIXELS], luma */
    int64_t n;
    float similarity; /* from which a pair is reported, 0 to 1 */
} cf_near_input;

typedef struct cf_near_pair {
    int32_t a, b;     /* images, a < b */
    float similarity; /* correlation of details after alignment */
    cf_align_map map; /* from a to b */
} cf_near_pair;

typedef struct cf_near_result {
    cf_near_pair *pairs; /* owned, [n], ordered by a, then b */
    int64_t n;
    int64_t n_candidates; /* pairs that stood close */
    int64_t n_compared;   /* of these, compared on pixels */
    int64_t n_sift;       /* of these, aligned by their features */
} cf_near_result;

/* Finds them. The same result for any number of threads. About 0.8 KB of memory an image beside the
 * input. */
CF_CHECKED cf_err cf_near_find(const cf_near_input *in, const cf_crew *crew,
                               cf_near_result *result);
void cf_near_result_fini(cf_near_result *result);

#endif
