/* The features by which the networks of a run tell images apart, each test image by the network
 * that was not trained on it, in one common space.
 *
 * Networks that were trained apart have their features in other places and directions: side by side
 * the images of each fold would lie by themselves. So a sample of images is seen by all networks,
 * and each fold's principal axes are turned, scaled and shifted onto those of the first (axes.h) by
 * those of the sample that both networks were trained on: as many axes as the scheme has nodes less
 * one, which is how many directions tell that many apart. How well that worked is measured:
 * cf_turn.agreement, and cf_mixing_measure (mixing.h).
 * Threads: one caller; the backend's and the loader's own. Read first: cf_features_take. */
#ifndef CF_WORKER_INSIGHT_FEATURES_H
#define CF_WORKER_INSIGHT_FEATURES_H

#include "worker/predict.h"

typedef struct cf_features {
    int64_t n, d;       /* tested images; what the last layer reads of each */
    int64_t *images;    /* owned, [n] places in the cells file, ascending */
    uint8_t *folds;     /* owned, [n] */
    int32_t *predicted; /* owned, [n] class, by the network of the fold */
    float *x;           /* owned, [n][d], each in the space of its own network */
    int n_folds;
    int fold[CF_MAX_FOLDS]; /* [n_folds] ascending */
    int64_t n_sample;       /* images that all networks saw; 0 with one fold */
    int64_t *sample;        /* owned, [n_sample] */
    float *seen;            /* owned, [n_folds][n_sample][d] */
    char device[256];       /* the backend's line about it */
} cf_features;

typedef struct cf_features_options {
    /* As in cf_predict_options, over all passes. */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} cf_features_options;

/* Features of the images whose fold is among run->folds. fold_of: [cells->n], borrowed. CF_E_DATA
 * where these folds test nothing, else as cf_predict. Release with fini in any case. */
CF_CHECKED cf_err cf_features_take(const cf_saved *run, const cf_cells *cells,
                                   const uint8_t *fold_of, const cf_features_options *options,
                                   cf_features *out);
void cf_features_fini(cf_features *f);

/* Of one fold laid on the first. */
typedef struct cf_features_turn {
    int fold;
    int64_t n_shared;     /* images of the sample that decided */
    bool trained_by_both; /* they are those that both networks were trained on; else that leaves
                             next to none, as with two folds, and it was the whole sample */
    double kept;          /* share of the features' variance along the axes */
    double agreement;     /* cf_turn.agreement */
} cf_features_turn;

typedef struct cf_common {
    int64_t n, d;
    float *x; /* owned, [n][d] */
    cf_features_turn turns[CF_MAX_FOLDS];
} cf_common;

/* The common space. r: axes, 1 to CF_AXES_MAX, fewer where there are not as many features or
 * images. With one fold the features as they are. Release with fini in any case. */
CF_CHECKED cf_err cf_features_join(const cf_features *f, const uint8_t *fold_of, int r,
                                   cf_common *out);
/* The mean of all rows taken from each: angles between them are then of what tells them apart.
 * CF_E_UNEXPECTED. */
CF_CHECKED cf_err cf_common_centre(cf_common *c);
void cf_common_fini(cf_common *c);

#endif
