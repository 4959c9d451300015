/* Images unlike the training images: figures of a look by hand, a reference made, kept, read again
 * and refused, and what it says of other images. Phantom cells (synthetic). */
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
#include "worker/unlike.h"
#include "worker/unlike_sample.h"

enum { MOST = 256 }; /* features of any network here */

static fixture shared;
static uint8_t fold_of[IMAGES];
static cf_unlike reference;

static int set_up(void **state)
{
    (void)state;
    if (!trained_run_init(&shared)) return -1;
    for (int i = 0; i < IMAGES; i++) fold_of[i] = (uint8_t)(i % FOLDS);
    if (cf_unlike_make(&shared.run, &shared.cells, fold_of, NULL, NULL, &reference) != CF_OK)
        fail_msg("%s", cf_err_text());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cf_unlike_fini(&reference);
    trained_run_fini(&shared);
    return 0;
}

/* Two columns: the left one black (OD ln 240), the right one 239 (OD 0) in R and 119 (ln 2) in G;
 * B is 239 throughout. */
static void looks_are_moments_of_optical_density(void **state)
{
    (void)state;
    static const uint8_t pixels[2][2][3] = {{{0, 0, 239}, {239, 119, 239}},
                                            {{0, 0, 239}, {239, 119, 239}}};
    double f[CF_LOOK_FIGURES], swapped[CF_LOOK_FIGURES], high = log(240), low = log(2);
    cf_look(&pixels[0][0][0], 2, 2, f);
    assert_true(fabs(f[0] - high / 2) < 1e-12 && fabs(f[1] - (high + low) / 2) < 1e-12);
    assert_true(f[2] == 0 && f[5] == 0 && f[7] == 0 && f[8] == 0);
    assert_true(fabs(f[3] - high / 2) < 1e-12 && fabs(f[4] - (high - low) / 2) < 1e-12);
    assert_true(fabs(f[6] - 1) < 1e-9); /* R and G rise together */
    /* grey steps by 2 s across and by 0 down, where s is its standard deviation: log 4 */
    assert_true(fabs(f[9] - log(4)) < 1e-5); /* what keeps ratios finite is 1e-6 of a variance */
    cf_look_swap(f, swapped);
    assert_true(swapped[0] == f[2] && swapped[2] == f[0] && swapped[8] == f[6]);
    cf_look_swap(swapped, swapped);
    assert_memory_equal(swapped, f, sizeof f);
}

static void looks_of_one_colour_are_finite(void **state)
{
    (void)state;
    static const uint8_t pixels[5 * 3] = {0};
    double f[CF_LOOK_FIGURES];
    cf_look(pixels, 1, 5, f);
    for (int k = 0; k < CF_LOOK_FIGURES; k++) assert_true(isfinite(f[k]));
    cf_look(pixels, 1, 1, f);
    for (int k = 0; k < CF_LOOK_FIGURES; k++) assert_true(isfinite(f[k]));
}

static void limits_leave_the_rate_beyond(void **state)
{
    (void)state;
    static const float sorted[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    assert_true(cf_unlike_threshold(sorted, 10, 0.2) == 8); /* 9 and 10 are beyond */
    assert_true(cf_unlike_threshold(sorted, 10, 0.05) == 10);
    assert_int_equal(reference.n_held, IMAGES / 3);
}

/* ---- which images -----------------------------------------------------------------------------
 */

enum { MANY = 9000, RARE = 5, ABSENT = 40 };

/* Class A is common, B has five images of fold 0, none of which an even sample meets, C has none
 * of it. */
static void rare_and_absent_classes_get_centres(void **state)
{
    (void)state;
    static int32_t labels[MANY];
    static uint8_t of[MANY], use[MANY];
    int64_t counts[CF_UNLIKE_USES], n_of[3][CF_UNLIKE_USES] = {{0}};
    cf_cells cells;
    for (int i = 0; i < MANY; i++) {
        labels[i] = i >= MANY - ABSENT ? 2 : i >= MANY - ABSENT - 2 * RARE;
        of[i] = (uint8_t)(labels[i] == 2 ? 1 : i % 2);
    }
    assert_true(fake_cells_init(&cells, labels, MANY, 3, 0));
    cf_unlike_sample(&cells, of, 0, use, counts);
    for (int i = 0; i < MANY; i++) {
        n_of[labels[i]][use[i]]++;
        assert_true(of[i] == 0 || use[i] == CF_UNLIKE_NOT_TAKEN || use[i] == CF_UNLIKE_CENTRE);
    }
    for (int k = 1; k < 3; k++)
        assert_int_equal(n_of[k][CF_UNLIKE_FITTED] + n_of[k][CF_UNLIKE_CENTRE], CF_UNLIKE_OF_CLASS);
    assert_true(n_of[1][CF_UNLIKE_FITTED] + n_of[1][CF_UNLIKE_HELD] == RARE);
    assert_int_equal(n_of[2][CF_UNLIKE_CENTRE], CF_UNLIKE_OF_CLASS);
    assert_int_equal(n_of[0][CF_UNLIKE_CENTRE], 0);
    /* held-out images stay in proportion: one of three of an even sample */
    assert_int_equal(counts[CF_UNLIKE_HELD], CF_UNLIKE_SAMPLE / 3);
    assert_true(n_of[1][CF_UNLIKE_HELD] <= 1);
    fake_cells_fini(&cells);
}

static void folds_of_few_images_take_none(void **state)
{
    (void)state;
    uint8_t of[IMAGES], use[IMAGES];
    int64_t counts[CF_UNLIKE_USES];
    memset(of, 1, sizeof of);
    memset(of, 0, 3 * CF_UNLIKE_MIN_HELD_OF_FOLD);
    cf_unlike_sample(&shared.cells, of, 0, use, counts);
    assert_int_equal(counts[CF_UNLIKE_HELD], CF_UNLIKE_MIN_HELD_OF_FOLD);
    of[0] = 1;
    cf_unlike_sample(&shared.cells, of, 0, use, counts);
    assert_int_equal(counts[CF_UNLIKE_NOT_TAKEN], IMAGES);
}

/* ---- distances --------------------------------------------------------------------------------
 */

/* Images beyond the limit of 10 %, as the network of their fold sees them. */
typedef struct judge {
    const cf_unlike *reference;
    double scratch[MOST];
    int n, beyond;
} judge;

static cf_err count_beyond(void *context, const cf_predict_pass *pass)
{
    judge *j = context;
    const cf_unlike *u = j->reference;
    double limit = cf_unlike_threshold(u->features, u->n_held, 0.1);
    assert_true(u->d <= MOST);
    for (int i = 0; i < pass->n; i++) {
        j->n++;
        j->beyond +=
            cf_unlike_features(u, pass->fold, pass->features + i * u->d, j->scratch) > limit;
    }
    return CF_OK;
}

/* seen_by: [IMAGES]: the fold whose network judges each, or CF_FOLD_TRAIN. */
static double share_beyond(fixture *f, const cf_unlike *u, const cf_cells *cells,
                           const uint8_t *seen_by)
{
    double *p = calloc((size_t)IMAGES * CLASSES, sizeof *p);
    judge j = {.reference = u};
    cf_predict_options o = f->options;
    o.fold_of = seen_by;
    o.features = true;
    o.pass = count_beyond;
    o.pass_context = &j;
    assert_non_null(p);
    assert_int_equal(cf_predict(&f->run, cells, &o, p, &f->times), CF_OK);
    free(p);
    return (double)j.beyond / j.n;
}

static double looks_beyond(const cf_cells *cells)
{
    int n = 0;
    double limit = cf_unlike_threshold(reference.look, reference.n_held, 0.1);
    for (int64_t i = 0; i < IMAGES; i++) {
        double f[CF_LOOK_FIGURES];
        cf_look(cf_cells_image(cells, i), SIDE, SIDE, f);
        n += cf_unlike_look(&reference, f) > limit;
    }
    return (double)n / IMAGES;
}

static void other_images_are_farther_than_new_ones_of_the_kind(void **state)
{
    (void)state;
    cf_cells fresh, noise;
    int32_t labels[IMAGES] = {0};
    paint(&fresh, 1000); /* cells that nobody was trained on */
    assert_true(fake_cells_init(&noise, labels, IMAGES, CLASSES, SIDE));
    double look = looks_beyond(&fresh),
           features = share_beyond(&shared, &reference, &fresh, fold_of);
    double noise_features = share_beyond(&shared, &reference, &noise, fold_of);
    print_message("seed %d: beyond 10 %%: new cells %.2f by look, %.2f by features; noise %.2f by "
                  "features\n",
                  SEED, look, features, noise_features);
    /* 0.1 of 150 is 15 +- 4; the limits come from 50 images: 5 of those are beyond, +- 2 */
    assert_true(look < 0.35 && features < 0.35);
    assert_true(looks_beyond(&noise) == 1);
    assert_true(noise_features > features + 0.2);
    fake_cells_fini(&noise);
    fake_cells_fini(&fresh);
}

static void other_networks_tell_noise_too(void **state)
{
    (void)state;
    static const struct {
        const char *name, *sets[4];
    } runs[] = {{"group norm", {"model.norm=group", "model.norm_groups=4"}},
                {"sequential", {"model.network=sequential", "model.widths=[8, 16, 16]"}},
                {"bf16", {"train.precision=bf16"}}};
    cf_cells fresh, noise;
    int32_t labels[IMAGES] = {0};
    paint(&fresh, 1000);
    assert_true(fake_cells_init(&noise, labels, IMAGES, CLASSES, SIDE));
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        fixture f;
        cf_unlike u;
        assert_true(trained_run_init_as(&f, runs[i].sets));
        if (cf_unlike_make(&f.run, &f.cells, fold_of, NULL, NULL, &u) != CF_OK)
            fail_msg("%s", cf_err_text());
        double own = share_beyond(&f, &u, &fresh, fold_of);
        double other = share_beyond(&f, &u, &noise, fold_of);
        print_message("seed %d: %s, %lld features: beyond 10 %%: new cells %.2f, noise %.2f\n",
                      SEED, runs[i].name, (long long)u.d, own, other);
        assert_true(own < 0.35 && other > own + 0.2); /* as above */
        cf_unlike_fini(&u);
        trained_run_fini(&f);
    }
    fake_cells_fini(&noise);
    fake_cells_fini(&fresh);
}

/* As with leave-site-out where a site lacks a class: fold 0 tests none of class C. */
static void a_class_that_a_fold_lacks_is_not_unlike(void **state)
{
    (void)state;
    uint8_t of[IMAGES], seen_by[IMAGES];
    cf_cells fresh;
    cf_unlike u;
    paint(&fresh, 1000);
    for (int i = 0; i < IMAGES; i++) {
        bool lacking = shared.cells.labels[i] == 2;
        of[i] = lacking ? 1 : fold_of[i];
        seen_by[i] = lacking ? 0 : CF_FOLD_TRAIN;
    }
    if (cf_unlike_make(&shared.run, &shared.cells, of, NULL, NULL, &u) != CF_OK)
        fail_msg("%s", cf_err_text());
    double share = share_beyond(&shared, &u, &fresh, seen_by);
    print_message("seed %d: beyond 10 %%: %.2f of new cells of a class that the fold lacks\n", SEED,
                  share);
    assert_true(share < 0.5); /* as above, of 50; without a centre of their own it is nearly all */
    cf_unlike_fini(&u);
    fake_cells_fini(&fresh);
}

/* A site of two images, of which nothing can be learnt, has no say. */
static void a_fold_of_two_images_has_no_part(void **state)
{
    (void)state;
    uint8_t of[IMAGES];
    char path[CF_PATH_MAX];
    double scratch[64];
    static const float features[64] = {1};
    bool fits = false;
    cf_unlike u, read;
    memset(of, 1, sizeof of);
    memset(of, 0, 2);
    assert_int_equal(cf_unlike_make(&shared.run, &shared.cells, of, NULL, NULL, &u), CF_OK);
    assert_int_equal(cf_path_join(path, sizeof path, shared.dir, "two.safetensors"), CF_OK);
    assert_int_equal(cf_unlike_write(&u, path), CF_OK);
    if (cf_unlike_read(path, &read) != CF_OK) fail_msg("%s", cf_err_text());
    assert_int_equal(cf_unlike_fits(&read, &shared.run, &fits), CF_OK);
    assert_true(fits);
    assert_false(cf_unlike_knows(&read, 0));
    assert_true(cf_unlike_knows(&read, 1));
    assert_true(isnan(cf_unlike_features(&read, 0, features, scratch)));
    assert_true(isfinite(cf_unlike_features(&read, 1, features, scratch)));
    assert_int_equal(read.n_held, (IMAGES - 2) / 3);
    cf_unlike_fini(&read);
    cf_unlike_fini(&u);
}

static void references_are_kept_and_read_again(void **state)
{
    (void)state;
    char path[CF_PATH_MAX], again[CF_PATH_MAX], *a = NULL, *b = NULL;
    size_t n_a = 0, n_b = 0;
    bool fits = false;
    cf_unlike read;
    assert_int_equal(cf_path_join(path, sizeof path, shared.dir, "u.safetensors"), CF_OK);
    assert_int_equal(cf_path_join(again, sizeof again, shared.dir, "v.safetensors"), CF_OK);
    assert_int_equal(cf_unlike_write(&reference, path), CF_OK);
    if (cf_unlike_read(path, &read) != CF_OK) fail_msg("%s", cf_err_text());
    assert_int_equal(cf_unlike_fits(&read, &shared.run, &fits), CF_OK);
    assert_true(fits);
    assert_int_equal(cf_unlike_write(&read, again), CF_OK);
    assert_int_equal(cf_file_read(path, 1 << 24, &a, &n_a), CF_OK);
    assert_int_equal(cf_file_read(again, 1 << 24, &b, &n_b), CF_OK);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(a, b, n_a);
    read.folds[1].weights ^= 1;
    assert_int_equal(cf_unlike_fits(&read, &shared.run, &fits), CF_OK);
    assert_false(fits);
    read.folds[1].weights ^= 1;
    read.data[0] ^= 1;
    assert_int_equal(cf_unlike_fits(&read, &shared.run, &fits), CF_OK);
    assert_false(fits);
    cf_unlike_fini(&read);
    for (size_t cut = 0; cut < n_a; cut += n_a / 40) { /* cut anywhere it is refused */
        assert_int_equal(cf_file_save(again, a, cut), CF_OK);
        assert_int_equal(cf_unlike_read(again, &read), CF_E_CHECKPOINT);
        cf_unlike_fini(&read);
    }
    free(a);
    free(b);
}

static void too_few_images_are_refused(void **state)
{
    (void)state;
    uint8_t few[IMAGES];
    cf_unlike u;
    memset(few, CF_FOLD_TRAIN, sizeof few);
    memset(few, 0, 59);
    assert_int_equal(cf_unlike_make(&shared.run, &shared.cells, few, NULL, NULL, &u), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "19 held-out images"));
    cf_unlike_fini(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looks_are_moments_of_optical_density),
        cmocka_unit_test(looks_of_one_colour_are_finite),
        cmocka_unit_test(limits_leave_the_rate_beyond),
        cmocka_unit_test(rare_and_absent_classes_get_centres),
        cmocka_unit_test(folds_of_few_images_take_none),
        cmocka_unit_test(other_images_are_farther_than_new_ones_of_the_kind),
        cmocka_unit_test(other_networks_tell_noise_too),
        cmocka_unit_test(a_class_that_a_fold_lacks_is_not_unlike),
        cmocka_unit_test(a_fold_of_two_images_has_no_part),
        cmocka_unit_test(references_are_kept_and_read_again),
        cmocka_unit_test(too_few_images_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
