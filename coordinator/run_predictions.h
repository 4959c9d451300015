/* What a run folder holds of predictions, fold by fold or pooled, and the patients of its images.
 * Threads: any. Read first: cf_run_predictions_read. */
#ifndef CF_COORDINATOR_RUN_PREDICTIONS_H
#define CF_COORDINATOR_RUN_PREDICTIONS_H

#include "coordinator/metrics.h"
#include "kernels/base/file.h"

/* Predictions of the folds that are there. */
typedef struct cf_run_folds {
    int numbers[CF_METRICS_MAX_FOLDS]; /* ascending */
    cf_predictions *predictions;       /* owned, [n] */
    int n;
    int expected; /* folds of the run by its folds.csv, else below the highest found:
                     0..expected-1 */
} cf_run_folds;

/* fold-K/predictions.csv of every fold that has one. CF_E_DATA when there are none, or when a
 * fold's rows name another fold. Released by cf_run_folds_fini in any case. */
CF_CHECKED cf_err cf_run_folds_read(const char *run_dir, const cf_scheme *s, cf_run_folds *run);
void cf_run_folds_fini(cf_run_folds *run);
/* Moves the rows of all folds into one set, fold after fold; ids, sites and patients change their
 * owner. */
CF_CHECKED cf_err cf_run_folds_pool(cf_run_folds *run, int n_classes, cf_predictions *all);
/* "RUN/fold-K/FILE". */
CF_CHECKED cf_err cf_run_fold_path(const char *run_dir, int fold, const char *file,
                                   char path[CF_PATH_MAX]);

/* Fills p->patients from the cells file that run.yaml of the run folder names, where p names none.
 */
CF_CHECKED cf_err cf_run_patients(const char *run_dir, cf_predictions *p, cf_patients_found *found);

/* All rows of a run folder, or those of a predictions file that have a label, with their patients;
 * *patients: where they come from. CF_E_DATA where none has a label. */
CF_CHECKED cf_err cf_run_predictions_read(const char *run_dir_or_csv, const cf_scheme *s,
                                          cf_predictions *p, cf_patients_found *patients);

#endif
