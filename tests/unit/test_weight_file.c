/* Weights under other programs' names: which names and layouts, what is taken, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/scratch.h"
#include "worker/model_facts.h"
#include "worker/models.h"
#include "worker/weight_start.h"

/* A small network with all its weights, and a folder. */
typedef struct fixture {
    cf_config config;
    cf_scheme scheme;
    cf_graph *g;
    float *values; /* [n_weights + n_state] */
    int64_t n;
    char folder[CF_PATH_MAX], path[CF_PATH_MAX];
} fixture;

static void configure(cf_config *c, const char *const *sets, int n)
{
    cf_config_defaults(c);
    for (int i = 0; i < n; i++) assert_int_equal(cf_config_set(c, sets[i]), CF_OK);
    assert_int_equal(cf_config_validate(c), CF_OK);
}

static fixture *fixture_create(const char *const *sets, int n_sets, int n_classes)
{
    static const char *const codes[] = {"A", "B", "C", "D", "E"};
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    configure(&f->config, sets, n_sets);
    assert_int_equal(cf_scheme_from_codes(codes, n_classes, &f->scheme), CF_OK);
    assert_int_equal(cf_model_build(&f->config, &f->scheme, 1, &f->g), CF_OK);
    f->n = f->g->n_weights + f->g->n_state;
    f->values = calloc((size_t)f->n, sizeof *f->values);
    assert_non_null(f->values);
    for (int64_t i = 0; i < f->n; i++) f->values[i] = (float)(i + 1); /* each is its own */
    assert_true(scratch_make(f->folder));
    assert_int_equal(cf_path_join(f->path, sizeof f->path, f->folder, "w.safetensors"), CF_OK);
    return f;
}

static void fixture_destroy(fixture *f)
{
    scratch_remove(f->folder);
    free(f->values);
    cf_graph_destroy(f->g);
    cf_scheme_fini(&f->scheme);
    free(f);
}

static void write_file(const fixture *f, cf_naming naming, const cf_safetensor_note *notes, int n)
{
    assert_int_equal(cf_weight_file_write(f->path, f->g, naming, f->values,
                                          f->values + f->g->n_weights, notes, n),
                     CF_OK);
}

static cf_err read_file(const fixture *f, const fixture *into, cf_weight_use use, float *values,
                        cf_weight_taken *taken)
{
    cf_safetensors file;
    assert_int_equal(cf_safetensors_open(f->path, &file), CF_OK);
    cf_err err = cf_weight_file_read(&file, into->g, &into->scheme, use, values,
                                     values + into->g->n_weights, taken);
    cf_safetensors_close(&file);
    return err;
}

static const char *const small[] = {
    "model.image_size=32",    "model.depths=[1, 2]",   "model.cardinality=2", "model.group_width=2",
    "model.stage_channels=8", "model.stem_channels=8", "train.micro_batch=1", "train.batch=1"};
static const char *const sequential[] = {"model.network=sequential", "model.image_size=16",
                                         "model.widths=[4, 6]", "train.micro_batch=1",
                                         "train.batch=1"};
enum { N_SMALL = sizeof small / sizeof small[0], N_SEQUENTIAL = 5 };

/* The published network: 320 tensors under torchvision's names, 53 of them batches tracked. */
static void resnext50_has_torchvisions_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int rank;
        int64_t dim[4];
    } known[] = {
        {"conv1.weight", 4, {64, 3, 7, 7}},
        {"bn1.weight", 1, {64}},
        {"bn1.bias", 1, {64}},
        {"bn1.running_mean", 1, {64}},
        {"bn1.running_var", 1, {64}},
        {"bn1.num_batches_tracked", 0, {0}},
        {"layer1.0.conv1.weight", 4, {128, 64, 1, 1}},
        {"layer1.0.conv2.weight", 4, {128, 4, 3, 3}},
        {"layer1.0.bn3.running_var", 1, {256}},
        {"layer1.0.downsample.0.weight", 4, {256, 64, 1, 1}},
        {"layer1.0.downsample.1.num_batches_tracked", 0, {0}},
        {"layer4.2.conv2.weight", 4, {1024, 32, 3, 3}},
        {"layer4.2.conv3.weight", 4, {2048, 1024, 1, 1}},
        {"fc.weight", 2, {5, 2048}},
        {"fc.bias", 1, {5}},
    };
    fixture *f = fixture_create(NULL, 0, 5);
    cf_safetensors file;
    write_file(f, CF_NAMING_TORCHVISION, NULL, 0);
    assert_int_equal(cf_safetensors_open(f->path, &file), CF_OK);
    assert_int_equal(file.n, 320);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const cf_safetensor *t = cf_safetensors_find(&file, known[i].name);
        if (t == NULL) fail_msg("no %s", known[i].name);
        assert_int_equal(t->rank, known[i].rank);
        assert_memory_equal(t->dim, known[i].dim, (size_t)t->rank * sizeof t->dim[0]);
    }
    cf_safetensors_close(&file);
    assert_null(cf_weight_oddity(&f->config));
    fixture_destroy(f);
}

static void filters_are_turned_and_turned_back(void **state)
{
    (void)state;
    static const cf_naming all[] = {CF_NAMING_TORCHVISION, CF_NAMING_TIMM, CF_NAMING_CYTOFOLD};
    for (int network = 0; network < 2; network++) {
        fixture *f = network == 0 ? fixture_create(small, N_SMALL, 3)
                                  : fixture_create(sequential, N_SEQUENTIAL, 3);
        float *back = calloc((size_t)f->n, sizeof *back);
        assert_non_null(back);
        for (int k = 0; k < 3; k++) {
            cf_weight_taken taken;
            const cf_safetensor_note note = {CF_FACT_NAMES, cf_naming_word(all[k])};
            memset(back, 0, (size_t)f->n * sizeof *back);
            write_file(f, all[k], &note, 1);
            assert_int_equal(read_file(f, f, CF_WEIGHT_USE_ALL, back, &taken), CF_OK);
            assert_int_equal(taken.n, f->g->n_params);
            assert_memory_equal(back, f->values, (size_t)f->n * sizeof *back);
        }
        free(back);
        fixture_destroy(f);
    }
}

/* One filter and one dense row by hand: element (k, r, s, c) here is (k, c, r, s) there; the dense
 * layer of the sequential network reads 4 x 4 positions of 6 channels. */
static void layouts_are_the_other_programs(void **state)
{
    (void)state;
    fixture *f = fixture_create(sequential, N_SEQUENTIAL, 3);
    cf_safetensors file;
    write_file(f, CF_NAMING_TORCHVISION, NULL, 0);
    assert_int_equal(cf_safetensors_open(f->path, &file), CF_OK);
    const float *conv = cf_safetensors_find(&file, "block1.conv1.weight")->data;
    const float *fc = cf_safetensors_find(&file, "fc.weight")->data;
    const float *ours = f->values; /* the first parameter: [4][3][3][3] */
    int dense = f->g->nodes[f->g->n_nodes - 2].weight;
    const float *row = f->values + f->g->params[dense].offset;
    for (int k = 0; k < 4; k++)
        for (int c = 0; c < 3; c++)
            for (int at = 0; at < 9; at++)
                assert_true(conv[(k * 3 + c) * 9 + at] == ours[(k * 9 + at) * 3 + c]);
    for (int k = 0; k < 3; k++)
        for (int c = 0; c < 6; c++)
            for (int at = 0; at < 16; at++)
                assert_true(fc[(k * 6 + c) * 16 + at] == row[(k * 16 + at) * 6 + c]);
    cf_safetensors_close(&file);
    fixture_destroy(f);
}

static void a_classifier_of_other_classes_is_left_where_training_starts(void **state)
{
    (void)state;
    fixture *five = fixture_create(small, N_SMALL, 5), *three = fixture_create(small, N_SMALL, 3);
    cf_weight_taken taken;
    float *values = calloc((size_t)three->n, sizeof *values);
    assert_non_null(values);
    write_file(five, CF_NAMING_TORCHVISION, NULL, 0);
    assert_int_equal(read_file(five, three, CF_WEIGHT_USE_START, values, &taken), CF_OK);
    assert_true(taken.classifier_left);
    assert_string_equal(taken.why, "fc.weight [5, 16] there, fc.weight [3, 16] here");
    assert_int_equal(taken.n, three->g->n_params - 2);
    for (int i = 0; i < three->g->n_params; i++) { /* what was left kept its nought */
        const cf_param *p = &three->g->params[i];
        bool left = strncmp(p->name, "fc.", 3) == 0;
        if (p->kind != CF_PARAM_MEAN && p->kind != CF_PARAM_VAR)
            assert_true((values[p->offset] == 0) == left);
    }
    assert_int_equal(read_file(five, three, CF_WEIGHT_USE_ALL, values, &taken), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "2 tensors expected in another shape: fc.weight [3, 16] "
                                          "(found fc.weight [5, 16])"));
    free(values);
    fixture_destroy(three);
    fixture_destroy(five);
}

static void as_many_but_other_classes_are_noticed(void **state)
{
    (void)state;
    fixture *f = fixture_create(small, N_SMALL, 3);
    cf_weight_taken taken;
    float *values = calloc((size_t)f->n, sizeof *values);
    assert_non_null(values);
    static const cf_safetensor_note same = {CF_FACT_NODES, "[\"A\", \"B\", \"C\"]"};
    static const cf_safetensor_note others = {CF_FACT_NODES, "[\"X\", \"Y\", \"Z\"]"};
    write_file(f, CF_NAMING_TORCHVISION, &same, 1);
    assert_int_equal(read_file(f, f, CF_WEIGHT_USE_START, values, &taken), CF_OK);
    assert_false(taken.classifier_left);
    write_file(f, CF_NAMING_TORCHVISION, &others, 1);
    assert_int_equal(read_file(f, f, CF_WEIGHT_USE_START, values, &taken), CF_OK);
    assert_true(taken.classifier_left);
    free(values);
    fixture_destroy(f);
}

/* Two stages of one and two blocks; a network of two and two lacks tensors, one of one and one has
 * no place for some. */
static void networks_of_another_depth_are_refused(void **state)
{
    (void)state;
    const char *sets[N_SMALL];
    fixture *f = fixture_create(small, N_SMALL, 3);
    write_file(f, CF_NAMING_TORCHVISION, NULL, 0);
    memcpy(sets, small, sizeof small);
    static const char *const depths[] = {"model.depths=[2, 2]", "model.depths=[1, 1]"};
    static const char *const messages[] = {
        "15 tensors of the network missing: layer1.1.conv1.weight [4, 8, 1, 1], ",
        "without a place in the network: layer2.1."};
    for (int i = 0; i < 2; i++) {
        cf_weight_taken taken;
        sets[1] = depths[i];
        fixture *other = fixture_create(sets, N_SMALL, 3);
        cf_err err = read_file(f, other, CF_WEIGHT_USE_START, other->values, &taken);
        assert_int_equal(err, CF_E_CHECKPOINT);
        if (strstr(cf_err_text(), messages[i]) == NULL) fail_msg("%s", cf_err_text());
        fixture_destroy(other);
    }
    fixture_destroy(f);
}

/* Without metadata: filters have their equal sides behind the channels there, before them here. A
 * network of nothing but cubes fits both, and would be read turned. */
static void layouts_are_told_by_the_filters(void **state)
{
    (void)state;
    static const char *const cubes[] = {"model.network=sequential", "model.image_size=16",
                                        "model.widths=[3]", "train.micro_batch=1", "train.batch=1"};
    static const cf_naming families[] = {CF_NAMING_TORCHVISION, CF_NAMING_CYTOFOLD};
    for (int k = 0; k < 2; k++) {
        fixture *f = fixture_create(sequential, N_SEQUENTIAL, 3);
        fixture *g = fixture_create(cubes, N_SEQUENTIAL, 3);
        const cf_safetensor_note note = {CF_FACT_NAMES, cf_naming_word(families[k])};
        cf_weight_taken taken;
        float *back = calloc((size_t)f->n, sizeof *back);
        assert_non_null(back);
        write_file(f, families[k], NULL, 0);
        assert_int_equal(read_file(f, f, CF_WEIGHT_USE_ALL, back, &taken), CF_OK);
        assert_memory_equal(back, f->values, (size_t)f->n * sizeof *back);
        write_file(g, families[k], NULL, 0);
        assert_int_equal(read_file(g, g, CF_WEIGHT_USE_ALL, back, &taken), CF_E_CHECKPOINT);
        assert_non_null(strstr(cf_err_text(), "Its filters fit both; expected the metadata"));
        write_file(g, families[k], &note, 1);
        assert_int_equal(read_file(g, g, CF_WEIGHT_USE_ALL, back, &taken), CF_OK);
        assert_memory_equal(back, g->values, (size_t)g->n * sizeof *back);
        free(back);
        fixture_destroy(g);
        fixture_destroy(f);
    }
}

/* The weights of a run's first fold and of its last are the same file's. */
static void a_file_that_was_replaced_starts_nothing(void **state)
{
    (void)state;
    fixture *f = fixture_create(small, N_SMALL, 3);
    cf_weight_origin from = {.config = &f->config, .scheme = &f->scheme};
    cf_weight_taken taken;
    float *values = calloc((size_t)f->n, sizeof *values);
    assert_non_null(values);
    strcpy(f->config.model_init, f->path);
    write_file(f, CF_NAMING_TORCHVISION, NULL, 0);
    assert_int_equal(cf_safetensors_hash(f->path, &from.init_hash), CF_OK);
    assert_int_equal(cf_weight_start(&from, f->g, values, values + f->g->n_weights, &taken), CF_OK);
    assert_memory_equal(values, f->values, (size_t)f->n * sizeof *values);
    f->values[0] += 1;
    write_file(f, CF_NAMING_TORCHVISION, NULL, 0);
    cf_err err = cf_weight_start(&from, f->g, values, values + f->g->n_weights, &taken);
    assert_int_equal(err, CF_E_DATA);
    assert_non_null(
        strstr(cf_err_text(), "was replaced while the run started: expected the hash "));
    free(values);
    fixture_destroy(f);
}

/* Before a value is read: shapes, types, and what is odd about the network that it should fit. */
static void a_file_is_held_against_the_network_beforehand(void **state)
{
    (void)state;
    const char *sets[N_SMALL + 1];
    fixture *f = fixture_create(small, N_SMALL, 3);
    memcpy(sets, small, sizeof small);
    sets[N_SMALL] = "model.variant=paper";
    fixture *paper = fixture_create(sets, N_SMALL + 1, 3);
    const cf_weight_origin plain = {.config = &f->config, .scheme = &f->scheme};
    const cf_weight_origin other = {.config = &paper->config, .scheme = &paper->scheme};
    assert_int_equal(cf_weight_start_check(&plain, f->g), CF_OK); /* none is named */
    write_file(f, CF_NAMING_TORCHVISION, NULL, 0);
    strcpy(f->config.model_init, f->path);
    strcpy(paper->config.model_init, f->path);
    assert_int_equal(cf_weight_start_check(&plain, f->g), CF_OK);
    assert_int_equal(cf_weight_start_check(&other, paper->g), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "tensors of the network missing: conv1.bias [8], "));
    assert_non_null(strstr(cf_err_text(), "(here the paper's variant has biases of convolutions"));
    fixture_destroy(paper);
    fixture_destroy(f);
}

static void what_torchvision_has_not_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *set, *part;
    } odd[] = {
        {"model.network=sequential", "sequential"},
        {"model.variant=paper", "biases"},
        {"model.norm=none", "no normalisation"},
        {"model.norm=group", "group norms"},
        {"model.stem=small", "stem"},
        {"model.stage_channels=128", "widths"},
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        cf_config c;
        cf_config_defaults(&c);
        assert_int_equal(cf_config_set(&c, odd[i].set), CF_OK);
        assert_non_null(cf_weight_oddity(&c));
        assert_non_null(strstr(cf_weight_oddity(&c), odd[i].part));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resnext50_has_torchvisions_names),
        cmocka_unit_test(filters_are_turned_and_turned_back),
        cmocka_unit_test(layouts_are_the_other_programs),
        cmocka_unit_test(a_classifier_of_other_classes_is_left_where_training_starts),
        cmocka_unit_test(as_many_but_other_classes_are_noticed),
        cmocka_unit_test(networks_of_another_depth_are_refused),
        cmocka_unit_test(layouts_are_told_by_the_filters),
        cmocka_unit_test(a_file_that_was_replaced_starts_nothing),
        cmocka_unit_test(a_file_is_held_against_the_network_beforehand),
        cmocka_unit_test(what_torchvision_has_not_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
