/* Signals that ask a verb to stop, which it heeds between two images, so that nothing half-written
 * is left. Threads: main only. Read first: cf_signals_catch. */
#ifndef CF_LAUNCH_SIGNALS_H
#define CF_LAUNCH_SIGNALS_H

#include "proto/stop_rules.h"

/* From now on SIGINT, SIGTERM and SIGHUP are only noted, but for one that is ignored; a second of
 * the same kind ends the program at once. */
void cf_signals_catch(void);
/* The same for ranks of a run, which save and leave: the first of these signals is noted, whichever
 * comes after 0.3 s ends the program at once. */
void cf_signals_catch_wishes(const cf_save_on *wishes);
/* The signal that came; 0: none. */
int cf_signals_caught(void);
/* After all is cleared away: dies of the signal that came, with this thread's message, so that a
 * shell or a scheduler sees it. Returns when none came. */
void cf_signals_die(void);

#endif
