/* First positions. The graph's smoothest functions belong to the largest eigenvalues of
 * D^-1/2 W D^-1/2; the very largest is D^1/2 1 and says nothing. Two more are found by multiplying
 * again and again, from the principal components of the data: whatever is not yet found after a
 * fixed number of rounds leaves a picture that is part of both. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/math/philox.h"
#include "worker/data/crew.h"
#include "worker/insight/axes.h"
#include "worker/insight/umap.h"

/* More axes are looked for than two, since these are then found in fewer rounds. */
enum { GRAPH_ROUNDS = 200, SAMPLED = 1024, AXES = 8, ROWS = 256 };
static const double extent = 10, noise = 1e-4;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* a of length 1, after what lies along b (of length 1; NULL: nothing) is taken away. */
static void straighten(double *a, const double *b, int64_t n)
{
    double along = b != NULL ? dot(a, b, n) : 0;
    for (int64_t i = 0; b != NULL && i < n; i++) a[i] -= along * b[i];
    double length = sqrt(dot(a, a, n));
    for (int64_t i = 0; i < n; i++) a[i] = length > 0 ? a[i] / length : 0;
}

/* v: two functions [n] of the rows, their places along the two widest axes of SAMPLED of them. */
static cf_err project(const float *x, int64_t n, int64_t d, double *v[2])
{
    int64_t rows = n < SAMPLED ? n : SAMPLED;
    int r = d < AXES ? (int)d : AXES;
    float *sample = NULL;
    double *places = NULL;
    cf_axes axes = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&sample, (size_t)rows * (size_t)d, sizeof *sample), out);
    CF_TRY_GOTO(cf_new(&places, (size_t)n * 2, sizeof *places), out);
    for (int64_t i = 0; i < rows; i++)
        memcpy(sample + i * d, x + i * n / rows * d, (size_t)d * sizeof *x);
    CF_TRY_GOTO(cf_axes_find(sample, rows, d, r, &axes), out);
    axes.r = r < 2 ? r : 2;
    cf_axes_project(&axes, x, n, places);
    for (int64_t i = 0; i < n; i++)
        for (int a = 0; a < axes.r; a++) v[a][i] = places[i * axes.r + a];
    for (int64_t i = 0; axes.r < 2 && i < n; i++) v[1][i] = v[0][i] * v[0][i];
out:
    cf_axes_fini(&axes);
    free(places);
    free(sample);
    return err;
}

/* ---- the graph's functions --------------------------------------------------------------------
 */

typedef struct smoothing {
    const cf_umap_graph *graph;
    double *scale; /* owned, [n] 1 / sqrt(degree) */
    double *v[2];  /* owned, [n] */
    double *w[2];  /* owned, [n] */
    double *still; /* owned, [n] the function that says nothing, of length 1 */
} smoothing;

/* w = (1 + D^-1/2 W D^-1/2) v of some rows: no eigenvalue of that is negative. */
static cf_err smooth_rows(void *context, int worker, int64_t block)
{
    const smoothing *s = context;
    const cf_umap_graph *g = s->graph;
    int64_t first = block * ROWS, last = first + ROWS < g->n ? first + ROWS : g->n;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        double sum0 = 0, sum1 = 0;
        for (int64_t e = g->start[i]; e < g->start[i + 1]; e++) {
            int32_t j = g->column[e];
            double weight = (double)g->weight[e] * s->scale[j];
            sum0 += weight * s->v[0][j];
            sum1 += weight * s->v[1][j];
        }
        s->w[0][i] = s->v[0][i] + s->scale[i] * sum0;
        s->w[1][i] = s->v[1][i] + s->scale[i] * sum1;
    }
    return CF_OK;
}

static void make_independent(smoothing *s, int64_t n)
{
    straighten(s->v[0], s->still, n);
    straighten(s->v[1], s->still, n);
    straighten(s->v[1], s->v[0], n);
}

static cf_err smooth(smoothing *s, int threads)
{
    int64_t n = s->graph->n;
    cf_crew crew = {.threads = cf_crew_size(threads)};
    for (int64_t i = 0; i < n; i++) {
        double degree = 0;
        for (int64_t e = s->graph->start[i]; e < s->graph->start[i + 1]; e++)
            degree += (double)s->graph->weight[e];
        s->scale[i] = degree > 0 ? 1 / sqrt(degree) : 0;
        s->still[i] = sqrt(degree);
    }
    straighten(s->still, NULL, n);
    make_independent(s, n);
    for (int round = 0; round < GRAPH_ROUNDS; round++) {
        CF_TRY(cf_crew_each(&crew, (n + ROWS - 1) / ROWS, smooth_rows, s));
        for (int a = 0; a < 2; a++) {
            double *swap = s->v[a];
            s->v[a] = s->w[a];
            s->w[a] = swap;
        }
        make_independent(s, n);
    }
    return CF_OK;
}

/* The two functions as places: between -extent and extent, equal ones moved apart a little. */
static void place(const smoothing *s, uint32_t seed, float *y)
{
    double most = 0;
    for (int a = 0; a < 2; a++)
        for (int64_t i = 0; i < s->graph->n; i++) {
            double value = fabs(s->v[a][i] * s->scale[i]);
            most = value > most ? value : most;
        }
    for (int64_t i = 0; i < s->graph->n; i++) {
        cf_rng rng = cf_rng_at(seed, 1, 0, (uint32_t)i, CF_PURPOSE_UMAP);
        for (int a = 0; a < 2; a++) {
            double value = most > 0 ? s->v[a][i] * s->scale[i] * extent / most : 0;
            y[2 * i + a] = (float)(value + noise * ((double)cf_rng_uniform(&rng) - 0.5));
        }
    }
}

cf_err cf_umap_start(const float *x, int64_t d, const cf_umap_graph *graph,
                     const cf_umap_options *options, float *y)
{
    smoothing s = {.graph = graph};
    size_t n = (size_t)graph->n;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&s.scale, n, sizeof *s.scale), out);
    CF_TRY_GOTO(cf_new(&s.still, n, sizeof *s.still), out);
    for (int a = 0; a < 2; a++) {
        CF_TRY_GOTO(cf_new(&s.v[a], n, sizeof *s.v[a]), out);
        CF_TRY_GOTO(cf_new(&s.w[a], n, sizeof *s.w[a]), out);
    }
    CF_TRY_GOTO(project(x, graph->n, d, s.v), out);
    CF_TRY_GOTO(smooth(&s, options->threads), out);
    place(&s, options->seed, y);
out:
    for (int a = 0; a < 2; a++) {
        free(s.v[a]);
        free(s.w[a]);
    }
    free(s.still);
    free(s.scale);
    return err;
}
