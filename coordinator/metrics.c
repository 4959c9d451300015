#include "coordinator/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/auc.h"
#include "coordinator/calibration.h"
#include "kernels/base/mem.h"

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static double harmonic(double p, double r)
{
    return ratio(2 * p * r, p + r);
}

/* ---- one fold ---------------------------------------------------------------------------------
 */

static cf_err fold_alloc(const cf_scheme *s, cf_fold_metrics *f)
{
    size_t k = (size_t)s->n_classes, cells;
    if (!cf_size_mul(k, k, &cells)) return cf_fail(CF_E_UNEXPECTED, "confusion matrix too large");
    CF_TRY(cf_new(&f->classes, k, sizeof *f->classes));
    CF_TRY(cf_new(&f->confusion, cells, sizeof *f->confusion));
    return cf_new(&f->question_auc, (size_t)s->n_questions, sizeof *f->question_auc);
}

static void fold_fini(cf_fold_metrics *f)
{
    free(f->classes);
    free(f->confusion);
    free(f->question_auc);
    *f = (cf_fold_metrics){0};
}

/* With C[i][j] the count of truth i predicted j and tol(k) the partners of k:
 * recall_k = (C_kk + sum over j in tol(k) of C_kj) / sum_j C_kj,
 * precision_k = (C_kk + sum over i in tol(k) of C_ik) / sum_i C_ik; strict: tol(k) is empty. */
static int64_t class_compute(const cf_scheme *s, const int64_t *confusion, int k,
                             cf_class_metrics *c)
{
    int n = s->n_classes;
    int64_t tolerated_row = 0, tolerated_column = 0, right = confusion[(int64_t)k * n + k];
    for (int j = 0; j < n; j++) {
        int64_t in_row = confusion[(int64_t)k * n + j], in_column = confusion[(int64_t)j * n + k];
        bool pair = s->tolerant && s->tolerant[(size_t)k * (size_t)n + (size_t)j];
        c->support += in_row;
        c->predicted += in_column;
        tolerated_row += pair ? in_row : 0;
        tolerated_column += pair ? in_column : 0;
    }
    double support = (double)c->support, predicted = (double)c->predicted;
    c->recall_strict = ratio((double)right, support);
    c->precision_strict = ratio((double)right, predicted);
    c->recall_tolerant = ratio((double)(right + tolerated_row), support);
    c->precision_tolerant = ratio((double)(right + tolerated_column), predicted);
    c->f1_strict = harmonic(c->precision_strict, c->recall_strict);
    c->f1_tolerant = harmonic(c->precision_tolerant, c->recall_tolerant);
    return right + tolerated_row;
}

/* The means over classes. A class without a single image or prediction says nothing and is left
 * out, as scikit-learn does. */
static void fold_summarise(int n_classes, cf_fold_metrics *f)
{
    double recall = 0, recall_tolerant = 0, f1 = 0, f1_tolerant = 0, weighted = 0;
    int with_support = 0, seen = 0;
    for (int k = 0; k < n_classes; k++) {
        const cf_class_metrics *c = &f->classes[k];
        with_support += c->support > 0;
        seen += c->support > 0 || c->predicted > 0;
        recall += c->recall_strict;
        recall_tolerant += c->recall_tolerant;
        f1 += c->f1_strict;
        f1_tolerant += c->f1_tolerant;
        weighted += c->f1_strict * (double)c->support;
    }
    f->balanced_accuracy = ratio(recall, with_support);
    f->balanced_accuracy_tolerant = ratio(recall_tolerant, with_support);
    f->macro_f1 = ratio(f1, seen);
    f->macro_f1_tolerant = ratio(f1_tolerant, seen);
    f->weighted_f1 = ratio(weighted, (double)f->n);
}

static cf_err question_compute(const cf_question *q, const cf_predictions *p, const int64_t *rows,
                               int64_t n, double *auc)
{
    double *scores = NULL;
    bool *positive = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&scores, (size_t)n, sizeof *scores), out);
    CF_TRY_GOTO(cf_new(&positive, (size_t)n, sizeof *positive), out);
    for (int64_t i = 0; i < n; i++) {
        const double *probability = p->p + rows[i] * p->n_classes;
        for (int k = 0; k < p->n_classes; k++) scores[i] += q->positive[k] ? probability[k] : 0;
        positive[i] = q->positive[p->labels[rows[i]]];
    }
    CF_TRY_GOTO(cf_auc_roc(scores, positive, n, auc), out);
out:
    free(positive);
    free(scores);
    return err;
}

/* rows: [n] rows of p that belong to the fold, n >= 1. */
static cf_err fold_compute(const cf_scheme *s, const cf_predictions *p, const int64_t *rows,
                           int64_t n, cf_fold_metrics *f)
{
    int64_t right = 0, right_tolerant = 0;
    CF_TRY(fold_alloc(s, f));
    f->n = n;
    for (int64_t i = 0; i < n; i++) {
        int label = p->labels[rows[i]], predicted = p->predicted[rows[i]];
        f->confusion[(int64_t)label * s->n_classes + predicted]++;
        right += label == predicted;
    }
    for (int k = 0; k < s->n_classes; k++)
        right_tolerant += class_compute(s, f->confusion, k, &f->classes[k]);
    f->accuracy = ratio((double)right, (double)n);
    f->accuracy_tolerant = ratio((double)right_tolerant, (double)n);
    fold_summarise(s->n_classes, f);
    cf_calibration(p, rows, n, &f->nll, &f->ece);
    for (int q = 0; q < s->n_questions; q++)
        CF_TRY(question_compute(&s->questions[q], p, rows, n, &f->question_auc[q]));
    return CF_OK;
}

/* ---- all folds --------------------------------------------------------------------------------
 */

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

/* Rows of one fold in the order of the file. Returns their number. */
static int64_t rows_of_fold(const cf_predictions *p, int fold, int64_t *rows)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->n; i++)
        if (p->folds[i] == fold) rows[n++] = i;
    return n;
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

cf_err cf_metrics_compute(const cf_scheme *s, const cf_predictions *p, cf_metrics *m)
{
    int64_t *rows = NULL;
    int32_t *numbers = NULL;
    cf_err err = CF_OK;
    *m = (cf_metrics){.n_classes = s->n_classes, .pooled.fold = -1};
    CF_TRY(predictions_check(s, p));
    CF_TRY_GOTO(cf_new(&rows, (size_t)p->n, sizeof *rows), out);
    CF_TRY_GOTO(cf_new(&numbers, (size_t)p->n, sizeof *numbers), out);
    int n_folds = distinct_folds(p, numbers);
    if (n_folds > CF_METRICS_MAX_FOLDS) {
        err = cf_fail(CF_E_DATA, "%d different fold numbers, expected at most %d", n_folds,
                      CF_METRICS_MAX_FOLDS);
        goto out;
    }
    CF_TRY_GOTO(cf_new(&m->folds, (size_t)n_folds, sizeof *m->folds), out);
    m->n_folds = n_folds;
    for (int i = 0; i < n_folds; i++) {
        int64_t n = rows_of_fold(p, numbers[i], rows);
        m->folds[i].fold = numbers[i];
        CF_TRY_GOTO(fold_compute(s, p, rows, n, &m->folds[i]), out);
    }
    for (int64_t i = 0; i < p->n; i++) rows[i] = i;
    CF_TRY_GOTO(fold_compute(s, p, rows, p->n, &m->pooled), out);
out:
    free(numbers);
    free(rows);
    if (err != CF_OK) cf_metrics_fini(m);
    return err;
}

void cf_metrics_fini(cf_metrics *m)
{
    for (int i = 0; i < m->n_folds; i++) fold_fini(&m->folds[i]);
    fold_fini(&m->pooled);
    free(m->folds);
    *m = (cf_metrics){0};
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
