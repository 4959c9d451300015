/* Which images `explain` shows, and whose network it asks about each. Threads: main only. Read
 * first: cf_explain_folds. */
#ifndef CF_LAUNCH_EXPLAIN_CHOOSE_H
#define CF_LAUNCH_EXPLAIN_CHOOSE_H

#include "proto/cells.h"
#include "worker/saved.h"

/* images: owned by the caller, [*n] places in the cells file, in the order of ids; all images where
 * no id is given. CF_E_USAGE for an id that is not there, or is given twice. */
CF_CHECKED cf_err cf_explain_images(const cf_cells *cells, const cf_strings *ids, int64_t **images,
                                    int64_t *n);

/* Images that have no network of their own, and are explained by run->folds[0]. */
typedef struct cf_explain_others {
    int64_t n_unknown; /* not in the run's folds.csv */
    int64_t n_trained; /* in it, but no fold tests them, or one without a checkpoint does: the
                          network was trained on them */
} cf_explain_others;

/* folds [n]: for each image the fold that did not train on it, where the run's folds.csv knows its
 * id, or the end of it from some folder on, and that fold has a checkpoint; else run->folds[0],
 * which is counted. CF_E_DATA for a folds.csv that cannot be read. */
CF_CHECKED cf_err cf_explain_folds(const cf_saved *run, const cf_cells *cells,
                                   const int64_t *images, int64_t n, int *folds,
                                   cf_explain_others *others);

#endif
