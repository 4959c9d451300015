/* Threads of watchdogs: one that belongs to nobody, and work that may hang without holding up who
 * asked for it (a disk that takes no more log line, a terminal that is held).
 *
 * Threads: any. Read first: cf_run_within. */
#ifndef CF_KERNELS_BASE_DEADLINE_H
#define CF_KERNELS_BASE_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

/* Starts a thread that takes no signals and belongs to nobody; its lines on stderr are about what
 * the starter's are (cf_log_about). */
CF_CHECKED cf_err cf_thread_detached(void *(*run)(void *), void *argument);
/* Calls run(argument) in a thread of its own and waits for it, at most `ns`; false when it is not
 * done by then. It then goes on: `argument` must outlive it. Where no thread can be had it is
 * called here. */
bool cf_run_within(void (*run)(void *), void *argument, int64_t ns);

#endif
