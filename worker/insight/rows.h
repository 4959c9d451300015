/* Rows of a matrix made ready to be compared with each other: moved to their middle, where numbers
 * are small and cancel less, with their squared lengths; and rounded to bf16, with what each lost.
 * Threads: one caller. Read first: cf_rows. */
#ifndef CF_WORKER_INSIGHT_ROWS_H
#define CF_WORKER_INSIGHT_ROWS_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/data/crew.h"

typedef struct cf_rows {
    int64_t n, d;
    float *x;       /* owned, [n][d] */
    float *squares; /* owned, [n] squared lengths, of the rounded rows where there are such */
    float *lost;    /* owned, [n] length of what rounding took from a row; NULL: none wanted */
    double longest, most_lost; /* row, and loss, of all */
} cf_rows;

/* x: [n][d]. Release with fini in any case. */
typedef enum cf_rows_kind { CF_ROWS_FLOAT, CF_ROWS_ROUNDED } cf_rows_kind;
CF_CHECKED cf_err cf_rows_init(cf_rows *r, const float *x, int64_t n, int64_t d, cf_rows_kind kind,
                               const cf_crew *crew);
void cf_rows_fini(cf_rows *r);

/* The rows' places along their CF_ROWS_AXES widest axes (of a sample), with the squared lengths of
 * the whole rows: |a|^2 + |b|^2 - 2 a'b' is the squared distance but for the product of what is
 * left of both, which has no direction that they share. r->d becomes CF_ROWS_AXES; whole: [n]
 * squared lengths of the rows of x as they are. d >= CF_ROWS_AXES. Release with fini in any case.
 */
enum { CF_ROWS_AXES = 128 };
CF_CHECKED cf_err cf_rows_narrow(cf_rows *r, const float *x, int64_t n, int64_t d,
                                 const cf_crew *crew, float *whole);

/* bf16 of n floats, to nearest even. */
void cf_rows_round(const float *x, int64_t n, uint16_t *out);
/* The squared distance of two rows [d], summed in a fixed order, four squares as floats before they
 * join a sum of double precision: to 3e-7 of the value. */
double cf_rows_distance(const float *a, const float *b, int64_t d);

#endif
