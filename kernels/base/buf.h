/* A growing text buffer, and JSON written into one.
 *
 * An allocation failure is remembered in the buffer and reported once by cf_buf_check(), so that
 * printing code stays readable. Always NUL-terminated. Threads: one buffer, one thread.
 * Read first: cf_buf_printf. */
#ifndef CF_KERNELS_BASE_BUF_H
#define CF_KERNELS_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef struct cf_buf {
    char *data;      /* owned; NULL before the first write */
    size_t len;      /* bytes without the NUL */
    size_t capacity; /* bytes allocated */
    bool failed;     /* an allocation failed; later writes do nothing */
} cf_buf;

void cf_buf_fini(cf_buf *buf);
void cf_buf_clear(cf_buf *buf);
CF_PRINTF(2, 3) void cf_buf_printf(cf_buf *buf, const char *fmt, ...);
void cf_buf_add(cf_buf *buf, const void *bytes, size_t n);
CF_CHECKED cf_err cf_buf_check(const cf_buf *buf);
/* The text so far; "" for an empty buffer. Borrowed. */
const char *cf_buf_text(const cf_buf *buf);

/* Bytes of the well-formed UTF-8 character that begins at text (RFC 3629), 1 at the terminating
 * NUL; 0 where there is none. */
size_t cf_utf8_length(const char *text);

/* JSON writer: commas and indentation are its own business. Keys NULL inside arrays. Numbers are
 * printed with %.17g (so that they read back exactly); NaN and infinities become null. */
typedef struct cf_json {
    cf_buf *out; /* borrowed */
    int depth;
    bool need_comma; /* a value stands before the next one at this depth */
    bool compact;    /* one line, for log.jsonl */
} cf_json;

void cf_json_begin(cf_json *j, cf_buf *out, bool compact);
void cf_json_object(cf_json *j, const char *key);
void cf_json_array(cf_json *j, const char *key);
void cf_json_end_object(cf_json *j);
void cf_json_end_array(cf_json *j);
void cf_json_number(cf_json *j, const char *key, double value);
void cf_json_integer(cf_json *j, const char *key, int64_t value);
void cf_json_boolean(cf_json *j, const char *key, bool value);
void cf_json_string(cf_json *j, const char *key, const char *utf8);

#endif
