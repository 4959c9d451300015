/* Gathering: logits of test images as they come from the workers, in any order, into one
 * predictions set a fold, in the order of the cells file. Threads: one caller. Read first:
 * cf_gather_add. */
#ifndef CF_COORDINATOR_GATHER_H
#define CF_COORDINATOR_GATHER_H

#include "proto/cells.h"
#include "proto/control.h"
#include "proto/csv.h"

typedef struct cf_gather {
    const cf_cells *cells;  /* borrowed */
    const uint8_t *fold_of; /* borrowed, [n] */
    int n_folds;
    double *p;    /* owned, [n][n_classes] class probabilities of final tests */
    uint8_t *got; /* owned, [n] 1 where p is filled */
    int64_t size[CF_MAX_FOLDS], n_got[CF_MAX_FOLDS];
    /* The test under way for the learning curve. */
    int64_t curve_n[CF_MAX_FOLDS], curve_correct[CF_MAX_FOLDS];
} cf_gather;

CF_CHECKED cf_err cf_gather_init(cf_gather *g, const cf_cells *cells, const uint8_t *fold_of,
                                 int n_folds);
void cf_gather_fini(cf_gather *g);
/* Takes one message. *complete is set when it was the last of its fold's test. Errors: CF_E_DEVICE
 * for an image that is not of that fold. An image that comes twice (a fold tested again) replaces
 * itself. */
CF_CHECKED cf_err cf_gather_add(cf_gather *g, const cf_msg_result *r, bool *complete);
/* Share of right predictions in the curve's test that has just completed; starts the next. */
double cf_gather_take_curve(cf_gather *g, int fold);
/* The rows of a complete fold. Release with cf_predictions_fini. */
CF_CHECKED cf_err cf_gather_predictions(const cf_gather *g, int fold, cf_predictions *out);

#endif
