#include "kernels/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 2048 }; /* room for a whole path (CF_PATH_MAX is cut) and a sentence */

/* One for each thread, so that a loader thread's failure never mixes with the step's. */
static _Thread_local char message[MESSAGE_MAX];

/* Arguments may point into `message` itself (carrying a text across), so a copy is formatted first.
 */
CF_PRINTF(1, 0) static void set_message(const char *fmt, va_list args)
{
    char text[MESSAGE_MAX];
    vsnprintf(text, sizeof text, fmt, args);
    memcpy(message, text, sizeof message);
}

/* What does not fit is cut: an error text must not fail itself. */
static void append(const char *text)
{
    size_t n = strlen(message), room = sizeof message - 1 - n, length = strlen(text);
    if (length > room) length = room;
    memcpy(message + n, text, length);
    message[n + length] = '\0';
}

cf_err cf_fail(cf_err code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set_message(fmt, args);
    va_end(args);
    return code;
}

cf_err cf_fail_errno(cf_err code, const char *fmt, ...)
{
    int number = errno;
    va_list args;
    va_start(args, fmt);
    set_message(fmt, args);
    va_end(args);
    char reason[128];
    /* GNU strerror_r: thread-safe, and may return a constant instead of filling the buffer. */
    const char *words = strerror_r(number, reason, sizeof reason);
    append(": ");
    append(words);
    return code;
}

cf_err cf_where(cf_err err, const char *fmt, ...)
{
    char text[MESSAGE_MAX];
    memcpy(text, message, sizeof text);
    va_list args;
    va_start(args, fmt);
    set_message(fmt, args);
    va_end(args);
    append(": ");
    append(text);
    return err;
}

const char *cf_err_text(void)
{
    return message;
}

const char *cf_err_name(cf_err err)
{
    switch (err) {
    case CF_OK:
        return "ok";
    case CF_E_UNEXPECTED:
        return "unexpected";
    case CF_E_USAGE:
        return "usage";
    case CF_E_DATA:
        return "data";
    case CF_E_CHECKPOINT:
        return "checkpoint";
    case CF_E_DISK:
        return "disk";
    case CF_E_DEVICE:
        return "device";
    case CF_E_NUMERIC:
        return "numeric";
    case CF_E_HANG:
        return "hang";
    case CF_E_BUSY:
        return "busy";
    case CF_E_REQUEUE:
        return "requeue";
    }
    return "unknown";
}
