/* What a worker tells the coordinator: progress at most twice a second a fold, the end of each
 * epoch, test results, its end; and the one thing it is told meanwhile: to stop. Threads: one
 * caller. Read first: cf_reporter_step. */
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
    int64_t images[CF_MAX_FOLDS];             /* trained here since the last message */
    int64_t step_ns, wait_ns;                 /* since the last message of any fold */
    int64_t longest_step_ns, longest_save_ns; /* of all so far; save: all folds */
    int (*signal_caught)(void);               /* borrowed; NULL: none can come */
    bool asked;                               /* the coordinator knows of our signal */
    bool stop;                                /* the coordinator has said so */
} cf_reporter;

void cf_reporter_fini(cf_reporter *r);
CF_CHECKED cf_err cf_reporter_send(cf_reporter *r, const cf_message *m);
/* Tells the coordinator, once, of a signal that asks to stop. */
CF_CHECKED cf_err cf_reporter_pass_signal_on(cf_reporter *r);
/* Takes note of a signal (which the coordinator is told) and of the coordinator's word; does not
 * block. Sets r->stop for good. */
CF_CHECKED cf_err cf_reporter_listen(cf_reporter *r);
/* After a step of `t` in which this rank trained n_images. */
CF_CHECKED cf_err cf_reporter_step(cf_reporter *r, const cf_trainer *t, int64_t n_images);
/* After the last step of an epoch; sent by leaders only. */
CF_CHECKED cf_err cf_reporter_epoch(cf_reporter *r, const cf_trainer *t);
/* The fold enters a phase (testing, done). */
CF_CHECKED cf_err cf_reporter_phase(cf_reporter *r, const cf_trainer *t, cf_phase phase);
/* `<run>/fold-K`. */
CF_CHECKED cf_err cf_reporter_fold_dir(const cf_reporter *r, int fold, char *dir, size_t n);

#endif
