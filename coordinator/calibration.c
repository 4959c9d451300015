#include "coordinator/calibration.h"

#include <math.h>

static int bin_of(double confidence)
{
    int bin = (int)ceil(confidence * CF_ECE_BINS) - 1;
    return bin < 0 ? 0 : bin >= CF_ECE_BINS ? CF_ECE_BINS - 1 : bin;
}

void cf_calibration(const cf_predictions *p, const int64_t *rows, int64_t n, double *nll,
                    double *ece)
{
    double confidence[CF_ECE_BINS] = {0}, right[CF_ECE_BINS] = {0};
    double loss = 0, gap = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = rows[i];
        const double *probability = p->p + row * p->n_classes;
        double top = probability[p->predicted[row]];
        int bin = bin_of(top);
        confidence[bin] += top;
        right[bin] += p->predicted[row] == p->labels[row];
        loss -= log(fmax(probability[p->labels[row]], 1e-12));
    }
    /* |right/size - confidence/size| weighted by size/n: the bin's size cancels. */
    for (int b = 0; b < CF_ECE_BINS; b++) gap += fabs(right[b] - confidence[b]);
    *nll = loss / (double)n;
    *ece = gap / (double)n;
}
