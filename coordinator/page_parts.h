/* The sections of report.html, each from one file; internal to the page. Read first: page.c. */
#ifndef CF_COORDINATOR_PAGE_PARTS_H
#define CF_COORDINATOR_PAGE_PARTS_H

#include "coordinator/page.h"
#include "coordinator/report_numbers.h"

/* The style sheet and the script as they stand in coordinator/html, and the script's SHA-256 in
 * hexadecimal digits. */
extern const char cf_page_css[], cf_page_js[], cf_page_js_sha256[];

enum { CF_PAGE_NUMBER_MAX = 64 };

/* The page up to its body, and from the end of main to the end. */
void cf_page_head(const char *title, cf_buf *out);
void cf_page_foot(cf_buf *out);

/* ".91 ± .02", or ".91" for one fold. text: [CF_PAGE_NUMBER_MAX]. */
void cf_page_mean_sd(double mean, double sd, int decimals, int n_folds, char *text);
/* 12,345 with thin spaces: "12 345". */
void cf_page_count(int64_t value, char *text);

/* Opens a section with its heading; closed by cf_page_end. */
void cf_page_section(cf_buf *out, const char *id, const char *title);
void cf_page_end(cf_buf *out);
/* A figure of the report with the buttons for its series, and a caption; nothing where there is
 * none. */
CF_CHECKED cf_err cf_page_figure(const cf_page *p, cf_figure which, const char *caption,
                                 cf_buf *out);

bool cf_page_has_published(const cf_scheme *s);
bool cf_page_has_tolerance(const cf_scheme *s);

void cf_page_summary(const cf_page *p, cf_buf *out);
void cf_page_classes(const cf_page *p, cf_buf *out);
void cf_page_folds(const cf_page *p, cf_buf *out);
bool cf_page_has_sites(const cf_page *p);
void cf_page_sites(const cf_page *p, cf_buf *out);
void cf_page_confusion(const cf_page *p, cf_buf *out);
CF_CHECKED cf_err cf_page_gallery(const cf_page *p, cf_buf *out);
bool cf_page_has_map(const cf_page *p);
CF_CHECKED cf_err cf_page_map(const cf_page *p, cf_buf *out);
CF_CHECKED cf_err cf_page_run(const cf_page *p, cf_buf *out);
void cf_page_data(const cf_page *p, cf_buf *out);

#endif
