/* A discrete-event simulation of training: the real schedule of the grid on a stated network, from
 * the measured time of a micro-batch. Deterministic; nothing is run.
 *
 * What happens is worker/steps.c: the ranks of a group step its folds in turn, micro-batches dealt
 * out to them; the sums of fold a travel while fold b computes, two at most under way; a group with
 * one fold on GPUs lets them go range by range; epochs end with the leader's snapshot (a thread
 * writes it out beside the steps) and, where configured, a test. Not in it: starting up, loaders
 * that fall behind, launch gaps of a GPU, processor cores shared by ranks, other users of the
 * network. Threads: any. Read first: cf_simulate. */
#ifndef CF_COORDINATOR_SIMULATE_H
#define CF_COORDINATOR_SIMULATE_H

#include <stdint.h>

#include "coordinator/grid.h"
#include "coordinator/network.h"

enum { CF_SIM_MAX_RANGES = 16 };

/* A part of a step's sums. */
typedef struct cf_sim_range {
    double bytes;
    double lead_seconds; /* it is final so long before the end of the rank's last micro-batch */
} cf_sim_range;

typedef struct cf_sim_job {
    int n_folds;
    int64_t steps_per_epoch, epochs;
    int micro_per_step, images_per_micro;
    double micro_seconds;                     /* forward and backward of one micro-batch */
    double update_seconds;                    /* optimizer and new weights, every step and rank */
    double infer_seconds;                     /* testing one micro-batch */
    int n_ranges;                             /* 1: all sums set out together */
    cf_sim_range ranges[CF_SIM_MAX_RANGES];   /* in the order in which they become final */
    int64_t test_images;                      /* of a fold */
    int64_t checkpoint_every, evaluate_every; /* epochs; evaluate 0: never before the end */
    double snapshot_seconds, write_seconds;   /* of a checkpoint: the leader's, the thread's */
} cf_sim_job;

typedef struct cf_sim_result {
    int n_workers, n_groups;
    int fewest_ranks, most_ranks; /* of a group */
    int slowest;                  /* group that ends last; the next five are its own */
    cf_reduction method;          /* of its sums */
    double sum_seconds;           /* of one of them, alone on the network */
    double step_seconds;          /* between two updates of the group */
    double exposed_seconds; /* of a step, in which its busiest rank waits for sums or moves them */
    double train_seconds;   /* its first step to its last, epochs' ends included */
    double seconds;         /* the whole run, final tests and last checkpoint included */
    double images_per_second; /* of all workers, over train_seconds */
    double efficiency;        /* of that many times a worker alone that talks to nobody */
} cf_sim_result;

/* grid: of job->n_folds folds. CF_E_USAGE for values out of range, named. */
CF_CHECKED cf_err cf_simulate(const cf_sim_job *job, const cf_net *net, cf_reduction method,
                              const cf_grid *grid, cf_sim_result *result);

#endif
