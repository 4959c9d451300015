/* The optimizer on the flat buffers: SGD, Adam, AdamW; clipping; averaged weights; running moments.
 * The result does not depend on the number of threads. Threads: one caller.
 * Read first: cf_update in kernels/backend.h. */
#ifndef CF_KERNELS_CPU_UPDATE_H
#define CF_KERNELS_CPU_UPDATE_H

#include "kernels/backend.h"

/* Errors: CF_E_NUMERIC when the global norm of the gradient is not finite (with clipping). */
CF_CHECKED cf_err cf_update_run(const cf_update *u);

#endif
