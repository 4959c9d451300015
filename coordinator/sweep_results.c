#include "coordinator/sweep_results.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/run_predictions.h"
#include "coordinator/sweep_folder.h"
#include "kernels/base/mem.h"
#include "proto/control.h"

enum { FOLDS_MAX_BYTES = 1 << 30 };

/* Folds that folds.csv names: 0..n-1. 0 where there is no such file yet. */
static cf_err count_folds(const char *dir, int *n_folds)
{
    char path[CF_PATH_MAX];
    cf_csv csv;
    *n_folds = 0;
    CF_TRY(cf_path_join(path, sizeof path, dir, "folds.csv"));
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY(cf_csv_read(path, FOLDS_MAX_BYTES, &csv));
    int column = cf_csv_column(&csv, "fold");
    for (int64_t row = 1; row < csv.n_rows && column >= 0; row++) {
        char *end = NULL; /* "train" is no fold */
        const char *cell = cf_csv_cell(&csv, row, column);
        long fold = strtol(cell, &end, 10);
        if (end != cell && fold >= *n_folds && fold < CF_MAX_FOLDS) *n_folds = (int)fold + 1;
    }
    cf_csv_fini(&csv);
    return CF_OK;
}

static cf_err has_all_folds(const char *dir, int n_folds, bool *all)
{
    *all = n_folds > 0;
    for (int fold = 0; fold < n_folds; fold++) {
        char path[CF_PATH_MAX];
        CF_TRY(cf_run_fold_path(dir, fold, "predictions.csv", path));
        *all = *all && cf_path_exists(path);
    }
    return CF_OK;
}

static cf_err read_scheme(const char *point_dir, cf_sweep_results *r)
{
    char path[CF_PATH_MAX];
    if (r->n_finished > 0) return CF_OK;
    CF_TRY(cf_path_join(path, sizeof path, point_dir, "scheme.yaml"));
    return cf_scheme_read(path, &r->scheme);
}

static cf_err read_error(const char *dir, int point, cf_sweep_result *row)
{
    cf_buf text = {0};
    cf_err err = cf_sweep_folder_error(dir, point, &text);
    if (err == CF_OK) err = cf_strdup(cf_buf_text(&text), &row->error);
    cf_buf_fini(&text);
    return err;
}

static cf_err take_point(const char *dir, int point, cf_sweep_results *r)
{
    char point_dir[CF_PATH_MAX];
    cf_sweep_result *row = &r->rows[point];
    int n_folds = 0;
    bool all = false;
    row->point = point;
    CF_TRY(cf_sweep_folder_point(dir, point, point_dir));
    CF_TRY(read_error(dir, point, row));
    CF_TRY(count_folds(point_dir, &n_folds));
    CF_TRY(has_all_folds(point_dir, n_folds, &all));
    if (!all) return CF_OK;
    CF_TRY(read_scheme(point_dir, r));
    row->finished = true;
    r->n_finished++;
    CF_TRY(cf_run_predictions_read(point_dir, &r->scheme, &row->predictions, &row->patients));
    return cf_metrics_compute(&r->scheme, &row->predictions, &row->metrics);
}

/* Without the patients of one point it would be compared by image, the others by patient. */
static cf_err check_same_patients(const char *dir, const cf_sweep_result *a,
                                  const cf_sweep_result *b)
{
    static const char *const sources[] = {
        [CF_PATIENTS_IN_FILE] = "in predictions.csv",
        [CF_PATIENTS_IN_CELLS] = "in its cells file",
        [CF_PATIENTS_NONE] = "nowhere",
        [CF_PATIENTS_NO_CELLS] = "nowhere: its cells file is not there",
        [CF_PATIENTS_OTHER_CELLS] = "nowhere: its cells file is of other images",
    };
    if (cf_patients_named(a->patients) == cf_patients_named(b->patients)) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%s: point-%03d has its patients %s, point-%03d %s: they cannot be compared",
                   dir, a->point, sources[a->patients], b->point, sources[b->patients]);
}

/* Points share the split, so that row i of one is row i of every other. */
static cf_err check_same_rows(const char *dir, const cf_sweep_results *r)
{
    const cf_sweep_result *first = NULL;
    for (int point = 0; point < r->sweep.n_points; point++) {
        const cf_sweep_result *row = &r->rows[point];
        if (!row->finished) continue;
        if (first == NULL) first = row;
        const cf_predictions *a = &first->predictions, *b = &row->predictions;
        bool same = a->n == b->n;
        for (int64_t i = 0; same && i < a->n; i++)
            same = a->folds[i] == b->folds[i] && a->labels[i] == b->labels[i] &&
                   strcmp(a->ids[i], b->ids[i]) == 0;
        if (!same)
            return cf_fail(CF_E_DATA,
                           "%s: point-%03d and point-%03d tested other images, labels or folds: "
                           "they cannot be compared",
                           dir, first->point, row->point);
        CF_TRY(check_same_patients(dir, first, row));
    }
    return CF_OK;
}

cf_err cf_sweep_go_on(const cf_sweep_patience *patience)
{
    return patience != NULL ? patience->go_on(patience->context) : CF_OK;
}

cf_err cf_sweep_results_read(const char *dir, const cf_sweep_patience *patience,
                             cf_sweep_results *r)
{
    char path[CF_PATH_MAX];
    *r = (cf_sweep_results){.patience = patience};
    CF_TRY(cf_path_join(path, sizeof path, dir, "sweep.yaml"));
    CF_TRY(cf_sweep_read(path, NULL, &r->sweep));
    if (r->sweep.n_points == 0)
        return cf_fail(CF_E_DATA, "%s: no section sweep, expected lists of values", path);
    CF_TRY(cf_new(&r->rows, (size_t)r->sweep.n_points, sizeof *r->rows));
    for (int point = 0; point < r->sweep.n_points; point++) {
        CF_TRY(cf_sweep_go_on(patience));
        CF_TRY(take_point(dir, point, r));
    }
    if (r->n_finished == 0)
        return cf_fail(CF_E_DATA, "%s: no point has the predictions of all its folds", dir);
    return check_same_rows(dir, r);
}

cf_err cf_sweep_results_whole(const char *dir, bool *whole)
{
    char path[CF_PATH_MAX];
    cf_sweep sweep = {0};
    cf_err err = CF_OK;
    *whole = false;
    CF_TRY(cf_path_join(path, sizeof path, dir, "sweep.yaml"));
    CF_TRY_GOTO(cf_sweep_read(path, NULL, &sweep), out);
    *whole = sweep.n_points > 0;
    for (int point = 0; point < sweep.n_points && *whole; point++) {
        int n_folds = 0;
        CF_TRY_GOTO(cf_sweep_folder_point(dir, point, path), out);
        CF_TRY_GOTO(count_folds(path, &n_folds), out);
        CF_TRY_GOTO(has_all_folds(path, n_folds, whole), out);
    }
out:
    cf_sweep_fini(&sweep);
    return err;
}

void cf_sweep_results_fini(cf_sweep_results *r)
{
    for (int point = 0; point < r->sweep.n_points && r->rows != NULL; point++) {
        free(r->rows[point].error);
        cf_metrics_fini(&r->rows[point].metrics);
        cf_predictions_fini(&r->rows[point].predictions);
    }
    free(r->rows);
    if (r->n_finished > 0) cf_scheme_fini(&r->scheme);
    cf_sweep_fini(&r->sweep);
    *r = (cf_sweep_results){0};
}
