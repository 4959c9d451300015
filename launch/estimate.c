#include "launch/estimate.h"

#include <inttypes.h>
#include <stdlib.h>

#include "kernels/backend.h"
#include "kernels/base/mem.h"
#include "worker/data/sampler.h"

/* A ring all-reduce inside one host through shared memory; links between hosts are of the same
 * order. */
#define LINK_BYTES_PER_SECOND 3e9
#define LINK_LATENCY_SECONDS  20e-6
/* The optimizer reads and writes about this many bytes a weight, at this many bytes a second. */
#define UPDATE_BYTES_PER_WEIGHT 40.0
#define MEMORY_BYTES_PER_SECOND 8e9

/* Images of a class that a fold tests; of sites left out, as if all were of one size. */
static int64_t tested(const cf_config *config, int64_t count, int n_folds)
{
    if (config->data_split != CF_SPLIT_HOLDOUT) return count / n_folds;
    return (int64_t)((double)count * config->data_test_share + 0.5);
}

cf_err cf_estimate(const cf_config *config, const cf_scheme *scheme, const int64_t *counts,
                   int n_folds, const cf_graph *graph, double micro_seconds, cf_grid_cost *cost)
{
    int64_t *train = NULL;
    CF_TRY(cf_new(&train, (size_t)scheme->n_classes, sizeof *train));
    for (int c = 0; c < scheme->n_classes; c++)
        train[c] = counts[c] - tested(config, counts[c], n_folds);
    int64_t steps = cf_sampler_steps(config, train, scheme->n_classes);
    free(train);
    double macs = 3.0 * (double)cf_graph_macs(graph) * (double)config->train_micro_batch;
    double speed = config->train_precision != CF_PRECISION_FP32 ? CF_ESTIMATE_MACS_BF16
                                                                : CF_ESTIMATE_MACS_FP32;
    double element = config->train_reduce == 1 ? 4.0 : 8.0;
    *cost = (cf_grid_cost){
        .n_folds = n_folds,
        .steps_per_fold = steps * config->train_epochs,
        .micro_per_step = (int)(config->train_batch / config->train_micro_batch),
        .micro_seconds = micro_seconds > 0 ? micro_seconds : macs / speed,
        .update_seconds =
            UPDATE_BYTES_PER_WEIGHT * (double)graph->n_weights / MEMORY_BYTES_PER_SECOND,
        .reduce_bytes = element * (double)cf_sums_count(graph),
        .bytes_per_second = LINK_BYTES_PER_SECOND,
        .latency_seconds = LINK_LATENCY_SECONDS,
    };
    return CF_OK;
}

void cf_print_seconds(cf_buf *out, double seconds)
{
    int64_t minutes = (int64_t)(seconds / 60 + 0.5);
    if (seconds < 120)
        cf_buf_printf(out, "%.1f s", seconds);
    else if (minutes < 60)
        cf_buf_printf(out, "%" PRId64 " min", minutes);
    else
        cf_buf_printf(out, "%" PRId64 " h %02" PRId64 " min", minutes / 60, minutes % 60);
}
