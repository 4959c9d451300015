/* Lines of log.jsonl: one JSON object for what happened, "event" and "seconds" first. Threads: one
 * caller. Read first: cf_event_begin. */
#ifndef CF_COORDINATOR_EVENT_LINE_H
#define CF_COORDINATOR_EVENT_LINE_H

#include "coordinator/run_folder.h"
#include "coordinator/tensorboard.h"
#include "proto/control.h"

typedef struct cf_event_line {
    double seconds; /* since the run's start */
    cf_buf text;
    cf_json json; /* the object is open: more members may be added */
} cf_event_line;

/* start_ns: of the run, by cf_clock_ns. */
void cf_event_begin(cf_event_line *line, const char *event, int64_t start_ns);
/* Appends the line to the run's log and releases it. */
CF_CHECKED cf_err cf_event_end(cf_event_line *line, const cf_run_folder *run);

/* The end of a fold's epoch; rate: images a second of all workers. The fold's event file is told
 * too (t: NULL for none). */
CF_CHECKED cf_err cf_event_epoch(const cf_run_folder *run, cf_tensorboard *t, int64_t start_ns,
                                 const cf_msg_progress *p, double rate);
/* A test during training, for the learning curve, in the same two places. */
CF_CHECKED cf_err cf_event_test(const cf_run_folder *run, cf_tensorboard *t, int64_t start_ns,
                                int fold, int64_t epoch, double accuracy);

#endif
