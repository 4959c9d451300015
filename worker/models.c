#include "worker/models.h"

#include <stdlib.h>

#include "kernels/base/mem.h"
#include "worker/model_build.h"

typedef cf_err model_builder(const cf_config *config, int input, int64_t n_outputs, cf_graph *g,
                             int *logits);

/* In the order of enum cf_network. */
static model_builder *const builders[] = {
    [CF_NETWORK_RESNEXT] = cf_model_resnext,
    [CF_NETWORK_SEQUENTIAL] = cf_model_sequential,
};

static cf_err count_outputs(const cf_config *config, const cf_scheme *scheme, int64_t *n)
{
    int64_t configured = config->model_outputs;
    *n = configured;
    if (!scheme) {
        if (configured > 0) return CF_OK;
        return cf_fail(CF_E_USAGE,
                       "model.outputs is 0 and there is no class scheme to take it from");
    }
    if (configured > 0 && configured != scheme->n_nodes) {
        return cf_fail(CF_E_USAGE, "model.outputs is %lld, but scheme %s has %d output nodes",
                       (long long)configured, scheme->name, scheme->n_nodes);
    }
    *n = scheme->n_nodes;
    return CF_OK;
}

/* Without a scheme every output is a class of its own. */
static cf_err add_loss(cf_graph *g, int logits, const cf_scheme *scheme, int64_t n_outputs,
                       float smoothing)
{
    if (scheme) return cf_graph_loss(g, logits, scheme->class_of, scheme->n_classes, smoothing);
    int *class_of = NULL;
    CF_TRY(cf_new(&class_of, (size_t)n_outputs, sizeof *class_of));
    for (int o = 0; o < n_outputs; o++) class_of[o] = o;
    cf_err err = cf_graph_loss(g, logits, class_of, (int)n_outputs, smoothing);
    free(class_of);
    return err;
}

cf_err cf_model_build(const cf_config *config, const cf_scheme *scheme, int64_t batch,
                      cf_graph **out)
{
    cf_err err = CF_OK;
    cf_graph *g = NULL;
    int64_t n_outputs = 0;
    int input = 0, logits = 0;
    *out = NULL;
    CF_TRY(count_outputs(config, scheme, &n_outputs));
    CF_TRY_GOTO(cf_graph_create(&g), out);
    cf_shape image = {batch, config->model_image_size, config->model_image_size, 3};
    CF_TRY_GOTO(cf_graph_input(g, image, &input), out);
    CF_TRY_GOTO(builders[config->model_network](config, input, n_outputs, g, &logits), out);
    float smoothing = (float)config->train_label_smoothing;
    CF_TRY_GOTO(add_loss(g, logits, scheme, n_outputs, smoothing), out);
    *out = g;
    return CF_OK;
out:
    cf_graph_destroy(g);
    return err;
}
