/* Stopping a run before its end: who asked, what is on disk, what people are told. Threads: one
 * caller, plain data; a cf_stop_word is for several. Read first: cf_stop. */
#ifndef CF_COORDINATOR_STOP_H
#define CF_COORDINATOR_STOP_H

#include <pthread.h>
#include <stdbool.h>

#include "kernels/base/buf.h"
#include "proto/control.h"

typedef struct cf_stop {
    bool asked;       /* somebody wants it: signal, wall time */
    bool told;        /* all workers have been told */
    char reason[400]; /* of the first who asked */
    int n_stopped;    /* workers that left before they were through */
    /* Of each fold, as last heard; total 0: nothing was heard of it. */
    int64_t step[CF_MAX_FOLDS], total[CF_MAX_FOLDS];
    double longest_step, longest_save; /* seconds, of all workers */
} cf_stop;

/* A reason to stop that concerns several coordinators of one process: the lanes of a sweep. Any
 * thread. */
typedef struct cf_stop_word {
    pthread_mutex_t mutex;
    char reason[400]; /* "": nobody has asked */
} cf_stop_word;
void cf_stop_word_init(cf_stop_word *word);
void cf_stop_word_fini(cf_stop_word *word);
/* The first reason counts. */
void cf_stop_word_say(cf_stop_word *word, const char *reason);
/* False where nobody has asked. */
bool cf_stop_word_heard(cf_stop_word *word, char reason[400]);

/* The first reason counts. */
CF_PRINTF(2, 3) void cf_stop_ask(cf_stop *s, const char *fmt, ...);
/* Takes note of where a fold is and of how long things take. */
void cf_stop_hear(cf_stop *s, const cf_msg_progress *p);
/* Seconds that must be left for another step: margin, two of the longest steps, two of the longest
 * saves. */
double cf_stop_needed(const cf_stop *s, double margin);
/* "reason" and "saved_folds", of the members of the object that is open. */
void cf_stop_write(const cf_stop *s, cf_json *json);
/* CF_E_REQUEUE, telling what is on disk and how to go on. */
CF_CHECKED cf_err cf_stop_error(const cf_stop *s, const char *run_dir);

#endif
