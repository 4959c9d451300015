#include "launch/predict_summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/markdown.h"
#include "kernels/base/mem.h"
#include "launch/predict_images.h"

enum { MAX_ROWS = 25 };

/* Counts behind one tally; [n_classes] each. */
typedef struct counts {
    int64_t *support, *right, *mapped_right;
    bool *mapped; /* the class has images in some set */
} counts;

static cf_err counts_init(counts *c, int n_classes)
{
    CF_TRY(cf_new(&c->support, (size_t)n_classes, sizeof *c->support));
    CF_TRY(cf_new(&c->right, (size_t)n_classes, sizeof *c->right));
    CF_TRY(cf_new(&c->mapped_right, (size_t)n_classes, sizeof *c->mapped_right));
    return cf_new(&c->mapped, (size_t)n_classes, sizeof *c->mapped);
}

static void counts_fini(counts *c)
{
    free(c->support);
    free(c->right);
    free(c->mapped_right);
    free(c->mapped);
}

static int highest_mapped(const counts *c, const double *p, int n)
{
    int best = -1;
    for (int k = 0; k < n; k++)
        if (c->mapped[k] && (best < 0 || p[k] > p[best])) best = k;
    return best;
}

static double share(double part, int64_t whole)
{
    return whole > 0 ? part / (double)whole : 0;
}

/* Images of one site, or of all (site -1). */
static void tally(const cf_cells *cells, const cf_scheme *s, const cf_predictions *p, int site,
                  counts *c, cf_predict_tally *t)
{
    size_t bytes = (size_t)s->n_classes * sizeof(int64_t);
    int64_t right = 0, mapped_right = 0, classes = 0;
    memset(c->support, 0, bytes);
    memset(c->right, 0, bytes);
    memset(c->mapped_right, 0, bytes);
    for (int64_t i = 0; i < p->n; i++) {
        int label = p->labels[i];
        if (site >= 0 && cells->sites[i] != site) continue;
        t->n++;
        t->no_confident += s->no_confident[p->predicted[i]];
        if (label == CF_LABEL_UNKNOWN) continue;
        c->support[label]++;
        c->right[label] += p->predicted[i] == label;
        c->mapped_right[label] += highest_mapped(c, p->p + i * p->n_classes, p->n_classes) == label;
    }
    for (int k = 0; k < s->n_classes; k++) {
        t->labelled += c->support[k];
        right += c->right[k];
        mapped_right += c->mapped_right[k];
        classes += c->support[k] > 0;
        t->balanced_accuracy += share((double)c->right[k], c->support[k]);
        t->mapped_balanced_accuracy += share((double)c->mapped_right[k], c->support[k]);
    }
    t->accuracy = share((double)right, t->labelled);
    t->mapped_accuracy = share((double)mapped_right, t->labelled);
    t->balanced_accuracy = share(t->balanced_accuracy, classes);
    t->mapped_balanced_accuracy = share(t->mapped_balanced_accuracy, classes);
}

/* ---- labels as given --------------------------------------------------------------------------
 */

typedef struct given_image {
    const char *name;
    int64_t image;
} given_image;

static int by_name(const void *a, const void *b)
{
    const given_image *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->image > y->image) - (x->image < y->image);
}

static cf_err add_given(cf_predict_summary *m, const given_image *first, int64_t n,
                        const cf_predictions *p)
{
    size_t rows = (size_t)m->n_given + 1;
    CF_TRY(cf_resize(&m->given, rows, sizeof *m->given));
    cf_predict_given_row *row = &m->given[m->n_given];
    *row = (cf_predict_given_row){.label = p->labels[first->image], .n = n};
    m->n_given++;
    CF_TRY(cf_strdup(first->name, &row->name));
    CF_TRY(cf_new(&row->predicted, (size_t)p->n_classes, sizeof *row->predicted));
    for (int64_t i = 0; i < n; i++) row->predicted[p->predicted[first[i].image]]++;
    return CF_OK;
}

/* *images: owned by the caller, [cells->n] in byte order of name. */
static cf_err sort_given(const cf_cells *cells, given_image **images)
{
    CF_TRY(cf_new(images, (size_t)cells->n, sizeof **images));
    for (int64_t i = 0; i < cells->n; i++)
        (*images)[i] = (given_image){cf_predict_given(cells, i), i};
    qsort(*images, (size_t)cells->n, sizeof **images, by_name);
    return CF_OK;
}

static int64_t end_of_name(const given_image *images, int64_t first, int64_t n)
{
    int64_t end = first + 1;
    while (end < n && strcmp(images[first].name, images[end].name) == 0) end++;
    return end;
}

cf_err cf_predict_count_given(const cf_cells *cells, int64_t *n_labels)
{
    given_image *images = NULL;
    *n_labels = 0;
    CF_TRY(sort_given(cells, &images));
    for (int64_t i = 0; i < cells->n; i = end_of_name(images, i, cells->n)) ++*n_labels;
    free(images);
    return CF_OK;
}

static cf_err cross(const cf_cells *cells, const cf_predictions *p, cf_predict_summary *m)
{
    given_image *images = NULL;
    CF_TRY(sort_given(cells, &images));
    cf_err err = CF_OK;
    for (int64_t i = 0, end; i < p->n && err == CF_OK; i = end) {
        end = end_of_name(images, i, p->n);
        err = add_given(m, images + i, end - i, p);
    }
    free(images);
    return err;
}

cf_err cf_predict_summarise(const cf_cells *cells, const cf_scheme *s, const cf_predictions *p,
                            cf_predict_summary *m)
{
    counts c = {0};
    cf_err err = CF_OK;
    *m = (cf_predict_summary){
        .scheme = s, .site_names = &cells->site_names, .n_sites = (int)cells->site_names.n};
    CF_TRY_GOTO(counts_init(&c, s->n_classes), out);
    CF_TRY_GOTO(cf_new(&m->sites, cells->site_names.n, sizeof *m->sites), out);
    for (int64_t i = 0; i < p->n; i++)
        if (p->labels[i] != CF_LABEL_UNKNOWN) c.mapped[p->labels[i]] = true;
    for (int k = 0; k < s->n_classes; k++) m->n_mapped += c.mapped[k];
    tally(cells, s, p, -1, &c, &m->all);
    for (int site = 0; m->n_sites > 1 && site < m->n_sites; site++)
        tally(cells, s, p, site, &c, &m->sites[site]);
    CF_TRY_GOTO(cross(cells, p, m), out);
out:
    counts_fini(&c);
    return err;
}

void cf_predict_summary_fini(cf_predict_summary *m)
{
    for (int i = 0; i < m->n_given; i++) {
        free(m->given[i].name);
        free(m->given[i].predicted);
    }
    free(m->given);
    free(m->sites);
    *m = (cf_predict_summary){0};
}

/* ---- text -------------------------------------------------------------------------------------
 */

static void put_share(cf_markdown *t, double value, bool known)
{
    char text[32];
    snprintf(text, sizeof text, "%.3f", value);
    cf_markdown_put(t, !known ? "–" : text[0] == '0' ? text + 1 : text);
}

static cf_err given_table(const cf_predict_summary *m, cf_buf *out)
{
    char columns[CF_MAX_CLASSES + 4];
    const cf_scheme *s = m->scheme;
    cf_markdown t;
    memset(columns, 'r', sizeof columns);
    columns[0] = columns[1] = 'l';
    columns[s->n_classes + 3] = '\0';
    cf_markdown_begin(&t, columns);
    cf_markdown_put(&t, "label given");
    cf_markdown_put(&t, "class");
    cf_markdown_put(&t, "images");
    for (int k = 0; k < s->n_classes; k++) cf_markdown_put(&t, s->classes[k].code);
    for (int i = 0; i < m->n_given; i++) {
        const cf_predict_given_row *row = &m->given[i];
        cf_markdown_put(&t, *row->name ? row->name : "(none)");
        cf_markdown_put(&t, row->label == CF_LABEL_UNKNOWN ? "–" : s->classes[row->label].code);
        cf_markdown_putf(&t, "%lld", (long long)row->n);
        for (int k = 0; k < s->n_classes; k++)
            cf_markdown_putf(&t, "%lld", (long long)row->predicted[k]);
    }
    return cf_markdown_print(&t, out);
}

static cf_err site_table(const cf_predict_summary *m, cf_buf *out)
{
    static const char *const headers[] = {"site",     "images",   "labelled",
                                          "accuracy", "balanced", "no confident class"};
    cf_markdown t;
    cf_markdown_begin(&t, "lrrrrr");
    for (int i = 0; i < 6; i++) cf_markdown_put(&t, headers[i]);
    for (int i = 0; i < m->n_sites; i++) {
        const cf_predict_tally *site = &m->sites[i];
        const char *name = m->site_names->items[i];
        cf_markdown_put(&t, *name ? name : "(not named)");
        cf_markdown_putf(&t, "%lld", (long long)site->n);
        cf_markdown_putf(&t, "%lld", (long long)site->labelled);
        put_share(&t, site->accuracy, site->labelled > 0);
        put_share(&t, site->balanced_accuracy, site->labelled > 0);
        put_share(&t, share((double)site->no_confident, site->n), m->scheme->n_no_confident > 0);
    }
    return cf_markdown_print(&t, out);
}

static void print_no_confident(const cf_predict_summary *m, cf_buf *out)
{
    const cf_scheme *s = m->scheme;
    if (s->n_no_confident == 0) return;
    cf_buf_printf(out, "no confident class: %lld of %lld, %.1f %% (",
                  (long long)m->all.no_confident, (long long)m->all.n,
                  100 * share((double)m->all.no_confident, m->all.n));
    for (int k = 0, n = 0; k < s->n_classes; k++)
        if (s->no_confident[k]) cf_buf_printf(out, "%s%s", n++ ? ", " : "", s->classes[k].code);
    cf_buf_printf(out, ")\n");
}

cf_err cf_predict_summary_text(const cf_predict_summary *m, cf_buf *out)
{
    const cf_predict_tally *all = &m->all;
    print_no_confident(m, out);
    if (all->labelled > 0) {
        cf_buf_printf(out, "images with a class: %lld of %lld, of %d classes\n",
                      (long long)all->labelled, (long long)all->n, m->n_mapped);
        cf_buf_printf(out, "accuracy %.3f, balanced %.3f\n", all->accuracy, all->balanced_accuracy);
        if (m->n_mapped < m->scheme->n_classes)
            cf_buf_printf(out, "between these classes alone %.3f, balanced %.3f\n",
                          all->mapped_accuracy, all->mapped_balanced_accuracy);
    }
    cf_buf_printf(out, "\n");
    if (m->n_given <= MAX_ROWS && m->scheme->n_classes <= MAX_ROWS)
        CF_TRY(given_table(m, out));
    else
        cf_buf_printf(out, "%d labels given: --json says what became of each\n", m->n_given);
    if (m->n_sites > 1) {
        cf_buf_printf(out, "\n");
        CF_TRY(site_table(m, out));
    }
    return cf_buf_check(out);
}

/* ---- JSON -------------------------------------------------------------------------------------
 */

static void tally_json(const cf_predict_summary *m, const cf_predict_tally *t, cf_json *j)
{
    cf_json_integer(j, "images", t->n);
    cf_json_integer(j, "labelled", t->labelled);
    cf_json_object(j, "no_confident");
    cf_json_integer(j, "images", t->no_confident);
    cf_json_number(j, "share", share((double)t->no_confident, t->n));
    cf_json_array(j, "classes");
    for (int k = 0; k < m->scheme->n_classes; k++)
        if (m->scheme->no_confident[k]) cf_json_string(j, NULL, m->scheme->classes[k].code);
    cf_json_end_array(j);
    cf_json_end_object(j);
    if (t->labelled == 0) return;
    cf_json_number(j, "accuracy", t->accuracy);
    cf_json_number(j, "balanced_accuracy", t->balanced_accuracy);
    cf_json_object(j, "mapped");
    cf_json_integer(j, "classes", m->n_mapped);
    cf_json_number(j, "accuracy", t->mapped_accuracy);
    cf_json_number(j, "balanced_accuracy", t->mapped_balanced_accuracy);
    cf_json_end_object(j);
}

static void given_json(const cf_predict_summary *m, const cf_predict_given_row *row, cf_json *j)
{
    const cf_scheme *s = m->scheme;
    cf_json_object(j, NULL);
    cf_json_string(j, "label", row->name);
    cf_json_string(j, "class", row->label == CF_LABEL_UNKNOWN ? "" : s->classes[row->label].code);
    cf_json_integer(j, "images", row->n);
    cf_json_object(j, "predicted");
    for (int k = 0; k < s->n_classes; k++)
        cf_json_integer(j, s->classes[k].code, row->predicted[k]);
    cf_json_end_object(j);
    cf_json_end_object(j);
}

void cf_predict_summary_json(const cf_predict_summary *m, cf_json *j)
{
    tally_json(m, &m->all, j);
    cf_json_array(j, "given");
    for (int i = 0; i < m->n_given; i++) given_json(m, &m->given[i], j);
    cf_json_end_array(j);
    cf_json_array(j, "sites");
    for (int i = 0; m->n_sites > 1 && i < m->n_sites; i++) {
        cf_json_object(j, NULL);
        cf_json_string(j, "site", m->site_names->items[i]);
        tally_json(m, &m->sites[i], j);
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
}
