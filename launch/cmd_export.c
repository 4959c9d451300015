/* cytofold export: the networks of a run for other programs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/verbs.h"
#include "proto/text.h"
#include "worker/export.h"
#include "worker/model_facts.h"

static cf_err run_export(int argc, char **argv);

const cf_verb cf_verb_export = {
    .name = "export",
    .summary = "the networks of a run for other programs: safetensors or ONNX",
    .usage = "RUN -o FILE.safetensors|FILE.onnx [--fold K] [options]",
    .details =
        "FILE.safetensors holds the weights of one fold under the names that torchvision and timm\n"
        "give them (the two agree for this network), or under our own; its metadata names "
        "classes,\n"
        "normalisation and image size. FILE.onnx (opset 17) is a whole classifier: images as they\n"
        "were packed for the run, uint8 [N, height, width, 3] in RGB, to class probabilities\n"
        "[N, classes], the mean over all folds or one fold's; resizing, zoom and normalisation "
        "are\n"
        "inside, and the logits of each fold are a second output [N, folds, nodes].",
    .run = run_export,
};

typedef struct wishes {
    const char *output, *format, *names;
    cf_strings folds;
    int64_t size;
} wishes;

static cf_err choose_folds(const wishes *w, cf_saved *run)
{
    int64_t folds[CF_MAX_FOLDS];
    int n = 0;
    for (size_t i = 0; i < w->folds.n; i++) {
        int64_t fold = 0;
        if (!cf_text_integer(w->folds.items[i], &fold) || fold < 0 || fold >= CF_MAX_FOLDS)
            return cf_fail(CF_E_USAGE, "--fold takes a number from 0 to %d, found '%.80s'",
                           CF_MAX_FOLDS - 1, w->folds.items[i]);
        if (n < CF_MAX_FOLDS) folds[n++] = fold;
    }
    return n > 0 ? cf_saved_choose(run, folds, n) : CF_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* The format named, or that of the file's ending. */
static cf_err find_format(const wishes *w, bool *onnx)
{
    const char *ending = NULL, *word = w->format;
    if (ends_with(w->output, ".onnx")) ending = "onnx";
    if (ends_with(w->output, ".safetensors")) ending = "safetensors";
    if (word == NULL) word = ending;
    if (word == NULL)
        return cf_fail(CF_E_USAGE, "export: %s: say --format safetensors or --format onnx",
                       w->output);
    *onnx = strcmp(word, "onnx") == 0;
    if (!*onnx && strcmp(word, "safetensors") != 0)
        return cf_fail(CF_E_USAGE, "--format takes safetensors or onnx, found '%.80s'", word);
    if (ending == NULL || strcmp(word, ending) == 0) return CF_OK;
    return cf_fail(CF_E_USAGE, "--format %s, but -o %s: one of the two is wrong", word, w->output);
}

static cf_err find_naming(const wishes *w, bool onnx, cf_naming *naming)
{
    if (onnx && w->names != NULL)
        return cf_fail(CF_E_USAGE, "--names %s is for safetensors; names of ONNX files are fixed",
                       w->names);
    if (!onnx && w->size > 0)
        return cf_fail(CF_E_USAGE, "--size is for ONNX; a safetensors file takes no images");
    if (w->names == NULL || cf_naming_find(w->names, naming)) return CF_OK;
    return cf_fail(CF_E_USAGE, "--names takes torchvision, timm or cytofold, found '%.80s'",
                   w->names);
}

/* Images of another size show the same field. */
static cf_err set_size(const wishes *w, cf_saved *run)
{
    if (w->size > 0) {
        run->um_per_px *= run->height / (double)w->size;
        run->height = run->width = (int)w->size;
    }
    if (run->height > 0) return CF_OK;
    run->height = run->width = (int)run->config.model_image_size;
    cf_log_warn("%s: the size of the images that it was trained on is not known; the file takes "
                "%d x %d px (--size N)",
                run->dir, run->width, run->height);
    return CF_OK;
}

static void tell(const wishes *w, const cf_saved *run, bool onnx, cf_naming naming)
{
    printf("%s: ", w->output);
    if (run->n_folds == 1)
        printf("fold %d", run->folds[0]);
    else
        printf("the mean of %d folds", run->n_folds);
    printf(" of %s, scheme %s, %d classes", run->dir, run->scheme.name, run->scheme.n_classes);
    if (onnx)
        printf("; images uint8 [N, %d, %d, 3] to probabilities [N, %d]\n", run->height, run->width,
               run->scheme.n_classes);
    else
        printf("; names of %s\n", cf_naming_word(naming));
}

static cf_err export(const wishes *w, const char *dir)
{
    cf_saved *run = NULL;
    cf_naming naming = CF_NAMING_TORCHVISION;
    bool onnx = false;
    CF_TRY(find_format(w, &onnx));
    CF_TRY(find_naming(w, onnx, &naming));
    CF_TRY(cf_new(&run, 1, sizeof *run));
    cf_err err = cf_saved_open(dir, run);
    if (err == CF_OK) err = choose_folds(w, run);
    if (err == CF_OK && onnx) err = set_size(w, run);
    const char *odd = naming == CF_NAMING_CYTOFOLD || onnx ? NULL : cf_weight_oddity(&run->config);
    if (err == CF_OK && odd != NULL) cf_log_info("%s", odd);
    if (err == CF_OK)
        err = onnx ? cf_export_onnx(run, w->output) : cf_export_safetensors(run, naming, w->output);
    if (err == CF_OK) tell(w, run, onnx, naming);
    cf_saved_fini(run);
    free(run);
    return err;
}

static cf_err run_export(int argc, char **argv)
{
    wishes w = {0};
    bool help = false;
    const cf_option options[] = {
        {"output", 'o', CF_OPTION_TEXT, &w.output, 0, 0, "FILE", "file to write (required)"},
        {"format", 0, CF_OPTION_TEXT, &w.format, 0, 0, "safetensors|onnx",
         "what it is to be (default: as its ending says)"},
        {"fold", 0, CF_OPTION_MANY, &w.folds, 0, 0, "K",
         "this fold's network; ONNX: may be given again (default: the mean of all)"},
        {"names", 0, CF_OPTION_TEXT, &w.names, 0, 0, "torchvision|timm|cytofold",
         "safetensors: whose names and layouts (default: torchvision)"},
        {"size", 0, CF_OPTION_INT, &w.size, 1, 8192, "N",
         "ONNX: images of N x N px come in (default: as the run's images were packed)"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_export, options, sizeof options / sizeof options[0],
                                  argc, argv, 1, 1, &operands, &help);
    if (err == CF_OK && !help) {
        err = w.output != NULL
                  ? export(&w, operands.items[0])
                  : cf_fail(CF_E_USAGE, "export: -o FILE is missing; usage: cytofold export %s",
                            cf_verb_export.usage);
    }
    cf_strings_fini(&w.folds);
    cf_strings_fini(&operands);
    return err;
}
