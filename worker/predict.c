#include "worker/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/math/temperature.h"
#include "worker/adapt.h"
#include "worker/card.h"
#include "worker/data/loader.h"
#include "worker/data/stain.h"
#include "worker/engine.h"
#include "worker/models.h"

typedef struct predictor {
    const cf_saved *run;               /* borrowed */
    const cf_cells *cells;             /* borrowed */
    const cf_predict_options *options; /* borrowed */
    cf_predict_times *times;           /* borrowed */
    cf_engine engine;
    cf_loader *loader;
    float *host;             /* owned, [n_weights + n_state] */
    float *weights, *state;  /* owned, backend memory */
    float *logits;           /* owned, [batch][n_nodes] */
    double *nodes, *classes; /* owned, [n_nodes] of one image, [batch][n_classes] */
    int dense;               /* the last dense node */
    float *features;         /* owned, [batch] of what it reads; NULL: not wanted */
    int64_t *images; /* owned, [n]: a fold's images, one site after the other where norms adapt */
    int64_t *ends;   /* owned, [n_groups]: where each of these groups ends */
    int n_groups;    /* 1, or the sites */
    int64_t n_total; /* images times networks */
    int64_t *order;  /* owned, [n + batch]: cf_adapt_images; NULL: not wanted */
    int64_t n_reported;   /* images that progress knows of, adapting and predicting */
    cf_stain_map *stains; /* owned, [n]; NULL: images keep theirs */
    double temperature;   /* of the fold at work */
    double *p;            /* borrowed, [n][n_classes]: sums, then means */
} predictor;

/* ---- setting up -------------------------------------------------------------------------------
 */

static bool adapts(const predictor *w)
{
    return w->options->norm == CF_PREDICT_NORM_ADAPTED;
}

/* The engines that the run itself chose decide last bits. */
static cf_err compile(predictor *w)
{
    char path[CF_PATH_MAX];
    cf_engine_choices choices = {0};
    CF_TRY(cf_path_join(path, sizeof path, w->run->dir, "engines.txt"));
    if (cf_path_exists(path)) choices.path = path;
    return adapts(w) ? cf_engine_compile(&w->engine, &choices)
                     : cf_engine_compile_infer(&w->engine, &choices);
}

static cf_err create_loader(predictor *w)
{
    cf_engine *e = &w->engine;
    int batch = (int)e->config->train_micro_batch;
    if (!e->ops->augments) return cf_loader_create(w->cells, e->config, batch, &w->loader);
    cf_raw_room room = cf_card_room(e);
    return cf_loader_create_raw(w->cells, e->config, batch, &room, &w->loader);
}

static cf_err map_stains(predictor *w)
{
    const cf_stain *reference = w->options->reference;
    if (reference == NULL) return CF_OK;
    if (w->cells->stains == NULL)
        return cf_fail(CF_E_DATA, "the cells file has no stains, which are to be changed to those "
                                  "of a reference: pack it again");
    CF_TRY(cf_new(&w->stains, (size_t)w->cells->n, sizeof *w->stains));
    for (int64_t i = 0; i < w->cells->n; i++)
        cf_stain_normalize(&w->cells->stains[i], reference, &w->stains[i]);
    return CF_OK;
}

static bool is_seen(const predictor *w, int fold, int64_t image)
{
    return w->options->fold_of == NULL || w->options->fold_of[image] == fold;
}

/* A site's moments are its own, so each is predicted by itself where norms adapt. */
static void group_images(predictor *w, int fold)
{
    const cf_cells *c = w->cells;
    int n_sites = adapts(w) && c->site_names.n > 1 ? (int)c->site_names.n : 1;
    int64_t n = 0;
    w->n_groups = 0;
    for (int site = 0; site < n_sites; site++) {
        for (int64_t i = 0; i < c->n; i++)
            if (is_seen(w, fold, i) && (n_sites == 1 || c->sites[i] == site)) w->images[n++] = i;
        w->ends[w->n_groups++] = n;
    }
}

static int64_t count_passes(const predictor *w)
{
    int64_t n = 0;
    for (int f = 0; f < w->run->n_folds; f++)
        for (int64_t i = 0; i < w->cells->n; i++) n += is_seen(w, w->run->folds[f], i);
    return n;
}

static int dense_node(const cf_graph *g)
{
    int node = g->n_nodes - 1;
    while (node > 0 && g->nodes[node].op != CF_OP_DENSE) node--;
    return node;
}

static int64_t n_features(const cf_graph *g)
{
    cf_shape s = g->nodes[dense_node(g)].in_shape;
    return s.h * s.w * s.c;
}

cf_err cf_predict_n_features(const cf_saved *run, int64_t *n)
{
    cf_graph *g = NULL;
    CF_TRY(cf_model_build(&run->config, &run->scheme, 1, &g));
    *n = n_features(g);
    cf_graph_destroy(g);
    return CF_OK;
}

static cf_err allocate(predictor *w)
{
    cf_engine *e = &w->engine;
    size_t n = (size_t)w->cells->n, n_weights = (size_t)e->graph->n_weights;
    size_t n_state = (size_t)e->graph->n_state, n_nodes = (size_t)e->graph->n_outputs;
    size_t batch = (size_t)e->config->train_micro_batch;
    void *memory = NULL;
    CF_TRY(cf_new(&w->host, n_weights + n_state, sizeof *w->host));
    CF_TRY(e->ops->alloc(e->backend, n_weights * sizeof(float), &memory));
    w->weights = memory;
    CF_TRY(e->ops->alloc(e->backend, (n_state + 1) * sizeof(float), &memory));
    w->state = memory;
    CF_TRY(cf_new(&w->logits, batch * n_nodes, sizeof *w->logits));
    CF_TRY(cf_new(&w->nodes, n_nodes, sizeof *w->nodes));
    CF_TRY(cf_new(&w->classes, batch * (size_t)w->run->scheme.n_classes, sizeof *w->classes));
    if (w->options->features)
        CF_TRY(cf_new(&w->features, batch * (size_t)n_features(e->graph), sizeof *w->features));
    CF_TRY(cf_new(&w->images, n, sizeof *w->images));
    CF_TRY(cf_new(&w->ends, w->cells->site_names.n + 1, sizeof *w->ends));
    CF_TRY(map_stains(w));
    if (!adapts(w)) return CF_OK;
    return cf_new(&w->order, n + batch, sizeof *w->order);
}

static cf_err set_up(predictor *w)
{
    const cf_config *config = &w->run->config;
    cf_engine *e = &w->engine;
    CF_TRY(cf_engine_open(e, config, &w->run->scheme, 0, (int)config->run_threads));
    e->ops->describe(e->backend, w->times->device, sizeof w->times->device);
    if (adapts(w) && e->graph->n_state == 0)
        return cf_fail(CF_E_USAGE,
                       "%s: the network has no batch norm, so there are no moments to "
                       "take from the images",
                       w->run->dir);
    w->dense = dense_node(e->graph);
    w->n_total = count_passes(w);
    CF_TRY(compile(w));
    CF_TRY(allocate(w));
    return create_loader(w);
}

static void tear_down(predictor *w)
{
    cf_engine *e = &w->engine;
    cf_loader_destroy(w->loader);
    free(w->stains);
    free(w->order);
    free(w->ends);
    free(w->images);
    free(w->features);
    free(w->classes);
    free(w->nodes);
    free(w->logits);
    if (w->state != NULL) e->ops->free(e->backend, w->state);
    if (w->weights != NULL) e->ops->free(e->backend, w->weights);
    free(w->host);
    cf_engine_fini(e);
}

/* ---- one fold ---------------------------------------------------------------------------------
 */

static cf_err load_fold(predictor *w, int fold)
{
    cf_engine *e = &w->engine;
    const cf_graph *g = e->graph;
    float *state = w->host + g->n_weights;
    CF_TRY(cf_saved_weights(w->run, g, fold, w->host, state));
    return e->ops->copy_in(e->backend, w->weights, w->host, (size_t)g->n_weights * sizeof(float));
}

/* The images of one group: images[begin..end). */
typedef struct group {
    int64_t begin, end;
} group;

/* Called after each micro-batch of n images. */
static cf_err report(void *context, int n)
{
    predictor *w = context;
    const cf_predict_options *o = w->options;
    int64_t total = w->n_total * (o->n_turns + adapts(w));
    w->n_reported += n;
    if (o->progress == NULL || o->progress(o->context, w->n_reported, total)) return CF_OK;
    return cf_fail(CF_E_UNEXPECTED, "interrupted after %lld of %lld images and networks",
                   (long long)w->n_reported, (long long)total);
}

/* The order in which moments are taken of a group's images, its last micro-batch filled up. */
static void order_group(predictor *w, group g)
{
    const cf_config *config = w->engine.config;
    int64_t n = g.end - g.begin, batch = config->train_micro_batch;
    cf_adapt_order(n, config->train_seed, w->order);
    for (int64_t i = 0; i < n; i++) w->order[i] = w->images[g.begin + w->order[i]];
    for (int64_t i = n; i % batch != 0; i++) w->order[i] = w->order[i - n];
}

/* The program's weights become the fold's, with the moments that these images are to be seen by. */
static cf_err use_weights(predictor *w, int fold, group g)
{
    cf_engine *e = &w->engine;
    const float *saved = w->host + e->graph->n_weights;
    size_t bytes = (size_t)e->graph->n_state * sizeof(float);
    CF_TRY(e->ops->copy_in(e->backend, w->state, saved, bytes));
    if (adapts(w)) {
        int64_t start_ns = cf_clock_ns(), n = g.end - g.begin;
        order_group(w, g);
        cf_adapt_images images = {.order = w->order,
                                  .n = n,
                                  .stains = w->stains,
                                  .share = w->options->adapt_share,
                                  .passed = report,
                                  .context = w};
        CF_TRY(cf_where(cf_adapt_norm(e, w->loader, &images, w->weights, w->state),
                        "adapting fold %d", fold));
        w->times->adapt_ns += cf_clock_ns() - start_ns;
    }
    return e->ops->set_weights(e->infer, w->weights, w->state);
}

static int chunk_images(const predictor *w, int64_t first, int64_t end)
{
    int64_t left = end - first, size = w->engine.config->train_micro_batch;
    return (int)(left < size ? left : size);
}

static cf_err request_all(predictor *w, int fold, int turn, group g)
{
    int64_t size = w->engine.config->train_micro_batch;
    for (int64_t first = g.begin; first < g.end; first += size) {
        cf_request r = {.images = w->images + first,
                        .n_images = chunk_images(w, first, g.end),
                        .turn = turn,
                        .stains = w->stains,
                        .fold = fold};
        CF_TRY(cf_loader_request(w->loader, &r));
    }
    return CF_OK;
}

/* classes, and p += the probabilities of images[0..n). */
static cf_err add_probabilities(predictor *w, int fold, const int64_t *images, int n)
{
    const cf_scheme *s = &w->run->scheme;
    for (int i = 0; i < n; i++) {
        const float *logits = w->logits + (int64_t)i * s->n_nodes;
        double *p = w->p + images[i] * s->n_classes;
        double *classes = w->classes + (int64_t)i * s->n_classes;
        for (int o = 0; o < s->n_nodes; o++)
            if (!isfinite(logits[o]))
                return cf_fail(CF_E_NUMERIC, "fold %d: output %d of image %s is %g", fold, o,
                               w->cells->ids[images[i]], (double)logits[o]);
        cf_scheme_probabilities(s, logits, w->nodes, classes);
        cf_temperature_apply(classes, s->n_classes, w->temperature);
        for (int k = 0; k < s->n_classes; k++) p[k] += classes[k];
    }
    return CF_OK;
}

static cf_err hand_over(predictor *w, int fold, int turn, const int64_t *images, int n)
{
    const cf_predict_options *o = w->options;
    cf_engine *e = &w->engine;
    int node = e->graph->nodes[w->dense].in;
    if (o->pass == NULL) return CF_OK;
    if (o->features) CF_TRY(e->ops->peek(e->infer, node, CF_SLOT_Z, w->features));
    cf_predict_pass pass = {.fold = fold,
                            .turn = turn,
                            .n = n,
                            .images = images,
                            .p = w->classes,
                            .features = w->features};
    return o->pass(o->pass_context, &pass);
}

static cf_err predict_turn(predictor *w, int fold, int turn, group g)
{
    cf_engine *e = &w->engine;
    int64_t wait_ns = 0;
    CF_TRY(request_all(w, fold, turn, g));
    for (int64_t first = g.begin; first < g.end; first += e->config->train_micro_batch) {
        cf_prepared prepared;
        CF_TRY(cf_loader_next(w->loader, &prepared, &wait_ns));
        w->times->wait_ns += wait_ns;
        cf_batch b = cf_prepared_batch(&prepared, CF_MODE_INFER);
        CF_TRY(e->ops->infer(e->infer, &b, w->logits));
        CF_TRY(add_probabilities(w, fold, w->images + first, prepared.n_images));
        CF_TRY(hand_over(w, fold, turn, w->images + first, prepared.n_images));
        w->times->n_passes += prepared.n_images;
        CF_TRY(report(w, prepared.n_images));
    }
    return CF_OK;
}

static cf_err predict_group(predictor *w, int fold, group g)
{
    if (g.begin == g.end) return CF_OK;
    CF_TRY(use_weights(w, fold, g));
    int64_t start_ns = cf_clock_ns();
    for (int turn = 0; turn < w->options->n_turns; turn++) CF_TRY(predict_turn(w, fold, turn, g));
    w->times->infer_ns += cf_clock_ns() - start_ns;
    return CF_OK;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static cf_err predict_all(predictor *w)
{
    for (int f = 0; f < w->run->n_folds; f++) {
        const double *temperatures = w->options->temperatures;
        w->temperature = temperatures != NULL ? temperatures[f] : 1;
        group_images(w, w->run->folds[f]);
        CF_TRY(load_fold(w, w->run->folds[f]));
        for (int k = 0; k < w->n_groups; k++) {
            group g = {k > 0 ? w->ends[k - 1] : 0, w->ends[k]};
            CF_TRY(predict_group(w, w->run->folds[f], g));
        }
    }
    int64_t n = w->cells->n * w->run->scheme.n_classes;
    double share = (w->options->fold_of == NULL ? w->run->n_folds : 1) * w->options->n_turns;
    for (int64_t i = 0; i < n; i++) w->p[i] /= share;
    return CF_OK;
}

cf_err cf_predict(const cf_saved *run, const cf_cells *cells, const cf_predict_options *options,
                  double *p, cf_predict_times *times)
{
    predictor w = {.run = run, .cells = cells, .options = options, .times = times, .p = p};
    memset(times, 0, sizeof *times);
    memset(p, 0, (size_t)cells->n * (size_t)run->scheme.n_classes * sizeof *p);
    cf_err err = set_up(&w);
    if (err == CF_OK) err = predict_all(&w);
    tear_down(&w);
    return err;
}
