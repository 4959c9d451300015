#include "coordinator/significance.h"

#include <math.h>

enum { FEW_DISCORDANT = 25 };

/* 2 P(X <= least) for X binomial(n, 1/2), at most 1: the two tails mirror each other. */
static double binomial_two_sided(int64_t least, int64_t n)
{
    double term = 1, sum = 0;
    for (int64_t i = 0; i <= least; i++) {
        sum += term;
        term = term * (double)(n - i) / (double)(i + 1);
    }
    return fmin(1, 2 * sum / pow(2, (double)n));
}

cf_mcnemar cf_mcnemar_test(int64_t only_a, int64_t only_b)
{
    int64_t n = only_a + only_b;
    cf_mcnemar m = {.only_a = only_a, .only_b = only_b, .exact = n < FEW_DISCORDANT};
    m.statistic = (double)NAN;
    if (m.exact) {
        m.p = binomial_two_sided(only_a < only_b ? only_a : only_b, n);
        return m;
    }
    double gap = fmax(0, fabs((double)(only_a - only_b)) - 1);
    m.statistic = gap * gap / (double)n;
    m.p = erfc(sqrt(m.statistic / 2)); /* of chi-square with one degree of freedom */
    return m;
}

/* Continued fraction of the incomplete beta function I_x(a, b), by Lentz's method as modified by
 * Thompson and Barnett (1986); Abramowitz and Stegun 26.5.8. Converges fast for x < (a+1)/(a+b+2).
 */
static double beta_fraction(double a, double b, double x)
{
    enum { MAX_TERMS = 500 };
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double fraction = d;
    for (int m = 1; m <= MAX_TERMS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + even * d;
        c = 1 + even / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        fraction *= c * d;
        d = 1 + odd * d;
        c = 1 + odd / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        fraction *= c * d;
        if (fabs(c * d - 1) < 1e-15) break;
    }
    return fraction;
}

static double log_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign); /* lgamma() writes a global */
}

static double incomplete_beta(double a, double b, double x)
{
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    double front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                     : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double cf_student_p(double t, double df)
{
    if (isnan(t)) return (double)NAN;
    return isinf(t) ? 0 : incomplete_beta(df / 2, 0.5, df / (df + t * t));
}

double cf_student_quantile(double p, double df)
{
    double low = 0, high = 1;
    while (cf_student_p(high, df) > p && high < 1e300) high *= 2;
    for (int i = 0; i < 200 && low < high; i++) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) break;
        if (cf_student_p(middle, df) > p)
            low = middle;
        else
            high = middle;
    }
    return high;
}

cf_fold_test cf_fold_test_corrected(const double *differences, int n_folds, double test_to_train)
{
    double mean = 0, squares = 0, nan = (double)NAN;
    cf_fold_test r = {n_folds, nan, nan, nan, nan, nan};
    if (n_folds < 1) return r;
    for (int i = 0; i < n_folds; i++) mean += differences[i];
    r.mean = mean /= n_folds;
    if (n_folds < 2 || isnan(mean)) return r;
    bool equal = true;
    for (int i = 0; i < n_folds; i++) {
        squares += (differences[i] - mean) * (differences[i] - mean);
        equal = equal && differences[i] == differences[0];
    }
    double df = n_folds - 1;
    double error = equal ? 0 : sqrt((1.0 / n_folds + test_to_train) * squares / df);
    r.t = error > 0 ? mean / error : differences[0] == 0 ? 0 : copysign((double)INFINITY, mean);
    r.p = error > 0 || differences[0] != 0 ? cf_student_p(r.t, df) : 1;
    double reach = error > 0 ? error * cf_student_quantile(0.05, df) : 0;
    r.low = mean - reach;
    r.high = mean + reach;
    return r;
}
