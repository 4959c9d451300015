/* cytofold embed: a map of a run's test images by what the networks' last layer reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/folds.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/embed_files.h"
#include "launch/outputs.h"
#include "launch/predict_run.h"
#include "launch/progress.h"
#include "launch/run_cells.h"
#include "launch/signals.h"
#include "launch/verbs.h"
#include "worker/insight/axes.h"

/* Up to EXACT images trustworthiness is over all of them, else over SAMPLE spread evenly. */
enum { TRUST_K = 15, EXACT = 10000, SAMPLE = 2000 };

/* The command line. */
typedef struct wishes {
    cf_strings folds;
    const char *cells, *features, *device, *metric;
    int64_t neighbors, seed, threads, batch, components;
    double min_dist;
    bool json, help;
} wishes;

/* ---- the run ----------------------------------------------------------------------------------
 */

static bool on_progress(void *progress, int64_t done, int64_t total)
{
    cf_progress_update(progress, done, total);
    return cf_signals_caught() == 0;
}

/* A crew's progress: nothing is shown, a signal stops. */
static bool on_signal(void *context, int64_t done, int64_t total)
{
    (void)context;
    (void)done;
    (void)total;
    return cf_signals_caught() == 0;
}

static cf_err take_features(const cf_saved *run, const cf_run_cells *data, cf_features *out)
{
    cf_progress progress;
    cf_features_options options = {.progress = on_progress, .context = &progress};
    cf_progress_begin(&progress, "seen");
    cf_err err = cf_features_take(run, &data->cells, data->fold_of, &options, out);
    double seconds = cf_progress_end(&progress);
    CF_TRY(err);
    cf_log_info("%lld numbers of each of %lld images in %.1f s (%s)", (long long)out->d,
                (long long)out->n, seconds, out->device);
    return CF_OK;
}

/* ---- the picture ------------------------------------------------------------------------------
 */

static cf_err measure(cf_embed *e)
{
    const cf_common *c = &e->common;
    const cf_crew *crew = &e->options.crew;
    int32_t *labels = NULL;
    cf_neighbours near = {0}, beside = {0};
    cf_err err = CF_OK;
    int64_t most = c->n <= EXACT ? 0 : SAMPLE;
    e->trust_n = cf_trustworthiness_rows(c->n, most);
    CF_TRY_GOTO(
        cf_trustworthiness(c->x, c->n, c->d, e->y, e->trust_k, most, crew, &e->trustworthiness),
        out);
    CF_TRY_GOTO(cf_new(&labels, (size_t)c->n, sizeof *labels), out);
    for (int64_t i = 0; i < c->n; i++) labels[i] = e->cells->labels[e->features.images[i]];
    CF_TRY_GOTO(cf_neighbours_first(&e->nearest, e->trust_k, &near), out);
    CF_TRY_GOTO(cf_neighbours_find(e->y, c->n, 2, e->trust_k, crew, &beside), out);
    int n_classes = e->scheme->n_classes;
    CF_TRY_GOTO(cf_mixing_measure(&near, e->features.folds, labels, n_classes, &e->space), out);
    err = cf_mixing_measure(&beside, e->features.folds, labels, n_classes, &e->picture);
out:
    cf_neighbours_fini(&beside);
    cf_neighbours_fini(&near);
    free(labels);
    return err;
}

static cf_err make_picture(const wishes *w, const uint8_t *fold_of, cf_embed *e)
{
    int nodes = e->scheme->n_nodes;
    int axes = w->components > 0 ? (int)w->components : nodes > 2 ? nodes - 1 : 2;
    int64_t start_ns = cf_clock_ns();
    if (axes > CF_AXES_MAX) axes = CF_AXES_MAX;
    CF_TRY(cf_features_join(&e->features, fold_of, axes, &e->common));
    if (e->options.metric == CF_UMAP_COSINE) {
        CF_TRY(cf_common_centre(&e->common));
        cf_umap_to_length_one(e->common.x, e->common.n, e->common.d);
    }
    CF_TRY(cf_new(&e->y, (size_t)e->common.n * 2, sizeof *e->y));
    int64_t n = e->common.n;
    e->trust_k = 2 * (int64_t)TRUST_K < n ? TRUST_K : (int)((n - 1) / 2);
    int k = e->options.neighbours - 1 > e->trust_k ? e->options.neighbours - 1 : e->trust_k;
    CF_TRY(cf_neighbours_find(e->common.x, n, e->common.d, k, &e->options.crew, &e->nearest));
    CF_TRY(cf_umap(e->common.x, e->common.d, &e->nearest, &e->options, e->y));
    cf_log_info("map of %lld images in %.1f s", (long long)e->common.n,
                (double)(cf_clock_ns() - start_ns) / 1e9);
    return measure(e);
}

static void describe(const cf_embed *e, const char *dir)
{
    const cf_features *f = &e->features;
    printf("%s/embed.csv: %lld test images of ", dir, (long long)f->n);
    if (f->n_folds == 1)
        printf("fold %d", f->fold[0]);
    else
        printf("%d folds", f->n_folds);
    printf(", %lld features each\n", (long long)f->d);
    if (e->nearest.approximate)
        printf("neighbours by features are approximate: %.3f of those of 64 images found\n",
               e->nearest.found);
    printf("trustworthiness (k = %d, over %lld images): %.4f\n", e->trust_k, (long long)e->trust_n,
           e->trustworthiness);
    printf("of a cell's %d nearest on the map %.3f have its class\n", e->trust_k,
           e->picture.same_class);
    if (f->n_folds == 1) return;
    for (int k = 1; k < f->n_folds; k++)
        printf("fold %d turned onto fold %d by %lld images%s: agreement %.3f\n", f->fold[k],
               f->fold[0], (long long)e->common.turns[k].n_shared,
               e->common.turns[k].trained_by_both ? " that both were trained on"
                                                  : ", as hardly any has trained both",
               e->common.turns[k].agreement);
    printf("of the %d nearest %.3f are of the same fold, by chance %.3f: %.2f times as many\n",
           e->trust_k, e->picture.same_fold, e->picture.chance,
           e->picture.same_fold / e->picture.chance);
}

static cf_err write_all(const wishes *w, const char *dir, const cf_embed *e)
{
    if (w->features != NULL) CF_TRY(cf_embed_write_features(e, w->features));
    CF_TRY(cf_embed_plot(e, dir));
    CF_TRY(cf_embed_write_json(e, dir));
    CF_TRY(cf_embed_write_csv(e, dir));
    if (!w->json) {
        describe(e, dir);
        return CF_OK;
    }
    cf_buf out = {0};
    cf_embed_json(e, &out);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    cf_buf_fini(&out);
    return err;
}

static cf_err check_outputs(const wishes *w, const char *dir)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, dir, "embed.csv"));
    CF_TRY(cf_output_check(path));
    return w->features != NULL ? cf_output_check(w->features) : CF_OK;
}

/* What is there to be drawn, and of which weights: before they are asked, since a job may go on
 * training them. */
static cf_err look_before(const cf_saved *run, const cf_run_cells *data, cf_embed *e)
{
    int64_t n = 0;
    for (int k = 0; k < run->n_folds; k++) {
        CF_TRY(cf_map_origin_mark(run->dir, run->folds[k], e->checkpoints[k]));
        for (int64_t i = 0; i < data->cells.n; i++) n += data->fold_of[i] == run->folds[k];
    }
    e->data = cf_folds_hash(&data->cells, data->fold_of);
    if (n > e->options.neighbours) return CF_OK;
    return cf_fail(CF_E_USAGE, "%s: %lld test images are too few for --neighbors %d", run->dir,
                   (long long)n, e->options.neighbours);
}

static cf_err embed(const wishes *w, const char *dir)
{
    cf_saved *run = NULL;
    cf_run_cells data = {0};
    cf_embed e = {.options = cf_umap_defaults()};
    cf_err err = CF_OK;
    e.options.neighbours = (int)w->neighbors;
    e.options.min_dist = w->min_dist;
    e.options.seed = (uint32_t)w->seed;
    e.options.metric = strcmp(w->metric, "cosine") == 0 ? CF_UMAP_COSINE : CF_UMAP_EUCLIDEAN;
    CF_TRY(cf_new(&run, 1, sizeof *run));
    const cf_predict_run_wishes wanted = {
        .folds = w->folds, /* borrowed */
        .device = w->device,
        .threads = w->threads,
        .batch = w->batch,
    };
    CF_TRY_GOTO(cf_predict_run_open(&wanted, dir, run), out);
    e.options.crew = (cf_crew){.threads = (int)run->config.run_threads, .progress = on_signal};
    CF_TRY_GOTO(cf_run_cells_open(run, w->cells, &data), out);
    CF_TRY_GOTO(look_before(run, &data, &e), out);
    CF_TRY_GOTO(check_outputs(w, run->dir), out);
    cf_signals_catch();
    e.cells = &data.cells;
    e.scheme = &run->scheme;
    CF_TRY_GOTO(take_features(run, &data, &e.features), out);
    CF_TRY_GOTO(make_picture(w, data.fold_of, &e), out);
    CF_TRY_GOTO(write_all(w, run->dir, &e), out);
out:
    cf_embed_fini(&e);
    cf_run_cells_fini(&data);
    cf_saved_fini(run);
    free(run);
    if (err != CF_OK) cf_signals_die();
    return err;
}

/* ---- options ----------------------------------------------------------------------------------
 */

static cf_err parse(int argc, char **argv, wishes *w, cf_strings *operands)
{
    const cf_option options[] = {
        {"neighbors", 0, CF_OPTION_INT, &w->neighbors, 2, CF_NEIGHBOURS_MAX, "N",
         "neighbours of each image that count, itself being one (default: 15)"},
        {"min-dist", 0, CF_OPTION_NUM, &w->min_dist, 0, 1, "F",
         "how close images may lie on the map (default: 0.1)"},
        {"metric", 0, CF_OPTION_TEXT, &w->metric, 0, 0, "euclidean|cosine",
         "what features are apart; cosine: angles, seen from their mean (default: euclidean)"},
        {"seed", 0, CF_OPTION_INT, &w->seed, 0, 4294967295.0, "N", "seed of the map (default: 1)"},
        {"fold", 0, CF_OPTION_MANY, &w->folds, 0, 0, "K",
         "this fold's test images; may be given again (default: all)"},
        {"components", 0, CF_OPTION_INT, &w->components, 1, CF_AXES_MAX, "N",
         "axes in which folds are laid on each other (default: nodes of the scheme less one)"},
        {"features", 0, CF_OPTION_TEXT, &w->features, 0, 0, "FILE.npy",
         "also write the features, float32, a row an image as in embed.csv"},
        {"cells", 0, CF_OPTION_TEXT, &w->cells, 0, 0, "FILE",
         "the run's cells file (default: where it was)"},
        {"device", 0, CF_OPTION_TEXT, &w->device, 0, 0, "auto|cpu|cuda",
         "where to run (default: auto)"},
        {"threads", 0, CF_OPTION_INT, &w->threads, 1, 1024, "N",
         "compute threads (default: run.threads of the run)"},
        {"batch", 0, CF_OPTION_INT, &w->batch, 1, 4096, "N",
         "images that pass at once (default: train.micro_batch of the run)"},
        {"json", 0, CF_OPTION_FLAG, &w->json, 0, 0, NULL, "print embed.json"},
    };
    CF_TRY(cf_options_parse(&cf_verb_embed, options, sizeof options / sizeof options[0], argc, argv,
                            1, 1, operands, &w->help));
    if (w->help || strcmp(w->metric, "cosine") == 0 || strcmp(w->metric, "euclidean") == 0)
        return CF_OK;
    return cf_fail(CF_E_USAGE, "--metric takes euclidean or cosine, found '%.80s'", w->metric);
}

static cf_err run(int argc, char **argv)
{
    wishes w = {
        .device = "auto", .metric = "euclidean", .neighbors = 15, .min_dist = 0.1, .seed = 1};
    cf_strings operands = {0};
    cf_err err = parse(argc, argv, &w, &operands);
    if (err == CF_OK && !w.help) err = embed(&w, operands.items[0]);
    cf_strings_fini(&w.folds);
    cf_strings_fini(&operands);
    return err;
}

const cf_verb cf_verb_embed = {
    "embed", "a map of a run's test images, by what the last layer reads", "RUN [options]",
    "RUN is a run folder that `train` made. Each test image is seen by the network that was not "
    "trained on\n"
    "it; what the last layer reads of it are its features. UMAP puts images with like features\n"
    "side by side: RUN/embed.csv (id,fold,label,predicted,x,y), RUN/embed.json,\n"
    "RUN/plots/embed.png and embed.svg; `report` shows the map, too.\n"
    "Networks that were trained apart do not have the same features. With several folds, their\n"
    "widest axes are therefore turned, scaled and shifted onto the first fold's, by images that\n"
    "both networks were trained on (where there are hardly any, as with two folds, by images that\n"
    "one of both was trained on); embed.json says how well that worked (agreement), and how many\n"
    "of a cell's neighbours on the map are of its own fold, beside chance.\n"
    "Trustworthiness is 1 when a cell's 15 nearest on the map are among its 15 nearest by\n"
    "features. The map depends on the run, the options and the processor's kind, not on threads.",
    run};
