/* A line of progress on stderr for verbs that count items: on a terminal it is redrawn ten times a
 * second, in a log it is one line every 30 seconds. Threads: one caller. Read first:
 * cf_progress_update. */
#ifndef CF_LAUNCH_PROGRESS_H
#define CF_LAUNCH_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cf_progress {
    const char *verb; /* borrowed: "packed" */
    int64_t start_ns, shown_ns;
    bool terminal;
    bool drawn; /* a line stands on the terminal */
} cf_progress;

void cf_progress_begin(cf_progress *p, const char *verb);
void cf_progress_update(cf_progress *p, int64_t done, int64_t total);
/* Takes the line off the terminal and returns the seconds since the beginning. */
double cf_progress_end(cf_progress *p);

#endif
