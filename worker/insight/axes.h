/* Principal axes of the rows of a matrix, and the turn that lays one set of points on another
 * (orthogonal Procrustes): what makes features of several networks comparable.
 *
 * Results do not depend on the number of threads: one does all. Read first: cf_axes_find,
 * cf_turn_fit. */
#ifndef CF_WORKER_INSIGHT_AXES_H
#define CF_WORKER_INSIGHT_AXES_H

#include <stdint.h>

#include "kernels/base/err.h"

enum { CF_AXES_MAX = 128 };

typedef struct cf_axes {
    int64_t d;
    int r;
    double *mean;     /* owned, [d] */
    float *axis;      /* owned, [r][d] of length 1, widest first; zero where the data has no more */
    double *variance; /* owned, [r] along each */
    double total;     /* variance in all */
} cf_axes;

/* The r widest axes of x [n][d], by subspace iteration (Halko, Martinsson, Tropp 2011, algorithm
 * 4.4). 1 <= r <= CF_AXES_MAX, r <= d, n >= 2. Release with fini in any case. */
CF_CHECKED cf_err cf_axes_find(const float *x, int64_t n, int64_t d, int r, cf_axes *out);
/* The same after fewer rounds: axes that hold nearly as much of the variance, between which the
 * narrow ones are not told apart. */
CF_CHECKED cf_err cf_axes_find_roughly(const float *x, int64_t n, int64_t d, int r, cf_axes *out);
void cf_axes_fini(cf_axes *a);
/* y: [n][a->r], the rows of x [n][a->d] less the mean, along each axis. */
void cf_axes_project(const cf_axes *a, const float *x, int64_t n, double *y);

/* y = to + scale (x - from) rotation. */
typedef struct cf_turn {
    int r;
    double scale;
    double *from, *to; /* owned, [r] mean rows */
    double *rotation;  /* owned, [r][r] orthogonal, but for directions that one of both lacks */
    double agreement;  /* share of the variance of `to` that the turned points have, 0 to 1 */
} cf_turn;

/* The turn, scale and shift that bring the rows of a [n][r] nearest to those of b [n][r] in sum of
 * squares (Schoenemann 1966). n >= 2, 1 <= r <= CF_AXES_MAX. Release with fini in any case. */
CF_CHECKED cf_err cf_turn_fit(const double *a, const double *b, int64_t n, int r, cf_turn *out);
void cf_turn_fini(cf_turn *t);
/* y [n][r] from x [n][r]. */
void cf_turn_apply(const cf_turn *t, const double *x, int64_t n, float *y);

/* a [r][r] = u diag(s) v^T by rotations of columns (one-sided Jacobi): a becomes u, s [r] falls.
 * Columns of u are zero where s is. */
void cf_axes_svd(double *a, int r, double *s, double *v);

#endif
