/* Tables of a report: golden text, what happens to hostile names, and run folders with folds
 * missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "coordinator/markdown.h"
#include "coordinator/report.h"
#include "tests/support/run_folders.h"

/* Two folds of four rows over classes 0 and 1: fold 0 all right, fold 1 half right. */
static void two_folds(int n_classes, cf_predictions *p)
{
    static const int labels[] = {0, 0, 1, 1, 0, 0, 1, 1}, predicted[] = {0, 0, 1, 1, 0, 1, 1, 0};
    assert_int_equal(cf_predictions_init(p, 8, n_classes), CF_OK);
    for (int i = 0; i < 8; i++) set_row(p, i, i / 4, labels[i], predicted[i]);
}

/* ---- Markdown ---------------------------------------------------------------------------------
 */

static void columns_align_by_characters_not_bytes(void **state)
{
    (void)state;
    cf_markdown t;
    cf_buf out = {0};
    cf_markdown_begin(&t, "lr");
    cf_markdown_put(&t, "Zelle");
    cf_markdown_put(&t, "P");
    cf_markdown_put(&t, "große");
    cf_markdown_put(&t, ".91±.02");
    cf_markdown_put(&t, "血球");
    cf_markdown_put(&t, "1.00");
    assert_int_equal(cf_markdown_print(&t, &out), CF_OK);
    assert_string_equal(cf_buf_text(&out), "| Zelle |       P |\n"
                                           "| ----- | ------: |\n"
                                           "| große | .91±.02 |\n"
                                           "| 血球  |    1.00 |\n");
    cf_buf_fini(&out);
}

static void width_counts_terminal_columns(void **state)
{
    (void)state;
    assert_int_equal(cf_text_width(""), 0);
    assert_int_equal(cf_text_width("±"), 1);
    assert_int_equal(cf_text_width("e\xcc\x81"), 1); /* e and a combining acute accent */
    assert_int_equal(cf_text_width("血"), 2);
    assert_int_equal(cf_text_width("\xff\xc3"), 2); /* no UTF-8: a column a byte */
}

static void markup_is_escaped_but_not_inside_words(void **state)
{
    (void)state;
    cf_buf out = {0};
    cf_markdown_escape("no_confident_class _em_ *b* a|b <i>\n`x`", &out);
    assert_string_equal(cf_buf_text(&out),
                        "no_confident_class \\_em\\_ \\*b\\* a\\|b &lt;i&gt; \\`x\\`");
    cf_buf_fini(&out);
}

static void incomplete_table_is_an_error(void **state)
{
    (void)state;
    cf_markdown t;
    cf_buf out = {0};
    cf_markdown_begin(&t, "ll");
    cf_markdown_put(&t, "one");
    assert_int_equal(cf_markdown_print(&t, &out), CF_E_UNEXPECTED);
    cf_buf_fini(&out);
}

/* ---- tables -----------------------------------------------------------------------------------
 */

static const char AB[] = "name: ab\n"
                         "title: Two classes\n"
                         "classes:\n"
                         "  - {code: A, name: Größe}\n"
                         "  - {code: B, name: Beta}\n"
                         "questions:\n"
                         "  first: [A]\n";

/* Fold 0: all ratios 1. Fold 1: all .5. Mean .75, SD sqrt(.125) = .354. Pooled: 6 of 8 right, at a
 * confidence of .75: its temperature is 1; fold 0 is always right (.02), fold 1 a coin (100). */
static const char GOLDEN[] =
    "# Two classes\n"
    "\n"
    "8 images, 2 folds, mean ± SD over folds (n-1). P precision, R recall; tol: the scheme's "
    "tolerance "
    "pairs count as right.\n"
    "\n"
    "| code | class | images |   P tol |   R tol | P strict | R strict |\n"
    "| ---- | ----- | -----: | ------: | ------: | -------: | -------: |\n"
    "| A    | Größe |      4 | .75±.35 | .75±.35 |  .75±.35 |  .75±.35 |\n"
    "| B    | Beta  |      4 | .75±.35 | .75±.35 |  .75±.35 |  .75±.35 |\n"
    "\n"
    "| figure            |        strict | pooled |  tolerant | pooled tol |\n"
    "| ----------------- | ------------: | -----: | --------: | ---------: |\n"
    "| accuracy          |     .750±.354 |   .750 | .750±.354 |       .750 |\n"
    "| balanced accuracy |     .750±.354 |   .750 | .750±.354 |       .750 |\n"
    "| macro F1          |     .750±.354 |   .750 | .750±.354 |       .750 |\n"
    "| weighted F1       |     .750±.354 |   .750 |         – |          – |\n"
    "| Cohen's kappa     |     .500±.707 |   .500 |         – |          – |\n"
    "| MCC               |     .500±.707 |   .500 |         – |          – |\n"
    "| macro AUC         |     .750±.354 |   .750 |         – |          – |\n"
    "| macro AP          |     .750±.354 |   .688 |         – |          – |\n"
    "| NLL               |     .562±.388 |   .562 |         – |          – |\n"
    "| ECE               |     .250±.000 |   .000 |         – |          – |\n"
    "| Brier             |     .375±.354 |   .375 |         – |          – |\n"
    "| temperature       | 50.009±70.698 |  1.000 |         – |          – |\n"
    "| NLL calibrated    |   7.252±9.283 |  7.252 |         – |          – |\n"
    "| ECE calibrated    |     .499±.002 |   .499 |         – |          – |\n"
    "| AUC first         |   .7500±.3536 |  .7500 |         – |          – |\n"
    "| AP first          |   .7500±.3536 |  .6875 |         – |          – |\n"
    "\n"
    "Confusion in percent of the true class, all folds together (rows: truth; columns: "
    "prediction):\n"
    "\n"
    "| truth |    A |    B |\n"
    "| ----- | ---: | ---: |\n"
    "| A     | 75.0 | 25.0 |\n"
    "| B     | 25.0 | 75.0 |\n";

static void table_is_golden(void **state)
{
    (void)state;
    cf_scheme s;
    cf_predictions p;
    cf_metrics m;
    cf_buf out = {0};
    parse_scheme(AB, &s);
    two_folds(2, &p);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_int_equal(cf_report_markdown(&s, &m, &out), CF_OK);
    assert_string_equal(cf_buf_text(&out), GOLDEN);
    cf_buf_fini(&out);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* Names go to Markdown without a tag or a column of their own, and to CSV without a formula. */
static void hostile_class_names_are_escaped(void **state)
{
    (void)state;
    static const char hostile[] = "name: h\n"
                                  "classes:\n"
                                  "  - {code: A, name: \"<script>alert(1)</script>\"}\n"
                                  "  - {code: B, name: \"=cmd()|' /C calc'!A0\"}\n"
                                  "  - {code: C, name: \"a \\\"quoted\\\", name\"}\n";
    cf_scheme s;
    cf_predictions p;
    cf_metrics m;
    cf_buf markdown = {0}, csv = {0};
    cf_csv back;
    parse_scheme(hostile, &s);
    two_folds(3, &p);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_int_equal(cf_report_markdown(&s, &m, &markdown), CF_OK);
    assert_int_equal(cf_report_csv(&s, &m, &csv), CF_OK);
    assert_lacks(cf_buf_text(&markdown), "<script>");
    assert_contains(cf_buf_text(&markdown), "&lt;script&gt;alert(1)&lt;/script&gt;");
    assert_contains(cf_buf_text(&markdown), "=cmd()\\|");
    assert_lacks(cf_buf_text(&csv), ",=cmd()");
    assert_contains(cf_buf_text(&csv), "'=cmd()");
    assert_int_equal(cf_csv_parse("table", cf_buf_text(&csv), csv.len, &back), CF_OK);
    assert_string_equal(back.cells[2 * back.n_columns + 1], "=cmd()|' /C calc'!A0");
    assert_string_equal(back.cells[3 * back.n_columns + 1], "a \"quoted\", name");
    cf_csv_fini(&back);
    cf_buf_fini(&csv);
    cf_buf_fini(&markdown);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* The paper's figures beside ours, and what follows from them over all 21 classes (Matek et al.
 * 2021, Table 1): accuracy .726, balanced accuracy .689, macro F1 .545; tolerant .805, .762, .645.
 */
static void published_figures_stand_beside_ours(void **state)
{
    (void)state;
    cf_scheme s;
    cf_predictions p;
    cf_metrics m;
    cf_buf out = {0};
    assert_int_equal(cf_scheme_read(CYTOFOLD_SOURCE "/configs/schemes/matek2021.yaml", &s), CF_OK);
    two_folds(s.n_classes, &p);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_int_equal(cf_report_markdown(&s, &m, &out), CF_OK);
    const char *text = cf_buf_text(&out);
    assert_contains(text, "| images |    P tol |   publ. |    R tol |   publ. | P strict |   publ. "
                          "| R strict |   publ. |");
    assert_contains(text,
                    "| ABE  | Abnormal eosinophils  |      0 |        – | .02±.03 |        – | "
                    ".20±.40 |        – | .02±.03 |");
    assert_contains(text, "|         .726 |      .805 |\n");
    assert_contains(text, "|         .689 |      .762 |\n");
    assert_contains(text, "|         .545 |      .645 |\n");
    assert_contains(text, "publ.: Matek et al. 2021");
    cf_buf_fini(&out);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

static void confusion_csv_holds_counts(void **state)
{
    (void)state;
    cf_scheme s;
    cf_predictions p;
    cf_metrics m;
    cf_buf out = {0};
    parse_scheme(AB, &s);
    two_folds(2, &p);
    assert_int_equal(cf_metrics_compute(&s, &p, &m), CF_OK);
    assert_int_equal(cf_report_confusion_csv(&s, &m, &out), CF_OK);
    assert_string_equal(cf_buf_text(&out), "truth,A,B\nA,3,1\nB,1,3\n");
    cf_buf_fini(&out);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* ---- run folders ------------------------------------------------------------------------------
 */

static void missing_folds_are_named_not_invented(void **state)
{
    (void)state;
    static const char folds[] = "id,fold\na,0\nb,1\nc,2\nd,3\ne,4\n";
    static const char *const written[] = {
        "metrics.json",  "table.csv",           "table.md",
        "confusion.csv", "fold-0/metrics.json", "fold-2/metrics.json"};
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    cf_scheme s;
    cf_buf table = {0};
    parse_scheme(AB, &s);
    make_fold(&s, "part", 0, 0);
    make_fold(&s, "part", 2, 2);
    in_folder(path, "part", "folds.csv");
    assert_int_equal(cf_file_save(path, folds, strlen(folds)), CF_OK);
    in_folder(path, "part", "");
    cf_err err = cf_report_write(path, &s, &table);
    if (err != CF_OK) print_message("%s\n", cf_err_text());
    assert_int_equal(err, CF_OK);
    assert_contains(cf_buf_text(&table), "Folds 1, 3, 4 of 5 are missing");
    assert_contains(cf_buf_text(&table), "8 images, 2 folds");
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
        in_folder(path, "part", written[i]);
        assert_true(cf_path_exists(path));
    }
    in_folder(path, "part", "table.md");
    assert_int_equal(cf_file_read(path, 1 << 20, &text, &n), CF_OK);
    assert_string_equal(text, cf_buf_text(&table));
    free(text);
    cf_buf_fini(&table);
    cf_scheme_fini(&s);
}

static void whole_run_has_no_warning_and_same_bytes_again(void **state)
{
    (void)state;
    char path[CF_PATH_MAX], *first = NULL, *second = NULL;
    size_t n_first = 0, n_second = 0;
    cf_scheme s;
    cf_buf table = {0}, again = {0};
    parse_scheme(AB, &s);
    make_fold(&s, "whole", 0, 0);
    make_fold(&s, "whole", 1, 1);
    in_folder(path, "whole", "");
    assert_int_equal(cf_report_write(path, &s, &table), CF_OK);
    assert_lacks(cf_buf_text(&table), "missing");
    in_folder(path, "whole", "metrics.json");
    assert_int_equal(cf_file_read(path, 1 << 20, &first, &n_first), CF_OK);
    in_folder(path, "whole", "");
    assert_int_equal(cf_report_write(path, &s, &again), CF_OK);
    in_folder(path, "whole", "metrics.json");
    assert_int_equal(cf_file_read(path, 1 << 20, &second, &n_second), CF_OK);
    assert_string_equal(first, second);
    assert_string_equal(cf_buf_text(&table), cf_buf_text(&again));
    free(first);
    free(second);
    cf_buf_fini(&table);
    cf_buf_fini(&again);
    cf_scheme_fini(&s);
}

static void rows_of_another_fold_are_refused(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    cf_scheme s;
    cf_buf table = {0};
    parse_scheme(AB, &s);
    make_fold(&s, "mixed", 1, 3);
    in_folder(path, "mixed", "");
    assert_int_equal(cf_report_write(path, &s, &table), CF_E_DATA);
    assert_contains(cf_err_text(), "fold-1/predictions.csv");
    assert_contains(cf_err_text(), "fold 3, expected 1");
    cf_buf_fini(&table);
    cf_scheme_fini(&s);
}

static void empty_and_absent_run_folders_are_refused_by_name(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    cf_scheme s;
    cf_buf table = {0};
    parse_scheme(AB, &s);
    in_folder(path, "empty", "");
    assert_int_equal(cf_report_write(path, &s, &table), CF_E_DATA);
    assert_contains(cf_err_text(), path);
    assert_int_equal(cf_dir_make(path), CF_OK);
    assert_int_equal(cf_report_write(path, &s, &table), CF_E_DATA);
    assert_contains(cf_err_text(), "no fold-K/predictions.csv");
    cf_buf_fini(&table);
    cf_scheme_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_align_by_characters_not_bytes),
        cmocka_unit_test(width_counts_terminal_columns),
        cmocka_unit_test(markup_is_escaped_but_not_inside_words),
        cmocka_unit_test(incomplete_table_is_an_error),
        cmocka_unit_test(table_is_golden),
        cmocka_unit_test(hostile_class_names_are_escaped),
        cmocka_unit_test(published_figures_stand_beside_ours),
        cmocka_unit_test(confusion_csv_holds_counts),
        cmocka_unit_test(missing_folds_are_named_not_invented),
        cmocka_unit_test(whole_run_has_no_warning_and_same_bytes_again),
        cmocka_unit_test(rows_of_another_fold_are_refused),
        cmocka_unit_test(empty_and_absent_run_folders_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
