/* The pictures of a report: images of the cells file that the run's run.yaml names, made small.
 * Threads: one at a time. Read first: cf_report_images. */
#ifndef CF_LAUNCH_REPORT_IMAGES_H
#define CF_LAUNCH_REPORT_IMAGES_H

#include "coordinator/report_source.h"
#include "proto/cells.h"
#include "worker/data/image.h"

typedef struct cf_report_images {
    cf_cells cells;   /* of the last run folder; {0}: none is open */
    int64_t *by_id;   /* owned, [cells.n]: images in byte order of their ids */
    cf_image room;    /* where encoded images are decoded */
    char absent[512]; /* why there are none */
} cf_report_images;

/* *source is borrowed from *images and serves one run folder after the other, each opened when the
 * report begins. A cells file that is gone, cannot be read or holds other images is no error: the
 * report says so. */
void cf_report_images_init(cf_report_images *images, cf_report_source *source);
void cf_report_images_fini(cf_report_images *images);

#endif
