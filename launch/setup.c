#include "launch/setup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/folds_make.h"
#include "kernels/base/mem.h"
#include "worker/models.h"
#include "worker/weight_start.h"

/* `name` as seen from the folder of the configuration. */
static cf_err beside_config(const cf_config *config, const char *name, char path[CF_PATH_MAX])
{
    const char *slash = strrchr(config->path, '/');
    char folder[CF_PATH_MAX];
    if (name[0] == '/' || slash == NULL) {
        int n = snprintf(path, CF_PATH_MAX, "%s", name);
        return n < CF_PATH_MAX ? CF_OK : cf_fail(CF_E_USAGE, "path of %d bytes is too long", n);
    }
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - config->path + 1), config->path);
    return cf_path_join(path, CF_PATH_MAX, folder, name);
}

/* Makes a path of the configuration absolute, so that every rank finds it. `given`: named by an
 * override, hence seen from the current folder. *found is false where there is no such file. */
static cf_err make_absolute(const cf_config *config, bool given, char *name, size_t n, bool *found)
{
    char path[CF_PATH_MAX], full[PATH_MAX];
    *found = false;
    if (name[0] == '\0') return CF_OK;
    if (given)
        snprintf(path, sizeof path, "%s", name);
    else
        CF_TRY(beside_config(config, name, path));
    if (realpath(path, full) == NULL) {
        if (errno == ENOENT && !given) return CF_OK;
        return cf_fail_errno(CF_E_DATA, "%s", path);
    }
    if (strlen(full) >= n) return cf_fail(CF_E_USAGE, "%s: the path is too long", full);
    strcpy(name, full);
    *found = true;
    return CF_OK;
}

/* A scheme is a name or a path; a path in a configuration starts at the configuration's folder. */
static cf_err find_scheme(cf_setup *setup, const char *given)
{
    char path[CF_PATH_MAX];
    const char *name = given != NULL ? given : setup->config.data_scheme;
    if (name[0] == '\0') {
        setup->scheme = setup->has_cells ? &setup->cells.scheme : NULL;
        return CF_OK;
    }
    if (given == NULL && strchr(name, '/') != NULL) {
        CF_TRY(beside_config(&setup->config, name, path));
        if (cf_path_exists(path)) name = path;
    }
    CF_TRY(cf_scheme_read(name, &setup->own));
    setup->owns_scheme = true;
    setup->scheme = &setup->own;
    return CF_OK;
}

cf_err cf_setup_init(cf_setup *setup, const char *config_path, const cf_strings *overrides,
                     const char *scheme)
{
    memset(setup, 0, sizeof *setup);
    cf_config_defaults(&setup->config);
    CF_TRY(cf_config_read(config_path, &setup->config));
    cf_config *config = &setup->config;
    char cells[sizeof config->data_cells], folds[sizeof config->data_folds_file];
    char init[sizeof config->model_init];
    memcpy(cells, config->data_cells, sizeof cells);
    memcpy(init, config->model_init, sizeof init);
    memcpy(folds, config->data_folds_file, sizeof folds);
    for (size_t i = 0; i < overrides->n; i++)
        CF_TRY(cf_config_set(&setup->config, overrides->items[i]));
    CF_TRY(cf_config_validate(&setup->config));
    bool found = false;
    CF_TRY(make_absolute(config, strcmp(init, config->model_init) != 0, config->model_init,
                         sizeof init, &found));
    if (config->model_init[0] != '\0' && !found)
        return cf_fail(CF_E_DATA, "%s: model.init: no such file: %s", config->path,
                       config->model_init);
    CF_TRY(make_absolute(config, strcmp(folds, config->data_folds_file) != 0,
                         config->data_folds_file, sizeof folds, &found));
    CF_TRY(make_absolute(config, strcmp(cells, config->data_cells) != 0, config->data_cells,
                         sizeof cells, &found));
    if (found) CF_TRY(cf_cells_open(config->data_cells, &setup->cells));
    setup->has_cells = found;
    return find_scheme(setup, scheme);
}

cf_err cf_setup_vary(cf_setup *setup, const cf_strings *overrides)
{
    cf_config *config = NULL;
    CF_TRY(cf_new(&config, 1, sizeof *config));
    cf_config_defaults(config);
    cf_err err = cf_config_read(setup->config.path, config);
    for (size_t i = 0; i < overrides->n && err == CF_OK; i++)
        err = cf_config_set(config, overrides->items[i]);
    if (err == CF_OK) err = cf_config_validate(config);
    /* absolute already */
    strcpy(config->data_cells, setup->config.data_cells);
    strcpy(config->data_folds_file, setup->config.data_folds_file);
    strcpy(config->model_init, setup->config.model_init);
    if (err == CF_OK) setup->config = *config;
    free(config);
    return err;
}

cf_err cf_setup_folds(const cf_setup *setup, int *n_folds)
{
    const cf_config *config = &setup->config;
    *n_folds = cf_split_n_folds(config, setup->has_cells ? &setup->cells : NULL);
    if (*n_folds > 0) return CF_OK;
    return cf_fail(CF_E_USAGE,
                   "%s: data.split is leave-site-out, and the number of sites is not known before "
                   "data.cells is there",
                   config->path);
}

cf_err cf_setup_network(const cf_setup *setup, cf_graph **graph)
{
    const cf_config *config = &setup->config;
    if (setup->scheme == NULL && config->model_outputs == 0)
        return cf_fail(
            CF_E_USAGE,
            "%s: the number of outputs is not known: name data.scheme, an existing data.cells, "
            "or model.outputs",
            config->path);
    return cf_model_build(config, setup->scheme, config->train_micro_batch, graph);
}

cf_err cf_setup_check_init(const cf_setup *setup, const cf_graph *graph)
{
    const cf_weight_origin from = {.config = &setup->config, .scheme = setup->scheme};
    return cf_weight_start_check(&from, graph);
}

cf_err cf_setup_check_stains(const cf_config *config, const cf_cells *cells, const char *path)
{
    if (config->augment_stain == CF_STAIN_NONE || cells->stains) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%s: packed without stains, which augment.stain changes: pack it again without "
                   "--no-stain, or set augment.stain to none",
                   path);
}

void cf_setup_fini(cf_setup *setup)
{
    if (setup->owns_scheme) cf_scheme_fini(&setup->own);
    if (setup->has_cells) cf_cells_close(&setup->cells);
    memset(setup, 0, sizeof *setup);
}
