/* The learning rate of a step, a pure function of (configuration, step). Threads: any. */
#ifndef CF_WORKER_SCHEDULE_H
#define CF_WORKER_SCHEDULE_H

#include <stdint.h>

#include "proto/config.h"

/* Warm-up is linear from peak / W to the peak at step W - 1, W = warmup_epochs in steps; onecycle
 * rises on half a cosine from peak / 25 instead, to the peak at step W. Then constant; cosine and
 * onecycle: half a cosine down to final_factor * peak at the last step; step: * step_factor after
 * each of step_epochs. step: 0-based optimizer step; total_steps of the whole run. */
double cf_schedule_rate(const cf_config *c, int64_t step, int64_t steps_per_epoch,
                        int64_t total_steps);

#endif
