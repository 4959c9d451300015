#include "worker/insight/umap.h"

#include <math.h>
#include <string.h>

enum { MANY_ROWS = 10000, EPOCHS_OF_MANY = 200, EPOCHS_OF_FEW = 500 };

cf_umap_options cf_umap_defaults(void)
{
    return (cf_umap_options){.neighbours = 15, .min_dist = 0.1, .spread = 1};
}

int cf_umap_epochs(const cf_umap_options *options, int64_t n)
{
    if (options->epochs > 0) return options->epochs;
    return n > MANY_ROWS ? EPOCHS_OF_MANY : EPOCHS_OF_FEW;
}

void cf_umap_to_length_one(float *x, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < n; i++) {
        double squares = 0;
        for (int64_t j = 0; j < d; j++) squares += (double)x[i * d + j] * (double)x[i * d + j];
        double scale = squares > 0 ? 1 / sqrt(squares) : 0;
        for (int64_t j = 0; j < d; j++) x[i * d + j] = (float)((double)x[i * d + j] * scale);
    }
}

/* Of rows of length 1 at an angle: a chord of length c spans 1 - cos = c^2 / 2. */
static void chords_to_cosines(cf_neighbours *nb)
{
    for (int64_t e = 0; e < nb->n * nb->k; e++) nb->distance[e] *= nb->distance[e] / 2;
}

static cf_err check(const cf_umap_options *o, const cf_neighbours *nb)
{
    if (o->neighbours < 2 || o->neighbours - 1 > nb->k)
        return cf_fail(CF_E_USAGE, "%d neighbours: expected 2 to %d", o->neighbours, nb->k + 1);
    if (!(o->spread > 0) || !(o->min_dist >= 0) || o->min_dist > o->spread)
        return cf_fail(CF_E_USAGE, "min_dist %g and spread %g: expected 0 <= min_dist <= spread",
                       o->min_dist, o->spread);
    if (o->epochs < 0) return cf_fail(CF_E_USAGE, "%d epochs", o->epochs);
    return CF_OK;
}

cf_err cf_umap(const float *x, int64_t d, const cf_neighbours *nb, const cf_umap_options *options,
               float *y)
{
    cf_neighbours own = {0};
    cf_umap_graph graph = {0};
    cf_err err = CF_OK;
    CF_TRY(check(options, nb));
    CF_TRY_GOTO(cf_neighbours_first(nb, options->neighbours - 1, &own), out);
    if (options->metric == CF_UMAP_COSINE) chords_to_cosines(&own);
    CF_TRY_GOTO(cf_umap_graph_make(&own, &graph), out);
    CF_TRY_GOTO(cf_umap_start(x, d, &graph, options, y), out);
    CF_TRY_GOTO(cf_umap_layout(&graph, options, y), out);
out:
    cf_umap_graph_fini(&graph);
    cf_neighbours_fini(&own);
    return err;
}
