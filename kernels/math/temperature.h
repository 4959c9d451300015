/* Temperature scaling of probabilities (Guo et al. 2017, section 4.2), for host and device: what a
 * network that is too sure of itself (T > 1) or too timid (T < 1) should have said. The order of
 * the classes, and so the prediction, stays. Read first: cf_temperature_apply. */
#ifndef CF_KERNELS_MATH_TEMPERATURE_H
#define CF_KERNELS_MATH_TEMPERATURE_H

#include <math.h>

#include "kernels/math/philox.h"

/* p: [n] probabilities, >= 0; becomes p_k^(1/T) / sum_j p_j^(1/T), through logarithms, so that
 * nothing overflows or vanishes for any T > 0. A probability of 0 stays 0; T = 1 and a row of
 * zeros leave every bit as it is. Where output nodes were merged this acts on the classes. */
CF_HD void cf_temperature_apply(double *p, int n, double temperature)
{
    double peak = 0, total = 0;
    for (int k = 0; k < n; k++) peak = p[k] > peak ? p[k] : peak;
    if (temperature == 1 || !(peak > 0)) return;
    double log_peak = log(peak);
    for (int k = 0; k < n; k++) {
        p[k] = p[k] > 0 ? exp((log(p[k]) - log_peak) / temperature) : 0;
        total += p[k];
    }
    for (int k = 0; k < n; k++) p[k] /= total;
}

#endif
