/* The nearest neighbours of every row of a matrix, and how well a picture keeps them.
 *
 * Exact: all pairs are compared, in blocks, as products of rows; the nearest are then measured
 * again as differences. Results do not depend on the number of threads. Threads: one caller. Read
 * first: cf_neighbours_find. */
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
} cf_neighbours;

/* x: [n][d] float. 1 <= k <= CF_NEIGHBOURS_MAX and k < n < 2^31, else CF_E_USAGE. threads 0: one a
 * core. Release with fini in any case. */
CF_CHECKED cf_err cf_neighbours_find(const float *x, int64_t n, int64_t d, int k, int threads,
                                     cf_neighbours *out);
void cf_neighbours_fini(cf_neighbours *nb);

/* Trustworthiness of the picture y [n][2] of x [n][d] (Venna & Kaski 2001, eq. 1): 1 when the k
 * nearest of each point of the picture are among its k nearest in x. Over at most `most` rows,
 * spread evenly (0: all). 1 <= k < n/2. */
CF_CHECKED cf_err cf_trustworthiness(const float *x, int64_t n, int64_t d, const float *y, int k,
                                     int64_t most, int threads, double *value);
/* Over how many rows that is. */
int64_t cf_trustworthiness_rows(int64_t n, int64_t most);

#endif
