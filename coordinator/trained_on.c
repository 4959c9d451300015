#include "coordinator/trained_on.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/folds.h"
#include "kernels/base/mem.h"
#include "proto/config.h"

#define MARK "# data and folds: "
enum { MAX_YAML_BYTES = 1 << 20 };

void cf_trained_on_mark(uint64_t folds_hash, cf_buf *yaml)
{
    cf_buf_printf(yaml, MARK "%016llx\n", (unsigned long long)folds_hash);
}

bool cf_trained_on_marked(const char *yaml, uint64_t folds_hash)
{
    char mark[64];
    snprintf(mark, sizeof mark, "\n" MARK "%016llx\n", (unsigned long long)folds_hash);
    return strstr(yaml, mark) != NULL;
}

static cf_err read_yaml(const char *run_dir, char **text)
{
    char path[CF_PATH_MAX];
    size_t n = 0;
    CF_TRY(cf_path_join(path, sizeof path, run_dir, "run.yaml"));
    return cf_file_read(path, MAX_YAML_BYTES, text, &n);
}

cf_err cf_trained_on_folds(const char *run_dir, const cf_cells *cells, int *n_folds,
                           uint8_t *fold_of)
{
    char folds[CF_PATH_MAX], *text = NULL;
    CF_TRY(cf_path_join(folds, sizeof folds, run_dir, "folds.csv"));
    cf_err err = cf_folds_read(folds, cells, n_folds, fold_of);
    if (err == CF_E_DATA) return cf_where(err, "not what %s was trained on", run_dir);
    CF_TRY(err);
    CF_TRY(read_yaml(run_dir, &text));
    bool same = cf_trained_on_marked(text, cf_folds_hash(cells, fold_of));
    free(text);
    if (same) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "not the images and folds that %s was trained on: expected the hash in its "
                   "run.yaml, found another",
                   run_dir);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

/* data.cells of the run.yaml; "" where there is none. */
static cf_err find_path(const char *run_dir, char path[CF_PATH_MAX])
{
    char yaml[CF_PATH_MAX];
    cf_config *config = NULL;
    path[0] = '\0';
    CF_TRY(cf_path_join(yaml, sizeof yaml, run_dir, "run.yaml"));
    if (!cf_path_exists(yaml)) return CF_OK;
    CF_TRY(cf_new(&config, 1, sizeof *config));
    cf_config_defaults(config);
    cf_err err = cf_config_read(yaml, config);
    if (err == CF_OK) snprintf(path, CF_PATH_MAX, "%s", config->data_cells);
    free(config);
    return err;
}

/* CF_E_DATA where they are others than the run's. */
static cf_err check(const char *run_dir, const cf_cells *cells)
{
    char *text = NULL;
    uint8_t *fold_of = NULL;
    int n_folds = 0;
    CF_TRY(read_yaml(run_dir, &text));
    bool marked = strstr(text, "\n" MARK) != NULL;
    free(text);
    if (!marked) return CF_OK;
    CF_TRY(cf_new(&fold_of, (size_t)cells->n, sizeof *fold_of));
    cf_err err = cf_trained_on_folds(run_dir, cells, &n_folds, fold_of);
    free(fold_of);
    return err;
}

cf_err cf_trained_on_open(const char *run_dir, cf_cells *cells, cf_cells_found *found,
                          char path[CF_PATH_MAX])
{
    *cells = (cf_cells){0};
    *found = CF_CELLS_UNNAMED;
    cf_err err = find_path(run_dir, path);
    if (err == CF_E_UNEXPECTED) return err;
    if (err != CF_OK || path[0] == '\0') return CF_OK;
    *found = CF_CELLS_GONE;
    if (!cf_path_exists(path)) return CF_OK;
    err = cf_cells_open_any(path, cells);
    if (err == CF_OK) {
        err = check(run_dir, cells);
        *found = err == CF_OK ? CF_CELLS_OPEN : CF_CELLS_OTHER;
        if (err != CF_OK) cf_cells_close(cells);
    }
    if (*found != CF_CELLS_OPEN) *cells = (cf_cells){0};
    return err == CF_E_UNEXPECTED ? err : CF_OK;
}
