/* What a worker holds while it works: the plan, the device, its folds, the sums under way. Private
 * to the files that make up the worker (worker.c, set_up.c, steps.c). Threads: the step's alone.
 * Read first: cf_worker. */
#ifndef CF_WORKER_STATE_H
#define CF_WORKER_STATE_H

#include "kernels/comm/channel.h"
#include "kernels/comm/vote.h"
#include "proto/control.h"
#include "worker/data/loader.h"
#include "worker/group.h"
#include "worker/itinerary.h"
#include "worker/reporter.h"
#include "worker/store.h"
#include "worker/sums.h"
#include "worker/trainer.h"
#include "worker/worker.h"

/* Two places of a vote: highest of h and of ~h over all ranks are a pair exactly where all h are
 * equal. A vote without a digest has zeros in both. */
typedef struct cf_digest_pair {
    int64_t h, not_h;
} cf_digest_pair;

typedef struct cf_worker {
    const cf_worker_job *job;
    cf_channel *channel;
    cf_msg_plan plan;
    cf_config config;
    cf_cells cells;
    cf_engine engine;
    cf_comm *all;   /* every worker, host memory */
    cf_comm *group; /* those that share this one's folds */
    cf_vote *vote;  /* of the same ranks */
    cf_seat *seats; /* owned, [all->size] */
    cf_departure departure;
    cf_loader *loader;      /* training batches, in the itinerary's order */
    cf_loader *test_loader; /* test batches */
    cf_store *store;
    cf_trainer trainers[CF_MAX_FOLDS];
    int n_folds;
    cf_itinerary now, ahead;
    int64_t n_ahead;           /* stops that `ahead` is in front of `now` */
    cf_step_sums slots[2];     /* two take turns: one computes, one travels */
    bool fed;                  /* the first images have come: reading them may take long */
    cf_digest_pair digests[2]; /* of this rank, in the votes of the two */
    bool leaving;              /* the group has voted to stop: no further step is begun */
    int64_t longest_compute_ns, longest_finish_ns; /* halves of a step */
    bool echo;                                     /* the error on the way out is another rank's */
    cf_err fault; /* numeric error of this rank, until the group has heard of it */
    char fault_text[1024];
    char *config_yaml; /* owned: for checkpoints */
    cf_reporter reporter;
} cf_worker;

#endif
