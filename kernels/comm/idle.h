/* Waiting without MPI's busy loop: spin briefly, then yield, then sleep ever longer. Threads: one
 * cf_idle, one thread. */
#ifndef CF_KERNELS_COMM_IDLE_H
#define CF_KERNELS_COMM_IDLE_H

#include <stdint.h>

typedef struct cf_idle {
    int n_calls;
    int64_t sleep_ns; /* of the next sleep */
} cf_idle;

/* For sums that others wait for: ranks may outnumber the cores, so the core is given away soon, but
 * no sleep is longer than 0.1 ms. Start with {0}; call once after each test that found nothing. */
void cf_idle_briefly(cf_idle *idle);
/* For control messages, which may be minutes away: sleeps from 0.2 ms growing to 10 ms, at most
 * limit_ns. */
void cf_idle_patiently(cf_idle *idle, int64_t limit_ns);

#endif
