/* The configuration: every row of config_keys.def is tested from the table itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/config.h"
#include "proto/config_table.h"
#include "proto/scheme.h"

static cf_config config, other; /* 20 KiB each */

static void read_shipped(const char *name, cf_config *c)
{
    char path[512];
    snprintf(path, sizeof path, "%s/configs/%s.yaml", CYTOFOLD_SOURCE, name);
    if (cf_config_read(path, c) != CF_OK) fail_msg("%s", cf_err_text());
}

static void must_set(cf_config *c, const char *assignment)
{
    if (cf_config_set(c, assignment) != CF_OK) fail_msg("%s", cf_err_text());
}

/* Values only: not the path the configuration was read from. */
static void assert_same_values(const cf_config *a, const cf_config *b)
{
    assert_memory_equal(a, b, offsetof(cf_config, path));
}

static void assert_round_trip(const cf_config *c, bool commented)
{
    cf_buf text = {0};
    cf_config_write(c, commented, &text);
    assert_int_equal(cf_buf_check(&text), CF_OK);
    if (cf_config_parse("written.yaml", cf_buf_text(&text), text.len, &other) != CF_OK)
        fail_msg("%s\n%s", cf_err_text(), cf_buf_text(&text));
    assert_same_values(c, &other);
    assert_string_equal(other.path, "written.yaml");
    cf_buf_fini(&text);
}

static void defaults_survive_write_and_parse(void **state)
{
    (void)state;
    cf_config_defaults(&config);
    assert_round_trip(&config, false);
    assert_round_trip(&config, true);
}

static void defaults_are_those_of_the_table(void **state)
{
    (void)state;
    cf_config_defaults(&config);
    assert_int_equal(config.train_epochs, 13);
    assert_true(config.train_learning_rate == 1e-3);
    assert_int_equal(config.model_depths.n, 4);
    assert_int_equal(config.model_depths.items[2], 6);
    assert_int_equal(config.train_step_epochs.n, 0);
    assert_true(config.augment_std.items[2] == 1.0);
    assert_int_equal(config.train_optimizer, CF_OPTIMIZER_ADAM);
    assert_true(config.train_deterministic);
    assert_int_equal(cf_config_validate(&config), CF_OK);
}

/* Each default, read as YAML, is what cf_config_defaults set: nothing in the table is misspelt or
 * out of its own range. */
static void every_default_is_accepted(void **state)
{
    (void)state;
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    char assignment[512];
    cf_config_defaults(&config);
    other = config;
    for (int i = 0; i < n; i++) {
        snprintf(assignment, sizeof assignment, "%s=%s", keys[i].path, keys[i].def);
        must_set(&other, assignment);
    }
    assert_same_values(&config, &other);
}

static void expect_set(const cf_key *key, double value, bool taken)
{
    char assignment[512];
    bool list = key->type == CF_KEY_INTS || key->type == CF_KEY_NUMS;
    snprintf(assignment, sizeof assignment, list ? "%s=[%.17g]" : "%s=%.17g", key->path, value);
    cf_config_defaults(&config);
    cf_err err = cf_config_set(&config, assignment);
    if ((err == CF_OK) != taken || (err != CF_OK && err != CF_E_USAGE))
        fail_msg("--set %s: code %d \"%s\"; expected it to be %s", assignment, err,
                 err ? cf_err_text() : "", taken ? "taken" : "refused");
    if (err == CF_OK) assert_round_trip(&config, false);
}

static void every_range_is_kept_at_its_edges(void **state)
{
    (void)state;
    int n = 0, n_ranges = 0;
    const cf_key *keys = cf_config_keys(&n);
    for (int i = 0; i < n; i++) {
        const cf_key *key = &keys[i];
        bool whole = key->type == CF_KEY_INT || key->type == CF_KEY_INTS;
        bool real = key->type == CF_KEY_NUM || key->type == CF_KEY_NUMS;
        if (!whole && !real) continue;
        /* A hundredth beyond, in the value's own size: enough to be out, also of 1e30. */
        double below = whole ? 1.0 : 0.01 * (key->min != 0.0 ? key->min : 1.0);
        double above = whole ? 1.0 : 0.01 * key->max;
        expect_set(key, key->min, true);
        expect_set(key, key->max, true);
        expect_set(key, key->min - below, false);
        expect_set(key, key->max + above, false);
        n_ranges++;
    }
    print_message("%d ranges\n", n_ranges);
    assert_true(n_ranges > 30);
}

static void every_word_is_taken(void **state)
{
    (void)state;
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    char assignment[512], storage[256];
    const char *words[CF_WORDS_MAX];
    for (int i = 0; i < n; i++) {
        if (keys[i].type != CF_KEY_WORD) continue;
        int n_words = cf_key_words(&keys[i], storage, words);
        assert_true(n_words >= 2);
        for (int w = 0; w < n_words; w++) {
            cf_config_defaults(&config);
            snprintf(assignment, sizeof assignment, "%s=%s", keys[i].path, words[w]);
            must_set(&config, assignment);
            assert_int_equal(*(const int *)cf_key_value_const(&keys[i], &config), w);
            assert_round_trip(&config, false);
        }
        snprintf(assignment, sizeof assignment, "%s=%s", keys[i].path, keys[i].words);
        assert_int_equal(cf_config_set(&config, assignment), CF_E_USAGE);
    }
}

static void odd_numbers_and_texts_survive(void **state)
{
    (void)state;
    cf_config_defaults(&config);
    must_set(&config, "train.learning_rate=0.1234567890123456789");
    must_set(&config, "train.epsilon=1e-12");
    must_set(&config, "augment.mean=[0.1, 0.30000000000000004, 1e-320]");
    must_set(&config, "train.step_epochs=[1, 2, 3]");
    must_set(&config, "data.cells='/a b/it''s \"q\" # : \\ \xc3\xa4.cells'");
    assert_string_equal(config.data_cells, "/a b/it's \"q\" # : \\ \xc3\xa4.cells");
    assert_true(config.train_learning_rate == 0.1234567890123456789);
    assert_round_trip(&config, true);
    for (int c = 1; c < 0x20; c++)
        config.data_scheme[c - 1] = (char)c; /* not from a file: escaped */
    cf_buf text = {0};
    cf_config_write(&config, false, &text);
    for (size_t i = 0; i < text.len; i++)
        assert_true(text.data[i] == '\n' || (unsigned char)text.data[i] >= 0x20);
    cf_buf_fini(&text);
}

static void set_overrides_one_key(void **state)
{
    (void)state;
    read_shipped("bm7", &config);
    other = config;
    must_set(&config, "train.epochs=7");
    assert_int_equal(config.train_epochs, 7);
    config.train_epochs = other.train_epochs;
    assert_memory_equal(&config, &other, sizeof config);
    must_set(&config, "model.depths=[2, 2]");
    assert_int_equal(config.model_depths.n, 2);
    must_set(&config, "data.cells=/tmp/x.cells");
    must_set(&config, "data.cells=");
    assert_string_equal(config.data_cells, "");
}

static void set_refuses_and_leaves_the_configuration(void **state)
{
    (void)state;
    static const struct {
        const char *assignment, *mentions;
    } bad[] = {
        {"train.epochs", "section.key=value"},
        {"=5", "section.key=value"},
        {"", "section.key=value"},
        {"train.epoch=5", "did you mean \"train.epochs\""},
        {"epochs=5", "unknown key"},
        {"train.epochs=90abc", "\"90abc\""},
        {"train.epochs=", "train.epochs"},
        {"train.epochs=5 # five", "quotes"},
        {"train.epochs= 5", "quotes"},
        {"train.epochs=[5]", "a list"},
        {"train.epochs=&a 5", "anchor"},
        {"train.epochs=5\ntrain.batch: 3", "train.epochs"},
        {"model.depths=[1, 2", "flow sequence that began in line 1"},
        {"data.cells=a #b", "quotes"},
        {"data.cells=a: b", "a map"},
        {"data.cells=\xff", "UTF-8"},
    };
    cf_config_defaults(&config);
    other = config;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cf_err err = cf_config_set(&config, bad[i].assignment);
        if (err != CF_E_USAGE || !strstr(cf_err_text(), bad[i].mentions) ||
            strncmp(cf_err_text(), "--set ", 6) != 0)
            fail_msg("%s: code %d \"%s\"; expected --set ...%s...", bad[i].assignment, err,
                     cf_err_text(), bad[i].mentions);
        assert_memory_equal(&config, &other, sizeof config);
    }
}

static void long_text_is_refused(void **state)
{
    (void)state;
    char assignment[CF_TEXT_MAX + 32] = "data.cells=";
    size_t start = strlen(assignment);
    memset(assignment + start, 'x', CF_TEXT_MAX);
    cf_config_defaults(&config);
    assert_int_equal(cf_config_set(&config, assignment), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "1024 bytes; expected at most 1023"));
    assignment[start + CF_TEXT_MAX - 1] = '\0';
    must_set(&config, assignment);
    assert_int_equal(strlen(config.data_cells), CF_TEXT_MAX - 1);
    assert_round_trip(&config, false);
}

static void rules_between_keys_are_kept(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second; /* second may be NULL */
        const char *mentions;       /* NULL: valid */
    } rules[] = {
        {"train.micro_batch=64", NULL, NULL},
        {"train.micro_batch=30", NULL, "multiple of train.micro_batch 30"},
        {"train.micro_batch=128", NULL, "multiple"},
        {"train.schedule=step", NULL, "step_epochs"},
        {"train.step_epochs=[3, 6]", NULL, "train.schedule step"},
        {"train.step_epochs=[3, 6]", "train.schedule=step", NULL},
        {"train.step_epochs=[6, 6]", "train.schedule=step", "rising"},
        {"train.warmup_epochs=14", NULL, "warmup_epochs"},
        {"train.warmup_epochs=13", "train.schedule=onecycle", "warmup_epochs"},
        {"train.nesterov=true", NULL, "sgd"},
        {"train.nesterov=true", "train.optimizer=sgd", NULL},
        {"augment.scale_min=1.2", NULL, "scale_max"},
        {"augment.scale_min=1.2", "augment.scale_max=1.2", NULL},
        {"augment.mean=[0, 0]", NULL, "augment.mean"},
        {"augment.std=[1, 1, 1, 1]", NULL, "augment.std"},
        {"model.depths=[]", NULL, "model.depths has 0 stages"},
        {"model.depths=[1, 1, 1, 1, 1, 1, 1, 1]", NULL, NULL},
        {"model.depths=[1, 1, 1, 1, 1, 1, 1, 1, 1]", NULL, "model.depths has 9 stages"},
        {"model.depths=[]", "model.network=sequential", NULL},
        {"model.widths=[]", "model.network=sequential", "model.widths"},
        {"model.widths=[]", NULL, NULL},
        {"model.stage_channels=4096", "model.depths=[1, 1, 1, 1, 1, 1]", "131072 channels"},
        {"model.group_width=256", "model.cardinality=256", "group_width"},
        {"run.groups=6", NULL, "data.folds 5"},
        {"run.groups=5", "run.workers=4", "run.workers 4"},
        {"run.groups=5", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        cf_config_defaults(&config);
        must_set(&config, rules[i].first);
        if (rules[i].second) must_set(&config, rules[i].second);
        cf_err err = cf_config_validate(&config);
        bool right = rules[i].mentions
                         ? err == CF_E_USAGE && strstr(cf_err_text(), rules[i].mentions)
                         : err == CF_OK;
        if (!right)
            fail_msg("%s: code %d \"%s\"; expected %s", rules[i].first, err,
                     err ? cf_err_text() : "", rules[i].mentions ? rules[i].mentions : "no error");
    }
}

static void validation_names_the_file(void **state)
{
    (void)state;
    static const char text[] = "train: {batch: 33}\n";
    assert_int_equal(cf_config_parse("my.yaml", text, strlen(text), &config), CF_OK);
    assert_int_equal(cf_config_validate(&config), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "my.yaml: train.batch is 33"));
}

static void reference_has_a_row_for_each_key(void **state)
{
    (void)state;
    int n = 0, n_lines = 0;
    const cf_key *keys = cf_config_keys(&n);
    cf_buf text = {0};
    char cell[128];
    cf_config_reference(&text);
    for (int i = 0; i < n; i++) {
        snprintf(cell, sizeof cell, "\n| `%s` | ", keys[i].path);
        assert_non_null(strstr(cf_buf_text(&text), cell));
        assert_non_null(strstr(cf_buf_text(&text), keys[i].help));
    }
    int n_bars = 0;
    for (const char *p = cf_buf_text(&text); *p != '\0'; p++) {
        n_bars += *p == '|';
        if (*p != '\n') continue;
        assert_int_equal(n_bars, 6); /* five cells a row: no text breaks the table */
        n_bars = 0;
        n_lines++;
    }
    assert_int_equal(n_lines, n + 2);
    cf_buf_fini(&text);
}

static void json_has_every_section_and_key(void **state)
{
    (void)state;
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    cf_buf alone = {0}, nested = {0};
    cf_json json;
    char key[64];
    cf_config_defaults(&config);
    cf_json_begin(&json, &alone, true);
    cf_config_write_json(&config, &json);
    cf_json_begin(&json, &nested, true);
    cf_json_object(&json, NULL);
    cf_json_object(&json, "config");
    cf_config_write_json(&config, &json);
    cf_json_end_object(&json);
    cf_json_end_object(&json);
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "\"%s\":", keys[i].name);
        assert_non_null(strstr(cf_buf_text(&alone), key));
    }
    assert_non_null(strstr(cf_buf_text(&nested), cf_buf_text(&alone)));
    assert_int_equal(cf_buf_text(&alone)[0], '{');
    cf_buf_fini(&alone);
    cf_buf_fini(&nested);
}

/* A key changes the hash exactly if it is none of those that say where and how often. */
static uint64_t hash_of(const cf_config *c)
{
    uint64_t hash = 0;
    assert_int_equal(cf_config_hash(c, &hash), CF_OK);
    return hash;
}

static void hash_follows_what_changes_a_result(void **state)
{
    (void)state;
    static const struct {
        const char *assignment;
        bool changes;
    } cases[] = {
        {"data.cells=x", false},
        {"data.folds_file=x", false},
        {"train.checkpoint_every=5", false},
        {"train.evaluate_every=5", false},
        {"run.threads=3", false},
        {"run.workers=3", false},
        {"run.device=cpu", false},
        {"run.coordinator=thread", false},
        {"data.seed=2", true},
        {"data.folds=4", true},
        {"data.scheme=bm7", true},
        {"data.split=holdout", true},
        {"data.group=patient", true},
        {"data.test_share=0.3", true},
        {"train.seed=2", true},
        {"train.batch=32", true},
        {"train.learning_rate=0.0010000000000000002", true},
        {"train.precision=fp32", true},
        {"train.reduce=fast", true},
        {"augment.mean=[0, 0, 0.5]", true},
        {"model.depths=[3, 4, 6]", true},
    };
    cf_config_defaults(&config);
    uint64_t hash = hash_of(&config);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cf_config_defaults(&other);
        must_set(&other, cases[i].assignment);
        if ((hash_of(&other) != hash) != cases[i].changes)
            fail_msg("%s: the hash should%s change", cases[i].assignment,
                     cases[i].changes ? "" : " not");
    }
    static const char text[] = "train: {epochs: 13}\n";
    assert_int_equal(cf_config_parse("elsewhere.yaml", text, strlen(text), &other), CF_OK);
    assert_true(hash_of(&other) == hash);
}

static void shipped_configurations_are_valid(void **state)
{
    (void)state;
    static const char *const names[] = {"demo", "bm7", "bm7-gpu", "matek2021", "matek2019"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        read_shipped(names[i], &config);
        if (cf_config_validate(&config) != CF_OK) fail_msg("%s", cf_err_text());
        cf_scheme scheme;
        if (cf_scheme_read(config.data_scheme, &scheme) != CF_OK) fail_msg("%s", cf_err_text());
        if (config.model_outputs != 0) assert_int_equal(config.model_outputs, scheme.n_nodes);
        assert_string_equal(config.data_cells, "");
        cf_scheme_fini(&scheme);
        assert_round_trip(&config, true);
    }
}

/* FACTS: the papers' protocol. */
static void matek2021_is_the_papers_protocol(void **state)
{
    (void)state;
    read_shipped("matek2021", &config);
    assert_int_equal(config.model_variant, CF_VARIANT_PAPER);
    assert_int_equal(config.model_outputs, 22);
    assert_int_equal(config.model_image_size, 250);
    assert_int_equal(config.train_epochs, 13);
    assert_int_equal(config.train_balance, CF_BALANCE_DRAWS);
    assert_int_equal(config.train_draws_per_class, 25000);
    assert_true(config.augment_rotation == 180.0 && config.augment_shift == 0.25);
    assert_true(config.augment_shear == 0.2);
    assert_true(config.augment_flip_horizontal && config.augment_flip_vertical);
}

static void missing_configuration_is_a_usage_error(void **state)
{
    (void)state;
    assert_int_equal(cf_config_read("/nonexistent/x.yaml", &config), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "/nonexistent/x.yaml"));
    assert_int_equal(cf_config_read(CYTOFOLD_SOURCE, &config), CF_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_survive_write_and_parse),
        cmocka_unit_test(defaults_are_those_of_the_table),
        cmocka_unit_test(every_default_is_accepted),
        cmocka_unit_test(every_range_is_kept_at_its_edges),
        cmocka_unit_test(every_word_is_taken),
        cmocka_unit_test(odd_numbers_and_texts_survive),
        cmocka_unit_test(set_overrides_one_key),
        cmocka_unit_test(set_refuses_and_leaves_the_configuration),
        cmocka_unit_test(long_text_is_refused),
        cmocka_unit_test(rules_between_keys_are_kept),
        cmocka_unit_test(validation_names_the_file),
        cmocka_unit_test(reference_has_a_row_for_each_key),
        cmocka_unit_test(json_has_every_section_and_key),
        cmocka_unit_test(hash_follows_what_changes_a_result),
        cmocka_unit_test(shipped_configurations_are_valid),
        cmocka_unit_test(matek2021_is_the_papers_protocol),
        cmocka_unit_test(missing_configuration_is_a_usage_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
