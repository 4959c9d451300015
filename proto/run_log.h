/* What log.jsonl says of the folds' epochs: for learning curves and event files.
 *
 * The file is read as it may be found: lines that are torn (a killed job), of other events or
 * without their numbers are passed over, and so are zero bytes (a node that lost its power). After
 * a kill an epoch that was not saved is trained and told again, with the same figures; reading
 * keeps the first. Threads: any. Read first: cf_run_log_read. */
#ifndef CF_PROTO_RUN_LOG_H
#define CF_PROTO_RUN_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/control.h"

typedef enum cf_log_kind { CF_LOG_EPOCH, CF_LOG_TEST } cf_log_kind;

/* One line. A figure that a line has not (or null) is NaN. */
typedef struct cf_log_entry {
    cf_log_kind kind;
    int fold;
    int64_t epoch; /* from 1 */
    int64_t step;  /* EPOCH: steps done at its end; TEST: those of its epoch, -1 where that epoch is
                      not  told */
    double seconds; /* training time of the fold up to here: the clocks of a run's jobs one behind
                       the other; never falls within a fold */
    double loss, learning_rate, images_per_second; /* EPOCH: means over the epoch; NaN for TEST */
    double accuracy;                               /* EPOCH: of training; TEST: of the test fold */
} cf_log_entry;

/* Each job counts its seconds from its own start, so that what the ones before took is added. A job
 * begins where the log says so ("start", "resume"; with "fold": K it is a job of that fold alone),
 * or where a fold's seconds fall. A new clock is {0}. */
typedef struct cf_log_clock {
    double base, last;
} cf_log_clock;
void cf_log_clock_begin(cf_log_clock *clock);
/* Returns the seconds of the run. */
double cf_log_clock_take(cf_log_clock *clock, double job_seconds);

typedef struct cf_run_log {
    cf_log_entry *items; /* owned, [n]: by fold, then epoch, EPOCH before TEST; each once */
    int64_t n, room;
    cf_log_clock clocks[CF_MAX_FOLDS]; /* as they stand at the end of the file */
} cf_run_log;

/* Reads run_dir/log.jsonl; no file is an empty log. Release with fini in any case. Errors:
 * CF_E_DATA for a file that cannot be read. */
CF_CHECKED cf_err cf_run_log_read(const char *run_dir, cf_run_log *log);
void cf_run_log_fini(cf_run_log *log);

#endif
