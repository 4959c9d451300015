/* One split as it is asked for, by `split` or by a configuration: checks that it is possible, makes
 * it, and says what it cannot promise. Threads: one caller. Read first: cf_split. */
#ifndef CF_COORDINATOR_FOLDS_MAKE_H
#define CF_COORDINATOR_FOLDS_MAKE_H

#include <stdbool.h>

#include "coordinator/folds_groups.h"
#include "proto/config.h"

/* FOLDS: n_folds folds, each tested once. LEAVE_SITE_OUT: a fold for each site, in the order of the
 * sites' names (bytes). HOLDOUT: fold 0 is tested, all else is CF_FOLD_TRAIN, so that there is one
 * fold to train. */
typedef struct cf_split {
    cf_split_kind kind;
    cf_group_by group; /* what stays together; LEAVE_SITE_OUT: patients are checked to */
    cf_missing_patient missing;
    int n_folds;       /* FOLDS: 2 to CF_MAX_FOLDS */
    double test_share; /* HOLDOUT: between 0 and 1 */
    uint64_t seed;     /* LEAVE_SITE_OUT has no use for it */
} cf_split;

/* The split that a configuration without data.folds_file describes. */
cf_split cf_split_of_config(const cf_config *config);
/* fold_of: [cells->n]. *n_folds: folds to be trained; 1 for a hold-out. Every image gets one fold,
 * groups stay whole, and every class that is tested in a fold has training images there. CF_E_DATA
 * with the reason when that is not possible: a class with fewer images, patients or sites than
 * folds (hold-out: than two), a single site, images without a site or patient. Warns as
 * cf_folds_warn does. */
CF_CHECKED cf_err cf_folds_make(const cf_cells *cells, const cf_split *split, int *n_folds,
                                uint8_t *fold_of);
/* For folds from elsewhere: CF_E_DATA when one tests a class that it cannot train, or, with
 * group other than NONE, when a patient or site stands in two folds (the first is named). */
CF_CHECKED cf_err cf_folds_check(const cf_cells *cells, cf_group_by group, int n_folds,
                                 const uint8_t *fold_of);
/* One warning where images of one patient stand in several folds, with the number of patients, or
 * may do so, because they have no patient. Folds that are whole sites keep what has no patient
 * apart: `whole_sites` leaves the second out. */
void cf_folds_warn(const cf_cells *cells, const uint8_t *fold_of, bool whole_sites);
/* Number of folds before anything is split; 0: not known (by site, without a cells file). */
int cf_split_n_folds(const cf_config *config, const cf_cells *cells);

#endif
