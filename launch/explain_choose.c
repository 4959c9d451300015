#include "launch/explain_choose.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/csv.h"
#include "proto/text.h"

enum { UNKNOWN = -1, TRAINED = -2 }; /* in the place of a fold */

/* An id and what is looked up by it. */
typedef struct named {
    const char *id; /* borrowed */
    int64_t place;
} named;

static int by_id(const void *a, const void *b)
{
    return strcmp(((const named *)a)->id, ((const named *)b)->id);
}

/* ---- images -----------------------------------------------------------------------------------
 */

static cf_err find_ids(const cf_cells *cells, const cf_strings *ids, const named *index,
                       int64_t *images)
{
    for (size_t i = 0; i < ids->n; i++) {
        const named key = {ids->items[i], 0};
        const named *found = bsearch(&key, index, (size_t)cells->n, sizeof *index, by_id);
        if (found == NULL)
            return cf_fail(CF_E_USAGE, "--id %.200s: no such image among the %lld; ids are like %s",
                           ids->items[i], (long long)cells->n, cells->ids[0]);
        for (size_t k = 0; k < i; k++)
            if (images[k] == found->place)
                return cf_fail(CF_E_USAGE, "--id %.200s is given twice", ids->items[i]);
        images[i] = found->place;
    }
    return CF_OK;
}

cf_err cf_explain_images(const cf_cells *cells, const cf_strings *ids, int64_t **images, int64_t *n)
{
    named *index = NULL;
    *n = ids->n > 0 ? (int64_t)ids->n : cells->n;
    CF_TRY(cf_new(images, (size_t)*n, sizeof **images));
    for (int64_t i = 0; i < *n; i++) (*images)[i] = i;
    if (ids->n == 0) return CF_OK;
    CF_TRY(cf_new(&index, (size_t)cells->n, sizeof *index));
    for (int64_t i = 0; i < cells->n; i++) index[i] = (named){cells->ids[i], i};
    qsort(index, (size_t)cells->n, sizeof *index, by_id);
    cf_err err = find_ids(cells, ids, index, *images);
    free(index);
    return err;
}

/* ---- folds ------------------------------------------------------------------------------------
 */

static bool has_fold(const cf_saved *run, int64_t fold)
{
    for (int i = 0; i < run->n_folds; i++)
        if (run->folds[i] == fold) return true;
    return false;
}

/* What a row may call an image: its id, and where that is a file's path the ends of it that still
 * have a folder ("BLA/BLA_00007.jpg"), since files packed before are given by their paths now. */
static cf_err index_images(const cf_cells *cells, const int64_t *images, int64_t n, named **index,
                           size_t *n_index)
{
    size_t most = 0, k = 0;
    for (int64_t i = 0; i < n; i++, most++)
        for (const char *c = cells->ids[images[i]]; *c != '\0'; c++) most += *c == '/';
    CF_TRY(cf_new(index, most, sizeof **index));
    for (int64_t i = 0; i < n; i++) {
        const char *at = cells->ids[images[i]];
        (*index)[k++] = (named){at, i};
        while ((at = strchr(at, '/')) != NULL)
            if (strchr(++at, '/') != NULL) (*index)[k++] = (named){at, i};
    }
    *n_index = k;
    qsort(*index, k, sizeof **index, by_id);
    return CF_OK;
}

/* Fills in the folds of images that a row names; TRAINED where that fold (or the word "train") is
 * none of the run's networks. Of two images with one name in the folds file either may get its
 * fold. */
static cf_err take_rows(const cf_saved *run, const cf_csv *csv, const named *index, size_t n,
                        int *folds)
{
    int id = cf_csv_column(csv, "id"), fold = cf_csv_column(csv, "fold");
    if (id < 0 || fold < 0)
        return cf_fail(CF_E_DATA, "%s: expected columns id and fold", csv->name);
    for (int64_t row = 1; row < csv->n_rows; row++) {
        int64_t value = 0;
        const named key = {cf_csv_cell(csv, row, id), 0};
        const named *found = bsearch(&key, index, n, sizeof *index, by_id);
        if (found == NULL) continue;
        int *own = &folds[found->place];
        if (cf_text_integer(cf_csv_cell(csv, row, fold), &value) && has_fold(run, value))
            *own = (int)value;
        else if (*own < 0)
            *own = TRAINED;
    }
    return CF_OK;
}

cf_err cf_explain_folds(const cf_saved *run, const cf_cells *cells, const int64_t *images,
                        int64_t n, int *folds, cf_explain_others *others)
{
    enum { MAX_BYTES = 1 << 30 };
    char path[CF_PATH_MAX];
    cf_csv csv = {0};
    named *index = NULL;
    size_t n_index = 0;
    cf_err err = CF_OK;
    *others = (cf_explain_others){0};
    for (int64_t i = 0; i < n; i++) folds[i] = UNKNOWN;
    CF_TRY(cf_path_join(path, sizeof path, run->dir, "folds.csv"));
    if (cf_path_exists(path)) {
        CF_TRY(cf_csv_read(path, MAX_BYTES, &csv));
        CF_TRY_GOTO(index_images(cells, images, n, &index, &n_index), out);
        CF_TRY_GOTO(take_rows(run, &csv, index, n_index, folds), out);
    }
    for (int64_t i = 0; i < n; i++) {
        others->n_unknown += folds[i] == UNKNOWN;
        others->n_trained += folds[i] == TRAINED;
        if (folds[i] < 0) folds[i] = run->folds[0];
    }
out:
    free(index);
    cf_csv_fini(&csv);
    return err;
}
