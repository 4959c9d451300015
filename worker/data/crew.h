/* Items done by several threads, each item by itself, for the passes of `check` and of UMAP.
 * Results go into slots that belong to the item, so they do not depend on the number of threads.
 * Threads: one caller. Read first: cf_crew_each. */
#ifndef CF_WORKER_DATA_CREW_H
#define CF_WORKER_DATA_CREW_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { CF_CREW_MAX = 256 };

typedef struct cf_crew {
    int threads; /* 1 to CF_CREW_MAX */
    /* Called from the caller's thread now and then; false stops. NULL: none. */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *progress_context;
} cf_crew;

/* `threads`, or one a core for 0. */
int cf_crew_size(int threads);

/* One item; worker: 0..crew->threads-1, so that a function may have scratch for each. */
typedef cf_err (*cf_crew_item)(void *context, int worker, int64_t i);

/* Calls item() for 0..n-1 on the crew's threads, the caller's being one of them. Errors: the one of
 * the lowest item among those tried; CF_E_UNEXPECTED "interrupted" when progress() said stop. */
CF_CHECKED cf_err cf_crew_each(const cf_crew *crew, int64_t n, cf_crew_item item, void *context);

#endif
