/* Tables of the tensors that are too short for a launch of their own, and the ranges of the sums
 * that can travel before the backward pass has ended. */
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/program.h"

static cf_err to_device(cf_program *p, const void *host, size_t bytes, void *out)
{
    cudaStream_t s = p->backend->stream;
    void *device = NULL;
    CF_TRY(cf_cuda_keep(p, bytes, "tables", &device));
    CF_TRY(cf_cuda_check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, s),
                         "copy to the device"));
    *(void **)out = device;
    return cf_cuda_check(cudaStreamSynchronize(s), "copy to the device");
}

/* ---- moments ----------------------------------------------------------------------------------
 */

static cf_err place_moments(cf_program *p)
{
    const cf_graph *g = p->graph;
    int32_t *numbers = NULL;
    CF_TRY(cf_cuda_keep(p, (size_t)g->n_state * sizeof(float), "moments", &p->moments));
    CF_TRY(cf_new(&numbers, (size_t)g->n_state, sizeof *numbers));
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *t = &g->params[i];
        if (t->kind != CF_PARAM_MEAN && t->kind != CF_PARAM_VAR) continue;
        for (int64_t k = 0; k < t->count; k++) numbers[t->offset + k] = cf_cuda_number(g, i);
        cf_cuda_node *own = &p->nodes[t->node];
        float **at = t->kind == CF_PARAM_MEAN ? &own->mean_out : &own->unbiased;
        *at = p->moments + t->offset;
    }
    cf_err err = to_device(p, numbers, (size_t)g->n_state * sizeof *numbers, &p->moment_numbers);
    free(numbers);
    return err;
}

/* ---- short gradients --------------------------------------------------------------------------
 */

enum { MOST = 3 };

/* A short parameter that has a gradient, and where its node is told the place of it. */
typedef struct short_param {
    int param;
    float **at;
} short_param;

/* Those of a node; a bias before a batch normalisation has no gradient. */
static int list_shorts(const cf_program *p, int node, short_param list[MOST])
{
    const cf_node *n = &p->graph->nodes[node];
    cf_cuda_node *own = &p->nodes[node];
    int count = 0;
    if (own->normalised) {
        list[count++] = (short_param){n->gamma, &own->dgamma};
        list[count++] = (short_param){n->beta, &own->dbeta};
        if (own->per_image && n->bias >= 0) list[count++] = (short_param){n->bias, &own->dbias};
    } else if (n->bias >= 0) {
        list[count++] = (short_param){n->bias, &own->dbeta};
    }
    return count;
}

static int64_t count_shorts(const cf_program *p)
{
    short_param list[MOST];
    int64_t n = 0;
    for (int i = 0; i < p->graph->n_nodes; i++)
        for (int k = list_shorts(p, i, list) - 1; k >= 0; k--)
            n += p->graph->params[list[k].param].count;
    return n;
}

/* Last node first, as the backward pass meets them. */
static void fill_shorts(cf_program *p, int64_t *targets, int32_t *numbers)
{
    short_param list[MOST];
    int64_t at = 0;
    for (int i = p->graph->n_nodes - 1; i >= 0; i--) {
        int n = list_shorts(p, i, list);
        for (int k = 0; k < n; k++) {
            const cf_param *t = &p->graph->params[list[k].param];
            *list[k].at = p->shorts + at;
            for (int64_t e = 0; e < t->count; e++, at++) {
                targets[at] = t->offset + e;
                numbers[at] = cf_cuda_number(p->graph, list[k].param);
            }
        }
    }
}

static cf_err place_gradients(cf_program *p)
{
    int64_t *targets = NULL;
    int32_t *numbers = NULL;
    cf_err err = CF_OK;
    p->n_shorts = count_shorts(p);
    size_t n = (size_t)p->n_shorts;
    CF_TRY_GOTO(cf_new(&targets, n, sizeof *targets), out);
    CF_TRY_GOTO(cf_new(&numbers, n, sizeof *numbers), out);
    CF_TRY_GOTO(cf_cuda_keep(p, n * sizeof(float), "gradients", &p->shorts), out);
    fill_shorts(p, targets, numbers);
    CF_TRY_GOTO(to_device(p, targets, n * sizeof *targets, &p->short_targets), out);
    CF_TRY_GOTO(to_device(p, numbers, n * sizeof *numbers, &p->short_numbers), out);
out:
    free(numbers);
    free(targets);
    return err;
}

/* ---- ranges -----------------------------------------------------------------------------------
 */

static cf_err add_range(cf_program *p, int64_t first, int64_t end, int node, int64_t shorts)
{
    cudaEvent_t event = NULL;
    CF_TRY(
        cf_cuda_check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate"));
    p->ready[p->n_ready] = (cf_ready){.first = first, .count = end - first, .event = event};
    p->ready_shorts[p->n_ready] = shorts;
    p->ready_node[p->n_ready++] = node;
    return CF_OK;
}

/* The flat order is that of the nodes, so the backward pass finishes it from its end: pieces of at
 * least a quarter, cut where a node's parameters begin. What the forward pass gives comes last,
 * since the fault flag behind it may be raised until the end. */
static cf_err cut_ranges(cf_program *p)
{
    const cf_graph *g = p->graph;
    int64_t end = g->n_weights, shorts = 0;
    short_param list[MOST];
    for (int i = g->n_nodes - 1; i > 0; i--) {
        for (int k = list_shorts(p, i, list) - 1; k >= 0; k--)
            shorts += g->params[list[k].param].count;
        if (g->nodes[i].weight < 0) continue;
        int64_t first = g->params[g->nodes[i].weight].offset;
        if (end - first < g->n_weights / 4 && first > 0) continue;
        CF_TRY(add_range(p, first, end, i, shorts));
        end = first;
    }
    return add_range(p, g->n_weights, cf_sums_count(g) + 1, 0, shorts);
}

cf_err cf_cuda_place_shorts(cf_program *p)
{
    CF_TRY(place_moments(p));
    CF_TRY(place_gradients(p));
    return cut_ranges(p);
}
