/* Two sets of predictions beside each other, for `score` and `report`: read, compare, save, print.
 * Threads: main only. Read first: cf_compare_files. */
#ifndef CF_LAUNCH_COMPARE_FILES_H
#define CF_LAUNCH_COMPARE_FILES_H

#include "coordinator/compare.h"

typedef struct cf_compare_job {
    const char *a, *b;           /* names of the sides as the user gave them; b is read here: a run
                                    folder or a predictions file */
    const cf_predictions *rows;  /* borrowed: A's, each with a label */
    cf_patients_found patients;  /* A's */
    int n_resamples;             /* 0: no intervals */
    const char *json, *markdown; /* where to save; NULL: not saved */
    bool print_json;             /* to stdout instead of the Markdown */
} cf_compare_job;

/* Errors: those of cf_compare and of reading b; CF_E_DISK when a file cannot be written. */
CF_CHECKED cf_err cf_compare_files(const cf_scheme *s, const cf_compare_job *job);

#endif
