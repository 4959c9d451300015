/* A worker's card: whether what it needs fits, and the cells file's pixels on it. Nothing to do for
 * a backend without memory of its own. Threads: one caller. Read first: cf_card_check. */
#ifndef CF_WORKER_CARD_H
#define CF_WORKER_CARD_H

#include "proto/cells.h"
#include "worker/data/loader.h"
#include "worker/engine.h"
#include "worker/group.h"

/* Local: refuses, before anything large is allocated, a run that does not fit: CF_E_DEVICE with the
 * bytes needed and free and the largest micro-batch that would fit. sharers: workers on this card,
 * each of which takes an equal part; all have opened it and none has allocated. Where strangers
 * have it, too, who may or may not have allocated, each takes no more than an equal part of all of
 * it. */
CF_CHECKED cf_err cf_card_check(const cf_engine *e, const cf_scheme *scheme, int n_folds,
                                const cf_seat *seat, int sharers);

/* Room for raw batches in memory that the card reads, none of them held there. e: borrowed. */
cf_raw_room cf_card_room(cf_engine *e);

/* Collective over `workers`: copies the pixels of the cells file onto each worker's card where they
 * fit beside all else, which must have been allocated; workers of one card one after the other.
 * A card that strangers have as well holds none: they would not fit their next point.
 * *room says where raw batches then stand. seats: of all workers. */
CF_CHECKED cf_err cf_card_hold(cf_comm *workers, cf_engine *e, const cf_cells *cells,
                               const cf_seat *seats, cf_raw_room *room);

#endif
