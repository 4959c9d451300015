/* Foreign text: strict numbers, quoting for messages, the nearest known word.
 *
 * libc's strtod takes "90abc" for 90 and "nan" for a number; what is read here is a number from the
 * first to the last character or nothing. Threads: any. Read first: cf_text_number. */
#ifndef CF_PROTO_TEXT_H
#define CF_PROTO_TEXT_H

#include <stdbool.h>
#include <stdint.h>

enum { CF_QUOTE_MAX = 64 };

/* A decimal integer that fits: "-"? digits, without leading zeros (which some take for octal). */
bool cf_text_integer(const char *text, int64_t *value);
/* A finite decimal number: "-"? digits ["." digits] [exponent], or "." digits. Refused are
 * hexadecimal, nan, inf, and what overflows a double or vanishes in one. */
bool cf_text_number(const char *text, double *value);

/* `text` in double quotes, cut to fit and free of control characters. Returns buf. */
const char *cf_text_quote(const char *text, char buf[CF_QUOTE_MAX]);
/* No control characters: the text stays on one line of a message, a CSV cell or a terminal. */
bool cf_text_is_plain(const char *text);
/* The candidate that differs from `word` by at most two typing errors, the closest first; NULL for
 * none. Borrowed. */
const char *cf_text_nearest(const char *word, const char *const *candidates, int n);

#endif
