/* The differential count as tables and as JSON. */
#include <math.h>
#include <stdio.h>

#include "coordinator/differential.h"
#include "coordinator/markdown.h"

static void put_share(cf_markdown *t, const char *name, const cf_share *s)
{
    cf_markdown_put(t, name);
    cf_markdown_putf(t, "%lld", (long long)s->count);
    cf_markdown_putf(t, "%.1f", 100 * s->share);
    cf_markdown_putf(t, "%.1f to %.1f", 100 * s->low, 100 * s->high);
    cf_markdown_putf(t, "%.1f", 100 * s->by_p);
}

static const char *class_title(const cf_class *c)
{
    return c->name[0] != '\0' ? c->name : c->code;
}

static cf_err put_group(const cf_differential *d, const cf_differential_group *g, const char *what,
                        cf_buf *out)
{
    static const char *const header[] = {"class", "cells", "%", "95 % interval",
                                         "% by probability"};
    const cf_scheme *s = d->scheme;
    cf_markdown t;
    cf_buf_printf(out, "\n%s ", what);
    cf_markdown_escape(g->name[0] != '\0' ? g->name : "not known", out);
    cf_buf_printf(out, ": %lld cells", (long long)g->n);
    if (g->n_unlike >= 0)
        cf_buf_printf(out, ", %lld unlike the training images", (long long)g->n_unlike);
    cf_buf_printf(out, "\n");
    cf_markdown_begin(&t, "lrrrr");
    for (int i = 0; i < 5; i++) cf_markdown_put(&t, header[i]);
    for (int k = 0; k < s->n_classes; k++)
        put_share(&t, class_title(&s->classes[k]), &g->classes[k]);
    for (int q = 0; q < s->n_questions; q++) {
        char name[sizeof s->questions[q].name + 16];
        snprintf(name, sizeof name, "question %s", s->questions[q].name);
        put_share(&t, name, &g->questions[q]);
    }
    if (s->n_no_confident > 0) put_share(&t, "no confident class", &g->no_confident);
    return cf_markdown_print(&t, out);
}

cf_err cf_differential_text(const cf_differential *d, const char *what, cf_buf *out)
{
    cf_buf_printf(out,
                  "\nDifferential count by %s. Intervals (Wilson) take cells as drawn "
                  "independently; they know nothing of the network's own errors.\n",
                  what);
    for (int64_t k = 0; k < d->n_groups; k++) CF_TRY(put_group(d, &d->groups[k], what, out));
    return cf_buf_check(out);
}

/* ---- CSV --------------------------------------------------------------------------------------
 */

static void put_row(const cf_differential_group *g, const char *kind, const char *name,
                    const cf_share *s, cf_buf *out)
{
    cf_csv_put(out, g->name, CF_CSV_MORE);
    cf_csv_put_integer(out, g->n, CF_CSV_MORE);
    cf_csv_put(out, kind, CF_CSV_MORE);
    cf_csv_put(out, name, CF_CSV_MORE);
    cf_csv_put_integer(out, s->count, CF_CSV_MORE);
    cf_csv_put_number(out, s->share, 6, CF_CSV_MORE);
    cf_csv_put_number(out, s->low, 6, CF_CSV_MORE);
    cf_csv_put_number(out, s->high, 6, CF_CSV_MORE);
    cf_csv_put_number(out, s->by_p, 6, CF_CSV_END_ROW);
}

static cf_share unlike_share(const cf_differential_group *g)
{
    cf_share s = {
        .count = g->n_unlike, .share = (double)g->n_unlike / (double)g->n, .by_p = (double)NAN};
    cf_wilson(g->n_unlike, g->n, &s.low, &s.high);
    return s;
}

void cf_differential_csv(const cf_differential *d, const char *what, cf_buf *out)
{
    const cf_scheme *s = d->scheme;
    cf_buf_printf(out, "%s,cells,kind,name,count,share,low,high,by_p\n", what);
    for (int64_t i = 0; i < d->n_groups; i++) {
        const cf_differential_group *g = &d->groups[i];
        for (int k = 0; k < s->n_classes; k++)
            put_row(g, "class", s->classes[k].code, &g->classes[k], out);
        for (int q = 0; q < s->n_questions; q++)
            put_row(g, "question", s->questions[q].name, &g->questions[q], out);
        if (s->n_no_confident > 0) put_row(g, "no_confident", "", &g->no_confident, out);
        if (g->n_unlike < 0) continue;
        cf_share unlike = unlike_share(g);
        put_row(g, "unlike", "", &unlike, out);
    }
}

/* ---- JSON -------------------------------------------------------------------------------------
 */

static void json_share(cf_json *j, const char *key, const char *name, const cf_share *s)
{
    cf_json_object(j, key);
    if (name != NULL) cf_json_string(j, "name", name);
    cf_json_integer(j, "cells", s->count);
    cf_json_number(j, "share", s->share);
    cf_json_number(j, "low", s->low);
    cf_json_number(j, "high", s->high);
    cf_json_number(j, "by_p", s->by_p);
    cf_json_end_object(j);
}

static void json_group(const cf_differential *d, const cf_differential_group *g, cf_json *j)
{
    const cf_scheme *s = d->scheme;
    cf_json_object(j, NULL);
    cf_json_string(j, "name", g->name);
    cf_json_integer(j, "cells", g->n);
    cf_json_array(j, "classes");
    for (int k = 0; k < s->n_classes; k++) json_share(j, NULL, s->classes[k].code, &g->classes[k]);
    cf_json_end_array(j);
    cf_json_array(j, "questions");
    for (int q = 0; q < s->n_questions; q++)
        json_share(j, NULL, s->questions[q].name, &g->questions[q]);
    cf_json_end_array(j);
    if (s->n_no_confident > 0) json_share(j, "no_confident", NULL, &g->no_confident);
    if (g->n_unlike >= 0) cf_json_integer(j, "unlike", g->n_unlike);
    cf_json_array(j, "first");
    for (int k = 0; k < g->n_first; k++) cf_json_string(j, NULL, d->p->ids[g->first[k]]);
    cf_json_end_array(j);
    cf_json_end_object(j);
}

void cf_differential_json(const cf_differential *d, const char *key, cf_json *j)
{
    cf_json_array(j, key);
    for (int64_t k = 0; k < d->n_groups; k++) json_group(d, &d->groups[k], j);
    cf_json_end_array(j);
}
