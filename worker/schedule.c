#include "worker/schedule.h"

#include <math.h>

static const double pi = 3.141592653589793;
/* Where the one-cycle rise starts, as a share of the peak (Smith and Topin 2019 advise 1/3 to
 * 1/30). */
static const double onecycle_start = 1.0 / 25.0;

/* Half a cosine from `from` at 0 to `to` at 1. */
static double ease(double from, double to, double progress)
{
    return to + (from - to) * 0.5 * (1.0 + cos(pi * progress));
}

/* 0 at the first step after the warm-up, 1 at the last step of the run. */
static double fall_progress(double step, double warmup, int64_t total_steps)
{
    double length = (double)(total_steps - 1) - warmup;
    if (length <= 0.0) return 0.0;
    double progress = (step - warmup) / length;
    return progress > 1.0 ? 1.0 : progress;
}

static double drop_factor(const cf_config *c, int64_t step, int64_t steps_per_epoch)
{
    double factor = 1.0;
    for (int i = 0; i < c->train_step_epochs.n; i++) {
        if (step >= c->train_step_epochs.items[i] * steps_per_epoch) factor *= c->train_step_factor;
    }
    return factor;
}

double cf_schedule_rate(const cf_config *c, int64_t step, int64_t steps_per_epoch,
                        int64_t total_steps)
{
    double peak = c->train_learning_rate, now = (double)step;
    double warmup = c->train_warmup_epochs * (double)steps_per_epoch;
    bool onecycle = c->train_schedule == CF_SCHEDULE_ONECYCLE;
    if (now < warmup) {
        if (onecycle) return ease(onecycle_start * peak, peak, now / warmup);
        double share = (now + 1.0) / warmup;
        return share < 1.0 ? peak * share : peak;
    }
    double last = c->train_final_factor * peak;
    switch (c->train_schedule) {
    case CF_SCHEDULE_COSINE:
    case CF_SCHEDULE_ONECYCLE:
        return ease(peak, last, fall_progress(now, warmup, total_steps));
    case CF_SCHEDULE_STEP:
        return peak * drop_factor(c, step, steps_per_epoch);
    default:
        return peak;
    }
}
