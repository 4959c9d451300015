#include "coordinator/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/compare_folds.h"
#include "coordinator/metrics_fold.h"
#include "coordinator/parallel.h"
#include "coordinator/tally.h"
#include "kernels/base/mem.h"
#include "proto/text.h"

enum { ACCURACY, BALANCED_ACCURACY, MACRO_F1, NLL, N_SUMMARIES }; /* then a class's F1 each */

/* ---- which rows -------------------------------------------------------------------------------
 */

typedef struct named_row {
    const char *id;
    int64_t row;
} named_row;

/* Rows of both sides for the images that both have. */
typedef struct pairs {
    int64_t *a, *b;  /* owned, [n], in the order of A */
    char **patients; /* owned array of borrowed names, [n]; NULL: not known */
    int64_t n;
} pairs;

static int by_id(const void *x, const void *y)
{
    return strcmp(((const named_row *)x)->id, ((const named_row *)y)->id);
}

/* Rows of p by id; owned by the caller. */
static cf_err sort_ids(const cf_predictions *p, const char *side, named_row **out)
{
    char quoted[CF_QUOTE_MAX];
    named_row *rows = NULL;
    *out = NULL;
    CF_TRY(cf_new(&rows, (size_t)p->n, sizeof *rows));
    for (int64_t i = 0; i < p->n; i++) rows[i] = (named_row){p->ids[i] ? p->ids[i] : "", i};
    qsort(rows, (size_t)p->n, sizeof *rows, by_id);
    for (int64_t i = 1; i < p->n; i++)
        if (by_id(&rows[i - 1], &rows[i]) == 0) {
            cf_err err = cf_fail(CF_E_DATA, "%s: image %s stands twice; expected one prediction",
                                 side, cf_text_quote(rows[i].id, quoted));
            free(rows);
            return err;
        }
    *out = rows;
    return CF_OK;
}

static cf_err check_labels(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                           const pairs *both)
{
    char quoted[CF_QUOTE_MAX];
    for (int64_t i = 0; i < both->n; i++) {
        int in_a = a->labels[both->a[i]], in_b = b->labels[both->b[i]];
        if (in_a != in_b)
            return cf_fail(CF_E_DATA, "image %s is labelled %s in A and %s in B",
                           cf_text_quote(a->ids[both->a[i]], quoted), s->classes[in_a].code,
                           s->classes[in_b].code);
    }
    return CF_OK;
}

static cf_err borrow_patients(const cf_predictions *a, const cf_predictions *b, pairs *both)
{
    if (!a->patients && !b->patients) return CF_OK;
    CF_TRY(cf_new(&both->patients, (size_t)both->n, sizeof *both->patients));
    for (int64_t i = 0; i < both->n; i++) {
        const char *in_a = a->patients ? a->patients[both->a[i]] : NULL;
        bool named = in_a && in_a[0];
        if (named || b->patients)
            both->patients[i] = named ? a->patients[both->a[i]] : b->patients[both->b[i]];
    }
    return CF_OK;
}

static void pairs_fini(pairs *both)
{
    free(both->a);
    free(both->b);
    free(both->patients);
}

static cf_err find_pairs(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                         pairs *both)
{
    named_row *ids_a = NULL, *ids_b = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(sort_ids(a, "A", &ids_a), out);
    CF_TRY_GOTO(sort_ids(b, "B", &ids_b), out);
    CF_TRY_GOTO(cf_new(&both->a, (size_t)a->n, sizeof *both->a), out);
    CF_TRY_GOTO(cf_new(&both->b, (size_t)a->n, sizeof *both->b), out);
    for (int64_t i = 0; i < a->n; i++) {
        named_row wanted = {a->ids[i] ? a->ids[i] : "", i};
        const named_row *found = bsearch(&wanted, ids_b, (size_t)b->n, sizeof *ids_b, by_id);
        if (!found) continue;
        both->a[both->n] = i;
        both->b[both->n++] = found->row;
    }
    if (both->n == 0)
        CF_TRY_GOTO(cf_fail(CF_E_DATA, "A and B have no image in common (%lld and %lld images)",
                            (long long)a->n, (long long)b->n),
                    out);
    CF_TRY_GOTO(check_labels(s, a, b, both), out);
    CF_TRY_GOTO(borrow_patients(a, b, both), out);
out:
    free(ids_b);
    free(ids_a);
    return err;
}

/* ---- figures ----------------------------------------------------------------------------------
 */

/* One thread's memory. */
typedef struct scratch {
    uint8_t *units, *weights; /* owned */
    cf_tally_sums sums_a, sums_b;
    cf_fold_metrics a, b;
} scratch;

typedef struct compare {
    const cf_scheme *s;
    cf_resampler resampler;
    cf_tally a, b;
    scratch *scratches; /* owned, [n_threads] */
    int n_threads, n_resamples, n_figures;
    double *values; /* owned, [n_figures][n_resamples]: differences */
} compare;

static double figure(const cf_fold_metrics *f, int i)
{
    switch (i) {
    case ACCURACY:
        return f->accuracy;
    case BALANCED_ACCURACY:
        return f->balanced_accuracy;
    case MACRO_F1:
        return f->macro_f1;
    case NLL:
        return f->nll;
    default:
        return f->classes[i - N_SUMMARIES].f1_strict;
    }
}

static cf_difference *difference_at(cf_comparison *c, int i)
{
    switch (i) {
    case ACCURACY:
        return &c->accuracy;
    case BALANCED_ACCURACY:
        return &c->balanced_accuracy;
    case MACRO_F1:
        return &c->macro_f1;
    case NLL:
        return &c->nll;
    default:
        return &c->class_f1[i - N_SUMMARIES];
    }
}

static void run_block(void *argument, int block, int thread)
{
    const compare *w = argument;
    scratch *t = &w->scratches[thread];
    int first = block * CF_LANES;
    cf_resample(&w->resampler, (uint32_t)first, t->units, t->weights);
    cf_tally_count(&w->a, t->weights, &t->sums_a);
    cf_tally_count(&w->b, t->weights, &t->sums_b);
    for (int lane = 0; lane < CF_LANES && first + lane < w->n_resamples; lane++) {
        cf_tally_lane(w->s, &t->sums_a, lane, &t->a);
        cf_tally_lane(w->s, &t->sums_b, lane, &t->b);
        for (int i = 0; i < w->n_figures; i++)
            w->values[(int64_t)i * w->n_resamples + first + lane] =
                figure(&t->a, i) - figure(&t->b, i);
    }
}

static double two_sided(const double *values, int n)
{
    int below = 1, above = 1;
    for (int i = 0; i < n; i++) {
        below += values[i] <= 0;
        above += values[i] >= 0;
    }
    return fmin(1, 2.0 * (below < above ? below : above) / (n + 1));
}

static void put_difference(const compare *w, int i, cf_difference *d)
{
    double *values = w->values + (int64_t)i * w->n_resamples;
    d->a = figure(&w->scratches[0].a, i);
    d->b = figure(&w->scratches[0].b, i);
    d->difference = d->a - d->b;
    d->low = d->high = d->p = (double)NAN;
    if (w->n_resamples < 1 || w->resampler.n_units < 2) return; /* one patient says nothing */
    d->p = two_sided(values, w->n_resamples);
    cf_resample_interval(values, w->n_resamples, &d->low, &d->high);
}

/* The figures themselves: every row once, by the same code as the resamples. */
static void count_once(const compare *w)
{
    scratch *t = &w->scratches[0];
    for (int64_t i = 0; i < w->a.n * CF_LANES; i++) t->weights[i] = 1;
    cf_tally_count(&w->a, t->weights, &t->sums_a);
    cf_tally_count(&w->b, t->weights, &t->sums_b);
    cf_tally_lane(w->s, &t->sums_a, 0, &t->a);
    cf_tally_lane(w->s, &t->sums_b, 0, &t->b);
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static void compare_fini(compare *w)
{
    for (int i = 0; w->scratches && i < w->n_threads; i++) {
        free(w->scratches[i].units);
        free(w->scratches[i].weights);
        cf_tally_sums_fini(&w->scratches[i].sums_a);
        cf_tally_sums_fini(&w->scratches[i].sums_b);
        cf_fold_fini(&w->scratches[i].a);
        cf_fold_fini(&w->scratches[i].b);
    }
    free(w->scratches);
    free(w->values);
    cf_tally_fini(&w->a);
    cf_tally_fini(&w->b);
    cf_resampler_fini(&w->resampler);
}

static cf_err scratch_init(const compare *w, scratch *t)
{
    size_t lanes = CF_LANES;
    CF_TRY(cf_new_aligned(&t->weights, (size_t)w->a.n * lanes, sizeof *t->weights));
    CF_TRY(cf_new_aligned(&t->units, (size_t)w->resampler.n_units * lanes, sizeof *t->units));
    CF_TRY(cf_tally_sums_init(&t->sums_a, w->s->n_classes));
    CF_TRY(cf_tally_sums_init(&t->sums_b, w->s->n_classes));
    CF_TRY(cf_fold_alloc(w->s, &t->a));
    return cf_fold_alloc(w->s, &t->b);
}

static cf_err compare_init(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                           const pairs *both, const cf_bootstrap_options *o, compare *w)
{
    int n_blocks = (o->n_resamples + CF_LANES - 1) / CF_LANES;
    w->s = s;
    w->n_resamples = o->n_resamples;
    w->n_figures = N_SUMMARIES + s->n_classes;
    CF_TRY(cf_resampler_init(&w->resampler, both->patients, both->n, o->seed));
    CF_TRY(cf_tally_init(&w->a, a, both->a, both->n));
    CF_TRY(cf_tally_init(&w->b, b, both->b, both->n));
    int n_threads = cf_parallel_threads(n_blocks, o->n_threads);
    CF_TRY(cf_new(&w->scratches, (size_t)n_threads, sizeof *w->scratches));
    w->n_threads = n_threads;
    for (int i = 0; i < n_threads; i++) CF_TRY(scratch_init(w, &w->scratches[i]));
    return cf_new(&w->values, (size_t)w->n_figures * (size_t)o->n_resamples, sizeof *w->values);
}

/* ---- comparing --------------------------------------------------------------------------------
 */

static cf_mcnemar mcnemar_of(const cf_predictions *a, const cf_predictions *b, const pairs *both)
{
    int64_t only_a = 0, only_b = 0;
    for (int64_t i = 0; i < both->n; i++) {
        int label = a->labels[both->a[i]];
        bool right_a = a->predicted[both->a[i]] == label;
        bool right_b = b->predicted[both->b[i]] == label;
        only_a += right_a && !right_b;
        only_b += right_b && !right_a;
    }
    return cf_mcnemar_test(only_a, only_b);
}

static cf_err check_side(const cf_scheme *s, const cf_predictions *p, const char *side)
{
    if (p->n_classes != s->n_classes)
        return cf_fail(CF_E_DATA, "%s has %d classes, scheme %s has %d", side, p->n_classes,
                       s->name, s->n_classes);
    for (int64_t i = 0; i < p->n; i++)
        if (p->labels[i] < 0)
            return cf_fail(CF_E_DATA, "%s: image %s has no label to compare against", side,
                           p->ids[i] ? p->ids[i] : "");
    return CF_OK;
}

cf_err cf_compare(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                  const cf_bootstrap_options *options, cf_comparison *c)
{
    pairs both = {0};
    compare w = {0};
    cf_err err = CF_OK;
    *c = (cf_comparison){.n_classes = s->n_classes};
    CF_TRY(check_side(s, a, "A"));
    CF_TRY(check_side(s, b, "B"));
    CF_TRY_GOTO(find_pairs(s, a, b, &both), out);
    CF_TRY_GOTO(compare_init(s, a, b, &both, options, &w), out);
    CF_TRY_GOTO(cf_new(&c->class_f1, (size_t)s->n_classes, sizeof *c->class_f1), out);
    c->n = both.n;
    c->only_a = a->n - both.n;
    c->only_b = b->n - both.n;
    c->mcnemar = mcnemar_of(a, b, &both);
    cf_parallel_for((w.n_resamples + CF_LANES - 1) / CF_LANES, w.n_threads, run_block, &w);
    count_once(&w);
    for (int i = 0; i < w.n_figures; i++) put_difference(&w, i, difference_at(c, i));
    c->resampling =
        (cf_resampling){w.n_resamples, options->seed, cf_resampler_by_patient(&w.resampler),
                        w.resampler.n_units, CF_PATIENTS_IN_FILE};
    CF_TRY_GOTO(cf_compare_folds(s, a, b, both.a, both.b, both.n, c), out);
out:
    compare_fini(&w);
    pairs_fini(&both);
    if (err != CF_OK) cf_comparison_fini(c);
    return err;
}

void cf_comparison_fini(cf_comparison *c)
{
    free(c->class_f1);
    *c = (cf_comparison){0};
}
