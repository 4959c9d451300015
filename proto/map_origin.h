/* Of which weights a run's map of images (embed.csv) is: embed.json names the checkpoint that each
 * fold's images were seen by. Threads: any. Read first: cf_map_origin_is_earlier. */
#ifndef CF_PROTO_MAP_ORIGIN_H
#define CF_PROTO_MAP_ORIGIN_H

#include <stdbool.h>

#include "kernels/base/err.h"

enum { CF_MAP_MARK_MAX = 20 };

/* The mark of the fold's newest checkpoint (cf_checkpoint_newest_mark) as embed.json's "checkpoint"
 * has it; "" where the fold has none. */
CF_CHECKED cf_err cf_map_origin_mark(const char *run_dir, int fold, char text[CF_MAP_MARK_MAX]);

/* *earlier: a fold of run_dir/embed.json has another newest checkpoint by now than the one named
 * there. False where nothing can be told: no embed.json or one without such names, or no
 * checkpoints any more. Errors: CF_E_DATA for an embed.json that is none or a
 * checkpoint that cannot be read, CF_E_UNEXPECTED. */
CF_CHECKED cf_err cf_map_origin_is_earlier(const char *run_dir, bool *earlier);

#endif
