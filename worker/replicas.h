/* Replicas: every rank of a group holds each of its folds' state, which must be the same bits. They
 * are compared by digest, in the vote of a step and before each save, so that a rank whose memory
 * or network has changed a bit is named, and what it spoilt is never saved. Threads: the step's.
 * Read first: cf_replicas_check. */
#ifndef CF_WORKER_REPLICAS_H
#define CF_WORKER_REPLICAS_H

#include "worker/state.h"

/* Local. This rank's digest of `t` as it stands, for the vote of a step. Zeros where the group has
 * one rank or run.replica_check is 0, and with ROUTINE on steps that are no multiple of it. */
typedef enum cf_replicas_when { CF_REPLICAS_ROUTINE, CF_REPLICAS_NOW } cf_replicas_when;
CF_CHECKED cf_err cf_replicas_digest(cf_worker *w, const cf_trainer *t, cf_replicas_when when,
                                     cf_digest_pair *mine);
/* Collective over the group, after the vote. CF_E_NUMERIC, on all ranks, when digests differ: names
 * those that are not the majority (both of two), with host, rank, fold and step. */
CF_CHECKED cf_err cf_replicas_compare(cf_worker *w, const cf_trainer *t, cf_digest_pair mine,
                                      cf_digest_pair highest);
/* Collective over the group: digest, vote and comparison at once, before a save. */
CF_CHECKED cf_err cf_replicas_check(cf_worker *w, const cf_trainer *t);

#endif
