/* The nearest neighbours of every row of a matrix.
 *
 * All pairs are compared, in blocks, as products of rows; the likeliest are then measured by
 * their differences. Products of rows rounded to bf16 are enough where the triangle
 * inequality proves that nobody else can be nearer; the other rows are compared again as floats
 * (there the proof is left out: 8 more than k are measured).
 *
 * Many long rows are compared by their places along 128 principal axes instead, which is
 * approximate: of the 26 more than k that seem nearest so the k nearest are taken. How many of the
 * true neighbours that found is measured on some rows.
 *
 * Results do not depend on the number of threads. Threads: one caller. Read first:
 * cf_neighbours_find; trust.h judges a picture by them.
 */
#ifndef CF_WORKER_INSIGHT_NEIGHBOURS_H
#define CF_WORKER_INSIGHT_NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/data/crew.h"

enum { CF_NEIGHBOURS_MAX = 256 };
/* From so many rows on, of so many features at least, the search is approximate. */
enum { CF_NEIGHBOURS_MANY = 20000, CF_NEIGHBOURS_LONG = 512 };

typedef struct cf_neighbours {
    int64_t n;
    int k;
    int32_t *index; /* owned, [n][k] nearest first, never the row itself; ties: lower index first */
    float *distance; /* owned, [n][k] Euclidean */
    int64_t n_again; /* rows that had to be compared as floats */
    bool approximate;
    double found; /* share of the true neighbours that are among `index`; approximate: of 64 rows */
} cf_neighbours;

/* x: [n][d] float. 1 <= k <= CF_NEIGHBOURS_MAX and k < n < 2^31, else CF_E_USAGE; CF_E_UNEXPECTED
 * "interrupted" when the crew's progress() said stop. crew: borrowed; threads 0: one a core.
 * Release with fini in any case. */
CF_CHECKED cf_err cf_neighbours_find(const float *x, int64_t n, int64_t d, int k,
                                     const cf_crew *crew, cf_neighbours *out);
/* The first k of each row's, k <= nb->k. */
CF_CHECKED cf_err cf_neighbours_first(const cf_neighbours *nb, int k, cf_neighbours *out);
void cf_neighbours_fini(cf_neighbours *nb);

#endif
