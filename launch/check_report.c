#include "launch/check_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/markdown.h"
#include "kernels/base/mem.h"
#include "launch/class_table.h"
#include "worker/data/check_files.h"

int64_t cf_check_findings(const cf_check_result *r)
{
    return r->n_damaged + r->n_odd + r->n_duplicates;
}

/* A name from the file, on one line and without orders to the terminal: control characters, also
 * those from U+0080 to U+009F (C1, ECMA-48), become blanks. */
static void put_name(cf_buf *out, const char *name)
{
    for (const char *c = name; *c;) {
        const unsigned char *b = (const unsigned char *)c;
        size_t length = cf_utf8_length(c);
        bool c1 = length == 2 && b[0] == 0xc2 && b[1] < 0xa0;
        if (b[0] < 0x20 || b[0] == 0x7f || c1)
            cf_buf_add(out, " ", 1);
        else
            cf_buf_add(out, length > 0 ? c : "?", length > 0 ? length : 1);
        c += length > 0 ? length : 1;
    }
}

static void put_names(cf_buf *out, const char *what, const char *a, const char *b)
{
    cf_buf_printf(out, "; %s ", what);
    put_name(out, a);
    cf_buf_printf(out, " and ");
    put_name(out, b);
}

static void put_count(cf_buf *out, int64_t n, const char *one, const char *many)
{
    cf_buf_printf(out, "%" PRId64 " %s", n, n == 1 ? one : many);
}

/* ---- text: findings ---- */

static void put_pair(const cf_check_report *r, const cf_duplicate *d, cf_buf *out)
{
    const cf_cells *cells = r->options->cells;
    char words[96], folds[2][16];
    cf_buf_printf(out, "    ");
    put_name(out, cells->ids[d->a]);
    cf_buf_printf(out, "  ");
    put_name(out, cells->ids[d->b]);
    cf_buf_printf(out, "  ");
    if (d->exact)
        cf_buf_printf(out, "equal");
    else
        cf_buf_printf(out, "%.2f, %s", (double)d->similarity,
                      cf_align_words(&d->map, cells->height, cells->width, words));
    if (d->conflicts & CF_CONFLICT_FOLD)
        put_names(out, "folds", cf_check_fold(r->options, d->a, folds[0]),
                  cf_check_fold(r->options, d->b, folds[1]));
    if (d->conflicts & CF_CONFLICT_LABEL)
        put_names(out, "labels", cf_check_label(cells, d->a), cf_check_label(cells, d->b));
    if (d->conflicts & CF_CONFLICT_PATIENT)
        put_names(out, "patients", cells->patient_names.items[cells->patients[d->a]],
                  cells->patient_names.items[cells->patients[d->b]]);
    cf_buf_printf(out, "\n");
}

/* Pairs that have all of `with` and none of `without`. */
static void put_pairs(const cf_check_report *r, unsigned with, unsigned without, cf_buf *out)
{
    int64_t shown = 0;
    for (int64_t k = 0; k < r->result->n_duplicates && shown < r->show; k++) {
        const cf_duplicate *d = &r->result->duplicates[k];
        if ((d->conflicts & with) != with || (d->conflicts & without) != 0) continue;
        put_pair(r, d, out);
        shown++;
    }
}

static void put_damaged(const cf_check_report *r, cf_buf *out)
{
    int64_t shown = 0;
    if (r->result->n_damaged == 0) return;
    cf_buf_printf(out, "DAMAGED: the pixels of ");
    put_count(out, r->result->n_damaged, "image", "images");
    cf_buf_printf(out, " are not those that were packed. Pack again from the originals.\n");
    for (int64_t i = 0; i < r->options->cells->n && shown < r->show; i++) {
        if (!r->result->damaged[i]) continue;
        cf_buf_printf(out, "    ");
        put_name(out, r->options->cells->ids[i]);
        cf_buf_printf(out, "\n");
        shown++;
    }
}

static void put_duplicates(const cf_check_report *r, cf_buf *out)
{
    const cf_check_result *c = r->result;
    enum { SITES, PATIENTS, LABELS, FOLDS };
    const unsigned labels = CF_CONFLICT_LABEL, folds = CF_CONFLICT_FOLD;
    if (c->n_of_conflict[FOLDS] > 0) {
        cf_buf_printf(out, "LEAKS: ");
        put_count(out, c->n_of_conflict[FOLDS], "pair", "pairs");
        cf_buf_printf(out, " of the same picture in different folds: a test set has seen its "
                           "answers.\n  Pack again without one of each pair, or give both one "
                           "patient and split with --group patient.\n");
        put_pairs(r, folds, 0, out);
    }
    if (c->n_of_conflict[LABELS] > 0) {
        cf_buf_printf(out, "LABELS: ");
        put_count(out, c->n_of_conflict[LABELS], "pair", "pairs");
        cf_buf_printf(out, " of the same picture with two labels. Somebody who knows the cells "
                           "should decide.\n");
        put_pairs(r, labels, 0, out);
    }
    if (c->n_of_conflict[PATIENTS] > 0) {
        cf_buf_printf(out, "PATIENTS: ");
        put_count(out, c->n_of_conflict[PATIENTS], "pair", "pairs");
        cf_buf_printf(out, " of the same picture under two patients: a split by patient parts "
                           "them.\n");
        put_pairs(r, CF_CONFLICT_PATIENT, folds | labels, out);
    }
    if (c->n_duplicates == 0) {
        cf_buf_printf(out, "duplicates     none, exact or near\n");
        return;
    }
    cf_buf_printf(out, "DUPLICATES: %" PRId64 " exact and %" PRId64 " near, in ", c->n_exact,
                  c->n_near);
    put_count(out, c->n_involved, "image", "images");
    cf_buf_printf(out, "; %" PRId64 " could go.\n", c->n_surplus);
    put_pairs(r, 0, folds | labels | CF_CONFLICT_PATIENT, out);
}

static void put_odd(const cf_check_report *r, cf_buf *out)
{
    const cf_check_result *c = r->result;
    int64_t shown = 0;
    if (c->n_odd == 0) {
        cf_buf_printf(out, "odd images     none\n");
        return;
    }
    cf_buf_printf(out, "ODD: ");
    put_count(out, c->n_odd, "image looks", "images look");
    cf_buf_printf(out, " unlike a cell's. Look at them.\n ");
    for (unsigned bit = 0; bit < 8; bit++) {
        char words[160];
        int64_t n = 0;
        for (int64_t i = 0; i < r->options->cells->n; i++) n += c->odd[i] >> bit & 1;
        if (n > 0) cf_buf_printf(out, " %s %" PRId64 ";", cf_odd_words(1u << bit, words), n);
    }
    cf_buf_printf(out, "\n");
    for (int64_t i = 0; i < r->options->cells->n && shown < r->show; i++) {
        char words[160];
        if (!c->odd[i]) continue;
        cf_buf_printf(out, "    ");
        put_name(out, r->options->cells->ids[i]);
        cf_buf_printf(out, "  %s\n", cf_odd_words(c->odd[i], words));
        shown++;
    }
}

/* ---- text: counts and sites ---- */

static int64_t class_total(const cf_check_result *c, int k)
{
    int64_t total = 0;
    for (int s = 0; s < c->n_sites; s++) total += c->counts[(int64_t)k * c->n_sites + s].images;
    return total;
}

static cf_err put_classes(const cf_check_report *r, cf_buf *out)
{
    const cf_check_result *c = r->result;
    size_t n = (size_t)c->n_classes * (size_t)c->n_sites;
    int64_t *images;
    CF_TRY(cf_new(&images, n, sizeof *images));
    for (size_t i = 0; i < n; i++) images[i] = c->counts[i].images;
    cf_err err = cf_class_table(r->options->cells, images, out);
    free(images);
    return err;
}

static void put_few(const cf_check_report *r, cf_buf *out)
{
    const cf_check_result *c = r->result;
    const cf_scheme *scheme = &r->options->cells->scheme;
    bool any = false;
    for (int k = 0; k < scheme->n_classes; k++) {
        int64_t total = class_total(c, k);
        if (total >= r->few) continue;
        cf_buf_printf(out, "%s ", any ? "," : "FEW: classes with few images:");
        put_name(out, scheme->classes[k].code);
        cf_buf_printf(out, " %" PRId64, total);
        any = true;
    }
    if (any) cf_buf_printf(out, ". Their scores will vary much between folds.\n");
}

static cf_err put_sites(const cf_check_report *r, cf_buf *out)
{
    const cf_sites *s = &r->result->sites;
    cf_markdown t;
    int64_t n = s->n_pairs < r->show ? s->n_pairs : r->show;
    if (s->n < 2 || n == 0) return CF_OK;
    cf_buf_printf(out, "\nsites, the farthest apart first (delta E 2.3 is just noticeable, effect "
                       "size .8 is large):\n");
    cf_markdown_begin(&t, "llrrrr");
    cf_markdown_put(&t, "site");
    cf_markdown_put(&t, "site");
    cf_markdown_put(&t, "delta E");
    cf_markdown_put(&t, "effect size");
    cf_markdown_put(&t, "Frechet");
    cf_markdown_put(&t, "stain angle");
    for (int64_t k = 0; k < n; k++) {
        const cf_site_pair *p = &s->pairs[k];
        const double values[4] = {p->delta_e, p->effect, p->frechet, p->stain_angle};
        cf_markdown_put(&t, cf_site_title(r->options->cells, p->a));
        cf_markdown_put(&t, cf_site_title(r->options->cells, p->b));
        for (int i = 0; i < 4; i++)
            if (isnan(values[i]))
                cf_markdown_put(&t, "-");
            else
                cf_markdown_putf(&t, i == 1 ? "%.2f" : "%.1f", values[i]);
    }
    return cf_markdown_print(&t, out);
}

cf_err cf_check_report_text(const cf_check_report *r, cf_buf *out)
{
    const cf_cells *cells = r->options->cells;
    cf_buf_printf(out, "%s: %" PRId64 " images of %d x %d px, %d classes, %zu site%s\n\n", r->path,
                  cells->n, cells->width, cells->height, cells->scheme.n_classes,
                  cells->site_names.n, cells->site_names.n == 1 ? "" : "s");
    put_damaged(r, out);
    put_duplicates(r, out);
    put_odd(r, out);
    put_few(r, out);
    if (!r->options->fold_of)
        cf_buf_printf(out, "folds          not given: --folds folds.csv also looks for leaks\n");
    cf_buf_printf(out, "\n");
    CF_TRY(put_classes(r, out));
    CF_TRY(put_sites(r, out));
    if (r->folder) cf_buf_printf(out, "\ntables and contact sheets: %s\n", r->folder);
    cf_buf_printf(out, "%" PRId64 " images in %.1f s\n", cells->n, r->seconds);
    return CF_OK;
}

/* ---- JSON ---- */

static void json_classes(const cf_check_report *r, cf_json *j)
{
    const cf_check_result *c = r->result;
    const cf_scheme *scheme = &r->options->cells->scheme;
    cf_json_object(j, "classes");
    for (int k = 0; k < scheme->n_classes; k++)
        cf_json_integer(j, scheme->classes[k].code, class_total(c, k));
    cf_json_end_object(j);
    cf_json_integer(j, "without_label", class_total(c, scheme->n_classes));
}

static void json_sites(const cf_check_report *r, cf_json *j)
{
    const cf_sites *s = &r->result->sites;
    cf_json_array(j, "sites");
    for (int k = 0; k < s->n; k++) {
        cf_json_object(j, NULL);
        cf_json_string(j, "name", r->options->cells->site_names.items[k]);
        cf_json_integer(j, "images", s->colors[k].n);
        cf_json_array(j, "mean");
        for (int c = 0; c < 3; c++) cf_json_number(j, NULL, s->colors[k].mean[c]);
        cf_json_end_array(j);
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
    cf_json_array(j, "site_pairs");
    for (int64_t k = 0; k < s->n_pairs; k++) {
        const cf_site_pair *p = &s->pairs[k];
        cf_json_object(j, NULL);
        cf_json_string(j, "a", r->options->cells->site_names.items[p->a]);
        cf_json_string(j, "b", r->options->cells->site_names.items[p->b]);
        cf_json_number(j, "delta_e", p->delta_e);
        cf_json_number(j, "effect_size", p->effect);
        cf_json_number(j, "frechet", p->frechet);
        cf_json_number(j, "stain_angle", p->stain_angle);
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
}

void cf_check_report_json(const cf_check_report *r, cf_buf *out)
{
    const cf_check_result *c = r->result;
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "file", r->path);
    cf_json_integer(&j, "images", r->options->cells->n);
    cf_json_integer(&j, "findings", cf_check_findings(c));
    cf_json_integer(&j, "damaged", c->n_damaged);
    cf_json_integer(&j, "odd", c->n_odd);
    cf_json_integer(&j, "exact", c->n_exact);
    cf_json_integer(&j, "near", c->n_near);
    cf_json_integer(&j, "images_in_pairs", c->n_involved);
    cf_json_integer(&j, "surplus", c->n_surplus);
    cf_json_boolean(&j, "folds_given", r->options->fold_of != NULL);
    static const char *const names[] = {"site_conflicts", "patient_conflicts", "label_conflicts",
                                        "leaks"};
    for (int k = 3; k >= 0; k--) cf_json_integer(&j, names[k], c->n_of_conflict[k]);
    cf_json_integer(&j, "candidates", c->n_candidates);
    cf_json_integer(&j, "compared", c->n_compared);
    cf_json_integer(&j, "aligned_by_features", c->n_sift);
    json_classes(r, &j);
    json_sites(r, &j);
    cf_json_number(&j, "seconds", r->seconds);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}
