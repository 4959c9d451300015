/* cytofold predict: the classes of images, by the networks of a run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/outputs.h"
#include "launch/predict_by.h"
#include "launch/predict_confusion.h"
#include "launch/predict_images.h"
#include "launch/predict_output.h"
#include "launch/predict_run.h"
#include "launch/predict_summary.h"
#include "launch/predict_unlike.h"
#include "launch/progress.h"
#include "launch/signals.h"
#include "launch/verbs.h"
#include "worker/data/image.h"
#include "worker/data/loader.h"
#include "worker/data/stain.h"
#include "worker/model_build.h"
#include "worker/predict.h"

/* The command line. */
typedef struct wishes {
    cf_predict_wishes images;
    cf_predict_run_wishes run;
    cf_strings confusion;
    const char *output, *class_map, *reference, *by_name, *count_dir, *cells;
    int64_t turns;
    double share, unlike; /* unlike: rate of false alarms; 0: not asked for */
    cf_predict_by by;
    bool adapt, temperature, json, help;
} wishes;

/* All that one prediction holds. */
typedef struct prediction {
    const wishes *w; /* borrowed */
    cf_saved *run;   /* owned */
    cf_cells cells;
    cf_strings damaged;
    cf_class_map map;
    cf_predictions p;
    cf_predict_times times;
    cf_stain reference;
    double temperatures[CF_MAX_FOLDS]; /* where w->temperature */
    cf_predict_unlike unlike;
    bool unlike_known;
    cf_differential differential;
} prediction;

/* ---- the run ----------------------------------------------------------------------------------
 */

static cf_err open_run(const wishes *w, const char *dir, prediction *x)
{
    CF_TRY(cf_new(&x->run, 1, sizeof *x->run));
    CF_TRY(cf_predict_run_open(&w->run, dir, x->run));
    if (w->adapt && cf_model_norm(&x->run->config) != CF_NORM_BATCH)
        return cf_fail(CF_E_USAGE,
                       "--adapt-norm: %s: the network has no batch norm, so there are no moments "
                       "to take from the images",
                       dir);
    if (w->temperature) CF_TRY(cf_predict_run_temperatures(x->run, x->temperatures));
    if (w->class_map != NULL) CF_TRY(cf_class_map_read(w->class_map, &x->run->scheme, &x->map));
    return CF_OK;
}

/* ---- the images -------------------------------------------------------------------------------
 */

static cf_err read_reference(const char *path, int64_t max_pixels, cf_stain *stain)
{
    enum { MAX_BYTES = 1 << 29 };
    char *bytes = NULL;
    size_t n = 0;
    cf_image image = {0};
    CF_TRY(cf_file_read(path, MAX_BYTES, &bytes, &n));
    cf_err err = cf_image_decode(path, (const uint8_t *)bytes, n, max_pixels, &image);
    free(bytes);
    if (err != CF_OK) return err;
    if (!cf_stain_estimate(image.pixels, image.height, image.width, stain))
        err = cf_fail(CF_E_DATA, "%s: no two stains can be told apart in it; take another image",
                      path);
    cf_image_fini(&image);
    return err;
}

static cf_err fill(prediction *x)
{
    const cf_cells *c = &x->cells;
    CF_TRY(cf_predictions_init(&x->p, c->n, x->run->scheme.n_classes));
    for (int64_t i = 0; i < c->n; i++) {
        CF_TRY(cf_strdup(c->ids[i], &x->p.ids[i]));
        CF_TRY(cf_strdup(c->site_names.items[c->sites[i]], &x->p.sites[i]));
        x->p.folds[i] = x->run->n_folds == 1 ? x->run->folds[0] : CF_FOLD_MEAN;
    }
    return cf_predict_labels(c, &x->run->scheme, x->w->class_map ? &x->map : NULL, x->p.labels);
}

/* A label of the map that no image bears is a slip of the pen more often than not. */
static void note_unused(const prediction *x)
{
    for (int k = 0; k < x->map.n; k++) {
        bool used = false;
        for (int64_t i = 0; i < x->cells.n && !used; i++)
            used = strcmp(cf_predict_given(&x->cells, i), x->map.items[k].from) == 0;
        if (!used)
            cf_log_info("%s: no image has the label %s", x->w->class_map, x->map.items[k].from);
    }
}

/* ---- predicting and telling -------------------------------------------------------------------
 */

static bool on_progress(void *progress, int64_t done, int64_t total)
{
    cf_progress_update(progress, done, total);
    return cf_signals_caught() == 0;
}

enum { FEW_IMAGES = 64 };

static cf_err run_networks(prediction *x)
{
    const wishes *w = x->w;
    if (w->adapt && x->cells.n < FEW_IMAGES)
        cf_log_warn("--adapt-norm takes moments from %lld images: those of so few are rough",
                    (long long)x->cells.n);
    const cf_scheme *s = &x->run->scheme;
    cf_progress progress;
    cf_predict_options o = {
        .n_turns = (int)w->turns,
        .norm = w->adapt ? CF_PREDICT_NORM_ADAPTED : CF_PREDICT_NORM_SAVED,
        .reference = w->reference != NULL ? &x->reference : NULL,
        .adapt_share = w->share,
        .temperatures = w->temperature ? x->temperatures : NULL,
        .progress = on_progress,
        .context = &progress,
    };
    if (x->unlike_known) {
        o.features = true;
        o.pass = cf_predict_unlike_pass;
        o.pass_context = &x->unlike;
    }
    cf_progress_begin(&progress, "predicted");
    cf_err err = cf_predict(x->run, &x->cells, &o, x->p.p, &x->times);
    cf_progress_end(&progress);
    CF_TRY(err);
    for (int64_t i = 0; i < x->p.n; i++)
        x->p.predicted[i] = cf_scheme_highest(s, x->p.p + i * s->n_classes);
    const cf_predict_times *t = &x->times;
    double seconds = (double)t->infer_ns / 1e9;
    cf_log_info("%lld images in %.1f s, %.0f images/s through one network, %.1f %% of it waiting "
                "for images (%s)",
                (long long)x->p.n, seconds, (double)t->n_passes / seconds,
                100 * (double)t->wait_ns / (double)t->infer_ns, t->device);
    if (w->adapt) cf_log_info("moments of the norms taken in %.1f s", (double)t->adapt_ns / 1e9);
    return CF_OK;
}

static void describe(const prediction *x, cf_buf *out)
{
    const cf_saved *run = x->run;
    const wishes *w = x->w;
    cf_buf_printf(out, "%s: %lld images by ", w->output, (long long)x->p.n);
    if (run->n_folds == 1)
        cf_buf_printf(out, "fold %d", run->folds[0]);
    else
        cf_buf_printf(out, "the mean of %d folds", run->n_folds);
    cf_buf_printf(out, " of %s, scheme %s", run->dir, run->scheme.name);
    if (w->turns > 1) cf_buf_printf(out, ", each in %d turns", (int)w->turns);
    if (w->adapt) cf_buf_printf(out, ", norms adapted (share %g)", w->share);
    if (w->reference) cf_buf_printf(out, ", stains of %s", w->reference);
    if (w->temperature) cf_buf_printf(out, ", scaled by each fold's temperature");
    cf_buf_printf(out, "\n");
    if (x->damaged.n > 0)
        cf_buf_printf(out, "left out: %zu files that cannot be read\n", x->damaged.n);
    if (x->unlike_known)
        cf_buf_printf(
            out,
            "unlike the training images: %lld of %lld (of those, at most %g in 100 would be)\n",
            (long long)x->unlike.n_flagged, (long long)x->p.n, 100 * w->unlike);
}

static void write_json(const prediction *x, const cf_predict_summary *m, cf_buf *out)
{
    const cf_saved *run = x->run;
    double seconds = (double)x->times.infer_ns / 1e9;
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "file", x->w->output);
    cf_json_string(&j, "run", run->dir);
    cf_json_string(&j, "scheme", run->scheme.name);
    cf_json_array(&j, "folds");
    for (int i = 0; i < run->n_folds; i++) cf_json_integer(&j, NULL, run->folds[i]);
    cf_json_end_array(&j);
    cf_json_integer(&j, "turns", x->w->turns);
    cf_json_boolean(&j, "adapted", x->w->adapt);
    if (x->w->adapt) cf_json_number(&j, "adapt_share", x->w->share);
    cf_json_string(&j, "stain_reference", x->w->reference ? x->w->reference : "");
    cf_json_array(&j, "temperatures");
    for (int i = 0; i < run->n_folds && x->w->temperature; i++)
        cf_json_number(&j, NULL, x->temperatures[i]);
    cf_json_end_array(&j);
    cf_predict_summary_json(m, &j);
    if (x->unlike_known) {
        cf_json_object(&j, "unlike");
        cf_json_integer(&j, "images", x->unlike.n_flagged);
        cf_json_number(&j, "false_alarm_rate", x->unlike.rate);
        cf_json_integer(&j, "swapped_channels", x->unlike.n_swapped);
        cf_json_end_object(&j);
    }
    if (x->w->by != CF_BY_NONE) {
        cf_json_string(&j, "by", cf_predict_by_name(x->w->by));
        cf_differential_json(&x->differential, "differential", &j);
    }
    cf_json_array(&j, "damaged");
    for (size_t i = 0; i < x->damaged.n; i++) cf_json_string(&j, NULL, x->damaged.items[i]);
    cf_json_end_array(&j);
    cf_json_number(&j, "seconds", seconds);
    cf_json_number(&j, "images_per_second", (double)x->times.n_passes / seconds);
    cf_json_number(&j, "wait_share", (double)x->times.wait_ns / (double)x->times.infer_ns);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

static cf_err print(const prediction *x)
{
    cf_predict_summary m = {0};
    cf_buf out = {0};
    cf_err err = cf_predict_summarise(&x->cells, &x->run->scheme, &x->p, &m);
    if (err == CF_OK && x->w->json) {
        write_json(x, &m, &out);
        err = cf_buf_check(&out);
    } else if (err == CF_OK) {
        describe(x, &out);
        err = cf_predict_summary_text(&m, &out);
        if (err == CF_OK && x->w->by != CF_BY_NONE)
            err = cf_differential_text(&x->differential, cf_predict_by_name(x->w->by), &out);
    }
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    for (size_t i = 0; err == CF_OK && i < x->w->confusion.n; i++)
        err = cf_predict_confusion_save(&m, x->w->confusion.items[i]);
    cf_buf_fini(&out);
    cf_predict_summary_fini(&m);
    return err;
}

static cf_err check_outputs(const wishes *w)
{
    CF_TRY(cf_output_check(w->output));
    CF_TRY(cf_output_check_all(&w->confusion));
    return w->count_dir != NULL ? cf_predict_by_folder(w->count_dir) : CF_OK;
}

/* What the images alone say against what is asked for. */
static cf_err check_images(const prediction *x)
{
    const wishes *w = x->w;
    int64_t n_labels = 0;
    CF_TRY(cf_predict_count_given(&x->cells, &n_labels));
    CF_TRY(cf_predict_confusion_fits(&w->confusion, n_labels));
    note_unused(x);
    return w->by != CF_BY_NONE ? cf_predict_by_check(w->by, &x->cells) : CF_OK;
}

static cf_err open_unlike(prediction *x)
{
    const wishes *w = x->w;
    if (w->unlike <= 0) return CF_OK;
    const cf_predict_unlike_wishes wanted = {.run = &w->run, .cells = w->cells, .rate = w->unlike};
    return cf_predict_unlike_open(&wanted, x->run, x->cells.n, &x->unlike, &x->unlike_known);
}

static cf_err write_files(prediction *x)
{
    const wishes *w = x->w;
    const cf_predict_output o = {.path = w->output,
                                 .run = x->run,
                                 .cells = &x->cells,
                                 .p = &x->p,
                                 .unlike = x->unlike_known ? &x->unlike : NULL,
                                 .temperatures = w->temperature ? x->temperatures : NULL};
    const uint8_t *unlike = x->unlike_known ? x->unlike.flags : NULL;
    const cf_stain *reference = w->reference != NULL ? &x->reference : NULL;
    if (x->unlike_known) CF_TRY(cf_predict_unlike_judge(&x->unlike, x->run, &x->cells, reference));
    CF_TRY(cf_predict_output_write(&o));
    if (w->by == CF_BY_NONE) return CF_OK;
    CF_TRY(cf_predict_by_count(w->by, &x->run->scheme, &x->cells, &x->p, unlike, &x->differential));
    if (w->count_dir == NULL) return CF_OK;
    return cf_predict_by_write(w->by, &x->differential, &x->cells, w->count_dir);
}

static cf_err predict(wishes *w, const char *dir)
{
    prediction x = {.w = w};
    cf_err err = CF_OK;
    CF_TRY_GOTO(open_run(w, dir, &x), out);
    if (w->reference)
        CF_TRY_GOTO(read_reference(w->reference, w->images.max_pixels, &x.reference), out);
    CF_TRY_GOTO(check_outputs(w), out);
    cf_signals_catch();
    CF_TRY_GOTO(cf_predict_images(&w->images, x.run, &x.cells, &x.damaged), out);
    CF_TRY_GOTO(fill(&x), out);
    CF_TRY_GOTO(check_images(&x), out);
    CF_TRY_GOTO(open_unlike(&x), out);
    CF_TRY_GOTO(run_networks(&x), out);
    CF_TRY_GOTO(write_files(&x), out);
    CF_TRY_GOTO(print(&x), out);
out:
    cf_differential_fini(&x.differential);
    cf_predict_unlike_fini(&x.unlike);
    cf_predictions_fini(&x.p);
    cf_cells_close(&x.cells);
    cf_strings_fini(&x.damaged);
    cf_class_map_fini(&x.map);
    if (x.run != NULL) cf_saved_fini(x.run);
    free(x.run);
    if (err != CF_OK) cf_signals_die();
    return err;
}

/* ---- options ----------------------------------------------------------------------------------
 */

static cf_err parse(int argc, char **argv, wishes *w)
{
    cf_predict_wishes *i = &w->images;
    const cf_option options[] = {
        {"output", 'o', CF_OPTION_TEXT, &w->output, 0, 0, "P.csv",
         "predictions to write; as JSON where the name ends in .json"},
        {"fold", 0, CF_OPTION_MANY, &w->run.folds, 0, 0, "K",
         "this fold's network; may be given again (default: the mean of all)"},
        {"class-map", 0, CF_OPTION_TEXT, &w->class_map, 0, 0, "FILE",
         "YAML that says what the source's labels are here: Neutrophil: NGS, Basophil: ~"},
        {"confusion", 0, CF_OPTION_MANY, &w->confusion, 0, 0, "FILE",
         "what became of each label of the source: .csv, .png or .svg; may be given again"},
        {"tta", 0, CF_OPTION_INT, &w->turns, 1, CF_N_TURNS, "N",
         "mean over N turns of each image: as it is, mirrored ... (default: 1)"},
        {"temperature", 0, CF_OPTION_FLAG, &w->temperature, 0, 0, NULL,
         "scale each network's probabilities by the temperature fitted to its own test"},
        {"unlike", 0, CF_OPTION_NUM, &w->unlike, 0.0001, 0.5, "RATE",
         "flag images unlike the training images; at most RATE of those would be, for example "
         "0.01"},
        {"cells", 0, CF_OPTION_TEXT, &w->cells, 0, 0, "FILE",
         "the run's own cells file, for --unlike (default: where it was)"},
        {"by", 0, CF_OPTION_TEXT, &w->by_name, 0, 0, "patient|site",
         "differential count of each: cells, shares and 95 % intervals"},
        {"count-dir", 0, CF_OPTION_TEXT, &w->count_dir, 0, 0, "DIR",
         "folder for the count: differential.csv, first.csv, a contact sheet of each"},
        {"adapt-norm", 0, CF_OPTION_FLAG, &w->adapt, 0, 0, NULL,
         "take batch norm's moments from these images, without their labels"},
        {"adapt-share", 0, CF_OPTION_NUM, &w->share, 0, 1, "F",
         "weight of these moments against the run's own (default: 1)"},
        {"stain-reference", 0, CF_OPTION_TEXT, &w->reference, 0, 0, "IMAGE",
         "give every image the stains of this one"},
        {"zoom", 0, CF_OPTION_NUM, &w->run.zoom, 0.1, 10, "F",
         "instead of the run's augment.zoom: below 1 for crops tighter than the run's"},
        {"size", 0, CF_OPTION_INT, &i->size, 1, 8192, "N",
         "resize image files to N x N px first (default: as the run's images were)"},
        {"crop-um", 0, CF_OPTION_NUM, &i->crop_um, 0, 1e6, "F",
         "keep F x F um round the centre; 0: all (default: the run's field, where scales are "
         "known)"},
        {"um-per-px", 0, CF_OPTION_MANY, &i->sources.scales, 0, 0, "[NAME=]F",
         "pixel size of all sources, or of one site's"},
        {"patch", 0, CF_OPTION_INT, &i->patch, 1, 8192, "N",
         "side of cells cut out of fields, px (default: 250)"},
        {"site", 0, CF_OPTION_TEXT, &i->sources.site, 0, 0, "NAME", "centre the images come from"},
        {"skip-damaged", 0, CF_OPTION_FLAG, &i->skip_damaged, 0, 0, NULL,
         "leave out images that cannot be read (default: stop)"},
        {"max-pixels", 0, CF_OPTION_INT, &i->max_pixels, 1, 500e6, "N",
         "refuse larger images (default: 64000000)"},
        {"device", 0, CF_OPTION_TEXT, &w->run.device, 0, 0, "auto|cpu|cuda",
         "where to run (default: auto)"},
        {"threads", 0, CF_OPTION_INT, &w->run.threads, 1, 1024, "N",
         "compute threads (default: run.threads of the run)"},
        {"batch", 0, CF_OPTION_INT, &w->run.batch, 1, 4096, "N",
         "images that pass at once (default: train.micro_batch of the run)"},
        {"json", 0, CF_OPTION_FLAG, &w->json, 0, 0, NULL, "print the summary as JSON"},
    };
    CF_TRY(cf_options_parse(&cf_verb_predict, options, sizeof options / sizeof options[0], argc,
                            argv, 2, -1, &i->sources.operands, &w->help));
    if (w->help) return CF_OK;
    if (w->output == NULL) return cf_fail(CF_E_USAGE, "predict: -o P.csv is missing");
    CF_TRY(cf_predict_confusion_check(&w->confusion));
    if (w->share < 1 && !w->adapt)
        return cf_fail(CF_E_USAGE, "--adapt-share goes with --adapt-norm");
    if (w->by_name != NULL) CF_TRY(cf_predict_by_parse(w->by_name, &w->by));
    if (w->count_dir != NULL && w->by == CF_BY_NONE)
        return cf_fail(CF_E_USAGE, "--count-dir goes with --by");
    if (w->unlike > 0 && w->adapt)
        return cf_fail(CF_E_USAGE, "--unlike compares with features under the run's own norms: not "
                                   "with --adapt-norm");
    if (w->cells != NULL && w->unlike <= 0)
        return cf_fail(CF_E_USAGE, "--cells goes with --unlike");
    i->stains = w->reference != NULL;
    return CF_OK;
}

static cf_err run(int argc, char **argv)
{
    wishes w = {.images = {.crop_um = -1,
                           .patch = 250,
                           .max_pixels = CF_IMAGE_DEFAULT_LIMIT,
                           .sources = {.site = ""}},
                .run = {.device = "auto"},
                .turns = 1,
                .share = 1};
    cf_err err = parse(argc, argv, &w);
    if (err == CF_OK && !w.help) {
        /* the first operand is the run, the others are sources */
        cf_strings *operands = &w.images.sources.operands;
        char *dir = operands->items[0];
        operands->n--;
        memmove(operands->items, operands->items + 1, operands->n * sizeof *operands->items);
        err = predict(&w, dir);
        free(dir);
    }
    cf_strings_fini(&w.confusion);
    cf_strings_fini(&w.run.folds);
    cf_source_wishes_fini(&w.images.sources);
    return err;
}

const cf_verb cf_verb_predict = {
    "predict", "the classes of images, by the networks of a run", "RUN SRC... -o P.csv [options]",
    "RUN is a run folder of `train`; SRC are image files, folders, manifests (as for pack, but no\n"
    "label is needed) or one cells file. Images are cut and resized as those that the run was\n"
    "trained on. P.csv has a row an image, as predictions.csv of a fold: the mean over all folds\n"
    "(the column fold is then empty), or one network by --fold. A label that the run's scheme or\n"
    "--class-map knows becomes the label of the row; others stay empty. The summary counts images\n"
    "that land in no confident class of the scheme, the accuracy over images with a class, and\n"
    "what became of each label. Images of one centre have moments of their own in each layer:\n"
    "--adapt-norm takes them from the images given, of each site by itself, so these should be\n"
    "many. --unlike learns once what the run's own images look like and keeps that in the run "
    "folder.\n"
    "--by counts the cells of each patient, as a differential count is signed. Turns of --tta come "
    "in this order: as it is, mirrored, upside down, both, then these\n"
    "four with rows for columns.",
    run};
