#include "coordinator/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/metrics_fold.h"
#include "coordinator/metrics_sites.h"
#include "coordinator/temperature.h"
#include "kernels/base/mem.h"

/* What the computation needs beside the result. */
typedef struct work {
    const cf_scheme *s;
    const cf_predictions *p;
    int64_t *rows;    /* owned, [p->n] */
    int32_t *numbers; /* owned, [p->n]; fold numbers, ascending, at the front */
    double *scales;   /* owned, [p->n]: temperature of each row's other folds */
    double *row;      /* owned, [n_classes] */
    cf_temperature_table table;
} work;

static cf_err predictions_check(const cf_scheme *s, const cf_predictions *p)
{
    if (p->n < 1) return cf_fail(CF_E_DATA, "no predictions to score");
    if (p->n_classes != s->n_classes)
        return cf_fail(CF_E_DATA, "predictions have %d classes, scheme %s has %d", p->n_classes,
                       s->name, s->n_classes);
    for (int64_t i = 0; i < p->n; i++) {
        int label = p->labels[i], predicted = p->predicted[i];
        if (label < 0 || label >= s->n_classes || predicted < 0 || predicted >= s->n_classes)
            return cf_fail(CF_E_DATA,
                           "prediction %lld: label %d or class %d is not one of %d classes",
                           (long long)i, label, predicted, s->n_classes);
    }
    return CF_OK;
}

static cf_err work_init(const cf_scheme *s, const cf_predictions *p, work *w)
{
    *w = (work){.s = s, .p = p};
    CF_TRY(cf_new(&w->rows, (size_t)p->n, sizeof *w->rows));
    CF_TRY(cf_new(&w->numbers, (size_t)p->n, sizeof *w->numbers));
    CF_TRY(cf_new(&w->scales, (size_t)p->n, sizeof *w->scales));
    CF_TRY(cf_new(&w->row, (size_t)p->n_classes, sizeof *w->row));
    return cf_temperature_table_init(&w->table, p);
}

static void work_fini(work *w)
{
    cf_temperature_table_fini(&w->table);
    free(w->row);
    free(w->scales);
    free(w->numbers);
    free(w->rows);
}

/* ---- which rows -------------------------------------------------------------------------------
 */

typedef enum side { INSIDE, OUTSIDE } side;

/* Rows of one fold, or of all others, in the order of the file. Returns their number. */
static int64_t rows_of_fold(const cf_predictions *p, int fold, side which, int64_t *rows)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->n; i++)
        if ((p->folds[i] == fold) == (which == INSIDE)) rows[n++] = i;
    return n;
}

static int64_t all_rows(const cf_predictions *p, int64_t *rows)
{
    for (int64_t i = 0; i < p->n; i++) rows[i] = i;
    return p->n;
}

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The different fold numbers in ascending order, at the front of `numbers` [n]. Returns how many.
 */
static int distinct_folds(const cf_predictions *p, int32_t *numbers)
{
    int n = 0;
    memcpy(numbers, p->folds, (size_t)p->n * sizeof *numbers);
    qsort(numbers, (size_t)p->n, sizeof *numbers, by_number);
    for (int64_t i = 0; i < p->n; i++)
        if (n == 0 || numbers[i] != numbers[n - 1]) numbers[n++] = numbers[i];
    return n;
}

/* ---- computing --------------------------------------------------------------------------------
 */

static cf_err compute_folds(work *w, cf_metrics *m)
{
    int n_folds = distinct_folds(w->p, w->numbers);
    if (n_folds > CF_METRICS_MAX_FOLDS)
        return cf_fail(CF_E_DATA, "%d different fold numbers, expected at most %d", n_folds,
                       CF_METRICS_MAX_FOLDS);
    CF_TRY(cf_new(&m->folds, (size_t)n_folds, sizeof *m->folds));
    m->n_folds = n_folds;
    for (int i = 0; i < n_folds; i++) {
        int64_t n = rows_of_fold(w->p, w->numbers[i], INSIDE, w->rows);
        m->folds[i].fold = w->numbers[i];
        CF_TRY(cf_fold_compute(w->s, w->p, w->rows, n, &m->folds[i]));
    }
    return cf_fold_compute(w->s, w->p, w->rows, all_rows(w->p, w->rows), &m->pooled);
}

static void fit_temperatures(work *w, cf_metrics *m)
{
    int64_t n = all_rows(w->p, w->rows);
    double pooled = cf_temperature_fit_rows(&w->table, w->rows, n, 1);
    m->pooled.temperature = pooled;
    for (int f = 0; f < m->n_folds; f++) {
        n = rows_of_fold(w->p, m->folds[f].fold, INSIDE, w->rows);
        m->folds[f].temperature =
            m->n_folds > 1 ? cf_temperature_fit_rows(&w->table, w->rows, n, pooled) : pooled;
    }
    for (int i = 0; i < m->n_sites; i++) {
        n = cf_sites_rows(m, w->p, i, w->rows);
        m->sites[i].temperature = cf_temperature_fit_rows(&w->table, w->rows, n, pooled);
    }
    for (int f = 0; f < m->n_folds && m->n_folds > 1; f++) {
        n = rows_of_fold(w->p, m->folds[f].fold, OUTSIDE, w->rows);
        double others = cf_temperature_fit_rows(&w->table, w->rows, n, pooled);
        n = rows_of_fold(w->p, m->folds[f].fold, INSIDE, w->rows);
        for (int64_t i = 0; i < n; i++) w->scales[w->rows[i]] = others;
    }
}

static void calibrate_rows(work *w, int64_t n, cf_fold_metrics *f)
{
    cf_calibration c;
    for (int64_t i = 0; i < n; i++)
        if (isnan(w->scales[w->rows[i]])) return; /* the other folds have nothing to fit */
    cf_calibrate_scaled(w->p, w->rows, n, w->scales, w->row, &c);
    f->nll_calibrated = c.nll;
    f->ece_calibrated = c.ece;
    memcpy(f->calibrated_bins, c.bins, sizeof f->calibrated_bins);
}

static void calibrate(work *w, cf_metrics *m)
{
    if (m->n_folds < 2) return;
    for (int f = 0; f < m->n_folds; f++)
        calibrate_rows(w, rows_of_fold(w->p, m->folds[f].fold, INSIDE, w->rows), &m->folds[f]);
    for (int i = 0; i < m->n_sites; i++)
        calibrate_rows(w, cf_sites_rows(m, w->p, i, w->rows), &m->sites[i]);
    calibrate_rows(w, all_rows(w->p, w->rows), &m->pooled);
}

cf_err cf_metrics_compute(const cf_scheme *s, const cf_predictions *p, cf_metrics *m)
{
    work w;
    cf_err err = CF_OK;
    *m = (cf_metrics){.n_classes = s->n_classes, .n_questions = s->n_questions, .pooled.fold = -1};
    CF_TRY(predictions_check(s, p));
    CF_TRY_GOTO(work_init(s, p, &w), out);
    CF_TRY_GOTO(compute_folds(&w, m), out);
    CF_TRY_GOTO(cf_sites_compute(s, p, w.rows, m), out);
    fit_temperatures(&w, m);
    calibrate(&w, m);
out:
    work_fini(&w);
    if (err != CF_OK) cf_metrics_fini(m);
    return err;
}

void cf_metrics_fini(cf_metrics *m)
{
    for (int i = 0; i < m->n_folds; i++) cf_fold_fini(&m->folds[i]);
    for (int i = 0; i < m->n_sites; i++) {
        cf_fold_fini(&m->sites[i]);
        free(m->site_names[i]);
    }
    cf_fold_fini(&m->pooled);
    cf_fold_fini(&m->low);
    cf_fold_fini(&m->high);
    free(m->folds);
    free(m->sites);
    free(m->site_names);
    free(m->left_out);
    *m = (cf_metrics){0};
}

bool cf_resampling_lacks_cells(const cf_resampling *r)
{
    return !r->by_patient &&
           (r->patients == CF_PATIENTS_NO_CELLS || r->patients == CF_PATIENTS_OTHER_CELLS);
}

const char *cf_resampling_doubt(const cf_resampling *r)
{
    if (!cf_resampling_lacks_cells(r)) return "";
    return r->patients == CF_PATIENTS_NO_CELLS
               ? "; patients are not known: the run's cells file is not there"
               : "; patients are not known: the run's cells file is of other images";
}

/* ---- means over folds -------------------------------------------------------------------------
 */

/* values: [n]; NaN values are left out. */
static void mean_sd(const double *values, int n, double *mean, double *sd)
{
    double sum = 0, squares = 0;
    int used = 0;
    for (int i = 0; i < n; i++) {
        sum += isnan(values[i]) ? 0 : values[i];
        used += !isnan(values[i]);
    }
    *mean = used > 0 ? sum / used : (double)NAN;
    for (int i = 0; i < n; i++)
        if (!isnan(values[i])) squares += (values[i] - *mean) * (values[i] - *mean);
    *sd = used > 1 ? sqrt(squares / (used - 1)) : used > 0 ? 0 : (double)NAN;
}

void cf_metrics_mean_sd(const cf_metrics *m, size_t offset, double *mean, double *sd)
{
    double values[CF_METRICS_MAX_FOLDS];
    for (int i = 0; i < m->n_folds; i++)
        memcpy(&values[i], (const char *)&m->folds[i] + offset, sizeof values[i]);
    mean_sd(values, m->n_folds, mean, sd);
}

void cf_metrics_class_mean_sd(const cf_metrics *m, int k, size_t offset, double *mean, double *sd)
{
    double values[CF_METRICS_MAX_FOLDS];
    for (int i = 0; i < m->n_folds; i++)
        memcpy(&values[i], (const char *)&m->folds[i].classes[k] + offset, sizeof values[i]);
    mean_sd(values, m->n_folds, mean, sd);
}

void cf_metrics_question_mean_sd(const cf_metrics *m, int q, double *mean, double *sd)
{
    double values[CF_METRICS_MAX_FOLDS];
    for (int i = 0; i < m->n_folds; i++) values[i] = m->folds[i].question_auc[q];
    mean_sd(values, m->n_folds, mean, sd);
}

void cf_metrics_question_precision_mean_sd(const cf_metrics *m, int q, double *mean, double *sd)
{
    double values[CF_METRICS_MAX_FOLDS];
    for (int i = 0; i < m->n_folds; i++) values[i] = m->folds[i].question_average_precision[q];
    mean_sd(values, m->n_folds, mean, sd);
}
