/* The CSV forms of a report: every figure with all its digits, for spreadsheets and scripts. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "coordinator/report.h"

enum { DIGITS = 9 }; /* significant ones */

typedef struct figure {
    const char *name;
    size_t offset;
} figure;

#define FIGURE(type, member)                                                                       \
    {                                                                                              \
#member, offsetof(type, member)                                                            \
    }
static const figure FIGURES[] = {
    FIGURE(cf_class_metrics, precision_tolerant), FIGURE(cf_class_metrics, recall_tolerant),
    FIGURE(cf_class_metrics, f1_tolerant),        FIGURE(cf_class_metrics, precision_strict),
    FIGURE(cf_class_metrics, recall_strict),      FIGURE(cf_class_metrics, f1_strict),
};
static const figure PUBLISHED[] = {
    FIGURE(cf_class, precision_tolerant),
    FIGURE(cf_class, recall_tolerant),
    FIGURE(cf_class, precision_strict),
    FIGURE(cf_class, recall_strict),
};
/* Of all folds together, each followed by the ends of its interval. */
static const figure POOLED[] = {
    FIGURE(cf_class_metrics, precision_strict),
    FIGURE(cf_class_metrics, recall_strict),
    FIGURE(cf_class_metrics, f1_strict),
    FIGURE(cf_class_metrics, precision_tolerant),
    FIGURE(cf_class_metrics, recall_tolerant),
    FIGURE(cf_class_metrics, f1_tolerant),
    FIGURE(cf_class_metrics, auc),
    FIGURE(cf_class_metrics, average_precision),
};
enum {
    N_POOLED = sizeof POOLED / sizeof POOLED[0],
    N_FIGURES = sizeof FIGURES / sizeof FIGURES[0],
    N_PUBLISHED = sizeof PUBLISHED / sizeof PUBLISHED[0]
};

static void put_header(cf_buf *out)
{
    char text[80];
    cf_csv_put(out, "code", CF_CSV_MORE);
    cf_csv_put(out, "name", CF_CSV_MORE);
    cf_csv_put(out, "images", CF_CSV_MORE);
    for (int i = 0; i < N_FIGURES; i++) {
        snprintf(text, sizeof text, "%s_mean", FIGURES[i].name);
        cf_csv_put(out, text, CF_CSV_MORE);
        snprintf(text, sizeof text, "%s_sd", FIGURES[i].name);
        cf_csv_put(out, text, CF_CSV_MORE);
    }
    for (int i = 0; i < N_PUBLISHED; i++) {
        snprintf(text, sizeof text, "published_%s_mean", PUBLISHED[i].name);
        cf_csv_put(out, text, CF_CSV_MORE);
        snprintf(text, sizeof text, "published_%s_sd", PUBLISHED[i].name);
        cf_csv_put(out, text, CF_CSV_MORE);
    }
    for (int i = 0; i < N_POOLED; i++) {
        static const char *const ends[] = {"", "_low", "_high"};
        for (int end = 0; end < 3; end++) {
            snprintf(text, sizeof text, "pooled_%s%s", POOLED[i].name, ends[end]);
            cf_csv_put(out, text, i == N_POOLED - 1 && end == 2 ? CF_CSV_END_ROW : CF_CSV_MORE);
        }
    }
}

static void put_published(const cf_class *c, cf_buf *out)
{
    for (int i = 0; i < N_PUBLISHED; i++) {
        const void *member = (const char *)c + PUBLISHED[i].offset;
        const cf_published *p = member;
        cf_csv_put_number(out, p->known ? p->mean : (double)NAN, DIGITS, CF_CSV_MORE);
        cf_csv_put_number(out, p->known ? p->sd : (double)NAN, DIGITS, CF_CSV_MORE);
    }
}

static double figure_of(const cf_fold_metrics *f, int k, const figure *column)
{
    const void *member = (const char *)&f->classes[k] + column->offset;
    return *(const double *)member;
}

static void put_pooled(const cf_metrics *m, int k, cf_buf *out)
{
    bool intervals = m->resampling.n_resamples > 0;
    for (int i = 0; i < N_POOLED; i++) {
        double low = intervals ? figure_of(&m->low, k, &POOLED[i]) : (double)NAN;
        double high = intervals ? figure_of(&m->high, k, &POOLED[i]) : (double)NAN;
        cf_csv_put_number(out, figure_of(&m->pooled, k, &POOLED[i]), DIGITS, CF_CSV_MORE);
        cf_csv_put_number(out, low, DIGITS, CF_CSV_MORE);
        cf_csv_put_number(out, high, DIGITS, i == N_POOLED - 1 ? CF_CSV_END_ROW : CF_CSV_MORE);
    }
}

cf_err cf_report_csv(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    put_header(out);
    for (int k = 0; k < s->n_classes; k++) {
        cf_csv_put(out, s->classes[k].code, CF_CSV_MORE);
        cf_csv_put(out, s->classes[k].name, CF_CSV_MORE);
        cf_csv_put_integer(out, m->pooled.classes[k].support, CF_CSV_MORE);
        for (int i = 0; i < N_FIGURES; i++) {
            double mean, sd;
            cf_metrics_class_mean_sd(m, k, FIGURES[i].offset, &mean, &sd);
            cf_csv_put_number(out, mean, DIGITS, CF_CSV_MORE);
            cf_csv_put_number(out, sd, DIGITS, CF_CSV_MORE);
        }
        put_published(&s->classes[k], out);
        put_pooled(m, k, out);
    }
    return cf_buf_check(out);
}

cf_err cf_report_confusion_csv(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    int n = s->n_classes;
    cf_csv_put(out, "truth", CF_CSV_MORE);
    for (int k = 0; k < n; k++)
        cf_csv_put(out, s->classes[k].code, k == n - 1 ? CF_CSV_END_ROW : CF_CSV_MORE);
    for (int i = 0; i < n; i++) {
        cf_csv_put(out, s->classes[i].code, CF_CSV_MORE);
        for (int k = 0; k < n; k++)
            cf_csv_put_integer(out, m->pooled.confusion[(int64_t)i * n + k],
                               k == n - 1 ? CF_CSV_END_ROW : CF_CSV_MORE);
    }
    return cf_buf_check(out);
}
