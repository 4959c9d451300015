/* metrics.json: its keys are documented in metrics.h. */
#include <math.h>
#include <stddef.h>

#include "coordinator/metrics.h"

typedef struct figure {
    const char *key;
    size_t offset;
} figure;

static const figure FOLD_FIGURES[] = {
    {"accuracy", offsetof(cf_fold_metrics, accuracy)},
    {"accuracy_tolerant", offsetof(cf_fold_metrics, accuracy_tolerant)},
    {"balanced_accuracy", offsetof(cf_fold_metrics, balanced_accuracy)},
    {"balanced_accuracy_tolerant", offsetof(cf_fold_metrics, balanced_accuracy_tolerant)},
    {"macro_f1", offsetof(cf_fold_metrics, macro_f1)},
    {"macro_f1_tolerant", offsetof(cf_fold_metrics, macro_f1_tolerant)},
    {"weighted_f1", offsetof(cf_fold_metrics, weighted_f1)},
    {"nll", offsetof(cf_fold_metrics, nll)},
    {"ece", offsetof(cf_fold_metrics, ece)},
    {"brier", offsetof(cf_fold_metrics, brier)},
    {"kappa", offsetof(cf_fold_metrics, kappa)},
    {"mcc", offsetof(cf_fold_metrics, mcc)},
    {"macro_auc", offsetof(cf_fold_metrics, macro_auc)},
    {"macro_average_precision", offsetof(cf_fold_metrics, macro_average_precision)},
    {"temperature", offsetof(cf_fold_metrics, temperature)},
    {"nll_calibrated", offsetof(cf_fold_metrics, nll_calibrated)},
    {"ece_calibrated", offsetof(cf_fold_metrics, ece_calibrated)},
};

static const figure CLASS_FIGURES[] = {
    {"precision_strict", offsetof(cf_class_metrics, precision_strict)},
    {"recall_strict", offsetof(cf_class_metrics, recall_strict)},
    {"f1_strict", offsetof(cf_class_metrics, f1_strict)},
    {"precision_tolerant", offsetof(cf_class_metrics, precision_tolerant)},
    {"recall_tolerant", offsetof(cf_class_metrics, recall_tolerant)},
    {"f1_tolerant", offsetof(cf_class_metrics, f1_tolerant)},
    {"auc", offsetof(cf_class_metrics, auc)},
    {"average_precision", offsetof(cf_class_metrics, average_precision)},
};

enum {
    N_FOLD_FIGURES = sizeof FOLD_FIGURES / sizeof FOLD_FIGURES[0],
    N_CLASS_FIGURES = sizeof CLASS_FIGURES / sizeof CLASS_FIGURES[0]
};

static double figure_of(const void *object, const figure *f)
{
    return *(const double *)(const void *)((const char *)object + f->offset);
}

static void put_fold_classes(const cf_scheme *s, const cf_fold_metrics *f, cf_json *j)
{
    cf_json_object(j, "per_class");
    for (int k = 0; k < s->n_classes; k++) {
        const cf_class_metrics *c = &f->classes[k];
        cf_json_object(j, s->classes[k].code);
        cf_json_integer(j, "support", c->support);
        cf_json_integer(j, "predicted", c->predicted);
        for (int i = 0; i < N_CLASS_FIGURES; i++)
            cf_json_number(j, CLASS_FIGURES[i].key, figure_of(c, &CLASS_FIGURES[i]));
        cf_json_end_object(j);
    }
    cf_json_end_object(j);
}

static void put_confusion(int n_classes, const int64_t *confusion, cf_json *j)
{
    cf_json_array(j, "confusion");
    for (int i = 0; i < n_classes; i++) {
        cf_json_array(j, NULL);
        for (int k = 0; k < n_classes; k++)
            cf_json_integer(j, NULL, confusion[(int64_t)i * n_classes + k]);
        cf_json_end_array(j);
    }
    cf_json_end_array(j);
}

static void put_reliability(const cf_reliability_bin *bins, cf_json *j)
{
    cf_json_array(j, "reliability");
    for (int b = 0; b < CF_ECE_BINS; b++) {
        double n = bins[b].n > 0 ? (double)bins[b].n : (double)NAN;
        cf_json_object(j, NULL);
        cf_json_integer(j, "images", bins[b].n);
        cf_json_number(j, "confidence", bins[b].confidence / n);
        cf_json_number(j, "accuracy", (double)bins[b].n_right / n);
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
}

static void put_question(const char *name, double auc, double average_precision, cf_json *j)
{
    cf_json_object(j, name);
    cf_json_number(j, "auc", auc);
    cf_json_number(j, "average_precision", average_precision);
    cf_json_end_object(j);
}

/* Members of a fold object behind its name; the caller opens and closes it. */
static void put_figures(const cf_scheme *s, const cf_fold_metrics *f, cf_json *j)
{
    for (int i = 0; i < N_FOLD_FIGURES; i++)
        cf_json_number(j, FOLD_FIGURES[i].key, figure_of(f, &FOLD_FIGURES[i]));
    cf_json_object(j, "questions");
    for (int q = 0; q < s->n_questions; q++)
        put_question(s->questions[q].name, f->question_auc[q], f->question_average_precision[q], j);
    cf_json_end_object(j);
}

static void put_rows(const cf_scheme *s, const cf_fold_metrics *f, cf_json *j)
{
    cf_json_integer(j, "images", f->n);
    put_figures(s, f, j);
    put_fold_classes(s, f, j);
    put_confusion(s->n_classes, f->confusion, j);
    put_reliability(f->bins, j);
}

static void put_fold(const cf_scheme *s, const cf_fold_metrics *f, cf_json *j)
{
    if (f->fold < 0)
        cf_json_number(j, "fold", (double)NAN);
    else
        cf_json_integer(j, "fold", f->fold);
    put_rows(s, f, j);
}

typedef enum statistic { MEAN, SD } statistic;

static void put_class_statistic(const cf_metrics *m, int k, statistic which, cf_json *j)
{
    for (int i = 0; i < N_CLASS_FIGURES; i++) {
        double mean, sd;
        cf_metrics_class_mean_sd(m, k, CLASS_FIGURES[i].offset, &mean, &sd);
        cf_json_number(j, CLASS_FIGURES[i].key, which == MEAN ? mean : sd);
    }
}

static void put_statistic(const cf_scheme *s, const cf_metrics *m, statistic which, cf_json *j)
{
    double mean, sd, mean_precision, sd_precision;
    cf_json_object(j, which == MEAN ? "mean" : "sd");
    for (int i = 0; i < N_FOLD_FIGURES; i++) {
        cf_metrics_mean_sd(m, FOLD_FIGURES[i].offset, &mean, &sd);
        cf_json_number(j, FOLD_FIGURES[i].key, which == MEAN ? mean : sd);
    }
    cf_json_object(j, "questions");
    for (int q = 0; q < s->n_questions; q++) {
        cf_metrics_question_mean_sd(m, q, &mean, &sd);
        cf_metrics_question_precision_mean_sd(m, q, &mean_precision, &sd_precision);
        put_question(s->questions[q].name, which == MEAN ? mean : sd,
                     which == MEAN ? mean_precision : sd_precision, j);
    }
    cf_json_end_object(j);
    cf_json_object(j, "per_class");
    for (int k = 0; k < s->n_classes; k++) {
        cf_json_object(j, s->classes[k].code);
        put_class_statistic(m, k, which, j);
        cf_json_end_object(j);
    }
    cf_json_end_object(j);
    cf_json_end_object(j);
}

static void put_sites(const cf_scheme *s, const cf_metrics *m, cf_json *j)
{
    cf_json_array(j, "sites");
    for (int i = 0; i < m->n_sites; i++) {
        cf_json_object(j, NULL);
        cf_json_string(j, "site", m->site_names[i]);
        put_rows(s, &m->sites[i], j);
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
    cf_json_array(j, "leave_one_site_out");
    for (int i = 0; m->left_out && i < m->n_folds; i++) {
        const cf_fold_metrics *f = &m->folds[i];
        cf_json_object(j, NULL);
        cf_json_string(j, "site", m->site_names[m->left_out[i]]);
        cf_json_integer(j, "fold", f->fold);
        cf_json_integer(j, "images", f->n);
        cf_json_number(j, "accuracy", f->accuracy);
        cf_json_number(j, "balanced_accuracy", f->balanced_accuracy);
        cf_json_number(j, "macro_f1", f->macro_f1);
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
}

/* Figures whose interval would say something else than it seems to: a temperature is part of the
 * network, not a figure of these images. */
static bool has_interval(const figure *f)
{
    return f->offset != offsetof(cf_fold_metrics, temperature) &&
           f->offset != offsetof(cf_fold_metrics, nll_calibrated) &&
           f->offset != offsetof(cf_fold_metrics, ece_calibrated);
}

static void put_interval_end(const cf_scheme *s, const cf_fold_metrics *f, const char *key,
                             cf_json *j)
{
    cf_json_object(j, key);
    for (int i = 0; i < N_FOLD_FIGURES; i++)
        if (has_interval(&FOLD_FIGURES[i]))
            cf_json_number(j, FOLD_FIGURES[i].key, figure_of(f, &FOLD_FIGURES[i]));
    cf_json_object(j, "questions");
    for (int q = 0; q < s->n_questions; q++)
        put_question(s->questions[q].name, f->question_auc[q], f->question_average_precision[q], j);
    cf_json_end_object(j);
    cf_json_object(j, "per_class");
    for (int k = 0; k < s->n_classes; k++) {
        cf_json_object(j, s->classes[k].code);
        for (int i = 0; i < N_CLASS_FIGURES; i++)
            cf_json_number(j, CLASS_FIGURES[i].key, figure_of(&f->classes[k], &CLASS_FIGURES[i]));
        cf_json_end_object(j);
    }
    cf_json_end_object(j);
    cf_json_end_object(j);
}

static void put_interval(const cf_scheme *s, const cf_metrics *m, cf_json *j)
{
    const cf_resampling *r = &m->resampling;
    if (r->n_resamples == 0) {
        cf_json_number(j, "interval", (double)NAN);
        return;
    }
    cf_json_object(j, "interval");
    cf_json_number(j, "level", 0.95);
    cf_json_integer(j, "resamples", r->n_resamples);
    cf_json_integer(j, "seed", (int64_t)r->seed);
    cf_json_string(j, "unit", r->by_patient ? "patient" : "image");
    cf_json_integer(j, "units", r->n_units);
    cf_json_boolean(j, "cells_missing", cf_resampling_lacks_cells(r));
    put_interval_end(s, &m->low, "low", j);
    put_interval_end(s, &m->high, "high", j);
    cf_json_end_object(j);
}

cf_err cf_metrics_write_json(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "scheme", s->name);
    cf_json_integer(&j, "images", m->pooled.n);
    cf_json_integer(&j, "n_folds", m->n_folds);
    cf_json_array(&j, "classes");
    for (int k = 0; k < s->n_classes; k++) cf_json_string(&j, NULL, s->classes[k].code);
    cf_json_end_array(&j);
    put_statistic(s, m, MEAN, &j);
    put_statistic(s, m, SD, &j);
    cf_json_object(&j, "pooled");
    put_fold(s, &m->pooled, &j);
    cf_json_end_object(&j);
    cf_json_array(&j, "folds");
    for (int i = 0; i < m->n_folds; i++) {
        cf_json_object(&j, NULL);
        put_fold(s, &m->folds[i], &j);
        cf_json_end_object(&j);
    }
    cf_json_end_array(&j);
    put_sites(s, m, &j);
    put_interval(s, m, &j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
    return cf_buf_check(out);
}
