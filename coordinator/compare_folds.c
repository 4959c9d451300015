#include "coordinator/compare_folds.h"

#include <math.h>
#include <stdlib.h>

#include "coordinator/metrics_fold.h"
#include "kernels/base/mem.h"

enum { N_FIGURES = 4 };

/* Differences of each figure over the folds that were looked at. */
typedef struct fold_figures {
    double *differences[N_FIGURES]; /* owned, [room] */
    double test_to_train;           /* sum over folds */
    int n;
} fold_figures;

/* A fold's figures of one side, without areas: those take long and are not compared. */
static cf_err fold_of(const cf_scheme *s, const cf_predictions *p, const int64_t *rows, int64_t n,
                      double figures[N_FIGURES])
{
    cf_fold_metrics f = {0};
    cf_calibration c;
    cf_err err = cf_fold_alloc(s, &f);
    if (err == CF_OK) {
        for (int64_t i = 0; i < n; i++)
            f.confusion[(int64_t)p->labels[rows[i]] * s->n_classes + p->predicted[rows[i]]]++;
        cf_fold_from_confusion(s, &f);
        cf_calibrate(p, rows, n, &c);
        figures[0] = f.accuracy;
        figures[1] = f.balanced_accuracy;
        figures[2] = f.macro_f1;
        figures[3] = c.nll;
    }
    cf_fold_fini(&f);
    return err;
}

static cf_err add_fold(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                       const int64_t *rows_a, const int64_t *rows_b, int64_t n, int64_t total,
                       fold_figures *folds)
{
    double in_a[N_FIGURES], in_b[N_FIGURES];
    CF_TRY(fold_of(s, a, rows_a, n, in_a));
    CF_TRY(fold_of(s, b, rows_b, n, in_b));
    for (int i = 0; i < N_FIGURES; i++) folds->differences[i][folds->n] = in_a[i] - in_b[i];
    folds->test_to_train += (double)n / (double)(total - n);
    folds->n++;
    return CF_OK;
}

typedef struct pair {
    int32_t fold;
    int64_t place;
} pair;

static int by_fold(const void *x, const void *y)
{
    const pair *p = x, *q = y;
    if (p->fold != q->fold) return p->fold < q->fold ? -1 : 1;
    return (p->place > q->place) - (p->place < q->place);
}

/* Whether both sides have the same folds. */
static bool folds_agree(const cf_predictions *a, const cf_predictions *b, const int64_t *rows_a,
                        const int64_t *rows_b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (a->folds[rows_a[i]] != b->folds[rows_b[i]] || a->folds[rows_a[i]] < 0) return false;
    return true;
}

/* Room for the folds of a list that is sorted by them; none for a single fold, which is nothing to
 * go by. */
static cf_err make_room(const pair *order, int64_t n, fold_figures *folds, bool *any)
{
    size_t room = 1;
    for (int64_t i = 1; i < n; i++) room += order[i].fold != order[i - 1].fold;
    *any = room > 1;
    for (int f = 0; *any && f < N_FIGURES; f++)
        CF_TRY(cf_new(&folds->differences[f], room, sizeof *folds->differences[f]));
    return CF_OK;
}

static cf_err all_folds(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                        const int64_t *rows_a, const int64_t *rows_b, int64_t n,
                        fold_figures *folds)
{
    pair *order = NULL;
    bool any = false;
    int64_t *in_a = NULL, *in_b = NULL, end;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&order, (size_t)n, sizeof *order), out);
    CF_TRY_GOTO(cf_new(&in_a, (size_t)n, sizeof *in_a), out);
    CF_TRY_GOTO(cf_new(&in_b, (size_t)n, sizeof *in_b), out);
    for (int64_t i = 0; i < n; i++) order[i] = (pair){a->folds[rows_a[i]], i};
    qsort(order, (size_t)n, sizeof *order, by_fold);
    for (int64_t i = 0; i < n; i++) {
        in_a[i] = rows_a[order[i].place];
        in_b[i] = rows_b[order[i].place];
    }
    CF_TRY_GOTO(make_room(order, n, folds, &any), out);
    for (int64_t begin = 0; any && begin < n; begin = end) {
        for (end = begin; end < n && order[end].fold == order[begin].fold; end++) continue;
        CF_TRY_GOTO(add_fold(s, a, b, in_a + begin, in_b + begin, end - begin, n, folds), out);
    }
out:
    free(in_b);
    free(in_a);
    free(order);
    return err;
}

cf_err cf_compare_folds(const cf_scheme *s, const cf_predictions *a, const cf_predictions *b,
                        const int64_t *rows_a, const int64_t *rows_b, int64_t n, cf_comparison *c)
{
    cf_fold_test *tests[N_FIGURES] = {&c->fold_accuracy, &c->fold_balanced_accuracy,
                                      &c->fold_macro_f1, &c->fold_nll};
    fold_figures folds = {0};
    cf_err err = CF_OK;
    if (folds_agree(a, b, rows_a, rows_b, n)) err = all_folds(s, a, b, rows_a, rows_b, n, &folds);
    for (int i = 0; i < N_FIGURES; i++) {
        *tests[i] = cf_fold_test_corrected(folds.differences[i], folds.n,
                                           folds.n ? folds.test_to_train / folds.n : 0);
        free(folds.differences[i]);
    }
    return err;
}
