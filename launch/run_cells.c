#include "launch/run_cells.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/trained_on.h"
#include "kernels/base/mem.h"

cf_err cf_run_cells_open(const cf_saved *run, const char *path, cf_run_cells *out)
{
    memset(out, 0, sizeof *out);
    if (run->config.data_cells[0] == '\0') /* a training has one */
        return cf_fail(CF_E_DATA, "%s was imported: what images it was trained on is not known",
                       run->dir);
    if (path == NULL) path = run->config.data_cells;
    if (!cf_path_exists(path))
        return cf_fail(CF_E_DATA,
                       "%s: no such file; it holds the images that %s was trained on. Where it "
                       "was moved, --cells FILE says so",
                       path, run->dir);
    CF_TRY(cf_cells_open(path, &out->cells));
    CF_TRY(cf_new(&out->fold_of, (size_t)out->cells.n, sizeof *out->fold_of));
    return cf_where(cf_trained_on_folds(run->dir, &out->cells, &out->n_folds, out->fold_of), "%s",
                    path);
}

void cf_run_cells_fini(cf_run_cells *r)
{
    cf_cells_close(&r->cells);
    free(r->fold_of);
    memset(r, 0, sizeof *r);
}
