/* UMAP: a picture in two dimensions in which near rows of a matrix stay near (McInnes, Healy,
 * Melville 2018, arXiv:1802.03426, with the constants of its authors' program).
 *
 * Each epoch moves every point by itself, against the positions of the epoch before, so that the
 * picture is the same with any number of threads. Threads: one caller. Read first: cf_umap. */
#ifndef CF_WORKER_INSIGHT_UMAP_H
#define CF_WORKER_INSIGHT_UMAP_H

#include "worker/insight/neighbours.h"

/* What two rows are apart: for COSINE, 1 less the cosine of the angle between them, of rows that
 * the caller has brought to length 1 (cf_umap_to_length_one). */
typedef enum cf_umap_metric { CF_UMAP_EUCLIDEAN, CF_UMAP_COSINE } cf_umap_metric;

typedef struct cf_umap_options {
    cf_umap_metric metric;
    int neighbours;  /* counting the point itself, as the paper does; 2 to CF_NEIGHBOURS_MAX */
    double min_dist; /* how close points of the picture may lie, 0 to spread */
    double spread;   /* scale of the picture, above 0 */
    int epochs;      /* 0: 500, or 200 for more than 10,000 rows */
    uint32_t seed;
    cf_crew crew; /* threads 0: one a core */
} cf_umap_options;

/* Euclidean, 15 neighbours, min_dist 0.1, spread 1. */
cf_umap_options cf_umap_defaults(void);
/* The epochs that options->epochs 0 stands for. */
int cf_umap_epochs(const cf_umap_options *options, int64_t n);
/* Each row of x [n][d] divided by its length; rows of zeros stay. */
void cf_umap_to_length_one(float *x, int64_t n, int64_t d);

/* The fuzzy graph (section 3.1): weights in (0, 1], symmetric, rows sorted by column. */
typedef struct cf_umap_graph {
    int64_t n;
    int64_t *start;  /* owned, [n + 1] */
    int32_t *column; /* owned, [start[n]] */
    float *weight;   /* owned, [start[n]] */
} cf_umap_graph;
CF_CHECKED cf_err cf_umap_graph_make(const cf_neighbours *nb, cf_umap_graph *graph);
void cf_umap_graph_fini(cf_umap_graph *graph);

/* First positions [n][2]: the graph's smoothest two functions beside the constant (eigenvectors of
 * its normalised Laplacian), looked for from the two widest directions of x; scaled to [-10, 10].
 */
CF_CHECKED cf_err cf_umap_start(const float *x, int64_t d, const cf_umap_graph *graph,
                                const cf_umap_options *options, float *y);

/* The curve 1 / (1 + a t^(2b)) that is nearest to 1 up to min_dist and exp(-(t - min_dist) /
 * spread) behind it, by least squares over 300 points of [0, 3 spread]. */
void cf_umap_curve(double min_dist, double spread, double *a, double *b);

/* Moves y [n][2] by the graph's forces (section 3.2). */
CF_CHECKED cf_err cf_umap_layout(const cf_umap_graph *graph, const cf_umap_options *options,
                                 float *y);

/* x: [n][d] float; nb: of its rows, options->neighbours - 1 or more of each, Euclidean; y: [n][2],
 * written. CF_E_USAGE for options out of range; CF_E_UNEXPECTED "interrupted" when the crew's
 * progress() said stop. */
CF_CHECKED cf_err cf_umap(const float *x, int64_t d, const cf_neighbours *nb,
                          const cf_umap_options *options, float *y);

#endif
