/* cytofold split: folds as a file. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/folds.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "launch/verbs.h"

/* counts: [n_classes][n_folds] */
static void count_images(const cf_cells *cells, const uint8_t *fold_of, int n_folds,
                         int64_t *counts)
{
    for (int64_t i = 0; i < cells->n; i++) counts[cells->labels[i] * n_folds + fold_of[i]]++;
}

static void print_text(const cf_cells *cells, int n_folds, const int64_t *counts,
                       const char *output)
{
    printf("%-8s", "class");
    for (int f = 0; f < n_folds; f++) printf("  fold %d", f);
    printf("   total\n");
    for (int c = 0; c <= cells->scheme.n_classes; c++) {
        int is_total = c == cells->scheme.n_classes;
        int64_t total = 0;
        for (int f = 0; f < n_folds; f++) total += counts[c * n_folds + f];
        if (total == 0) continue;
        printf("%-8s", is_total ? "total" : cells->scheme.classes[c].code);
        for (int f = 0; f < n_folds; f++) printf(" %7lld", (long long)counts[c * n_folds + f]);
        printf(" %7lld\n", (long long)total);
    }
    printf("%s: %lld images in %d folds\n", output, (long long)cells->n, n_folds);
}

static cf_err print_json(const cf_cells *cells, int n_folds, uint64_t seed, const int64_t *counts,
                         const char *output)
{
    cf_buf out = {0};
    cf_json j;
    cf_json_begin(&j, &out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "file", output);
    cf_json_integer(&j, "images", cells->n);
    cf_json_integer(&j, "folds", n_folds);
    cf_json_integer(&j, "seed", (int64_t)seed);
    cf_json_object(&j, "classes");
    for (int c = 0; c < cells->scheme.n_classes; c++) {
        cf_json_array(&j, cells->scheme.classes[c].code);
        for (int f = 0; f < n_folds; f++) cf_json_integer(&j, NULL, counts[c * n_folds + f]);
        cf_json_end_array(&j);
    }
    cf_json_end_object(&j);
    cf_json_end_object(&j);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) puts(cf_buf_text(&out));
    cf_buf_fini(&out);
    return err;
}

static cf_err split(const char *path, int n_folds, uint64_t seed, const char *output, bool json)
{
    cf_cells cells;
    uint8_t *fold_of = NULL;
    int64_t *counts = NULL; /* one row more for totals */
    cf_err err;
    CF_TRY(cf_cells_open(path, &cells));
    size_t n_rows = (size_t)cells.scheme.n_classes + 1;
    CF_TRY_GOTO(cf_new(&fold_of, (size_t)cells.n, 1), out);
    CF_TRY_GOTO(cf_new(&counts, n_rows * (size_t)n_folds, sizeof *counts), out);
    CF_TRY_GOTO(cf_where(cf_folds_stratified(&cells, n_folds, seed, fold_of), "%s", path), out);
    CF_TRY_GOTO(cf_folds_write(output, &cells, fold_of), out);
    count_images(&cells, fold_of, n_folds, counts);
    for (int64_t i = 0; i < cells.n; i++) counts[cells.scheme.n_classes * n_folds + fold_of[i]]++;
    if (json)
        err = print_json(&cells, n_folds, seed, counts, output);
    else
        print_text(&cells, n_folds, counts, output);
out:
    free(counts);
    free(fold_of);
    cf_cells_close(&cells);
    return err;
}

static cf_err run(int argc, char **argv)
{
    const char *output = NULL;
    int64_t n_folds = 5, seed = 1;
    bool json = false, help = false;
    const cf_option options[] = {
        {"folds", 0, CF_OPTION_INT, &n_folds, 2, 100, "N", "number of folds (default: 5)"},
        {"seed", 0, CF_OPTION_INT, &seed, 0, 4294967295.0, "N", "seed of the split (default: 1)"},
        {"output", 'o', CF_OPTION_TEXT, &output, 0, 0, "FILE", "CSV to write"},
        {"json", 0, CF_OPTION_FLAG, &json, 0, 0, NULL, "print the counts as JSON"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_split, options, sizeof options / sizeof options[0], argc,
                                  argv, 1, 1, &operands, &help);
    if (err == CF_OK && !help && !output) err = cf_fail(CF_E_USAGE, "split needs -o FILE");
    if (err == CF_OK && !help)
        err = split(operands.items[0], (int)n_folds, (uint64_t)seed, output, json);
    cf_strings_fini(&operands);
    return err;
}

const cf_verb cf_verb_split = {
    "split", "make stratified folds of a cells file", "X.cells -o folds.csv [options]",
    "Each class is dealt out evenly: in every class, and in all, folds differ by at most one "
    "image.\n"
    "The file has one row id,fold an image and can be given to train as data.folds_file.",
    run};
