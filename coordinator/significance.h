/* Tests of differences between two classifiers. Threads: any. Read first: cf_mcnemar_test. */
#ifndef CF_COORDINATOR_SIGNIFICANCE_H
#define CF_COORDINATOR_SIGNIFICANCE_H

#include <stdbool.h>
#include <stdint.h>

/* Whether two classifiers err equally often, by the images that only one of them gets right
 * (McNemar 1947). */
typedef struct cf_mcnemar {
    int64_t only_a, only_b; /* images that only A, only B gets right */
    bool exact; /* fewer than 25 of them: the two-sided binomial test with probability 1/2; else
                   chi-square with continuity correction (Edwards 1948), one degree of freedom */
    double statistic; /* (|a - b| - 1)^2 / (a + b); NaN where exact */
    double p;         /* 1 where there are no such images */
} cf_mcnemar;
cf_mcnemar cf_mcnemar_test(int64_t only_a, int64_t only_b);

/* Whether the mean of differences over folds is zero. Folds share their training images, so an
 * ordinary t-test takes chance for truth; the corrected resampled one (Nadeau and Bengio 2003)
 * widens the variance to (1/k + n_test/n_train) s^2. */
typedef struct cf_fold_test {
    int n_folds;
    double mean, t, p; /* two-sided, k - 1 degrees of freedom; NaN for fewer than two folds */
    double low, high;  /* 95 % interval of the mean difference */
} cf_fold_test;
/* differences: [n_folds], A - B of one figure in each fold; test_to_train: images tested over
 * images trained with, 1 / (k - 1) for k equal folds. Where all differences are equal p is 1 for
 * zero and 0 else. NaN differences make the result NaN. */
cf_fold_test cf_fold_test_corrected(const double *differences, int n_folds, double test_to_train);

/* Two-sided p-value of Student's t; df >= 1. */
double cf_student_p(double t, double df);
/* The t that cf_student_p gives p for, 0 < p < 1. */
double cf_student_quantile(double p, double df);

#endif
