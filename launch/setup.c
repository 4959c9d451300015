#include "launch/setup.h"

#include <stdio.h>
#include <string.h>

#include "worker/models.h"

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

/* `given`: named by an override, hence seen from the current folder, and then it must be there. */
static cf_err open_cells(cf_setup *setup, bool given)
{
    char path[CF_PATH_MAX];
    const char *name = setup->config.data_cells;
    if (name[0] == '\0') return CF_OK;
    if (!given) {
        CF_TRY(beside_config(&setup->config, name, path));
        if (!cf_path_exists(path)) return CF_OK;
        name = path;
    }
    CF_TRY(cf_cells_open(name, &setup->cells));
    setup->has_cells = true;
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
    char as_written[sizeof setup->config.data_cells];
    memcpy(as_written, setup->config.data_cells, sizeof as_written);
    for (size_t i = 0; i < overrides->n; i++)
        CF_TRY(cf_config_set(&setup->config, overrides->items[i]));
    CF_TRY(cf_config_validate(&setup->config));
    CF_TRY(open_cells(setup, strcmp(as_written, setup->config.data_cells) != 0));
    return find_scheme(setup, scheme);
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

void cf_setup_fini(cf_setup *setup)
{
    if (setup->owns_scheme) cf_scheme_fini(&setup->own);
    if (setup->has_cells) cf_cells_close(&setup->cells);
    memset(setup, 0, sizeof *setup);
}
