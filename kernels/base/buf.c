#include "kernels/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

void cf_buf_fini(cf_buf *buf)
{
    free(buf->data);
    *buf = (cf_buf){0};
}

void cf_buf_clear(cf_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data) buf->data[0] = '\0';
}

/* Room for `n` more bytes and the NUL. Doubling keeps the cost of many small writes linear. */
static bool reserve(cf_buf *buf, size_t n)
{
    if (buf->failed) return false;
    if (n < buf->capacity - buf->len) return true;
    size_t wanted = 0;
    buf->failed = __builtin_add_overflow(buf->len, n, &wanted) || wanted > SIZE_MAX / 2 - 64;
    if (buf->failed) return false;
    size_t doubled = buf->capacity * 2 > 64 ? buf->capacity * 2 : 64;
    size_t capacity = wanted + 1 > doubled ? wanted + 1 : doubled;
    buf->failed = cf_resize(&buf->data, capacity, 1) != CF_OK;
    if (buf->failed) return false;
    buf->capacity = capacity;
    return true;
}

void cf_buf_add(cf_buf *buf, const void *bytes, size_t n)
{
    if (n == 0 || !reserve(buf, n)) return;
    memcpy(buf->data + buf->len, bytes, n);
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void cf_buf_printf(cf_buf *buf, const char *fmt, ...)
{
    if (!reserve(buf, 128)) return;
    size_t room = buf->capacity - buf->len;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(buf->data + buf->len, room, fmt, args);
    va_end(args);
    if (n < 0) {
        buf->failed = true;
    } else if ((size_t)n >= room) {
        buf->data[buf->len] = '\0'; /* what did not fit is printed again into a larger block */
        if (!reserve(buf, (size_t)n)) return;
        va_start(args, fmt);
        n = vsnprintf(buf->data + buf->len, buf->capacity - buf->len, fmt, args);
        va_end(args);
    }
    if (n > 0) buf->len += (size_t)n;
}

cf_err cf_buf_check(const cf_buf *buf)
{
    if (buf->failed)
        return cf_fail(CF_E_UNEXPECTED, "out of memory after %zu bytes of text", buf->len);
    return CF_OK;
}

const char *cf_buf_text(const cf_buf *buf)
{
    return buf->data ? buf->data : "";
}
