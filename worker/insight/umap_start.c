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

/* Two functions of n rows, side by side: [n][2]. */
static double dot(const double *a, int ca, const double *b, int cb, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[2 * i + ca] * b[2 * i + cb];
    return sum;
}

/* Column ca of a becomes of length 1, after what lies along column cb of b (of length 1; NULL:
 * nothing) is taken away. */
static void straighten(double *a, int ca, const double *b, int cb, int64_t n)
{
    double along = b != NULL ? dot(a, ca, b, cb, n) : 0;
    for (int64_t i = 0; b != NULL && i < n; i++) a[2 * i + ca] -= along * b[2 * i + cb];
    double length = sqrt(dot(a, ca, a, ca, n));
    for (int64_t i = 0; i < n; i++) a[2 * i + ca] = length > 0 ? a[2 * i + ca] / length : 0;
}

/* v: [n][2] places of the rows along the two widest axes of SAMPLED of them. */
static cf_err project(const float *x, int64_t n, int64_t d, double *v)
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
        for (int a = 0; a < axes.r; a++) v[2 * i + a] = places[i * axes.r + a];
    for (int64_t i = 0; axes.r < 2 && i < n; i++) v[2 * i + 1] = v[2 * i] * v[2 * i];
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
    double *scale;    /* owned, [n] 1 / sqrt(degree) */
    double *v, *next; /* owned, [n][2] */
    double *scaled;   /* owned, [n][2] scale v: neighbours read one place each */
    double *still;    /* owned, [n][2] the function that says nothing, of length 1, and zeros */
} smoothing;

/* next = (1 + D^-1/2 W D^-1/2) v of some rows: no eigenvalue of that is negative. */
static cf_err smooth_rows(void *context, int worker, int64_t block)
{
    const smoothing *s = context;
    const cf_umap_graph *g = s->graph;
    int64_t first = block * ROWS, last = first + ROWS < g->n ? first + ROWS : g->n;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        double sum0 = 0, sum1 = 0;
        for (int64_t e = g->start[i]; e < g->start[i + 1]; e++) {
            const double *there = s->scaled + 2 * (int64_t)g->column[e];
            sum0 += (double)g->weight[e] * there[0];
            sum1 += (double)g->weight[e] * there[1];
        }
        s->next[2 * i] = s->v[2 * i] + s->scale[i] * sum0;
        s->next[2 * i + 1] = s->v[2 * i + 1] + s->scale[i] * sum1;
    }
    return CF_OK;
}

static void make_independent(smoothing *s, int64_t n)
{
    straighten(s->v, 0, s->still, 0, n);
    straighten(s->v, 1, s->still, 0, n);
    straighten(s->v, 1, s->v, 0, n);
    for (int64_t i = 0; i < n; i++) {
        s->scaled[2 * i] = s->scale[i] * s->v[2 * i];
        s->scaled[2 * i + 1] = s->scale[i] * s->v[2 * i + 1];
    }
}

static cf_err smooth(smoothing *s, cf_crew crew)
{
    int64_t n = s->graph->n;
    crew.threads = cf_crew_size(crew.threads);
    for (int64_t i = 0; i < n; i++) {
        double degree = 0;
        for (int64_t e = s->graph->start[i]; e < s->graph->start[i + 1]; e++)
            degree += (double)s->graph->weight[e];
        s->scale[i] = degree > 0 ? 1 / sqrt(degree) : 0;
        s->still[2 * i] = sqrt(degree);
    }
    straighten(s->still, 0, NULL, 0, n);
    make_independent(s, n);
    for (int round = 0; round < GRAPH_ROUNDS; round++) {
        CF_TRY(cf_crew_each(&crew, (n + ROWS - 1) / ROWS, smooth_rows, s));
        double *swap = s->v;
        s->v = s->next;
        s->next = swap;
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
            double value = fabs(s->v[2 * i + a] * s->scale[i]);
            most = value > most ? value : most;
        }
    for (int64_t i = 0; i < s->graph->n; i++) {
        cf_rng rng = cf_rng_at(seed, 1, 0, (uint32_t)i, CF_PURPOSE_UMAP);
        for (int a = 0; a < 2; a++) {
            double value = most > 0 ? s->v[2 * i + a] * s->scale[i] * extent / most : 0;
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
    CF_TRY_GOTO(cf_new(&s.v, 2 * n, sizeof *s.v), out);
    CF_TRY_GOTO(cf_new(&s.next, 2 * n, sizeof *s.next), out);
    CF_TRY_GOTO(cf_new(&s.scaled, 2 * n, sizeof *s.scaled), out);
    CF_TRY_GOTO(cf_new(&s.still, 2 * n, sizeof *s.still), out);
    CF_TRY_GOTO(project(x, graph->n, d, s.v), out);
    CF_TRY_GOTO(smooth(&s, options->crew), out);
    place(&s, options->seed, y);
out:
    free(s.still);
    free(s.scaled);
    free(s.next);
    free(s.v);
    free(s.scale);
    return err;
}
