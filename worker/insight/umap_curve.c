/* How near points of the picture say that two images are alike: the curve that the forces come
 * from.
 */
#include <math.h>

#include "worker/insight/umap.h"

enum { CURVE_POINTS = 300, CURVE_ROUNDS = 200 };

static double misfit(double a, double b, double min_dist, double spread)
{
    double sum = 0;
    for (int i = 0; i < CURVE_POINTS; i++) {
        double t = 3 * spread * i / (CURVE_POINTS - 1);
        double wanted = t < min_dist ? 1 : exp(-(t - min_dist) / spread);
        double off = 1 / (1 + a * pow(t, 2 * b)) - wanted;
        sum += off * off;
    }
    return sum;
}

/* Levenberg and Marquardt's damped steps in log a and log b, so that both stay above 0. */
void cf_umap_curve(double min_dist, double spread, double *a, double *b)
{
    double p = 0, q = 0, damping = 1e-3, least = misfit(1, 1, min_dist, spread);
    for (int round = 0; round < CURVE_ROUNDS; round++) {
        double pp = 0, pq = 0, qq = 0, gp = 0, gq = 0;
        for (int i = 1; i < CURVE_POINTS; i++) {
            double t = 3 * spread * i / (CURVE_POINTS - 1);
            double wanted = t < min_dist ? 1 : exp(-(t - min_dist) / spread);
            double power = exp(p) * pow(t, 2 * exp(q)), value = 1 / (1 + power);
            double dp = -value * value * power, dq = dp * 2 * exp(q) * log(t);
            pp += dp * dp;
            pq += dp * dq;
            qq += dq * dq;
            gp += dp * (value - wanted);
            gq += dq * (value - wanted);
        }
        double m = pp * (1 + damping), n = qq * (1 + damping), det = m * n - pq * pq;
        double p_next = p - (n * gp - pq * gq) / det, q_next = q - (m * gq - pq * gp) / det;
        double now = misfit(exp(p_next), exp(q_next), min_dist, spread);
        damping = now < least ? damping / 3 : damping * 4;
        if (!(now < least)) continue;
        p = p_next;
        q = q_next;
        least = now;
    }
    *a = exp(p);
    *b = exp(q);
}
