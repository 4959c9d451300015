/* The tables of report.html: summary, classes, folds, sites. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "coordinator/html.h"
#include "coordinator/page_parts.h"

#define FOLD_OFFSET(member)  offsetof(cf_fold_metrics, member)
#define CLASS_OFFSET(member) offsetof(cf_class_metrics, member)
#define NO_OFFSET            SIZE_MAX

enum { DECIMALS = 3 };

static double at(const void *record, size_t offset)
{
    const void *member = (const char *)record + offset;
    return *(const double *)member;
}

/* ---- cells ---- */

/* A table in a box of its own that scrolls where the page is narrow, also by keyboard. */
static void begin_table(cf_buf *out, const char *class, const char *caption)
{
    cf_buf_printf(out, "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"");
    cf_html_text(out, caption);
    cf_buf_printf(out, "\"><table class=\"%s\">\n<caption>", class);
    cf_html_text(out, caption);
    cf_buf_printf(out, "</caption>\n<thead><tr>");
}

static void put_header(cf_buf *out, const char *title, const char *class)
{
    cf_buf_printf(out, "<th scope=\"col\"%s%s%s>", class[0] ? " class=\"" : "", class,
                  class[0] ? "\"" : "");
    cf_html_text(out, title);
    cf_buf_printf(out, "</th>");
}

static void begin_rows(cf_buf *out)
{
    cf_buf_printf(out, "</tr></thead>\n<tbody>\n");
}

static void end_table(cf_buf *out)
{
    cf_buf_printf(out, "</tbody></table></div>\n");
}

/* value: what a table is sorted by; NaN sorts last. */
static void put_cell(cf_buf *out, const char *text, double value)
{
    if (isnan(value))
        cf_buf_printf(out, "<td class=\"n\" data-v=\"\">%s</td>", text);
    else
        cf_buf_printf(out, "<td class=\"n\" data-v=\"%.9g\">%s</td>", value, text);
}

static void put_count(cf_buf *out, int64_t n)
{
    char text[CF_PAGE_NUMBER_MAX];
    cf_page_count(n, text);
    put_cell(out, text, (double)n);
}

static void put_ratio(cf_buf *out, double value)
{
    char text[CF_PAGE_NUMBER_MAX];
    cf_text_ratio(value, DECIMALS, text);
    put_cell(out, text, value);
}

static bool has_intervals(const cf_metrics *m)
{
    return m->resampling.n_resamples > 0;
}

/* ".801 to .834", or nothing. */
static void print_interval(double low, double high, int decimals, char *text)
{
    char a[CF_PAGE_NUMBER_MAX], b[CF_PAGE_NUMBER_MAX];
    text[0] = '\0';
    if (isnan(low) || isnan(high)) return;
    cf_text_ratio(low, decimals, a);
    cf_text_ratio(high, decimals, b);
    snprintf(text, CF_PAGE_NUMBER_MAX, "%.24s to %.24s", a, b);
}

/* ---- summary ---- */

typedef struct figure {
    const char *name;
    size_t strict, tolerant;
} figure;

static const figure FIGURES[] = {
    {"Accuracy", FOLD_OFFSET(accuracy), FOLD_OFFSET(accuracy_tolerant)},
    {"Balanced accuracy", FOLD_OFFSET(balanced_accuracy), FOLD_OFFSET(balanced_accuracy_tolerant)},
    {"Macro F1", FOLD_OFFSET(macro_f1), FOLD_OFFSET(macro_f1_tolerant)},
    {"Weighted F1", FOLD_OFFSET(weighted_f1), NO_OFFSET},
    {"Cohen’s kappa", FOLD_OFFSET(kappa), NO_OFFSET},
    {"Matthews’ correlation", FOLD_OFFSET(mcc), NO_OFFSET},
    {"Macro ROC AUC", FOLD_OFFSET(macro_auc), NO_OFFSET},
    {"Macro average precision", FOLD_OFFSET(macro_average_precision), NO_OFFSET},
    {"NLL", FOLD_OFFSET(nll), NO_OFFSET},
    {"Brier score", FOLD_OFFSET(brier), NO_OFFSET},
    {"ECE", FOLD_OFFSET(ece), NO_OFFSET},
};
enum { N_FIGURES = sizeof FIGURES / sizeof FIGURES[0], N_CARDS = 3 };

static void put_card(cf_buf *out, const char *name, double mean, double sd, int n_folds,
                     const char *note)
{
    char text[CF_PAGE_NUMBER_MAX], spread[CF_PAGE_NUMBER_MAX];
    cf_text_ratio(mean, DECIMALS, text);
    cf_text_ratio(sd, DECIMALS, spread);
    cf_buf_printf(out, "<div class=\"card\"><dt>");
    cf_html_text(out, name);
    cf_buf_printf(out, "</dt><dd><span class=\"big\">%s</span>", text);
    if (n_folds > 1 && !isnan(mean)) cf_buf_printf(out, " <span class=\"sd\">± %s</span>", spread);
    if (note[0]) cf_buf_printf(out, "<br/><span class=\"note\">%s</span>", note);
    cf_buf_printf(out, "</dd></div>\n");
}

static void put_cards(const cf_page *p, cf_buf *out)
{
    const cf_metrics *m = p->metrics;
    cf_buf_printf(out, "<dl class=\"cards\">\n");
    for (int i = 0; i < N_CARDS; i++) {
        double mean, sd, low, high;
        char tolerant[CF_PAGE_NUMBER_MAX], note[CF_PAGE_NUMBER_MAX + 16] = "";
        cf_metrics_mean_sd(m, FIGURES[i].strict, &mean, &sd);
        cf_metrics_mean_sd(m, FIGURES[i].tolerant, &low, &high);
        cf_text_ratio(low, DECIMALS, tolerant);
        if (cf_page_has_tolerance(p->scheme))
            snprintf(note, sizeof note, "tolerant %.40s", tolerant);
        put_card(out, FIGURES[i].name, mean, sd, m->n_folds, note);
    }
    for (int q = 0; q < p->scheme->n_questions && q < 2; q++) {
        char name[96];
        double mean, sd;
        cf_metrics_question_mean_sd(m, q, &mean, &sd);
        snprintf(name, sizeof name, "AUC %s", p->scheme->questions[q].name);
        put_card(out, name, mean, sd, m->n_folds, "");
    }
    cf_buf_printf(out, "</dl>\n");
}

static void put_summary_row(const cf_page *p, const figure *f, cf_buf *out)
{
    const cf_metrics *m = p->metrics;
    char text[CF_PAGE_NUMBER_MAX];
    double mean, sd;
    cf_buf_printf(out, "<tr><th scope=\"row\">%s</th>", f->name);
    cf_metrics_mean_sd(m, f->strict, &mean, &sd);
    cf_page_mean_sd(mean, sd, DECIMALS, m->n_folds, text);
    put_cell(out, text, mean);
    put_ratio(out, at(&m->pooled, f->strict));
    if (has_intervals(m)) {
        print_interval(at(&m->low, f->strict), at(&m->high, f->strict), DECIMALS, text);
        put_cell(out, text, (double)NAN);
    }
    if (cf_page_has_tolerance(p->scheme)) {
        text[0] = '\0';
        if (f->tolerant != NO_OFFSET) {
            cf_metrics_mean_sd(m, f->tolerant, &mean, &sd);
            cf_page_mean_sd(mean, sd, DECIMALS, m->n_folds, text);
        }
        put_cell(out, text, (double)NAN);
    }
    cf_buf_printf(out, "</tr>\n");
}

static void put_question_row(const cf_page *p, int q, cf_buf *out)
{
    const cf_metrics *m = p->metrics;
    char text[CF_PAGE_NUMBER_MAX];
    double mean, sd;
    cf_metrics_question_mean_sd(m, q, &mean, &sd);
    cf_page_mean_sd(mean, sd, DECIMALS, m->n_folds, text);
    cf_buf_printf(out, "<tr><th scope=\"row\">ROC AUC of ");
    cf_html_text(out, p->scheme->questions[q].name);
    cf_buf_printf(out, "</th>");
    put_cell(out, text, mean);
    put_ratio(out, m->pooled.question_auc[q]);
    if (has_intervals(m)) {
        print_interval(m->low.question_auc[q], m->high.question_auc[q], DECIMALS, text);
        put_cell(out, text, (double)NAN);
    }
    if (cf_page_has_tolerance(p->scheme)) put_cell(out, "", (double)NAN);
    cf_buf_printf(out, "</tr>\n");
}

static void put_resampling(const cf_metrics *m, cf_buf *out)
{
    char resamples[CF_PAGE_NUMBER_MAX], units[CF_PAGE_NUMBER_MAX];
    if (!has_intervals(m)) return;
    cf_page_count(m->resampling.n_resamples, resamples);
    cf_page_count(m->resampling.n_units, units);
    cf_buf_printf(out,
                  "<p class=\"note\">Intervals: %s bootstrap resamples of %s %s of the pooled "
                  "figure (percentiles, seed %llu%s). They say how far the images decide it; what "
                  "another training would change is the SD over folds.</p>\n",
                  resamples, units, m->resampling.by_patient ? "patients" : "images",
                  (unsigned long long)m->resampling.seed, cf_resampling_doubt(&m->resampling));
}

void cf_page_summary(const cf_page *p, cf_buf *out)
{
    const cf_metrics *m = p->metrics;
    cf_page_section(out, "summary", "Summary");
    put_cards(p, out);
    begin_table(out, "plain", "Figures over all classes");
    put_header(out, "figure", "");
    put_header(out, m->n_folds > 1 ? "mean ± SD over folds" : "the fold", "n");
    put_header(out, "pooled", "n");
    if (has_intervals(m)) put_header(out, "95 % interval", "n");
    if (cf_page_has_tolerance(p->scheme)) put_header(out, "tolerant", "n");
    begin_rows(out);
    for (int i = 0; i < N_FIGURES; i++) put_summary_row(p, &FIGURES[i], out);
    for (int q = 0; q < p->scheme->n_questions; q++) put_question_row(p, q, out);
    end_table(out);
    if (cf_page_has_tolerance(p->scheme))
        cf_buf_printf(out, "<p class=\"note\">Tolerant: confusions of the scheme’s tolerance pairs "
                           "count as right.</p>\n");
    put_resampling(m, out);
    cf_page_end(out);
}

/* ---- classes ---- */

typedef struct column {
    const char *title;
    size_t offset, published; /* NO_OFFSET: never */
    bool tolerant;
} column;

static const column COLUMNS[] = {
    {"precision, tolerant", CLASS_OFFSET(precision_tolerant),
     offsetof(cf_class, precision_tolerant), true},
    {"recall, tolerant", CLASS_OFFSET(recall_tolerant), offsetof(cf_class, recall_tolerant), true},
    {"precision", CLASS_OFFSET(precision_strict), offsetof(cf_class, precision_strict), false},
    {"recall", CLASS_OFFSET(recall_strict), offsetof(cf_class, recall_strict), false},
    {"F1", CLASS_OFFSET(f1_strict), NO_OFFSET, false},
    {"ROC AUC", CLASS_OFFSET(auc), NO_OFFSET, false},
};
enum { N_COLUMNS = sizeof COLUMNS / sizeof COLUMNS[0] };

static bool is_shown(const cf_page *p, const column *c)
{
    return !c->tolerant || cf_page_has_tolerance(p->scheme);
}

static bool has_column_published(const cf_page *p, const column *c)
{
    return c->published != NO_OFFSET && cf_page_has_published(p->scheme);
}

static void put_class_figure(const cf_page *p, int k, const column *c, cf_buf *out)
{
    const cf_metrics *m = p->metrics;
    char text[CF_PAGE_NUMBER_MAX], interval[CF_PAGE_NUMBER_MAX], cell[2 * CF_PAGE_NUMBER_MAX + 64];
    double mean, sd;
    cf_metrics_class_mean_sd(m, k, c->offset, &mean, &sd);
    if (m->pooled.classes[k].support == 0) mean = (double)NAN;
    cf_page_mean_sd(mean, sd, 2, m->n_folds, text);
    interval[0] = '\0';
    if (has_intervals(m) && !isnan(mean))
        print_interval(at(&m->low.classes[k], c->offset), at(&m->high.classes[k], c->offset), 2,
                       interval);
    snprintf(cell, sizeof cell, "%s%s%s%s", text, interval[0] ? "<br/><span class=\"ci\">" : "",
             interval, interval[0] ? "</span>" : "");
    put_cell(out, cell, mean);
    if (!has_column_published(p, c)) return;
    const void *member = (const char *)&p->scheme->classes[k] + c->published;
    const cf_published *known = member;
    cf_page_mean_sd(known->known ? known->mean : (double)NAN, known->sd, 2, 2, text);
    snprintf(cell, sizeof cell, "<span class=\"publ\">%s</span>", text);
    put_cell(out, cell, known->known ? known->mean : (double)NAN);
}

static void put_class_row(const cf_page *p, int k, cf_buf *out)
{
    const cf_class *c = &p->scheme->classes[k];
    cf_buf_printf(out, "<tr><th scope=\"row\" data-v=\"%d\">", k);
    cf_html_text(out, c->code);
    cf_buf_printf(out, "</th><td>");
    cf_html_text(out, c->name);
    cf_buf_printf(out, "</td>");
    put_count(out, p->metrics->pooled.classes[k].support);
    for (int i = 0; i < N_COLUMNS; i++)
        if (is_shown(p, &COLUMNS[i])) put_class_figure(p, k, &COLUMNS[i], out);
    cf_buf_printf(out, "</tr>\n");
}

void cf_page_classes(const cf_page *p, cf_buf *out)
{
    cf_page_section(out, "classes", "Classes");
    begin_table(out, "sortable",
                p->metrics->n_folds > 1 ? "Precision and recall of each class, mean ± SD over folds"
                                        : "Precision and recall of each class");
    put_header(out, "code", "");
    put_header(out, "class", "");
    put_header(out, "images", "n");
    for (int i = 0; i < N_COLUMNS; i++) {
        if (!is_shown(p, &COLUMNS[i])) continue;
        put_header(out, COLUMNS[i].title, "n");
        if (has_column_published(p, &COLUMNS[i])) put_header(out, "published", "n");
    }
    begin_rows(out);
    for (int k = 0; k < p->scheme->n_classes; k++) put_class_row(p, k, out);
    end_table(out);
    if (has_intervals(p->metrics))
        cf_buf_printf(out, "<p class=\"note\">Second line: 95 %% interval of the pooled "
                           "figure.</p>\n");
    if (cf_page_has_published(p->scheme) && p->scheme->published_source[0]) {
        cf_buf_printf(out, "<p class=\"note\">Published: ");
        cf_html_text(out, p->scheme->published_source);
        cf_buf_printf(out, "</p>\n");
    }
    cf_page_end(out);
}

/* ---- folds and sites ---- */

static const figure PARTS[] = {
    {"accuracy", FOLD_OFFSET(accuracy), NO_OFFSET},
    {"balanced accuracy", FOLD_OFFSET(balanced_accuracy), NO_OFFSET},
    {"macro F1", FOLD_OFFSET(macro_f1), NO_OFFSET},
    {"NLL", FOLD_OFFSET(nll), NO_OFFSET},
    {"ECE", FOLD_OFFSET(ece), NO_OFFSET},
    {"temperature", FOLD_OFFSET(temperature), NO_OFFSET},
};
enum { N_PARTS = sizeof PARTS / sizeof PARTS[0] };

static void put_part_headers(cf_buf *out, const char *first)
{
    put_header(out, first, "");
    put_header(out, "images", "n");
    for (int i = 0; i < N_PARTS; i++) put_header(out, PARTS[i].name, "n");
    begin_rows(out);
}

static void put_part(const cf_fold_metrics *f, cf_buf *out)
{
    put_count(out, f->n);
    for (int i = 0; i < N_PARTS; i++) put_ratio(out, at(f, PARTS[i].strict));
    cf_buf_printf(out, "</tr>\n");
}

static const char *site_name(const cf_metrics *m, int site)
{
    return m->site_names[site][0] ? m->site_names[site] : "(no site)";
}

void cf_page_folds(const cf_page *p, cf_buf *out)
{
    const cf_metrics *m = p->metrics;
    cf_page_section(out, "folds", "Folds");
    begin_table(out, "sortable", "Each fold’s test images");
    put_part_headers(out, "fold");
    for (int f = 0; f < m->n_folds; f++) {
        cf_buf_printf(out, "<tr><th scope=\"row\" data-v=\"%d\">%d</th>", m->folds[f].fold,
                      m->folds[f].fold);
        put_part(&m->folds[f], out);
    }
    end_table(out);
    cf_page_end(out);
}

bool cf_page_has_sites(const cf_page *p)
{
    return p->metrics->n_sites > 1;
}

static void put_left_out(const cf_metrics *m, cf_buf *out)
{
    begin_table(out, "sortable", "Leave one site out: trained on all other sites");
    put_part_headers(out, "site left out");
    for (int f = 0; f < m->n_folds; f++) {
        cf_buf_printf(out, "<tr><th scope=\"row\" data-v=\"%d\">", f);
        cf_html_text(out, site_name(m, m->left_out[f]));
        cf_buf_printf(out, "</th>");
        put_part(&m->folds[f], out);
    }
    end_table(out);
}

void cf_page_sites(const cf_page *p, cf_buf *out)
{
    const cf_metrics *m = p->metrics;
    if (!cf_page_has_sites(p)) return;
    cf_page_section(out, "sites", "Sites");
    if (m->left_out) put_left_out(m, out);
    begin_table(out, "sortable", "Each site’s images, over all folds");
    put_part_headers(out, "site");
    for (int i = 0; i < m->n_sites; i++) {
        cf_buf_printf(out, "<tr><th scope=\"row\" data-v=\"%d\">", i);
        cf_html_text(out, site_name(m, i));
        cf_buf_printf(out, "</th>");
        put_part(&m->sites[i], out);
    }
    end_table(out);
    cf_page_end(out);
}
