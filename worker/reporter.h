/* What a worker tells the coordinator: progress at most twice a second a fold, the end of each
 * epoch, test results, its end. Threads: one caller. Read first: cf_reporter_step. */
#ifndef CF_WORKER_REPORTER_H
#define CF_WORKER_REPORTER_H

#include "kernels/comm/channel.h"
#include "proto/config.h"
#include "proto/control.h"
#include "worker/heart.h"
#include "worker/trainer.h"

typedef struct cf_reporter {
    cf_channel *channel;     /* borrowed */
    cf_heart *heart;         /* NULL: no watch; ends with the process */
    const cf_config *config; /* borrowed */
    const char *run_dir;     /* borrowed */
    bool leader;             /* of its group */
    cf_buf wire;             /* reused for packing */
    int64_t last_ns[CF_MAX_FOLDS];
    int64_t images[CF_MAX_FOLDS]; /* trained here since the last message */
    int64_t step_ns, wait_ns;     /* since the last message of any fold */
} cf_reporter;

void cf_reporter_fini(cf_reporter *r);
CF_CHECKED cf_err cf_reporter_send(cf_reporter *r, const cf_message *m);
/* After a step of `t` in which this rank trained n_images. */
CF_CHECKED cf_err cf_reporter_step(cf_reporter *r, const cf_trainer *t, int64_t n_images);
/* After the last step of an epoch; sent by leaders only. */
CF_CHECKED cf_err cf_reporter_epoch(cf_reporter *r, const cf_trainer *t);
/* The fold enters a phase (testing, done). */
CF_CHECKED cf_err cf_reporter_phase(cf_reporter *r, const cf_trainer *t, cf_phase phase);
/* `<run>/fold-K`. */
CF_CHECKED cf_err cf_reporter_fold_dir(const cf_reporter *r, int fold, char *dir, size_t n);

#endif
