/* The step loop: fold a's sums travel while fold b computes; then the final tests. Threads: the
 * step's. Read first: cf_worker_train in steps.c. */
#ifndef CF_WORKER_STEPS_H
#define CF_WORKER_STEPS_H

#include "worker/state.h"

/* Collective over the group: every step of its folds that is not done yet, with saves and tests
 * where the configuration wants them. */
CF_CHECKED cf_err cf_worker_train(cf_worker *w);
/* Collective over the group: tests each fold's last weights; returns when all saves are on disk. */
CF_CHECKED cf_err cf_worker_test(cf_worker *w);

#endif
