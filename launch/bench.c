#include "launch/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/math/philox.h"
#include "worker/data/loader.h"
#include "worker/models.h"

enum { STORED_IMAGES = 1024 }; /* random images on the device, 192 MB at 250x250 */
/* Left free on the device when the images are copied there. */
#define RESERVE_BYTES ((size_t)64 << 20)
#define FP16_SCALE    1024.0f

/* The marrow protocol's augmentation, for networks without a configuration. */
static const char *const standard_keys[] = {
    "augment.rotation=180",       "augment.flip_horizontal=true",
    "augment.flip_vertical=true", "augment.shift=0.25",
    "augment.shear=0.2",          "model.outputs=22",
};

static cf_err read_config(const cf_bench_options *o, cf_config *config)
{
    cf_config_defaults(config);
    if (o->config != NULL) CF_TRY(cf_config_read(o->config, config));
    for (size_t i = 0; o->config == NULL && i < sizeof standard_keys / sizeof *standard_keys; i++)
        CF_TRY(cf_config_set(config, standard_keys[i]));
    for (size_t i = 0; i < o->overrides.n; i++)
        CF_TRY(cf_config_set(config, o->overrides.items[i]));
    if (o->precision != NULL) {
        char text[64];
        snprintf(text, sizeof text, "train.precision=%.32s", o->precision);
        CF_TRY(cf_config_set(config, text));
    }
    if (config->model_outputs == 0) config->model_outputs = 22;
    return CF_OK;
}

static cf_err alloc_floats(cf_bench *b, int64_t n, float **out)
{
    void *p = NULL;
    CF_TRY(b->ops->alloc(b->backend, (size_t)n * sizeof **out, &p));
    *out = p;
    return CF_OK;
}

static cf_err alloc_flat(cf_bench *b)
{
    int64_t n = b->g->n_weights, n_state = b->g->n_state;
    void *decay = NULL;
    CF_TRY(alloc_floats(b, n, &b->weights));
    CF_TRY(alloc_floats(b, n, &b->moment1));
    CF_TRY(alloc_floats(b, n, &b->moment2));
    CF_TRY(alloc_floats(b, n_state + 1, &b->state));
    CF_TRY(alloc_floats(b, n_state + 1, &b->momentum));
    CF_TRY(b->ops->alloc(b->backend, (size_t)n, &decay));
    b->decay = decay;
    size_t bytes = ((size_t)cf_sums_count(b->g) + 1) * sizeof(int64_t);
    return b->ops->alloc(b->backend, bytes, &b->sums);
}

static cf_err init_weights(cf_bench *b)
{
    CF_TRY(cf_new(&b->host_weights, (size_t)b->g->n_weights, sizeof(float)));
    CF_TRY(cf_new(&b->host_state, (size_t)b->g->n_state + 1, sizeof(float)));
    cf_model_init(b->g, &b->config, 0, b->host_weights, b->host_state);
    size_t bytes = (size_t)b->g->n_weights * sizeof(float);
    CF_TRY(b->ops->copy_in(b->backend, b->weights, b->host_weights, bytes));
    bytes = (size_t)b->g->n_state * sizeof(float);
    CF_TRY(b->ops->copy_in(b->backend, b->state, b->host_state, bytes));
    return b->ops->set_weights(b->program, b->weights, b->state);
}

/* ---- images -----------------------------------------------------------------------------------
 */

/* Stored images as a cells file would hold them, on the device where they fit. */
static cf_err make_pixels(cf_bench *b)
{
    const cf_shape *s = &b->g->nodes[0].out_shape;
    size_t image = (size_t)(s->h * s->w * s->c);
    b->n_pixels = s->n > STORED_IMAGES ? s->n : STORED_IMAGES;
    CF_TRY(cf_new(&b->host_pixels, (size_t)b->n_pixels, image));
    CF_TRY(cf_new(&b->raw, (size_t)s->n, sizeof *b->raw));
    cf_rng rng = cf_rng_at(1, 0, 0, 0, CF_PURPOSE_TEST);
    size_t bytes = (size_t)b->n_pixels * image;
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        uint32_t four = cf_rng_u32(&rng);
        memcpy(b->host_pixels + i, &four, sizeof four);
    }
    if (b->ops->hold_pixels == NULL) return CF_OK;
    return b->ops->hold_pixels(b->backend, b->host_pixels, bytes, RESERVE_BYTES, &b->held);
}

static cf_err make_batch(cf_bench *b)
{
    const cf_shape *s = &b->g->nodes[0].out_shape;
    int64_t n = cf_shape_elements(*s);
    cf_rng rng = cf_rng_at(1, 0, 0, 1, CF_PURPOSE_TEST);
    CF_TRY(cf_new(&b->host_labels, (size_t)s->n, sizeof *b->host_labels));
    for (int64_t i = 0; i < s->n; i++)
        b->host_labels[i] = (int)cf_rng_below(&rng, (uint32_t)b->g->n_classes);
    if (b->ops->augments) return make_pixels(b);
    CF_TRY(cf_new(&b->host_images, (size_t)n, sizeof *b->host_images));
    for (int64_t i = 0; i < n; i++) b->host_images[i] = cf_rng_uniform(&rng);
    return CF_OK;
}

/* The step's draws: other images, other maps each time. */
static void draw_images(cf_bench *b)
{
    const cf_shape *s = &b->g->nodes[0].out_shape;
    int64_t image = s->h * s->w * s->c, first = b->step * s->n;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t at = (first + i) % b->n_pixels * image;
        b->raw[i] = (cf_raw_image){.pixels = b->host_pixels + at,
                                   .offset = b->held ? at : -1,
                                   .height = (int)s->h,
                                   .width = (int)s->w};
        cf_augment_draw(&b->config, (int)s->h, (int)s->w, 0, 0, first + i, &b->raw[i].augment);
    }
}

/* ---- set-up and steps -------------------------------------------------------------------------
 */

cf_err cf_bench_open(const cf_bench_options *o, cf_bench *b)
{
    *b = (cf_bench){0};
    CF_TRY(read_config(o, &b->config));
    b->dtype = (cf_dtype)b->config.train_precision;
    b->reduce = b->config.train_reduce == 0 ? CF_REDUCE_EXACT : CF_REDUCE_FAST;
    CF_TRY(cf_model_build(&b->config, NULL, o->batch, &b->g));
    CF_TRY(cf_backend_find(o->device, &b->ops));
    CF_TRY(b->ops->open(-1, (int)o->threads, &b->backend));
    if (b->dtype == CF_F16 && b->ops->set_scale == NULL)
        return cf_fail(CF_E_USAGE, "precision fp16 on device %s: expected fp32 or bf16",
                       b->ops->name);
    b->waits = !b->ops->on_device || o->phases;
    cf_compile_options options = {.mode = CF_MODE_TRAIN,
                                  .dtype = b->dtype,
                                  .reduce = b->reduce,
                                  .deterministic = b->config.train_deterministic,
                                  .timed = o->phases,
                                  .may_tune = b->ops->on_device,
                                  .engines = o->engines};
    CF_TRY(cf_graph_plan(b->g, options.mode, options.dtype, &b->plan));
    CF_TRY(b->ops->compile(b->backend, b->g, &b->plan, &options, &b->program));
    if (b->dtype == CF_F16) CF_TRY(b->ops->set_scale(b->program, FP16_SCALE));
    CF_TRY(alloc_flat(b));
    CF_TRY(init_weights(b));
    return make_batch(b);
}

void cf_bench_close(cf_bench *b)
{
    if (b->backend != NULL) {
        void *const device[] = {b->weights,  b->state, b->moment1, b->moment2,
                                b->momentum, b->decay, b->sums};
        b->ops->release(b->program);
        for (size_t i = 0; i < sizeof device / sizeof *device; i++)
            b->ops->free(b->backend, device[i]);
        b->ops->close(b->backend);
    }
    cf_memory_plan_fini(&b->plan);
    cf_graph_destroy(b->g);
    free(b->host_weights);
    free(b->host_state);
    free(b->host_images);
    free(b->host_pixels);
    free(b->raw);
    free(b->host_labels);
}

static cf_err run_update(cf_bench *b)
{
    cf_update u = {.kind = (cf_optimizer)b->config.train_optimizer,
                   .n_weights = b->g->n_weights,
                   .n_state = b->g->n_state,
                   .weights = b->weights,
                   .state = b->state,
                   .moment1 = b->moment1,
                   .moment2 = b->moment2,
                   .sums = b->sums,
                   .reduce = b->reduce,
                   .n_micro = 1,
                   .decay = b->decay,
                   .state_momentum = b->momentum,
                   .learning_rate = 1e-4f,
                   .beta1 = 0.9f,
                   .beta2 = 0.999f,
                   .epsilon = 1e-7f,
                   .step = b->step};
    if (!b->waits) return b->ops->update(b->backend, &u);
    CF_TRY(b->ops->sync(b->backend));
    int64_t start = cf_clock_ns();
    CF_TRY(b->ops->update(b->backend, &u));
    CF_TRY(b->ops->sync(b->backend));
    b->update_ns += cf_clock_ns() - start;
    return CF_OK;
}

cf_err cf_bench_step(cf_bench *b)
{
    cf_batch batch = {.images = b->host_images, .labels = b->host_labels};
    if (b->ops->augments) {
        draw_images(b);
        batch.raw = b->raw;
        batch.n_raw = (int)b->g->nodes[0].out_shape.n;
        cf_normalize_from(&b->config, &batch.normalize);
    }
    b->step++;
    size_t item = b->reduce == CF_REDUCE_EXACT ? sizeof(int64_t) : sizeof(float);
    CF_TRY(b->ops->zero(b->backend, b->sums, ((size_t)cf_sums_count(b->g) + 1) * item));
    CF_TRY(b->ops->train(b->program, &batch, b->sums));
    CF_TRY(run_update(b));
    CF_TRY(b->ops->set_weights(b->program, b->weights, b->state));
    return b->waits ? b->ops->sync(b->backend) : CF_OK;
}

cf_err cf_bench_finish(cf_bench *b)
{
    CF_TRY(b->ops->sync(b->backend));
    return b->ops->fault != NULL ? b->ops->fault(b->program) : CF_OK;
}
