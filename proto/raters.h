/* Labels that people gave: a CSV of one label a row.
 *
 * Columns id, rater, label, and round where a rater labelled an image more than once (1, 2, ...; an
 * empty cell is 1). Others are passed over. Threads: any. Read first: cf_raters_read. */
#ifndef CF_PROTO_RATERS_H
#define CF_PROTO_RATERS_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/file.h"
#include "proto/scheme.h"

enum { CF_MAX_RATERS = 64, CF_MAX_ROUNDS = 1000 };

typedef struct cf_rating {
    int64_t image; /* index in ids */
    int32_t rater; /* index in names */
    int32_t round; /* from 1 */
    int32_t label; /* class index */
} cf_rating;

typedef struct cf_raters {
    cf_strings names; /* owned: raters in order of the file */
    cf_strings ids;   /* owned: images in order of the file */
    cf_rating *items; /* owned, [n]: by image, then rater, then round */
    int64_t n;
} cf_raters;

/* Release with fini in any case. Errors: CF_E_DATA with path:line:column: missing column, unknown
 * or empty label, empty id or rater or one that is not UTF-8, a round that is no whole number from
 * 1 to CF_MAX_ROUNDS, two labels of one image by one rater in one round, more than CF_MAX_RATERS
 * raters, no rows. */
CF_CHECKED cf_err cf_raters_read(const char *path, const cf_scheme *s, cf_raters *r);
void cf_raters_fini(cf_raters *r);

#endif
