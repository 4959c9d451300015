/* cytofold synth: phantom cells. */
#include <stdio.h>

#include "kernels/base/buf.h"
#include "launch/progress.h"
#include "launch/verbs.h"
#include "worker/data/synth.h"

static bool on_progress(void *progress, int64_t done, int64_t total)
{
    cf_progress_update(progress, done, total);
    return true;
}

static cf_err print_json(const cf_synth_options *o, const cf_scheme *s, double seconds)
{
    cf_buf out = {0};
    cf_json j;
    cf_json_begin(&j, &out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "folder", o->folder);
    cf_json_integer(&j, "images", o->n_images);
    cf_json_integer(&j, "size", o->size);
    cf_json_string(&j, "scheme", s->name);
    cf_json_integer(&j, "classes", s->n_classes);
    cf_json_integer(&j, "sites", o->n_sites);
    cf_json_integer(&j, "patients", o->n_patients);
    cf_json_integer(&j, "seed", (int64_t)o->seed);
    cf_json_boolean(&j, "synthetic", true);
    cf_json_number(&j, "seconds", seconds);
    cf_json_end_object(&j);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) puts(cf_buf_text(&out));
    cf_buf_fini(&out);
    return err;
}

static cf_err synthesize(const cf_synth_options *options, const char *scheme_name, bool json)
{
    cf_synth_options o = *options;
    cf_scheme scheme;
    cf_progress progress;
    CF_TRY(cf_scheme_read(scheme_name, &scheme));
    o.progress = on_progress;
    o.context = &progress;
    cf_progress_begin(&progress, "painted");
    cf_err err = cf_synth_write(&o, &scheme);
    double seconds = cf_progress_end(&progress);
    if (err == CF_OK && json)
        err = print_json(&o, &scheme, seconds);
    else if (err == CF_OK)
        printf("%s: %lld phantom cells of %d x %d in %d classes (synthetic), %.1f s, %.0f/s\n",
               o.folder, (long long)o.n_images, o.size, o.size, scheme.n_classes, seconds,
               (double)o.n_images / seconds);
    cf_scheme_fini(&scheme);
    return err;
}

static cf_err run(int argc, char **argv)
{
    const char *folder = NULL, *scheme = "bm7";
    int64_t n_images = 1400, size = 64, seed = 1, sites = 1, patients = 0, threads = 0;
    bool json = false, jpeg = false, published = false, help = false;
    const cf_option options[] = {
        {"output", 'o', CF_OPTION_TEXT, &folder, 0, 0, "DIR",
         "folder to make; must be new or empty"},
        {"images", 0, CF_OPTION_INT, &n_images, 1, 1e7, "N", "images in all (default: 1400)"},
        {"size", 0, CF_OPTION_INT, &size, 16, 1024, "N", "height and width in px (default: 64)"},
        {"scheme", 0, CF_OPTION_TEXT, &scheme, 0, 0, "S", "class scheme (default: bm7)"},
        {"seed", 0, CF_OPTION_INT, &seed, 0, 4294967295.0, "N", "seed (default: 1)"},
        {"published", 0, CF_OPTION_FLAG, &published, 0, 0, NULL,
         "classes as frequent as the scheme says was published (default: even)"},
        {"sites", 0, CF_OPTION_INT, &sites, 1, CF_SYNTH_MAX_SITES, "N",
         "centres that differ in lamp, stain and pixel size (default: 1)"},
        {"patients", 0, CF_OPTION_INT, &patients, 1, 1e7, "N",
         "patients of all sites together (default: not known)"},
        {"jpeg", 0, CF_OPTION_FLAG, &jpeg, 0, 0, NULL, "write JPEG of quality 85 (default: PNG)"},
        {"threads", 0, CF_OPTION_INT, &threads, 1, 256, "N", "painters (default: one a core)"},
        {"json", 0, CF_OPTION_FLAG, &json, 0, 0, NULL, "print the result as JSON"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_synth, options, sizeof options / sizeof options[0], argc,
                                  argv, 0, 0, &operands, &help);
    cf_strings_fini(&operands);
    if (err != CF_OK || help) return err;
    if (!folder) return cf_fail(CF_E_USAGE, "synth needs -o DIR");
    cf_synth_options o = {.folder = folder,
                          .n_images = n_images,
                          .share = published ? CF_SYNTH_PUBLISHED : CF_SYNTH_EVEN,
                          .size = (int)size,
                          .format = jpeg ? CF_SYNTH_JPEG : CF_SYNTH_PNG,
                          .n_sites = (int)sites,
                          .n_patients = patients,
                          .threads = (int)threads,
                          .seed = (uint64_t)seed};
    return synthesize(&o, scheme, json);
}

const cf_verb cf_verb_synth = {
    "synth", "draw phantom cells for demonstrations and tests", "-o DIR [options]",
    "The pictures are synthetic: discs and noise in the colours of a stained smear, a folder per "
    "class.\n"
    "With --sites or --patients DIR/manifest.csv says which is whose: pack that file.\n"
    "Results on them show that the program works and say nothing about real cells.",
    run};
