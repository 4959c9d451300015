#include "coordinator/curves.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

/* Rows at or above one threshold. */
typedef struct step {
    int64_t positives, negatives;
    double threshold;
} step;

void cf_curve_scores(const cf_predictions *p, const int64_t *rows, int64_t n, int k,
                     const cf_question *q, cf_scored *out)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t row = rows ? rows[i] : i;
        const double *probability = p->p + row * p->n_classes;
        double score = 0;
        for (int c = 0; q && c < p->n_classes; c++) score += q->positive[c] ? probability[c] : 0;
        out[i] = (cf_scored){q ? score : probability[k], (uint32_t)row,
                             q ? q->positive[p->labels[row]] : p->labels[row] == k};
    }
}

/* One step a different score. steps: [n]. */
static int64_t steps_of_sorted(const cf_scored *rows, int64_t n, step *steps)
{
    int64_t n_steps = 0;
    step now = {0};
    for (int64_t i = 0; i < n; i++) {
        now.positives += rows[i].positive;
        now.negatives += !rows[i].positive;
        now.threshold = rows[i].score;
        if (i + 1 == n || rows[i + 1].score != rows[i].score) steps[n_steps++] = now;
    }
    return n_steps;
}

/* Whether the step i between two others is a corner: both counts grow as before and after on a
 * straight piece of a ROC curve; no positive is gained before and after in the other. */
static bool is_corner(cf_curve_kind kind, const step *s)
{
    int64_t before = s[0].positives - s[-1].positives, after = s[1].positives - s[0].positives;
    if (kind == CF_CURVE_PRECISION_RECALL) return before != 0 || after != 0;
    return before != after || s[0].negatives - s[-1].negatives != s[1].negatives - s[0].negatives;
}

static cf_curve_point point_of(cf_curve_kind kind, const step *s, const step *last)
{
    double positives = (double)s->positives, negatives = (double)s->negatives;
    double recall = positives / (double)last->positives;
    if (kind == CF_CURVE_ROC)
        return (cf_curve_point){negatives / (double)last->negatives, recall, s->threshold};
    return (cf_curve_point){recall, positives / (positives + negatives), s->threshold};
}

static cf_err curve_of_sorted(cf_curve_kind kind, const cf_scored *rows, int64_t n, cf_curve *curve)
{
    step *steps = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&steps, (size_t)n, sizeof *steps), out);
    CF_TRY_GOTO(cf_new(&curve->points, (size_t)n + 1, sizeof *curve->points), out);
    curve->areas = cf_auc_of_sorted(rows, n);
    int64_t n_steps = steps_of_sorted(rows, n, steps);
    const step *last = &steps[n_steps - 1];
    if (n_steps == 0 || last->positives == 0) goto out;
    if (kind == CF_CURVE_ROC && last->negatives == 0) goto out;
    curve->points[curve->n++] = (cf_curve_point){0, kind == CF_CURVE_ROC ? 0 : 1, (double)INFINITY};
    for (int64_t i = 0; i < n_steps; i++)
        if (i == 0 || i + 1 == n_steps || is_corner(kind, &steps[i]))
            curve->points[curve->n++] = point_of(kind, &steps[i], last);
out:
    free(steps);
    if (err != CF_OK) cf_curve_fini(curve);
    return err;
}

cf_err cf_curve_make(cf_curve_kind kind, const double *scores, const bool *positive, int64_t n,
                     cf_curve *curve)
{
    cf_scored *rows = NULL;
    *curve = (cf_curve){0};
    CF_TRY(cf_new(&rows, (size_t)n, sizeof *rows));
    for (int64_t i = 0; i < n; i++) rows[i] = (cf_scored){scores[i], (uint32_t)i, positive[i]};
    cf_err err = cf_auc_sort(rows, n);
    if (err == CF_OK) err = curve_of_sorted(kind, rows, n, curve);
    free(rows);
    return err;
}

static cf_err curve_of(cf_curve_kind kind, const cf_predictions *p, int k, const cf_question *q,
                       cf_curve *curve)
{
    cf_scored *rows = NULL;
    *curve = (cf_curve){0};
    CF_TRY(cf_new(&rows, (size_t)p->n, sizeof *rows));
    cf_curve_scores(p, NULL, p->n, k, q, rows);
    cf_err err = cf_auc_sort(rows, p->n);
    if (err == CF_OK) err = curve_of_sorted(kind, rows, p->n, curve);
    free(rows);
    return err;
}

cf_err cf_curve_of_class(cf_curve_kind kind, const cf_predictions *p, int k, cf_curve *curve)
{
    return curve_of(kind, p, k, NULL, curve);
}

cf_err cf_curve_of_question(cf_curve_kind kind, const cf_predictions *p, const cf_question *q,
                            cf_curve *curve)
{
    return curve_of(kind, p, 0, q, curve);
}

void cf_curve_fini(cf_curve *curve)
{
    free(curve->points);
    *curve = (cf_curve){0};
}
