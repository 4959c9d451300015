/* Folds: which images are tested together. A split is a function of (labels, groups, seed).
 * Threads: any. Read first: cf_folds_stratified. */
#ifndef CF_COORDINATOR_FOLDS_H
#define CF_COORDINATOR_FOLDS_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"

/* Stratified split per image: each class is shuffled by its own Philox stream and dealt out round
 * the folds, the dealing going on where the class before stopped, so that folds differ by at most
 * one image in every class and in total. fold_of: [n], receives 0..n_folds-1. CF_E_DATA, naming the
 * classes, when a class has images but fewer than n_folds, or when fewer than two classes have
 * images. */
CF_CHECKED cf_err cf_folds_stratified(const cf_cells *cells, int n_folds, uint64_t seed,
                                      uint8_t *fold_of);
/* Reads id,fold; every image of the cells file exactly once; folds 0..n_folds-1 all present.
 * n_folds is found. CF_E_DATA with path:line:column. */
CF_CHECKED cf_err cf_folds_read(const char *path, const cf_cells *cells, int *n_folds,
                                uint8_t *fold_of);
CF_CHECKED cf_err cf_folds_write(const char *path, const cf_cells *cells, const uint8_t *fold_of);
/* Identity of data and split, for checkpoints and resume: cells content hash with fold_of. */
uint64_t cf_folds_hash(const cf_cells *cells, const uint8_t *fold_of);

#endif
