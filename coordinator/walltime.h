/* When the job ends: from the batch system's word or the configuration's. A clock is read for this
 * alone; it never enters a result.
 *
 * The batch system's: the answer of `squeue` (asked every few minutes by a thread, since limits can
 * be changed while a job runs; a squeue that is missing, slow or silent does no harm), before it
 * SLURM_JOB_END_TIME. run.time_limit may end the job earlier. Threads: cf_walltime_left may be
 * called from any; the thread uses neither MPI nor the device. Read first: cf_walltime_start. */
#ifndef CF_COORDINATOR_WALLTIME_H
#define CF_COORDINATOR_WALLTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef struct cf_walltime cf_walltime;

/* limit_seconds: of run.time_limit, 0 for none, counted from start_ns (cf_clock_ns). ask_every_ns:
 * between two questions to squeue; 0: five minutes. */
CF_CHECKED cf_err cf_walltime_start(int64_t limit_seconds, int64_t start_ns, int64_t ask_every_ns,
                                    cf_walltime **out);
/* Seconds until the job ends; a very large number where nobody knows of an end. Does not block.
 * Accepts NULL. */
double cf_walltime_left(cf_walltime *w);
/* Ends a squeue under way and the thread. Accepts NULL. */
void cf_walltime_stop(cf_walltime *w);

/* Slurm's "time left": "[days-][hours:]minutes:seconds". False for "UNLIMITED", "INVALID" and all
 * else that is no time. */
bool cf_walltime_parse_left(const char *text, int64_t *seconds);

#endif
