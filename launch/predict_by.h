/* The differential count of a prediction (coordinator/differential.h): which cells belong together,
 * and the folder with its tables and contact sheets. Threads: main only. Read first:
 * cf_predict_by_count. */
#ifndef CF_LAUNCH_PREDICT_BY_H
#define CF_LAUNCH_PREDICT_BY_H

#include "coordinator/differential.h"
#include "proto/cells.h"

typedef enum cf_predict_by { CF_BY_NONE, CF_BY_PATIENT, CF_BY_SITE } cf_predict_by;

/* "patient" or "site"; CF_E_USAGE for others, with the reason for "slide", of which neither
 * manifests nor cells files know anything. */
CF_CHECKED cf_err cf_predict_by_parse(const char *text, cf_predict_by *by);
const char *cf_predict_by_name(cf_predict_by by);

/* CF_E_DATA where no image has a patient, by which cells are to be counted. */
CF_CHECKED cf_err cf_predict_by_check(cf_predict_by by, const cf_cells *cells);
/* Makes the folder and sees that files can be written there. CF_E_DISK. */
CF_CHECKED cf_err cf_predict_by_folder(const char *dir);

/* After the check. unlike: [p->n], NULL: not known. d: released with
 * cf_differential_fini in any case; borrows from all others. */
CF_CHECKED cf_err cf_predict_by_count(cf_predict_by by, const cf_scheme *s, const cf_cells *cells,
                                      const cf_predictions *p, const uint8_t *unlike,
                                      cf_differential *d);
/* Writes DIR/differential.csv, DIR/first.csv (the cells to look at first) and, of each group, a
 * sheet of these, DIR/sheet-0001.png and so on: no name of a patient becomes a name of a file.
 * Where DIR/first.csv is of an earlier count, sheets of it with higher numbers are taken away, once
 * all of this one are there. CF_E_DISK. */
CF_CHECKED cf_err cf_predict_by_write(cf_predict_by by, const cf_differential *d,
                                      const cf_cells *cells, const char *dir);

#endif
