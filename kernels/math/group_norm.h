/* Group normalisation (Wu and He, ECCV 2018): from sums over a group's values to what belongs to a
 * channel, for host and device. y is a convolution's output without its bias, x = (y + bias - m) r
 * the normalised value, m and r mean and 1 / sqrt(variance + eps) of one image's group, gamma x +
 * beta what the activation sees, g the gradient there.
 * Read first: cf_group_forward. */
#ifndef CF_KERNELS_MATH_GROUP_NORM_H
#define CF_KERNELS_MATH_GROUP_NORM_H

#include <math.h>

#include "kernels/math/philox.h"

/* r, from the sum of a group's squared deviations from its mean. A NaN stays one. */
CF_HD double cf_group_rstd(double squares, double count, float eps)
{
    return 1.0 / sqrt((squares < 0.0 ? 0.0 : squares) / count + (double)eps);
}

/* One channel: y * scale + shift is what the activation sees, y - seen the deviation. */
typedef struct cf_group_scale {
    float seen, scale, shift;
} cf_group_scale;

CF_HD cf_group_scale cf_group_forward(double mean, double rstd, float gamma, float beta, float bias)
{
    double scale = (double)gamma * rstd, seen = mean - (double)bias;
    cf_group_scale s = {(float)seen, (float)scale, (float)((double)beta - seen * scale)};
    return s;
}

/* One channel: the gradient of y is a g + b y + d. */
typedef struct cf_group_slope {
    float a, b, d;
} cf_group_slope;

/* first, second: sums over the group's `count` values of gamma g and of gamma g (y - seen). From
 * r (gamma g - mean(gamma g) - x mean(gamma g x)). */
CF_HD cf_group_slope cf_group_backward(double first, double second, double count, float seen,
                                       float rstd, float gamma)
{
    double r = (double)rstd, b = -r * r * r * second / count;
    cf_group_slope s = {(float)((double)gamma * r), (float)b,
                        (float)(-r * first / count - b * (double)seen)};
    return s;
}

/* Sum of the gradient of y over one channel's pixels, which is the bias' gradient: own_mean is the
 * mean of y there, first the sum of g. */
CF_HD double cf_group_bias(cf_group_slope s, double first, float own_mean, double pixels)
{
    return (double)s.a * first + pixels * ((double)s.b * (double)own_mean + (double)s.d);
}

#endif
