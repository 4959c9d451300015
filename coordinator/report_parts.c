#include "coordinator/report_parts.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/markdown.h"
#include "coordinator/report_numbers.h"

/* ---- intervals --------------------------------------------------------------------------------
 */

static const struct {
    const char *title;
    size_t offset; /* in cf_class_metrics */
} COLUMNS[] = {
    {"P strict", offsetof(cf_class_metrics, precision_strict)},
    {"R strict", offsetof(cf_class_metrics, recall_strict)},
    {"F1 strict", offsetof(cf_class_metrics, f1_strict)},
    {"AUC", offsetof(cf_class_metrics, auc)},
    {"AP", offsetof(cf_class_metrics, average_precision)},
};
enum { N_COLUMNS = sizeof COLUMNS / sizeof COLUMNS[0] };

static double figure_of(const cf_class_metrics *c, size_t offset)
{
    double value;
    memcpy(&value, (const char *)c + offset, sizeof value);
    return value;
}

/* ".91 (.88–.93)" */
static void put_figure(const cf_metrics *m, int k, size_t offset, cf_markdown *t)
{
    char value[CF_FIGURE_TEXT], interval[CF_FIGURE_TEXT];
    cf_text_ratio(figure_of(&m->pooled.classes[k], offset), 2, value);
    cf_text_interval(figure_of(&m->low.classes[k], offset), figure_of(&m->high.classes[k], offset),
                     2, interval);
    cf_markdown_putf(t, "%s (%s)", value, interval);
}

cf_err cf_report_intervals(const cf_scheme *s, const cf_metrics *m, cf_buf *out)
{
    const cf_resampling *r = &m->resampling;
    cf_markdown t;
    if (r->n_resamples == 0) return CF_OK;
    cf_buf_printf(out,
                  "\n95 %% intervals of the pooled figures: %d resamples of %lld %ss (bootstrap, "
                  "seed %llu%s). AUC and AP (average precision): the class against the rest.\n\n",
                  r->n_resamples, (long long)r->n_units, r->by_patient ? "patient" : "image",
                  (unsigned long long)r->seed, cf_resampling_doubt(r));
    cf_markdown_begin(&t, "lrrrrr");
    cf_markdown_put(&t, "code");
    for (int i = 0; i < N_COLUMNS; i++) cf_markdown_put(&t, COLUMNS[i].title);
    for (int k = 0; k < m->n_classes; k++) {
        cf_markdown_put(&t, s->classes[k].code);
        for (int i = 0; i < N_COLUMNS; i++) put_figure(m, k, COLUMNS[i].offset, &t);
    }
    return cf_markdown_print(&t, out);
}

/* ---- sites ------------------------------------------------------------------------------------
 */

static const char *site_name(const cf_metrics *m, int i)
{
    return m->site_names[i][0] ? m->site_names[i] : "(none)";
}

static void put_site(const char *name, const cf_fold_metrics *f, cf_markdown *t)
{
    const double figures[] = {f->accuracy, f->balanced_accuracy, f->macro_f1, f->kappa, f->ece};
    char text[CF_FIGURE_TEXT];
    cf_markdown_put(t, name);
    cf_markdown_putf(t, "%lld", (long long)f->n);
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        cf_text_ratio(figures[i], 3, text);
        cf_markdown_put(t, text);
    }
}

static void put_header(const char *first, cf_markdown *t)
{
    cf_markdown_begin(t, "lrrrrrr");
    cf_markdown_put(t, first);
    cf_markdown_put(t, "images");
    cf_markdown_put(t, "accuracy");
    cf_markdown_put(t, "balanced");
    cf_markdown_put(t, "macro F1");
    cf_markdown_put(t, "kappa");
    cf_markdown_put(t, "ECE");
}

cf_err cf_report_sites(const cf_metrics *m, cf_buf *out)
{
    cf_markdown t;
    if (m->n_sites == 0) return CF_OK;
    cf_buf_printf(out, m->left_out
                           ? "\nEach site by the network that was trained on the others:\n\n"
                           : "\nBy site:\n\n");
    put_header(m->left_out ? "site left out" : "site", &t);
    for (int i = 0; m->left_out && i < m->n_folds; i++)
        put_site(site_name(m, m->left_out[i]), &m->folds[i], &t);
    for (int i = 0; !m->left_out && i < m->n_sites; i++)
        put_site(site_name(m, i), &m->sites[i], &t);
    return cf_markdown_print(&t, out);
}
