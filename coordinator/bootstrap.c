#include "coordinator/bootstrap.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/bootstrap_areas.h"
#include "coordinator/metrics_fold.h"
#include "coordinator/parallel.h"
#include "coordinator/tally.h"
#include "kernels/base/mem.h"

#define FOLD(member)  offsetof(cf_fold_metrics, member)
#define CLASS(member) offsetof(cf_class_metrics, member)

static const size_t FOLD_FIGURES[] = {
    FOLD(accuracy),
    FOLD(accuracy_tolerant),
    FOLD(balanced_accuracy),
    FOLD(balanced_accuracy_tolerant),
    FOLD(macro_f1),
    FOLD(macro_f1_tolerant),
    FOLD(weighted_f1),
    FOLD(kappa),
    FOLD(mcc),
    FOLD(macro_auc),
    FOLD(nll),
    FOLD(macro_average_precision),
    FOLD(ece),
    FOLD(brier),
};
static const size_t CLASS_FIGURES[] = {
    CLASS(precision_strict), CLASS(recall_strict), CLASS(f1_strict), CLASS(precision_tolerant),
    CLASS(recall_tolerant),  CLASS(f1_tolerant),   CLASS(auc),       CLASS(average_precision),
};
enum {
    N_FOLD_FIGURES = sizeof FOLD_FIGURES / sizeof FOLD_FIGURES[0],
    N_CLASS_FIGURES = sizeof CLASS_FIGURES / sizeof CLASS_FIGURES[0]
};

/* One thread's memory. */
typedef struct scratch {
    uint8_t *units, *weights; /* owned */
    cf_tally_sums sums;
    cf_areas *areas; /* owned, [n_rankings][CF_LANES] */
    cf_fold_metrics f;
} scratch;

typedef struct bootstrap {
    const cf_scheme *s;
    cf_resampler resampler;
    cf_tally tally;
    cf_ranking *rankings; /* owned, [n_rankings]: classes, then questions */
    int n_rankings;
    scratch *scratches; /* owned, [n_threads] */
    int n_threads, n_resamples, n_figures;
    double *values; /* owned, [n_figures][n_resamples] */
} bootstrap;

/* The i-th figure of f: its members, then the classes', then the questions'. */
static double *figure_at(const cf_scheme *s, const cf_fold_metrics *f, int i)
{
    if (i < N_FOLD_FIGURES) return (double *)(void *)((char *)(uintptr_t)f + FOLD_FIGURES[i]);
    i -= N_FOLD_FIGURES;
    if (i < s->n_classes * N_CLASS_FIGURES)
        return (double *)(void *)((char *)&f->classes[i / N_CLASS_FIGURES] +
                                  CLASS_FIGURES[i % N_CLASS_FIGURES]);
    i -= s->n_classes * N_CLASS_FIGURES;
    return i < s->n_questions ? &f->question_auc[i]
                              : &f->question_average_precision[i - s->n_questions];
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static cf_err scratch_init(const bootstrap *b, scratch *t)
{
    size_t lanes = CF_LANES;
    CF_TRY(cf_new_aligned(&t->weights, (size_t)b->tally.n * lanes, sizeof *t->weights));
    if (cf_resampler_by_patient(&b->resampler))
        CF_TRY(cf_new_aligned(&t->units, (size_t)b->resampler.n_units * lanes, sizeof *t->units));
    CF_TRY(cf_tally_sums_init(&t->sums, b->s->n_classes));
    CF_TRY(cf_new(&t->areas, (size_t)b->n_rankings * lanes, sizeof *t->areas));
    return cf_fold_alloc(b->s, &t->f);
}

static void bootstrap_fini(bootstrap *b)
{
    for (int i = 0; b->scratches && i < b->n_threads; i++) {
        free(b->scratches[i].units);
        free(b->scratches[i].weights);
        free(b->scratches[i].areas);
        cf_tally_sums_fini(&b->scratches[i].sums);
        cf_fold_fini(&b->scratches[i].f);
    }
    for (int i = 0; b->rankings && i < b->n_rankings; i++) cf_ranking_fini(&b->rankings[i]);
    free(b->scratches);
    free(b->rankings);
    free(b->values);
    cf_tally_fini(&b->tally);
    cf_resampler_fini(&b->resampler);
}

static cf_err bootstrap_init(const cf_scheme *s, const cf_predictions *p,
                             const cf_bootstrap_options *o, bootstrap *b)
{
    int n_blocks = (o->n_resamples + CF_LANES - 1) / CF_LANES;
    b->s = s;
    b->n_resamples = o->n_resamples;
    b->n_figures = N_FOLD_FIGURES + s->n_classes * N_CLASS_FIGURES + 2 * s->n_questions;
    CF_TRY(cf_resampler_init(&b->resampler, p->patients, p->n, o->seed));
    CF_TRY(cf_tally_init(&b->tally, p, NULL, p->n));
    CF_TRY(cf_new(&b->rankings, (size_t)(s->n_classes + s->n_questions), sizeof *b->rankings));
    b->n_rankings = s->n_classes + s->n_questions;
    for (int i = 0; i < b->n_rankings; i++)
        CF_TRY(cf_ranking_init(&b->rankings[i], p, i,
                               i < s->n_classes ? NULL : &s->questions[i - s->n_classes]));
    int n_threads = cf_parallel_threads(n_blocks, o->n_threads);
    CF_TRY(cf_new(&b->scratches, (size_t)n_threads, sizeof *b->scratches));
    b->n_threads = n_threads;
    for (int i = 0; i < n_threads; i++) CF_TRY(scratch_init(b, &b->scratches[i]));
    return cf_new(&b->values, (size_t)b->n_figures * (size_t)(n_blocks * CF_LANES),
                  sizeof *b->values);
}

/* ---- resampling -------------------------------------------------------------------------------
 */

/* A ratio without a denominator says nothing about the class in this resample. */
static void undefine(cf_class_metrics *c)
{
    if (c->support == 0) c->recall_strict = c->recall_tolerant = (double)NAN;
    if (c->predicted == 0) c->precision_strict = c->precision_tolerant = (double)NAN;
    if (c->support == 0 && c->predicted == 0) c->f1_strict = c->f1_tolerant = (double)NAN;
}

static void lane_figures(const bootstrap *b, scratch *t, int lane, int resample)
{
    cf_fold_metrics *f = &t->f;
    cf_tally_lane(b->s, &t->sums, lane, f);
    for (int i = 0; i < b->n_rankings; i++) {
        cf_areas a = t->areas[i * CF_LANES + lane];
        int q = i - b->s->n_classes;
        *(q < 0 ? &f->classes[i].auc : &f->question_auc[q]) = a.auc;
        *(q < 0 ? &f->classes[i].average_precision : &f->question_average_precision[q]) =
            a.average_precision;
    }
    cf_fold_macro_areas(b->s->n_classes, f);
    for (int k = 0; k < b->s->n_classes; k++) undefine(&f->classes[k]);
    for (int i = 0; i < b->n_figures; i++)
        b->values[(int64_t)i * b->n_resamples + resample] = *figure_at(b->s, f, i);
}

static void run_block(void *argument, int block, int thread)
{
    const bootstrap *b = argument;
    scratch *t = &b->scratches[thread];
    int first = block * CF_LANES;
    cf_resample(&b->resampler, (uint32_t)first, t->units, t->weights);
    cf_tally_count(&b->tally, t->weights, &t->sums);
    for (int i = 0; i < b->n_rankings; i++)
        cf_ranking_areas(&b->rankings[i], t->weights, t->areas + i * CF_LANES);
    for (int lane = 0; lane < CF_LANES && first + lane < b->n_resamples; lane++)
        lane_figures(b, t, lane, first + lane);
}

static void no_intervals(cf_fold_metrics *f)
{
    f->fold = -1;
    f->temperature = f->nll_calibrated = f->ece_calibrated = (double)NAN;
}

cf_err cf_bootstrap(const cf_scheme *s, const cf_predictions *p,
                    const cf_bootstrap_options *options, cf_metrics *m)
{
    bootstrap b = {0};
    cf_err err = CF_OK;
    if (options->n_resamples < 1) return CF_OK;
    CF_TRY_GOTO(bootstrap_init(s, p, options, &b), out);
    CF_TRY_GOTO(cf_fold_alloc(s, &m->low), out);
    CF_TRY_GOTO(cf_fold_alloc(s, &m->high), out);
    no_intervals(&m->low);
    no_intervals(&m->high);
    cf_parallel_for((b.n_resamples + CF_LANES - 1) / CF_LANES, b.n_threads, run_block, &b);
    /* A single patient is drawn again and again: that says nothing. */
    int n_told = b.resampler.n_units > 1 ? b.n_resamples : 0;
    for (int i = 0; i < b.n_figures; i++)
        cf_resample_interval(b.values + (int64_t)i * b.n_resamples, n_told,
                             figure_at(s, &m->low, i), figure_at(s, &m->high, i));
    m->resampling =
        (cf_resampling){b.n_resamples, options->seed, cf_resampler_by_patient(&b.resampler),
                        b.resampler.n_units, CF_PATIENTS_IN_FILE};
out:
    bootstrap_fini(&b);
    return err;
}
