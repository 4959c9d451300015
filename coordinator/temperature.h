/* Fits the temperature of kernels/math/temperature.h to predictions with labels. Threads: any.
 * Read first: cf_temperature_fit. */
#ifndef CF_COORDINATOR_TEMPERATURE_H
#define CF_COORDINATOR_TEMPERATURE_H

#include <stdint.h>

#include "proto/csv.h"

/* Range that is searched. A fit at its end means "no better than chance" (or worse), one near its
 * beginning "as sure as can be": the search stops where the loss is 0 to the last bit. */
#define CF_TEMPERATURE_MIN 0.01
#define CF_TEMPERATURE_MAX 100.0

/* The T of least mean NLL over all rows of p, each with a label. NLL is convex in 1/T: Newton's
 * method kept within a shrinking bracket, to 1e-10 of 1/T. Rows whose label has probability 0 are
 * left out: no temperature mends them. NaN when no row is left. The result depends on nothing but
 * the rows and their order. CF_E_UNEXPECTED when memory is short. */
CF_CHECKED cf_err cf_temperature_fit(const cf_predictions *p, double *temperature);

/* For several fits on the same predictions: the logarithms are taken once. */
typedef struct cf_temperature_table {
    const cf_predictions *p; /* borrowed */
    double *logs;            /* owned, [p->n][n_classes]: ln p_k - ln p_label; a row whose label has
                                probability 0 begins with NaN */
} cf_temperature_table;
CF_CHECKED cf_err cf_temperature_table_init(cf_temperature_table *t, const cf_predictions *p);
void cf_temperature_table_fini(cf_temperature_table *t);
/* As cf_temperature_fit, of rows[0..n-1] of t->p. start: where the search begins, for example the
 * fit of all rows; 1 when nothing is known. */
double cf_temperature_fit_rows(const cf_temperature_table *t, const int64_t *rows, int64_t n,
                               double start);

#endif
