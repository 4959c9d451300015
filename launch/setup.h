/* What plan and inspect know before anything runs: the effective configuration, the scheme and the
 * cells file it names. Threads: main only. Read first: cf_setup. */
#ifndef CF_LAUNCH_SETUP_H
#define CF_LAUNCH_SETUP_H

#include <stdbool.h>

#include "kernels/graph/graph.h"
#include "proto/cells.h"
#include "proto/config.h"
#include "proto/scheme.h"

typedef struct cf_setup {
    cf_config config; /* validated */
    bool has_cells;   /* data.cells is there and was opened */
    cf_cells cells;
    const cf_scheme *scheme; /* borrowed from `own` or `cells`; NULL: neither names one */
    cf_scheme own;
    bool owns_scheme;
} cf_setup;

/* Reads the configuration with its overrides ("section.key=value"). The scheme is `scheme` where it
 * is not NULL, else data.scheme, else the one in the cells file. A cells file that the
 * configuration names and that is not there is no error: plans are made before the data are packed.
 * Paths in the file start at its folder, those of overrides at the current one. Release with fini
 * in any case. */
CF_CHECKED cf_err cf_setup_init(cf_setup *setup, const char *config_path,
                                const cf_strings *overrides, const char *scheme);
/* The same file with other overrides, for the points of a sweep: they differ in no path and in no
 * key of section data, so that what is open stays as it is. */
CF_CHECKED cf_err cf_setup_vary(cf_setup *setup, const cf_strings *overrides);
/* Folds to be trained, as far as known without splitting: data.folds where a folds file is named.
 * CF_E_USAGE when each site is a fold and there is no cells file yet to count them. */
CF_CHECKED cf_err cf_setup_folds(const cf_setup *setup, int *n_folds);
/* The configured network. Owned by the caller. CF_E_USAGE when neither a scheme nor model.outputs
 * tells the number of outputs. */
CF_CHECKED cf_err cf_setup_network(const cf_setup *setup, cf_graph **graph);
/* The file of model.init, where one is named, fits this network: said before anything waits for it.
 * Errors: cf_weight_start_check. */
CF_CHECKED cf_err cf_setup_check_init(const cf_setup *setup, const cf_graph *graph);
/* CF_E_DATA where the configuration changes stains and the cells file at `path` has none. */
CF_CHECKED cf_err cf_setup_check_stains(const cf_config *config, const cf_cells *cells,
                                        const char *path);
void cf_setup_fini(cf_setup *setup);

#endif
