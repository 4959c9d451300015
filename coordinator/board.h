/* The progress display of all folds: a bar that is redrawn on a terminal, a line every 30 s in a
 * log. Threads: one caller. Read first: cf_board_update. */
#ifndef CF_COORDINATOR_BOARD_H
#define CF_COORDINATOR_BOARD_H

#include "proto/control.h"

typedef struct cf_board {
    bool terminal;
    int n_folds;
    bool active[CF_MAX_FOLDS]; /* folds of this job */
    cf_msg_progress last[CF_MAX_FOLDS];
    int64_t start_ns, shown_ns;
    int64_t images;             /* trained since start_ns, all workers */
    int64_t first_step;         /* steps that were done before this job */
    bool counted[CF_MAX_FOLDS]; /* the fold's first message has been seen */
    double wait_seconds, step_seconds;
    int64_t resident_bytes; /* largest of all workers */
} cf_board;

void cf_board_init(cf_board *b, bool terminal, int n_folds, const int32_t *group_of_fold);
/* Takes one message and shows the whole when it is time. */
void cf_board_update(cf_board *b, const cf_msg_progress *p);
/* Ends the bar's line, so that what follows starts on its own. */
void cf_board_end(cf_board *b);
/* Images a second of all workers since the start. */
double cf_board_rate(const cf_board *b);

#endif
