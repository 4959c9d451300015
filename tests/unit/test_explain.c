/* Explanations of trained networks: SmoothGrad's noise and mean, where maps lie, colours, and the
 * sanity checks of Adebayo et al. (NeurIPS 2018): maps have to change with the weights and with the
 * labels that a network learnt, else they show edges and not what the network does. */
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
#include "tests/support/trained_run.h"
#include "worker/insight/explain.h"
#include "worker/insight/explainer.h"
#include "worker/insight/gradcam.h"
#include "worker/insight/heat.h"
#include "worker/insight/smoothgrad.h"
#include "worker/models.h"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != CF_OK) fail_msg("%s: %s", #expr, cf_err_text());                             \
    } while (0)

enum { PIXELS = SIDE * SIDE, FLOATS = PIXELS * 3, SHOWN = 24, SAMPLES = 8 };

static fixture shared; /* made once */

static int set_up(void **state)
{
    (void)state;
    printf("seed %d\n", SEED);
    return trained_run_init(&shared) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    trained_run_fini(&shared);
    return 0;
}

/* ---- one run through cf_explain ---------------------------------------------------------------
 */

/* What cf_explain found, image after image. */
typedef struct maps {
    float smooth[SHOWN][FLOATS], cam[SHOWN][PIXELS];
    double p[SHOWN][CLASSES];
    int fold[SHOWN], n;
    cf_map_place place;
} maps;

static cf_err keep(void *context, const cf_explanation *x)
{
    maps *m = context;
    assert_true(x->size == SIDE && x->map_height * x->map_width <= PIXELS);
    m->fold[x->place] = x->fold;
    m->place = x->map_place;
    memcpy(m->p[x->place], x->p, sizeof m->p[0]);
    if (x->smoothgrad != NULL) memcpy(m->smooth[x->place], x->smoothgrad, sizeof m->smooth[0]);
    if (x->gradcam != NULL)
        memcpy(m->cam[x->place], x->gradcam,
               (size_t)(x->map_height * x->map_width) * sizeof(float));
    m->n++;
    return CF_OK;
}

/* Every sixth image, all of class 0 asked of fold 0's network. */
static cf_explain_options usual(maps *m)
{
    static int64_t images[SHOWN];
    static int folds[SHOWN];
    for (int i = 0; i < SHOWN; i++) images[i] = i * (IMAGES / SHOWN);
    memset(m, 0, sizeof *m);
    return (cf_explain_options){.images = images,
                                .folds = folds,
                                .n_images = SHOWN,
                                .class = 0,
                                .layer = "stage1.0.conv3",
                                .gradcam = true,
                                .smoothgrad = true,
                                .samples = SAMPLES,
                                .noise = 0.15,
                                .seed = 1,
                                .found = keep,
                                .context = m};
}

static void explain(const fixture *f, const cf_explain_options *o)
{
    cf_explain_report report;
    OK(cf_explain(&f->run, &f->cells, o, &report));
    assert_string_equal(report.layer, "stage1.0.conv3");
    assert_int_equal(((maps *)o->context)->n, o->n_images);
}

static double difference(const float *a, const float *b, int n)
{
    double sum = 0, norm = 0;
    for (int i = 0; i < n; i++) {
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)a[i] * (double)a[i];
    }
    return norm > 0 ? sqrt(sum / norm) : 0;
}

static void images_are_explained_the_same_alone_and_in_company(void **state)
{
    (void)state;
    static maps all, one;
    cf_explain_options o = usual(&all);
    explain(&shared, &o);
    assert_true(all.fold[3] == 0 && all.place.start == 0.0 && all.place.step == 2.0);
    o = usual(&one);
    o.images += 5;
    o.n_images = 1;
    explain(&shared, &o);
    assert_memory_equal(one.smooth[0], all.smooth[5], sizeof one.smooth[0]);
    assert_memory_equal(one.cam[0], all.cam[5], sizeof one.cam[0]);
}

static void smoothgrad_without_noise_is_the_gradient(void **state)
{
    (void)state;
    static maps once, often, noisy;
    cf_explain_options o = usual(&once);
    o.noise = 0;
    o.samples = 1;
    explain(&shared, &o);
    o = usual(&often);
    o.noise = 0;
    explain(&shared, &o);
    o = usual(&noisy);
    explain(&shared, &o);
    for (int i = 0; i < SHOWN; i++) {
        /* means of equal gradients: what a batch of another size rounds differently */
        assert_true(difference(once.smooth[i], often.smooth[i], FLOATS) < 1e-5);
        assert_true(difference(once.smooth[i], noisy.smooth[i], FLOATS) > 1e-2);
        assert_true(difference(once.cam[i], noisy.cam[i], PIXELS) < 1e-5); /* has no noise */
    }
}

static void layers_that_are_not_there_are_named_with_those_that_are(void **state)
{
    (void)state;
    static maps m;
    cf_explain_report report;
    cf_explain_options o = usual(&m);
    o.layer = "stage9";
    assert_int_equal(cf_explain(&shared.run, &shared.cells, &o, &report), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "layer 'stage9' is none of the network's: stem, stage1"));
    assert_int_equal(m.n, 0);
}

/* Run where CYTOFOLD_TEST_DEVICE names one that augments by itself: here it is given images that
 * are ready, since noise is added to them. */
static void devices_explain_alike(void **state)
{
    (void)state;
    enum { FEW = 3 };
    static maps here, there;
    char text[64];
    fixture other = shared; /* shares what it owns */
    snprintf(text, sizeof text, "run.device=%.32s", getenv("CYTOFOLD_TEST_DEVICE"));
    OK(cf_config_set(&other.run.config, text));
    cf_explain_options o = usual(&here);
    o.n_images = FEW;
    o.samples = 2;
    explain(&shared, &o);
    o.context = &there;
    memset(&there, 0, sizeof there);
    explain(&other, &o);
    for (int i = 0; i < FEW; i++) {
        for (int k = 0; k < CLASSES; k++) assert_true(fabs(here.p[i][k] - there.p[i][k]) < 1e-5);
        /* Without norms the CPU's kernels and the GPU's add in one order; libraries that take
         * their place do not, and move an activation here or there over its kink. */
        double smooth = difference(here.smooth[i], there.smooth[i], FLOATS);
        double cam = difference(here.cam[i], there.cam[i], PIXELS);
        printf("image %d: maps differ by %.2g and %.2g of their size\n", i, smooth, cam);
        assert_true(smooth < 1e-2 && cam < 1e-2);
        assert_true(difference(here.smooth[i], here.smooth[(i + 1) % FEW], FLOATS) > 0.1);
    }
}

/* ---- pieces -----------------------------------------------------------------------------------
 */

static void noise_is_normal_and_named_by_seed_image_and_sample(void **state)
{
    (void)state;
    enum { N = 200000 };
    static float zero[N], a[N], b[N];
    const cf_smoothgrad_stream stream = {7, 99}, seed = {8, 99}, image = {7, 98};
    double sum = 0, square = 0, fourth = 0;
    cf_smoothgrad_noise(stream, 3, 2.0, zero, N, a);
    for (int i = 0; i < N; i++) {
        double z = (double)a[i] / 2;
        sum += z;
        square += z * z;
        fourth += z * z * z * z;
    }
    /* within four standard errors: 1, sqrt 2 and sqrt 96 over sqrt N */
    assert_true(fabs(sum / N) < 4 / sqrt(N));
    assert_true(fabs(square / N - 1) < 4 * sqrt(2.0 / N));
    assert_true(fabs(fourth / N - 3) < 4 * sqrt(96.0 / N));
    cf_smoothgrad_noise(stream, 3, 2.0, zero, N - 1, b); /* an odd number of values */
    assert_memory_equal(a, b, (N - 1) * sizeof *a);
    const struct {
        cf_smoothgrad_stream stream;
        int sample;
    } others[] = {{stream, 4}, {seed, 3}, {image, 3}};
    for (size_t k = 0; k < 3; k++) {
        double product = 0;
        cf_smoothgrad_noise(others[k].stream, others[k].sample, 2.0, zero, N, b);
        for (int i = 0; i < N; i++) product += (double)a[i] * (double)b[i] / 4;
        assert_true(fabs(product / N) < 4 / sqrt(N));
    }
}

static void maps_lie_where_their_pixels_read_the_image(void **state)
{
    (void)state;
    const struct {
        const char *sets[4], *layer;
        double start, step;
    } nets[] = {
        /* padding on both sides: pixel 0 reads around the image's first */
        {{"model.stem=full", "model.depths=[1, 1]", NULL}, "stage2.0.conv3", 0, 8},
        /* 7 px wide, of five pixels of padding two before the first */
        {{"model.variant=paper", "model.stem=full", "model.depths=[1, 1]", NULL}, "stem", 1, 2},
        {{"model.network=sequential", "model.widths=[8, 16]", NULL}, "block2.pool", 1.5, 4},
    };
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        cf_config config;
        cf_graph *g = NULL;
        double start, step;
        cf_config_defaults(&config);
        OK(cf_config_set(&config, "model.image_size=64"));
        OK(cf_config_set(&config, "model.outputs=3"));
        for (int s = 0; nets[i].sets[s] != NULL; s++) OK(cf_config_set(&config, nets[i].sets[s]));
        OK(cf_model_build(&config, NULL, 1, &g));
        cf_explain_graph_place(g, cf_graph_find(g, nets[i].layer), &start, &step);
        if (start != nets[i].start || step != nets[i].step)
            fail_msg("%s: pixels from %g in steps of %g, expected %g and %g", nets[i].layer, start,
                     step, nets[i].start, nets[i].step);
        cf_graph_destroy(g);
    }
}

static void enlarged_maps_pass_through_their_pixels(void **state)
{
    (void)state;
    const cf_map_place place = {.start = 3, .step = 8};
    float map[4 * 4], scratch[4 * 32], large[32 * 32], flat[4 * 4];
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    for (int i = 0; i < 16; i++) {
        map[i] = cf_rng_uniform(&rng);
        flat[i] = 0.25f;
    }
    cf_map_enlarge(map, 4, 4, place, 32, 32, scratch, large);
    for (int y = 0; y < 4; y++)
        for (int x = 0; x < 4; x++)
            assert_true(large[(3 + 8 * y) * 32 + 3 + 8 * x] == map[4 * y + x]);
    assert_true(large[0] == map[0] && large[32 * 32 - 1] == map[15]); /* beyond: the nearest */
    cf_map_enlarge(flat, 4, 4, place, 32, 32, scratch, large);
    for (int i = 0; i < 32 * 32; i++) assert_true(fabsf(large[i] - 0.25f) < 1e-6f);
}

static void heat_grows_in_equal_steps_of_lightness(void **state)
{
    (void)state;
    cf_heat heat;
    double before = -1;
    cf_heat_colors(&heat);
    for (int i = 0; i < CF_HEAT_STEPS; i++) {
        double linear[3], lightness;
        for (int c = 0; c < 3; c++) {
            double v = heat.rgb[i][c] / 255.0;
            linear[c] = v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
        }
        double y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        lightness = y > 0.008856 ? 116 * cbrt(y) - 16 : 903.3 * y;
        assert_true(fabs(lightness - (3 + 93 * i / 255.0)) < 1.0); /* colours of 8 bits */
        assert_true(i % 8 != 0 || lightness > before);
        if (i % 8 == 0) before = lightness;
    }
}

/* ---- sanity checks ----------------------------------------------------------------------------
 */

/* Ranks from 0; equal values share their mean rank. */
typedef struct ranked {
    float value;
    int place;
} ranked;

static int by_value(const void *a, const void *b)
{
    float x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x > y) - (x < y);
}

static void rank_values(const float *values, int n, double *ranks)
{
    static ranked sorted[PIXELS];
    for (int i = 0; i < n; i++) sorted[i] = (ranked){values[i], i};
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    for (int first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && sorted[end].value == sorted[first].value;) end++;
        for (int i = first; i < end; i++) ranks[sorted[i].place] = (first + end - 1) / 2.0;
    }
}

/* Spearman's; 0 where a map is flat. */
static double rank_correlation(const float *a, const float *b, int n)
{
    static double x[PIXELS], y[PIXELS];
    double mean = (n - 1) / 2.0, xy = 0, xx = 0, yy = 0;
    rank_values(a, n, x);
    rank_values(b, n, y);
    for (int i = 0; i < n; i++) {
        xy += (x[i] - mean) * (y[i] - mean);
        xx += (x[i] - mean) * (x[i] - mean);
        yy += (y[i] - mean) * (y[i] - mean);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

/* Means over the images; absolute gradients, as SmoothGrad is shown. */
static void compare(const maps *a, const maps *b, double *smooth, double *cam)
{
    *smooth = *cam = 0;
    for (int i = 0; i < SHOWN; i++) {
        static float x[PIXELS], y[PIXELS], scratch[PIXELS];
        cf_smoothgrad_map(a->smooth[i], PIXELS, x, scratch);
        cf_smoothgrad_map(b->smooth[i], PIXELS, y, scratch);
        *smooth += rank_correlation(x, y, PIXELS) / SHOWN;
        *cam += rank_correlation(a->cam[i], b->cam[i], PIXELS) / SHOWN;
    }
}

/* A run folder like f's whose networks are changed: f with another folder. Its files are f's but
 * for the weights of tensors whose names begin with one of `parts`, drawn anew. */
static void randomise(const fixture *f, const char *const *parts, int n_parts, fixture *out)
{
    char path[CF_PATH_MAX];
    cf_graph *g = NULL;
    cf_config config = f->run.config;
    cf_engine e;
    cf_trainer t;
    static uint8_t fold_of[IMAGES];
    for (int i = 0; i < IMAGES; i++) fold_of[i] = (uint8_t)(i % FOLDS);
    *out = *f;
    assert_true(scratch_make(out->dir));
    OK(cf_engine_init(&e, &config, &f->cells.scheme, -1, 1));
    g = e.graph;
    size_t n = (size_t)(g->n_weights + g->n_state);
    float *trained = calloc(n, sizeof *trained), *fresh = calloc(n, sizeof *fresh);
    assert_true(trained != NULL && fresh != NULL);
    OK(cf_saved_weights(&f->run, g, 0, trained, trained + g->n_weights));
    config.train_seed = 77;
    cf_model_init(g, &config, 0, fresh, fresh + g->n_weights);
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        bool state = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
        bool drawn = p->kind == CF_PARAM_WEIGHT; /* norms stay: scores keep their size */
        int64_t at = p->offset + (state ? g->n_weights : 0);
        for (int k = 0; k < n_parts && drawn; k++)
            if (strncmp(p->name, parts[k], strlen(parts[k])) == 0)
                memcpy(trained + at, fresh + at, (size_t)p->count * sizeof *trained);
    }
    OK(cf_trainer_init(&t, &e, &f->cells, fold_of, 0));
    memcpy(t.weights, trained, (size_t)g->n_weights * sizeof *trained);
    memcpy(t.state, trained + g->n_weights, (size_t)g->n_state * sizeof *trained);
    memcpy(t.ema, trained, n * sizeof *trained);
    t.step = t.total_steps;
    save(&t, out->dir);
    cf_trainer_fini(&t);
    cf_engine_fini(&e);
    free(trained);
    free(fresh);
    for (int k = 0; k < 2; k++) {
        static const char *const files[2] = {"run.yaml", "scheme.yaml"};
        char *text = NULL;
        size_t bytes = 0;
        OK(cf_path_join(path, sizeof path, f->dir, files[k]));
        OK(cf_file_read(path, 1 << 20, &text, &bytes));
        save_text(out->dir, files[k], text);
        free(text);
    }
    OK(cf_saved_open(out->dir, &out->run));
}

static void maps_fade_as_layers_are_randomised_from_the_top(void **state)
{
    (void)state;
    static const char *const parts[] = {"fc", "stage2", "stage1", "stem"};
    static maps trained, changed;
    double smooth[5], cam[5];
    cf_explain_options o = usual(&trained);
    explain(&shared, &o);
    for (int n = 0; n <= 4; n++) {
        fixture f;
        randomise(&shared, parts, n, &f);
        o = usual(&changed);
        explain(&f, &o);
        compare(&trained, &changed, &smooth[n], &cam[n]);
        printf("randomised %d of 4 parts: rank correlation of SmoothGrad %.2f, of Grad-CAM %.2f\n",
               n, smooth[n], cam[n]);
        cf_saved_fini(&f.run);
        scratch_remove(f.dir);
    }
    /* the same weights through another checkpoint: the same maps */
    assert_true(smooth[0] > 0.999 && cam[0] > 0.999);
    assert_true(smooth[4] < 0.5 && fabs(cam[4]) < 0.5);
    assert_true(smooth[4] < smooth[1] && smooth[1] < smooth[0] && cam[1] < cam[0]);
}

static void maps_depend_on_the_labels_that_were_learnt(void **state)
{
    (void)state;
    static maps trained, twin, shuffled;
    double smooth, cam, twin_smooth, twin_cam;
    fixture f = {0};
    int folds[SHOWN];
    assert_true(scratch_make(f.dir));
    paint(&f.cells, 0);
    cf_rng rng = cf_rng_at(SEED, 0, 0, 1, CF_PURPOSE_TEST);
    for (int i = 0; i < IMAGES; i++) f.cells.labels[i] = (int32_t)cf_rng_below(&rng, CLASSES);
    make_run(&f, NULL);
    OK(cf_saved_open(f.dir, &f.run));
    cf_explain_options o = usual(&trained);
    explain(&shared, &o);
    o = usual(&shuffled);
    explain(&f, &o);
    o = usual(&twin); /* of other images, with the right labels */
    for (int i = 0; i < SHOWN; i++) folds[i] = 1;
    o.folds = folds;
    explain(&shared, &o);
    compare(&trained, &shuffled, &smooth, &cam);
    compare(&trained, &twin, &twin_smooth, &twin_cam);
    printf("random labels: rank correlation of SmoothGrad %.2f, of Grad-CAM %.2f; the other fold's "
           "network: %.2f and %.2f\n",
           smooth, cam, twin_smooth, twin_cam);
    assert_true(smooth < twin_smooth && smooth < 0.6);
    cf_saved_fini(&f.run);
    fake_cells_fini(&f.cells);
    scratch_remove(f.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_are_explained_the_same_alone_and_in_company),
        cmocka_unit_test(smoothgrad_without_noise_is_the_gradient),
        cmocka_unit_test(layers_that_are_not_there_are_named_with_those_that_are),
        cmocka_unit_test(noise_is_normal_and_named_by_seed_image_and_sample),
        cmocka_unit_test(maps_lie_where_their_pixels_read_the_image),
        cmocka_unit_test(enlarged_maps_pass_through_their_pixels),
        cmocka_unit_test(heat_grows_in_equal_steps_of_lightness),
        cmocka_unit_test(maps_fade_as_layers_are_randomised_from_the_top),
        cmocka_unit_test(maps_depend_on_the_labels_that_were_learnt),
    };
    const struct CMUnitTest two_devices[] = {cmocka_unit_test(devices_explain_alike)};
    if (getenv("CYTOFOLD_TEST_DEVICE") != NULL) /* the others ask nothing more of it */
        return cmocka_run_group_tests(two_devices, set_up, tear_down);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
