/* The run folder: what the coordinator writes before training starts, and what it finds there when
 * the same command comes again. Threads: one caller. Read first: cf_run_folder_open. */
#ifndef CF_COORDINATOR_RUN_FOLDER_H
#define CF_COORDINATOR_RUN_FOLDER_H

#include "coordinator/run_lock.h"
#include "proto/cells.h"
#include "proto/config.h"

typedef struct cf_run_folder {
    const char *dir; /* borrowed */
    int n_folds;
    uint8_t *fold_of;    /* owned, [n] */
    uint64_t folds_hash; /* images, labels and folds: run.yaml's mark */
    uint64_t data_hash;  /* the same with the weights that training starts from: a checkpoint's */
    uint64_t init_hash;  /* of model.init's file; 0: none */
    bool resumed;        /* run.yaml was there before */
    cf_run_lock *lock;   /* owned; NULL when opened without one */
} cf_run_folder;

/* New folder: makes it, splits (or reads data.folds_file), writes scheme.yaml, folds.csv, run.yaml
 * (the last: a folder with run.yaml is complete). A folder in which no fold was begun, because the
 * run was refused before, is as new. Old folder: reads folds.csv and refuses, CF_E_USAGE with the
 * difference, another configuration or other data. Release with fini in any case. */
CF_CHECKED cf_err cf_run_folder_open(const char *dir, const cf_config *config,
                                     const cf_cells *cells, cf_run_folder *run);
/* Takes the folder's lock for a whole job (only_fold -1) or for one fold, and opens the folder: the
 * first of several jobs of folds makes it, the others find it complete. CF_E_BUSY: run_lock.h.
 * Release with fini in any case, which gives the lock back. */
CF_CHECKED cf_err cf_run_folder_take(const char *dir, int only_fold, const cf_config *config,
                                     const cf_cells *cells, cf_run_folder *run);
void cf_run_folder_fini(cf_run_folder *run);
/* Appends one line to log.jsonl. A disk that refuses it is said in a warning and is no error: no
 * result depends on that file, and the next checkpoint tells whether the disk can still be used. */
CF_CHECKED cf_err cf_run_folder_log(const cf_run_folder *run, const cf_buf *line);

#endif
