#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math/philox.h"

static void *must(void *p)
{
    assert_non_null(p);
    return p;
}

/* Multiples of 1/128 in [-1, 1). */
static void fill(float *p, int64_t n, uint32_t draw, float scale, float offset)
{
    cf_rng rng = cf_rng_at(FIXTURE_SEED, 0, 0, draw, CF_PURPOSE_TEST);
    for (int64_t i = 0; i < n; i++) {
        float x = (float)((int)cf_rng_below(&rng, 256) - 128) / 128.0f;
        p[i] = x * scale + offset;
    }
}

/* Filters are scaled to powers of two, so that activations keep their size and bf16 is exact. */
static void fill_params(fixture *f)
{
    for (int i = 0; i < f->g->n_params; i++) {
        const cf_param *p = &f->g->params[i];
        bool state = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
        float *at = (state ? f->state : f->weights) + p->offset;
        float scale = 0.25f, offset = 0.0f;
        if (p->kind == CF_PARAM_WEIGHT) scale = exp2f(rintf(log2f(1.6f / sqrtf((float)p->fan_in))));
        if (p->kind == CF_PARAM_GAMMA || p->kind == CF_PARAM_VAR) offset = 1.0f;
        fill(at, p->count, (uint32_t)(i + 10), scale, offset);
    }
}

const cf_backend_ops *fixture_ops(void)
{
    const char *name = getenv("CYTOFOLD_TEST_DEVICE");
    const cf_backend_ops *ops = NULL;
    OK(cf_backend_find(name != NULL ? name : "cpu", &ops));
    return ops;
}

int fixture_dtypes(cf_dtype dtypes[3])
{
    dtypes[0] = CF_F32;
    dtypes[1] = CF_BF16;
    dtypes[2] = CF_F16;
    return fixture_ops()->set_scale != NULL ? 3 : 2;
}

void *fixture_upload(const cf_backend_ops *ops, cf_backend *b, const void *host, size_t bytes)
{
    void *p = NULL;
    OK(ops->alloc(b, bytes, &p));
    if (host != NULL && bytes > 0) OK(ops->copy_in(b, p, host, bytes));
    return p;
}

size_t fixture_sums_bytes(const fixture *f)
{
    return (size_t)(cf_sums_count(f->g) + 1) * sizeof(int64_t);
}

static void open_backend(fixture *f, cf_mode mode, int n_threads)
{
    const cf_graph *g = f->g;
    f->ops = fixture_ops();
    print_message("seed %d, %s, %s\n", FIXTURE_SEED, f->ops->name, cf_dtype_name(f->dtype));
    OK(f->ops->open(-1, n_threads, &f->backend));
    OK(cf_graph_plan(g, mode, f->dtype, &f->plan));
    cf_compile_options o = {.mode = mode, .dtype = f->dtype, .reduce = CF_REDUCE_EXACT};
    OK(f->ops->compile(f->backend, g, &f->plan, &o, &f->program));
    size_t item = sizeof(float);
    f->b_weights = fixture_upload(f->ops, f->backend, NULL, (size_t)g->n_weights * item);
    f->b_state = fixture_upload(f->ops, f->backend, NULL, (size_t)g->n_state * item);
    f->b_sums = fixture_upload(f->ops, f->backend, NULL, fixture_sums_bytes(f));
    if (f->dtype == CF_F16) OK(f->ops->set_scale(f->program, 1024.0f));
}

void fixture_init(fixture *f, cf_graph *g, cf_dtype dtype, cf_mode mode, int n_threads)
{
    *f = (fixture){.g = g, .dtype = dtype};
    open_backend(f, mode, n_threads);
    int64_t pixels = cf_shape_elements(g->nodes[0].out_shape), n = g->nodes[0].out_shape.n;
    f->weights = must(calloc((size_t)g->n_weights, sizeof *f->weights));
    f->state = must(calloc((size_t)g->n_state + 1, sizeof *f->state));
    f->images = must(calloc((size_t)pixels, sizeof *f->images));
    f->labels = must(calloc((size_t)n, sizeof *f->labels));
    f->sums = must(calloc(1, fixture_sums_bytes(f)));
    fill_params(f);
    fill(f->images, pixels, 1, 1.0f, 0.0f);
    cf_rng rng = cf_rng_at(FIXTURE_SEED, 0, 0, 2, CF_PURPOSE_TEST);
    for (int64_t i = 0; i < n; i++) f->labels[i] = (int)cf_rng_below(&rng, (uint32_t)g->n_classes);
    fixture_set_weights(f, f->program);
    reference_init(&f->expected, g);
    f->expected.dtype = dtype;
}

void fixture_fini(fixture *f)
{
    reference_fini(&f->expected);
    f->ops->release(f->program);
    cf_memory_plan_fini(&f->plan);
    f->ops->free(f->backend, f->b_weights);
    f->ops->free(f->backend, f->b_state);
    f->ops->free(f->backend, f->b_sums);
    f->ops->close(f->backend);
    cf_graph_destroy(f->g);
    free(f->weights);
    free(f->state);
    free(f->images);
    free(f->labels);
    free(f->sums);
}

void fixture_set_weights(fixture *f, cf_program *p)
{
    size_t weights = (size_t)f->g->n_weights, state = (size_t)f->g->n_state;
    OK(f->ops->copy_in(f->backend, f->b_weights, f->weights, weights * sizeof *f->weights));
    OK(f->ops->copy_in(f->backend, f->b_state, f->state, state * sizeof *f->state));
    OK(f->ops->set_weights(p, f->b_weights, f->b_state));
}

cf_err fixture_add(fixture *f, cf_program *p, const cf_batch *batch, void *sums, size_t bytes)
{
    size_t all = (size_t)(cf_sums_count(f->g) + 1) * bytes;
    OK(f->ops->copy_in(f->backend, f->b_sums, sums, all));
    CF_TRY(f->ops->train(p, batch, f->b_sums));
    OK(f->ops->copy_out(f->backend, sums, f->b_sums, all));
    return f->ops->fault == NULL ? CF_OK : f->ops->fault(p);
}

void fixture_train(fixture *f)
{
    cf_batch batch = {.images = f->images, .labels = f->labels};
    memset(f->sums, 0, fixture_sums_bytes(f));
    OK(fixture_add(f, f->program, &batch, f->sums, sizeof(int64_t)));
    reference_run(&f->expected, f->weights, f->state, f->images, f->labels);
}

double fixture_sum(const fixture *f, int64_t i)
{
    return cf_sums_value(f->g, f->sums, CF_REDUCE_EXACT, i);
}

static double norm(const double *p, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += p[i] * p[i];
    return sqrt(sum);
}

static void compare_tensor(const fixture *f, const cf_param *p, double tolerance, double all)
{
    bool state = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
    const double *expected = (state ? f->expected.moments : f->expected.gradients) + p->offset;
    int64_t first = p->offset + (state ? f->g->n_weights : 0);
    double sum = 0.0, size = norm(expected, p->count);
    for (int64_t i = 0; i < p->count; i++) {
        double d = fixture_sum(f, first + i) - expected[i];
        sum += d * d;
    }
    double limit = tolerance * size + 1e-2 * tolerance * all;
    if (!(sqrt(sum) <= limit))
        fail_msg("%s: differs by %.3g of norm %.3g, limit %.3g", p->name, sqrt(sum), size, limit);
}

void fixture_compare(const fixture *f, double tolerance)
{
    double all = norm(f->expected.gradients, f->g->n_weights);
    assert_true(all > 1e-4);
    for (int i = 0; i < f->g->n_params; i++) compare_tensor(f, &f->g->params[i], tolerance, all);
    int64_t tail = f->g->n_weights + f->g->n_state;
    double loss = fixture_sum(f, tail), correct = fixture_sum(f, tail + 1);
    if (!(fabs(loss - f->expected.loss) <= tolerance * f->expected.loss))
        fail_msg("loss %.9g, expected %.9g", loss, f->expected.loss);
    if (f->dtype == CF_F32) assert_true(fabs(correct - f->expected.correct) < 1e-6);
}

cf_graph *graph_new(int64_t n, int64_t h, int64_t w, int64_t c)
{
    cf_graph *g = NULL;
    int id = -1;
    OK(cf_graph_create(&g));
    OK(cf_graph_input(g, (cf_shape){n, h, w, c}, &id));
    assert_int_equal(id, 0);
    return g;
}

int graph_conv(cf_graph *g, const char *name, int in, int residual, cf_conv conv)
{
    int id = -1;
    if (conv.groups == 0) conv.groups = 1;
    if (conv.stride == 0) conv.stride = 1;
    if (conv.norm_eps <= 0.0f) conv.norm_eps = 1e-5f;
    if (conv.norm_momentum <= 0.0f) conv.norm_momentum = 0.9f;
    OK(cf_graph_conv(g, name, in, residual, &conv, &id));
    return id;
}

void graph_head(cf_graph *g, int in, int n_outputs, int n_classes, float smoothing)
{
    int pool = -1, dense = -1, class_of[64];
    assert_in_range(n_outputs, n_classes, 64);
    for (int o = 0; o < n_outputs; o++) class_of[o] = o % n_classes;
    OK(cf_graph_avgpool(g, "pool", in, &pool));
    OK(cf_graph_dense(g, "dense", pool, n_outputs, true, &dense));
    OK(cf_graph_loss(g, dense, class_of, n_classes, smoothing));
}
