/* Where staged copies lie, and room for another one. Threads: one caller.
 * Read first: cf_stage_folder. */
#ifndef CF_WORKER_STAGE_FOLDER_H
#define CF_WORKER_STAGE_FOLDER_H

#include <stdint.h>

#include "kernels/base/file.h"

/* The folder `where` stands for, with our own `cytofold-<uid>` made in it (mode 0700). "auto" is
 * the first of $SLURM_TMPDIR, $TMPDIR and /tmp that is on a disk of this node, and another one than
 * `path` is on: network file systems are passed over since nothing is won there, file systems in
 * memory since a batch system counts them as the job's. CF_E_DISK with the reason for the last one
 * that was passed over; also where `cytofold-<uid>` is somebody else's. */
CF_CHECKED cf_err cf_stage_folder(const char *where, const char *path, char folder[CF_PATH_MAX]);
/* Makes sure that `bytes` more fit into `folder`, with 64 MiB left over; removes copies of other
 * cells files than the one called `keep`, longest unused first, as far as needed. CF_E_DISK with
 * bytes needed and free. */
CF_CHECKED cf_err cf_stage_make_room(const char *folder, uint64_t bytes, const char *keep);

#endif
