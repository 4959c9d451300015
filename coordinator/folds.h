/* Folds: which images are tested together; splits by image, and the folds file. Splits that keep
 * patients or sites together stand in folds_balance, the choice among all in folds_make.
 * In fold_of an image has its fold, 0..n_folds-1, or CF_FOLD_TRAIN: tested in none, trained on in
 * all. Threads: any. Read first: cf_folds_stratified. */
#ifndef CF_COORDINATOR_FOLDS_H
#define CF_COORDINATOR_FOLDS_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"
#include "proto/control.h"

/* Stratified split per image: each class is shuffled by its own Philox stream and dealt out round
 * the folds, the dealing going on where the class before stopped, so that folds differ by at most
 * one image in every class and in total. fold_of: [n], receives 0..n_folds-1. CF_E_DATA, naming the
 * classes, when a class has images but fewer than n_folds, or when fewer than two classes have
 * images. */
CF_CHECKED cf_err cf_folds_stratified(const cf_cells *cells, int n_folds, uint64_t seed,
                                      uint8_t *fold_of);
/* One split: test_share of every class goes to fold 0, the rest is CF_FOLD_TRAIN. Shuffled and cut
 * as above, so that each class and the total are within one image of their share; a class of two
 * or more images has one at least on either side, which can take the total further. Both depend on
 * the order of the images in the file, which pack sorts. CF_E_DATA when a class has one image. */
CF_CHECKED cf_err cf_folds_holdout(const cf_cells *cells, double test_share, uint64_t seed,
                                   uint8_t *fold_of);
/* A share between 0 and 1 in millionths, what it counts for; 0 when it is none. */
int64_t cf_folds_millionths(double share);
/* CF_E_DATA, naming the classes, when a class has images but fewer than n_folds, or when fewer than
 * two classes have images. */
CF_CHECKED cf_err cf_folds_check_counts(const cf_cells *cells, int n_folds);
/* Reads id,fold; every image of the cells file exactly once; a fold is a number or the word
 * "train"; folds 0..n_folds-1 all present, and two of them or images to train on. n_folds is found.
 * CF_E_DATA with path:line:column. */
CF_CHECKED cf_err cf_folds_read(const char *path, const cf_cells *cells, int *n_folds,
                                uint8_t *fold_of);
CF_CHECKED cf_err cf_folds_write(const char *path, const cf_cells *cells, const uint8_t *fold_of);
/* Identity of data and split, for checkpoints and resume: cells content hash with fold_of. */
uint64_t cf_folds_hash(const cf_cells *cells, const uint8_t *fold_of);

#endif
