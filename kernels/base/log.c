#include "kernels/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096 }; /* at most PIPE_BUF: lines of ranks sharing a pipe never mix */

/* Made once in main, before any thread; the one setting that every room would have to be handed. */
static cf_log_level shown_level = CF_LOG_NORMAL;
static int own_rank = -1;
/* A thread serves one part of a job at a time. */
static _Thread_local char own_context[CF_LOG_CONTEXT_MAX];

void cf_log_setup(cf_log_level level, int rank)
{
    shown_level = level;
    own_rank = rank;
}

void cf_log_about(const char *context)
{
    snprintf(own_context, sizeof own_context, "%s", context);
}

const char *cf_log_context(void)
{
    return own_context;
}

/* A file name with a newline or an escape sequence must not forge or hide a line. */
static void mask_controls(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) text[i] = c == '\t' ? ' ' : '?';
    }
}

static void write_line(const char *line, size_t n)
{
    while (n > 0) {
        ssize_t done = write(STDERR_FILENO, line, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return; /* nowhere left to complain */
        line += done;
        n -= (size_t)done;
    }
}

CF_PRINTF(2, 0) static void log_line(const char *kind, const char *fmt, va_list args)
{
    char line[LINE_MAX_BYTES], rank[32] = "";
    int saved = errno;
    if (own_rank >= 0) snprintf(rank, sizeof rank, "[rank %d] ", own_rank);
    int n = snprintf(line, sizeof line, "cytofold: %s%s%s%s", rank, own_context,
                     own_context[0] != '\0' ? ": " : "", kind);
    size_t head = n > 0 ? (size_t)n : 0;
    vsnprintf(line + head, sizeof line - 1 - head, fmt, args);
    size_t length = strlen(line);
    while (length > head && line[length - 1] == '\n') length--;
    mask_controls(line, length);
    line[length] = '\n';
    write_line(line, length + 1);
    errno = saved;
}

#define CF_LOG_BODY(level, kind)                                                                   \
    do {                                                                                           \
        if (shown_level < (level)) return;                                                         \
        va_list args;                                                                              \
        va_start(args, fmt);                                                                       \
        log_line(kind, fmt, args);                                                                 \
        va_end(args);                                                                              \
    } while (0)

void cf_log_error(const char *fmt, ...)
{
    CF_LOG_BODY(CF_LOG_QUIET, "");
}
void cf_log_warn(const char *fmt, ...)
{
    CF_LOG_BODY(CF_LOG_QUIET, "warning: ");
}
void cf_log_info(const char *fmt, ...)
{
    CF_LOG_BODY(CF_LOG_NORMAL, "");
}
void cf_log_debug(const char *fmt, ...)
{
    CF_LOG_BODY(CF_LOG_VERBOSE, "");
}

int64_t cf_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void cf_sleep_ns(int64_t ns)
{
    if (ns <= 0) return;
    struct timespec left = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}
