#include "coordinator/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"

/* Predictions of the folds that a run folder holds. */
typedef struct run_folds {
    int numbers[CF_METRICS_MAX_FOLDS]; /* ascending */
    cf_predictions *predictions;       /* owned, [n] */
    int n;
    int expected; /* folds of the run: 0..expected-1 */
} run_folds;

/* ---- reading ----------------------------------------------------------------------------------
 */

/* K of "fold-K" in plain decimal, or -1. */
static int fold_number(const char *name)
{
    char again[32];
    int fold;
    if (sscanf(name, "fold-%d", &fold) != 1 || fold < 0 || fold >= CF_METRICS_MAX_FOLDS) return -1;
    snprintf(again, sizeof again, "fold-%d", fold);
    return strcmp(name, again) == 0 ? fold : -1;
}

static cf_err fold_path(const char *run_dir, int fold, const char *file, char path[CF_PATH_MAX])
{
    char name[64];
    snprintf(name, sizeof name, "fold-%d/%s", fold, file);
    return cf_path_join(path, CF_PATH_MAX, run_dir, name);
}

static cf_err find_folds(const char *run_dir, run_folds *run)
{
    bool present[CF_METRICS_MAX_FOLDS] = {false};
    char path[CF_PATH_MAX];
    cf_strings names = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_dir_list(run_dir, &names), out);
    for (size_t i = 0; i < names.n; i++) {
        int fold = fold_number(names.items[i]);
        if (fold < 0) continue;
        CF_TRY_GOTO(fold_path(run_dir, fold, "predictions.csv", path), out);
        present[fold] = cf_path_exists(path);
    }
    for (int fold = 0; fold < CF_METRICS_MAX_FOLDS; fold++)
        if (present[fold]) run->numbers[run->n++] = fold;
    if (run->n == 0)
        err = cf_fail(CF_E_DATA, "%s: no fold-K/predictions.csv in it, expected one at least",
                      run_dir);
out:
    cf_strings_fini(&names);
    return err;
}

/* How many folds the run has, by its folds.csv; without one, by the highest fold found. */
static cf_err count_expected(const char *run_dir, run_folds *run)
{
    enum { FOLDS_MAX_BYTES = 1 << 30 };
    char path[CF_PATH_MAX];
    cf_csv csv;
    run->expected = run->numbers[run->n - 1] + 1;
    CF_TRY(cf_path_join(path, sizeof path, run_dir, "folds.csv"));
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY(cf_csv_read(path, FOLDS_MAX_BYTES, &csv));
    int column = cf_csv_column(&csv, "fold");
    for (int64_t row = 1; row < csv.n_rows && column >= 0; row++) {
        long fold = strtol(csv.cells[row * csv.n_columns + column], NULL, 10);
        if (fold >= run->expected && fold < CF_METRICS_MAX_FOLDS) run->expected = (int)fold + 1;
    }
    cf_csv_fini(&csv);
    return CF_OK;
}

static cf_err read_fold(const char *run_dir, int fold, const cf_scheme *s, cf_predictions *p)
{
    char path[CF_PATH_MAX];
    CF_TRY(fold_path(run_dir, fold, "predictions.csv", path));
    CF_TRY(cf_predictions_read(path, s, p));
    for (int64_t i = 0; i < p->n; i++) {
        if (p->folds[i] == fold) continue;
        cf_err err = cf_fail(CF_E_DATA, "%s: image %s is of fold %d, expected %d", path, p->ids[i],
                             p->folds[i], fold);
        cf_predictions_fini(p);
        *p = (cf_predictions){0};
        return err;
    }
    return CF_OK;
}

static cf_err run_read(const char *run_dir, const cf_scheme *s, run_folds *run)
{
    *run = (run_folds){0};
    CF_TRY(find_folds(run_dir, run));
    CF_TRY(count_expected(run_dir, run));
    CF_TRY(cf_new(&run->predictions, (size_t)run->n, sizeof *run->predictions));
    for (int i = 0; i < run->n; i++)
        CF_TRY(read_fold(run_dir, run->numbers[i], s, &run->predictions[i]));
    return CF_OK;
}

static void run_fini(run_folds *run)
{
    for (int i = 0; i < run->n && run->predictions; i++) cf_predictions_fini(&run->predictions[i]);
    free(run->predictions);
    *run = (run_folds){0};
}

/* Moves the rows of all folds into one set, fold after fold; ids and sites change their owner. */
static cf_err run_pool(run_folds *run, int n_classes, cf_predictions *all)
{
    int64_t total = 0, at = 0;
    for (int i = 0; i < run->n; i++) total += run->predictions[i].n;
    CF_TRY(cf_predictions_init(all, total, n_classes));
    for (int i = 0; i < run->n; i++) {
        cf_predictions *p = &run->predictions[i];
        size_t n = (size_t)p->n, k = (size_t)n_classes;
        memcpy(all->ids + at, p->ids, n * sizeof *p->ids);
        memcpy(all->sites + at, p->sites, n * sizeof *p->sites);
        memset(p->ids, 0, n * sizeof *p->ids);
        memset(p->sites, 0, n * sizeof *p->sites);
        memcpy(all->folds + at, p->folds, n * sizeof *p->folds);
        memcpy(all->labels + at, p->labels, n * sizeof *p->labels);
        memcpy(all->predicted + at, p->predicted, n * sizeof *p->predicted);
        memcpy(all->p + at * n_classes, p->p, n * k * sizeof *p->p);
        at += p->n;
    }
    return CF_OK;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

typedef cf_err (*writer)(const cf_scheme *s, const cf_metrics *m, cf_buf *out);

static cf_err save(const char *path, writer write, const cf_scheme *s, const cf_metrics *m)
{
    cf_buf text = {0};
    cf_err err = write(s, m, &text);
    if (err == CF_OK) err = cf_file_save(path, cf_buf_text(&text), text.len);
    cf_buf_fini(&text);
    return err;
}

static cf_err save_in(const char *run_dir, const char *file, writer write, const cf_scheme *s,
                      const cf_metrics *m)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, run_dir, file));
    return save(path, write, s, m);
}

static cf_err save_fold(const char *run_dir, int fold, const cf_scheme *s, const cf_predictions *p)
{
    char path[CF_PATH_MAX];
    cf_metrics m;
    CF_TRY(fold_path(run_dir, fold, "metrics.json", path));
    CF_TRY(cf_metrics_compute(s, p, &m));
    cf_err err = save(path, cf_metrics_write_json, s, &m);
    cf_metrics_fini(&m);
    return err;
}

/* "Folds 3, 4 of 5 are missing: ...", or nothing. */
static void print_missing(const run_folds *run, cf_buf *out)
{
    int missing = run->expected - run->n, found = 0;
    if (missing <= 0) return;
    cf_buf_printf(out, missing == 1 ? "Fold " : "Folds ");
    const char *comma = "";
    for (int fold = 0; fold < run->expected; fold++) {
        if (found < run->n && run->numbers[found] == fold) {
            found++;
            continue;
        }
        cf_buf_printf(out, "%s%d", comma, fold);
        comma = ", ";
    }
    cf_buf_printf(out, " of %d %s missing: no predictions.csv. Every figure is over the other %d",
                  run->expected, missing == 1 ? "is" : "are", run->n);
}

static cf_err print_table(const run_folds *run, const cf_scheme *s, const cf_metrics *m,
                          cf_buf *table)
{
    cf_buf missing = {0};
    print_missing(run, &missing);
    cf_err err = cf_buf_check(&missing);
    if (err == CF_OK && missing.len > 0) {
        cf_log_warn("%s", cf_buf_text(&missing));
        cf_buf_printf(table, "**%s.**\n\n", cf_buf_text(&missing));
    }
    cf_buf_fini(&missing);
    return err == CF_OK ? cf_report_markdown(s, m, table) : err;
}

cf_err cf_report_write(const char *run_dir, const cf_scheme *s, cf_buf *table)
{
    run_folds run;
    cf_predictions all = {0};
    cf_metrics m = {0};
    char path[CF_PATH_MAX];
    size_t begin = table->len;
    cf_err err = CF_OK;
    CF_TRY_GOTO(run_read(run_dir, s, &run), out);
    for (int i = 0; i < run.n; i++)
        CF_TRY_GOTO(save_fold(run_dir, run.numbers[i], s, &run.predictions[i]), out);
    CF_TRY_GOTO(run_pool(&run, s->n_classes, &all), out);
    CF_TRY_GOTO(cf_metrics_compute(s, &all, &m), out);
    CF_TRY_GOTO(print_table(&run, s, &m, table), out);
    CF_TRY_GOTO(save_in(run_dir, "metrics.json", cf_metrics_write_json, s, &m), out);
    CF_TRY_GOTO(save_in(run_dir, "table.csv", cf_report_csv, s, &m), out);
    CF_TRY_GOTO(save_in(run_dir, "confusion.csv", cf_report_confusion_csv, s, &m), out);
    CF_TRY_GOTO(cf_path_join(path, sizeof path, run_dir, "table.md"), out);
    CF_TRY_GOTO(cf_file_save(path, cf_buf_text(table) + begin, table->len - begin), out);
out:
    cf_metrics_fini(&m);
    cf_predictions_fini(&all);
    run_fini(&run);
    return err;
}
