/* cytofold import: weights of other programs as a run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/verbs.h"
#include "proto/config_table.h"
#include "proto/control.h"
#include "proto/safetensors.h"
#include "worker/import.h"
#include "worker/model_facts.h"

static cf_err run_import(int argc, char **argv);

const cf_verb cf_verb_import = {
    .name = "import",
    .summary = "weights of another program as a run that predicts",
    .usage = "FILE.safetensors... -o RUN [--scheme S] [--config FILE] [--set KEY=VALUE]...",
    .details =
        "Makes a run folder that `predict`, `explain` and `export` open. Several files become the\n"
        "folds of one run, in the order given. Tensors are found under torchvision's and timm's\n"
        "names or our own. A file of `cytofold export` brings its scheme and configuration with\n"
        "it; for others --scheme says what the outputs are, and the configuration what the "
        "network\n"
        "looks like (model.depths ...) and how images are normalised (augment.mean, augment.std);\n"
        "its default is ResNeXt-50 32x4d. What is missing, or has another shape, is named. To go\n"
        "on training from such weights use the key model.init instead.",
    .run = run_import,
};

typedef struct wishes {
    const char *output, *scheme, *config;
    cf_strings overrides;
    int64_t size;
} wishes;

/* What is known before the tensors are looked at. */
typedef struct source {
    cf_safetensors f;
    cf_config config;
    cf_scheme scheme;
    char images[64];
} source;

/* ---- what one file says -----------------------------------------------------------------------
 */

static cf_err read_config(const wishes *w, source *s)
{
    const char *path = s->f.path, *said = cf_safetensors_note(&s->f, CF_FACT_CONFIG);
    cf_config_defaults(&s->config);
    if (said != NULL)
        CF_TRY(
            cf_where(cf_config_parse(path, said, strlen(said), &s->config), "%s", CF_FACT_CONFIG));
    if (w->config != NULL) CF_TRY(cf_config_read(w->config, &s->config));
    for (size_t i = 0; i < w->overrides.n; i++)
        CF_TRY(cf_config_set(&s->config, w->overrides.items[i]));
    s->config.train_ema = 0; /* a file has one set of weights */
    s->config.model_init[0] = s->config.data_cells[0] = '\0';
    return cf_config_validate(&s->config);
}

static cf_err read_scheme(const wishes *w, source *s)
{
    const char *said = cf_safetensors_note(&s->f, CF_FACT_SCHEME);
    if (w->scheme != NULL) return cf_scheme_read(w->scheme, &s->scheme);
    if (said != NULL) return cf_scheme_parse(s->f.path, said, strlen(said), &s->scheme);
    return cf_fail(CF_E_USAGE, "%s does not say what its outputs are: --scheme S", s->f.path);
}

/* Only what can be read again goes into run.yaml. */
static void read_images(const wishes *w, source *s)
{
    const char *said = cf_safetensors_note(&s->f, CF_FACT_IMAGES);
    int width = 0, height = 0;
    double scale = 0;
    if (said != NULL && sscanf(said, "%d x %d px, %lf um/px", &width, &height, &scale) < 2)
        width = height = 0;
    if (w->size > 0) { /* of the same field */
        scale = scale * height / (double)w->size;
        width = height = (int)w->size;
    }
    if (width > 0 && height > 0)
        snprintf(s->images, sizeof s->images, "%d x %d px, %.9g um/px", width, height, scale);
}

/* Published weights are of images that were normalised by some mean and SD or other: taken as they
 * are, such images give probabilities that look right and are not. */
static void warn_of_normalisation(const wishes *w, const source *s)
{
    bool said = w->config != NULL || cf_safetensors_note(&s->f, CF_FACT_CONFIG) != NULL;
    for (size_t i = 0; i < w->overrides.n; i++)
        said |= strncmp(w->overrides.items[i], "augment.mean", 12) == 0 ||
                strncmp(w->overrides.items[i], "augment.std", 11) == 0;
    if (!said)
        cf_log_warn("%s does not say how its images were normalised: they are taken as they are; "
                    "--set augment.mean=[R,G,B] --set augment.std=[R,G,B] says it",
                    s->f.path);
}

static void close_source(source *s)
{
    cf_scheme_fini(&s->scheme);
    cf_safetensors_close(&s->f);
    free(s);
}

/* ---- all files make one run -------------------------------------------------------------------
 */

/* What a prediction depends on: the network and its arithmetic, and what is done to an image before
 * it. */
static bool is_seen_by_prediction(const cf_key *key)
{
    static const char *const keys[] = {"augment.zoom", "augment.mean", "augment.std",
                                       "train.precision"};
    bool seen = strcmp(key->section, "model") == 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        seen |= strcmp(key->path, keys[i]) == 0;
    return seen;
}

static cf_err compare_configs(const source *a, const source *b)
{
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    cf_buf there = {0}, here = {0};
    cf_err err = CF_OK;
    for (int i = 0; i < n && err == CF_OK; i++) {
        cf_buf_clear(&there);
        cf_buf_clear(&here);
        cf_key_write(&keys[i], &b->config, &there);
        cf_key_write(&keys[i], &a->config, &here);
        if (is_seen_by_prediction(&keys[i]) && strcmp(cf_buf_text(&there), cf_buf_text(&here)) != 0)
            err = cf_fail(CF_E_USAGE,
                          "%s: %s is %s, but %s in %s; one run has one network: import them "
                          "apart, or say with --set or --config what holds for all",
                          b->f.path, keys[i].path, cf_buf_text(&there), cf_buf_text(&here),
                          a->f.path);
    }
    if (err == CF_OK) err = cf_buf_check(&there);
    if (err == CF_OK) err = cf_buf_check(&here);
    cf_buf_fini(&here);
    cf_buf_fini(&there);
    return err;
}

/* A file that says nothing of itself is taken for one like the first. */
static cf_err compare_sources(const wishes *w, const source *a, const source *b)
{
    const char *mine = cf_safetensors_note(&b->f, CF_FACT_SCHEME);
    const char *first = cf_safetensors_note(&a->f, CF_FACT_SCHEME);
    if (w->scheme == NULL && mine != NULL && first != NULL && strcmp(mine, first) != 0)
        return cf_fail(CF_E_USAGE, "%s: its scheme is not that of %s; --scheme S says which holds",
                       b->f.path, a->f.path);
    if (w->size == 0 && b->images[0] != '\0' && strcmp(a->images, b->images) != 0)
        return cf_fail(CF_E_USAGE,
                       "%s: trained on images of %s, %s on %s; import them apart, or say with "
                       "--size what holds for all",
                       b->f.path, b->images, a->f.path,
                       a->images[0] != '\0' ? a->images : "images that it does not tell");
    return cf_safetensors_note(&b->f, CF_FACT_CONFIG) != NULL ? compare_configs(a, b) : CF_OK;
}

static cf_err compare_with_first(const wishes *w, const source *first, const char *path)
{
    source *s = NULL;
    CF_TRY(cf_new(&s, 1, sizeof *s));
    cf_err err = cf_safetensors_open(path, &s->f);
    if (err == CF_OK) err = read_config(w, s);
    if (err == CF_OK) read_images(w, s);
    if (err == CF_OK) err = compare_sources(w, first, s);
    close_source(s);
    return err;
}

static cf_err import(const wishes *w, const cf_strings *files)
{
    source *s = NULL;
    cf_err err = CF_OK;
    if (files->n > CF_MAX_FOLDS)
        return cf_fail(CF_E_USAGE, "import: %zu files, at most %d", files->n, CF_MAX_FOLDS);
    CF_TRY(cf_new(&s, 1, sizeof *s));
    CF_TRY_GOTO(cf_safetensors_open(files->items[0], &s->f), out);
    CF_TRY_GOTO(read_config(w, s), out);
    CF_TRY_GOTO(read_scheme(w, s), out);
    read_images(w, s);
    warn_of_normalisation(w, s);
    for (size_t i = 1; i < files->n; i++)
        CF_TRY_GOTO(compare_with_first(w, s, files->items[i]), out);
    const cf_import_job job = {(const char *const *)files->items,
                               (int)files->n,
                               &s->config,
                               &s->scheme,
                               w->output,
                               s->images};
    CF_TRY_GOTO(cf_import(&job), out);
    printf("%s: %zu network%s, scheme %s, %d classes; cytofold predict %s SRC... -o P.csv\n",
           w->output, files->n, files->n == 1 ? "" : "s", s->scheme.name, s->scheme.n_classes,
           w->output);
out:
    close_source(s);
    return err;
}

static cf_err run_import(int argc, char **argv)
{
    wishes w = {0};
    bool help = false;
    const cf_option options[] = {
        {"output", 'o', CF_OPTION_TEXT, &w.output, 0, 0, "RUN", "run folder to make (required)"},
        {"scheme", 0, CF_OPTION_TEXT, &w.scheme, 0, 0, "S",
         "class scheme: a name or a file (default: the file's own)"},
        {"config", 0, CF_OPTION_TEXT, &w.config, 0, 0, "FILE",
         "configuration of the network and its images (default: the file's own)"},
        {"set", 0, CF_OPTION_MANY, &w.overrides, 0, 0, "KEY=VALUE",
         "override a key of the configuration"},
        {"size", 0, CF_OPTION_INT, &w.size, 1, 8192, "N",
         "side of the images that the network was trained on, px (default: the file's own)"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_import, options, sizeof options / sizeof options[0],
                                  argc, argv, 1, -1, &operands, &help);
    if (err == CF_OK && !help) {
        err = w.output != NULL
                  ? import(&w, &operands)
                  : cf_fail(CF_E_USAGE, "import: -o RUN is missing; usage: cytofold import %s",
                            cf_verb_import.usage);
    }
    cf_strings_fini(&w.overrides);
    cf_strings_fini(&operands);
    return err;
}
