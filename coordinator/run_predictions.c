#include "coordinator/run_predictions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/resample.h"
#include "coordinator/trained_on.h"
#include "kernels/base/mem.h"

/* K of "fold-K" in plain decimal, or -1. */
static int fold_number(const char *name)
{
    char again[32];
    int fold;
    if (sscanf(name, "fold-%d", &fold) != 1 || fold < 0 || fold >= CF_METRICS_MAX_FOLDS) return -1;
    snprintf(again, sizeof again, "fold-%d", fold);
    return strcmp(name, again) == 0 ? fold : -1;
}

cf_err cf_run_fold_path(const char *run_dir, int fold, const char *file, char path[CF_PATH_MAX])
{
    char name[64];
    snprintf(name, sizeof name, "fold-%d/%s", fold, file);
    return cf_path_join(path, CF_PATH_MAX, run_dir, name);
}

static cf_err find_folds(const char *run_dir, cf_run_folds *run)
{
    bool present[CF_METRICS_MAX_FOLDS] = {false};
    char path[CF_PATH_MAX];
    cf_strings names = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_dir_list(run_dir, &names), out);
    for (size_t i = 0; i < names.n; i++) {
        int fold = fold_number(names.items[i]);
        if (fold < 0) continue;
        CF_TRY_GOTO(cf_run_fold_path(run_dir, fold, "predictions.csv", path), out);
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
static cf_err count_expected(const char *run_dir, cf_run_folds *run)
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
    CF_TRY(cf_run_fold_path(run_dir, fold, "predictions.csv", path));
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

cf_err cf_run_folds_read(const char *run_dir, const cf_scheme *s, cf_run_folds *run)
{
    *run = (cf_run_folds){0};
    CF_TRY(find_folds(run_dir, run));
    CF_TRY(count_expected(run_dir, run));
    CF_TRY(cf_new(&run->predictions, (size_t)run->n, sizeof *run->predictions));
    for (int i = 0; i < run->n; i++)
        CF_TRY(read_fold(run_dir, run->numbers[i], s, &run->predictions[i]));
    return CF_OK;
}

void cf_run_folds_fini(cf_run_folds *run)
{
    for (int i = 0; i < run->n && run->predictions; i++) cf_predictions_fini(&run->predictions[i]);
    free(run->predictions);
    *run = (cf_run_folds){0};
}

static bool any_patients(const cf_run_folds *run)
{
    for (int i = 0; i < run->n; i++)
        if (run->predictions[i].patients) return true;
    return false;
}

static void move_rows(cf_predictions *p, int64_t at, cf_predictions *all)
{
    size_t n = (size_t)p->n, k = (size_t)p->n_classes;
    memcpy(all->ids + at, p->ids, n * sizeof *p->ids);
    memcpy(all->sites + at, p->sites, n * sizeof *p->sites);
    memset(p->ids, 0, n * sizeof *p->ids);
    memset(p->sites, 0, n * sizeof *p->sites);
    if (p->patients) {
        memcpy(all->patients + at, p->patients, n * sizeof *p->patients);
        memset(p->patients, 0, n * sizeof *p->patients);
    }
    memcpy(all->folds + at, p->folds, n * sizeof *p->folds);
    memcpy(all->labels + at, p->labels, n * sizeof *p->labels);
    memcpy(all->predicted + at, p->predicted, n * sizeof *p->predicted);
    memcpy(all->p + at * p->n_classes, p->p, n * k * sizeof *p->p);
}

cf_err cf_run_folds_pool(cf_run_folds *run, int n_classes, cf_predictions *all)
{
    int64_t total = 0, at = 0;
    for (int i = 0; i < run->n; i++) total += run->predictions[i].n;
    CF_TRY(cf_predictions_init(all, total, n_classes));
    if (any_patients(run)) CF_TRY(cf_new(&all->patients, (size_t)total, sizeof *all->patients));
    for (int i = 0; i < run->n; i++) {
        move_rows(&run->predictions[i], at, all);
        at += run->predictions[i].n;
    }
    return CF_OK;
}

/* ---- patients ---------------------------------------------------------------------------------
 */

typedef struct named_image {
    const char *id;
    int64_t image;
} named_image;

static int by_id(const void *a, const void *b)
{
    return strcmp(((const named_image *)a)->id, ((const named_image *)b)->id);
}

/* *all: whether every row's image is in the file. */
static cf_err copy_patients(const cf_cells *cells, cf_predictions *p, bool *all)
{
    named_image *images = NULL;
    char **patients = NULL;
    cf_err err = CF_OK;
    *all = true;
    CF_TRY_GOTO(cf_new(&images, (size_t)cells->n, sizeof *images), out);
    CF_TRY_GOTO(cf_new(&patients, (size_t)p->n, sizeof *patients), out);
    for (int64_t i = 0; i < cells->n; i++) images[i] = (named_image){cells->ids[i], i};
    qsort(images, (size_t)cells->n, sizeof *images, by_id);
    for (int64_t i = 0; i < p->n && *all; i++) {
        named_image wanted = {p->ids[i], 0};
        const named_image *found =
            bsearch(&wanted, images, (size_t)cells->n, sizeof *images, by_id);
        *all = found != NULL;
        int32_t patient = found ? cells->patients[found->image] : -1;
        if (patient >= 0)
            CF_TRY_GOTO(cf_strdup(cells->patient_names.items[patient], &patients[i]), out);
    }
    if (*all) {
        char **empty = p->patients; /* a column without a name, or NULL */
        p->patients = patients;
        patients = empty;
    }
out:
    for (int64_t i = 0; patients && i < p->n; i++) free(patients[i]);
    free(patients);
    free(images);
    return err;
}

cf_err cf_run_patients(const char *run_dir, cf_predictions *p, cf_patients_found *found)
{
    char path[CF_PATH_MAX];
    cf_cells cells;
    cf_cells_found file;
    bool all = true;
    *found = CF_PATIENTS_IN_FILE;
    if (cf_resample_any_name(p->patients, p->n)) return CF_OK;
    CF_TRY(cf_trained_on_open(run_dir, &cells, &file, path));
    *found = file == CF_CELLS_OTHER ? CF_PATIENTS_OTHER_CELLS : CF_PATIENTS_NO_CELLS;
    if (file != CF_CELLS_OPEN) return CF_OK;
    cf_err err = CF_OK;
    *found = CF_PATIENTS_NONE;
    if (cells.patient_names.n > 0) {
        err = copy_patients(&cells, p, &all);
        *found = all ? CF_PATIENTS_IN_CELLS : CF_PATIENTS_OTHER_CELLS;
    }
    cf_cells_close(&cells);
    return err;
}

static cf_err read_labelled(const char *path, const cf_scheme *s, cf_predictions *p)
{
    CF_TRY(cf_predictions_read_any(path, s, p));
    if (p->n_unknown < p->n) {
        cf_predictions_drop_unknown(p);
        return CF_OK;
    }
    cf_err err = cf_fail(CF_E_DATA, "%s: none of %lld images has a label", path, (long long)p->n);
    cf_predictions_fini(p);
    return err;
}

cf_err cf_run_predictions_read(const char *run_dir_or_csv, const cf_scheme *s, cf_predictions *p,
                               cf_patients_found *patients)
{
    cf_run_folds run = {0};
    cf_err err = CF_OK;
    *p = (cf_predictions){0};
    *patients = CF_PATIENTS_IN_FILE;
    if (!cf_path_is_dir(run_dir_or_csv)) return read_labelled(run_dir_or_csv, s, p);
    CF_TRY_GOTO(cf_run_folds_read(run_dir_or_csv, s, &run), out);
    CF_TRY_GOTO(cf_run_folds_pool(&run, s->n_classes, p), out);
    CF_TRY_GOTO(cf_run_patients(run_dir_or_csv, p, patients), out);
out:
    cf_run_folds_fini(&run);
    if (err != CF_OK) cf_predictions_fini(p);
    return err;
}
