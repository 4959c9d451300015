/* What check prints: text for people, the most serious first and with what to do about it, or JSON.
 */
#ifndef CF_LAUNCH_CHECK_REPORT_H
#define CF_LAUNCH_CHECK_REPORT_H

#include "kernels/base/buf.h"
#include "worker/data/check.h"

typedef struct cf_check_report {
    const char *path, *folder; /* borrowed; folder NULL: no files were written */
    const cf_check_options *options;
    const cf_check_result *result;
    int64_t few;  /* classes with fewer images are named */
    int64_t show; /* examples of each finding */
    double seconds;
} cf_check_report;

/* Appends to out. */
CF_CHECKED cf_err cf_check_report_text(const cf_check_report *r, cf_buf *out);
void cf_check_report_json(const cf_check_report *r, cf_buf *out);

/* Damaged and odd images and duplicates of any kind. */
int64_t cf_check_findings(const cf_check_result *r);

#endif
