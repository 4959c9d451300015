/* The step loop: fold a's sums travel while fold b computes; then the final tests. Threads: the
 * step's. Read first: cf_worker_train in steps.c. */
#ifndef CF_WORKER_STEPS_H
#define CF_WORKER_STEPS_H

#include "worker/state.h"

/* Collective over the group: every step of its folds that is not done yet, with saves and tests
 * where the configuration wants them. CF_E_REQUEUE, on all ranks after the same step, when one of
 * them was told to stop: then every fold is on disk. */
CF_CHECKED cf_err cf_worker_train(cf_worker *w);
/* Collective over the group: tests each fold's last weights; returns when all saves are on disk,
 * with CF_E_REQUEUE where this rank was told to stop before it was through. */
CF_CHECKED cf_err cf_worker_test(cf_worker *w);

#endif
