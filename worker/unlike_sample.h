/* Which of a run's own images a reference of unlike ones is made of. Threads: any. Read first:
 * cf_unlike_sample. */
#ifndef CF_WORKER_UNLIKE_SAMPLE_H
#define CF_WORKER_UNLIKE_SAMPLE_H

#include "proto/cells.h"

/* Of each fold at most so many test images, and of each class at least so many images, for a
 * centre. */
enum { CF_UNLIKE_SAMPLE = 1800, CF_UNLIKE_OF_CLASS = 8 };
/* A fold that holds out fewer has no median to speak of, and a spread of next to nothing. */
enum { CF_UNLIKE_MIN_HELD_OF_FOLD = 4 };

/* What an image is for. */
enum cf_unlike_use {
    CF_UNLIKE_NOT_TAKEN,
    CF_UNLIKE_FITTED, /* its class's centre, and the covariance */
    CF_UNLIKE_CENTRE, /* its class's centre only: the fold's network was trained on it */
    CF_UNLIKE_HELD,   /* how far a training image lies that the two above have not seen */
    CF_UNLIKE_USES
};

/* use: [cells->n], receives what the fold's network sees each image for; counts: of each use.
 * Images that the fold tests are taken evenly over the file, where classes stand one after the
 * other, one of three to be held out. A class of which these hold fewer than CF_UNLIKE_OF_CLASS
 * gets more: first the fold's further images, then, where the fold has no more (a site without the
 * class, a class of eight cells), some that the network was trained on; held-out images stay in
 * proportion. A fold of too few images takes none. cells: labels all known. */
void cf_unlike_sample(const cf_cells *cells, const uint8_t *fold_of, int fold, uint8_t *use,
                      int64_t counts[CF_UNLIKE_USES]);

#endif
