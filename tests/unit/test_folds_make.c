/* Splits by patient and site: properties on random manifests, and what is refused. */
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
#include "tests/support/fake_groups.h"

enum { MAX_IMAGES = 3000, MAX_NAMES = 160, MAX_CLASSES = 9, MAX_PARTS = 10, TRIALS = 1000 };

/* CYTOFOLD_TEST_TRIALS: for a soak. */
static int n_trials(void)
{
    const char *wanted = getenv("CYTOFOLD_TEST_TRIALS");
    return wanted && atoi(wanted) > 0 ? atoi(wanted) : TRIALS;
}

/* ---- random manifests -------------------------------------------------------------------------
 */

typedef struct manifest {
    int64_t n;
    int n_classes, n_patients, n_sites;
    int32_t labels[MAX_IMAGES], patients[MAX_IMAGES], sites[MAX_IMAGES];
} manifest;

static int below(cf_rng *rng, int n)
{
    return (int)cf_rng_below(rng, (uint32_t)n);
}

/* Patients of very different sizes, each with one to three classes that it mostly has, each at one
 * site; images in random order. */
static void draw_manifest(cf_rng *rng, manifest *m)
{
    m->n = 0;
    m->n_classes = 2 + below(rng, MAX_CLASSES - 1);
    m->n_sites = 1 + below(rng, 6);
    m->n_patients = 2 + below(rng, MAX_NAMES - 2);
    for (int p = 0; p < m->n_patients; p++) {
        int site = below(rng, m->n_sites), n_own = 1 + below(rng, 3), own[3];
        for (int i = 0; i < n_own; i++) own[i] = below(rng, m->n_classes);
        int size = 1 + below(rng, 1 << below(rng, 7));
        for (int i = 0; i < size && m->n < MAX_IMAGES; i++, m->n++) {
            m->labels[m->n] = below(rng, 8) == 0 ? below(rng, m->n_classes) : own[i % n_own];
            m->patients[m->n] = p;
            m->sites[m->n] = site;
        }
    }
}

static void swap(int32_t *list, int64_t i, int64_t j)
{
    int32_t item = list[i];
    list[i] = list[j];
    list[j] = item;
}

static void shuffle_images(cf_rng *rng, manifest *m)
{
    for (int64_t i = m->n - 1; i > 0; i--) {
        int64_t j = cf_rng_below(rng, (uint32_t)(i + 1));
        swap(m->labels, i, j);
        swap(m->patients, i, j);
        swap(m->sites, i, j);
    }
}

static void open_cells(const manifest *m, cf_cells *cells)
{
    assert_true(fake_cells_init(cells, m->labels, m->n, m->n_classes, 0));
    assert_true(fake_groups_init(cells, m->patients, m->n_patients, m->sites, m->n_sites));
}

/* ---- what is known without the code under test ------------------------------------------------
 */

/* images[c][g] of class c in group g: a patient or a site, by its number. */
typedef struct table {
    int n_groups, n_classes;
    int images[MAX_CLASSES + 1][MAX_NAMES]; /* the row behind the classes: all */
    int total[MAX_CLASSES + 1];
} table;

static void fill_table(const manifest *m, cf_group_by by, table *t)
{
    memset(t, 0, sizeof *t);
    t->n_classes = m->n_classes;
    t->n_groups = by == CF_GROUP_SITE ? m->n_sites : m->n_patients;
    for (int64_t i = 0; i < m->n; i++) {
        int g = by == CF_GROUP_SITE ? m->sites[i] : m->patients[i];
        t->images[m->labels[i]][g]++;
        t->total[m->labels[i]]++;
        t->images[t->n_classes][g]++;
        t->total[t->n_classes]++;
    }
}

/* At least two classes, and each in as many groups as are needed. */
static bool is_possible(const table *t, int needed)
{
    int n_present = 0;
    for (int c = 0; c < t->n_classes; c++) {
        int n = 0;
        for (int g = 0; g < t->n_groups; g++) n += t->images[c][g] > 0;
        if (n > 0 && n < needed) return false;
        n_present += n > 0;
    }
    return n_present >= 2;
}

/* Whether any of all ways to deal the groups out puts every class into two parts; -1 where there
 * are too many ways to try. */
static int is_solvable(const table *t, int n_parts)
{
    int64_t n_ways = 1;
    for (int g = 0; g < t->n_groups; g++) {
        n_ways *= n_parts;
        if (n_ways > 4000000) return -1;
    }
    for (int64_t way = 0; way < n_ways; way++) {
        int n_lone = 0;
        for (int c = 0; c < t->n_classes && n_lone == 0; c++) {
            int64_t rest = way;
            unsigned parts = 0;
            for (int g = 0; g < t->n_groups; g++, rest /= n_parts)
                if (t->images[c][g] > 0) parts |= 1u << (rest % n_parts);
            n_lone += t->total[c] > 0 && (parts & (parts - 1)) == 0;
        }
        if (n_lone == 0) return 1;
    }
    return 0;
}

/* part_of[g], asserting that every image of a group is in the same part. */
static void assert_whole(const manifest *m, cf_group_by by, const uint8_t *fold_of,
                         uint8_t *part_of)
{
    memset(part_of, 0xFF, MAX_NAMES);
    for (int64_t i = 0; i < m->n; i++) {
        int g = by == CF_GROUP_SITE ? m->sites[i] : m->patients[i];
        uint8_t part = fold_of[i] == CF_FOLD_TRAIN ? 1 : fold_of[i];
        if (part_of[g] == 0xFF) part_of[g] = part;
        assert_int_equal(part_of[g], part);
    }
}

typedef struct shares {
    int n_parts;
    double wanted[MAX_PARTS], of[MAX_CLASSES + 1][MAX_PARTS];
    int groups[MAX_CLASSES + 1][MAX_PARTS];
} shares;

static void fill_shares(const table *t, const uint8_t *part_of, int n_parts, double test_share,
                        shares *s)
{
    memset(s, 0, sizeof *s);
    s->n_parts = n_parts;
    for (int p = 0; p < n_parts; p++) s->wanted[p] = 1.0 / n_parts;
    if (test_share > 0) {
        s->wanted[0] = test_share;
        s->wanted[1] = 1 - test_share;
    }
    for (int r = 0; r <= t->n_classes; r++)
        for (int g = 0; g < t->n_groups; g++) {
            if (t->images[r][g] == 0) continue;
            s->of[r][part_of[g]] += (double)t->images[r][g] / t->total[r];
            s->groups[r][part_of[g]]++;
        }
}

/* Whether group g can leave f for h without leaving a class in one part alone. */
static bool may_move(const table *t, const shares *s, int g, int f, int h)
{
    for (int c = 0; c < t->n_classes; c++) {
        if (t->images[c][g] == 0) continue;
        int n_parts = 0;
        for (int p = 0; p < s->n_parts; p++) n_parts += s->groups[c][p] - (p == f) + (p == h) > 0;
        if (n_parts < 2) return false;
    }
    return true;
}

/* The stated bound: no single group would lower the sum of squares by moving. The slack is for
 * shares, which the code under test rounds down to 2^-25, once for each of up to 160 groups, ten
 * rows: 160 * 10 * 2^-25 = 4.8e-5. */
static void assert_balanced(const table *t, const shares *s, const uint8_t *part_of)
{
    for (int g = 0; g < t->n_groups; g++) {
        int f = part_of[g];
        if (f == 0xFF) continue; /* a name without images */
        for (int h = 0; h < s->n_parts; h++) {
            double gain = 0;
            if (h == f || !may_move(t, s, g, f, h)) continue;
            for (int r = 0; r <= t->n_classes; r++) {
                if (t->total[r] == 0) continue;
                double share = (double)t->images[r][g] / t->total[r];
                double from = s->of[r][f] - s->wanted[f], to = s->of[r][h] - s->wanted[h];
                gain += share * (from - to - share);
            }
            if (gain > 4.8e-5) fail_msg("group %d gains %g by moving from %d to %d", g, gain, f, h);
        }
    }
}

static void assert_trainable(const table *t, const shares *s)
{
    for (int p = 0; p < s->n_parts; p++) assert_true(s->of[t->n_classes][p] > 0);
    for (int c = 0; c < t->n_classes; c++)
        for (int p = 0; p < s->n_parts; p++)
            if (t->total[c] > 0)
                assert_true(s->groups[c][p] < t->n_groups && s->of[c][p] < 1 - 1e-9);
}

/* ---- properties -------------------------------------------------------------------------------
 */

/* Where each patient or site went must not depend on the order of the images. */
static void assert_order_has_no_say(cf_rng *rng, const manifest *m, const cf_split *split,
                                    const uint8_t *part_of)
{
    manifest *other = malloc(sizeof *other);
    assert_non_null(other);
    *other = *m;
    shuffle_images(rng, other);
    cf_cells cells;
    uint8_t fold_of[MAX_IMAGES], part[MAX_NAMES];
    int n_folds;
    open_cells(other, &cells);
    assert_int_equal(cf_folds_make(&cells, split, &n_folds, fold_of), CF_OK);
    assert_whole(other, split->group, fold_of, part);
    assert_memory_equal(part, part_of, sizeof part);
    fake_groups_fini(&cells);
    free(other);
}

typedef struct tally {
    int made, refused, unsolvable;
} tally;

/* One random manifest, one split by patient or site. */
static void try_groups(cf_rng *rng, manifest *m, tally *count)
{
    bool holdout = below(rng, 3) == 0;
    cf_split split = {.kind = holdout ? CF_SPLIT_HOLDOUT : CF_SPLIT_FOLDS,
                      .group = below(rng, 4) == 0 ? CF_GROUP_SITE : CF_GROUP_PATIENT,
                      .n_folds = 2 + below(rng, 5),
                      .test_share = below(rng, 2) ? 0.2 : 0.3,
                      .seed = cf_rng_u32(rng)};
    int n_parts = holdout ? 2 : split.n_folds, n_folds = 0, again = 0;
    uint8_t first[MAX_IMAGES], second[MAX_IMAGES], part_of[MAX_NAMES];
    table t;
    shares s;
    cf_cells cells;
    draw_manifest(rng, m);
    shuffle_images(rng, m);
    fill_table(m, split.group, &t);
    open_cells(m, &cells);
    cf_err err = cf_folds_make(&cells, &split, &n_folds, first);
    if (!is_possible(&t, n_parts)) {
        assert_int_equal(err, CF_E_DATA);
        count->refused++;
    } else if (err != CF_OK) {
        /* right only where no way at all puts every class into two parts */
        int solvable = is_solvable(&t, n_parts);
        if (solvable != 0)
            fail_msg("%d groups in %d parts, %s, refused: %s", t.n_groups, n_parts,
                     solvable > 0 ? "possible" : "too many ways to try", cf_err_text());
        count->unsolvable++;
    } else {
        assert_int_equal(n_folds, holdout ? 1 : n_parts);
        for (int64_t i = 0; i < m->n; i++)
            assert_true(first[i] < n_folds || (holdout && first[i] == CF_FOLD_TRAIN));
        assert_whole(m, split.group, first, part_of);
        fill_shares(&t, part_of, n_parts, holdout ? split.test_share : 0, &s);
        assert_trainable(&t, &s);
        assert_balanced(&t, &s, part_of);
        assert_int_equal(cf_folds_make(&cells, &split, &again, second), CF_OK);
        assert_memory_equal(first, second, (size_t)m->n);
        assert_order_has_no_say(rng, m, &split, part_of);
        count->made++;
    }
    fake_groups_fini(&cells);
}

static void thousand_random_manifests_keep_groups_whole(void **state)
{
    (void)state;
    tally count = {0};
    manifest *m = malloc(sizeof *m);
    assert_non_null(m);
    for (uint32_t trial = 0; count.made < n_trials(); trial++) {
        cf_rng rng = cf_rng_at(31, 0, 0, trial, CF_PURPOSE_TEST);
        try_groups(&rng, m, &count);
    }
    print_message("seed 31: %d splits made, %d refused by counts, %d after all ways were tried\n",
                  count.made, count.refused, count.unsolvable);
    assert_true(count.refused > 100);
    free(m);
}

/* One random manifest, each site left out. */
static void try_sites(cf_rng *rng, manifest *m, tally *count)
{
    cf_split split = {.kind = CF_SPLIT_LEAVE_SITE_OUT};
    uint8_t fold_of[MAX_IMAGES], part_of[MAX_NAMES];
    int n_folds = 0;
    table t;
    cf_cells cells;
    draw_manifest(rng, m);
    fill_table(m, CF_GROUP_SITE, &t);
    open_cells(m, &cells);
    cf_err err = cf_folds_make(&cells, &split, &n_folds, fold_of);
    int n_sites = 0;
    for (int g = 0; g < t.n_groups; g++) n_sites += t.images[t.n_classes][g] > 0;
    if (n_sites < 2 || !is_possible(&t, 2)) {
        assert_int_equal(err, CF_E_DATA);
        count->refused++;
    } else if (n_sites == m->n_sites) { /* a cells file names no site without images */
        assert_int_equal(err, CF_OK);
        assert_int_equal(n_folds, n_sites);
        assert_whole(m, CF_GROUP_SITE, fold_of, part_of);
        for (int s = 0; s < n_sites; s++) assert_int_equal(part_of[s], s);
        assert_int_equal(cf_folds_check(&cells, CF_GROUP_PATIENT, n_folds, fold_of), CF_OK);
        count->made++;
    }
    fake_groups_fini(&cells);
}

static void thousand_random_manifests_leave_each_site_out(void **state)
{
    (void)state;
    tally count = {0};
    manifest *m = malloc(sizeof *m);
    assert_non_null(m);
    for (uint32_t trial = 0; count.made + count.refused < n_trials(); trial++) {
        cf_rng rng = cf_rng_at(32, 0, 0, trial, CF_PURPOSE_TEST);
        try_sites(&rng, m, &count);
    }
    print_message("seed 32: %d splits made, %d refused\n", count.made, count.refused);
    assert_true(count.made > 100 && count.refused > 100);
    free(m);
}

/* Without groups: every class and the total within one image of the share, but for classes so
 * small that the share is less than an image. */
static void try_holdout(cf_rng *rng, manifest *m, tally *count)
{
    double share = below(rng, 2) ? 0.2 : 0.3, small = 0;
    uint8_t fold_of[MAX_IMAGES];
    int tested[MAX_CLASSES + 1] = {0};
    bool possible = true;
    table t;
    cf_cells cells;
    draw_manifest(rng, m);
    fill_table(m, CF_GROUP_PATIENT, &t);
    open_cells(m, &cells);
    int n_present = 0;
    for (int c = 0; c < m->n_classes; c++) {
        possible = possible && t.total[c] != 1;
        n_present += t.total[c] > 0;
        small += t.total[c] > 0 && t.total[c] * share < 1;
    }
    cf_err err = cf_folds_holdout(&cells, share, cf_rng_u32(rng), fold_of);
    if (!possible || n_present < 2) {
        assert_int_equal(err, CF_E_DATA);
        count->refused++;
    } else {
        assert_int_equal(err, CF_OK);
        for (int64_t i = 0; i < m->n; i++) {
            assert_true(fold_of[i] == 0 || fold_of[i] == CF_FOLD_TRAIN);
            tested[m->labels[i]] += fold_of[i] == 0;
            tested[m->n_classes] += fold_of[i] == 0;
        }
        for (int c = 0; c < m->n_classes; c++) {
            double off = tested[c] - t.total[c] * share;
            assert_true(off > -1.001 && off < 1.001);
            if (t.total[c] > 0) assert_in_range(tested[c], 1, t.total[c] - 1);
        }
        double off = tested[m->n_classes] - (double)m->n * share;
        assert_true(off > -1.001 && off < 1.001 + small);
        count->made++;
    }
    fake_groups_fini(&cells);
}

static void thousand_random_manifests_hold_a_share_out(void **state)
{
    (void)state;
    tally count = {0};
    manifest *m = malloc(sizeof *m);
    assert_non_null(m);
    for (uint32_t trial = 0; count.made < n_trials(); trial++) {
        cf_rng rng = cf_rng_at(33, 0, 0, trial, CF_PURPOSE_TEST);
        try_holdout(&rng, m, &count);
    }
    print_message("seed 33: %d splits made, %d refused\n", count.made, count.refused);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousand_random_manifests_keep_groups_whole),
        cmocka_unit_test(thousand_random_manifests_leave_each_site_out),
        cmocka_unit_test(thousand_random_manifests_hold_a_share_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
