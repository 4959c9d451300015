/* A run's own cells file: known by run.yaml's mark, and what a report says where it was replaced or
 * removed. Synthetic cells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "coordinator/folds.h"
#include "coordinator/report.h"
#include "coordinator/run_predictions.h"
#include "coordinator/sweep_report.h"
#include "coordinator/trained_on.h"
#include "tests/support/font_leaks.h"
#include "tests/support/run_folders.h"

enum { IMAGES = 8, FOLDS = 2 };

static const char AB[] = "name: ab\nclasses:\n  - {code: A}\n  - {code: B}\n";

/* Image i of class i / 2 % 2, of patient i / 2, all its pixels `shade` + i. */
static void write_cells(const char *path, const cf_scheme *s, int shade, bool patients)
{
    cf_cells_writer *w = NULL;
    uint8_t pixels[4 * 4 * 3];
    assert_int_equal(cf_cells_create(path, s, 4, 4, 0.1, &w), CF_OK);
    for (int i = 0; i < IMAGES; i++) {
        char id[32], patient[32] = "";
        snprintf(id, sizeof id, "cell-%d-%d", i / 4, i % 4);
        if (patients) snprintf(patient, sizeof patient, "P%d", i / 2);
        memset(pixels, shade + i, sizeof pixels);
        const cf_cells_entry entry = {
            .id = id, .label = i / 2 % 2, .site = "", .patient = patient, .pixels = pixels};
        assert_int_equal(cf_cells_add(w, &entry), CF_OK);
    }
    assert_int_equal(cf_cells_finish(w), CF_OK);
}

static void save_in(const char *run, const char *name, const cf_buf *text)
{
    char path[CF_PATH_MAX];
    in_folder(path, run, name);
    assert_int_equal(cf_file_save(path, cf_buf_text(text), text->len), CF_OK);
}

/* A run folder of two folds with the mark of the cells file at `cells`. */
static void make_run(const char *run, const cf_scheme *s, const char *cells_path)
{
    char path[CF_PATH_MAX];
    uint8_t fold_of[IMAGES];
    cf_cells cells;
    cf_buf yaml = {0}, scheme = {0};
    for (int i = 0; i < IMAGES; i++) fold_of[i] = (uint8_t)(i / 4);
    for (int fold = 0; fold < FOLDS; fold++) make_fold(s, run, fold, fold);
    assert_int_equal(cf_cells_open(cells_path, &cells), CF_OK);
    in_folder(path, run, "folds.csv");
    assert_int_equal(cf_folds_write(path, &cells, fold_of), CF_OK);
    cf_buf_printf(&yaml, "# cytofold 0\n");
    cf_trained_on_mark(cf_folds_hash(&cells, fold_of), &yaml);
    cf_buf_printf(&yaml, "data:\n  cells: \"%s\"\n", cells_path);
    save_in(run, "run.yaml", &yaml);
    cf_buf_printf(&scheme, "%s", AB);
    save_in(run, "scheme.yaml", &scheme);
    cf_cells_close(&cells);
    cf_buf_fini(&scheme);
    cf_buf_fini(&yaml);
}

static void expect_report(const char *run, const cf_scheme *s, const char *says, const char *json)
{
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    cf_buf table = {0};
    in_folder(path, run, "");
    if (cf_report_run(path, s, NULL, 1000, &table) != CF_OK) fail_msg("%s", cf_err_text());
    assert_contains(cf_buf_text(&table), says);
    in_folder(path, run, "report.html");
    assert_int_equal(cf_file_read(path, 1 << 24, &text, &n), CF_OK);
    if (strstr(says, "not known"))
        assert_contains(text, says);
    else
        assert_lacks(text, "not known");
    free(text);
    in_folder(path, run, "metrics.json");
    assert_int_equal(cf_file_read(path, 1 << 24, &text, &n), CF_OK);
    assert_contains(text, json);
    free(text);
    cf_buf_fini(&table);
}

static void patients_come_from_the_images_that_were_trained_on_only(void **state)
{
    (void)state;
    char cells[CF_PATH_MAX];
    cf_scheme s;
    parse_scheme(AB, &s);
    in_folder(cells, "own.cells", "");
    write_cells(cells, &s, 40, true);
    make_run("own", &s, cells);
    expect_report("own", &s, "1000 resamples of 4 patients (bootstrap", "\"cells_missing\": false");
    /* the same ids, labels and patients, but other pixels */
    write_cells(cells, &s, 41, true);
    expect_report("own", &s, "patients are not known: the run's cells file is of other images",
                  "\"cells_missing\": true");
    write_cells(cells, &s, 40, false);
    expect_report("own", &s, "patients are not known: the run's cells file is of other images",
                  "\"cells_missing\": true");
    assert_int_equal(unlink(cells), 0);
    expect_report("own", &s, "patients are not known: the run's cells file is not there",
                  "\"cells_missing\": true");
    write_cells(cells, &s, 40, true);
    expect_report("own", &s, "1000 resamples of 4 patients (bootstrap", "\"cells_missing\": false");
    cf_scheme_fini(&s);
}

/* It comes from another program: there is nothing to hold the file against but its ids. */
static void a_folder_without_a_mark_is_believed(void **state)
{
    (void)state;
    char cells[CF_PATH_MAX], path[CF_PATH_MAX], found_path[CF_PATH_MAX];
    cf_buf yaml = {0};
    cf_scheme s;
    cf_cells opened;
    cf_cells_found found;
    parse_scheme(AB, &s);
    in_folder(cells, "plain.cells", "");
    write_cells(cells, &s, 40, true);
    make_run("plain", &s, cells);
    cf_buf_printf(&yaml, "# cytofold 0\ndata:\n  cells: \"%s\"\n", cells);
    save_in("plain", "run.yaml", &yaml);
    expect_report("plain", &s, "1000 resamples of 4 patients (bootstrap",
                  "\"cells_missing\": false");
    in_folder(path, "plain", "");
    assert_int_equal(cf_trained_on_open(path, &opened, &found, found_path), CF_OK);
    assert_int_equal(found, CF_CELLS_OPEN);
    assert_string_equal(found_path, cells);
    cf_cells_close(&opened);
    cf_buf_fini(&yaml);
    cf_scheme_fini(&s);
}

/* ---- rows with a column for patients ----------------------------------------------------------
 */

static void an_empty_column_of_patients_leaves_the_cells_file_to_tell(void **state)
{
    (void)state;
    char cells[CF_PATH_MAX], path[CF_PATH_MAX];
    cf_scheme s;
    cf_predictions p = {0};
    cf_patients_found found;
    parse_scheme(AB, &s);
    in_folder(cells, "column.cells", "");
    write_cells(cells, &s, 40, true);
    make_run("column", &s, cells);
    in_folder(path, "column", "");
    assert_int_equal(cf_run_predictions_read(path, &s, &p, &found), CF_OK);
    assert_int_equal(found, CF_PATIENTS_IN_CELLS);
    for (int64_t i = 0; i < p.n; i++) p.patients[i][0] = '\0';
    assert_int_equal(cf_run_patients(path, &p, &found), CF_OK);
    assert_int_equal(found, CF_PATIENTS_IN_CELLS);
    assert_string_equal(p.patients[7], "P3");
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* ---- sweeps -----------------------------------------------------------------------------------
 */

static void make_sweep(const cf_scheme *s, const char *cells_0, const char *cells_1)
{
    cf_buf sweep = {0};
    char path[CF_PATH_MAX];
    in_folder(path, "sweep", "");
    assert_int_equal(cf_dir_make(path), CF_OK);
    in_folder(path, "sweep/point-000", "");
    assert_int_equal(cf_dir_make(path), CF_OK);
    in_folder(path, "sweep/point-001", "");
    assert_int_equal(cf_dir_make(path), CF_OK);
    cf_buf_printf(&sweep, "sweep:\n  train.seed: [1, 2]\n");
    save_in("sweep", "sweep.yaml", &sweep);
    make_run("sweep/point-000", s, cells_0);
    make_run("sweep/point-001", s, cells_1);
    cf_buf_fini(&sweep);
}

static void a_sweep_says_that_its_patients_are_not_known(void **state)
{
    (void)state;
    static const char legend[] = "bootstrap over images; patients are not known: the run's cells "
                                 "file is not there.";
    char cells[CF_PATH_MAX], other[CF_PATH_MAX], path[CF_PATH_MAX], *json = NULL;
    cf_scheme s;
    size_t n = 0;
    cf_buf table = {0};
    parse_scheme(AB, &s);
    in_folder(cells, "sweep.cells", "");
    in_folder(other, "copy.cells", "");
    write_cells(cells, &s, 40, true);
    write_cells(other, &s, 40, true);
    make_sweep(&s, cells, other);
    in_folder(path, "sweep", "");
    if (cf_sweep_report_write(path, NULL, &table) != CF_OK) fail_msg("%s", cf_err_text());
    assert_contains(cf_buf_text(&table), "bootstrap over patients.");
    cf_buf_clear(&table);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(cf_sweep_report_write(path, NULL, &table), CF_E_DATA);
    assert_contains(cf_err_text(), "point-000 has its patients in its cells file, point-001 "
                                   "nowhere: its cells file is not there");
    assert_int_equal(unlink(cells), 0);
    cf_buf_clear(&table);
    assert_int_equal(cf_sweep_report_write(path, NULL, &table), CF_OK);
    assert_contains(cf_buf_text(&table), legend);
    in_folder(path, "sweep", "sweep.json");
    assert_int_equal(cf_file_read(path, 1 << 24, &json, &n), CF_OK);
    assert_contains(json, "\"cells_missing\": true");
    assert_contains(json, "\"interval_resamples\": 1000");
    free(json);
    /* two reasons to know of no patient are no difference */
    write_cells(cells, &s, 40, false);
    write_cells(other, &s, 40, false);
    make_sweep(&s, cells, other);
    assert_int_equal(unlink(other), 0);
    cf_buf_clear(&table);
    in_folder(path, "sweep", "");
    if (cf_sweep_report_write(path, NULL, &table) != CF_OK) fail_msg("%s", cf_err_text());
    cf_buf_fini(&table);
    cf_scheme_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patients_come_from_the_images_that_were_trained_on_only),
        cmocka_unit_test(a_folder_without_a_mark_is_believed),
        cmocka_unit_test(an_empty_column_of_patients_leaves_the_cells_file_to_tell),
        cmocka_unit_test(a_sweep_says_that_its_patients_are_not_known),
    };
    return cmocka_run_group_tests_name("trained_on", tests, make_folder, remove_folder);
}
