/* The learning rate of a step, a pure function of (configuration, step). Threads: any. */
#ifndef CF_WORKER_SCHEDULE_H
#define CF_WORKER_SCHEDULE_H

#include <stdint.h>

#include "proto/config.h"

/* step: 0-based optimizer step; total_steps of the whole run. */
double cf_schedule_rate(const cf_config *c, int64_t step, int64_t steps_per_epoch, int64_t total_steps);

#endif
