#include "coordinator/calibration.h"

#include <math.h>
#include <string.h>

#include "kernels/math/temperature.h"

int cf_calibration_bin(double confidence)
{
    int bin = (int)ceil(confidence * CF_ECE_BINS) - 1;
    return bin < 0 ? 0 : bin >= CF_ECE_BINS ? CF_ECE_BINS - 1 : bin;
}

/* Sums; cf_calibration holds means only after finish(). */
static void add_row(const double *probability, int n_classes, int label, int predicted,
                    cf_calibration *c)
{
    double top = probability[predicted], squares = 0;
    cf_reliability_bin *bin = &c->bins[cf_calibration_bin(top)];
    bin->n++;
    bin->n_right += predicted == label;
    bin->confidence += top;
    c->nll -= log(fmax(probability[label], 1e-12));
    for (int k = 0; k < n_classes; k++) {
        double gap = probability[k] - (k == label);
        squares += gap * gap;
    }
    c->brier += squares;
}

static void finish(int64_t n, cf_calibration *c)
{
    double gap = 0;
    /* |right/size - confidence/size| weighted by size/n: the bin's size cancels. */
    for (int b = 0; b < CF_ECE_BINS; b++)
        gap += fabs((double)c->bins[b].n_right - c->bins[b].confidence);
    c->nll /= (double)n;
    c->brier /= (double)n;
    c->ece = gap / (double)n;
}

void cf_calibrate(const cf_predictions *p, const int64_t *rows, int64_t n, cf_calibration *out)
{
    *out = (cf_calibration){0};
    for (int64_t i = 0; i < n; i++)
        add_row(p->p + rows[i] * p->n_classes, p->n_classes, p->labels[rows[i]],
                p->predicted[rows[i]], out);
    finish(n, out);
}

void cf_calibrate_scaled(const cf_predictions *p, const int64_t *rows, int64_t n,
                         const double *temperatures, double *scratch, cf_calibration *out)
{
    size_t bytes = (size_t)p->n_classes * sizeof *scratch;
    *out = (cf_calibration){0};
    for (int64_t i = 0; i < n; i++) {
        memcpy(scratch, p->p + rows[i] * p->n_classes, bytes);
        cf_temperature_apply(scratch, p->n_classes, temperatures[rows[i]]);
        add_row(scratch, p->n_classes, p->labels[rows[i]], p->predicted[rows[i]], out);
    }
    finish(n, out);
}
