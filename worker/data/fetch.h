/* The pixels of a cells file's images, however the file keeps them: decoded ones are borrowed from
 * the mapping, encoded ones are decoded here. Whoever reads pixels reads them through this, but for
 * a device that holds them all. Threads: any, with a room each. Read first: cf_cells_fetch. */
#ifndef CF_WORKER_DATA_FETCH_H
#define CF_WORKER_DATA_FETCH_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"
#include "worker/data/image.h"

/* *pixels: uint8 [height][width][3] of image i, borrowed from the mapping or from *room, valid
 * until the next call with that room. room: {0} at first; its memory is used again by each call and
 * released by cf_image_fini. What was read is not compared with the stored hash: cf_cells_verify
 * does that. Errors: CF_E_DATA naming the image whose stored bytes cannot be decoded. */
CF_CHECKED cf_err cf_cells_fetch(const cf_cells *cells, int64_t i, cf_image *room,
                                 const uint8_t **pixels);
/* CF_E_DATA naming image i where its pixels, as fetched, do not have the hash that the file
 * promises. */
CF_CHECKED cf_err cf_cells_verify(const cf_cells *cells, int64_t i, const uint8_t *pixels);

#endif
