/* cytofold pack: image files into one cells file. */
#include <stdio.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/log.h"
#include "launch/progress.h"
#include "launch/signals.h"
#include "launch/sources.h"
#include "launch/verbs.h"
#include "worker/data/image.h"
#include "worker/data/pack.h"

static bool on_progress(void *progress, int64_t done, int64_t total)
{
    cf_progress_update(progress, done, total);
    return cf_signals_caught() == 0;
}

static void print_text(const cf_pack_options *o, const cf_pack_result *r, double seconds)
{
    printf("%s: %lld images of %d x %d, scheme %s\n", o->output, (long long)r->n_packed, r->width,
           r->height, r->scheme.name);
    for (int c = 0; c < r->scheme.n_classes; c++)
        if (r->counts[c] > 0)
            printf("  %-8s %8lld  %s\n", r->scheme.classes[c].code, (long long)r->counts[c],
                   r->scheme.classes[c].name);
    if (r->n_unlabelled > 0)
        printf("  %-8s %8lld  without a class\n", "", (long long)r->n_unlabelled);
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

static cf_err print_json(const cf_pack_options *o, const cf_pack_result *r, double seconds)
{
    cf_buf out = {0};
    cf_json j;
    cf_json_begin(&j, &out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "file", o->output);
    cf_json_boolean(&j, "written", r->written);
    cf_json_integer(&j, "images", r->n_packed);
    cf_json_integer(&j, "found", r->n_found);
    cf_json_integer(&j, "height", r->height);
    cf_json_integer(&j, "width", r->width);
    cf_json_string(&j, "stored", o->store == CF_PACK_ENCODED ? "encoded" : "decoded");
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
    cf_json_integer(&j, "unlabelled", r->n_unlabelled);
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
    cf_signals_catch();
    cf_err err = cf_pack(&o, &r);
    double seconds = cf_progress_end(&progress);
    if (r.n_ignored > 0)
        cf_log_info("%lld files or links were passed over as no images by name or place, first: %s",
                    (long long)r.n_ignored, r.first_ignored);
    for (size_t i = 0; i < r.notes.n; i++) cf_log_info("%s", r.notes.items[i]);
    cf_sources_list_damaged(&r.damaged, " (--json lists them all)");
    if (json && !r.interrupted) {
        cf_err printed = print_json(&o, &r, seconds);
        if (err == CF_OK) err = printed;
    } else if (err == CF_OK) {
        print_text(&o, &r, seconds);
    }
    cf_pack_result_fini(&r);
    if (err != CF_OK) cf_signals_die();
    return err;
}

static cf_err run(int argc, char **argv)
{
    cf_source_wishes w = {.site = ""};
    bool keep = false;
    const char *scheme = NULL, *output = NULL;
    int64_t size = 0, patch = 250, threads = 0, max_pixels = CF_IMAGE_DEFAULT_LIMIT;
    double crop_um = 0.0;
    bool skip = false, drop = false, no_stain = false, encoded = false, json = false, help = false;
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
        {"keep-encoded", 0, CF_OPTION_FLAG, &encoded, 0, 0, NULL,
         "keep image files as they are, not their pixels: smaller, decoded anew each epoch"},
        {"no-stain", 0, CF_OPTION_FLAG, &no_stain, 0, 0, NULL,
         "leave out the stains of each image, which augment.stain needs"},
        {"site", 0, CF_OPTION_TEXT, &w.site, 0, 0, "NAME", "centre the images come from"},
        {"threads", 0, CF_OPTION_INT, &threads, 1, 256, "N", "decoders (default: one a core)"},
        {"max-pixels", 0, CF_OPTION_INT, &max_pixels, 1, 500e6, "N",
         "refuse larger images (default: 64000000)"},
        {"unlabelled", 0, CF_OPTION_FLAG, &keep, 0, 0, NULL,
         "keep images of unknown or no label, without a class: for predict only"},
        {"json", 0, CF_OPTION_FLAG, &json, 0, 0, NULL, "print the result as JSON"},
    };
    cf_err err = cf_options_parse(&cf_verb_pack, options, sizeof options / sizeof options[0], argc,
                                  argv, 1, -1, &w.operands, &help);
    if (err != CF_OK || help) goto out;
    if (!scheme || !output)
        CF_TRY_GOTO(cf_fail(CF_E_USAGE, "pack needs %s",
                            scheme ? "-o FILE" : "--scheme S (or --scheme auto)"),
                    out);
    if (keep && (drop || strcmp(scheme, "auto") == 0))
        CF_TRY_GOTO(cf_fail(CF_E_USAGE, "--unlabelled keeps images without a class of a scheme: no "
                                        "--drop-unmapped or --scheme auto with it"),
                    out);
    if (encoded && max_pixels > CF_IMAGE_DEFAULT_LIMIT)
        CF_TRY_GOTO(cf_fail(CF_E_USAGE,
                            "--keep-encoded takes images of up to %lld pixels, as whoever reads "
                            "them does; --max-pixels %lld is more",
                            (long long)CF_IMAGE_DEFAULT_LIMIT, (long long)max_pixels),
                    out);
    CF_TRY_GOTO(cf_sources_make(&w), out);
    cf_pack_options o = {.sources = w.sources,
                         .n_sources = (int)w.operands.n,
                         .scheme = scheme,
                         .output = output,
                         .cut = {.crop_um = crop_um, .patch = (int)patch, .size = (int)size},
                         .unmapped = keep   ? CF_UNMAPPED_KEEP
                                     : drop ? CF_UNMAPPED_DROP
                                            : CF_UNMAPPED_REFUSE,
                         .threads = (int)threads,
                         .max_pixels = max_pixels,
                         .stains = no_stain ? CF_PACK_NO_STAINS : CF_PACK_STAINS,
                         .damaged = skip ? CF_PACK_SKIP : CF_PACK_STOP,
                         .store = encoded ? CF_PACK_ENCODED : CF_PACK_DECODED};
    err = pack_and_print(&o, json);
out:
    cf_source_wishes_fini(&w);
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
    "With --unlabelled a manifest needs no label, and folders of images and single image files\n"
    "are sources too; images keep the label that they were given beside their class.\n"
    "Images that cannot be read are named and stop the packing; --skip-damaged leaves them\n"
    "out.",
    run};
