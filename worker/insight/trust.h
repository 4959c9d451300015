/* How well a picture keeps the neighbours of what it shows. Results do not depend on the number of
 * threads. Threads: one caller. Read first: cf_trustworthiness. */
#ifndef CF_WORKER_INSIGHT_TRUST_H
#define CF_WORKER_INSIGHT_TRUST_H

#include "worker/insight/neighbours.h"

/* Trustworthiness of the picture y [n][2] of x [n][d] (Venna & Kaski 2001, eq. 1): 1 when the k
 * nearest of each point of the picture are among its k nearest in x. Over at most `most` rows,
 * spread evenly (0: all). 1 <= k < n/2. crew: as cf_neighbours_find's. */
CF_CHECKED cf_err cf_trustworthiness(const float *x, int64_t n, int64_t d, const float *y, int k,
                                     int64_t most, const cf_crew *crew, double *value);
/* Over how many rows that is. */
int64_t cf_trustworthiness_rows(int64_t n, int64_t most);

#endif
