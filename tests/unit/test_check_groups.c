/* What copies of an image contradict each other in, whichever of them lacks a label or a patient.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "proto/cells.h"
#include "tests/support/check_cells.h"
#include "worker/data/check.h"
#include "worker/data/image.h"
#include "worker/data/synth.h"

static void add(cf_cells_writer *w, const char *id, int label, const char *patient,
                const uint8_t *pixels)
{
    must(cf_cells_add(
        w, &(cf_cells_entry){
               .id = id, .label = label, .site = "", .patient = patient, .pixels = pixels}));
}

static cf_cells finish(cf_cells_writer *w, const char *name)
{
    char path[CF_PATH_MAX];
    cf_cells cells;
    must(cf_cells_finish(w));
    must(cf_path_join(path, sizeof path, folder, name));
    must(cf_cells_open_any(path, &cells));
    return cells;
}

static void paint(int label, int64_t k, uint8_t *pixels)
{
    static float scratch[2 * BYTES];
    cf_synth_paint(&scheme, label, k, SIDE, SEED, scratch, pixels);
}

static cf_check_result checked(const cf_cells *cells, const uint8_t *fold_of)
{
    cf_check_result r;
    must(cf_check(&(cf_check_options){.cells = cells, .fold_of = fold_of, .threads = 1}, &r));
    return r;
}

static void most_serious_pairs_come_first(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES];
    cf_cells_writer *w = begin("conflicts.cells");
    /* pairs: same fold, other label, other fold; far apart in the file */
    const int labels[6] = {0, 0, 0, 0, 1, 0};
    const uint8_t folds[6] = {0, 1, 2, 0, 1, 3};
    char id[16];
    for (int i = 0; i < 6; i++) {
        paint(0, i % 3, pixels);
        snprintf(id, sizeof id, "%d", i);
        add(w, id, labels[i], "", pixels);
    }
    cf_cells cells = finish(w, "conflicts.cells");
    cf_check_result r = checked(&cells, folds);
    assert_int_equal(r.n_exact, 3);
    assert_int_equal(r.duplicates[0].a, 2);
    assert_int_equal(r.duplicates[0].conflicts, CF_CONFLICT_FOLD);
    assert_int_equal(r.duplicates[1].a, 1);
    assert_int_equal(r.duplicates[1].conflicts, CF_CONFLICT_LABEL);
    assert_int_equal(r.duplicates[2].conflicts, 0);
    assert_int_equal(r.n_of_conflict[3], 1);
    assert_int_equal(r.n_of_conflict[2], 1);
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

/* The first of four copies has neither label nor patient; what the others contradict each other in
 * is told all the same, once a group and kind. */
static void copies_of_an_unlabelled_image_may_contradict(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES];
    cf_cells_writer *w = begin("unlabelled.cells");
    paint(0, 1, pixels);
    add(w, "0", CF_LABEL_UNKNOWN, "", pixels);
    add(w, "1", 0, "", pixels);
    add(w, "2", 1, "anna", pixels);
    add(w, "3", CF_LABEL_UNKNOWN, "bert", pixels);
    cf_cells cells = finish(w, "unlabelled.cells");
    cf_check_result r = checked(&cells, NULL);
    assert_int_equal(r.n_exact, 5); /* each with the first, 1 with 2, 2 with 3 */
    assert_int_equal(r.n_surplus, 3);
    assert_int_equal(r.n_of_conflict[2], 1);
    assert_int_equal(r.n_of_conflict[1], 1);
    assert_true(r.duplicates[0].a == 1 && r.duplicates[0].b == 2);
    assert_int_equal(r.duplicates[0].conflicts, CF_CONFLICT_LABEL);
    assert_true(r.duplicates[1].a == 2 && r.duplicates[1].b == 3);
    assert_int_equal(r.duplicates[1].conflicts, CF_CONFLICT_PATIENT);
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

/* Likewise between an image and its near copy: the group's labelled image comes last in the file,
 * so the map told is the one back. */
static void near_copies_of_an_unlabelled_image_may_contradict(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES];
    char words[96];
    paint(2, 3, pixels);
    const cf_image in = {.height = SIDE, .width = SIDE, .pixels = pixels};
    cf_image moved;
    must(cf_image_crop(&in, -4, 3, SIDE, SIDE, &moved)); /* 4 to the right, 3 up */
    cf_cells_writer *w = begin("nearly.cells");
    add(w, "0", CF_LABEL_UNKNOWN, "", pixels);
    add(w, "1", 1, "", moved.pixels);
    add(w, "2", 2, "", pixels);
    cf_image_fini(&moved);
    cf_cells cells = finish(w, "nearly.cells");
    cf_check_result r = checked(&cells, NULL);
    assert_int_equal(r.n_exact, 1);
    assert_int_equal(r.n_near, 2);
    assert_int_equal(r.n_surplus, 2);
    assert_true(r.duplicates[0].a == 1 && r.duplicates[0].b == 2);
    assert_int_equal(r.duplicates[0].conflicts, CF_CONFLICT_LABEL);
    assert_string_equal(cf_align_words(&r.duplicates[0].map, SIDE, SIDE, words), "shifted -4 3 px");
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(most_serious_pairs_come_first),
        cmocka_unit_test(copies_of_an_unlabelled_image_may_contradict),
        cmocka_unit_test(near_copies_of_an_unlabelled_image_may_contradict),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
