#include "coordinator/metrics_fold.h"

#include <math.h>
#include <stdlib.h>

#include "coordinator/agreement.h"
#include "coordinator/curves.h"
#include "kernels/base/mem.h"

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static double harmonic(double p, double r)
{
    return ratio(2 * p * r, p + r);
}

cf_err cf_fold_alloc(const cf_scheme *s, cf_fold_metrics *f)
{
    size_t k = (size_t)s->n_classes, n_questions = (size_t)s->n_questions, cells;
    if (!cf_size_mul(k, k, &cells)) return cf_fail(CF_E_UNEXPECTED, "confusion matrix too large");
    CF_TRY(cf_new(&f->classes, k, sizeof *f->classes));
    CF_TRY(cf_new(&f->confusion, cells, sizeof *f->confusion));
    CF_TRY(cf_new(&f->question_auc, n_questions, sizeof *f->question_auc));
    return cf_new(&f->question_average_precision, n_questions,
                  sizeof *f->question_average_precision);
}

void cf_fold_fini(cf_fold_metrics *f)
{
    free(f->classes);
    free(f->confusion);
    free(f->question_auc);
    free(f->question_average_precision);
    *f = (cf_fold_metrics){0};
}

/* With C[i][j] the count of truth i predicted j and tol(k) the partners of k:
 * recall_k = (C_kk + sum over j in tol(k) of C_kj) / sum_j C_kj,
 * precision_k = (C_kk + sum over i in tol(k) of C_ik) / sum_i C_ik; strict: tol(k) is empty.
 * Returns the images of the class that are right with tolerance. */
static int64_t class_compute(const cf_scheme *s, const int64_t *confusion, int k,
                             cf_class_metrics *c)
{
    int n = s->n_classes;
    int64_t tolerated_row = 0, tolerated_column = 0, right = confusion[(int64_t)k * n + k];
    c->support = c->predicted = 0;
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
static void summarise(int n_classes, cf_fold_metrics *f)
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

void cf_fold_from_confusion(const cf_scheme *s, cf_fold_metrics *f)
{
    int64_t right = 0, right_tolerant = 0;
    f->n = 0;
    for (int k = 0; k < s->n_classes; k++) {
        right_tolerant += class_compute(s, f->confusion, k, &f->classes[k]);
        right += f->confusion[(int64_t)k * s->n_classes + k];
        f->n += f->classes[k].support;
    }
    f->accuracy = ratio((double)right, (double)f->n);
    f->accuracy_tolerant = ratio((double)right_tolerant, (double)f->n);
    f->kappa = cf_agreement_kappa(f->confusion, s->n_classes);
    f->mcc = cf_agreement_mcc(f->confusion, s->n_classes);
    summarise(s->n_classes, f);
}

void cf_fold_macro_areas(int n_classes, cf_fold_metrics *f)
{
    double auc = 0, precision = 0;
    int n_auc = 0, n_precision = 0;
    for (int k = 0; k < n_classes; k++) {
        const cf_class_metrics *c = &f->classes[k];
        n_auc += !isnan(c->auc);
        auc += isnan(c->auc) ? 0 : c->auc;
        n_precision += !isnan(c->average_precision);
        precision += isnan(c->average_precision) ? 0 : c->average_precision;
    }
    f->macro_auc = n_auc > 0 ? auc / n_auc : (double)NAN;
    f->macro_average_precision = n_precision > 0 ? precision / n_precision : (double)NAN;
}

static cf_err areas_compute(const cf_scheme *s, const cf_predictions *p, const int64_t *rows,
                            int64_t n, cf_fold_metrics *f)
{
    cf_scored *scored = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&scored, (size_t)n, sizeof *scored), out);
    for (int i = 0; i < s->n_classes + s->n_questions; i++) {
        const cf_question *q = i < s->n_classes ? NULL : &s->questions[i - s->n_classes];
        cf_curve_scores(p, rows, n, i, q, scored);
        CF_TRY_GOTO(cf_auc_sort(scored, n), out);
        cf_areas areas = cf_auc_of_sorted(scored, n);
        if (q) {
            f->question_auc[i - s->n_classes] = areas.auc;
            f->question_average_precision[i - s->n_classes] = areas.average_precision;
        } else {
            f->classes[i].auc = areas.auc;
            f->classes[i].average_precision = areas.average_precision;
        }
    }
    cf_fold_macro_areas(s->n_classes, f);
out:
    free(scored);
    return err;
}

cf_err cf_fold_compute(const cf_scheme *s, const cf_predictions *p, const int64_t *rows, int64_t n,
                       cf_fold_metrics *f)
{
    cf_calibration c;
    CF_TRY(cf_fold_alloc(s, f));
    for (int64_t i = 0; i < n; i++)
        f->confusion[(int64_t)p->labels[rows[i]] * s->n_classes + p->predicted[rows[i]]]++;
    cf_fold_from_confusion(s, f);
    cf_calibrate(p, rows, n, &c);
    f->nll = c.nll;
    f->ece = c.ece;
    f->brier = c.brier;
    for (int b = 0; b < CF_ECE_BINS; b++) f->bins[b] = c.bins[b];
    f->temperature = f->nll_calibrated = f->ece_calibrated = (double)NAN;
    return areas_compute(s, p, rows, n, f);
}
