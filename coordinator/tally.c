#include "coordinator/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/metrics_fold.h"
#include "kernels/base/mem.h"

enum { RIGHT = 128 };

/* The same terms as cf_calibrate, a row at a time. */
static void prepare(const cf_predictions *p, int64_t row, int64_t i, cf_tally *t)
{
    const double *probability = p->p + row * p->n_classes;
    int label = p->labels[row], predicted = p->predicted[row];
    double squares = 0;
    for (int k = 0; k < p->n_classes; k++) {
        double gap = probability[k] - (k == label);
        squares += gap * gap;
    }
    t->cells[i] = label * p->n_classes + predicted;
    t->nll[i] = -log(fmax(probability[label], 1e-12));
    t->brier[i] = squares;
    t->confidence[i] = probability[predicted];
    t->bins[i] =
        (uint8_t)(cf_calibration_bin(probability[predicted]) + (label == predicted ? RIGHT : 0));
}

cf_err cf_tally_init(cf_tally *t, const cf_predictions *p, const int64_t *rows, int64_t n)
{
    *t = (cf_tally){.n = n, .n_classes = p->n_classes};
    CF_TRY(cf_new(&t->cells, (size_t)n, sizeof *t->cells));
    CF_TRY(cf_new(&t->nll, (size_t)n, sizeof *t->nll));
    CF_TRY(cf_new(&t->brier, (size_t)n, sizeof *t->brier));
    CF_TRY(cf_new(&t->confidence, (size_t)n, sizeof *t->confidence));
    CF_TRY(cf_new(&t->bins, (size_t)n, sizeof *t->bins));
    for (int64_t i = 0; i < n; i++) prepare(p, rows ? rows[i] : i, i, t);
    return CF_OK;
}

void cf_tally_fini(cf_tally *t)
{
    free(t->cells);
    free(t->nll);
    free(t->brier);
    free(t->confidence);
    free(t->bins);
    *t = (cf_tally){0};
}

cf_err cf_tally_sums_init(cf_tally_sums *sums, int n_classes)
{
    memset(sums, 0, sizeof *sums);
    return cf_new(&sums->confusion, (size_t)n_classes * (size_t)n_classes * CF_LANES,
                  sizeof *sums->confusion);
}

void cf_tally_sums_fini(cf_tally_sums *sums)
{
    free(sums->confusion);
    memset(sums, 0, sizeof *sums);
}

void cf_tally_count(const cf_tally *t, const uint8_t *weights, cf_tally_sums *sums)
{
    uint32_t *confusion = sums->confusion;
    memset(sums, 0, sizeof *sums);
    sums->confusion = confusion;
    memset(confusion, 0,
           (size_t)t->n_classes * (size_t)t->n_classes * CF_LANES * sizeof *confusion);
    for (int64_t i = 0; i < t->n; i++) {
        const uint8_t *w = weights + i * CF_LANES;
        uint32_t *cell = confusion + (int64_t)t->cells[i] * CF_LANES;
        int bin = t->bins[i] & (RIGHT - 1);
        uint32_t right = t->bins[i] >= RIGHT;
        for (int b = 0; b < CF_LANES; b++) {
            double times = w[b];
            cell[b] += w[b];
            sums->nll[b] += times * t->nll[i];
            sums->brier[b] += times * t->brier[i];
            sums->confidence[bin][b] += times * t->confidence[i];
            sums->right[bin][b] += right * w[b];
        }
    }
}

void cf_tally_lane(const cf_scheme *s, const cf_tally_sums *sums, int lane, cf_fold_metrics *f)
{
    int64_t cells = (int64_t)s->n_classes * s->n_classes;
    double gap = 0;
    for (int64_t i = 0; i < cells; i++) f->confusion[i] = sums->confusion[i * CF_LANES + lane];
    cf_fold_from_confusion(s, f);
    for (int b = 0; b < CF_ECE_BINS; b++)
        gap += fabs((double)sums->right[b][lane] - sums->confidence[b][lane]);
    f->nll = sums->nll[lane] / (double)f->n;
    f->brier = sums->brier[lane] / (double)f->n;
    f->ece = gap / (double)f->n;
}
