/* The configuration's words for when a run saves and stops: signals (run.save_on) and times
 * (run.time_limit). Threads: any. Read first: cf_save_on_parse. */
#ifndef CF_PROTO_STOP_RULES_H
#define CF_PROTO_STOP_RULES_H

#include <stdint.h>

#include "kernels/base/err.h"

enum { CF_SAVE_ON_MAX = 8 };

typedef struct cf_save_on {
    int numbers[CF_SAVE_ON_MAX]; /* signals of this system, each once */
    int n;
} cf_save_on;

/* Names with or without "SIG", separated by blanks or commas; "" and blanks alone: none. CF_E_USAGE
 * names a word that is no signal a program can be saved on. */
CF_CHECKED cf_err cf_save_on_parse(const char *text, cf_save_on *out);
/* One more, unless it is there. */
void cf_save_on_add(cf_save_on *s, int number);
/* "USR1" for SIGUSR1; "number 77" in `storage` for one that has no name here. */
const char *cf_signal_name(int number, char storage[32]);

/* "90" (minutes), "1:30" (hours, minutes), "1:30:00" (seconds too), "2-00:00:00" (days first): the
 * words of Slurm's time limits but for the two-part form, which there means minutes and seconds.
 * "0" and "" are 0: no limit. CF_E_USAGE for anything else. */
CF_CHECKED cf_err cf_time_limit_parse(const char *text, int64_t *seconds);

#endif
