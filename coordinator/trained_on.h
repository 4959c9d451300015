/* The images that a run was trained on: the mark of them in run.yaml, and the cells file that is
 * named there, as long as it still holds them. Threads: any. Read first: cf_trained_on_open. */
#ifndef CF_COORDINATOR_TRAINED_ON_H
#define CF_COORDINATOR_TRAINED_ON_H

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "proto/cells.h"

/* Appends run.yaml's line for data and folds (cf_folds_hash). */
void cf_trained_on_mark(uint64_t folds_hash, cf_buf *yaml);
/* Whether a run.yaml's text has that line. */
bool cf_trained_on_marked(const char *yaml, uint64_t folds_hash);

/* Reads RUN/folds.csv (fold_of: [cells->n]) where `cells` are the images, labels and folds that
 * run.yaml is marked with. CF_E_DATA where they are not, or where it has no mark. */
CF_CHECKED cf_err cf_trained_on_folds(const char *run_dir, const cf_cells *cells, int *n_folds,
                                      uint8_t *fold_of);

typedef enum cf_cells_found {
    CF_CELLS_OPEN,
    CF_CELLS_UNNAMED, /* there is no run.yaml, or it names none */
    CF_CELLS_GONE,    /* it is not there, or cannot be read */
    CF_CELLS_OTHER    /* it holds other images, labels or folds than the run was trained on */
} cf_cells_found;

/* The cells file of a run, open only where *found is CF_CELLS_OPEN; nothing is wrong otherwise:
 * predictions stand without it. Of a folder whose run.yaml has no mark (it comes from elsewhere)
 * the file is believed. path: receives the file's name as run.yaml has it, "" for none. Where
 * *found is CF_CELLS_OTHER cf_err_text() tells why. Errors: only what is no fault of files
 * (memory), for it must not change a result. */
CF_CHECKED cf_err cf_trained_on_open(const char *run_dir, cf_cells *cells, cf_cells_found *found,
                                     char path[CF_PATH_MAX]);

#endif
