/* Staging: a copy of the cells file on the node's own disk, made once a node and kept for the next
 * job there.
 *
 * The copy is verified by size and by a hash of every byte, once by each process; it appears
 * under its name whole or not at all. Nothing here can fail a run: where a copy cannot be had, a
 * warning says why and the shared file is read. It does not enter a result: a worker holds whatever
 * file it opens against the hash in its plan. Copies lie in `<folder>/cytofold-<uid>`, which no
 * other user can read. Threads: one caller. Read first: cf_stage_cells. */
#ifndef CF_WORKER_STAGE_H
#define CF_WORKER_STAGE_H

#include <stdint.h>

#include "kernels/base/file.h"
#include "kernels/comm/comm_mpi.h"

/* The copy that this process has verified last, so that the next job of a lane need not read it
 * again. {0}: none. */
typedef struct cf_stage_seen {
    uint64_t content_hash, device, inode;
    int64_t n_bytes;
} cf_stage_seen;

/* Everything is borrowed for the call. */
typedef struct cf_stage {
    const char *path;      /* cells file, absolute */
    const char *where;     /* run.stage: "" for no copy, "auto", or a folder */
    uint64_t content_hash; /* of the cells file: names the copy */
    /* Called again and again while bytes move or are waited for; an error gives the copy up. NULL:
     * none. */
    cf_err (*moved)(void *context);
    void *context;
    cf_stage_seen *seen; /* in and out; NULL: nothing is remembered */
} cf_stage;

/* Collective over `workers`: `path` becomes the file to read on this node, the copy or the shared
 * one, also where the copy was given up. One rank of each node copies, the others wait. CF_E_DEVICE
 * where MPI fails. Blocking. */
CF_CHECKED cf_err cf_stage_cells(const cf_stage *s, MPI_Comm workers, char path[CF_PATH_MAX]);

/* Local: the same for one process. Waits for other processes that copy the same file on this node.
 * CF_E_DISK or CF_E_DATA, with the reason, where no copy can be had; what moved() says. No
 * temporary stays. */
CF_CHECKED cf_err cf_stage_copy(const cf_stage *s, char path[CF_PATH_MAX]);

#endif
