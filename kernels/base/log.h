/* Messages on stderr, one whole line at a time: "cytofold: text", with "[rank R] " in a job.
 * The level and rank are process-wide settings made once in main. Threads: any. */
#ifndef CF_KERNELS_BASE_LOG_H
#define CF_KERNELS_BASE_LOG_H

#include <stdint.h>

#include "kernels/base/err.h"

typedef enum cf_log_level { CF_LOG_QUIET, CF_LOG_NORMAL, CF_LOG_VERBOSE } cf_log_level;

void cf_log_setup(cf_log_level level, int rank /* -1: not in a job */);
enum { CF_LOG_CONTEXT_MAX = 32 };
/* What this thread's lines are about ("point-003"), said before each of them; "" for nothing.
 * Threads that cf_thread_detached starts begin with the context of their starter. */
void cf_log_about(const char *context);
const char *cf_log_context(void);
CF_PRINTF(1, 2) void cf_log_error(const char *fmt, ...);
CF_PRINTF(1, 2) void cf_log_warn(const char *fmt, ...);
CF_PRINTF(1, 2) void cf_log_info(const char *fmt, ...);
CF_PRINTF(1, 2) void cf_log_debug(const char *fmt, ...);

/* Monotonic clock, for durations only; never an input of a result. */
int64_t cf_clock_ns(void);
void cf_sleep_ns(int64_t ns);

#endif
