/* From the plan to a worker that can step: cells file, device, group, compiled programs, loaders,
 * and each fold at its last checkpoint. Threads: the step's. Read first: cf_worker_set_up. */
#ifndef CF_WORKER_SET_UP_H
#define CF_WORKER_SET_UP_H

#include "worker/state.h"

/* Collective over the workers, after the plan has come. What was set up is released by the worker's
 * end, also after an error; w->echo tells that the error is another rank's. */
CF_CHECKED cf_err cf_worker_set_up(cf_worker *w);

#endif
