/* compare.json and its table: keys are documented in compare.h. */
#include <math.h>
#include <stdio.h>

#include "coordinator/compare.h"
#include "coordinator/markdown.h"

static void put_difference_json(const char *key, const cf_difference *d, cf_json *j)
{
    cf_json_object(j, key);
    cf_json_number(j, "a", d->a);
    cf_json_number(j, "b", d->b);
    cf_json_number(j, "difference", d->difference);
    cf_json_number(j, "low", d->low);
    cf_json_number(j, "high", d->high);
    cf_json_number(j, "p", d->p);
    cf_json_end_object(j);
}

static void put_mcnemar_json(const cf_mcnemar *m, cf_json *j)
{
    cf_json_object(j, "mcnemar");
    cf_json_integer(j, "only_a_right", m->only_a);
    cf_json_integer(j, "only_b_right", m->only_b);
    cf_json_boolean(j, "exact", m->exact);
    cf_json_number(j, "statistic", m->statistic);
    cf_json_number(j, "p", m->p);
    cf_json_end_object(j);
}

static void put_fold_test_json(const char *key, const cf_fold_test *t, cf_json *j)
{
    cf_json_object(j, key);
    cf_json_number(j, "mean", t->mean);
    cf_json_number(j, "t", t->t);
    cf_json_number(j, "p", t->p);
    cf_json_number(j, "low", t->low);
    cf_json_number(j, "high", t->high);
    cf_json_end_object(j);
}

static void put_folds_json(const cf_comparison *c, cf_json *j)
{
    if (c->fold_accuracy.n_folds < 2) {
        cf_json_number(j, "folds", (double)NAN);
        return;
    }
    cf_json_object(j, "folds");
    cf_json_integer(j, "n_folds", c->fold_accuracy.n_folds);
    put_fold_test_json("accuracy", &c->fold_accuracy, j);
    put_fold_test_json("balanced_accuracy", &c->fold_balanced_accuracy, j);
    put_fold_test_json("macro_f1", &c->fold_macro_f1, j);
    put_fold_test_json("nll", &c->fold_nll, j);
    cf_json_end_object(j);
}

cf_err cf_comparison_json(const cf_scheme *s, const cf_comparison *c, const char *name_a,
                          const char *name_b, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "a", name_a);
    cf_json_string(&j, "b", name_b);
    cf_json_string(&j, "scheme", s->name);
    cf_json_integer(&j, "images", c->n);
    cf_json_integer(&j, "only_a", c->only_a);
    cf_json_integer(&j, "only_b", c->only_b);
    cf_json_integer(&j, "resamples", c->resampling.n_resamples);
    cf_json_integer(&j, "seed", (int64_t)c->resampling.seed);
    cf_json_string(&j, "unit", c->resampling.by_patient ? "patient" : "image");
    cf_json_integer(&j, "units", c->resampling.n_units);
    cf_json_boolean(&j, "cells_missing", cf_resampling_lacks_cells(&c->resampling));
    put_mcnemar_json(&c->mcnemar, &j);
    put_difference_json("accuracy", &c->accuracy, &j);
    put_difference_json("balanced_accuracy", &c->balanced_accuracy, &j);
    put_difference_json("macro_f1", &c->macro_f1, &j);
    put_difference_json("nll", &c->nll, &j);
    cf_json_object(&j, "per_class_f1");
    for (int k = 0; k < s->n_classes; k++)
        put_difference_json(s->classes[k].code, &c->class_f1[k], &j);
    cf_json_end_object(&j);
    put_folds_json(c, &j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
    return cf_buf_check(out);
}

/* ---- Markdown ---------------------------------------------------------------------------------
 */

static void put_p(double p, cf_markdown *t)
{
    if (isnan(p))
        cf_markdown_put(t, "–");
    else if (p < 0.0001)
        cf_markdown_put(t, "< .0001");
    else
        cf_markdown_putf(t, "%.4f", p);
}

static void put_difference(const char *title, const cf_difference *d, const cf_fold_test *folds,
                           cf_markdown *t)
{
    cf_markdown_put(t, title);
    cf_markdown_putf(t, "%.4f", d->a);
    cf_markdown_putf(t, "%.4f", d->b);
    cf_markdown_putf(t, "%+.4f", d->difference);
    if (isnan(d->low))
        cf_markdown_put(t, "–");
    else
        cf_markdown_putf(t, "%+.4f to %+.4f", d->low, d->high);
    put_p(d->p, t);
    if (folds) put_p(folds->p, t);
}

static cf_err print_figures(const cf_comparison *c, cf_buf *out)
{
    bool folds = c->fold_accuracy.n_folds > 1;
    cf_markdown t;
    cf_markdown_begin(&t, folds ? "lrrrrrr" : "lrrrrr");
    cf_markdown_put(&t, "figure");
    cf_markdown_put(&t, "A");
    cf_markdown_put(&t, "B");
    cf_markdown_put(&t, "A - B");
    cf_markdown_put(&t, "95 %");
    cf_markdown_put(&t, "p");
    if (folds) cf_markdown_put(&t, "p over folds");
    put_difference("accuracy", &c->accuracy, folds ? &c->fold_accuracy : NULL, &t);
    put_difference("balanced accuracy", &c->balanced_accuracy,
                   folds ? &c->fold_balanced_accuracy : NULL, &t);
    put_difference("macro F1", &c->macro_f1, folds ? &c->fold_macro_f1 : NULL, &t);
    put_difference("NLL", &c->nll, folds ? &c->fold_nll : NULL, &t);
    return cf_markdown_print(&t, out);
}

static cf_err print_classes(const cf_scheme *s, const cf_comparison *c, cf_buf *out)
{
    cf_markdown t;
    cf_markdown_begin(&t, "lrrrrr");
    cf_markdown_put(&t, "F1 of class");
    cf_markdown_put(&t, "A");
    cf_markdown_put(&t, "B");
    cf_markdown_put(&t, "A - B");
    cf_markdown_put(&t, "95 %");
    cf_markdown_put(&t, "p");
    for (int k = 0; k < s->n_classes; k++)
        put_difference(s->classes[k].code, &c->class_f1[k], NULL, &t);
    return cf_markdown_print(&t, out);
}

static void print_mcnemar(const cf_mcnemar *m, cf_buf *out)
{
    cf_buf_printf(out, "\nMcNemar: %lld images only A has right, %lld only B; ",
                  (long long)m->only_a, (long long)m->only_b);
    if (m->exact)
        cf_buf_printf(out, "exact, p = %.4g.\n\n", m->p);
    else
        cf_buf_printf(out, "chi-square %.2f, p = %.4g.\n\n", m->statistic, m->p);
}

static void print_heading(const cf_comparison *c, const char *name_a, const char *name_b,
                          cf_buf *out)
{
    const cf_resampling *r = &c->resampling;
    cf_buf_printf(out, "# A against B\n\nA: ");
    cf_markdown_escape(name_a, out);
    cf_buf_printf(out, "\nB: ");
    cf_markdown_escape(name_b, out);
    cf_buf_printf(out, "\n\n%lld images of both", (long long)c->n);
    if (c->only_a > 0 || c->only_b > 0)
        cf_buf_printf(out, " (left out: %lld that only A has, %lld that only B has)",
                      (long long)c->only_a, (long long)c->only_b);
    if (r->n_resamples > 0)
        cf_buf_printf(out, "; paired bootstrap of %d resamples by %s%s", r->n_resamples,
                      r->by_patient ? "patient" : "image", cf_resampling_doubt(r));
    if (c->fold_accuracy.n_folds > 1)
        cf_buf_printf(out, "; p over folds: corrected resampled t-test over %d folds",
                      c->fold_accuracy.n_folds);
    cf_buf_printf(out, ".\n\n");
}

cf_err cf_comparison_markdown(const cf_scheme *s, const cf_comparison *c, const char *name_a,
                              const char *name_b, cf_buf *out)
{
    print_heading(c, name_a, name_b, out);
    CF_TRY(print_figures(c, out));
    print_mcnemar(&c->mcnemar, out);
    return print_classes(s, c, out);
}
