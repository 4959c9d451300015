/* A Markdown table that reads well raw in a terminal too: every column as wide as its widest cell,
 * in characters as a terminal shows them (UTF-8, combining marks, wide East Asian characters). Text
 * is escaped, so that a cell can be neither markup nor a column. Threads: one table, one thread.
 * Read first: cf_markdown_print. */
#ifndef CF_COORDINATOR_MARKDOWN_H
#define CF_COORDINATOR_MARKDOWN_H

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/base/file.h"

typedef struct cf_markdown {
    const char *columns; /* borrowed: a letter a column, 'l' left, 'r' right */
    cf_strings cells;    /* owned, row by row, escaped; the first row is the header */
    cf_err err;          /* first failure of a put; reported by print */
} cf_markdown;

void cf_markdown_begin(cf_markdown *table, const char *columns);
/* The next cell. `text`: UTF-8, copied. A failure is kept for cf_markdown_print. */
void cf_markdown_put(cf_markdown *table, const char *text);
CF_PRINTF(2, 3) void cf_markdown_putf(cf_markdown *table, const char *fmt, ...);
/* Appends the table and releases it in any case. CF_E_UNEXPECTED when memory was short or the last
 * row is not whole. */
CF_CHECKED cf_err cf_markdown_print(cf_markdown *table, cf_buf *out);

/* Appends text with the characters that mean something to Markdown or HTML made harmless; line
 * breaks become spaces, marks that turn the direction of text U+FFFD. */
void cf_markdown_escape(const char *text, cf_buf *out);
/* Columns that UTF-8 text takes on a terminal. Bytes that are no UTF-8 count one each. */
int cf_text_width(const char *text);

#endif
