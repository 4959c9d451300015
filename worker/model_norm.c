/* Which normalisation stands behind a network's convolutions, and its constants. */
#include "worker/model_build.h"

cf_norm cf_model_norm(const cf_config *config)
{
    switch (config->model_norm) {
    case CF_NORM_WORD_NONE:
        return CF_NORM_NONE;
    case CF_NORM_WORD_BATCH:
        return CF_NORM_BATCH;
    case CF_NORM_WORD_GROUP:
        return CF_NORM_GROUP;
    default:
        return config->model_network == CF_NETWORK_RESNEXT ? CF_NORM_BATCH : CF_NORM_NONE;
    }
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void cf_model_set_norm(const cf_config *config, cf_conv *conv)
{
    bool paper = config->model_variant == CF_VARIANT_PAPER;
    conv->norm = cf_model_norm(config);
    if (conv->norm == CF_NORM_NONE) return;
    conv->bias = paper; /* beta does its work: only the paper's layers have both */
    conv->norm_eps = paper ? 1e-3f : 1e-5f;
    conv->norm_momentum = paper ? 0.99f : 0.9f;
    if (conv->norm == CF_NORM_GROUP)
        conv->norm_groups = (int)common_divisor(conv->k, config->model_norm_groups);
}
