/* Is there room for this job? Asked before training: what will be written, beside what the file
 * system has left. Threads: any. Read first: cf_space_check. */
#ifndef CF_COORDINATOR_SPACE_H
#define CF_COORDINATOR_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef struct cf_space {
    const char *dir; /* run folder; borrowed */
    int n_folds;     /* of the run */
    int only_fold;   /* -1: all of them */
    int64_t checkpoint_bytes;
    int64_t n_images;
    int n_nodes;  /* outputs of the network: columns of the predictions */
    bool at_rest; /* without the new checkpoints: of a job that is not under way */
} cf_space;

/* Bytes that the job will need beside those that it has already: (kept + 1) checkpoints for each of
 * its folds, since the new one is there before the old one goes, predictions, and the report. A
 * fold that has its predictions is finished, and needs room for them alone. */
CF_CHECKED cf_err cf_space_needed(const cf_space *s, int64_t *bytes);
/* CF_E_DISK with bytes needed and free when they do not fit. Where the system shows no quota here,
 * the checkpoint written before the first step meets it (worker/store.h). */
CF_CHECKED cf_err cf_space_check(const cf_space *s);
/* The same for a sum of several needs. */
CF_CHECKED cf_err cf_space_expect(const char *dir, int64_t needed);

#endif
