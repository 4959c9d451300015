/* The tables of a study of raters: Markdown and JSON. */
#include <math.h>
#include <stdio.h>

#include "coordinator/markdown.h"
#include "coordinator/raters.h"

static const char *name_of(const cf_rater_study *study, int who)
{
    if (who == CF_WHO_NETWORK) return "network";
    if (who == CF_WHO_TRUTH) return "labels";
    return study->raters->names.items[who];
}

/* ---- Markdown ---------------------------------------------------------------------------------
 */

static void put_figure(cf_markdown *t, const cf_rated_figure *f)
{
    if (isnan(f->value))
        cf_markdown_put(t, "-");
    else if (isnan(f->low))
        cf_markdown_putf(t, "%.3f", f->value);
    else
        cf_markdown_putf(t, "%.3f (%.3f to %.3f)", f->value, f->low, f->high);
}

static cf_err put_comparisons(const cf_rater_study *study, cf_buf *out)
{
    static const char *const headers[] = {"of", "with", "pairs", "agreement", "Cohen's kappa"};
    cf_markdown t;
    cf_markdown_begin(&t, "llrrr");
    for (int i = 0; i < 5; i++) cf_markdown_put(&t, headers[i]);
    for (int i = 0; i < study->n_pairs; i++) {
        const cf_rater_pair *c = &study->pairs[i];
        cf_markdown_put(&t, name_of(study, c->rows));
        cf_markdown_put(&t, c->rows == c->columns ? "again" : name_of(study, c->columns));
        cf_markdown_putf(&t, "%lld", (long long)c->n);
        put_figure(&t, &c->agreement);
        put_figure(&t, &c->kappa);
    }
    return cf_markdown_print(&t, out);
}

static cf_err put_together(const cf_rater_study *study, cf_buf *out)
{
    cf_markdown t;
    if (study->raters->names.n < 2) return CF_OK;
    cf_buf_printf(out, "\n");
    cf_markdown_begin(&t, "lrr");
    cf_markdown_put(&t, "all raters");
    cf_markdown_put(&t, "images");
    cf_markdown_put(&t, "figure");
    cf_markdown_put(&t, "Krippendorff's alpha");
    cf_markdown_putf(&t, "%lld", (long long)study->n_alpha);
    put_figure(&t, &study->alpha);
    cf_markdown_put(&t, "Fleiss' kappa");
    cf_markdown_putf(&t, "%lld", (long long)study->n_fleiss);
    put_figure(&t, &study->fleiss);
    return cf_markdown_print(&t, out);
}

enum { MAX_COLUMNS = 40 };

/* Only classes that somebody said, so that the table of a few images is a small one. */
static cf_err put_confusion(const cf_rater_study *study, const cf_rater_pair *c, cf_buf *out)
{
    const cf_scheme *s = study->scheme;
    bool seen[CF_MAX_CLASSES] = {false};
    char columns[MAX_COLUMNS + 2] = "l";
    int n = 0, k = s->n_classes;
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) {
            int64_t both = c->counts[(int64_t)i * k + j] + c->counts[(int64_t)j * k + i];
            seen[i] = seen[i] || both > 0;
        }
    for (int i = 0; i < k; i++) n += seen[i];
    cf_buf_printf(out, "\nRows ");
    cf_markdown_escape(name_of(study, c->rows), out);
    if (n > MAX_COLUMNS) {
        cf_buf_printf(out,
                      ", columns network: %d classes are too many for a table here; --json "
                      "prints their counts.\n",
                      n);
        return CF_OK;
    }
    for (int i = 0; i < n; i++) columns[i + 1] = 'r';
    cf_markdown t;
    cf_markdown_begin(&t, columns);
    cf_buf_printf(out, ", columns network:\n\n");
    cf_markdown_put(&t, "");
    for (int j = 0; j < k; j++)
        if (seen[j]) cf_markdown_put(&t, s->classes[j].code);
    for (int i = 0; i < k; i++) {
        if (!seen[i]) continue;
        cf_markdown_put(&t, s->classes[i].code);
        for (int j = 0; j < k; j++)
            if (seen[j]) cf_markdown_putf(&t, "%lld", (long long)c->counts[(int64_t)i * k + j]);
    }
    return cf_markdown_print(&t, out);
}

cf_err cf_rater_study_markdown(const cf_rater_study *study, cf_buf *out)
{
    cf_buf_printf(out, "%lld images labelled by %zu rater%s, %lld labels",
                  (long long)study->n_images, study->raters->names.n,
                  study->raters->names.n == 1 ? "" : "s", (long long)study->raters->n);
    if (study->n_unknown > 0)
        cf_buf_printf(out, "; %lld of the images are not in the predictions",
                      (long long)study->n_unknown);
    if (study->n_resamples > 0)
        cf_buf_printf(out, "; intervals: 95 %%, of %d resamples of the %s", study->n_resamples,
                      study->n_patients > 0 ? "patients" : "images");
    cf_buf_printf(out, ".\n\n");
    CF_TRY(put_comparisons(study, out));
    CF_TRY(put_together(study, out));
    for (int i = 0; i < study->n_pairs; i++)
        if (study->pairs[i].columns == CF_WHO_NETWORK)
            CF_TRY(put_confusion(study, &study->pairs[i], out));
    return cf_buf_check(out);
}

/* ---- JSON -------------------------------------------------------------------------------------
 */

static void figure_json(cf_json *j, const cf_rated_figure *f)
{
    cf_json_number(j, "value", f->value);
    cf_json_number(j, "low", f->low);
    cf_json_number(j, "high", f->high);
}

static void who_json(const cf_rater_study *study, const char *key, int who, cf_json *j)
{
    cf_json_object(j, key);
    cf_json_string(j, who < 0 ? "source" : "rater", name_of(study, who));
    cf_json_end_object(j);
}

static void comparison_json(const cf_rater_study *study, const cf_rater_pair *c, cf_json *j)
{
    int k = study->scheme->n_classes;
    cf_json_object(j, NULL);
    who_json(study, "rows", c->rows, j);
    who_json(study, "columns", c->columns, j);
    cf_json_integer(j, "pairs", c->n);
    cf_json_object(j, "agreement");
    figure_json(j, &c->agreement);
    cf_json_end_object(j);
    cf_json_object(j, "kappa");
    figure_json(j, &c->kappa);
    cf_json_end_object(j);
    cf_json_array(j, "confusion");
    for (int row = 0; row < k; row++) {
        cf_json_array(j, NULL);
        for (int i = 0; i < k; i++) cf_json_integer(j, NULL, c->counts[(int64_t)row * k + i]);
        cf_json_end_array(j);
    }
    cf_json_end_array(j);
    cf_json_end_object(j);
}

static void together_json(cf_json *j, const char *key, int64_t n, const cf_rated_figure *f)
{
    cf_json_object(j, key);
    cf_json_integer(j, "images", n);
    figure_json(j, f);
    cf_json_end_object(j);
}

cf_err cf_rater_study_json(const cf_rater_study *study, cf_buf *out)
{
    const cf_scheme *s = study->scheme;
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "scheme", s->name);
    cf_json_integer(&j, "images", study->n_images);
    cf_json_integer(&j, "images_without_prediction", study->n_unknown);
    cf_json_integer(&j, "patients", study->n_patients);
    cf_json_integer(&j, "resamples", study->n_resamples);
    cf_json_array(&j, "classes");
    for (int i = 0; i < s->n_classes; i++) cf_json_string(&j, NULL, s->classes[i].code);
    cf_json_end_array(&j);
    cf_json_array(&j, "raters");
    for (size_t i = 0; i < study->raters->names.n; i++)
        cf_json_string(&j, NULL, study->raters->names.items[i]);
    cf_json_end_array(&j);
    cf_json_array(&j, "comparisons");
    for (int i = 0; i < study->n_pairs; i++) comparison_json(study, &study->pairs[i], &j);
    cf_json_end_array(&j);
    together_json(&j, "krippendorff_alpha", study->n_alpha, &study->alpha);
    together_json(&j, "fleiss_kappa", study->n_fleiss, &study->fleiss);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
    return cf_buf_check(out);
}
