/* The Markdown of a report: the per-class table, the summary, the confusion matrix. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/markdown.h"
#include "coordinator/report.h"
#include "coordinator/report_numbers.h"
#include "coordinator/report_parts.h"

#define CLASS_OFFSET(member) offsetof(cf_class_metrics, member)
#define FOLD_OFFSET(member)  offsetof(cf_fold_metrics, member)

/* ---- per class --------------------------------------------------------------------------------
 */

typedef struct column {
    const char *title;
    size_t offset;    /* in cf_class_metrics */
    size_t published; /* in cf_class */
} column;

#define COLUMN(title, member)                                                                      \
    {                                                                                              \
        title, CLASS_OFFSET(member), offsetof(cf_class, member)                                    \
    }
static const column COLUMNS[] = {
    COLUMN("P tol", precision_tolerant),
    COLUMN("R tol", recall_tolerant),
    COLUMN("P strict", precision_strict),
    COLUMN("R strict", recall_strict),
};
enum { N_COLUMNS = sizeof COLUMNS / sizeof COLUMNS[0] };

static const cf_published *published_of(const cf_class *c, const column *col)
{
    return (const cf_published *)(const void *)((const char *)c + col->published);
}

/* How many classes have every published figure. */
static int published_classes(const cf_scheme *s)
{
    int n = 0;
    for (int k = 0; k < s->n_classes; k++) {
        const cf_class *c = &s->classes[k];
        n += c->precision_tolerant.known && c->recall_tolerant.known && c->precision_strict.known &&
             c->recall_strict.known;
    }
    return n;
}

static void put_class(const cf_scheme *s, const cf_metrics *m, int k, bool published,
                      cf_markdown *t)
{
    const cf_class_metrics *pooled = &m->pooled.classes[k];
    bool seen = pooled->support > 0 || pooled->predicted > 0;
    char text[CF_FIGURE_TEXT];
    cf_markdown_put(t, s->classes[k].code);
    cf_markdown_put(t, s->classes[k].name);
    cf_markdown_putf(t, "%lld", (long long)pooled->support);
    for (int i = 0; i < N_COLUMNS; i++) {
        const cf_published *p = published_of(&s->classes[k], &COLUMNS[i]);
        double mean, sd;
        cf_metrics_class_mean_sd(m, k, COLUMNS[i].offset, &mean, &sd);
        cf_text_mean_sd(seen ? mean : (double)NAN, sd, 2, m->n_folds, text);
        cf_markdown_put(t, text);
        if (!published) continue;
        cf_text_mean_sd(p->known ? p->mean : (double)NAN, p->sd, 2, 2, text);
        cf_markdown_put(t, text);
    }
}

static cf_err print_classes(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    bool published = published_classes(s) > 0;
    cf_markdown t;
    cf_markdown_begin(&t, published ? "llrrrrrrrrr" : "llrrrrr");
    cf_markdown_put(&t, "code");
    cf_markdown_put(&t, "class");
    cf_markdown_put(&t, "images");
    for (int i = 0; i < N_COLUMNS; i++) {
        cf_markdown_put(&t, COLUMNS[i].title);
        if (published) cf_markdown_put(&t, "publ.");
    }
    for (int k = 0; k < s->n_classes; k++) put_class(s, m, k, published, &t);
    return cf_markdown_print(&t, out);
}

/* ---- summary ----------------------------------------------------------------------------------
 */

typedef enum published_figure {
    PUBLISHED_NONE,
    PUBLISHED_ACCURACY,
    PUBLISHED_BALANCED,
    PUBLISHED_F1
} published_figure;

typedef struct summary {
    const char *title;
    size_t strict, tolerant; /* in cf_fold_metrics; equal where there is no tolerant form */
    published_figure published;
} summary;

static const summary SUMMARIES[] = {
    {"accuracy", FOLD_OFFSET(accuracy), FOLD_OFFSET(accuracy_tolerant), PUBLISHED_ACCURACY},
    {"balanced accuracy", FOLD_OFFSET(balanced_accuracy), FOLD_OFFSET(balanced_accuracy_tolerant),
     PUBLISHED_BALANCED},
    {"macro F1", FOLD_OFFSET(macro_f1), FOLD_OFFSET(macro_f1_tolerant), PUBLISHED_F1},
    {"weighted F1", FOLD_OFFSET(weighted_f1), FOLD_OFFSET(weighted_f1), PUBLISHED_NONE},
    {"Cohen's kappa", FOLD_OFFSET(kappa), FOLD_OFFSET(kappa), PUBLISHED_NONE},
    {"MCC", FOLD_OFFSET(mcc), FOLD_OFFSET(mcc), PUBLISHED_NONE},
    {"macro AUC", FOLD_OFFSET(macro_auc), FOLD_OFFSET(macro_auc), PUBLISHED_NONE},
    {"macro AP", FOLD_OFFSET(macro_average_precision), FOLD_OFFSET(macro_average_precision),
     PUBLISHED_NONE},
    {"NLL", FOLD_OFFSET(nll), FOLD_OFFSET(nll), PUBLISHED_NONE},
    {"ECE", FOLD_OFFSET(ece), FOLD_OFFSET(ece), PUBLISHED_NONE},
    {"Brier", FOLD_OFFSET(brier), FOLD_OFFSET(brier), PUBLISHED_NONE},
    {"temperature", FOLD_OFFSET(temperature), FOLD_OFFSET(temperature), PUBLISHED_NONE},
    {"NLL calibrated", FOLD_OFFSET(nll_calibrated), FOLD_OFFSET(nll_calibrated), PUBLISHED_NONE},
    {"ECE calibrated", FOLD_OFFSET(ece_calibrated), FOLD_OFFSET(ece_calibrated), PUBLISHED_NONE},
};

/* What follows from the published per-class means: accuracy as recall weighted by image counts,
 * balanced accuracy as mean recall, macro F1 from mean precision and recall. Only where every class
 * has them. */
static double published_summary(const cf_scheme *s, published_figure figure, bool tolerant)
{
    double sum = 0, weights = 0;
    if (figure == PUBLISHED_NONE || published_classes(s) < s->n_classes) return (double)NAN;
    for (int k = 0; k < s->n_classes; k++) {
        const cf_class *c = &s->classes[k];
        double p = tolerant ? c->precision_tolerant.mean : c->precision_strict.mean;
        double r = tolerant ? c->recall_tolerant.mean : c->recall_strict.mean;
        double weight = figure == PUBLISHED_ACCURACY ? (double)c->published_count : 1;
        if (figure == PUBLISHED_F1) r = p + r > 0 ? 2 * p * r / (p + r) : 0;
        sum += weight * r;
        weights += weight;
    }
    return weights > 0 ? sum / weights : (double)NAN;
}

static double figure_of(const cf_fold_metrics *f, size_t offset)
{
    double value;
    memcpy(&value, (const char *)f + offset, sizeof value);
    return value;
}

/* A cell for the interval, where the table has such a column. */
static void put_interval(const cf_metrics *m, double low, double high, int decimals, cf_markdown *t)
{
    char text[CF_FIGURE_TEXT];
    if (m->resampling.n_resamples == 0) return;
    cf_text_interval(low, high, decimals, text);
    cf_markdown_put(t, text);
}

static void put_summary(const cf_scheme *s, const cf_metrics *m, const summary *row, bool published,
                        cf_markdown *t)
{
    bool both = row->strict != row->tolerant;
    char text[CF_FIGURE_TEXT];
    double mean, sd;
    cf_markdown_put(t, row->title);
    for (int tolerant = 0; tolerant < 2; tolerant++) {
        size_t offset = tolerant ? row->tolerant : row->strict;
        cf_metrics_mean_sd(m, offset, &mean, &sd);
        cf_text_mean_sd(tolerant && !both ? (double)NAN : mean, sd, 3, m->n_folds, text);
        cf_markdown_put(t, text);
        double nothing = tolerant && !both ? (double)NAN : 0;
        cf_text_ratio(nothing + figure_of(&m->pooled, offset), 3, text);
        cf_markdown_put(t, text);
        put_interval(m, nothing + figure_of(&m->low, offset), figure_of(&m->high, offset), 3, t);
    }
    for (int tolerant = 0; tolerant < 2 && published; tolerant++) {
        cf_text_ratio(published_summary(s, row->published, tolerant), 3, text);
        cf_markdown_put(t, text);
    }
}

/* A figure without a tolerant or published form. */
static void put_area(const cf_metrics *m, const double range[3], double mean, double sd,
                     bool published, cf_markdown *t)
{
    char text[CF_FIGURE_TEXT];
    bool intervals = m->resampling.n_resamples > 0;
    cf_text_mean_sd(mean, sd, 4, m->n_folds, text);
    cf_markdown_put(t, text);
    cf_text_ratio(range[1], 4, text);
    cf_markdown_put(t, text);
    put_interval(m, range[0], range[2], 4, t);
    for (int i = 0; i < 2 + intervals + (published ? 2 : 0); i++) cf_markdown_put(t, "–");
}

static void put_question(const cf_scheme *s, const cf_metrics *m, int q, bool published,
                         cf_markdown *t)
{
    bool intervals = m->resampling.n_resamples > 0;
    double mean, sd, nan = (double)NAN;
    double auc[] = {intervals ? m->low.question_auc[q] : nan, m->pooled.question_auc[q],
                    intervals ? m->high.question_auc[q] : nan};
    double precision[] = {intervals ? m->low.question_average_precision[q] : nan,
                          m->pooled.question_average_precision[q],
                          intervals ? m->high.question_average_precision[q] : nan};
    cf_metrics_question_mean_sd(m, q, &mean, &sd);
    cf_markdown_putf(t, "AUC %s", s->questions[q].name);
    put_area(m, auc, mean, sd, published, t);
    cf_metrics_question_precision_mean_sd(m, q, &mean, &sd);
    cf_markdown_putf(t, "AP %s", s->questions[q].name);
    put_area(m, precision, mean, sd, published, t);
}

static cf_err print_summary(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    bool published = published_classes(s) == s->n_classes;
    cf_markdown t;
    bool intervals = m->resampling.n_resamples > 0;
    const char *columns =
        intervals ? (published ? "lrrrrrrrr" : "lrrrrrr") : (published ? "lrrrrrr" : "lrrrr");
    cf_markdown_begin(&t, columns);
    cf_markdown_put(&t, "figure");
    cf_markdown_put(&t, "strict");
    cf_markdown_put(&t, "pooled");
    if (intervals) cf_markdown_put(&t, "95 %");
    cf_markdown_put(&t, "tolerant");
    cf_markdown_put(&t, "pooled tol");
    if (intervals) cf_markdown_put(&t, "95 % tol");
    if (published) {
        cf_markdown_put(&t, "publ. strict");
        cf_markdown_put(&t, "publ. tol");
    }
    for (size_t i = 0; i < sizeof SUMMARIES / sizeof SUMMARIES[0]; i++)
        put_summary(s, m, &SUMMARIES[i], published, &t);
    for (int q = 0; q < s->n_questions; q++) put_question(s, m, q, published, &t);
    return cf_markdown_print(&t, out);
}

/* ---- confusion --------------------------------------------------------------------------------
 */

enum {
    MATRIX_MAX = 40,
    MATRIX_FINE = 10
}; /* classes that fit a page; that leave room for a decimal */

/* Percent of the row; a dot for none at all, so that the eye finds the confusions. */
static void put_share(int64_t count, int64_t row, int decimals, cf_markdown *t)
{
    if (row == 0)
        cf_markdown_put(t, "–");
    else if (count == 0)
        cf_markdown_put(t, "·");
    else
        cf_markdown_putf(t, "%.*f", decimals, 100 * (double)count / (double)row);
}

static cf_err print_confusion(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    char columns[MATRIX_MAX + 2] = "l";
    int n = s->n_classes, decimals = n <= MATRIX_FINE ? 1 : 0;
    cf_markdown t;
    if (n > MATRIX_MAX) {
        cf_buf_printf(out, "The confusion matrix of %d classes is in confusion.csv.\n", n);
        return cf_buf_check(out);
    }
    cf_buf_printf(out, "Confusion in percent of the true class, all folds together (rows: truth; "
                       "columns: prediction):\n\n");
    memset(columns + 1, 'r', (size_t)n);
    cf_markdown_begin(&t, columns);
    cf_markdown_put(&t, "truth");
    for (int k = 0; k < n; k++) cf_markdown_put(&t, s->classes[k].code);
    for (int i = 0; i < n; i++) {
        cf_markdown_put(&t, s->classes[i].code);
        for (int k = 0; k < n; k++)
            put_share(m->pooled.confusion[(int64_t)i * n + k], m->pooled.classes[i].support,
                      decimals, &t);
    }
    return cf_markdown_print(&t, out);
}

/* ---- the page ---------------------------------------------------------------------------------
 */

static void print_heading(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    cf_buf_printf(out, "# ");
    cf_markdown_escape(s->title[0] ? s->title : s->name, out);
    cf_buf_printf(
        out,
        "\n\n%lld images, %d %s%s. P precision, R recall; tol: the scheme's tolerance pairs "
        "count as right.\n\n",
        (long long)m->pooled.n, m->n_folds, m->n_folds == 1 ? "fold" : "folds",
        m->n_folds == 1 ? "" : ", mean ± SD over folds (n-1)");
}

cf_err cf_report_markdown(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    print_heading(s, m, out);
    CF_TRY(print_classes(s, m, out));
    if (published_classes(s) > 0 && s->published_source[0]) {
        cf_buf_printf(out, "\npubl.: ");
        cf_markdown_escape(s->published_source, out);
        bool all = published_classes(s) == s->n_classes;
        cf_buf_printf(out, "%s\n",
                      all ? "; in the table below: what follows from these means" : "");
    }
    cf_buf_printf(out, "\n");
    CF_TRY(print_summary(s, m, out));
    CF_TRY(cf_report_intervals(s, m, out));
    CF_TRY(cf_report_sites(m, out));
    cf_buf_printf(out, "\n");
    return print_confusion(s, m, out);
}
