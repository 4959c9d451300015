/* Dynamic loss scaling for fp16: gradients are computed of the loss times a power of two, so that
 * small ones do not vanish; one that overflows halves it and costs the step (Micikevicius et al.,
 * ICLR 2018, section 3.2). A function of the steps' flags alone, hence the same on every rank.
 * Threads: one caller. Read first: cf_scaler_step. */
#ifndef CF_WORKER_SCALER_H
#define CF_WORKER_SCALER_H

#include <stdbool.h>

#include "kernels/base/err.h"

typedef struct cf_scaler {
    float scale; /* a power of two, 1 to 2^24 */
    int good;    /* steps without an overflow since the scale last changed, below 2000 */
} cf_scaler;

typedef enum cf_scaler_verdict {
    CF_SCALER_GOOD,
    CF_SCALER_SKIP, /* the sums are of no use: the step changes no weight */
    CF_SCALER_LOST  /* they overflow without any scale: the model has diverged */
} cf_scaler_verdict;

/* 2^16. */
void cf_scaler_init(cf_scaler *s);
/* After a step whose sums did or did not overflow: halves the scale, or doubles it after 2000 good
 * steps in a row. LOST leaves it at 1. */
cf_scaler_verdict cf_scaler_step(cf_scaler *s, bool overflowed);

/* For the checkpoint: [2], exact. CF_E_CHECKPOINT for values that no run can have written. */
void cf_scaler_write(const cf_scaler *s, float flat[2]);
CF_CHECKED cf_err cf_scaler_read(cf_scaler *s, const float flat[2]);

#endif
