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
#include "worker/adapt.h"

static fixture shared; /* made once */

static int set_up(void **state)
{
    (void)state;
    return trained_run_init(&shared) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    trained_run_fini(&shared);
    return 0;
}

/* Owned by the caller: [IMAGES][CLASSES]. */
static double *predict(const cf_saved *run, const cf_cells *cells, const cf_predict_options *o)
{
    double *p = calloc((size_t)IMAGES * CLASSES, sizeof *p);
    assert_non_null(p);
    if (cf_predict(run, cells, o, p, &shared.times) != CF_OK) fail_msg("%s", cf_err_text());
    return p;
}

static double accuracy(const cf_cells *cells, const double *p)
{
    int right = 0;
    for (int64_t i = 0; i < IMAGES; i++)
        right += cf_scheme_highest(&cells->scheme, p + i * CLASSES) == cells->labels[i];
    return (double)right / IMAGES;
}

static double largest_difference(const double *a, const double *b)
{
    double worst = 0;
    for (int i = 0; i < IMAGES * CLASSES; i++) worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

static void ensembles_are_means_in_the_order_of_folds(void **state)
{
    (void)state;
    cf_saved one = shared.run;
    double *all = predict(&shared.run, &shared.cells, &shared.options), *single[FOLDS];
    assert_int_equal(shared.run.n_folds, FOLDS);
    for (int fold = 0; fold < FOLDS; fold++) {
        one.n_folds = 1;
        one.folds[0] = fold;
        single[fold] = predict(&one, &shared.cells, &shared.options);
    }
    assert_true(accuracy(&shared.cells, all) > 0.9); /* the networks have learnt something */
    for (int i = 0; i < IMAGES * CLASSES; i++)
        assert_true(all[i] == (single[0][i] + single[1][i]) / FOLDS);
    for (int fold = 0; fold < FOLDS; fold++) free(single[fold]);
    free(all);
}

/* In a wrong order, and with another number at once: an image's probabilities are its own. */
static void neighbours_and_batch_size_do_not_matter(void **state)
{
    (void)state;
    cf_saved run = shared.run;
    cf_cells mixed;
    size_t bytes = (size_t)SIDE * SIDE * 3;
    double *expected = predict(&run, &shared.cells, &shared.options);
    paint(&mixed, 0);
    for (int64_t i = 0; i < IMAGES; i++) {
        int64_t from = (i * 7 + 3) % IMAGES;
        memcpy(fake_cells_pixels(&mixed, i), fake_cells_pixels(&shared.cells, from), bytes);
        mixed.hashes[i] = shared.cells.hashes[from];
    }
    double *found = predict(&run, &mixed, &shared.options);
    for (int64_t i = 0; i < IMAGES; i++)
        assert_memory_equal(found + i * CLASSES, expected + (i * 7 + 3) % IMAGES * CLASSES,
                            CLASSES * sizeof *found);
    free(found);
    static const int batches[] = {1, 5, 64};
    for (int b = 0; b < 3; b++) {
        run.config.train_micro_batch = batches[b];
        found = predict(&run, &shared.cells, &shared.options);
        /* Libraries cut sums another way for other numbers of images: last bits of a float. */
        double d = largest_difference(found, expected);
        if (!(d < 1e-5)) fail_msg("batch %d: %g", batches[b], d);
        free(found);
    }
    fake_cells_fini(&mixed);
    free(expected);
}

/* Pixels of image i as turn `turn` shows them. */
static void turn_pixels(cf_cells *to, const cf_cells *from, int64_t i, int turn)
{
    const uint8_t *in = cf_cells_image(from, i);
    uint8_t *out = fake_cells_pixels(to, i);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int column = turn & 4 ? y : x, row = turn & 4 ? x : y;
            if (turn & 1) column = SIDE - 1 - column;
            if (turn & 2) row = SIDE - 1 - row;
            memcpy(out + (y * SIDE + x) * 3, in + (row * SIDE + column) * 3, 3);
        }
    to->hashes[i] = cf_hash64(out, (size_t)SIDE * SIDE * 3);
}

static void turns_are_the_mean_over_turned_images(void **state)
{
    (void)state;
    cf_saved run = shared.run;
    cf_cells turned;
    cf_predict_options o = shared.options;
    double sum[IMAGES * CLASSES] = {0};
    run.n_folds = 1;
    paint(&turned, 0);
    for (int turn = 0; turn < CF_N_TURNS; turn++) {
        for (int64_t i = 0; i < IMAGES; i++) turn_pixels(&turned, &shared.cells, i, turn);
        double *p = predict(&run, &turned, &shared.options);
        for (int i = 0; i < IMAGES * CLASSES; i++) sum[i] += p[i];
        free(p);
        if (turn + 1 != 3 && turn + 1 != CF_N_TURNS) continue;
        o.n_turns = turn + 1;
        p = predict(&run, &shared.cells, &o);
        for (int i = 0; i < IMAGES * CLASSES; i++) assert_true(p[i] == sum[i] / (turn + 1));
        free(p);
    }
    fake_cells_fini(&turned);
}

/* Another scanner: darker, with a cast of red. */
static void recolor(cf_cells *cells)
{
    static const double gain[3] = {0.75, 0.5, 0.45}, offset[3] = {60, 20, 0};
    for (int64_t i = 0; i < IMAGES; i++) {
        uint8_t *p = fake_cells_pixels(cells, i);
        for (int k = 0; k < SIDE * SIDE * 3; k++)
            p[k] = (uint8_t)fmin(255, gain[k % 3] * p[k] + offset[k % 3]);
        cells->hashes[i] = cf_hash64(p, (size_t)SIDE * SIDE * 3);
    }
}

static void moments_of_another_scanner_bring_accuracy_back(void **state)
{
    (void)state;
    cf_cells shifted;
    cf_predict_options adapted = shared.options;
    adapted.norm = CF_PREDICT_NORM_ADAPTED;
    paint(&shifted, 1000); /* cells that nobody was trained on */
    double *p = predict(&shared.run, &shifted, &shared.options);
    double before = accuracy(&shifted, p);
    free(p);
    recolor(&shifted);
    p = predict(&shared.run, &shifted, &shared.options);
    double without = accuracy(&shifted, p);
    free(p);
    p = predict(&shared.run, &shifted, &adapted);
    double with = accuracy(&shifted, p);
    free(p);
    print_message("seed %d: accuracy %.3f; recoloured %.3f, with its own moments %.3f\n", SEED,
                  before, without, with);
    assert_true(without < before - 0.2);
    assert_true(with > before - 0.1);
    fake_cells_fini(&shifted);
}

/* The run's own images have nearly the moments that it was trained with. */
static void own_images_change_little(void **state)
{
    (void)state;
    cf_predict_options o = shared.options;
    double *own = predict(&shared.run, &shared.cells, &o);
    o.norm = CF_PREDICT_NORM_ADAPTED;
    double *adapted = predict(&shared.run, &shared.cells, &o);
    double *again = predict(&shared.run, &shared.cells, &o);
    assert_memory_equal(adapted, again, (size_t)IMAGES * CLASSES * sizeof *again);
    assert_true(largest_difference(own, adapted) > 0);
    assert_true(fabs(accuracy(&shared.cells, own) - accuracy(&shared.cells, adapted)) < 0.05);
    o.adapt_share = 0;
    double *none = predict(&shared.run, &shared.cells, &o);
    assert_memory_equal(own, none, (size_t)IMAGES * CLASSES * sizeof *own);
    free(none);
    free(again);
    free(adapted);
    free(own);
}

static void adapting_takes_every_image_once_in_a_shuffled_order(void **state)
{
    (void)state;
    int64_t order[IMAGES], other[IMAGES];
    bool seen[IMAGES] = {false};
    int in_place = 0;
    cf_adapt_order(IMAGES, 3, order);
    cf_adapt_order(IMAGES, 4, other);
    for (int i = 0; i < IMAGES; i++) {
        assert_in_range(order[i], 0, IMAGES - 1);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
        in_place += order[i] == i;
    }
    assert_true(in_place < 10); /* one is expected; ten have a probability of 1e-7 */
    assert_memory_not_equal(order, other, sizeof order);
}

static void networks_without_batch_norm_are_not_adapted(void **state)
{
    (void)state;
    cf_saved run = shared.run;
    cf_predict_options o = shared.options;
    double p[IMAGES * CLASSES];
    o.norm = CF_PREDICT_NORM_ADAPTED;
    assert_int_equal(cf_config_set(&run.config, "model.norm=none"), CF_OK);
    assert_int_equal(cf_predict(&run, &shared.cells, &o, p, &shared.times), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "no batch norm"));
}

static bool stop_after_40(void *context, int64_t done, int64_t total)
{
    *(int64_t *)context = total;
    return done < 40;
}

static void prediction_can_be_stopped(void **state)
{
    (void)state;
    cf_predict_options o = shared.options;
    double p[IMAGES * CLASSES];
    int64_t total = 0;
    o.progress = stop_after_40;
    o.context = &total;
    assert_int_equal(cf_predict(&shared.run, &shared.cells, &o, p, &shared.times), CF_E_UNEXPECTED);
    assert_int_equal(total, IMAGES * FOLDS);
    assert_int_equal(shared.times.n_passes, 48);
}

/* Micro-batches are asked for well ahead: the loader's threads are at work when adapting ends. */
static void adapting_can_be_stopped(void **state)
{
    (void)state;
    cf_predict_options o = shared.options;
    double p[IMAGES * CLASSES];
    int64_t total = 0;
    o.norm = CF_PREDICT_NORM_ADAPTED;
    o.progress = stop_after_40;
    o.context = &total;
    assert_int_equal(cf_predict(&shared.run, &shared.cells, &o, p, &shared.times), CF_E_UNEXPECTED);
    assert_int_equal(total, 2 * IMAGES * FOLDS);
    assert_int_equal(shared.times.n_passes, 0);
    assert_non_null(strstr(cf_err_text(), "interrupted after 48 of 600"));
}

static void adapting_names_a_damaged_image(void **state)
{
    (void)state;
    cf_predict_options o = shared.options;
    cf_cells cells;
    double p[IMAGES * CLASSES];
    o.norm = CF_PREDICT_NORM_ADAPTED;
    paint(&cells, 0);
    for (int i = 0; i < 20; i++) {
        int64_t image = i * 7;
        fake_cells_pixels(&cells, image)[0] ^= 1;
        assert_int_equal(cf_predict(&shared.run, &cells, &o, p, &shared.times), CF_E_DATA);
        assert_non_null(strstr(cf_err_text(), cells.ids[image]));
        fake_cells_pixels(&cells, image)[0] ^= 1;
    }
    fake_cells_fini(&cells);
}

static void stains_of_a_reference_need_those_of_the_images(void **state)
{
    (void)state;
    const cf_stain reference = {{{0.65f, 0.70f, 0.29f}, {0.27f, 0.68f, 0.68f}}, {1.5f, 2.0f}};
    cf_predict_options o = shared.options;
    double p[IMAGES * CLASSES];
    o.reference = &reference;
    assert_int_equal(cf_predict(&shared.run, &shared.cells, &o, p, &shared.times), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "no stains"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ensembles_are_means_in_the_order_of_folds),
        cmocka_unit_test(neighbours_and_batch_size_do_not_matter),
        cmocka_unit_test(turns_are_the_mean_over_turned_images),
        cmocka_unit_test(moments_of_another_scanner_bring_accuracy_back),
        cmocka_unit_test(own_images_change_little),
        cmocka_unit_test(adapting_takes_every_image_once_in_a_shuffled_order),
        cmocka_unit_test(networks_without_batch_norm_are_not_adapted),
        cmocka_unit_test(prediction_can_be_stopped),
        cmocka_unit_test(adapting_can_be_stopped),
        cmocka_unit_test(adapting_names_a_damaged_image),
        cmocka_unit_test(stains_of_a_reference_need_those_of_the_images),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
