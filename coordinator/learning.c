#include "coordinator/learning.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/metrics.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

enum { LOG_MAX_BYTES = 1 << 28, EPOCH_MAX = 1000000 };

/* One line of interest. */
typedef struct event {
    bool test;
    int fold;
    int64_t order; /* of the line: stands for the time */
    double epoch, loss, accuracy;
} event;

typedef struct events {
    event *items; /* owned */
    int64_t n, capacity;
} events;

/* The number after "key": in a line, which ends at a NUL; NaN where there is none. */
static double number_of(const char *line, const char *key)
{
    char mark[32];
    snprintf(mark, sizeof mark, "\"%s\": ", key);
    const char *at = strstr(line, mark);
    if (!at) return (double)NAN;
    char *end;
    double value = strtod(at + strlen(mark), &end);
    return end == at + strlen(mark) ? (double)NAN : value;
}

static cf_err add_line(events *list, const char *line, int64_t order)
{
    bool test = strstr(line, "\"event\": \"test\"") != NULL;
    if (!test && strstr(line, "\"event\": \"epoch\"") == NULL) return CF_OK;
    double fold = number_of(line, "fold"), epoch = number_of(line, "epoch");
    size_t length = strlen(line);
    if (length == 0 || line[length - 1] != '}') return CF_OK; /* cut by a kill */
    if (!(fold >= 0) || fold >= CF_METRICS_MAX_FOLDS || !(epoch >= 0) || epoch > EPOCH_MAX)
        return CF_OK;
    if (list->n == list->capacity) {
        list->capacity = list->capacity > 0 ? 2 * list->capacity : 256;
        CF_TRY(cf_resize(&list->items, (size_t)list->capacity, sizeof *list->items));
    }
    list->items[list->n++] = (event){
        test, (int)fold, order, epoch, number_of(line, "loss"), number_of(line, "accuracy")};
    return CF_OK;
}

static int in_order(const void *x, const void *y)
{
    const event *a = x, *b = y;
    if (a->fold != b->fold) return a->fold < b->fold ? -1 : 1;
    if (a->test != b->test) return a->test ? 1 : -1;
    if (a->epoch < b->epoch || a->epoch > b->epoch) return a->epoch < b->epoch ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static cf_err fill_fold(const event *e, int64_t n, cf_learning_fold *f)
{
    f->fold = e[0].fold;
    CF_TRY(cf_new(&f->epoch, (size_t)n, sizeof *f->epoch));
    CF_TRY(cf_new(&f->loss, (size_t)n, sizeof *f->loss));
    CF_TRY(cf_new(&f->accuracy, (size_t)n, sizeof *f->accuracy));
    CF_TRY(cf_new(&f->test_epoch, (size_t)n, sizeof *f->test_epoch));
    CF_TRY(cf_new(&f->test_accuracy, (size_t)n, sizeof *f->test_accuracy));
    for (int64_t i = 0; i < n; i++) {
        bool again = i > 0 && e[i].test == e[i - 1].test && !(e[i].epoch > e[i - 1].epoch);
        if (again) continue;
        if (e[i].test) {
            f->test_epoch[f->n_tests] = e[i].epoch;
            f->test_accuracy[f->n_tests++] = e[i].accuracy;
        } else {
            f->epoch[f->n] = e[i].epoch;
            f->loss[f->n] = e[i].loss;
            f->accuracy[f->n++] = e[i].accuracy;
        }
    }
    return CF_OK;
}

static cf_err fill(events *list, cf_learning *l)
{
    int64_t n_folds = 0;
    if (list->n == 0) return CF_OK;
    qsort(list->items, (size_t)list->n, sizeof *list->items, in_order);
    for (int64_t i = 0; i < list->n; i++)
        n_folds += i == 0 || list->items[i].fold != list->items[i - 1].fold;
    CF_TRY(cf_new(&l->folds, (size_t)n_folds, sizeof *l->folds));
    for (int64_t i = 0, end; i < list->n; i = end) {
        for (end = i + 1; end < list->n && list->items[end].fold == list->items[i].fold;) end++;
        CF_TRY(fill_fold(list->items + i, end - i, &l->folds[l->n++]));
    }
    return CF_OK;
}

cf_err cf_learning_read(const char *run_dir, cf_learning *learning)
{
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    int64_t order = 0;
    events list = {0};
    cf_err err = CF_OK;
    *learning = (cf_learning){0};
    CF_TRY(cf_path_join(path, sizeof path, run_dir, "log.jsonl"));
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY(cf_file_read(path, LOG_MAX_BYTES, &text, &n));
    for (char *line = text, *end; line && *line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = '\0';
        CF_TRY_GOTO(add_line(&list, line, order++), out);
    }
    CF_TRY_GOTO(fill(&list, learning), out);
out:
    free(list.items);
    free(text);
    return err;
}

void cf_learning_fini(cf_learning *learning)
{
    for (int i = 0; i < learning->n; i++) {
        free(learning->folds[i].epoch);
        free(learning->folds[i].loss);
        free(learning->folds[i].accuracy);
        free(learning->folds[i].test_epoch);
        free(learning->folds[i].test_accuracy);
    }
    free(learning->folds);
    *learning = (cf_learning){0};
}
