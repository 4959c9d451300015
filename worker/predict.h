/* Prediction: class probabilities of images, the mean over the networks of a run and over turns of
 * each image. One process, no MPI. Threads: one caller; the backend's and the loader's own. Read
 * first: cf_predict. */
#ifndef CF_WORKER_PREDICT_H
#define CF_WORKER_PREDICT_H

#include "proto/cells.h"
#include "worker/saved.h"

enum cf_predict_norm { CF_PREDICT_NORM_SAVED, CF_PREDICT_NORM_ADAPTED };

/* What one network made of a micro-batch, on the way to the mean. Borrowed for the call. */
typedef struct cf_predict_pass {
    int fold, turn, n;     /* n images */
    const int64_t *images; /* [n], places in the cells file */
    const double *p;       /* [n][n_classes], this network's alone */
    const float *features; /* [n][cf_predict_n_features]: what the last dense layer reads, in HWC
                              order, as fp32; NULL: not asked for */
} cf_predict_pass;

typedef struct cf_predict_options {
    int n_turns;               /* 1 to CF_N_TURNS: each image is seen in the first so many turns */
    enum cf_predict_norm norm; /* whether batch norm's moments are taken from the images, of each
                                  site by itself */
    const cf_stain *reference; /* stains that every image is given, for which `cells` has to have
                                  its own; NULL: none */
    double adapt_share;        /* 0 to 1: weight of those against the run's own (adapt.h) */
    /* Each image is seen by the network of its own fold alone, the one that was not trained on it:
     * [cells->n]; NULL: by all. Where that fold is not among run->folds, p stays 0. */
    const uint8_t *fold_of;
    /* [run->n_folds], in their order: each network's probabilities are scaled by its own
     * (kernels/math/temperature.h) before they count; NULL: they stay as they are. */
    const double *temperatures;
    /* Called with what each micro-batch gave, in the order of folds, turns and images; its error
     * stops the prediction. features: whether it wants these. NULL: none. */
    cf_err (*pass)(void *context, const cf_predict_pass *pass);
    void *pass_context;
    bool features;
    /* Called after each micro-batch, of adapting too; done and total count images times networks
     * and turns, adapting being one more. False stops the prediction. NULL: none. */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} cf_predict_options;

typedef struct cf_predict_times {
    int64_t n_passes; /* images through a network: images x folds x turns */
    int64_t infer_ns; /* of the loop below in all */
    int64_t wait_ns;  /* of it, waiting for images */
    int64_t adapt_ns; /* of adapting, before it */
    char device[256]; /* the backend's line about it */
} cf_predict_times;

/* p: [cells->n][run->scheme.n_classes], row by row the mean over run->folds and turns, in that
 * order, of probabilities in double precision. Labels and the scheme of `cells` are not looked at.
 * The run's configuration decides device, threads, zoom and, as train.micro_batch, how many images
 * pass at once; with one fold and one turn, and with its own settings, the run's own test is
 * repeated bit by bit, as those of all folds are with fold_of. Errors: CF_E_CHECKPOINT, CF_E_DATA
 * (pixels that do not match their hash), CF_E_DEVICE, CF_E_NUMERIC naming fold and image,
 * CF_E_USAGE; CF_E_UNEXPECTED when stopped. */
CF_CHECKED cf_err cf_predict(const cf_saved *run, const cf_cells *cells,
                             const cf_predict_options *options, double *p, cf_predict_times *times);

/* Numbers that the last dense layer of the run's network reads of an image. CF_E_USAGE where
 * configuration and scheme make no network. */
CF_CHECKED cf_err cf_predict_n_features(const cf_saved *run, int64_t *n);

#endif
