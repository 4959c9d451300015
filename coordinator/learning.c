#include "coordinator/learning.h"

#include <stdlib.h>

#include "kernels/base/mem.h"
#include "proto/run_log.h"

/* e: [n] entries of one fold, in order of epoch. */
static cf_err fill_fold(const cf_log_entry *e, int64_t n, cf_learning_fold *f)
{
    f->fold = e[0].fold;
    CF_TRY(cf_new(&f->epoch, (size_t)n, sizeof *f->epoch));
    CF_TRY(cf_new(&f->loss, (size_t)n, sizeof *f->loss));
    CF_TRY(cf_new(&f->accuracy, (size_t)n, sizeof *f->accuracy));
    CF_TRY(cf_new(&f->test_epoch, (size_t)n, sizeof *f->test_epoch));
    CF_TRY(cf_new(&f->test_accuracy, (size_t)n, sizeof *f->test_accuracy));
    for (int64_t i = 0; i < n; i++) {
        if (e[i].kind == CF_LOG_TEST) {
            f->test_epoch[f->n_tests] = (double)e[i].epoch;
            f->test_accuracy[f->n_tests++] = e[i].accuracy;
        } else {
            f->epoch[f->n] = (double)e[i].epoch;
            f->loss[f->n] = e[i].loss;
            f->accuracy[f->n++] = e[i].accuracy;
        }
    }
    return CF_OK;
}

static cf_err fill(const cf_run_log *log, cf_learning *l)
{
    if (log->n == 0) return CF_OK;
    CF_TRY(cf_new(&l->folds, CF_MAX_FOLDS, sizeof *l->folds));
    for (int64_t i = 0, end; i < log->n; i = end) {
        for (end = i + 1; end < log->n && log->items[end].fold == log->items[i].fold;) end++;
        CF_TRY(fill_fold(log->items + i, end - i, &l->folds[l->n++]));
    }
    return CF_OK;
}

cf_err cf_learning_read(const char *run_dir, cf_learning *learning)
{
    cf_run_log *log = NULL;
    *learning = (cf_learning){0};
    CF_TRY(cf_new(&log, 1, sizeof *log));
    cf_err err = cf_run_log_read(run_dir, log);
    if (err == CF_OK) err = fill(log, learning);
    cf_run_log_fini(log);
    free(log);
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
