/* Which images look or feel unlike those that a run was trained on (worker/unlike.h): the
 * reference kept in the run folder, made at first use, and the judgement of each image. Threads:
 * main only. Read first: cf_predict_unlike_open. */
#ifndef CF_LAUNCH_PREDICT_UNLIKE_H
#define CF_LAUNCH_PREDICT_UNLIKE_H

#include "launch/predict_run.h"
#include "worker/predict.h"
#include "worker/unlike.h"

#define CF_UNLIKE_FILE "unlike.safetensors"

typedef struct cf_predict_unlike_wishes {
    const cf_predict_run_wishes *run; /* borrowed: device and threads */
    const char *cells;                /* the run's own images; NULL: where they were */
    double rate;                      /* of false alarms; 0 < rate < 1 */
} cf_predict_unlike_wishes;

typedef struct cf_predict_unlike {
    cf_unlike reference; /* owned */
    double rate;         /* of false alarms at most; half of it by look, half by features */
    double look_limit, features_limit;
    int64_t n;
    double *look, *features; /* owned, [n]: distances over their limits; above 1: unlike. features:
                                NaN where no network can tell */
    uint8_t *flags;          /* owned, [n]: 1 where either is */
    double *scratch;         /* owned, [features] */
    int64_t n_flagged;
    int64_t n_swapped; /* images near the training images once red and blue are exchanged */
} cf_predict_unlike;

/* Reads the reference of the run, or makes one of all its folds and keeps it in the run folder. n:
 * images to come. *known: false where neither can be, which a warning explains, and no error but
 * where w->cells names the images. Release with fini in any case. */
CF_CHECKED cf_err cf_predict_unlike_open(const cf_predict_unlike_wishes *w, const cf_saved *run,
                                         int64_t n, cf_predict_unlike *u, bool *known);
void cf_predict_unlike_fini(cf_predict_unlike *u);
/* For cf_predict_options.pass, with features; context: a cf_predict_unlike. */
CF_CHECKED cf_err cf_predict_unlike_pass(void *u, const cf_predict_pass *pass);
/* After the networks: judges every image, and warns of what many of them have in common. reference:
 * the stains that the networks saw all images with, which the look is of, too; NULL: their own. */
CF_CHECKED cf_err cf_predict_unlike_judge(cf_predict_unlike *u, const cf_saved *run,
                                          const cf_cells *cells, const cf_stain *reference);

#endif
