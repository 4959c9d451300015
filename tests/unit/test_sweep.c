/* The section `sweep`: its points, their order, and what is refused where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/sweep.h"
#include "tests/support/scratch.h"

typedef struct fixture {
    char folder[CF_PATH_MAX], path[CF_PATH_MAX];
    cf_sweep sweep;
    cf_config *config;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    f = (fixture){0};
    *state = &f;
    if (!scratch_make(f.folder) || cf_new(&f.config, 1, sizeof *f.config) != CF_OK) return 1;
    return cf_path_join(f.path, sizeof f.path, f.folder, "c.yaml") == CF_OK ? 0 : 1;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    cf_sweep_fini(&f->sweep);
    free(f->config);
    scratch_remove(f->folder);
    return 0;
}

static void read_sweep(fixture *f, const char *text)
{
    assert_int_equal(cf_file_save(f->path, text, strlen(text)), CF_OK);
    if (cf_sweep_read(f->path, NULL, &f->sweep) != CF_OK) fail_msg("%s", cf_err_text());
}

/* Both readers refuse it, with the same words. */
static void expect_refused(fixture *f, const char *text, const char *words)
{
    assert_int_equal(cf_file_save(f->path, text, strlen(text)), CF_OK);
    assert_int_equal(cf_sweep_read(f->path, NULL, &f->sweep), CF_E_USAGE);
    if (strstr(cf_err_text(), words) == NULL) fail_msg("%s\nwithout: %s", cf_err_text(), words);
    cf_sweep_fini(&f->sweep);
    assert_int_equal(cf_config_read(f->path, f->config), CF_E_USAGE);
    if (strstr(cf_err_text(), words) == NULL) fail_msg("%s\nwithout: %s", cf_err_text(), words);
}

static void points_are_the_product_last_key_fastest(void **state)
{
    fixture *f = *state;
    static const char *const expected[] = {"0.001 resnext", "0.001 sequential", "0.003 resnext",
                                           "0.003 sequential"};
    read_sweep(f, "train:\n  epochs: 3\nsweep:\n  train.learning_rate: [1e-3, 3.0e-3]\n"
                  "  model.network: [resnext, sequential]\n");
    assert_int_equal(f->sweep.n_points, 4);
    for (int point = 0; point < 4; point++) {
        char text[100];
        snprintf(text, sizeof text, "%s %s", cf_sweep_value(&f->sweep, point, 0),
                 cf_sweep_value(&f->sweep, point, 1));
        assert_string_equal(text, expected[point]);
    }
    assert_int_equal(cf_config_read(f->path, f->config), CF_OK);
    assert_int_equal(f->config->train_epochs, 3);
}

static void a_configuration_without_one_has_no_points(void **state)
{
    fixture *f = *state;
    read_sweep(f, "train:\n  epochs: 3\n");
    assert_int_equal(f->sweep.n_points, 0);
}

static void values_reach_the_configuration_bit_by_bit(void **state)
{
    fixture *f = *state;
    cf_strings given = {0}, overrides = {0};
    read_sweep(f, "sweep:\n  train.learning_rate: [0.1, 0.30000000000000004]\n"
                  "  model.depths: [[1, 1], [2, 2, 2]]\n  train.ema: [0.5]\n"
                  "  augment.flip_vertical: [true, false]\n");
    assert_int_equal(f->sweep.n_points, 8);
    assert_int_equal(cf_strings_add(&given, "train.epochs=7"), CF_OK);
    assert_int_equal(cf_strings_add(&given, "sweep.train.ema=[0.5]"), CF_OK);
    assert_int_equal(cf_sweep_overrides(&f->sweep, 7, &given, &overrides), CF_OK);
    assert_int_equal(overrides.n, 5);
    cf_config_defaults(f->config);
    for (size_t i = 0; i < overrides.n; i++)
        assert_int_equal(cf_config_set(f->config, overrides.items[i]), CF_OK);
    assert_true(f->config->train_learning_rate == 0.30000000000000004);
    assert_int_equal(f->config->model_depths.n, 3);
    assert_int_equal(f->config->train_epochs, 7);
    assert_false(f->config->augment_flip_vertical);
    cf_strings_fini(&given);
    cf_strings_fini(&overrides);
}

static void what_cannot_vary_is_refused_by_line_and_column(void **state)
{
    fixture *f = *state;
    expect_refused(f, "sweep:\n  data.folds: [3, 5]\n", "c.yaml:2:3: data.folds cannot be in");
    expect_refused(f, "sweep:\n  run.threads: [1, 2]\n", "c.yaml:2:3: run.threads cannot be in");
    expect_refused(f, "sweep:\n  train.evaluate_every: [1, 2]\n", "does not change a result");
    expect_refused(f, "sweep:\n  train.epoch: [1, 2]\n", "did you mean \"train.epochs\"");
    expect_refused(f, "sweep:\n  epochs: [1]\n", "c.yaml:2:3: unknown key");
    expect_refused(f, "sweep: [1]\n", "c.yaml:1:8: section sweep is a list");
}

static void each_value_keeps_the_rule_of_its_key(void **state)
{
    fixture *f = *state;
    expect_refused(f, "sweep:\n  train.epochs: [3, 0]\n", "c.yaml:2:21: train.epochs is \"0\"");
    expect_refused(f, "sweep:\n  train.epochs: [3, 90abc]\n", "c.yaml:2:21: train.epochs is");
    expect_refused(f, "sweep:\n  model.network: [resnet]\n", "c.yaml:2:19: model.network is");
    expect_refused(f, "sweep:\n  train.learning_rate: 0.1\n",
                   "c.yaml:2:24: sweep.train.learning_rate is a single value; expected a list");
    expect_refused(f, "sweep:\n  train.epochs: []\n", "c.yaml:2:17: sweep.train.epochs has 0");
    expect_refused(f, "sweep:\n  train.learning_rate: [0.001, 1e-3]\n",
                   "c.yaml:2:32: sweep.train.learning_rate has the value 0.001 twice");
}

static void too_many_points_are_counted(void **state)
{
    fixture *f = *state;
    expect_refused(f,
                   "sweep:\n  train.seed: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
                   "  data.seed: [1]\n",
                   "c.yaml:3:3: data.seed");
    expect_refused(
        f,
        "sweep:\n  train.seed: [1, 2, 3, 4, 5, 6, 7, 8]\n"
        "  train.epochs: [1, 2, 3, 4, 5, 6, 7, 8]\n  train.ema: [0, 0.1, 0.2, 0.3, 0.4]\n",
        "the sweep has 8 x 8 x 5 points; expected at most 256");
}

static void overrides_give_other_values_and_do_not_meet(void **state)
{
    fixture *f = *state;
    const char *text = "sweep:\n  train.epochs: [3, 4]\n";
    cf_strings sets = {0};
    assert_int_equal(cf_file_save(f->path, text, strlen(text)), CF_OK);
    assert_int_equal(cf_strings_add(&sets, "sweep.train.epochs=[5, 6, 7]"), CF_OK);
    assert_int_equal(cf_strings_add(&sets, "sweep.train.seed=[1, 2]"), CF_OK);
    assert_int_equal(cf_sweep_read(f->path, &sets, &f->sweep), CF_OK);
    assert_int_equal(f->sweep.n_points, 6);
    assert_string_equal(cf_sweep_value(&f->sweep, 5, 0), "7");
    cf_sweep_fini(&f->sweep);
    assert_int_equal(cf_strings_add(&sets, "train.seed=3"), CF_OK);
    assert_int_equal(cf_sweep_read(f->path, &sets, &f->sweep), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "the sweep gives train.seed its values"));
    assert_int_equal(cf_config_set(f->config, "sweep.train.epochs=[0]"), CF_E_USAGE);
    assert_int_equal(cf_config_set(f->config, "sweep.train.epochs"), CF_E_USAGE);
    assert_int_equal(cf_config_set(f->config, "sweep.=[0]"), CF_E_USAGE);
    cf_strings_fini(&sets);
}

static void what_is_written_reads_back(void **state)
{
    fixture *f = *state;
    cf_buf first = {0}, second = {0};
    read_sweep(f, "sweep:\n  train.learning_rate: [1e-3, 3.0e-3]\n"
                  "  model.widths: [[8], [8, 16]]\n  train.optimizer: [sgd, adamw]\n");
    cf_sweep_write(&f->sweep, &first);
    assert_non_null(strstr(cf_buf_text(&first),
                           "# point-007: train.learning_rate 0.003, model.widths [8, 16], "
                           "train.optimizer adamw\n"));
    cf_sweep_fini(&f->sweep);
    read_sweep(f, cf_buf_text(&first));
    cf_sweep_write(&f->sweep, &second);
    assert_string_equal(cf_buf_text(&first), cf_buf_text(&second));
    cf_buf_fini(&first);
    cf_buf_fini(&second);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(points_are_the_product_last_key_fastest),
        CASE(a_configuration_without_one_has_no_points),
        CASE(values_reach_the_configuration_bit_by_bit),
        CASE(what_cannot_vary_is_refused_by_line_and_column),
        CASE(each_value_keeps_the_rule_of_its_key),
        CASE(too_many_points_are_counted),
        CASE(overrides_give_other_values_and_do_not_meet),
        CASE(what_is_written_reads_back),
    };
    return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
