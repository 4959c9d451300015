/* Bootstrap resamples (Efron 1979) as weights: how often each row was drawn. Several resamples at a
 * time, in lanes side by side, so that one pass over the rows serves them all. Resample i is the
 * Philox stream (seed, draw = i, CF_PURPOSE_BOOTSTRAP): the same on any thread. Threads: a
 * resampler is read-only after init. Read first: cf_resampler, cf_resample. */
#ifndef CF_COORDINATOR_RESAMPLE_H
#define CF_COORDINATOR_RESAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { CF_LANES = 16 };

typedef struct cf_resampler {
    int64_t n_rows, n_units;
    int32_t *unit_of; /* owned, [n_rows]: the patient of a row; NULL: each row is a unit */
    uint64_t seed;
} cf_resampler;

/* Whether one of [n_rows] names, NULL for none, is there: neither NULL nor "". */
bool cf_resample_any_name(char *const *patients, int64_t n_rows);
/* patients: [n_rows] names; NULL, or none of them a name: rows are drawn one by one. Rows of one
 * name are drawn together, rows without a name ("" or NULL) each by itself. */
CF_CHECKED cf_err cf_resampler_init(cf_resampler *r, char *const *patients, int64_t n_rows,
                                    uint64_t seed);
void cf_resampler_fini(cf_resampler *r);
bool cf_resampler_by_patient(const cf_resampler *r);
/* Resamples first..first + CF_LANES - 1: n_units draws with replacement each. weights:
 * [n_rows][CF_LANES]; units: scratch, [n_units][CF_LANES]; may be NULL where rows are units. A
 * weight above 255 would take as many draws of one unit among n_units: the chance is below 1e-500.
 */
void cf_resample(const cf_resampler *r, uint32_t first, uint8_t *units, uint8_t *weights);

/* Ends of the central 95 % of values (percentile interval, Efron 1981), linear between order
 * statistics. Undefined values (NaN) are left out; where fewer than half are defined, both ends are
 * NaN. values: [n], sorted here. */
void cf_resample_interval(double *values, int n, double *low, double *high);

#endif
