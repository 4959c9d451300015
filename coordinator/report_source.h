/* What a report shows of the images and the coordinator cannot: it decodes none. Who knows both
 * floors fills this in (launch/report_images.h). Threads: one caller. Read first: cf_report_source.
 */
#ifndef CF_COORDINATOR_REPORT_SOURCE_H
#define CF_COORDINATOR_REPORT_SOURCE_H

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

typedef struct cf_report_source {
    void *context;
    /* Called before the first picture. *absent: why the run folder's images cannot be had, a
     * sentence without its full stop, borrowed until the next call; NULL where they can. */
    cf_err (*begin)(void *context, const char *run_dir, const char **absent);
    /* Appends image `id` as a JPEG whose longer side has `side` px at most; nothing where there is
     * no such image. Errors: CF_E_DATA for a damaged one, CF_E_UNEXPECTED. */
    cf_err (*picture)(void *context, const char *id, int side, cf_buf *jpeg);
} cf_report_source;

#endif
