#include "launch/run_cells.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/folds.h"
#include "kernels/base/mem.h"

enum { MAX_YAML_BYTES = 1 << 20 };

static cf_err check_hash(const cf_saved *run, const char *path, const cf_run_cells *r)
{
    char yaml[CF_PATH_MAX], mark[64], *text = NULL;
    size_t n = 0;
    CF_TRY(cf_path_join(yaml, sizeof yaml, run->dir, "run.yaml"));
    CF_TRY(cf_file_read(yaml, MAX_YAML_BYTES, &text, &n));
    snprintf(mark, sizeof mark, "# data and folds: %016llx\n",
             (unsigned long long)cf_folds_hash(&r->cells, r->fold_of));
    bool same = strstr(text, mark) != NULL;
    free(text);
    if (same) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%s: not the images and folds that %s was trained on: expected the hash in its "
                   "run.yaml, found another",
                   path, run->dir);
}

cf_err cf_run_cells_open(const cf_saved *run, const char *path, cf_run_cells *out)
{
    char folds[CF_PATH_MAX];
    memset(out, 0, sizeof *out);
    if (path == NULL) path = run->config.data_cells;
    if (!cf_path_exists(path))
        return cf_fail(CF_E_DATA,
                       "%s: no such file; it holds the images that %s was trained on. Where it "
                       "was moved, --cells FILE says so",
                       path, run->dir);
    CF_TRY(cf_cells_open(path, &out->cells));
    CF_TRY(cf_new(&out->fold_of, (size_t)out->cells.n, sizeof *out->fold_of));
    CF_TRY(cf_path_join(folds, sizeof folds, run->dir, "folds.csv"));
    if (cf_folds_read(folds, &out->cells, &out->n_folds, out->fold_of) != CF_OK)
        return cf_where(CF_E_DATA, "%s is not what %s was trained on", path, run->dir);
    return check_hash(run, path, out);
}

void cf_run_cells_fini(cf_run_cells *r)
{
    cf_cells_close(&r->cells);
    free(r->fold_of);
    memset(r, 0, sizeof *r);
}
