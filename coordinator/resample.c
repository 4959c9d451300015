#include "coordinator/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/math/philox.h"

typedef struct named_row {
    const char *name;
    int64_t row;
} named_row;

static int by_name(const void *a, const void *b)
{
    const named_row *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->row > y->row) - (x->row < y->row);
}

/* Gives every row its unit, patients numbered by name, then the rows without one. rows: scratch,
 * [n_rows]. Returns how many units there are; n_rows where no row has a name. */
static int64_t number_units(char *const *patients, int64_t n_rows, named_row *rows,
                            int32_t *unit_of)
{
    int64_t n_named = 0, units = 0;
    for (int64_t i = 0; i < n_rows; i++)
        if (patients[i] && patients[i][0]) rows[n_named++] = (named_row){patients[i], i};
    qsort(rows, (size_t)n_named, sizeof *rows, by_name);
    for (int64_t i = 0; i < n_named; i++) {
        units += i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0;
        unit_of[rows[i].row] = (int32_t)(units - 1);
    }
    for (int64_t i = 0; i < n_rows; i++)
        if (!patients[i] || !patients[i][0]) unit_of[i] = (int32_t)units++;
    return units;
}

bool cf_resample_any_name(char *const *patients, int64_t n_rows)
{
    for (int64_t i = 0; patients && i < n_rows; i++)
        if (patients[i] && patients[i][0]) return true;
    return false;
}

cf_err cf_resampler_init(cf_resampler *r, char *const *patients, int64_t n_rows, uint64_t seed)
{
    named_row *rows = NULL;
    cf_err err = CF_OK;
    *r = (cf_resampler){.n_rows = n_rows, .n_units = n_rows, .seed = seed};
    if (n_rows > INT32_MAX)
        return cf_fail(CF_E_DATA, "%lld rows to resample, expected at most %d", (long long)n_rows,
                       INT32_MAX);
    if (!cf_resample_any_name(patients, n_rows)) return CF_OK;
    CF_TRY_GOTO(cf_new(&rows, (size_t)n_rows, sizeof *rows), out);
    CF_TRY_GOTO(cf_new(&r->unit_of, (size_t)n_rows, sizeof *r->unit_of), out);
    r->n_units = number_units(patients, n_rows, rows, r->unit_of);
out:
    free(rows);
    return err;
}

void cf_resampler_fini(cf_resampler *r)
{
    free(r->unit_of);
    *r = (cf_resampler){0};
}

bool cf_resampler_by_patient(const cf_resampler *r)
{
    return r->unit_of != NULL;
}

static void draw(const cf_resampler *r, uint32_t resample, uint8_t *lane)
{
    cf_rng rng = cf_rng_at(r->seed, 0, 0, resample, CF_PURPOSE_BOOTSTRAP);
    for (int64_t i = 0; i < r->n_units; i++)
        lane[(size_t)cf_rng_below(&rng, (uint32_t)r->n_units) * CF_LANES]++;
}

void cf_resample(const cf_resampler *r, uint32_t first, uint8_t *units, uint8_t *weights)
{
    uint8_t *drawn = r->unit_of ? units : weights;
    memset(drawn, 0, (size_t)r->n_units * CF_LANES * sizeof *drawn);
    for (uint32_t lane = 0; lane < CF_LANES; lane++) draw(r, first + lane, drawn + lane);
    for (int64_t i = 0; r->unit_of && i < r->n_rows; i++)
        memcpy(weights + i * CF_LANES, units + (int64_t)r->unit_of[i] * CF_LANES,
               CF_LANES * sizeof *weights);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double share)
{
    double at = share * (n - 1), below = floor(at);
    int i = (int)below;
    return i + 1 < n ? sorted[i] + (at - below) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

void cf_resample_interval(double *values, int n, double *low, double *high)
{
    int defined = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(values[i])) values[defined++] = values[i];
    *low = *high = (double)NAN;
    if (defined == 0 || 2 * defined < n) return;
    qsort(values, (size_t)defined, sizeof *values, by_value);
    *low = quantile(values, defined, 0.025);
    *high = quantile(values, defined, 0.975);
}
