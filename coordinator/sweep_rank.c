#include "coordinator/sweep_rank.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

/* The smallest p-value of a bootstrap is 2 / (resamples + 1): with this many a comparison, half of
 * the level is left after Holm's adjustment. */
enum { RESAMPLES_PER_COMPARISON = 80 };

/* By the definition: i is rejected where every comparison of the same p or a smaller one is, and
 * the k-th smallest of n is by p (n - k + 1). Values of NaN stay out. n is small. */
void cf_holm_adjust(const double *p, int n, double *adjusted)
{
    for (int i = 0; i < n; i++) adjusted[i] = isnan(p[i]) ? p[i] : 0;
    for (int j = 0; j < n; j++) {
        int n_smaller = 0;
        for (int k = 0; k < n; k++) n_smaller += p[k] < p[j];
        double bound = fmin(1, p[j] * (n - n_smaller));
        for (int i = 0; i < n; i++)
            if (p[j] <= p[i]) adjusted[i] = fmax(adjusted[i], bound);
    }
}

/* By macro F1, then NLL, then number. */
static bool is_better(const cf_sweep_result *a, const cf_sweep_result *b)
{
    const cf_fold_metrics *x = &a->metrics.pooled, *y = &b->metrics.pooled;
    if (x->macro_f1 != y->macro_f1) return x->macro_f1 > y->macro_f1;
    if (x->nll != y->nll) return x->nll < y->nll;
    return a->point < b->point;
}

static void sort(const cf_sweep_results *r, cf_sweep_ranking *ranking)
{
    for (int point = 0; point < r->sweep.n_points; point++) {
        int at = ranking->n_ranked;
        if (!r->rows[point].finished) continue;
        for (; at > 0 && is_better(&r->rows[point], &r->rows[ranking->order[at - 1]]); at--)
            ranking->order[at] = ranking->order[at - 1];
        ranking->order[at] = point;
        ranking->n_ranked++;
    }
    for (int i = 0; i < ranking->n_ranked; i++) ranking->standings[ranking->order[i]].rank = i + 1;
}

/* NaN, of a test that cannot be made, does not count; where neither can, nothing is told apart. */
static double larger_p(const cf_comparison *c)
{
    double p = fmax(c->macro_f1.p, c->fold_macro_f1.p);
    return isnan(p) ? 1 : p;
}

static cf_err compare(const cf_sweep_results *r, const cf_bootstrap_options *options,
                      cf_sweep_ranking *ranking)
{
    const cf_sweep_result *best = &r->rows[ranking->order[0]];
    int n = ranking->n_ranked - 1;
    double *p = NULL;
    CF_TRY(cf_new(&p, (size_t)(2 * n), sizeof *p));
    double *adjusted = p + n;
    cf_err err = CF_OK;
    for (int i = 0; i < n && err == CF_OK; i++) {
        int point = ranking->order[i + 1];
        cf_sweep_standing *s = &ranking->standings[point];
        err = cf_sweep_go_on(r->patience);
        if (err == CF_OK)
            err = cf_compare(&r->scheme, &r->rows[point].predictions, &best->predictions, options,
                             &s->comparison);
        if (err == CF_OK) s->p = p[i] = larger_p(&s->comparison);
    }
    cf_holm_adjust(p, n, adjusted);
    for (int i = 0; i < n; i++) {
        cf_sweep_standing *s = &ranking->standings[ranking->order[i + 1]];
        s->p_holm = adjusted[i];
        s->within_noise = !(adjusted[i] < CF_SWEEP_LEVEL);
    }
    free(p);
    return err;
}

int cf_sweep_resamples(int n_finished)
{
    int n = RESAMPLES_PER_COMPARISON * (n_finished - 1);
    return n > CF_BOOTSTRAP_RESAMPLES ? n : CF_BOOTSTRAP_RESAMPLES;
}

cf_err cf_sweep_rank(cf_sweep_results *r, cf_sweep_ranking *ranking)
{
    size_t n = (size_t)r->sweep.n_points;
    const cf_bootstrap_options options = {.n_resamples = cf_sweep_resamples(r->n_finished),
                                          .seed = CF_BOOTSTRAP_SEED};
    *ranking = (cf_sweep_ranking){.n_points = r->sweep.n_points};
    CF_TRY(cf_new(&ranking->order, n, sizeof *ranking->order));
    CF_TRY(cf_new(&ranking->standings, n, sizeof *ranking->standings));
    sort(r, ranking);
    const cf_bootstrap_options own = {.n_resamples = CF_BOOTSTRAP_RESAMPLES,
                                      .seed = CF_BOOTSTRAP_SEED};
    for (int i = 0; i < ranking->n_ranked; i++) {
        cf_sweep_result *row = &r->rows[ranking->order[i]];
        CF_TRY(cf_sweep_go_on(r->patience));
        CF_TRY(cf_bootstrap(&r->scheme, &row->predictions, &own, &row->metrics));
        row->metrics.resampling.patients = row->patients;
    }
    cf_sweep_standing *best = &ranking->standings[ranking->order[0]];
    best->p = best->p_holm = (double)NAN;
    best->within_noise = true;
    return compare(r, &options, ranking);
}

void cf_sweep_ranking_fini(cf_sweep_ranking *ranking)
{
    for (int i = 1; i < ranking->n_ranked; i++)
        cf_comparison_fini(&ranking->standings[ranking->order[i]].comparison);
    free(ranking->order);
    free(ranking->standings);
    *ranking = (cf_sweep_ranking){0};
}
