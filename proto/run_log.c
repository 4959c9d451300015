#include "proto/run_log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/text.h"

#define MAX_BYTES ((size_t)1 << 30)
enum { NUMBER_MAX = 40 };

/* The number behind "key": in a line; NaN for none or null. Lines with our events hold no text but
 * the event's name, so that a key cannot stand inside of one. */
static double number_of(const char *line, const char *key)
{
    char pattern[64], text[NUMBER_MAX];
    double value = 0;
    snprintf(pattern, sizeof pattern, "\"%s\": ", key);
    const char *at = strstr(line, pattern);
    if (at == NULL) return (double)NAN;
    at += strlen(pattern);
    size_t n = strcspn(at, ",}");
    if (n >= sizeof text) return (double)NAN;
    memcpy(text, at, n);
    text[n] = '\0';
    return cf_text_number(text, &value) ? value : (double)NAN;
}

/* A count that is stored exactly; -1 for anything else. */
static int64_t count_of(const char *line, const char *key)
{
    double value = number_of(line, key);
    return value >= 0 && value <= 0x1p53 && value == floor(value) ? (int64_t)value : -1;
}

static bool is_event(const char *line, size_t n, const char *event)
{
    char head[64];
    snprintf(head, sizeof head, "{\"event\": \"%s\", ", event);
    return n > strlen(head) && memcmp(line, head, strlen(head)) == 0 && line[n - 1] == '}';
}

/* False for a line that is none of ours. */
static bool parse_line(const char *line, size_t n, cf_log_entry *e)
{
    bool epoch = is_event(line, n, "epoch");
    if (!epoch && !is_event(line, n, "test")) return false;
    int64_t fold = count_of(line, "fold");
    *e = (cf_log_entry){
        .kind = epoch ? CF_LOG_EPOCH : CF_LOG_TEST,
        .fold = (int)fold,
        .epoch = count_of(line, "epoch"),
        .step = epoch ? count_of(line, "step") : -1,
        .seconds = number_of(line, "seconds"),
        .loss = number_of(line, "loss"),
        .learning_rate = number_of(line, "learning_rate"),
        .images_per_second = number_of(line, "images_per_second"),
        .accuracy = number_of(line, "accuracy"),
    };
    return fold >= 0 && fold < CF_MAX_FOLDS && e->epoch >= 1 && (!epoch || e->step >= 0) &&
           e->seconds >= 0;
}

static cf_err add(cf_run_log *log, const cf_log_entry *e)
{
    if (log->n == log->room) {
        int64_t room = log->room > 0 ? 2 * log->room : 256;
        CF_TRY(cf_resize(&log->items, (size_t)room, sizeof *log->items));
        log->room = room;
    }
    log->items[log->n++] = *e;
    return CF_OK;
}

void cf_log_clock_begin(cf_log_clock *clock)
{
    clock->base += clock->last;
    clock->last = 0;
}

double cf_log_clock_take(cf_log_clock *clock, double job_seconds)
{
    if (job_seconds < clock->last) cf_log_clock_begin(clock);
    clock->last = job_seconds;
    return clock->base + job_seconds;
}

/* A job's first line: that of one fold leaves the others' clocks, whose jobs may be under way. */
static bool take_start(const char *line, size_t n, cf_run_log *log)
{
    if (!is_event(line, n, "start") && !is_event(line, n, "resume")) return false;
    int64_t only = count_of(line, "fold");
    for (int fold = 0; fold < CF_MAX_FOLDS; fold++)
        if (only < 0 || fold == only) cf_log_clock_begin(&log->clocks[fold]);
    return true;
}

static cf_err take_line(const char *line, size_t n, cf_run_log *log)
{
    cf_log_entry e;
    if (take_start(line, n, log) || !parse_line(line, n, &e)) return CF_OK;
    e.seconds = cf_log_clock_take(&log->clocks[e.fold], e.seconds);
    return add(log, &e);
}

/* text: [n], and a NUL. A node that lost its power leaves zero bytes where a line should be, and
 * the next job goes on behind them: of a line counts what stands behind its last NUL. */
static cf_err parse(char *text, size_t n, cf_run_log *log)
{
    for (char *line = text, *end; line < text + n; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + n - line));
        if (end == NULL) end = text + n;
        *end = '\0';
        const char *zero = memrchr(line, '\0', (size_t)(end - line));
        const char *begin = zero ? zero + 1 : line;
        CF_TRY(take_line(begin, (size_t)(end - begin), log));
    }
    return CF_OK;
}

static int compare(const void *a, const void *b)
{
    const cf_log_entry *x = a, *y = b;
    if (x->fold != y->fold) return x->fold < y->fold ? -1 : 1;
    if (x->epoch != y->epoch) return x->epoch < y->epoch ? -1 : 1;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

/* The first of entries that tell the same; a test takes the step of its epoch. */
static void keep_first(cf_run_log *log)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < log->n; i++) {
        cf_log_entry *e = &log->items[i];
        const cf_log_entry *before = kept > 0 ? &log->items[kept - 1] : NULL;
        bool same_epoch = before && before->fold == e->fold && before->epoch == e->epoch;
        if (same_epoch && before->kind == e->kind) continue;
        if (same_epoch && e->kind == CF_LOG_TEST) e->step = before->step;
        log->items[kept++] = *e;
    }
    log->n = kept;
}

cf_err cf_run_log_read(const char *run_dir, cf_run_log *log)
{
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    *log = (cf_run_log){0};
    CF_TRY(cf_path_join(path, sizeof path, run_dir, "log.jsonl"));
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY(cf_file_read(path, MAX_BYTES, &text, &n));
    cf_err err = parse(text, n, log);
    free(text);
    if (err != CF_OK || log->n == 0) return err;
    qsort(log->items, (size_t)log->n, sizeof *log->items, compare);
    keep_first(log);
    return CF_OK;
}

void cf_run_log_fini(cf_run_log *log)
{
    free(log->items);
    *log = (cf_run_log){0};
}
