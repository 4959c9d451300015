/* Gradients of explanations against the network as it predicts: the inference program on the graph
 * as it was trained, with running moments. The backend is the one that CYTOFOLD_TEST_DEVICE names,
 * "cpu" without. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/math/philox.h"
#include "worker/insight/explainer.h"
#include "worker/insight/gradcam.h"
#include "worker/models.h"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != CF_OK) fail_msg("%s: %s", #expr, cf_err_text());                             \
    } while (0)

enum { SEED = 4711, SIDE = 20, N = 3, OUTPUTS = 5, CLASSES = 4, PIXELS = SIDE * SIDE * 3 };

/* Output nodes 1 and 3 are of one class. */
static int class_of[OUTPUTS] = {0, 1, 2, 1, 3};
static char node_names[OUTPUTS][CF_CODE_MAX] = {"A", "B1", "C", "B2", "D"};

typedef struct net {
    cf_graph *g; /* owned, as all below */
    const cf_backend_ops *ops;
    cf_backend *backend;
    cf_memory_plan plan;
    cf_program *infer;
    float *weights, *state, *images, *logits; /* host */
    float *b_weights, *b_state;               /* the backend's */
} net;

static const char *const resnext[] = {"model.depths=[1, 2]", "model.cardinality=4",
                                      "model.group_width=4", "model.stage_channels=32",
                                      "model.stem=full",     "model.stem_channels=16",
                                      "model.image_size=20", NULL};
static const char *const paper[] = {
    "model.variant=paper",    "model.depths=[1, 1]",     "model.cardinality=4",
    "model.group_width=4",    "model.stage_channels=32", "model.stem=small",
    "model.stem_channels=16", "model.image_size=20",     NULL};
static const char *const grouped[] = {"model.norm=group",    "model.norm_groups=4",
                                      "model.depths=[1, 1]", "model.cardinality=4",
                                      "model.group_width=4", "model.stage_channels=32",
                                      "model.stem=small",    "model.stem_channels=16",
                                      "model.image_size=20", NULL};
static const char *const sequential[] = {"model.network=sequential", "model.widths=[8, 16]",
                                         "model.image_size=20", NULL};

static float uniform(cf_rng *r, float low, float high)
{
    return low + (high - low) * cf_rng_uniform(r);
}

/* Moments and factors as a trained network has them: none is 1 or 0. */
static void disturb(const cf_graph *g, float *weights, float *state)
{
    cf_rng rng = cf_rng_at(SEED, 0, 0, 1, CF_PURPOSE_TEST);
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        bool moment = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
        float *at = (moment ? state : weights) + p->offset;
        for (int64_t k = 0; k < p->count && p->kind != CF_PARAM_WEIGHT; k++) {
            if (p->kind == CF_PARAM_GAMMA || p->kind == CF_PARAM_VAR)
                at[k] = uniform(&rng, 0.5f, 1.5f);
            else
                at[k] = uniform(&rng, -0.3f, 0.3f);
        }
    }
}

static void upload(net *t)
{
    OK(t->ops->copy_in(t->backend, t->b_weights, t->weights,
                       (size_t)t->g->n_weights * sizeof(float)));
    OK(t->ops->copy_in(t->backend, t->b_state, t->state, (size_t)t->g->n_state * sizeof(float)));
    OK(t->ops->set_weights(t->infer, t->b_weights, t->b_state));
}

/* device: NULL for the one under test. */
static void net_init(net *t, const char *const *sets, const char *device)
{
    if (device == NULL) device = getenv("CYTOFOLD_TEST_DEVICE");
    cf_config config;
    cf_scheme scheme = {
        .n_classes = CLASSES, .n_nodes = OUTPUTS, .class_of = class_of, .node_names = node_names};
    cf_compile_options o = {.mode = CF_MODE_INFER, .dtype = CF_F32, .deterministic = true};
    void *memory = NULL;
    memset(t, 0, sizeof *t);
    cf_config_defaults(&config);
    for (; *sets != NULL; sets++) OK(cf_config_set(&config, *sets));
    OK(cf_model_build(&config, &scheme, N, &t->g));
    OK(cf_backend_find(device ? device : "cpu", &t->ops));
    OK(t->ops->open(-1, 2, &t->backend));
    OK(cf_graph_plan(t->g, o.mode, o.dtype, &t->plan));
    OK(t->ops->compile(t->backend, t->g, &t->plan, &o, &t->infer));
    t->weights = calloc((size_t)t->g->n_weights, sizeof(float));
    t->state = calloc((size_t)t->g->n_state + 1, sizeof(float));
    t->images = calloc((size_t)N * PIXELS, sizeof(float));
    t->logits = calloc((size_t)N * OUTPUTS, sizeof(float));
    assert_true(t->weights && t->state && t->images && t->logits);
    OK(t->ops->alloc(t->backend, (size_t)t->g->n_weights * sizeof(float), &memory));
    t->b_weights = memory;
    OK(t->ops->alloc(t->backend, ((size_t)t->g->n_state + 1) * sizeof(float), &memory));
    t->b_state = memory;
    cf_model_init(t->g, &config, 0, t->weights, t->state);
    disturb(t->g, t->weights, t->state);
    upload(t);
    cf_rng rng = cf_rng_at(SEED, 0, 0, 2, CF_PURPOSE_TEST);
    for (int i = 0; i < N * PIXELS; i++) t->images[i] = uniform(&rng, -1.5f, 1.5f);
}

static void net_fini(net *t)
{
    t->ops->release(t->infer);
    cf_memory_plan_fini(&t->plan);
    t->ops->free(t->backend, t->b_weights);
    t->ops->free(t->backend, t->b_state);
    free(t->weights);
    free(t->state);
    free(t->images);
    free(t->logits);
    cf_graph_destroy(t->g);
    t->ops->close(t->backend);
}

/* Scores of a class by the inference program, in double from its logits. */
static void scores_of(net *t, int class, const float *images, double scores[N])
{
    cf_batch batch = {.images = images};
    OK(t->ops->infer(t->infer, &batch, t->logits));
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int o = 0; o < OUTPUTS; o++)
            if (class_of[o] == class) sum += exp((double)t->logits[i * OUTPUTS + o]);
        scores[i] = log(sum);
    }
}

static cf_explainer *explain(net *t, const char *layer, bool image)
{
    cf_explainer *e = NULL;
    cf_explain_target target = {
        .batch = N, .layer = layer ? cf_graph_find(t->g, layer) : -1, .image = image};
    OK(cf_explainer_create(t->ops, t->backend, t->g, &target, NULL, &e));
    OK(cf_explainer_set_network(e, t->weights, t->state));
    return e;
}

static void shift(const float *from, const float *by, float step, float *to)
{
    for (int i = 0; i < N * PIXELS; i++) to[i] = from[i] + step * by[i];
}

/* fp32 scores of size 1 leave differences of a few 1e-7 / STEP; kinks of the activations that the
 * step crosses take the rest of the tolerance. */
static const float STEP = 3e-4f;
static const double TOLERANCE = 2e-2;

static void compare(const char *what, int class, double found, double expected)
{
    if (fabs(found - expected) > TOLERANCE * fabs(expected) + 1e-3)
        fail_msg("%s, class %d: %g, by differences %g", what, class, found, expected);
}

static void check_image_gradients(net *t, const char *name)
{
    cf_explainer *e = explain(t, NULL, true);
    cf_rng rng = cf_rng_at(SEED, 0, 0, 3, CF_PURPOSE_TEST);
    static float direction[N * PIXELS], moved[N * PIXELS];
    for (int class = 0; class < CLASSES; class ++) {
        cf_explainer_result r;
        double here[N], up[N], down[N];
        OK(cf_explainer_run(e, class, t->images, &r));
        scores_of(t, class, t->images, here);
        for (int i = 0; i < N; i++)
            if (fabs(r.scores[i] - here[i]) > 2e-5 * (1 + fabs(here[i])))
                fail_msg("%s: score %.9g folded, %.9g as trained", name, r.scores[i], here[i]);
        for (int i = 0; i < N * PIXELS; i++) /* uphill, so that slopes stand out of the rounding */
            direction[i] = r.image_gradient[i] > 0 ? cf_rng_uniform(&rng) : -cf_rng_uniform(&rng);
        shift(t->images, direction, STEP, moved);
        scores_of(t, class, moved, up);
        shift(t->images, direction, -STEP, moved);
        scores_of(t, class, moved, down);
        for (int i = 0; i < N; i++) {
            double slope = 0;
            for (int k = i * PIXELS; k < (i + 1) * PIXELS; k++)
                slope += (double)r.image_gradient[k] * (double)direction[k];
            assert_true(slope > 0.05);
            compare(name, class, slope, (up[i] - down[i]) / (2 * (double)STEP));
        }
    }
    cf_explainer_destroy(e);
}

static void image_gradients_are_slopes_of_the_predicting_network(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *const *sets;
    } nets[] = {{"resnext", resnext},
                {"paper", paper},
                {"group norm", grouped},
                {"sequential", sequential}};
    printf("seed %d\n", SEED);
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        net t;
        net_init(&t, nets[i].sets, NULL);
        check_image_gradients(&t, nets[i].name);
        net_fini(&t);
    }
}

/* What beta of a channel adds to every pixel before the activation reaches the score through those
 * pixels' gradients behind it: slopes [N] of the score by beta. */
static void slopes_by_beta(const cf_explainer_result *r, int64_t k, double negative, double *slopes)
{
    int64_t c = r->layer_shape.c, pixels = r->layer_shape.h * r->layer_shape.w;
    for (int i = 0; i < N; i++) {
        slopes[i] = 0;
        for (int64_t p = i * pixels; p < (i + 1) * pixels; p++) {
            double g = (double)r->layer_gradient[p * c + k];
            slopes[i] += r->layer_output[p * c + k] > 0 ? g : g * negative;
        }
    }
}

/* Of the channel with the steepest slope, which stands out of the rounding. */
static int64_t steepest(const cf_explainer_result *r, double negative, double slopes[N])
{
    int64_t best = 0;
    double most = 0;
    for (int64_t k = 0; k < r->layer_shape.c; k++) {
        slopes_by_beta(r, k, negative, slopes);
        if (fabs(slopes[0]) > most) best = k;
        most = fmax(most, fabs(slopes[0]));
    }
    assert_true(most > 0);
    slopes_by_beta(r, best, negative, slopes);
    return best;
}

static void scores_with(net *t, int class, float *weight, float step, double scores[N])
{
    float before = *weight;
    *weight += step;
    upload(t);
    scores_of(t, class, t->images, scores);
    *weight = before;
}

static void check_layer(net *t, const char *layer, double negative)
{
    const cf_node *n = &t->g->nodes[cf_graph_find(t->g, layer)];
    float *beta = t->weights + t->g->params[n->beta].offset;
    cf_explainer *e = explain(t, layer, false);
    for (int class = 0; class < CLASSES; class ++) {
        cf_explainer_result r;
        double slopes[N], up[N], down[N];
        OK(cf_explainer_run(e, class, t->images, &r));
        assert_null(r.image_gradient);
        int64_t k = steepest(&r, negative, slopes);
        scores_with(t, class, &beta[k], STEP, up);
        scores_with(t, class, &beta[k], -STEP, down);
        for (int i = 0; i < N; i++)
            compare(layer, class, slopes[i], (up[i] - down[i]) / (2 * (double)STEP));
    }
    cf_explainer_destroy(e);
}

static void layer_gradients_are_those_of_all_readers_together(void **state)
{
    (void)state;
    net t;
    net_init(&t, resnext, NULL);
    check_layer(&t, "stem", 0);
    check_layer(&t, "stage1.0.conv2", 0); /* one reader */
    check_layer(&t, "stage1.0.conv3", 0); /* two, and a residual */
    check_layer(&t, "stage2.1.conv3", 0); /* the last */
    net_fini(&t);
    net_init(&t, paper, NULL);
    check_layer(&t, "stage1.0.conv3", 0.3);
    net_fini(&t);
}

static double cam_at(const float *weights, const float *channels, int64_t c)
{
    double sum = 0;
    for (int64_t k = 0; k < c; k++) sum += (double)weights[k] * (double)channels[k];
    return sum;
}

/* Behind a mean over pixels and a dense layer, a channel's mean gradient is its weight over the
 * number of pixels (Selvaraju et al. 2017, section 3: Grad-CAM generalises CAM). */
static void grad_cam_of_the_last_layer_is_cam(void **state)
{
    (void)state;
    net t;
    net_init(&t, resnext, NULL);
    const cf_node *dense = &t.g->nodes[cf_graph_find(t.g, "fc")];
    const float *weights = t.weights + t.g->params[dense->weight].offset;
    cf_explainer *e = explain(&t, "stage2.1.conv3", false);
    cf_explainer_result r;
    const cf_node *layer = &t.g->nodes[cf_graph_find(t.g, "stage2.1.conv3")];
    int64_t c = layer->out_shape.c, pixels = layer->out_shape.h * layer->out_shape.w;
    float *map = calloc((size_t)pixels, sizeof *map);
    double highest = 0, worst = 0;
    assert_non_null(map);
    for (int output = 0; output < OUTPUTS; output += 2) { /* those that are classes by themselves */
        OK(cf_explainer_run(e, class_of[output], t.images, &r));
        for (int i = 0; i < N; i++) {
            const float *a = r.layer_output + i * pixels * c;
            OK(cf_gradcam(a, r.layer_gradient + i * pixels * c, pixels, c, map));
            for (int64_t p = 0; p < pixels; p++) {
                double cam = cam_at(weights + output * c, a + p * c, c) / (double)pixels;
                highest = fmax(highest, cam);
                worst = fmax(worst, fabs(fmax(cam, 0) - (double)map[p]));
            }
        }
    }
    assert_true(highest > 0);
    assert_true(worst < 1e-5 * highest); /* gradients in fp32 */
    free(map);
    cf_explainer_destroy(e);
    net_fini(&t);
}

/* Logits far beyond where the constant output starts. */
static void large_scores_keep_their_gradients(void **state)
{
    (void)state;
    net t;
    net_init(&t, resnext, NULL);
    cf_explainer *e = explain(&t, NULL, true);
    cf_explainer_result r;
    static float before[N * PIXELS];
    OK(cf_explainer_run(e, 1, t.images, &r));
    memcpy(before, r.image_gradient, sizeof before);
    const cf_node *dense = &t.g->nodes[cf_graph_find(t.g, "fc")];
    for (int sign = -1; sign <= 1; sign += 2) { /* of a class of two nodes */
        float *bias = t.weights + t.g->params[dense->bias].offset, by = (float)sign * 200;
        for (int o = 0; o < OUTPUTS; o++) bias[o] += by;
        OK(cf_explainer_set_network(e, t.weights, t.state));
        OK(cf_explainer_run(e, 1, t.images, &r));
        for (int o = 0; o < OUTPUTS; o++) bias[o] -= by;
        double worst = 0, highest = 0;
        for (int i = 0; i < N * PIXELS; i++) {
            worst = fmax(worst, fabs((double)r.image_gradient[i] - (double)before[i]));
            highest = fmax(highest, fabs((double)before[i]));
        }
        assert_true(worst < 1e-4 * highest); /* logits near 200 have steps of 1.5e-5 */
    }
    cf_explainer_destroy(e);
    net_fini(&t);
}

static double difference(const float *a, const float *b, int64_t n)
{
    double sum = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)a[i] * (double)a[i];
    }
    return sqrt(sum / norm);
}

/* Images brighter and brighter, of a network without a bound on its scores: those of one batch lie
 * further apart than one constant output serves. */
static void scores_far_apart_in_one_batch_keep_their_gradients(void **state)
{
    (void)state;
    static float together[N * PIXELS], alone[N * PIXELS];
    net t;
    net_init(&t, resnext, NULL);
    const cf_node *dense = &t.g->nodes[cf_graph_find(t.g, "fc")];
    const cf_param *weights = &t.g->params[dense->weight];
    for (int64_t k = 0; k < weights->count; k++) t.weights[weights->offset + k] *= 10;
    for (int i = 0; i < N * PIXELS; i++) t.images[i] *= (float)(1 + 20 * (i / PIXELS));
    cf_explainer *e = explain(&t, "stage2.1.conv3", true);
    cf_explainer_result r;
    double scores[N], lowest, highest;
    OK(cf_explainer_run(e, 1, t.images, &r));
    memcpy(together, r.image_gradient, sizeof together);
    int64_t n = cf_shape_elements(r.layer_shape) / N;
    float *layer = malloc((size_t)(N * n) * sizeof *layer);
    assert_non_null(layer);
    memcpy(layer, r.layer_gradient, (size_t)(N * n) * sizeof *layer);
    memcpy(scores, r.scores, sizeof scores);
    lowest = fmin(scores[0], fmin(scores[1], scores[2]));
    highest = fmax(scores[0], fmax(scores[1], scores[2]));
    if (highest - lowest < 60) fail_msg("scores from %g to %g only", lowest, highest);
    for (int i = 0; i < N; i++) { /* a batch of one image N times */
        for (int k = 0; k < N; k++)
            memcpy(alone + k * PIXELS, t.images + i * PIXELS, PIXELS * sizeof *alone);
        OK(cf_explainer_run(e, 1, alone, &r));
        assert_true(r.scores[i] == scores[i]);
        /* 1 - P of another constant is rounded otherwise */
        assert_true(difference(r.image_gradient + i * PIXELS, together + i * PIXELS, PIXELS) <
                    1e-5);
        assert_true(difference(r.layer_gradient + i * n, layer + i * n, n) < 1e-5);
    }
    free(layer);
    cf_explainer_destroy(e);
    net_fini(&t);
}

/* Run where the device under test is another than the CPU. */
static void devices_agree_on_gradients(void **state)
{
    (void)state;
    net device, cpu;
    net_init(&device, grouped, NULL);
    net_init(&cpu, grouped, "cpu");
    cf_explainer *e[2] = {explain(&device, "stage1.0.conv3", true),
                          explain(&cpu, "stage1.0.conv3", true)};
    for (int class = 0; class < CLASSES; class ++) {
        cf_explainer_result r[2];
        for (int i = 0; i < 2; i++) OK(cf_explainer_run(e[i], class, cpu.images, &r[i]));
        int64_t n = cf_shape_elements(r[0].layer_shape);
        /* rounding, and an activation here or there on the other side of its kink */
        assert_true(difference(r[1].layer_output, r[0].layer_output, n) < 1e-5);
        assert_true(difference(r[1].layer_gradient, r[0].layer_gradient, n) < 1e-3);
        assert_true(difference(r[1].image_gradient, r[0].image_gradient, N * PIXELS) < 1e-3);
    }
    for (int i = 0; i < 2; i++) cf_explainer_destroy(e[i]);
    net_fini(&device);
    net_fini(&cpu);
}

static void as_many_images_pass_as_memory_takes(void **state)
{
    (void)state;
    net t;
    int batch = 0;
    net_init(&t, resnext, NULL);
    cf_explain_target target = {.batch = 16, .layer = -1, .image = true};
    OK(cf_explainer_fit(t.g, &target, (size_t)1 << 30, &batch));
    assert_int_equal(batch, 16);
    size_t bytes = 1 << 16; /* a power of two, up to that which holds two images or three */
    do {
        bytes *= 2;
        OK(cf_explainer_fit(t.g, &target, bytes, &batch));
    } while (batch == 1);
    assert_true(batch <= 3);
    OK(cf_explainer_fit(t.g, &target, 4 * bytes, &batch));
    assert_true(batch >= 8 && batch < 16);
    OK(cf_explainer_fit(t.g, &target, 1, &batch));
    assert_int_equal(batch, 1);
    net_fini(&t);
}

static void targets_that_are_no_layers_are_refused(void **state)
{
    (void)state;
    net t;
    net_init(&t, resnext, NULL);
    cf_explainer *e = NULL;
    cf_explain_target pool = {.batch = 1, .layer = cf_graph_find(t.g, "pool")};
    assert_int_equal(cf_explainer_create(t.ops, t.backend, t.g, &pool, NULL, &e), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "node pool: no convolution or max-pool"));
    cf_explain_target nothing = {.batch = 1, .layer = -1};
    assert_int_equal(cf_explainer_create(t.ops, t.backend, t.g, &nothing, NULL, &e), CF_E_USAGE);
    assert_null(e);
    net_fini(&t);
}

int main(void)
{
    const char *device = getenv("CYTOFOLD_TEST_DEVICE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_gradients_are_slopes_of_the_predicting_network),
        cmocka_unit_test(layer_gradients_are_those_of_all_readers_together),
        cmocka_unit_test(grad_cam_of_the_last_layer_is_cam),
        cmocka_unit_test(large_scores_keep_their_gradients),
        cmocka_unit_test(scores_far_apart_in_one_batch_keep_their_gradients),
        cmocka_unit_test(as_many_images_pass_as_memory_takes),
        cmocka_unit_test(targets_that_are_no_layers_are_refused),
    };
    const struct CMUnitTest two_devices[] = {cmocka_unit_test(devices_agree_on_gradients)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (device != NULL && strcmp(device, "cpu") != 0)
        failed += cmocka_run_group_tests(two_devices, NULL, NULL);
    return failed;
}
