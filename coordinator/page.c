#include "coordinator/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/html.h"
#include "coordinator/page_parts.h"

/* ---- numbers ---- */

void cf_page_mean_sd(double mean, double sd, int decimals, int n_folds, char *text)
{
    char left[CF_FIGURE_TEXT], right[CF_FIGURE_TEXT];
    cf_text_ratio(mean, decimals, left);
    cf_text_ratio(sd, decimals, right);
    if (isnan(mean) || n_folds < 2)
        snprintf(text, CF_PAGE_NUMBER_MAX, "%.40s", left);
    else
        snprintf(text, CF_PAGE_NUMBER_MAX, "%.24s ± %.24s", left, right);
}

void cf_page_count(int64_t value, char *text)
{
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)value), at = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-' && n > 4)
            at += snprintf(text + at, (size_t)(CF_PAGE_NUMBER_MAX - at), "\xe2\x80\xaf");
        at += snprintf(text + at, (size_t)(CF_PAGE_NUMBER_MAX - at), "%c", digits[i]);
    }
}

/* ---- parts that sections share ---- */

void cf_page_section(cf_buf *out, const char *id, const char *title)
{
    cf_buf_printf(out, "<section id=\"%s\" aria-labelledby=\"h-%s\">\n<h2 id=\"h-%s\">", id, id,
                  id);
    cf_html_text(out, title);
    cf_buf_printf(out, "</h2>\n");
}

void cf_page_end(cf_buf *out)
{
    cf_buf_printf(out, "</section>\n");
}

cf_err cf_page_figure(const cf_page *p, cf_figure which, const char *caption, cf_buf *out)
{
    const cf_canvas *c = p->figures->canvas[which];
    if (!c) return CF_OK;
    cf_buf_printf(out, "<figure class=\"plot\" id=\"plot-%s\">\n", cf_figure_names[which]);
    CF_TRY(cf_canvas_encode(c, CF_CANVAS_INLINE, out));
    cf_buf_printf(out, "<figcaption>");
    cf_html_text(out, caption);
    cf_buf_printf(out, "</figcaption>\n</figure>\n");
    return CF_OK;
}

bool cf_page_has_published(const cf_scheme *s)
{
    for (int k = 0; k < s->n_classes; k++)
        if (s->classes[k].precision_strict.known || s->classes[k].precision_tolerant.known ||
            s->classes[k].recall_strict.known || s->classes[k].recall_tolerant.known)
            return true;
    return false;
}

bool cf_page_has_tolerance(const cf_scheme *s)
{
    for (int64_t i = 0; i < (int64_t)s->n_classes * s->n_classes; i++)
        if (s->tolerant[i]) return true;
    return false;
}

/* ---- head ---- */

/* The script's digest as a Content-Security-Policy names it: base64 of its bytes. */
static void put_digest(cf_buf *out)
{
    unsigned char digest[32];
    for (size_t i = 0; i < sizeof digest; i++) {
        unsigned int byte = 0;
        if (sscanf(cf_page_js_sha256 + 2 * i, "%2x", &byte) != 1) byte = 0;
        digest[i] = (unsigned char)byte;
    }
    cf_html_base64(out, digest, sizeof digest);
}

/* Colours as variables, and the classes by which drawings name them. */
static void put_paints(cf_buf *out)
{
    cf_buf_printf(out, ":root{color-scheme:light dark;");
    cf_paint_css(CF_PAPER_LIGHT, out);
    cf_buf_printf(out, "}\n@media screen and (prefers-color-scheme: dark){:root{");
    cf_paint_css(CF_PAPER_DARK, out);
    cf_buf_printf(out, "}}\n.f0{fill:none}.s0{stroke:none}\n");
    for (int i = CF_PAINT_PAPER; i < CF_N_PAINTS; i++)
        cf_buf_printf(out, ".f%d{fill:var(--p%d)}.s%d{stroke:var(--p%d)}", i, i, i, i);
    cf_buf_printf(out, "\n");
    for (int i = 0; i < CF_HEAT_STEPS; i++)
        cf_buf_printf(out, ".h%d{background:var(--p%d);color:var(--p%d)}", i, CF_PAINT_HEAT + i,
                      CF_PAINT_HEAT_INK + i);
    cf_buf_printf(out, "\n");
}

static const char *title_of(const cf_page *p)
{
    return p->scheme->title[0] ? p->scheme->title : p->scheme->name;
}

void cf_page_head(const char *title, cf_buf *out)
{
    cf_buf_printf(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                       "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
                       "&#39;none&#39;; img-src data:; style-src &#39;unsafe-inline&#39;; "
                       "script-src &#39;sha256-");
    put_digest(out);
    cf_buf_printf(out, "&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;\"/>\n"
                       "<meta name=\"viewport\" content=\"width=device-width, "
                       "initial-scale=1\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n<title>");
    cf_html_text(out, title);
    cf_buf_printf(out, " – cytofold report</title>\n<style>\n");
    put_paints(out);
    cf_buf_printf(out, "%s</style>\n</head>\n", cf_page_css);
}

static void put_title(const cf_page *p, cf_buf *out)
{
    char count[CF_PAGE_NUMBER_MAX];
    cf_page_count(p->metrics->pooled.n, count);
    cf_buf_printf(out, "<header>\n<h1>");
    cf_html_text(out, title_of(p));
    cf_buf_printf(out,
                  "</h1>\n<p class=\"lead\">%s images, %d classes, %d %s. Every image is "
                  "judged by the network that was not trained on it, after its last "
                  "epoch.</p>\n",
                  count, p->scheme->n_classes, p->metrics->n_folds,
                  p->metrics->n_folds == 1 ? "fold" : "folds");
    if (p->missing[0]) {
        cf_buf_printf(out, "<p class=\"warning\" role=\"note\">");
        cf_html_text(out, p->missing);
        cf_buf_printf(out, ".</p>\n");
    }
    cf_buf_printf(out, "</header>\n");
}

static void put_navigation(const cf_page *p, cf_buf *out)
{
    const struct {
        const char *id, *title;
        bool there;
    } links[] = {
        {"summary", "Summary", true},
        {"classes", "Classes", true},
        {"confusion", "Confusion", true},
        {"curves", "Curves", true},
        {"calibration", "Calibration", true},
        {"learning", "Learning", p->figures->canvas[CF_FIGURE_LOSS] != NULL},
        {"errors", "Errors", true},
        {"map", "Map", cf_page_has_map(p)},
        {"frequencies", "Frequencies", true},
        {"folds", "Folds", true},
        {"sites", "Sites", cf_page_has_sites(p)},
        {"run", "Run", true},
        {"data", "Data", true},
    };
    cf_buf_printf(out, "<nav aria-label=\"Sections\"><ul>\n");
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        if (links[i].there)
            cf_buf_printf(out, "<li><a href=\"#%s\">%s</a></li>\n", links[i].id, links[i].title);
    cf_buf_printf(out, "</ul></nav>\n");
}

/* ---- sections of figures ---- */

static cf_err put_curves(const cf_page *p, cf_buf *out)
{
    cf_page_section(out, "curves", "Curves");
    cf_buf_printf(out, "<p>Each class against the rest, by its probability, all folds together. "
                       "Beside a name stands the area under its curve: ROC AUC, or average "
                       "precision.</p>\n<div class=\"plots\">\n");
    CF_TRY(cf_page_figure(p, CF_FIGURE_ROC, "ROC; the dashed line is chance.", out));
    CF_TRY(cf_page_figure(p, CF_FIGURE_PRECISION_RECALL, "Precision over recall.", out));
    CF_TRY(cf_page_figure(p, CF_FIGURE_QUESTIONS_ROC,
                          "Yes-or-no questions: the probabilities of the classes that mean yes are "
                          "added.",
                          out));
    CF_TRY(cf_page_figure(p, CF_FIGURE_QUESTIONS_PRECISION_RECALL,
                          "The same questions, precision over recall.", out));
    cf_buf_printf(out, "</div>\n");
    cf_page_end(out);
    return CF_OK;
}

static cf_err put_calibration(const cf_page *p, cf_buf *out)
{
    const cf_fold_metrics *m = &p->metrics->pooled;
    char t[CF_PAGE_NUMBER_MAX], nll[2][CF_PAGE_NUMBER_MAX], ece[2][CF_PAGE_NUMBER_MAX];
    cf_text_ratio(m->temperature, 2, t);
    cf_text_ratio(m->nll, 3, nll[0]);
    cf_text_ratio(m->nll_calibrated, 3, nll[1]);
    cf_text_ratio(m->ece, 3, ece[0]);
    cf_text_ratio(m->ece_calibrated, 3, ece[1]);
    cf_page_section(out, "calibration", "Calibration");
    cf_buf_printf(out,
                  "<p>Can a probability be believed? On the dashed line it can; above it the "
                  "networks are too timid, below it too sure. Pale bars: the share of images in "
                  "each of %d bins.</p>\n",
                  CF_ECE_BINS);
    if (!isnan(m->temperature))
        cf_buf_printf(out, "<p>Temperature that fits all images best: <strong>%s</strong> (%s).", t,
                      m->temperature > 1.005   ? "above 1: too sure"
                      : m->temperature < 0.995 ? "below 1: too timid"
                                               : "1: as it should be");
    if (!isnan(m->temperature) && !isnan(m->ece_calibrated))
        cf_buf_printf(out,
                      " With the temperature fitted on the other folds, NLL goes from %s to %s and "
                      "ECE from %s to %s.",
                      nll[0], nll[1], ece[0], ece[1]);
    if (!isnan(m->temperature)) cf_buf_printf(out, "</p>\n");
    cf_buf_printf(out, "<div class=\"plots\">\n");
    CF_TRY(cf_page_figure(p, CF_FIGURE_RELIABILITY,
                          "Reliability diagram: probability of the predicted class against the "
                          "share that is right.",
                          out));
    cf_buf_printf(out, "</div>\n");
    cf_page_end(out);
    return CF_OK;
}

static cf_err put_learning(const cf_page *p, cf_buf *out)
{
    if (!p->figures->canvas[CF_FIGURE_LOSS]) return CF_OK;
    cf_page_section(out, "learning", "Learning curves");
    cf_buf_printf(out, "<p>Mean over the training images of each epoch, as the networks saw them: "
                       "changed by augmentation.</p>\n<div class=\"plots\">\n");
    CF_TRY(cf_page_figure(p, CF_FIGURE_LOSS, "Loss of every fold.", out));
    CF_TRY(cf_page_figure(p, CF_FIGURE_ACCURACY,
                          "Accuracy of every fold; with markers: on its test images, where that "
                          "was asked for.",
                          out));
    cf_buf_printf(out, "</div>\n");
    cf_page_end(out);
    return CF_OK;
}

static cf_err put_frequencies(const cf_page *p, cf_buf *out)
{
    cf_page_section(out, "frequencies", "Class frequencies");
    cf_buf_printf(out, "<div class=\"plots\">\n");
    CF_TRY(cf_page_figure(p, CF_FIGURE_FREQUENCIES, "Images with each label, and images predicted.",
                          out));
    cf_buf_printf(out, "</div>\n");
    cf_page_end(out);
    return CF_OK;
}

void cf_page_foot(cf_buf *out)
{
    cf_buf_printf(out,
                  "</main>\n<footer><p>Made by cytofold %s. This page is one file and asks "
                  "the network for nothing.</p></footer>\n<script>%s</script>\n</body>\n"
                  "</html>\n",
                  CYTOFOLD_VERSION, cf_page_js);
}

cf_err cf_page_write(const cf_page *p, cf_buf *out)
{
    cf_page_head(title_of(p), out);
    cf_buf_printf(out, "<body>\n<a class=\"skip\" href=\"#summary\">Skip to the results</a>\n");
    put_title(p, out);
    put_navigation(p, out);
    cf_buf_printf(out, "<main>\n");
    cf_page_summary(p, out);
    cf_page_classes(p, out);
    cf_page_confusion(p, out);
    CF_TRY(put_curves(p, out));
    CF_TRY(put_calibration(p, out));
    CF_TRY(put_learning(p, out));
    CF_TRY(cf_page_gallery(p, out));
    CF_TRY(cf_page_map(p, out));
    CF_TRY(put_frequencies(p, out));
    cf_page_folds(p, out);
    cf_page_sites(p, out);
    CF_TRY(cf_page_run(p, out));
    cf_page_data(p, out);
    cf_page_foot(out);
    return cf_buf_check(out);
}
