/* The fuzzy graph: how sure each point is of its neighbours, and the union of both directions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/insight/umap.h"

enum { BISECTIONS = 64 };
static const double sigma_tolerance = 1e-5, least_sigma_share = 1e-3;

/* The nearest neighbour that is not in the same place; 0 when all are. */
static double nearest_elsewhere(const float *distances, int k)
{
    for (int j = 0; j < k; j++)
        if (distances[j] > 0) return (double)distances[j];
    return 0;
}

/* sigma with sum over the neighbours of exp(-(d - rho) / sigma) = log2(k + 1): the paper's k counts
 * the point itself. */
static double find_sigma(const float *distances, int k, double rho)
{
    double target = log2(k + 1), low = 0, high = (double)INFINITY, sigma = 1;
    for (int step = 0; step < BISECTIONS; step++) {
        double sum = 0;
        for (int j = 0; j < k; j++) {
            double beyond = (double)distances[j] - rho;
            sum += beyond > 0 ? exp(-beyond / sigma) : 1;
        }
        if (fabs(sum - target) < sigma_tolerance) break;
        if (sum > target)
            high = sigma;
        else
            low = sigma;
        sigma = isinf(high) ? 2 * sigma : (low + high) / 2;
    }
    return sigma;
}

/* weights: [n][k] of the directed graph. */
static void weigh(const cf_neighbours *nb, float *weights)
{
    double mean_of_all = 0;
    for (int64_t i = 0; i < nb->n * nb->k; i++) mean_of_all += (double)nb->distance[i];
    mean_of_all /= (double)(nb->n * nb->k);
    for (int64_t i = 0; i < nb->n; i++) {
        const float *distances = nb->distance + i * nb->k;
        double rho = nearest_elsewhere(distances, nb->k), mean = 0;
        double sigma = find_sigma(distances, nb->k, rho);
        for (int j = 0; j < nb->k; j++) mean += (double)distances[j] / nb->k;
        double least = least_sigma_share * (rho > 0 ? mean : mean_of_all);
        if (sigma < least) sigma = least;
        for (int j = 0; j < nb->k; j++) {
            double beyond = (double)distances[j] - rho;
            weights[i * nb->k + j] = beyond <= 0 || sigma == 0 ? 1 : (float)exp(-beyond / sigma);
        }
    }
}

typedef struct entry {
    int32_t column;
    float weight;
} entry;

static int by_column(const void *a, const void *b)
{
    int32_t x = ((const entry *)a)->column, y = ((const entry *)b)->column;
    return (x > y) - (x < y);
}

/* Both directions of every edge into rows, start[i] being where row i begins. */
static void scatter(const cf_neighbours *nb, const float *weights, int64_t *next, entry *entries)
{
    for (int64_t i = 0; i < nb->n; i++)
        for (int j = 0; j < nb->k; j++) {
            int32_t other = nb->index[i * nb->k + j];
            float w = weights[i * nb->k + j];
            entries[next[i]++] = (entry){other, w};
            entries[next[other]++] = (entry){(int32_t)i, w};
        }
}

/* Sorted rows; the two directions of one pair become u + v - u v. Drops what rounds to nothing. */
static void unite(const int64_t *start, entry *entries, cf_umap_graph *graph)
{
    int64_t n = 0;
    for (int64_t i = 0; i < graph->n; i++) {
        int64_t from = start[i], count = start[i + 1] - from;
        qsort(entries + from, (size_t)count, sizeof *entries, by_column);
        graph->start[i] = n;
        for (int64_t e = from; e < from + count; e++) {
            float w = entries[e].weight;
            if (e + 1 < from + count && entries[e + 1].column == entries[e].column) {
                float v = entries[e + 1].weight;
                w = w + v - w * v;
                e++;
            }
            if (w <= 0) continue;
            graph->column[n] = entries[e].column;
            graph->weight[n++] = w;
        }
    }
    graph->start[graph->n] = n;
}

cf_err cf_umap_graph_make(const cf_neighbours *nb, cf_umap_graph *graph)
{
    size_t n = (size_t)nb->n, edges = n * (size_t)nb->k;
    float *weights = NULL;
    int64_t *start = NULL, *next = NULL;
    entry *entries = NULL;
    cf_err err = CF_OK;
    memset(graph, 0, sizeof *graph);
    graph->n = nb->n;
    CF_TRY_GOTO(cf_new(&weights, edges, sizeof *weights), out);
    CF_TRY_GOTO(cf_new(&start, n + 1, sizeof *start), out);
    CF_TRY_GOTO(cf_new(&next, n, sizeof *next), out);
    CF_TRY_GOTO(cf_new(&entries, 2 * edges, sizeof *entries), out);
    CF_TRY_GOTO(cf_new(&graph->start, n + 1, sizeof *graph->start), out);
    CF_TRY_GOTO(cf_new(&graph->column, 2 * edges, sizeof *graph->column), out);
    CF_TRY_GOTO(cf_new(&graph->weight, 2 * edges, sizeof *graph->weight), out);
    weigh(nb, weights);
    for (size_t e = 0; e < edges; e++) start[nb->index[e] + 1]++;
    for (size_t i = 0; i < n; i++) start[i + 1] += start[i] + nb->k;
    memcpy(next, start, n * sizeof *next);
    scatter(nb, weights, next, entries);
    unite(start, entries, graph);
out:
    free(entries);
    free(next);
    free(start);
    free(weights);
    return err;
}

void cf_umap_graph_fini(cf_umap_graph *graph)
{
    free(graph->start);
    free(graph->column);
    free(graph->weight);
    memset(graph, 0, sizeof *graph);
}
