/* The table of images by class and site that inspect and check print. Threads: any. Read first:
 * cf_class_table. */
#ifndef CF_LAUNCH_CLASS_TABLE_H
#define CF_LAUNCH_CLASS_TABLE_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "proto/cells.h"

/* Appends a row for each class and a column for each site, where there are 2 to 12 of them. images:
 * [n_classes + 1][n_sites], the last row those without a label, which is left out where it is
 * empty. CF_E_UNEXPECTED when memory is short. */
CF_CHECKED cf_err cf_class_table(const cf_cells *cells, const int64_t *images, cf_buf *out);

/* A site's name for a person; borrowed. */
const char *cf_site_title(const cf_cells *cells, int site);

#endif
