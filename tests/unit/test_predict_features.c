/* What a network makes of each image on the way to its classes, and networks that see only the
 * images they were not trained on. CYTOFOLD_TEST_DEVICE: another device than the CPU. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/trained_run.h"
#include "worker/models.h"

enum { FEATURES = 64, MOST = 256 }; /* of the last stage; of any network here */

static fixture shared;

/* What a pass was told. */
typedef struct seen {
    double p[FOLDS][IMAGES][CLASSES];
    float features[FOLDS][IMAGES][MOST];
    int n[FOLDS][IMAGES];
    int order[FOLDS * IMAGES], n_images; /* images as they came, one network after the other */
    bool features_given;
} seen;

static seen *found;                   /* owned, of one prediction */
static int64_t n_features = FEATURES; /* of the network that is asked */

static void use_device(fixture *f)
{
    const char *device = getenv("CYTOFOLD_TEST_DEVICE");
    char text[64];
    snprintf(text, sizeof text, "run.device=%.32s", device != NULL ? device : "cpu");
    assert_int_equal(cf_config_set(&f->run.config, text), CF_OK);
}

static int set_up(void **state)
{
    (void)state;
    found = calloc(1, sizeof *found);
    if (found == NULL || !trained_run_init(&shared)) return -1;
    use_device(&shared);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    trained_run_fini(&shared);
    free(found);
    return 0;
}

static cf_err note(void *context, const cf_predict_pass *pass)
{
    seen *s = context;
    s->features_given = pass->features != NULL;
    for (int i = 0; i < pass->n; i++) {
        int64_t image = pass->images[i];
        s->n[pass->fold][image]++;
        s->order[s->n_images++] = (int)image;
        memcpy(s->p[pass->fold][image], pass->p + i * CLASSES, CLASSES * sizeof(double));
        if (pass->features != NULL)
            memcpy(s->features[pass->fold][image], pass->features + i * n_features,
                   (size_t)n_features * sizeof(float));
    }
    return CF_OK;
}

/* Owned by the caller: [IMAGES][CLASSES]. */
static double *predict(const cf_predict_options *o)
{
    double *p = calloc((size_t)IMAGES * CLASSES, sizeof *p);
    assert_non_null(p);
    memset(found, 0, sizeof *found);
    if (cf_predict(&shared.run, &shared.cells, o, p, &shared.times) != CF_OK)
        fail_msg("%s", cf_err_text());
    return p;
}

static cf_predict_options noting(bool features)
{
    cf_predict_options o = shared.options;
    o.pass = note;
    o.pass_context = found;
    o.features = features;
    return o;
}

static void passes_tell_each_network_apart(void **state)
{
    (void)state;
    cf_predict_options o = noting(false);
    double *expected = predict(&shared.options), *p = predict(&o);
    assert_memory_equal(p, expected, (size_t)IMAGES * CLASSES * sizeof *p);
    assert_false(found->features_given);
    for (int i = 0; i < IMAGES; i++)
        for (int k = 0; k < CLASSES; k++) {
            assert_int_equal(found->n[0][i], 1);
            assert_true(p[i * CLASSES + k] == (found->p[0][i][k] + found->p[1][i][k]) / FOLDS);
        }
    free(expected);
    free(p);
}

/* Softmax of the dense layer's weights times the features, plus its biases. */
static void classify(const cf_graph *g, const float *weights, const float *features, double *p)
{
    const cf_node *dense = &g->nodes[cf_graph_find(g, "fc")];
    const float *w = weights + g->params[dense->weight].offset;
    const float *b = weights + g->params[dense->bias].offset;
    double sum = 0;
    for (int k = 0; k < CLASSES; k++) {
        double z = (double)b[k];
        for (int64_t f = 0; f < n_features; f++)
            z += (double)w[k * n_features + f] * (double)features[f];
        p[k] = exp(z);
        sum += p[k];
    }
    for (int k = 0; k < CLASSES; k++) p[k] /= sum;
}

/* How far the probabilities of the run's networks are from those made of the features of the same
 * image, or of another one that the network saw. */
static double worst_of(const fixture *f, bool same)
{
    cf_graph *g = NULL;
    double worst = 0;
    assert_int_equal(cf_model_build(&f->run.config, &f->run.scheme, 1, &g), CF_OK);
    float *weights = malloc((size_t)(g->n_weights + g->n_state) * sizeof *weights);
    assert_non_null(weights);
    for (int fold = 0; fold < FOLDS; fold++) {
        assert_int_equal(cf_saved_weights(&f->run, g, fold, weights, weights + g->n_weights),
                         CF_OK);
        for (int i = 0; i < IMAGES; i++) {
            double own[CLASSES];
            int other = (i + IMAGES / CLASSES) % IMAGES; /* of another class */
            if (found->n[fold][i] == 0 || found->n[fold][other] == 0) continue;
            classify(g, weights, found->features[fold][same ? i : other], own);
            for (int k = 0; k < CLASSES; k++)
                worst = fmax(worst, fabs(own[k] - found->p[fold][i][k]));
        }
    }
    free(weights);
    cf_graph_destroy(g);
    return worst;
}

/* fold_of: as for cf_predict. */
static void check_features(const fixture *f, const char *name, const uint8_t *fold_of)
{
    double *p = calloc((size_t)2 * IMAGES * CLASSES, sizeof *p), *again = p + IMAGES * CLASSES;
    cf_predict_options plain = shared.options, o = noting(true);
    cf_predict_times times;
    assert_non_null(p);
    plain.fold_of = o.fold_of = fold_of;
    memset(found, 0, sizeof *found);
    assert_int_equal(cf_predict(&f->run, &f->cells, &plain, p, &times), CF_OK);
    assert_int_equal(cf_predict(&f->run, &f->cells, &o, again, &times), CF_OK);
    assert_memory_equal(p, again, (size_t)IMAGES * CLASSES * sizeof *p);
    free(p);
    double worst = worst_of(f, true), others = worst_of(f, false);
    printf("%s: off by %.2g, by %.2g with those of other images\n", name, worst, others);
    /* The dense layer is fp32 at any precision, summed in another order here: some units in the
     * seventh digit of logits below 20. */
    assert_true(worst < 1e-5);
    assert_true(others > 1e-3);
}

static void features_are_what_the_last_dense_layer_reads(void **state)
{
    (void)state;
    int64_t n = 0;
    assert_int_equal(cf_predict_n_features(&shared.run, &n), CF_OK);
    assert_int_equal(n, FEATURES);
    check_features(&shared, "batch norm", NULL);
}

static void features_are_those_of_other_networks_too(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int n_features;
        const char *sets[6];
    } runs[] = {
        {"group norm", 64, {"train.epochs=2", "model.norm=group", "model.norm_groups=4"}},
        {"sequential",
         144,
         {"train.epochs=2", "model.network=sequential", "model.widths=[8, 16, 16]"}},
        {"bf16", 64, {"train.epochs=2", "train.precision=bf16"}},
    };
    uint8_t fold_of[IMAGES];
    /* a batch of each network: a device that is pretended takes its time */
    for (int i = 0; i < IMAGES; i++)
        fold_of[i] = (uint8_t)(i % (IMAGES / CLASSES) < 10 ? i % FOLDS : CF_FOLD_TRAIN);
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        fixture f;
        assert_true(trained_run_init_as(&f, runs[i].sets));
        use_device(&f);
        assert_int_equal(cf_predict_n_features(&f.run, &n_features), CF_OK);
        assert_int_equal(n_features, runs[i].n_features);
        check_features(&f, runs[i].name, fold_of);
        n_features = FEATURES;
        trained_run_fini(&f);
    }
}

static void networks_see_only_images_they_were_not_trained_on(void **state)
{
    (void)state;
    uint8_t fold_of[IMAGES];
    cf_predict_options o = noting(true);
    double *expected = predict(&o);
    seen *all = malloc(sizeof *all);
    assert_non_null(all);
    memcpy(all, found, sizeof *all);
    for (int i = 0; i < IMAGES; i++) fold_of[i] = (uint8_t)(i % FOLDS);
    fold_of[3] = CF_FOLD_TRAIN; /* tested by nobody */
    o.fold_of = fold_of;
    double *p = predict(&o);
    assert_int_equal(shared.times.n_passes, IMAGES - 1);
    for (int i = 0; i < IMAGES; i++)
        for (int fold = 0; fold < FOLDS; fold++) {
            assert_int_equal(found->n[fold][i], fold_of[i] == fold);
            if (fold_of[i] != fold) continue;
            assert_memory_equal(p + i * CLASSES, all->p[fold][i], CLASSES * sizeof *p);
            assert_memory_equal(found->features[fold][i], all->features[fold][i],
                                FEATURES * sizeof(float));
        }
    for (int k = 0; k < CLASSES; k++) assert_true(p[3 * CLASSES + k] == 0);
    for (int i = 1; i < found->n_images; i++) /* even ones, then the odd ones */
        assert_true(found->order[i - 1] < found->order[i] || found->order[i] == 1);
    free(all);
    free(expected);
    free(p);
}

static bool keep_total(void *context, int64_t done, int64_t total)
{
    int64_t *last = context;
    last[0] = done;
    last[1] = total;
    return true;
}

static void progress_counts_only_what_is_seen(void **state)
{
    (void)state;
    uint8_t fold_of[IMAGES];
    int64_t last[2] = {0};
    cf_predict_options o = shared.options;
    memset(fold_of, 1, sizeof fold_of);
    memset(fold_of, 0, 20);
    o.fold_of = fold_of;
    o.n_turns = 2;
    o.norm = CF_PREDICT_NORM_ADAPTED;
    o.progress = keep_total;
    o.context = last;
    free(predict(&o));
    assert_int_equal(last[0], 3 * IMAGES);
    assert_int_equal(last[1], 3 * IMAGES);
}

static cf_err refuse(void *context, const cf_predict_pass *pass)
{
    (void)context;
    return cf_fail(CF_E_DISK, "no room for image %d", (int)pass->images[0]);
}

static void an_error_of_the_pass_stops_the_prediction(void **state)
{
    (void)state;
    cf_predict_options o = shared.options;
    double p[IMAGES * CLASSES];
    o.pass = refuse;
    assert_int_equal(cf_predict(&shared.run, &shared.cells, &o, p, &shared.times), CF_E_DISK);
    assert_string_equal(cf_err_text(), "no room for image 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_tell_each_network_apart),
        cmocka_unit_test(features_are_what_the_last_dense_layer_reads),
        cmocka_unit_test(features_are_those_of_other_networks_too),
        cmocka_unit_test(networks_see_only_images_they_were_not_trained_on),
        cmocka_unit_test(progress_counts_only_what_is_seen),
        cmocka_unit_test(an_error_of_the_pass_stops_the_prediction),
    };
    /* the others ask nothing more of a device, and one that is pretended takes its time */
    if (getenv("CYTOFOLD_TEST_DEVICE") != NULL) cmocka_set_test_filter("features_*");
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
