/* Splits and folds files. */
#include "coordinator/folds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "kernels/math/philox.h"
#include "proto/csv.h"

/* fold_of is uint8, and two of its values say that there is no fold */
enum { UNSEEN = UINT8_MAX, MAX_FOLDS = CF_FOLD_TRAIN };
static const char train_word[] = "train";
static const size_t max_folds_file = (size_t)1 << 30;

cf_err cf_folds_check_counts(const cf_cells *cells, int n_folds)
{
    int64_t counts[CF_MAX_CLASSES];
    cf_cells_count(cells, counts);
    const cf_scheme *s = &cells->scheme;
    cf_buf small = {0};
    int n_present = 0, n_small = 0, present = 0;
    for (int c = 0; c < s->n_classes; c++) {
        if (counts[c] == 0) continue;
        n_present++;
        present = c;
        if (counts[c] < n_folds)
            cf_buf_printf(&small, "%s%s has %lld", n_small++ ? ", " : "", s->classes[c].code,
                          (long long)counts[c]);
    }
    cf_err err = CF_OK;
    if (n_present == 0)
        err = cf_fail(CF_E_DATA, "no images to split");
    else if (n_present == 1)
        err = cf_fail(CF_E_DATA, "only class %s has images; at least two classes are needed",
                      s->classes[present].code);
    else if (n_small > 0)
        err =
            cf_fail(CF_E_DATA, "a class needs at least as many images as there are folds (%d): %s",
                    n_folds, cf_buf_text(&small));
    cf_buf_fini(&small);
    return err;
}

/* Image numbers by class, each class in file order; list: [cells->n]. */
static void list_by_class(const cf_cells *cells, const int64_t *counts, int64_t *list)
{
    int64_t start[CF_MAX_CLASSES], at = 0;
    for (int c = 0; c < cells->scheme.n_classes; c++) {
        start[c] = at;
        at += counts[c];
    }
    for (int64_t i = 0; i < cells->n; i++) list[start[cells->labels[i]]++] = i;
}

static void shuffle(int64_t *list, int64_t n, cf_rng *rng)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = cf_rng_below(rng, (uint32_t)(i + 1)), swap = list[i];
        list[i] = list[j];
        list[j] = swap;
    }
}

/* Image numbers class after class, each class shuffled by its own stream. list: owned by the
 * caller. */
static cf_err shuffle_classes(const cf_cells *cells, uint64_t seed, int64_t *counts, int64_t **list)
{
    int64_t at = 0;
    cf_cells_count(cells, counts);
    CF_TRY(cf_new(list, (size_t)cells->n, sizeof **list));
    list_by_class(cells, counts, *list);
    for (int c = 0; c < cells->scheme.n_classes; c++) {
        cf_rng rng = cf_rng_at(seed, 0, 0, (uint32_t)c, CF_PURPOSE_SPLIT);
        shuffle(*list + at, counts[c], &rng);
        at += counts[c];
    }
    return CF_OK;
}

cf_err cf_folds_stratified(const cf_cells *cells, int n_folds, uint64_t seed, uint8_t *fold_of)
{
    if (n_folds < 2 || n_folds > MAX_FOLDS)
        return cf_fail(CF_E_USAGE, "%d folds, expected 2 to %d", n_folds, MAX_FOLDS);
    int64_t counts[CF_MAX_CLASSES], *list;
    CF_TRY(cf_folds_check_counts(cells, n_folds));
    CF_TRY(shuffle_classes(cells, seed, counts, &list));
    /* `at` counts on over the classes, so the folds' totals stay even too */
    for (int64_t at = 0; at < cells->n; at++) fold_of[list[at]] = (uint8_t)(at % n_folds);
    free(list);
    return CF_OK;
}

/* A multiple of the share's millionths ends between `at` and `at` + 1: that image is tested. */
static bool is_tested(int64_t at, int64_t millionths)
{
    return (at + 1) * millionths / 1000000 > at * millionths / 1000000;
}

cf_err cf_folds_holdout(const cf_cells *cells, double test_share, uint64_t seed, uint8_t *fold_of)
{
    int64_t counts[CF_MAX_CLASSES], *list, at = 0;
    int64_t millionths = cf_folds_millionths(test_share);
    if (millionths < 1 || millionths > 999999)
        return cf_fail(CF_E_USAGE, "test share %g, expected one between 0 and 1", test_share);
    CF_TRY(cf_folds_check_counts(cells, 2));
    CF_TRY(shuffle_classes(cells, seed, counts, &list));
    for (int c = 0; c < cells->scheme.n_classes; c++) {
        int64_t begin = at, n_test = 0;
        for (; at < begin + counts[c]; at++) {
            bool tested = is_tested(at, millionths);
            fold_of[list[at]] = tested ? 0 : CF_FOLD_TRAIN;
            n_test += tested;
        }
        if (counts[c] > 0 && n_test == 0) fold_of[list[begin]] = 0;
        if (counts[c] > 0 && n_test == counts[c]) fold_of[list[begin]] = CF_FOLD_TRAIN;
    }
    free(list);
    return CF_OK;
}

int64_t cf_folds_millionths(double share)
{
    return share > 0 && share < 1 ? (int64_t)(share * 1e6 + 0.5) : 0;
}

typedef struct named {
    const char *id; /* borrowed */
    int64_t image;
} named;

static int by_id(const void *a, const void *b)
{
    return strcmp(((const named *)a)->id, ((const named *)b)->id);
}

static int column_of(const cf_csv *csv, int64_t row, int column)
{
    char **cells = csv->cells + row * csv->n_columns;
    return (int)(cells[column] - cells[0]) + 1;
}

static const char *cell(const cf_csv *csv, int64_t row, int column)
{
    return csv->cells[row * csv->n_columns + column];
}

/* Whole decimal number 0..MAX_FOLDS-1, CF_FOLD_TRAIN, or -1. */
static int parse_fold(const char *text)
{
    size_t n = strlen(text);
    if (strcmp(text, train_word) == 0) return CF_FOLD_TRAIN;
    if (n < 1 || n > 3 || strspn(text, "0123456789") != n) return -1;
    int fold = atoi(text);
    return fold < MAX_FOLDS ? fold : -1;
}

/* Fills fold_of from the rows; index: all images, sorted by id. */
static cf_err take_rows(const cf_csv *csv, const named *index, int64_t n, uint8_t *fold_of)
{
    int id_column = cf_csv_column(csv, "id"), fold_column = cf_csv_column(csv, "fold");
    if (id_column < 0 || fold_column < 0)
        return cf_fail(CF_E_DATA, "%s:1:1: no column \"%s\" (expected id,fold)", csv->name,
                       id_column < 0 ? "id" : "fold");
    memset(fold_of, UNSEEN, (size_t)n);
    for (int64_t r = 1; r < csv->n_rows; r++) {
        long long line = csv->lines[r];
        named key = {cell(csv, r, id_column), 0};
        const named *found = bsearch(&key, index, (size_t)n, sizeof *index, by_id);
        if (!found)
            return cf_fail(CF_E_DATA, "%s:%lld:%d: image \"%s\" is not in the cells file",
                           csv->name, line, column_of(csv, r, id_column), key.id);
        int fold = parse_fold(cell(csv, r, fold_column));
        if (fold < 0)
            return cf_fail(CF_E_DATA, "%s:%lld:%d: fold \"%s\", expected 0 to %d or %s", csv->name,
                           line, column_of(csv, r, fold_column), cell(csv, r, fold_column),
                           MAX_FOLDS - 1, train_word);
        if (fold_of[found->image] != UNSEEN)
            return cf_fail(CF_E_DATA, "%s:%lld:%d: image \"%s\" is there twice", csv->name, line,
                           column_of(csv, r, id_column), key.id);
        fold_of[found->image] = (uint8_t)fold;
    }
    return CF_OK;
}

/* Every image has a fold, and folds 0..n-1 are all there. Sets n_folds. */
static cf_err check_complete(const char *path, const cf_cells *cells, const uint8_t *fold_of,
                             int *n_folds)
{
    int64_t counts[MAX_FOLDS] = {0}, n_train = 0;
    *n_folds = 0;
    for (int64_t i = 0; i < cells->n; i++) {
        n_train += fold_of[i] == CF_FOLD_TRAIN;
        if (fold_of[i] == CF_FOLD_TRAIN) continue;
        if (fold_of[i] == UNSEEN)
            return cf_fail(CF_E_DATA, "%s: image \"%s\" of the cells file has no row", path,
                           cells->ids[i]);
        counts[fold_of[i]]++;
        if (fold_of[i] >= *n_folds) *n_folds = fold_of[i] + 1;
    }
    for (int f = 0; f < *n_folds; f++)
        if (counts[f] == 0)
            return cf_fail(CF_E_DATA, "%s: fold %d has no image, but fold %d has", path, f,
                           *n_folds - 1);
    if (*n_folds == 0) return cf_fail(CF_E_DATA, "%s: no image is in a fold to be tested", path);
    if (*n_folds == 1 && n_train == 0)
        return cf_fail(CF_E_DATA, "%s: 1 fold, expected 2 or more, or images to %s on", path,
                       train_word);
    return CF_OK;
}

cf_err cf_folds_read(const char *path, const cf_cells *cells, int *n_folds, uint8_t *fold_of)
{
    cf_csv csv = {0};
    named *index = NULL;
    cf_err err;
    CF_TRY_GOTO(cf_csv_read(path, max_folds_file, &csv), out);
    CF_TRY_GOTO(cf_new(&index, (size_t)cells->n, sizeof *index), out);
    for (int64_t i = 0; i < cells->n; i++) index[i] = (named){cells->ids[i], i};
    qsort(index, (size_t)cells->n, sizeof *index, by_id);
    CF_TRY_GOTO(take_rows(&csv, index, cells->n, fold_of), out);
    CF_TRY_GOTO(check_complete(path, cells, fold_of, n_folds), out);
out:
    free(index);
    cf_csv_fini(&csv);
    return err;
}

cf_err cf_folds_write(const char *path, const cf_cells *cells, const uint8_t *fold_of)
{
    cf_buf out = {0};
    cf_csv_put(&out, "id", CF_CSV_MORE);
    cf_csv_put(&out, "fold", CF_CSV_END_ROW);
    for (int64_t i = 0; i < cells->n; i++) {
        char fold[8];
        if (fold_of[i] == CF_FOLD_TRAIN)
            snprintf(fold, sizeof fold, "%s", train_word);
        else
            snprintf(fold, sizeof fold, "%d", fold_of[i]);
        cf_csv_put(&out, cells->ids[i], CF_CSV_MORE);
        cf_csv_put(&out, fold, CF_CSV_END_ROW);
    }
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) err = cf_file_save(path, out.data, out.len);
    cf_buf_fini(&out);
    return err;
}

uint64_t cf_folds_hash(const cf_cells *cells, const uint8_t *fold_of)
{
    uint64_t parts[3] = {cells->content_hash, (uint64_t)cells->n,
                         cf_hash64(fold_of, (size_t)cells->n)};
    return cf_hash64(parts, sizeof parts);
}
