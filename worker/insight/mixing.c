#include "worker/insight/mixing.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { FOLDS = 256 };

cf_err cf_mixing_measure(const cf_neighbours *nb, const uint8_t *folds, const int32_t *labels,
                         int n_classes, cf_mixing *out)
{
    int64_t *counts = NULL, *totals = NULL;
    double pairs = (double)nb->n * nb->k;
    cf_err err = CF_OK;
    memset(out, 0, sizeof *out);
    CF_TRY_GOTO(cf_new(&counts, (size_t)n_classes * FOLDS, sizeof *counts), out);
    CF_TRY_GOTO(cf_new(&totals, (size_t)n_classes, sizeof *totals), out);
    for (int64_t i = 0; i < nb->n; i++) {
        counts[labels[i] * FOLDS + folds[i]]++;
        totals[labels[i]]++;
    }
    for (int64_t i = 0; i < nb->n; i++)
        for (int j = 0; j < nb->k; j++) {
            int32_t other = nb->index[i * nb->k + j], class = labels[other];
            int own = class == labels[i]; /* the point itself is no neighbour */
            out->same_class += own;
            out->same_fold += folds[other] == folds[i];
            out->chance +=
                (double)(counts[class * FOLDS + folds[i]] - own) / (double)(totals[class] - own);
        }
    out->same_class /= pairs;
    out->same_fold /= pairs;
    out->chance /= pairs;
out:
    free(totals);
    free(counts);
    return err;
}
