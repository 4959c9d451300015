/* A run taken up for prediction: the folds that are asked for, the command line's word over the
 * run's configuration, the temperature of each network. Threads: main only. Read first:
 * cf_predict_run_open. */
#ifndef CF_LAUNCH_PREDICT_RUN_H
#define CF_LAUNCH_PREDICT_RUN_H

#include "worker/saved.h"

/* What the command line says; 0, or no folds: as the run. */
typedef struct cf_predict_run_wishes {
    cf_strings folds; /* owned: numbers as text */
    const char *device;
    int64_t threads, batch;
    double zoom;
} cf_predict_run_wishes;

/* Reads run and scheme and checks that the device is there. Errors: those of cf_saved_open,
 * CF_E_USAGE for a fold that is no number or a setting out of range, CF_E_DEVICE. Release `run`
 * with cf_saved_fini in any case. */
CF_CHECKED cf_err cf_predict_run_open(const cf_predict_run_wishes *w, const char *dir,
                                      cf_saved *run);

/* temperatures: [run->n_folds]: of each network, fitted to its own test in
 * fold-K/predictions.csv. CF_E_DATA where that is not there or has no row to fit to. */
CF_CHECKED cf_err cf_predict_run_temperatures(const cf_saved *run, double *temperatures);

#endif
