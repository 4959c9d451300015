/* The run's file of convolution engines: RUN/engines.txt. Which engine computes a convolution
 * decides the last bits of a result, so the choice is made once a run, by one worker, and read by
 * the others and by every resumption. Threads: one caller. Read first: cf_tuning_compile. */
#ifndef CF_WORKER_TUNING_H
#define CF_WORKER_TUNING_H

#include "worker/engine.h"

/* FIRST: this worker makes the choice. FOLLOW: it reads what the first has written. */
typedef enum cf_tuning_turn { CF_TUNING_FIRST, CF_TUNING_FOLLOW } cf_tuning_turn;

/* Local: compiles this worker's programs. FIRST may time candidates; a run without the file starts
 * with a copy of run.engine_cache where that is there, and where it is not, FIRST makes it from the
 * run's (a failure there is a warning). On the CPU there is nothing to choose, and no file. */
CF_CHECKED cf_err cf_tuning_compile(cf_engine *e, const char *run_dir, cf_tuning_turn turn);

#endif
