/* What `train` finds out before any rank trains: the effective configuration, the planner's
 * figures, the run folder's place; of one run, and of every point of a sweep. Threads: main only.
 * Read first: cf_train_wishes, cf_train_prepare. */
#ifndef CF_LAUNCH_TRAIN_JOB_H
#define CF_LAUNCH_TRAIN_JOB_H

#include <limits.h>

#include "coordinator/grid.h"
#include "proto/config.h"
#include "proto/sweep.h"

/* The command line. */
typedef struct cf_train_wishes {
    const char *config_path, *run_dir; /* borrowed */
    cf_strings sets;                   /* owned: --set */
    int64_t only_fold, only_point;     /* -1: all */
    int64_t workers;                   /* 0: not said */
} cf_train_wishes;

typedef struct cf_train_job {
    cf_config config; /* validated; paths are absolute */
    cf_grid_cost cost;
    int64_t checkpoint_bytes;
    char run_dir[PATH_MAX]; /* absolute */
} cf_train_job;

/* All that can be found wrong with one run before a rank is started: of the configuration, or of
 * point only_point of its sweep. CF_E_USAGE also for a point or a fold that does not go with the
 * configuration. Writes nothing. */
CF_CHECKED cf_err cf_train_prepare(const cf_train_wishes *w, cf_train_job *job);
/* The sweep's folder, for point only_point: makes or opens it; dir: [PATH_MAX], its absolute path.
 * CF_E_BUSY while a job of all points trains there. */
CF_CHECKED cf_err cf_train_open_sweep(const cf_train_wishes *w, char *dir);

/* The points of a sweep as jobs. */
typedef struct cf_train_sweep {
    cf_sweep sweep;
    char dir[PATH_MAX]; /* absolute */
    cf_train_job *jobs; /* owned, [n_points] */
    int n_done;
    bool *done; /* owned, [n_points]: nothing is left to be trained; false before cf_train_look */
    /* Bytes that those which are not done will leave behind, beside what is there; and the new
     * checkpoints of the largest while it is under way. */
    int64_t bytes_left, bytes_under_way;
} cf_train_sweep;

/* The same for all points of a sweep; *s has none where the configuration has no sweep, or one
 * point was asked for. Release with fini in any case. */
CF_CHECKED cf_err cf_train_sweep_prepare(const cf_train_wishes *w, cf_train_sweep *s);
/* Opens the folder and looks which points are done. CF_E_BUSY where another job trains one of them.
 * CF_E_USAGE, with the difference, for points
 * that were trained with another configuration or other data. */
CF_CHECKED cf_err cf_train_sweep_look(cf_train_sweep *s);
void cf_train_sweep_fini(cf_train_sweep *s);

#endif
