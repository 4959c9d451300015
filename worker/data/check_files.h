/* What the files of a check share. Internal to check; use cf_check_write. */
#ifndef CF_WORKER_DATA_CHECK_FILES_H
#define CF_WORKER_DATA_CHECK_FILES_H

#include "worker/data/check.h"

/* The class code of image i; "" for none. Borrowed. */
const char *cf_check_label(const cf_cells *cells, int32_t i);
/* "3", "train", or "" without folds. */
const char *cf_check_fold(const cf_check_options *o, int32_t i, char text[16]);

/* Contact sheets of pairs and of odd images. */
CF_CHECKED cf_err cf_check_sheets(const cf_check_options *o, const cf_check_result *r,
                                  const char *folder);

#endif
