#include "worker/checkpoint_size.h"

#include <string.h>

#include "kernels/backend.h"
#include "kernels/base/buf.h"
#include "proto/checkpoint.h"

/* Room in the header for the numbers of the run, and for those of one tensor beside its name; the
 * 64-byte alignment of a block. */
enum { NUMBERS_BYTES = 1024, TENSOR_BYTES = 64, ALIGNMENT_BYTES = 64 };

static int64_t header_bytes(const cf_config *config, const cf_graph *g)
{
    cf_buf yaml = {0};
    cf_config_write_essential(config, &yaml);
    int64_t bytes = NUMBERS_BYTES + (int64_t)yaml.len;
    cf_buf_fini(&yaml);
    for (int i = 0; i < g->n_params; i++)
        bytes += TENSOR_BYTES + (int64_t)strlen(g->params[i].name);
    return bytes + CF_CHECKPOINT_MAX_TENSORS * (TENSOR_BYTES + ALIGNMENT_BYTES);
}

int64_t cf_checkpoint_bytes(const cf_config *config, const cf_graph *g)
{
    int64_t moments = config->train_optimizer != CF_OPT_SGD ? 2 : 1;
    int64_t floats = g->n_weights + g->n_state + moments * g->n_weights;
    if (config->train_ema > 0) floats += g->n_weights + g->n_state;
    const int64_t loss_scale = 2; /* fp16's, and its good steps */
    return (floats + loss_scale) * (int64_t)sizeof(float) + header_bytes(config, g);
}
