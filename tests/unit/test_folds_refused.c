/* Splits that cannot be made, each with its reason; hold-outs in files and run folders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/folds.h"
#include "coordinator/folds_make.h"
#include "coordinator/run_folder.h"
#include "tests/support/fake_groups.h"
#include "tests/support/scratch.h"

enum { N = 24 };

/* Classes A and B in turns; six patients of four images, three at each of two sites. */
typedef struct fixture {
    int32_t labels[N], patients[N], sites[N];
    cf_cells cells;
} fixture;

static void fixture_draw(fixture *x)
{
    for (int i = 0; i < N; i++) {
        x->labels[i] = i % 2;
        x->patients[i] = i / 4;
        x->sites[i] = i / 12;
    }
}

static void fixture_open(fixture *x, int n_classes, int n_sites)
{
    assert_true(fake_cells_init(&x->cells, x->labels, N, n_classes, 0));
    assert_true(fake_groups_init(&x->cells, x->patients, 6, x->sites, n_sites));
}

static void assert_refused(const fixture *x, const cf_split *split, const char *expected)
{
    uint8_t fold_of[N];
    int n_folds;
    assert_int_equal(cf_folds_make(&x->cells, split, &n_folds, fold_of), CF_E_DATA);
    if (!strstr(cf_err_text(), expected)) fail_msg("\"%s\" is not in: %s", expected, cf_err_text());
}

static const cf_split by_patient = {.group = CF_GROUP_PATIENT, .n_folds = 3, .seed = 1};
static const cf_split site_out = {.kind = CF_SPLIT_LEAVE_SITE_OUT};

static void class_of_fewer_patients_than_folds_is_named(void **state)
{
    (void)state;
    fixture x;
    cf_split split = by_patient;
    fixture_draw(&x);
    x.labels[0] = x.labels[1] = x.labels[5] = 2; /* patients 0 and 1 */
    x.labels[9] = 3;
    fixture_open(&x, 4, 2);
    assert_refused(&x, &split,
                   "3 folds need images of at least 3 patients in every class: C has 2 patients (3 "
                   "images), D has 1 patient (1 image)");
    split.group = CF_GROUP_SITE;
    assert_refused(&x, &split, "A has 2 sites");
    split = (cf_split){.kind = CF_SPLIT_HOLDOUT, .group = CF_GROUP_PATIENT, .test_share = 0.2};
    assert_refused(&x, &split,
                   "test and training need images of at least 2 patients in every "
                   "class: D has 1 patient (1 image)");
    split.group = CF_GROUP_NONE;
    assert_refused(&x, &split, "D has 1");
    fake_groups_fini(&x.cells);
}

static void images_without_patient_are_counted_by_site(void **state)
{
    (void)state;
    fixture x;
    cf_split split = by_patient;
    uint8_t fold_of[N];
    int n_folds, size[3] = {0};
    fixture_draw(&x);
    for (int i = 14; i < N; i++) x.patients[i] = -1;
    fixture_open(&x, 2, 2);
    assert_refused(&x, &split, "10 of 24 images have no patient");
    assert_refused(&x, &split, "by site: site 1 10 of 12;");
    split.missing = CF_MISSING_OWN;
    assert_int_equal(cf_folds_make(&x.cells, &split, &n_folds, fold_of), CF_OK);
    /* patients of 4, 4, 4, 2 and ten of one image: even folds are possible */
    for (int i = 0; i < N; i++) size[fold_of[i]]++;
    for (int f = 0; f < 3; f++) assert_int_equal(size[f], 8);
    for (int i = 0; i < 14; i++) assert_int_equal(fold_of[i], fold_of[i / 4 * 4]);
    fake_groups_fini(&x.cells);
}

static void sites_that_cannot_be_left_out_are_refused(void **state)
{
    (void)state;
    fixture x;
    fixture_draw(&x);
    memset(x.sites, 0, sizeof x.sites);
    fixture_open(&x, 2, 1);
    assert_refused(&x, &site_out, "all images are of one site (\"site 0\")");
    fake_groups_fini(&x.cells);
    fixture_draw(&x);
    x.labels[20] = x.labels[21] = 2;
    fixture_open(&x, 3, 2);
    assert_refused(&x, &site_out, "C of site 1");
    fake_groups_fini(&x.cells);
    fixture_draw(&x);
    fixture_open(&x, 2, 2);
    x.cells.site_names.items[1][0] = '\0';
    assert_refused(&x, &site_out, "12 of 24 images have no site");
    fake_groups_fini(&x.cells);
}

static void patient_of_two_sites_cannot_be_kept_whole_by_site(void **state)
{
    (void)state;
    fixture x;
    cf_split split = site_out;
    uint8_t fold_of[N];
    int n_folds;
    fixture_draw(&x);
    x.patients[0] = 5;
    fixture_open(&x, 2, 2);
    assert_int_equal(cf_folds_make(&x.cells, &split, &n_folds, fold_of), CF_OK);
    for (int i = 0; i < N; i++) assert_int_equal(fold_of[i], i / 12);
    split.group = CF_GROUP_PATIENT;
    assert_refused(&x, &split, "1 of 6 patients stand in more than one fold, \"patient 5\"");
    fake_groups_fini(&x.cells);
}

static void one_class_or_no_share_is_refused(void **state)
{
    (void)state;
    fixture x;
    uint8_t fold_of[N];
    int n_folds;
    fixture_draw(&x);
    memset(x.labels, 0, sizeof x.labels);
    fixture_open(&x, 2, 2);
    assert_refused(&x, &by_patient, "only class A");
    assert_refused(&x, &site_out, "only class A");
    const cf_split wrong[] = {{.kind = CF_SPLIT_HOLDOUT, .test_share = 0},
                              {.kind = CF_SPLIT_HOLDOUT, .test_share = 1},
                              {.kind = CF_SPLIT_FOLDS, .n_folds = 1},
                              {.kind = CF_SPLIT_FOLDS, .n_folds = CF_MAX_FOLDS + 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(cf_folds_make(&x.cells, &wrong[i], &n_folds, fold_of), CF_E_USAGE);
    fake_groups_fini(&x.cells);
}

static void given_folds_are_held_to_the_group(void **state)
{
    (void)state;
    fixture x;
    uint8_t fold_of[N];
    fixture_draw(&x);
    fixture_open(&x, 2, 2);
    for (int i = 0; i < N; i++) fold_of[i] = (uint8_t)(i / 4 % 2);
    assert_int_equal(cf_folds_check(&x.cells, CF_GROUP_PATIENT, 2, fold_of), CF_OK);
    assert_int_equal(cf_folds_check(&x.cells, CF_GROUP_SITE, 2, fold_of), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "2 of 2 sites"));
    fold_of[0] = CF_FOLD_TRAIN;
    assert_int_equal(cf_folds_check(&x.cells, CF_GROUP_PATIENT, 2, fold_of), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "\"patient 0\""));
    for (int i = 0; i < N; i++) fold_of[i] = (uint8_t)(i % 2);
    assert_int_equal(cf_folds_check(&x.cells, CF_GROUP_NONE, 2, fold_of), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "class A has all its 12 images in fold 0"));
    fake_groups_fini(&x.cells);
}

static void groups_split_is_the_same_for_ever(void **state)
{
    (void)state;
    /* What this version makes: folds of published results must not move when the code does. */
    static const uint8_t expected[6] = {0, 0, 1, 2, 1, 2};
    fixture x;
    uint8_t fold_of[N];
    int n_folds;
    fixture_draw(&x);
    x.labels[0] = x.labels[7] = x.labels[16] = x.labels[23] = 2;
    fixture_open(&x, 3, 2);
    assert_int_equal(cf_folds_make(&x.cells, &by_patient, &n_folds, fold_of), CF_OK);
    for (int i = 0; i < N; i++) assert_int_equal(fold_of[i], expected[i / 4]);
    fake_groups_fini(&x.cells);
}

/* ---- files and run folders --------------------------------------------------------------------
 */

static void hold_out_is_written_and_read_back(void **state)
{
    (void)state;
    fixture x;
    cf_split split = {.kind = CF_SPLIT_HOLDOUT, .test_share = 0.25, .seed = 3};
    uint8_t fold_of[N], back[N];
    char dir[CF_PATH_MAX], file[CF_PATH_MAX];
    int n_folds, n_test = 0;
    assert_true(scratch_make(dir));
    assert_int_equal(cf_path_join(file, sizeof file, dir, "folds.csv"), CF_OK);
    fixture_draw(&x);
    fixture_open(&x, 2, 2);
    assert_int_equal(cf_folds_make(&x.cells, &split, &n_folds, fold_of), CF_OK);
    for (int i = 0; i < N; i++) n_test += fold_of[i] == 0;
    assert_int_equal(n_test, 6);
    assert_int_equal(cf_folds_write(file, &x.cells, fold_of), CF_OK);
    n_folds = 0;
    assert_int_equal(cf_folds_read(file, &x.cells, &n_folds, back), CF_OK);
    assert_int_equal(n_folds, 1);
    assert_memory_equal(fold_of, back, N);
    memset(fold_of, CF_FOLD_TRAIN, N);
    assert_int_equal(cf_folds_write(file, &x.cells, fold_of), CF_OK);
    assert_int_equal(cf_folds_read(file, &x.cells, &n_folds, back), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "no image is in a fold"));
    fake_groups_fini(&x.cells);
    scratch_remove(dir);
}

static void run_folder_splits_as_configured_and_resumes(void **state)
{
    (void)state;
    static const char *const sets[][2] = {{"data.split=leave-site-out", "data.group=patient"},
                                          {"data.split=holdout", "data.test_share=0.3"},
                                          {"data.group=patient", "data.folds=3"}};
    static const int n_folds[] = {2, 1, 3};
    fixture x;
    cf_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    fixture_draw(&x);
    fixture_open(&x, 2, 2);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        char dir[CF_PATH_MAX], run_dir[CF_PATH_MAX], fold_dir[CF_PATH_MAX];
        cf_run_folder run, again;
        cf_config_defaults(config);
        for (int k = 0; k < 2; k++) assert_int_equal(cf_config_set(config, sets[i][k]), CF_OK);
        assert_int_equal(cf_config_validate(config), CF_OK);
        assert_true(scratch_make(dir));
        assert_int_equal(cf_path_join(run_dir, sizeof run_dir, dir, "run"), CF_OK);
        if (cf_run_folder_open(run_dir, config, &x.cells, &run) != CF_OK)
            fail_msg("%s", cf_err_text());
        assert_int_equal(run.n_folds, n_folds[i]);
        assert_false(run.resumed);
        /* Until a fold is begun the folder is as new, whatever was asked of it first. */
        assert_int_equal(cf_path_join(fold_dir, sizeof fold_dir, run_dir, "fold-0"), CF_OK);
        assert_int_equal(cf_config_set(config, "data.seed=2"), CF_OK);
        assert_int_equal(cf_run_folder_open(run_dir, config, &x.cells, &again), CF_OK);
        assert_false(again.resumed);
        cf_run_folder_fini(&again);
        assert_int_equal(cf_config_set(config, "data.seed=1"), CF_OK);
        assert_int_equal(cf_run_folder_open(run_dir, config, &x.cells, &again), CF_OK);
        cf_run_folder_fini(&again);
        assert_int_equal(cf_dir_make(fold_dir), CF_OK);
        if (cf_run_folder_open(run_dir, config, &x.cells, &again) != CF_OK)
            fail_msg("%s", cf_err_text());
        assert_true(again.resumed);
        assert_int_equal(again.n_folds, n_folds[i]);
        assert_memory_equal(run.fold_of, again.fold_of, N);
        cf_run_folder_fini(&again);
        cf_run_folder_fini(&run);
        assert_int_equal(cf_config_set(config, "data.seed=2"), CF_OK);
        assert_int_equal(cf_run_folder_open(run_dir, config, &x.cells, &again), CF_E_USAGE);
        cf_run_folder_fini(&again);
        scratch_remove(dir);
    }
    free(config);
    fake_groups_fini(&x.cells);
}

static void expect_line(const char *path, const char *line, bool there)
{
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(cf_file_read(path, 1 << 20, &text, &n), CF_OK);
    if ((strstr(text, line) != NULL) != there) fail_msg("'%s' in:\n%s", line, text);
    free(text);
}

/* A report looks for patients and pictures where the images are now. */
static void resumed_run_knows_where_its_images_have_moved(void **state)
{
    (void)state;
    fixture x;
    char dir[CF_PATH_MAX], run_dir[CF_PATH_MAX], fold_dir[CF_PATH_MAX], yaml[CF_PATH_MAX];
    cf_run_folder run, again;
    cf_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    fixture_draw(&x);
    fixture_open(&x, 2, 2);
    cf_config_defaults(config);
    assert_int_equal(cf_config_set(config, "data.folds=2"), CF_OK);
    assert_int_equal(cf_config_set(config, "data.cells=/here/x.cells"), CF_OK);
    assert_true(scratch_make(dir));
    assert_int_equal(cf_path_join(run_dir, sizeof run_dir, dir, "run"), CF_OK);
    assert_int_equal(cf_path_join(yaml, sizeof yaml, run_dir, "run.yaml"), CF_OK);
    assert_int_equal(cf_path_join(fold_dir, sizeof fold_dir, run_dir, "fold-0"), CF_OK);
    if (cf_run_folder_open(run_dir, config, &x.cells, &run) != CF_OK) fail_msg("%s", cf_err_text());
    assert_int_equal(cf_dir_make(fold_dir), CF_OK);
    expect_line(yaml, "/here/x.cells", true);
    assert_int_equal(cf_config_set(config, "data.cells=/there/y.cells"), CF_OK);
    assert_int_equal(cf_config_set(config, "run.groups=2"), CF_OK);
    assert_int_equal(cf_run_folder_open(run_dir, config, &x.cells, &again), CF_OK);
    assert_true(again.resumed);
    expect_line(yaml, "/there/y.cells", true);
    expect_line(yaml, "/here/", false);
    expect_line(yaml, "groups: 2", false); /* all else is as it was started with */
    cf_run_folder_fini(&again);
    cf_run_folder_fini(&run);
    free(config);
    fake_groups_fini(&x.cells);
    scratch_remove(dir);
}

static void folds_file_leaves_no_choice_of_split(void **state)
{
    (void)state;
    cf_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    cf_config_defaults(config);
    assert_int_equal(cf_config_set(config, "data.folds_file=folds.csv"), CF_OK);
    assert_int_equal(cf_config_validate(config), CF_OK);
    assert_int_equal(cf_config_set(config, "data.split=holdout"), CF_OK);
    assert_int_equal(cf_config_validate(config), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "data.split is holdout, but data.folds_file is set"));
    assert_int_equal(cf_config_set(config, "data.folds_file=\"\""), CF_OK);
    assert_int_equal(cf_config_set(config, "run.groups=2"), CF_OK);
    assert_int_equal(cf_config_validate(config), CF_E_USAGE);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_of_fewer_patients_than_folds_is_named),
        cmocka_unit_test(images_without_patient_are_counted_by_site),
        cmocka_unit_test(sites_that_cannot_be_left_out_are_refused),
        cmocka_unit_test(patient_of_two_sites_cannot_be_kept_whole_by_site),
        cmocka_unit_test(one_class_or_no_share_is_refused),
        cmocka_unit_test(given_folds_are_held_to_the_group),
        cmocka_unit_test(groups_split_is_the_same_for_ever),
        cmocka_unit_test(hold_out_is_written_and_read_back),
        cmocka_unit_test(run_folder_splits_as_configured_and_resumes),
        cmocka_unit_test(resumed_run_knows_where_its_images_have_moved),
        cmocka_unit_test(folds_file_leaves_no_choice_of_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
