/* The nearest neighbours of every row of a matrix.
 *
 * All pairs are compared, in blocks, as products of rows; the likeliest are then measured as
 * differences in double precision. Products of rows rounded to bf16 are enough where the triangle
 * inequality proves that nobody else can be nearer; the other rows are compared again as floats
 * (there the proof is left out: 8 more than k are measured). Results do not depend on the number of
 * threads. Threads: one caller. Read first: cf_neighbours_find; trust.h judges a picture by them.
 */
#ifndef CF_WORKER_INSIGHT_NEIGHBOURS_H
#define CF_WORKER_INSIGHT_NEIGHBOURS_H

#include <stdint.h>

#include "kernels/base/err.h"

enum { CF_NEIGHBOURS_MAX = 256 };

typedef struct cf_neighbours {
    int64_t n;
    int k;
    int32_t *index; /* owned, [n][k] nearest first, never the row itself; ties: lower index first */
    float *distance; /* owned, [n][k] Euclidean */
    int64_t n_again; /* rows that had to be compared as floats */
} cf_neighbours;

/* x: [n][d] float. 1 <= k <= CF_NEIGHBOURS_MAX and k < n < 2^31, else CF_E_USAGE. threads 0: one a
 * core. Release with fini in any case. */
CF_CHECKED cf_err cf_neighbours_find(const float *x, int64_t n, int64_t d, int k, int threads,
                                     cf_neighbours *out);
void cf_neighbours_fini(cf_neighbours *nb);

#endif
