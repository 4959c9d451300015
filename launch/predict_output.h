/* The file that predict writes: a row an image as CSV, or the same as JSON where its name ends in
 * .json. Threads: main only. Read first: cf_predict_output_write. */
#ifndef CF_LAUNCH_PREDICT_OUTPUT_H
#define CF_LAUNCH_PREDICT_OUTPUT_H

#include "launch/predict_unlike.h"
#include "proto/cells.h"
#include "proto/csv.h"
#include "worker/saved.h"

/* All borrowed. */
typedef struct cf_predict_output {
    const char *path;
    const cf_saved *run;
    const cf_cells *cells; /* whose patients become a column where it knows some */
    const cf_predictions *p;
    const cf_predict_unlike *unlike; /* NULL: not asked for, or not known */
    const double *temperatures;      /* [run->n_folds]; NULL: not scaled */
} cf_predict_output;

/* CSV: the columns of predictions.csv, then, where they are known, patient, unlike (0 or 1),
 * unlike_look and unlike_features. JSON: scheme, run, folds, temperatures, classes [code], images
 * [{id, site, patient, label, predicted, p [in the order of classes]}], with unlike, unlike_look
 * and unlike_features where these are known; a text that is not known is empty. Atomic. CF_E_DISK.
 */
CF_CHECKED cf_err cf_predict_output_write(const cf_predict_output *o);

#endif
