#include "worker/weight_start.h"

#include <stdio.h>

#include "kernels/base/hash.h"
#include "worker/models.h"

/* A file may be replaced while a run of hours or days starts its folds. */
static cf_err check_hash(const cf_safetensors *f, uint64_t expected)
{
    uint64_t found = expected != 0 ? cf_hash64(f->map.bytes, f->map.n_bytes) : 0;
    if (found == expected) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%s was replaced while the run started: expected the hash %016llx, found "
                   "%016llx; put the old file there and start again",
                   f->path, (unsigned long long)expected, (unsigned long long)found);
}

/* A file that does not fit often fits another variant of the network: what is odd about this one
 * stands behind. */
static cf_err explain(cf_err err, const cf_config *config, cf_naming naming)
{
    char text[1024];
    const char *odd = cf_weight_oddity(config);
    if (err != CF_E_CHECKPOINT || odd == NULL || naming == CF_NAMING_CYTOFOLD) return err;
    snprintf(text, sizeof text, "%s", cf_err_text());
    return cf_fail(err, "%s (here %s)", text, odd);
}

/* weights NULL: the file is only held against the network. */
static cf_err read_init(const cf_weight_origin *o, const cf_graph *g, float *weights, float *state,
                        cf_weight_taken *taken)
{
    cf_safetensors f;
    cf_naming naming = CF_NAMING_CYTOFOLD;
    CF_TRY(cf_where(cf_safetensors_open(o->config->model_init, &f), "model.init"));
    cf_err err = check_hash(&f, o->init_hash);
    if (err == CF_OK) err = cf_weight_file_naming(&f, &naming);
    if (err == CF_OK && weights == NULL)
        err = cf_weight_file_check(&f, g, o->scheme, CF_WEIGHT_USE_START, taken);
    else if (err == CF_OK)
        err = cf_weight_file_read(&f, g, o->scheme, CF_WEIGHT_USE_START, weights, state, taken);
    cf_safetensors_close(&f);
    return err == CF_OK ? CF_OK : cf_where(explain(err, o->config, naming), "model.init");
}

cf_err cf_weight_start(const cf_weight_origin *o, const cf_graph *g, float *weights, float *state,
                       cf_weight_taken *taken)
{
    *taken = (cf_weight_taken){0};
    cf_model_init(g, o->config, o->fold, weights, state);
    return o->config->model_init[0] != '\0' ? read_init(o, g, weights, state, taken) : CF_OK;
}

cf_err cf_weight_start_check(const cf_weight_origin *o, const cf_graph *g)
{
    cf_weight_taken taken;
    return o->config->model_init[0] != '\0' ? read_init(o, g, NULL, NULL, &taken) : CF_OK;
}
