/* cytofold pack: image files into one cells file. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/log.h"
#include "launch/progress.h"
#include "launch/verbs.h"
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
    if (r->damaged.n > 0) printf("left out: %zu that cannot be read\n", r->damaged.n);
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
    cf_json_integer(&j, "dropped", r->n_dropped);
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

static cf_err run(int argc, char **argv)
{
    const char *scheme = NULL, *output = NULL, *site = "";
    int64_t size = 0, threads = 0, max_pixels = CF_IMAGE_DEFAULT_LIMIT;
    bool skip = false, json = false, help = false;
    const cf_option options[] = {
        {"scheme", 0, CF_OPTION_TEXT, &scheme, 0, 0, "S",
         "class scheme: a name, a file, or auto (one class a folder)"},
        {"output", 'o', CF_OPTION_TEXT, &output, 0, 0, "FILE", "cells file to write"},
        {"size", 0, CF_OPTION_INT, &size, 1, 8192, "N", "resize to N x N px (default: as stored)"},
        {"skip-damaged", 0, CF_OPTION_FLAG, &skip, 0, 0, NULL, "pack the others (default: stop)"},
        {"site", 0, CF_OPTION_TEXT, &site, 0, 0, "NAME", "centre the images come from"},
        {"threads", 0, CF_OPTION_INT, &threads, 1, 256, "N", "decoders (default: one a core)"},
        {"max-pixels", 0, CF_OPTION_INT, &max_pixels, 1, 500e6, "N",
         "refuse larger images (default: 64000000)"},
        {"json", 0, CF_OPTION_FLAG, &json, 0, 0, NULL, "print the result as JSON"},
    };
    cf_strings sources = {0};
    cf_err err = cf_options_parse(&cf_verb_pack, options, sizeof options / sizeof options[0], argc,
                                  argv, 1, -1, &sources, &help);
    if (err != CF_OK || help) goto out;
    if (!scheme || !output)
        err = cf_fail(CF_E_USAGE, "pack needs %s",
                      scheme ? "-o FILE" : "--scheme S (or --scheme auto)");
    else if (*site && !cf_name_is_safe(site))
        err = cf_fail(CF_E_USAGE, "--site: not a plain name of at most 200 bytes");
    if (err != CF_OK) goto out;
    cf_pack_options o = {.sources = (const char *const *)sources.items,
                         .n_sources = (int)sources.n,
                         .scheme = scheme,
                         .output = output,
                         .site = site,
                         .size = (int)size,
                         .threads = (int)threads,
                         .max_pixels = max_pixels,
                         .damaged = skip ? CF_PACK_SKIP : CF_PACK_STOP};
    err = pack_and_print(&o, json);
out:
    cf_strings_fini(&sources);
    return err;
}

const cf_verb cf_verb_pack = {
    "pack", "put image files into one cells file", "SRC... --scheme S -o X.cells [options]",
    "SRC holds a folder per class, named by the class's code, its name or an alias of the scheme;\n"
    "below it images may lie at any depth. JPEG, PNG and TIFF are read, whatever the file is "
    "called:\n"
    "alpha is dropped, 16 bits are cut to 8, grey, palette and CMYK become RGB, the EXIF\n"
    "orientation is applied. Without --size all images must have one size.\n"
    "Images that cannot be read are named and stop the packing; --skip-damaged leaves them out.",
    run};
