/* Text that goes into HTML and SVG: nothing that a user wrote can become markup. Threads: any.
 * Read first: cf_html_text. */
#ifndef CF_COORDINATOR_HTML_H
#define CF_COORDINATOR_HTML_H

#include <stddef.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

/* Appends text so that it stays text between tags and inside a quoted attribute: & < > " ' are
 * escaped. What XML has no character for (control characters, bytes that are no UTF-8,
 * noncharacters) becomes a blank or U+FFFD; so do the marks that turn the direction of writing,
 * with which a name could pose as another one. */
void cf_html_text(cf_buf *out, const char *text);
CF_PRINTF(2, 3) void cf_html_textf(cf_buf *out, const char *fmt, ...);
/* A copy without such characters, not escaped; owned by the caller. */
CF_CHECKED cf_err cf_html_clean(const char *text, char **out);
/* A string of JSON inside a script element: with quotes; < > & and everything that could end the
 * element or the string is escaped. */
void cf_html_json(cf_buf *out, const char *text);
/* RFC 4648, with padding. */
void cf_html_base64(cf_buf *out, const void *bytes, size_t n);

#endif
