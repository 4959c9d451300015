/* The sequential model. The paper gives its parameter count, 303,694 at 22 outputs, but not its
 * layers: these blocks (widths 8, 8, 16, 16, 32, 64, 128) are a reconstruction that matches the
 * count. A normalisation (model.norm) stands between each convolution and its activation. */
#include <stdio.h>

#include "worker/model_build.h"

static cf_err add_block(const cf_config *config, cf_graph *g, int index, int *x)
{
    char name[48];
    cf_conv conv = {.k = config->model_widths.items[index],
                    .kernel = 3,
                    .stride = 1,
                    .groups = 1,
                    .pad = CF_PAD_SAME,
                    .bias = true,
                    .act = CF_ACT_RELU};
    cf_model_set_norm(config, &conv);
    cf_conv window = {.kernel = 2, .stride = 2, .pad = CF_PAD_VALID};
    for (int i = 1; i <= 2; i++) {
        snprintf(name, sizeof name, "block%d.conv%d", index + 1, i);
        CF_TRY(cf_graph_conv(g, name, *x, -1, &conv, x));
    }
    snprintf(name, sizeof name, "block%d.pool", index + 1);
    return cf_graph_maxpool(g, name, *x, &window, x);
}

cf_err cf_model_sequential(const cf_config *config, int input, int64_t n_outputs, cf_graph *g,
                           int *logits)
{
    int x = input;
    for (int i = 0; i < config->model_widths.n; i++) {
        CF_TRY(add_block(config, g, i, &x));
    }
    return cf_graph_dense(g, "fc", x, n_outputs, true, logits);
}
