/* Text as mdoc(7) source, the language of manual pages: escaped, each sentence of the source kept
 * on its lines. Threads: any. Read first: cf_mdoc_text. */
#ifndef CF_LAUNCH_MDOC_H
#define CF_LAUNCH_MDOC_H

#include "kernels/base/buf.h"

/* Appends paragraphs as text lines: an empty line parts paragraphs, lines that begin with blanks
 * are displayed as they are. Ends with a newline. */
void cf_mdoc_text(cf_buf *out, const char *text);
/* cf_mdoc_text with a period where the text ends without a mark of its own. */
void cf_mdoc_sentence(cf_buf *out, const char *text);
/* Appends one word as a macro's argument: after a blank, never taken for a macro. */
void cf_mdoc_argument(cf_buf *out, const char *word, size_t n);
/* Appends the head of a page; section: 1 or 5. */
void cf_mdoc_head(cf_buf *out, const char *page, int section, const char *summary);
/* Appends the synopsis of "NAME USAGE": options as flags, [ and ] as optional, words as arguments,
 * "..." behind what may be repeated. A part behind ", NAME" is a line of its own. name: "cytofold
 * train", verb: its last word. */
void cf_mdoc_synopsis(cf_buf *out, const char *verb, const char *usage);

#endif
