/* Votes: the ranks of a group learn the highest of a few numbers beside the sums of a step, so that
 * all of them decide alike, in the same step, without a wait of its own.
 *
 * Host memory on every backend, a communicator of its own. Threads: one caller. Read first:
 * cf_vote_start. */
#ifndef CF_KERNELS_COMM_VOTE_H
#define CF_KERNELS_COMM_VOTE_H

#include <stdint.h>

#include "kernels/comm/comm_mpi.h"

enum { CF_VOTE_VALUES = 4, CF_VOTE_SLOTS = 3 };

typedef struct cf_vote cf_vote;

/* Collective over `parent`: ranks of one colour vote together, ordered by `key`. */
CF_CHECKED cf_err cf_vote_create(MPI_Comm parent, int color, int key, cf_vote **out);
/* Collective. Accepts NULL. */
void cf_vote_destroy(cf_vote *v);

/* Collective: this rank's values set out; returns at once. A slot holds one vote until it is
 * finished; all ranks start votes in the same order. */
CF_CHECKED cf_err cf_vote_start(cf_vote *v, int slot, const int64_t values[CF_VOTE_VALUES]);
/* Collective: the highest of each value over all ranks. Blocks until every rank has started. */
CF_CHECKED cf_err cf_vote_finish(cf_vote *v, int slot, int64_t highest[CF_VOTE_VALUES]);
/* Collective, blocking: every rank's number, in rank order. all: [size of the group]. For messages
 * on the way out, not for the step path. */
CF_CHECKED cf_err cf_vote_gather(cf_vote *v, int64_t mine, int64_t *all);

#endif
