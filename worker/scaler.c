#include "worker/scaler.h"

#include <math.h>

enum { GROWTH_STEPS = 2000 };
#define FIRST_SCALE  65536.0f
#define LOWEST_SCALE 1.0f
/* An fp16 gradient of 2^-24, the smallest there is, then stands for 2^-48 of the loss. */
#define HIGHEST_SCALE 16777216.0f

void cf_scaler_init(cf_scaler *s)
{
    *s = (cf_scaler){.scale = FIRST_SCALE};
}

cf_scaler_verdict cf_scaler_step(cf_scaler *s, bool overflowed)
{
    if (overflowed) {
        s->good = 0;
        if (s->scale <= LOWEST_SCALE) return CF_SCALER_LOST;
        s->scale *= 0.5f;
        return CF_SCALER_SKIP;
    }
    if (++s->good == GROWTH_STEPS) {
        s->good = 0;
        if (s->scale < HIGHEST_SCALE) s->scale *= 2.0f;
    }
    return CF_SCALER_GOOD;
}

void cf_scaler_write(const cf_scaler *s, float flat[2])
{
    flat[0] = s->scale;
    flat[1] = (float)s->good;
}

cf_err cf_scaler_read(cf_scaler *s, const float flat[2])
{
    int exponent = 0;
    bool power = flat[0] >= LOWEST_SCALE && flat[0] <= HIGHEST_SCALE &&
                 frexpf(flat[0], &exponent) == 0.5f; /* false for NaN */
    bool count = flat[1] >= 0 && flat[1] < (float)GROWTH_STEPS && flat[1] == floorf(flat[1]);
    if (!power || !count)
        return cf_fail(CF_E_CHECKPOINT,
                       "tensor scaler: scale %g after %g good steps; expected a power of two from "
                       "%g to %g and less than %d steps",
                       (double)flat[0], (double)flat[1], (double)LOWEST_SCALE,
                       (double)HIGHEST_SCALE, GROWTH_STEPS);
    *s = (cf_scaler){.scale = flat[0], .good = (int)flat[1]};
    return CF_OK;
}
