/* cytofold explain: what spoke for a class, as heat maps over images. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/explain_choose.h"
#include "launch/explain_output.h"
#include "launch/predict_images.h"
#include "launch/predict_run.h"
#include "launch/progress.h"
#include "launch/signals.h"
#include "launch/verbs.h"
#include "worker/data/image.h"

enum { MANY_IMAGES = 1000 };

/* The command line. */
typedef struct wishes {
    cf_predict_wishes images;
    cf_strings ids;
    const char *output, *method, *class, *layer, *device;
    int64_t fold, samples, seed, threads;
    double noise, zoom;
    bool raw, json, help;
} wishes;

/* All that one explanation holds. */
typedef struct explanation {
    const wishes *w; /* borrowed */
    cf_saved *run;   /* owned */
    cf_cells cells;
    cf_strings damaged;
    int64_t *images; /* owned, [options.n_images] */
    int *folds;      /* owned, as many */
    cf_explain_options options;
    cf_explain_output output;
    cf_explain_report report;
    cf_progress progress;
} explanation;

/* ---- the run ----------------------------------------------------------------------------------
 */

static cf_err open_run(const wishes *w, const char *dir, explanation *x)
{
    CF_TRY(cf_new(&x->run, 1, sizeof *x->run));
    const cf_predict_run_wishes wanted = {
        .device = w->device, .threads = w->threads, .zoom = w->zoom};
    CF_TRY(cf_predict_run_open(&wanted, dir, x->run));
    return w->fold >= 0 ? cf_saved_choose(x->run, &w->fold, 1) : CF_OK;
}

static cf_err find_class(const cf_scheme *s, const char *code, int *class)
{
    cf_buf codes = {0};
    *class = code != NULL ? cf_scheme_find(s, code) : CF_EXPLAIN_PREDICTED;
    if (code == NULL || *class >= 0) return CF_OK;
    for (int i = 0; i < s->n_classes; i++)
        cf_buf_printf(&codes, "%s%s", i > 0 ? ", " : "", s->classes[i].code);
    cf_err err =
        cf_fail(CF_E_USAGE, "--class %.80s: scheme %s has %s", code, s->name, cf_buf_text(&codes));
    cf_buf_fini(&codes);
    return err;
}

static cf_err find_methods(const char *method, cf_explain_options *o)
{
    o->gradcam = strcmp(method, "gradcam") == 0 || strcmp(method, "both") == 0;
    o->smoothgrad = strcmp(method, "smoothgrad") == 0 || strcmp(method, "both") == 0;
    if (o->gradcam || o->smoothgrad) return CF_OK;
    return cf_fail(CF_E_USAGE, "--method takes gradcam, smoothgrad or both, found '%.80s'", method);
}

/* ---- images and maps --------------------------------------------------------------------------
 */

static cf_err found(void *context, const cf_explanation *e)
{
    explanation *x = context;
    return cf_explain_write(&x->output, e);
}

static bool on_progress(void *context, int64_t done, int64_t total)
{
    explanation *x = context;
    cf_progress_update(&x->progress, done, total);
    return cf_signals_caught() == 0;
}

static void tell_others(const explanation *x, const cf_explain_others *others)
{
    long long n = (long long)x->options.n_images;
    int fold = x->run->folds[0];
    if (others->n_unknown > 0 && x->w->fold < 0)
        cf_log_info("%lld of %lld images are not in the run's folds.csv: fold %d explains them "
                    "(--fold K)",
                    (long long)others->n_unknown, n, fold);
    if (others->n_trained > 0)
        cf_log_info("%lld of %lld images are explained by fold %d, which was trained on them%s",
                    (long long)others->n_trained, n, fold,
                    x->w->fold < 0 ? ": no fold with a checkpoint tests them" : "");
}

static cf_err choose_images(explanation *x)
{
    cf_explain_options *o = &x->options;
    cf_explain_others others;
    CF_TRY(cf_explain_images(&x->cells, &x->w->ids, &x->images, &o->n_images));
    CF_TRY(cf_new(&x->folds, (size_t)o->n_images, sizeof *x->folds));
    CF_TRY(cf_explain_folds(x->run, &x->cells, x->images, o->n_images, x->folds, &others));
    if (o->n_images > MANY_IMAGES)
        cf_log_warn("%lld images are explained, each with pictures of its own (--id chooses)",
                    (long long)o->n_images);
    tell_others(x, &others);
    o->images = x->images;
    o->folds = x->folds;
    return CF_OK;
}

static cf_err make_maps(explanation *x)
{
    cf_explain_output *out = &x->output;
    *out = (cf_explain_output){.run = x->run,
                               .cells = &x->cells,
                               .options = &x->options,
                               .folder = x->w->output,
                               .layer = x->report.layer,
                               .raw = x->w->raw};
    CF_TRY(cf_explain_output_init(out));
    cf_progress_begin(&x->progress, "explained");
    cf_err err = cf_explain(x->run, &x->cells, &x->options, &x->report);
    cf_progress_end(&x->progress);
    CF_TRY(err);
    CF_TRY(cf_explain_output_finish(out));
    double seconds = (double)x->report.ns / 1e9;
    cf_log_info("%lld images in %.1f s, %.0f passes/s through a network and back (%s)",
                (long long)x->options.n_images, seconds, (double)x->report.n_passes / seconds,
                x->report.device);
    return CF_OK;
}

static cf_err print(const explanation *x)
{
    cf_buf out = {0};
    if (x->w->json)
        cf_explain_json(&x->output, &x->report, &out);
    else
        cf_explain_text(&x->output, &out);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    cf_buf_fini(&out);
    return err;
}

static cf_err print_layers(const cf_saved *run)
{
    cf_buf out = {0};
    cf_err err = cf_explain_layers(run, &out);
    if (err == CF_OK) err = cf_buf_check(&out);
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    cf_buf_fini(&out);
    return err;
}

static void release(explanation *x)
{
    cf_explain_output_fini(&x->output);
    free(x->images);
    free(x->folds);
    cf_cells_close(&x->cells);
    cf_strings_fini(&x->damaged);
    if (x->run != NULL) cf_saved_fini(x->run);
    free(x->run);
}

static cf_err explain(wishes *w, const char *dir)
{
    explanation x = {.w = w};
    cf_explain_options *o = &x.options;
    cf_err err = CF_OK;
    *o = (cf_explain_options){.layer = w->layer,
                              .samples = (int)w->samples,
                              .noise = w->noise,
                              .seed = (uint64_t)w->seed,
                              .found = found,
                              .progress = on_progress,
                              .context = &x};
    CF_TRY_GOTO(open_run(w, dir, &x), out);
    if (w->layer != NULL && strcmp(w->layer, "list") == 0) {
        err = print_layers(x.run);
        goto out;
    }
    CF_TRY_GOTO(find_methods(w->method, o), out);
    if (w->layer != NULL && !o->gradcam) {
        err = cf_fail(CF_E_USAGE, "--layer is Grad-CAM's: it goes with --method gradcam or both");
        goto out;
    }
    CF_TRY_GOTO(find_class(&x.run->scheme, w->class, &o->class), out);
    cf_signals_catch();
    CF_TRY_GOTO(cf_predict_images(&w->images, x.run, &x.cells, &x.damaged), out);
    CF_TRY_GOTO(choose_images(&x), out);
    CF_TRY_GOTO(make_maps(&x), out);
    CF_TRY_GOTO(print(&x), out);
out:
    release(&x);
    if (err != CF_OK) cf_signals_die();
    return err;
}

/* ---- options ----------------------------------------------------------------------------------
 */

static cf_err check(const wishes *w)
{
    if (w->layer != NULL && strcmp(w->layer, "list") == 0) return CF_OK;
    if (w->images.sources.operands.n < 2)
        return cf_fail(CF_E_USAGE, "explain: images are missing: RUN SRC... -o FOLDER");
    if (w->output == NULL) return cf_fail(CF_E_USAGE, "explain: -o FOLDER is missing");
    return CF_OK;
}

static cf_err parse(int argc, char **argv, wishes *w)
{
    cf_predict_wishes *i = &w->images;
    const cf_option options[] = {
        {"output", 'o', CF_OPTION_TEXT, &w->output, 0, 0, "FOLDER", "where pictures go"},
        {"method", 0, CF_OPTION_TEXT, &w->method, 0, 0, "gradcam|smoothgrad|both",
         "which maps (default: both)"},
        {"class", 0, CF_OPTION_TEXT, &w->class, 0, 0, "CODE",
         "the class to explain (default: of each image the predicted one)"},
        {"layer", 0, CF_OPTION_TEXT, &w->layer, 0, 0, "NAME",
         "Grad-CAM's layer (default: the last convolution); `list` prints them"},
        {"samples", 0, CF_OPTION_INT, &w->samples, 1, 10000, "N",
         "SmoothGrad's noisy copies of an image (default: 50)"},
        {"noise", 0, CF_OPTION_NUM, &w->noise, 0, 10, "F",
         "their standard deviation, in shares of the image's range (default: 0.15)"},
        {"seed", 0, CF_OPTION_INT, &w->seed, 0, 1e15, "N", "names the noise (default: 1)"},
        {"fold", 0, CF_OPTION_INT, &w->fold, 0, CF_MAX_FOLDS - 1, "K",
         "this fold's network (default: the one that was not trained on the image)"},
        {"id", 0, CF_OPTION_MANY, &w->ids, 0, 0, "ID",
         "only this image of the sources; may be given again"},
        {"raw", 0, CF_OPTION_FLAG, &w->raw, 0, 0, NULL, "write the maps as NumPy arrays, too"},
        {"zoom", 0, CF_OPTION_NUM, &w->zoom, 0.1, 10, "F",
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
        {"skip-damaged", 0, CF_OPTION_FLAG, &i->skip_damaged, 0, 0, NULL,
         "leave out images that cannot be read (default: stop)"},
        {"max-pixels", 0, CF_OPTION_INT, &i->max_pixels, 1, 500e6, "N",
         "refuse larger images (default: 64000000)"},
        {"device", 0, CF_OPTION_TEXT, &w->device, 0, 0, "auto|cpu|cuda",
         "where to run (default: auto)"},
        {"threads", 0, CF_OPTION_INT, &w->threads, 1, 1024, "N",
         "compute threads (default: run.threads of the run)"},
        {"json", 0, CF_OPTION_FLAG, &w->json, 0, 0, NULL, "print the summary as JSON"},
    };
    CF_TRY(cf_options_parse(&cf_verb_explain, options, sizeof options / sizeof options[0], argc,
                            argv, 1, -1, &i->sources.operands, &w->help));
    return w->help ? CF_OK : check(w);
}

static cf_err run(int argc, char **argv)
{
    wishes w = {.images = {.crop_um = -1,
                           .patch = 250,
                           .max_pixels = CF_IMAGE_DEFAULT_LIMIT,
                           .sources = {.site = ""}},
                .device = "auto",
                .method = "both",
                .fold = -1,
                .samples = 50,
                .noise = 0.15,
                .seed = 1};
    cf_err err = parse(argc, argv, &w);
    if (err == CF_OK && !w.help) {
        /* the first operand is the run, the others are sources */
        cf_strings *operands = &w.images.sources.operands;
        char *dir = operands->items[0];
        operands->n--;
        memmove(operands->items, operands->items + 1, operands->n * sizeof *operands->items);
        err = explain(&w, dir);
        free(dir);
    }
    cf_strings_fini(&w.ids);
    cf_source_wishes_fini(&w.images.sources);
    return err;
}

const cf_verb cf_verb_explain = {
    "explain", "heat maps of what spoke for a class", "RUN SRC... -o FOLDER [options]",
    "RUN is a run folder of `train`; SRC are as for predict. FOLDER receives a picture for each\n"
    "image: the image as the network sees it, SmoothGrad (Smilkov et al. 2017) and Grad-CAM\n"
    "(Selvaraju et al. 2017) over it; of several images all of them in sheets, too. Maps are of a\n"
    "class's logit, before the softmax; of a class of several output nodes it is the logarithm\n"
    "of the sum of their exponentials. Each image is explained by one network, the one of the\n"
    "fold that tested it where the run's folds.csv knows its id, else the lowest fold's: a mean\n"
    "of maps would be a map of none. SmoothGrad shows absolute mean gradients, cut off at the\n"
    "99th percentile; Grad-CAM is shown relative to its highest value. --raw writes the numbers.",
    run};
