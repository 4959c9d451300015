#include "worker/insight/explain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/data/loader.h"
#include "worker/engine.h"
#include "worker/insight/explainer.h"
#include "worker/insight/gradcam.h"
#include "worker/insight/smoothgrad.h"
#include "worker/models.h"

/* Copies of one image that pass at once: in no more memory than this, whatever the device, since
 * their number may decide last bits. */
enum { MAX_BATCH = 16 };
static const size_t MAX_BYTES = (size_t)1 << 30;

typedef struct maker {
    const cf_saved *run;               /* borrowed */
    const cf_cells *cells;             /* borrowed */
    const cf_explain_options *options; /* borrowed */
    cf_explain_report *report;         /* borrowed */
    cf_engine engine;
    cf_explainer *explainer; /* owned */
    cf_loader *loader;       /* owned */
    cf_normalize normalize;
    float *host;            /* owned, [n_weights + n_state] */
    float *weights, *state; /* owned, backend memory */
    int64_t *order;         /* owned, [n_images] places in options->images, fold by fold */
    int64_t *images;        /* owned, [n_images] images in that order */
    int64_t n_done;
    int batch;         /* copies in a pass of the explainer */
    int64_t floats;    /* of an image */
    float *copies;     /* owned, [batch][floats] */
    float *chunk;      /* owned, [micro_batch][floats] images being explained */
    float *logits;     /* owned, [micro_batch][n_nodes] */
    double *p, *nodes; /* owned, [micro_batch][n_classes], [n_nodes] */
    double *sum;       /* owned, [floats] of SmoothGrad's gradients */
    float *mean, *map; /* owned, [floats]; [map_height * map_width] */
    uint8_t *seen;     /* owned, [floats] */
    cf_shape layer_shape;
    cf_map_place place;
} maker;

/* ---- layers -----------------------------------------------------------------------------------
 */

static void list_layers(const cf_graph *g, cf_buf *out)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const cf_node *n = &g->nodes[i];
        if (!cf_explain_graph_is_layer(n)) continue;
        cf_buf_printf(out, "%-20s %lld x %lld, %lld channels\n", n->name, (long long)n->out_shape.h,
                      (long long)n->out_shape.w, (long long)n->out_shape.c);
    }
}

cf_err cf_explain_layers(const cf_saved *run, cf_buf *out)
{
    cf_graph *g = NULL;
    CF_TRY(cf_model_build(&run->config, &run->scheme, 1, &g));
    list_layers(g, out);
    cf_graph_destroy(g);
    return CF_OK;
}

static int last_convolution(const cf_graph *g)
{
    int last = -1;
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == CF_OP_CONV) last = i;
    return last;
}

static cf_err choose_layer(const cf_graph *g, const char *name, int *layer)
{
    *layer = name != NULL ? cf_graph_find(g, name) : last_convolution(g);
    if (*layer >= 0 && cf_explain_graph_is_layer(&g->nodes[*layer])) return CF_OK;
    cf_buf names = {0};
    for (int i = 0; i < g->n_nodes; i++)
        if (cf_explain_graph_is_layer(&g->nodes[i]))
            cf_buf_printf(&names, "%s%s", names.len > 0 ? ", " : "", g->nodes[i].name);
    cf_err err = cf_fail(CF_E_USAGE, "layer '%.60s' is none of the network's: %s",
                         name != NULL ? name : "", cf_buf_text(&names));
    cf_buf_fini(&names);
    return err;
}

/* ---- setting up -------------------------------------------------------------------------------
 */

static cf_err create_explainer(maker *m, const char *engines)
{
    const cf_explain_options *o = m->options;
    const cf_engine *e = &m->engine;
    cf_explain_target target = {.batch = MAX_BATCH, .layer = -1, .image = o->smoothgrad};
    if (o->gradcam) {
        CF_TRY(choose_layer(e->graph, o->layer, &target.layer));
        m->layer_shape = e->graph->nodes[target.layer].out_shape;
        cf_explain_graph_place(e->graph, target.layer, &m->place.start, &m->place.step);
        strcpy(m->report->layer, e->graph->nodes[target.layer].name);
    }
    int most = 0, n = (o->gradcam ? 1 : 0) + (o->smoothgrad ? o->samples : 0);
    CF_TRY(cf_explainer_fit(e->graph, &target, MAX_BYTES, &most));
    int n_passes = (n + most - 1) / most;
    m->batch = target.batch = (n + n_passes - 1) / n_passes; /* the last pass is nearly full, too */
    return cf_explainer_create(e->ops, e->backend, e->graph, &target, engines, &m->explainer);
}

/* The engines that the run itself chose decide last bits. */
static cf_err compile(maker *m)
{
    char path[CF_PATH_MAX];
    cf_engine_choices choices = {0};
    CF_TRY(cf_path_join(path, sizeof path, m->run->dir, "engines.txt"));
    if (cf_path_exists(path)) choices.path = path;
    CF_TRY(create_explainer(m, choices.path));
    return cf_engine_compile_infer(&m->engine, &choices);
}

static cf_err allocate_network(maker *m)
{
    const cf_graph *g = m->engine.graph;
    size_t n_weights = (size_t)g->n_weights, n_state = (size_t)g->n_state;
    void *memory = NULL;
    CF_TRY(cf_new(&m->host, n_weights + n_state, sizeof *m->host));
    CF_TRY(m->engine.ops->alloc(m->engine.backend, n_weights * sizeof(float), &memory));
    m->weights = memory;
    CF_TRY(m->engine.ops->alloc(m->engine.backend, (n_state + 1) * sizeof(float), &memory));
    m->state = memory;
    return CF_OK;
}

static cf_err allocate(maker *m)
{
    const cf_config *c = m->engine.config;
    size_t micro = (size_t)c->train_micro_batch, n_nodes = (size_t)m->engine.graph->n_outputs;
    size_t n = (size_t)m->options->n_images;
    m->floats = c->model_image_size * c->model_image_size * 3;
    size_t floats = (size_t)m->floats;
    size_t map = (size_t)(m->layer_shape.h * m->layer_shape.w);
    CF_TRY(allocate_network(m));
    CF_TRY(cf_new(&m->order, n, sizeof *m->order));
    CF_TRY(cf_new(&m->images, n, sizeof *m->images));
    CF_TRY(cf_new_aligned(&m->copies, floats * (size_t)m->batch, sizeof *m->copies));
    CF_TRY(cf_new_aligned(&m->chunk, floats * micro, sizeof *m->chunk));
    CF_TRY(cf_new(&m->logits, n_nodes * micro, sizeof *m->logits));
    CF_TRY(cf_new(&m->nodes, n_nodes, sizeof *m->nodes));
    CF_TRY(cf_new(&m->p, (size_t)m->run->scheme.n_classes * micro, sizeof *m->p));
    CF_TRY(cf_new(&m->sum, floats, sizeof *m->sum));
    CF_TRY(cf_new(&m->mean, floats, sizeof *m->mean));
    CF_TRY(cf_new(&m->map, map, sizeof *m->map));
    return cf_new(&m->seen, floats, 1);
}

static cf_err set_up(maker *m)
{
    const cf_config *config = &m->run->config;
    cf_engine *e = &m->engine;
    CF_TRY(cf_engine_open(e, config, &m->run->scheme, 0, (int)config->run_threads));
    e->ops->describe(e->backend, m->report->device, sizeof m->report->device);
    CF_TRY(compile(m));
    CF_TRY(allocate(m));
    /* Ready images on every device: noise is added to them here. */
    return cf_loader_create(m->cells, config, (int)config->train_micro_batch, &m->loader);
}

static void tear_down(maker *m)
{
    cf_loader_destroy(m->loader);
    cf_explainer_destroy(m->explainer);
    if (m->state != NULL) m->engine.ops->free(m->engine.backend, m->state);
    if (m->weights != NULL) m->engine.ops->free(m->engine.backend, m->weights);
    void *const blocks[] = {m->host,  m->order, m->images, m->copies, m->chunk, m->logits,
                            m->nodes, m->p,     m->sum,    m->mean,   m->map,   m->seen};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) free(blocks[i]);
    cf_engine_fini(&m->engine);
}

/* ---- one image --------------------------------------------------------------------------------
 */

/* Normalised values back into RGB bytes. */
static void show(const maker *m, const float *image)
{
    for (int64_t i = 0; i < m->floats; i++) {
        double v = (double)image[i] / (double)m->normalize.inv_std[i % 3] +
                   (double)m->normalize.mean[i % 3];
        v = v < 0 ? 0 : v > 1 ? 1 : v;
        m->seen[i] = (uint8_t)lround(255 * v);
    }
}

/* Copy number k of an image: where there is a map, 0 is the image itself; then come noisy ones. */
static void make_copy(const maker *m, const cf_explanation *x, cf_smoothgrad_stream stream,
                      const float *image, int k, float *copy)
{
    int sample = k - (m->options->gradcam ? 1 : 0);
    if (sample < 0 || !m->options->smoothgrad)
        memcpy(copy, image, (size_t)m->floats * sizeof *copy);
    else
        cf_smoothgrad_noise(stream, sample, x->sigma, image, m->floats, copy);
}

/* What a pass gave for its copies first .. first + n - 1, in this order. */
static cf_err take(maker *m, const cf_explainer_result *r, int first, int n)
{
    const cf_explain_options *o = m->options;
    for (int i = 0; i < n; i++) {
        if (o->gradcam && first + i == 0) {
            const cf_shape *s = &r->layer_shape;
            CF_TRY(cf_gradcam(r->layer_output, r->layer_gradient, s->h * s->w, s->c, m->map));
            continue;
        }
        const float *g = r->image_gradient + i * m->floats;
        for (int64_t k = 0; k < m->floats; k++) m->sum[k] += (double)g[k];
    }
    return CF_OK;
}

static cf_err explain_copies(maker *m, const float *image, uint64_t hash, cf_explanation *x)
{
    const cf_explain_options *o = m->options;
    int total = (o->gradcam ? 1 : 0) + (o->smoothgrad ? o->samples : 0);
    cf_smoothgrad_stream stream = {.seed = o->seed, .image = hash};
    memset(m->sum, 0, (size_t)m->floats * sizeof *m->sum);
    for (int first = 0; first < total; first += m->batch) {
        cf_explainer_result r;
        int n = total - first < m->batch ? total - first : m->batch;
#pragma omp parallel for schedule(static)
        for (int i = 0; i < m->batch; i++) /* places that are left over take a copy once more */
            make_copy(m, x, stream, image, first + (i < n ? i : 0), m->copies + i * m->floats);
        CF_TRY(cf_explainer_run(m->explainer, x->class, m->copies, &r));
        CF_TRY(take(m, &r, first, n));
        m->report->n_passes += m->batch;
    }
    for (int64_t k = 0; k < m->floats; k++) m->mean[k] = (float)(m->sum[k] / o->samples);
    return CF_OK;
}

static double score_of(const cf_scheme *s, int class, const float *logits)
{
    int top = -1;
    double sum = 1; /* of the exponentials beside the highest */
    for (int o = 0; o < s->n_nodes; o++)
        if (s->class_of[o] == class && (top < 0 || logits[o] > logits[top])) top = o;
    double peak = (double)logits[top]; /* every class has a node */
    for (int o = 0; o < s->n_nodes; o++)
        if (s->class_of[o] == class && o != top) sum += exp((double)logits[o] - peak);
    return peak + log(sum);
}

/* Image number i of the chunk. */
static cf_err explain_image(maker *m, int64_t place, int i)
{
    const cf_scheme *s = &m->run->scheme;
    const float *image = m->chunk + i * m->floats;
    const double *p = m->p + i * s->n_classes;
    const cf_explain_options *o = m->options;
    int predicted = cf_scheme_highest(s, p);
    cf_explanation x = {.place = place,
                        .fold = o->folds[place],
                        .p = p,
                        .predicted = predicted,
                        .class = o->class == CF_EXPLAIN_PREDICTED ? predicted : o->class,
                        .size = (int)m->engine.config->model_image_size,
                        .seen = m->seen,
                        .map_height = (int)m->layer_shape.h,
                        .map_width = (int)m->layer_shape.w,
                        .map_place = m->place,
                        .gradcam = o->gradcam ? m->map : NULL,
                        .smoothgrad = o->smoothgrad ? m->mean : NULL,
                        .sigma = cf_smoothgrad_sigma(image, m->floats, o->noise)};
    const char *id = m->cells->ids[o->images[place]];
    x.score = score_of(s, x.class, m->logits + i * s->n_nodes);
    show(m, image);
    CF_TRY(cf_where(explain_copies(m, image, m->cells->hashes[o->images[place]], &x),
                    "fold %d, image %.200s", x.fold, id));
    CF_TRY(o->found(o->context, &x));
    m->n_done++;
    if (o->progress == NULL || o->progress(o->context, m->n_done, o->n_images)) return CF_OK;
    return cf_fail(CF_E_UNEXPECTED, "interrupted after %lld of %lld images", (long long)m->n_done,
                   (long long)o->n_images);
}

/* ---- all --------------------------------------------------------------------------------------
 */

static cf_err use_fold(maker *m, int fold)
{
    const cf_graph *g = m->engine.graph;
    const cf_backend_ops *ops = m->engine.ops;
    cf_backend *b = m->engine.backend;
    float *state = m->host + g->n_weights;
    CF_TRY(cf_saved_weights(m->run, g, fold, m->host, state));
    CF_TRY(ops->copy_in(b, m->weights, m->host, (size_t)g->n_weights * sizeof(float)));
    CF_TRY(ops->copy_in(b, m->state, state, (size_t)g->n_state * sizeof(float)));
    CF_TRY(ops->set_weights(m->engine.infer, m->weights, m->state));
    return cf_explainer_set_network(m->explainer, m->host, state);
}

/* Images order[first..first + n): predicted together, then explained one by one. */
static cf_err explain_chunk(maker *m, int64_t first, int n)
{
    const cf_scheme *s = &m->run->scheme;
    cf_prepared prepared;
    int64_t wait_ns = 0;
    cf_request request = {
        .images = m->images + first, .n_images = n, .fold = m->options->folds[m->order[first]]};
    CF_TRY(cf_loader_request(m->loader, &request));
    CF_TRY(cf_loader_next(m->loader, &prepared, &wait_ns));
    cf_batch batch = cf_prepared_batch(&prepared, CF_MODE_INFER);
    m->normalize = prepared.normalize;
    memcpy(m->chunk, prepared.images, (size_t)(n * m->floats) * sizeof *m->chunk);
    CF_TRY(m->engine.ops->infer(m->engine.infer, &batch, m->logits));
    for (int i = 0; i < n; i++) {
        const float *z = m->logits + i * s->n_nodes;
        for (int o = 0; o < s->n_nodes; o++)
            if (!isfinite(z[o]))
                return cf_fail(CF_E_NUMERIC, "fold %d: output %d of image %.200s is %g",
                               request.fold, o, m->cells->ids[request.images[i]], (double)z[o]);
        cf_scheme_probabilities(s, z, m->nodes, m->p + i * s->n_classes);
    }
    for (int i = 0; i < n; i++) CF_TRY(explain_image(m, m->order[first + i], i));
    return CF_OK;
}

static cf_err explain_fold(maker *m, int64_t first, int64_t end)
{
    int64_t size = m->engine.config->train_micro_batch;
    CF_TRY(use_fold(m, m->options->folds[m->order[first]]));
    for (; first < end; first += size)
        CF_TRY(explain_chunk(m, first, (int)(end - first < size ? end - first : size)));
    return CF_OK;
}

static cf_err explain_all(maker *m)
{
    const cf_explain_options *o = m->options;
    int64_t n = 0;
    for (int f = 0; f < m->run->n_folds; f++) {
        int64_t first = n;
        for (int64_t i = 0; i < o->n_images; i++) {
            if (o->folds[i] != m->run->folds[f]) continue;
            m->images[n] = o->images[i];
            m->order[n++] = i;
        }
        if (n > first) CF_TRY(explain_fold(m, first, n));
    }
    return CF_OK;
}

cf_err cf_explain(const cf_saved *run, const cf_cells *cells, const cf_explain_options *options,
                  cf_explain_report *report)
{
    maker m = {.run = run, .cells = cells, .options = options, .report = report};
    memset(report, 0, sizeof *report);
    cf_err err = set_up(&m);
    int64_t start_ns = cf_clock_ns();
    if (err == CF_OK) err = explain_all(&m);
    report->ns = cf_clock_ns() - start_ns;
    tear_down(&m);
    return err;
}
