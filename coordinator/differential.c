#include "coordinator/differential.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

/* The 97.5 % point of the normal distribution. */
#define Z 1.9599639845400545

void cf_wilson(int64_t count, int64_t n, double *low, double *high)
{
    double share = (double)count / (double)n, z2 = Z * Z / (double)n;
    double middle = (share + z2 / 2) / (1 + z2);
    double half = Z / (1 + z2) * sqrt(share * (1 - share) / (double)n + z2 / (4 * (double)n));
    *low = count == 0 ? 0 : fmax(0, middle - half);
    *high = count == n ? 1 : fmin(1, middle + half);
}

static void settle(cf_share *s, int64_t n)
{
    s->share = (double)s->count / (double)n;
    s->by_p /= (double)n;
    cf_wilson(s->count, n, &s->low, &s->high);
}

static cf_err add_group(cf_differential *d, const char *name, bool unlike_known)
{
    cf_differential_group *g = &d->groups[d->n_groups++];
    const cf_scheme *s = d->scheme;
    *g = (cf_differential_group){.name = name, .n_unlike = unlike_known ? 0 : -1};
    CF_TRY(cf_new(&g->classes, (size_t)s->n_classes, sizeof *g->classes));
    return cf_new(&g->questions, (size_t)s->n_questions, sizeof *g->questions);
}

static void add_row(const cf_differential *d, int64_t row, bool unlike, cf_differential_group *g)
{
    const cf_scheme *s = d->scheme;
    const double *p = d->p->p + row * s->n_classes;
    int predicted = d->p->predicted[row];
    g->n++;
    if (g->n_unlike >= 0) g->n_unlike += unlike;
    g->classes[predicted].count++;
    g->no_confident.count += s->no_confident[predicted];
    for (int q = 0; q < s->n_questions; q++)
        g->questions[q].count += s->questions[q].positive[predicted];
    for (int k = 0; k < s->n_classes; k++) {
        g->classes[k].by_p += p[k];
        if (s->no_confident[k]) g->no_confident.by_p += p[k];
        for (int q = 0; q < s->n_questions; q++)
            if (s->questions[q].positive[k]) g->questions[q].by_p += p[k];
    }
}

/* ---- what to look at first --------------------------------------------------------------------
 */

typedef struct scored {
    double score;
    int64_t row;
    int32_t group;
} scored;

/* A group's rows together, the highest score first, the earlier row on a tie. */
static int by_group_and_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

double cf_differential_score(const cf_differential *d, int64_t row)
{
    const cf_question *q = &d->scheme->questions[d->question];
    double sum = 0;
    for (int k = 0; k < d->p->n_classes; k++)
        if (q->positive[k]) sum += d->p->p[row * d->p->n_classes + k];
    return sum;
}

/* of: [n], each row's group. */
static cf_err choose_first(cf_differential *d, const int32_t *of, int n_first)
{
    scored *rows = NULL;
    cf_err err = CF_OK;
    if (d->question < 0 || n_first == 0) return CF_OK;
    CF_TRY(cf_new(&rows, (size_t)d->p->n, sizeof *rows));
    for (int64_t i = 0; i < d->p->n; i++) rows[i] = (scored){cf_differential_score(d, i), i, of[i]};
    qsort(rows, (size_t)d->p->n, sizeof *rows, by_group_and_score);
    for (int64_t i = 0; i < d->p->n; i += d->groups[rows[i].group].n) {
        cf_differential_group *g = &d->groups[rows[i].group];
        g->n_first = (int)(g->n < n_first ? g->n : n_first);
        CF_TRY_GOTO(cf_new(&g->first, (size_t)g->n_first, sizeof *g->first), out);
        for (int k = 0; k < g->n_first; k++) g->first[k] = rows[i + k].row;
    }
out:
    free(rows);
    return err;
}

static int find_question(const cf_scheme *s)
{
    for (int q = 0; q < s->n_questions; q++)
        if (strcmp(s->questions[q].name, "blast") == 0) return q;
    return s->n_questions > 0 ? 0 : -1;
}

/* ---- the count --------------------------------------------------------------------------------
 */

/* of: each row's group among those that have cells. */
static cf_err make_groups(cf_differential *d, const int32_t *group, const cf_strings *names,
                          bool unlike_known, int32_t *of)
{
    int64_t *cells = NULL;
    int32_t *place = NULL;
    size_t n_names = names->n;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&cells, n_names + 1, sizeof *cells), out);
    CF_TRY_GOTO(cf_new(&place, n_names + 1, sizeof *place), out);
    CF_TRY_GOTO(cf_new(&d->groups, n_names + 1, sizeof *d->groups), out);
    for (int64_t i = 0; i < d->p->n; i++) cells[group[i] < 0 ? (int64_t)n_names : group[i]]++;
    for (size_t k = 0; k <= n_names; k++) {
        if (cells[k] == 0) continue;
        place[k] = (int32_t)d->n_groups;
        CF_TRY_GOTO(add_group(d, k < n_names ? names->items[k] : "", unlike_known), out);
    }
    for (int64_t i = 0; i < d->p->n; i++) of[i] = place[group[i] < 0 ? (int64_t)n_names : group[i]];
out:
    free(place);
    free(cells);
    return err;
}

cf_err cf_differential_count(const cf_scheme *s, const cf_predictions *p, const int32_t *group,
                             const cf_strings *names, const uint8_t *unlike, int n_first,
                             cf_differential *d)
{
    int32_t *of = NULL;
    cf_err err = CF_OK;
    *d = (cf_differential){.scheme = s, .p = p, .question = find_question(s)};
    CF_TRY(cf_new(&of, (size_t)p->n, sizeof *of));
    CF_TRY_GOTO(make_groups(d, group, names, unlike != NULL, of), out);
    for (int64_t i = 0; i < p->n; i++)
        add_row(d, i, unlike != NULL && unlike[i], &d->groups[of[i]]);
    for (int64_t k = 0; k < d->n_groups; k++) {
        cf_differential_group *g = &d->groups[k];
        for (int c = 0; c < s->n_classes; c++) settle(&g->classes[c], g->n);
        for (int q = 0; q < s->n_questions; q++) settle(&g->questions[q], g->n);
        settle(&g->no_confident, g->n);
    }
    err = choose_first(d, of, n_first);
out:
    free(of);
    return err;
}

void cf_differential_fini(cf_differential *d)
{
    for (int64_t k = 0; k < d->n_groups; k++) {
        free(d->groups[k].classes);
        free(d->groups[k].questions);
        free(d->groups[k].first);
    }
    free(d->groups);
    memset(d, 0, sizeof *d);
}
