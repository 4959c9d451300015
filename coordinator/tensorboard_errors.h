/* The most confident errors of a fold as pictures for TensorBoard: a contact sheet of tiles, as it
 * shows the pictures of a group side by side. Threads: one caller. Read first:
 * cf_tensorboard_errors. */
#ifndef CF_COORDINATOR_TENSORBOARD_ERRORS_H
#define CF_COORDINATOR_TENSORBOARD_ERRORS_H

#include "coordinator/report_source.h"
#include "proto/csv.h"
#include "proto/events.h"

enum { CF_TENSORBOARD_ERRORS = 12, CF_TENSORBOARD_TILE_PX = 128 };

/* Appends up to CF_TENSORBOARD_ERRORS records, the surest first, with the tags "errors/01 LABEL as
 * PREDICTED". source: has begun. Images that it has not are passed over; errors are its own. */
CF_CHECKED cf_err cf_tensorboard_errors(const cf_scheme *s, const cf_predictions *p,
                                        const cf_report_source *source, const cf_event_place *place,
                                        cf_buf *out);

#endif
