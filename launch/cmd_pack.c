/* cytofold pack: image files into one cells file. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/progress.h"
#include "launch/verbs.h"
#include "proto/text.h"
#include "worker/data/image.h"
#include "worker/data/pack.h"

enum { MAX_LISTED = 20 };

/* Set by a signal, read between images: the one thing a handler can touch. */
static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

/* A second signal finds the default action again and ends the program at once. */
static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    struct sigaction before;
    for (int i = 0; i < 3; i++) {
        /* one that is ignored stays so: nohup asks for that */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

static bool on_progress(void *progress, int64_t done, int64_t total)
{
    cf_progress_update(progress, done, total);
    return caught == 0;
}

static void list_damaged(const cf_strings *damaged)
{
    for (size_t i = 0; i < damaged->n && i < MAX_LISTED; i++) cf_log_warn("%s", damaged->items[i]);
    if (damaged->n > MAX_LISTED)
        cf_log_warn("and %zu more that cannot be read (--json lists them all)",
                    damaged->n - MAX_LISTED);
}

static void print_text(const cf_pack_options *o, const cf_pack_result *r, double seconds)
{
    printf("%s: %lld images of %d x %d, scheme %s\n", o->output, (long long)r->n_packed, r->width,
           r->height, r->scheme.name);
    for (int c = 0; c < r->scheme.n_classes; c++)
        if (r->counts[c] > 0)
            printf("  %-8s %8lld  %s\n", r->scheme.classes[c].code, (long long)r->counts[c],
                   r->scheme.classes[c].name);
    if (r->um_per_px > 0.0) printf("%.6g um a pixel\n", r->um_per_px);
    if (*r->folds) printf("%s: the split of the manifests\n", r->folds);
    if (r->n_damaged > 0) printf("left out: %lld that cannot be read\n", (long long)r->n_damaged);
    if (r->n_unmapped > 0)
        printf("left out: %lld of labels that the scheme does not know\n",
               (long long)r->n_unmapped);
    if (r->n_dropped > 0)
        printf("left out: %lld of classes that the scheme drops\n", (long long)r->n_dropped);
    printf("%.1f s, %.0f images/s\n", seconds, (double)r->n_found / seconds);
}

static cf_err print_json(const cf_pack_options *o, const cf_pack_result *r, cf_err result,
                         double seconds)
{
    cf_buf out = {0};
    cf_json j;
    cf_json_begin(&j, &out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "file", o->output);
    cf_json_boolean(&j, "written", result == CF_OK);
    cf_json_integer(&j, "images", r->n_packed);
    cf_json_integer(&j, "found", r->n_found);
    cf_json_integer(&j, "height", r->height);
    cf_json_integer(&j, "width", r->width);
    cf_json_string(&j, "scheme", r->scheme.name);
    cf_json_object(&j, "classes");
    for (int c = 0; r->counts && c < r->scheme.n_classes; c++)
        cf_json_integer(&j, r->scheme.classes[c].code, r->counts[c]);
    cf_json_end_object(&j);
    cf_json_array(&j, "damaged");
    for (size_t i = 0; i < r->damaged.n; i++) cf_json_string(&j, NULL, r->damaged.items[i]);
    cf_json_end_array(&j);
    cf_json_integer(&j, "n_damaged", r->n_damaged);
    cf_json_integer(&j, "dropped", r->n_dropped);
    cf_json_integer(&j, "unmapped", r->n_unmapped);
    cf_json_number(&j, "um_per_px", r->um_per_px);
    cf_json_string(&j, "folds_file", r->folds);
    cf_json_integer(&j, "ignored", r->n_ignored);
    cf_json_number(&j, "seconds", seconds);
    cf_json_number(&j, "images_per_second", (double)r->n_found / seconds);
    cf_json_end_object(&j);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) puts(cf_buf_text(&out));
    cf_buf_fini(&out);
    return err;
}

static cf_err pack_and_print(const cf_pack_options *options, bool json)
{
    cf_pack_result r;
    cf_progress progress;
    cf_pack_options o = *options;
    o.progress = on_progress;
    o.context = &progress;
    cf_progress_begin(&progress, "packed");
    catch_signals();
    cf_err err = cf_pack(&o, &r);
    double seconds = cf_progress_end(&progress);
    if (r.n_ignored > 0)
        cf_log_info("%lld files or links were passed over as no images by name or place, first: %s",
                    (long long)r.n_ignored, r.first_ignored);
    for (size_t i = 0; i < r.notes.n; i++) cf_log_info("%s", r.notes.items[i]);
    list_damaged(&r.damaged);
    if (json && !r.interrupted) {
        cf_err printed = print_json(&o, &r, err, seconds);
        if (err == CF_OK) err = printed;
    } else if (err == CF_OK) {
        print_text(&o, &r, seconds);
    }
    cf_pack_result_fini(&r);
    if (caught != 0 && err != CF_OK) {
        /* all is cleared away: die of the signal, so that a shell or a scheduler sees it */
        cf_log_error("%s", cf_err_text());
        signal(caught, SIG_DFL);
        raise(caught);
    }
    return err;
}

/* What the command line says of the sources. */
typedef struct wishes {
    cf_strings operands;   /* SRC or NAME=SRC */
    cf_strings scales;     /* F or NAME=F */
    const char *site;      /* of sources without a NAME */
    cf_source *sources;    /* owned, [operands.n] */
    cf_strings site_names; /* owned texts of sources */
} wishes;

static void wishes_fini(wishes *w)
{
    cf_strings_fini(&w->operands);
    cf_strings_fini(&w->scales);
    cf_strings_fini(&w->site_names);
    free(w->sources);
}

/* The '=' of NAME=REST, or NULL: a name has no slash, and what exists as it stands is a path. */
static const char *name_end(const char *text)
{
    const char *equals = strchr(text, '='), *slash = strchr(text, '/');
    if (!equals || equals == text || (slash && slash < equals) || cf_path_exists(text)) return NULL;
    return equals;
}

/* list gets text[0..end), "" for NULL. */
static cf_err add_name(cf_strings *list, const char *text, const char *end)
{
    char name[CF_PATH_MAX];
    size_t n = end ? (size_t)(end - text) : 0;
    if (n >= sizeof name) n = sizeof name - 1;
    memcpy(name, text, n);
    name[n] = '\0';
    if (n > 0 && !cf_name_is_safe(name))
        return cf_fail(CF_E_USAGE, "NAME=SRC: the site is not a plain name of at most 200 bytes");
    return cf_strings_add(list, name);
}

/* Sets the scale of the sources that a --um-per-px is for. */
static cf_err set_scale(wishes *w, const char *text)
{
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : 0;
    double value;
    bool found = false;
    if (!cf_text_number(equals ? equals + 1 : text, &value) || value <= 0.0 || value > 1000.0)
        return cf_fail(CF_E_USAGE,
                       "--um-per-px takes F or NAME=F, a number above 0 to 1000, found "
                       "'%.80s'",
                       text);
    for (size_t i = 0; i < w->operands.n; i++) {
        cf_source *s = &w->sources[i];
        bool mine =
            equals ? strlen(s->site) == n && memcmp(s->site, text, n) == 0 : s->um_per_px == 0.0;
        if (mine) s->um_per_px = value;
        found |= mine;
    }
    if (equals && !found)
        return cf_fail(CF_E_USAGE, "--um-per-px %.80s: no source of that site", text);
    return CF_OK;
}

static cf_err make_sources(wishes *w)
{
    if (*w->site && !cf_name_is_safe(w->site))
        return cf_fail(CF_E_USAGE, "--site: not a plain name of at most 200 bytes");
    CF_TRY(cf_new(&w->sources, w->operands.n, sizeof *w->sources));
    for (size_t i = 0; i < w->operands.n; i++) {
        const char *text = w->operands.items[i], *equals = name_end(text);
        CF_TRY(add_name(&w->site_names, text, equals));
        const char *name = w->site_names.items[i];
        w->sources[i] = (cf_source){
            .path = equals ? equals + 1 : text, .site = *name ? name : w->site, .name = name};
    }
    /* those for one site first: the general one is for the others */
    for (int named = 1; named >= 0; named--)
        for (size_t i = 0; i < w->scales.n; i++)
            if ((strchr(w->scales.items[i], '=') != NULL) == (named == 1))
                CF_TRY(set_scale(w, w->scales.items[i]));
    return CF_OK;
}

static cf_err run(int argc, char **argv)
{
    wishes w = {.site = ""};
    const char *scheme = NULL, *output = NULL;
    int64_t size = 0, patch = 250, threads = 0, max_pixels = CF_IMAGE_DEFAULT_LIMIT;
    double crop_um = 0.0;
    bool skip = false, drop = false, json = false, help = false;
    const cf_option options[] = {
        {"scheme", 0, CF_OPTION_TEXT, &scheme, 0, 0, "S",
         "class scheme: a name, a file, or auto (one class a label)"},
        {"output", 'o', CF_OPTION_TEXT, &output, 0, 0, "FILE", "cells file to write"},
        {"size", 0, CF_OPTION_INT, &size, 1, 8192, "N", "resize to N x N px (default: as stored)"},
        {"crop-um", 0, CF_OPTION_NUM, &crop_um, 0.01, 1e6, "F",
         "keep F x F um round the centre, then --size"},
        {"um-per-px", 0, CF_OPTION_MANY, &w.scales, 0, 0, "[NAME=]F",
         "pixel size of all sources, or of one site's"},
        {"patch", 0, CF_OPTION_INT, &patch, 1, 8192, "N",
         "side of cells cut out of fields, px (default: 250)"},
        {"skip-damaged", 0, CF_OPTION_FLAG, &skip, 0, 0, NULL, "pack the others (default: stop)"},
        {"drop-unmapped", 0, CF_OPTION_FLAG, &drop, 0, 0, NULL,
         "leave out labels that the scheme does not know (default: stop)"},
        {"site", 0, CF_OPTION_TEXT, &w.site, 0, 0, "NAME", "centre the images come from"},
        {"threads", 0, CF_OPTION_INT, &threads, 1, 256, "N", "decoders (default: one a core)"},
        {"max-pixels", 0, CF_OPTION_INT, &max_pixels, 1, 500e6, "N",
         "refuse larger images (default: 64000000)"},
        {"json", 0, CF_OPTION_FLAG, &json, 0, 0, NULL, "print the result as JSON"},
    };
    cf_err err = cf_options_parse(&cf_verb_pack, options, sizeof options / sizeof options[0], argc,
                                  argv, 1, -1, &w.operands, &help);
    if (err != CF_OK || help) goto out;
    if (!scheme || !output)
        CF_TRY_GOTO(cf_fail(CF_E_USAGE, "pack needs %s",
                            scheme ? "-o FILE" : "--scheme S (or --scheme auto)"),
                    out);
    CF_TRY_GOTO(make_sources(&w), out);
    cf_pack_options o = {.sources = w.sources,
                         .n_sources = (int)w.operands.n,
                         .scheme = scheme,
                         .output = output,
                         .cut = {.crop_um = crop_um, .patch = (int)patch, .size = (int)size},
                         .unmapped = drop ? CF_UNMAPPED_DROP : CF_UNMAPPED_REFUSE,
                         .threads = (int)threads,
                         .max_pixels = max_pixels,
                         .damaged = skip ? CF_PACK_SKIP : CF_PACK_STOP};
    err = pack_and_print(&o, json);
out:
    wishes_fini(&w);
    return err;
}

const cf_verb cf_verb_pack = {
    "pack", "put image files into one cells file", "SRC... --scheme S -o X.cells [options]",
    "SRC is a folder or a manifest; NAME=SRC says that site NAME made its images, and puts\n"
    "NAME/ before their ids and patients. A folder holds a folder per class, named by the\n"
    "class's code, its name or an alias of the scheme; below it images may lie at any depth.\n"
    "A manifest is a file *.csv with the columns path,label and, where there are any,\n"
    "site,patient,split,um_per_px,x,y: paths start from its folder; a site given there comes\n"
    "before NAME; a split (train, test, val, or a fold's number) becomes X.folds.csv beside\n"
    "X.cells: test is fold 0, train and val are trained on; a row with x and y is one cell of a "
    "whole field, cut out\n"
    "round that pixel, its border mirrored where the field ends.\n"
    "JPEG, PNG and TIFF are read, whatever the file is called: alpha is dropped, 16 bits are\n"
    "cut to 8, grey, palette and CMYK become RGB, the orientation is applied, of a TIFF the\n"
    "first page is taken. Without --size all images must have one size.\n"
    "Images that cannot be read are named and stop the packing; --skip-damaged leaves them\n"
    "out.",
    run};
