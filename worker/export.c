#include "worker/export.h"

#include <stdlib.h>

#include "kernels/base/mem.h"
#include "worker/model_facts.h"
#include "worker/models.h"
#include "worker/weight_file.h"

static cf_err write_file(const cf_saved *run, const cf_graph *g, cf_naming naming,
                         const float *values, const char *path)
{
    cf_facts facts = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_facts_of_run(run, &facts), out);
    CF_TRY_GOTO(cf_facts_add(&facts, CF_FACT_NAMES, cf_naming_word(naming)), out);
    /* What other readers take as a sign of PyTorch's layouts. */
    if (naming != CF_NAMING_CYTOFOLD) CF_TRY_GOTO(cf_facts_add(&facts, "format", "pt"), out);
    CF_TRY_GOTO(
        cf_weight_file_write(path, g, naming, values, values + g->n_weights, facts.items, facts.n),
        out);
out:
    cf_facts_fini(&facts);
    return err;
}

cf_err cf_export_safetensors(const cf_saved *run, cf_naming naming, const char *path)
{
    cf_graph *g = NULL;
    float *values = NULL;
    cf_err err = CF_OK;
    if (run->n_folds != 1)
        return cf_fail(CF_E_USAGE,
                       "%s: a safetensors file holds one network, and %d folds have one: --fold K",
                       run->dir, run->n_folds);
    CF_TRY_GOTO(cf_model_build(&run->config, &run->scheme, 1, &g), out);
    CF_TRY_GOTO(cf_new(&values, (size_t)(g->n_weights + g->n_state), sizeof *values), out);
    CF_TRY_GOTO(cf_saved_weights(run, g, run->folds[0], values, values + g->n_weights), out);
    CF_TRY_GOTO(write_file(run, g, naming, values, path), out);
out:
    free(values);
    cf_graph_destroy(g);
    return err;
}
