#include "coordinator/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/bootstrap.h"
#include "coordinator/report_html.h"
#include "coordinator/run_predictions.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

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
    CF_TRY(cf_run_fold_path(run_dir, fold, "metrics.json", path));
    CF_TRY(cf_metrics_compute(s, p, &m));
    cf_err err = save(path, cf_metrics_write_json, s, &m);
    cf_metrics_fini(&m);
    return err;
}

/* "Folds 3, 4 of 5 are missing: ...", or nothing. */
static void print_missing(const cf_run_folds *run, cf_buf *out)
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

static cf_err print_table(const cf_scheme *s, const cf_metrics *m, const char *missing,
                          cf_buf *table)
{
    if (missing[0]) cf_buf_printf(table, "**%s.**\n\n", missing);
    return cf_report_markdown(s, m, table);
}

/* Figures of all folds together, with intervals. */
static cf_err compute(const char *run_dir, const cf_scheme *s, int n_resamples, cf_predictions *all,
                      cf_metrics *m)
{
    const cf_bootstrap_options intervals = {n_resamples, CF_BOOTSTRAP_SEED, 0};
    cf_patients_found patients;
    CF_TRY(cf_run_patients(run_dir, all, &patients));
    CF_TRY(cf_metrics_compute(s, all, m));
    CF_TRY(cf_bootstrap(s, all, &intervals, m));
    m->resampling.patients = patients;
    return CF_OK;
}

static cf_err save_tables(const char *run_dir, const cf_scheme *s, const cf_metrics *m,
                          const char *missing, cf_buf *table)
{
    char path[CF_PATH_MAX];
    size_t begin = table->len;
    CF_TRY(print_table(s, m, missing, table));
    CF_TRY(save_in(run_dir, "metrics.json", cf_metrics_write_json, s, m));
    CF_TRY(save_in(run_dir, "table.csv", cf_report_csv, s, m));
    CF_TRY(save_in(run_dir, "confusion.csv", cf_report_confusion_csv, s, m));
    CF_TRY(cf_path_join(path, sizeof path, run_dir, "table.md"));
    return cf_file_save(path, cf_buf_text(table) + begin, table->len - begin);
}

/* html: with page and plots. */
static cf_err write_report(const char *run_dir, const cf_scheme *s, bool html, int n_resamples,
                           const cf_report_source *source, cf_buf *table)
{
    cf_run_folds run;
    cf_predictions all = {0};
    cf_metrics m = {0};
    cf_buf missing = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_run_folds_read(run_dir, s, &run), out);
    for (int i = 0; i < run.n; i++)
        CF_TRY_GOTO(save_fold(run_dir, run.numbers[i], s, &run.predictions[i]), out);
    print_missing(&run, &missing);
    CF_TRY_GOTO(cf_buf_check(&missing), out);
    if (missing.len > 0) cf_log_warn("%s", cf_buf_text(&missing));
    CF_TRY_GOTO(cf_run_folds_pool(&run, s->n_classes, &all), out);
    CF_TRY_GOTO(compute(run_dir, s, n_resamples, &all, &m), out);
    CF_TRY_GOTO(save_tables(run_dir, s, &m, cf_buf_text(&missing), table), out);
    if (html) err = cf_report_html(run_dir, s, &all, &m, cf_buf_text(&missing), source);
out:
    cf_buf_fini(&missing);
    cf_metrics_fini(&m);
    cf_predictions_fini(&all);
    cf_run_folds_fini(&run);
    return err;
}

cf_err cf_report_write(const char *run_dir, const cf_scheme *s, cf_buf *table)
{
    return write_report(run_dir, s, false, CF_BOOTSTRAP_RESAMPLES, NULL, table);
}

cf_err cf_report_run(const char *run_dir, const cf_scheme *s, const cf_report_source *source,
                     int n_resamples, cf_buf *table)
{
    return write_report(run_dir, s, true, n_resamples, source, table);
}
