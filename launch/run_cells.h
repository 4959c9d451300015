/* The cells file and the folds of a run that is there: its images are the ones that were trained
 * on, or it says so. Threads: main only. Read first: cf_run_cells_open. */
#ifndef CF_LAUNCH_RUN_CELLS_H
#define CF_LAUNCH_RUN_CELLS_H

#include "proto/cells.h"
#include "worker/saved.h"

typedef struct cf_run_cells {
    cf_cells cells;
    uint8_t *fold_of; /* owned, [cells.n] as in coordinator/folds.h */
    int n_folds;
} cf_run_cells;

/* Opens data.cells of the run, or `path` where it is not NULL, and folds.csv. Errors: CF_E_DATA
 * where the file is gone, and where data and folds are not those whose hash run.yaml holds. Release
 * with fini in any case. */
CF_CHECKED cf_err cf_run_cells_open(const cf_saved *run, const char *path, cf_run_cells *out);
void cf_run_cells_fini(cf_run_cells *r);

#endif
