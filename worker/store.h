/* Checkpoints on disk: fold-K/checkpoint-<step>.ckpt, written by a thread off the step path, the
 * last two kept, the newest that verifies resumed. Threads: one caller. Read first: cf_store_save.
 */
#ifndef CF_WORKER_STORE_H
#define CF_WORKER_STORE_H

#include <stdbool.h>

#include "proto/checkpoint.h"

typedef struct cf_store cf_store;

CF_CHECKED cf_err cf_store_create(cf_store **out);
/* Waits for the write under way. Accepts NULL. */
void cf_store_destroy(cf_store *s);
/* Copies the tensors (the step may go on at once) and hands them to the writer thread; waits only
 * while the save before is still being written. An error of that earlier save is returned here,
 * once, and nothing is saved then. Makes fold_dir and its parents; removes temporaries of dead
 * processes. */
CF_CHECKED cf_err cf_store_save(cf_store *s, const char *fold_dir, const cf_checkpoint *c);
/* Writes a checkpoint beside the real ones, reads it back from the disk through every check, and
 * removes it, and fold_dir where that is empty then: before the first step, so that a disk that is
 * full, over its quota, read-only or lying costs no work. Blocks. CF_E_DISK, with bytes needed and
 * free. */
CF_CHECKED cf_err cf_store_prove(const char *fold_dir, const cf_checkpoint *c);
/* The longest time a save took to reach the disk so far, ns. */
int64_t cf_store_longest_ns(cf_store *s);
/* Waits for all saves; returns the first error. */
CF_CHECKED cf_err cf_store_flush(cf_store *s);
/* The newest checkpoint of a fold that verifies, or *found = false. Damaged ones are named in the
 * log and passed over; CF_E_CHECKPOINT when there are checkpoints and none verifies, since
 * starting from nothing would throw the run away. CF_E_DISK when one cannot be read at all. */
CF_CHECKED cf_err cf_store_load_newest(const char *fold_dir, cf_checkpoint *c, bool *found);
/* As above, but only this step. */
CF_CHECKED cf_err cf_store_load_step(const char *fold_dir, int64_t step, cf_checkpoint *c);

#endif
