#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/folds.h"
#include "tests/support/fake_cells.h"
#include "tests/support/scratch.h"

enum { MAX_IMAGES = 4000, MAX_FOLDS = 12, MAX_CLASSES = 9 };

/* Random labels: 2 to 9 classes of very different sizes, some of them empty. */
static int64_t random_labels(cf_rng *rng, int n_folds, int n_classes, int32_t *labels)
{
    int64_t n = 0;
    for (int c = 0; c < n_classes; c++) {
        int empty = c >= 2 && cf_rng_below(rng, 6) == 0;
        int64_t count = (int64_t)n_folds + cf_rng_below(rng, 1u << cf_rng_below(rng, 9));
        for (int64_t i = 0; i < count && !empty; i++) labels[n++] = c;
    }
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = cf_rng_below(rng, (uint32_t)(i + 1));
        int32_t swap = labels[i];
        labels[i] = labels[j];
        labels[j] = swap;
    }
    return n;
}

static void assert_even(const int64_t *counts, int n_folds)
{
    int64_t low = counts[0], high = counts[0];
    for (int f = 1; f < n_folds; f++) {
        low = counts[f] < low ? counts[f] : low;
        high = counts[f] > high ? counts[f] : high;
    }
    assert_true(high - low <= 1);
}

static void assert_stratified(const cf_cells *cells, int n_folds, const uint8_t *fold_of)
{
    int64_t of_class[MAX_CLASSES][MAX_FOLDS] = {{0}}, total[MAX_FOLDS] = {0};
    for (int64_t i = 0; i < cells->n; i++) {
        assert_true(fold_of[i] < n_folds);
        of_class[cells->labels[i]][fold_of[i]]++;
        total[fold_of[i]]++;
    }
    for (int c = 0; c < cells->scheme.n_classes; c++) assert_even(of_class[c], n_folds);
    assert_even(total, n_folds);
}

static void thousand_random_sets_are_stratified(void **state)
{
    (void)state;
    print_message("seed 21\n");
    cf_rng rng = cf_rng_at(21, 0, 0, 0, CF_PURPOSE_TEST);
    int32_t labels[MAX_IMAGES];
    int n_different = 0;
    for (int trial = 0; trial < 1000; trial++) {
        int n_folds = 2 + (int)cf_rng_below(&rng, MAX_FOLDS - 1);
        int n_classes = 2 + (int)cf_rng_below(&rng, MAX_CLASSES - 1);
        int64_t n = random_labels(&rng, n_folds, n_classes, labels);
        uint64_t seed = cf_rng_u32(&rng);
        uint8_t first[MAX_IMAGES], again[MAX_IMAGES], other[MAX_IMAGES];
        cf_cells cells;
        assert_true(fake_cells_init(&cells, labels, n, n_classes, 0));
        memset(first, 0xFF, sizeof first); /* an image without a fold would be found */
        assert_int_equal(cf_folds_stratified(&cells, n_folds, seed, first), CF_OK);
        assert_stratified(&cells, n_folds, first);
        assert_int_equal(cf_folds_stratified(&cells, n_folds, seed, again), CF_OK);
        assert_memory_equal(first, again, (size_t)n);
        assert_int_equal(cf_folds_stratified(&cells, n_folds, seed + 1, other), CF_OK);
        n_different += memcmp(first, other, (size_t)n) != 0;
        fake_cells_fini(&cells);
    }
    /* two shuffles of a handful of images can agree by chance, but hardly ever */
    assert_true(n_different > 950);
}

static void impossible_splits_are_refused_by_class(void **state)
{
    (void)state;
    int32_t labels[40] = {0};
    uint8_t fold_of[40];
    cf_cells cells;
    assert_true(fake_cells_init(&cells, labels, 40, 3, 0));
    assert_int_equal(cf_folds_stratified(&cells, 5, 1, fold_of), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "only class A"));
    for (int i = 0; i < 4; i++) cells.labels[i] = 1;
    for (int i = 4; i < 7; i++) cells.labels[i] = 2;
    assert_int_equal(cf_folds_stratified(&cells, 5, 1, fold_of), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "B has 4, C has 3"));
    assert_int_equal(cf_folds_stratified(&cells, 3, 1, fold_of), CF_OK);
    assert_int_equal(cf_folds_stratified(&cells, 1, 1, fold_of), CF_E_USAGE);
    assert_int_equal(cf_folds_stratified(&cells, 256, 1, fold_of), CF_E_USAGE);
    cells.n = 0;
    assert_int_equal(cf_folds_stratified(&cells, 2, 1, fold_of), CF_E_DATA);
    cells.n = 40;
    fake_cells_fini(&cells);
}

static void split_is_the_same_for_ever(void **state)
{
    (void)state;
    /* Computed by a second implementation (Python) from the description in folds.h: folds of
     * published results must not move when the code does. */
    static const uint8_t expected[12] = {2, 0, 2, 0, 0, 1, 1, 2, 0, 1, 1, 2};
    static const int32_t labels[12] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1};
    uint8_t fold_of[12];
    cf_cells cells;
    assert_true(fake_cells_init(&cells, labels, 12, 2, 0));
    assert_int_equal(cf_folds_stratified(&cells, 3, 1, fold_of), CF_OK);
    assert_memory_equal(fold_of, expected, 12);
    fake_cells_fini(&cells);
}

typedef struct folder {
    char dir[CF_PATH_MAX], file[CF_PATH_MAX];
    cf_cells cells;
} folder;

static void folder_init(folder *f)
{
    static const int32_t labels[6] = {0, 0, 0, 1, 1, 1};
    assert_true(scratch_make(f->dir));
    assert_int_equal(cf_path_join(f->file, sizeof f->file, f->dir, "folds.csv"), CF_OK);
    assert_true(fake_cells_init(&f->cells, labels, 6, 2, 0));
}

static void folder_fini(folder *f)
{
    fake_cells_fini(&f->cells);
    scratch_remove(f->dir);
}

static void written_folds_read_back(void **state)
{
    (void)state;
    folder f;
    folder_init(&f);
    free(f.cells.ids[2]);
    f.cells.ids[2] = strdup("A/odd, \"quoted\" =name.png");
    uint8_t fold_of[6] = {2, 0, 1, 1, 0, 2}, back[6];
    int n_folds;
    assert_int_equal(cf_folds_write(f.file, &f.cells, fold_of), CF_OK);
    assert_int_equal(cf_folds_read(f.file, &f.cells, &n_folds, back), CF_OK);
    assert_int_equal(n_folds, 3);
    assert_memory_equal(fold_of, back, 6);
    assert_true(cf_folds_hash(&f.cells, fold_of) == cf_folds_hash(&f.cells, back));
    back[0] = 0;
    assert_true(cf_folds_hash(&f.cells, fold_of) != cf_folds_hash(&f.cells, back));
    uint64_t before = cf_folds_hash(&f.cells, fold_of);
    f.cells.content_hash++;
    assert_true(cf_folds_hash(&f.cells, fold_of) != before);
    folder_fini(&f);
}

static void assert_file_refused(const folder *f, const char *text, const char *expected)
{
    uint8_t fold_of[6];
    int n_folds;
    assert_int_equal(cf_file_save(f->file, text, strlen(text)), CF_OK);
    assert_int_equal(cf_folds_read(f->file, &f->cells, &n_folds, fold_of), CF_E_DATA);
    if (!strstr(cf_err_text(), expected)) fail_msg("\"%s\" is not in: %s", expected, cf_err_text());
    assert_non_null(strstr(cf_err_text(), "folds.csv"));
}

#define FIVE "A/image_0.png,0\nA/image_1.png,1\nA/image_2.png,0\nB/image_3.png,1\nB/image_4.png,0\n"

static void damaged_folds_files_are_refused_by_line(void **state)
{
    (void)state;
    folder f;
    folder_init(&f);
    assert_file_refused(&f, "id,fold\n" FIVE, "B/image_5.png");
    assert_file_refused(&f, "id,fold\n" FIVE "B/image_5.png,-1\n", "folds.csv:7:15");
    assert_file_refused(&f, "id,fold\n" FIVE "B/image_5.png,1x\n", "folds.csv:7:15");
    assert_file_refused(&f, "id,fold\n" FIVE "B/image_5.png,\n", "folds.csv:7:15");
    assert_file_refused(&f, "id,fold\n" FIVE "B/image_5.png,255\n", "folds.csv:7:15");
    assert_file_refused(&f, "id,fold\n" FIVE "B/image_4.png,1\n",
                        "folds.csv:7:1: image \"B/image_4.png\" is there twice");
    assert_file_refused(&f, "id,fold\n" FIVE "C/image_5.png,1\n", "not in the cells file");
    assert_file_refused(&f, "id,fold\n" FIVE "B/image_5.png,3\n", "fold 2 has no image");
    assert_file_refused(&f, "id,part\n" FIVE "B/image_5.png,1\n", "no column \"fold\"");
    assert_file_refused(&f, "", "folds.csv");
    int n_folds;
    uint8_t fold_of[6];
    assert_int_equal(unlink(f.file), 0);
    assert_int_equal(cf_folds_read(f.file, &f.cells, &n_folds, fold_of), CF_E_DATA);
    folder_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousand_random_sets_are_stratified),
        cmocka_unit_test(impossible_splits_are_refused_by_class),
        cmocka_unit_test(split_is_the_same_for_ever),
        cmocka_unit_test(written_folds_read_back),
        cmocka_unit_test(damaged_folds_files_are_refused_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
