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
};

static const figure CLASS_FIGURES[] = {
    {"precision_strict", offsetof(cf_class_metrics, precision_strict)},
    {"recall_strict", offsetof(cf_class_metrics, recall_strict)},
    {"f1_strict", offsetof(cf_class_metrics, f1_strict)},
    {"precision_tolerant", offsetof(cf_class_metrics, precision_tolerant)},
    {"recall_tolerant", offsetof(cf_class_metrics, recall_tolerant)},
    {"f1_tolerant", offsetof(cf_class_metrics, f1_tolerant)},
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

static void put_question(const char *name, double auc, cf_json *j)
{
    cf_json_object(j, name);
    cf_json_number(j, "auc", auc);
    cf_json_end_object(j);
}

/* Members of a fold object; the caller opens and closes it. */
static void put_fold(const cf_scheme *s, const cf_fold_metrics *f, cf_json *j)
{
    if (f->fold < 0)
        cf_json_number(j, "fold", (double)NAN);
    else
        cf_json_integer(j, "fold", f->fold);
    cf_json_integer(j, "images", f->n);
    for (int i = 0; i < N_FOLD_FIGURES; i++)
        cf_json_number(j, FOLD_FIGURES[i].key, figure_of(f, &FOLD_FIGURES[i]));
    cf_json_object(j, "questions");
    for (int q = 0; q < s->n_questions; q++)
        put_question(s->questions[q].name, f->question_auc[q], j);
    cf_json_end_object(j);
    put_fold_classes(s, f, j);
    put_confusion(s->n_classes, f->confusion, j);
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
    double mean, sd;
    cf_json_object(j, which == MEAN ? "mean" : "sd");
    for (int i = 0; i < N_FOLD_FIGURES; i++) {
        cf_metrics_mean_sd(m, FOLD_FIGURES[i].offset, &mean, &sd);
        cf_json_number(j, FOLD_FIGURES[i].key, which == MEAN ? mean : sd);
    }
    cf_json_object(j, "questions");
    for (int q = 0; q < s->n_questions; q++) {
        cf_metrics_question_mean_sd(m, q, &mean, &sd);
        put_question(s->questions[q].name, which == MEAN ? mean : sd, j);
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
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
    return cf_buf_check(out);
}
