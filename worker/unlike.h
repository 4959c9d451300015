/* How far images are from those that a run was trained on: by their look (colours, sharpness) and
 * by what the networks make of them. A reference is made once of the run's own images, each seen by
 * the network that was not trained on it, and kept as a safetensors file.
 *
 * Look: the Mahalanobis distance of cf_look's figures from their mean. Features: what the last
 * dense layer reads, of unit length, the smallest Mahalanobis distance from a class's mean under
 * one covariance for all classes (Lee et al. 2018, equation 2), shrunk by adding its mean variance
 * to every variance (of 1,300 images and 1,024 features it is singular), divided by the fold's
 * median, and over several networks the mean. Which images of each fold are looked at stands in
 * unlike_sample.h: two of three make means and covariances, the third says how far a training image
 * that they have not seen lies. The false-alarm rate is a share of these, each seen by one network;
 * means over several networks vary less, so that with them it is an upper bound. A fold with too
 * few images has no part in it. Threads: one caller. Read first: cf_unlike_make,
 * cf_unlike_features. */
#ifndef CF_WORKER_UNLIKE_H
#define CF_WORKER_UNLIKE_H

#include "proto/cells.h"
#include "worker/look.h"
#include "worker/saved.h"

enum { CF_UNLIKE_MAX_FEATURES = 4096 };

/* Of one network. */
typedef struct cf_unlike_fold {
    int fold;
    uint64_t weights; /* hash of the weights and moments that made it */
    float *factor;    /* owned, [d (d + 1) / 2]: lower Cholesky factor, row by row */
    float *centres;   /* owned, [n_classes][d]: factor^-1 of each class's mean; NaN without one */
    double scale;     /* median distance of held-out images; NaN: too few of them, and the two above
                         are NULL */
} cf_unlike_fold;

typedef struct cf_unlike {
    char data[20]; /* hash of the run's images and folds, from its run.yaml */
    int64_t d;
    int n_classes, n_folds;
    cf_unlike_fold *folds;                                                   /* owned, [n_folds] */
    double mean[CF_LOOK_FIGURES], factor[CF_LOOK_FIGURES * CF_LOOK_FIGURES]; /* lower, full rows */
    float *look, *features; /* owned, [n_held], ascending: distances of held-out images */
    int64_t n_held;
} cf_unlike;

/* Makes the reference of all folds of `run`. cells, fold_of: the run's own (coordinator/folds.h's
 * values). progress: as in cf_predict_options. Errors: those of cf_predict; CF_E_DATA for too few
 * images, CF_E_USAGE for more than CF_UNLIKE_MAX_FEATURES features. Release `u` in any case. */
CF_CHECKED cf_err cf_unlike_make(const cf_saved *run, const cf_cells *cells, const uint8_t *fold_of,
                                 bool (*progress)(void *context, int64_t done, int64_t total),
                                 void *context, cf_unlike *u);
void cf_unlike_fini(cf_unlike *u);

/* Written whole or not at all: CF_E_DISK. Read back: CF_E_DATA, CF_E_CHECKPOINT where it is not
 * such a file. */
CF_CHECKED cf_err cf_unlike_write(const cf_unlike *u, const char *path);
CF_CHECKED cf_err cf_unlike_read(const char *path, cf_unlike *u);
/* *fits: whether it was made of the run's images and of the weights that its folds have now. */
CF_CHECKED cf_err cf_unlike_fits(const cf_unlike *u, const cf_saved *run, bool *fits);

/* Whether the fold has images enough to tell by its network. */
bool cf_unlike_knows(const cf_unlike *u, int fold);
/* Distances. The fold's features: [d]; NaN where the reference does not know the fold. */
double cf_unlike_look(const cf_unlike *u, const double figures[CF_LOOK_FIGURES]);
double cf_unlike_features(const cf_unlike *u, int fold, const float *features, double *scratch);
/* The distance that a share `rate` of held-out images lies beyond. sorted: u->look or u->features.
 */
double cf_unlike_threshold(const float *sorted, int64_t n, double rate);

#endif
