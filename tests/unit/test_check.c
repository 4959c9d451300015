#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "proto/cells.h"
#include "proto/csv.h"
#include "tests/support/check_cells.h"
#include "tests/support/font_leaks.h"
#include "tests/support/planted.h"
#include "worker/data/check.h"
#include "worker/data/synth.h"

static void add(cf_cells_writer *w, const char *id, int label, const char *site,
                const uint8_t *pixels)
{
    must(cf_cells_add(
        w, &(cf_cells_entry){
               .id = id, .label = label, .site = site, .patient = "", .pixels = pixels}));
}

static cf_cells finish(cf_cells_writer *w, const char *name)
{
    char path[CF_PATH_MAX];
    cf_cells cells;
    must(cf_cells_finish(w));
    must(cf_path_join(path, sizeof path, folder, name));
    must(cf_cells_open(path, &cells));
    return cells;
}

static void paint(int label, int64_t k, uint8_t *pixels)
{
    static float scratch[2 * BYTES];
    cf_synth_paint(&scheme, label, k, SIDE, SEED, scratch, pixels);
}

static cf_check_result checked(const cf_cells *cells, const uint8_t *fold_of, int threads)
{
    cf_check_result r;
    const cf_check_options o = {.cells = cells, .fold_of = fold_of, .threads = threads};
    must(cf_check(&o, &r));
    return r;
}

/* ---- planted duplicates ---- */

enum { PHANTOMS = 1000, EXACT = 100, EACH = 25, PLANTED = EXACT + 4 * EACH, STRIDE = 5 };

static enum plant kind_of(int k)
{
    return k < EXACT ? PLANT_EXACT : (enum plant)(PLANT_JPEG + (k - EXACT) / EACH);
}

/* Phantoms, then copies of every STRIDE-th of them. */
static cf_cells plant_all(const char *name)
{
    static uint8_t pixels[BYTES], copy[BYTES];
    char id[64];
    cf_cells_writer *w = begin(name);
    print_message("seed %d\n", SEED);
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    for (int i = 0; i < PHANTOMS + PLANTED; i++) {
        int of = i < PHANTOMS ? i : (i - PHANTOMS) * STRIDE;
        paint(of % scheme.n_classes, of / scheme.n_classes, pixels);
        enum plant kind = i < PHANTOMS ? PLANT_EXACT : kind_of(i - PHANTOMS);
        assert_true(plant_copy(kind, pixels, SIDE, &rng, copy));
        snprintf(id, sizeof id, "picture-%05d", i);
        add(w, id, of % scheme.n_classes, "", copy);
    }
    return finish(w, name);
}

static void assert_same_findings(const cf_check_result *a, const cf_check_result *b)
{
    assert_int_equal(a->n_duplicates, b->n_duplicates);
    assert_int_equal(a->n_candidates, b->n_candidates);
    for (int64_t i = 0; i < a->n_duplicates; i++) {
        const cf_duplicate *p = &a->duplicates[i], *q = &b->duplicates[i];
        assert_true(p->a == q->a && p->b == q->b && p->exact == q->exact);
        assert_memory_equal(&p->similarity, &q->similarity, sizeof p->similarity);
        assert_memory_equal(&p->map, &q->map, sizeof p->map);
    }
}

/* All exact copies, at least 95 of 100 near ones, false alarms in under 1 % of all images; and the
 * same bits with one and with three threads. */
static void planted_duplicates_are_found(void **state)
{
    (void)state;
    cf_cells cells = plant_all("planted.cells");
    cf_check_result r = checked(&cells, NULL, 3), again = checked(&cells, NULL, 1);
    int found[2] = {0, 0}, others = 0; /* near, exact */
    for (int64_t i = 0; i < r.n_duplicates; i++) {
        const cf_duplicate *d = &r.duplicates[i];
        int k = d->b - PHANTOMS;
        if (k >= 0 && d->a == k * STRIDE && d->exact == (k < EXACT))
            found[d->exact]++;
        else
            others++;
    }
    print_message("exact %d of 100, near %d of 100, others %d\n", found[1], found[0], others);
    assert_int_equal(found[1], 100);
    assert_true(found[0] >= 95);
    assert_true(2 * others * 100 < PHANTOMS + PLANTED);
    assert_int_equal(r.n_damaged, 0);
    assert_same_findings(&r, &again);
    cf_check_result_fini(&again);
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

/* Too few images to compare their spread with: every pair is aligned. */
static void two_pictures_of_one_cell_are_found(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES], copy[BYTES];
    cf_rng rng = cf_rng_at(SEED, 0, 0, 1, CF_PURPOSE_TEST);
    for (int kind = PLANT_EXACT; kind < N_PLANTS; kind++) {
        cf_cells_writer *w = begin("two.cells");
        paint(0, 1, pixels);
        assert_true(plant_copy((enum plant)kind, pixels, SIDE, &rng, copy));
        add(w, "a", 0, "", pixels);
        add(w, "b", 1, "", copy);
        cf_cells cells = finish(w, "two.cells");
        cf_check_result r = checked(&cells, NULL, 0);
        assert_int_equal(r.n_duplicates, 1);
        assert_int_equal(r.duplicates[0].exact, kind == PLANT_EXACT);
        assert_int_equal(r.duplicates[0].conflicts, CF_CONFLICT_LABEL);
        assert_int_equal(r.n_surplus, 1);
        cf_check_result_fini(&r);
        cf_cells_close(&cells);
    }
}

static void one_picture_is_enough_to_check(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES];
    cf_cells_writer *w = begin("one.cells");
    paint(0, 1, pixels);
    add(w, "a", 0, "", pixels);
    cf_cells cells = finish(w, "one.cells");
    cf_check_result r = checked(&cells, NULL, 2);
    assert_int_equal(r.n_duplicates + r.n_odd + r.n_damaged, 0);
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

/* What is told of a turned and shifted copy is what was done to it. */
static void transforms_are_told(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES], copy[BYTES];
    char words[96];
    paint(2, 3, pixels);
    for (int y = 0; y < SIDE; y++) /* a quarter clockwise */
        for (int x = 0; x < SIDE; x++)
            memcpy(copy + 3 * (x * SIDE + SIDE - 1 - y), pixels + 3 * (y * SIDE + x), 3);
    cf_cells_writer *w = begin("turned.cells");
    add(w, "a", 2, "", pixels);
    add(w, "b", 2, "", copy);
    cf_cells cells = finish(w, "turned.cells");
    cf_check_result r = checked(&cells, NULL, 1);
    assert_int_equal(r.n_near, 1);
    assert_string_equal(cf_align_words(&r.duplicates[0].map, SIDE, SIDE, words), "turned 90");
    cf_check_result_fini(&r);
    cf_cells_close(&cells);

    const cf_image in = {.height = SIDE, .width = SIDE, .pixels = pixels};
    cf_image moved;
    must(cf_image_crop(&in, -4, 3, SIDE, SIDE, &moved)); /* 4 to the right, 3 up */
    w = begin("moved.cells");
    add(w, "a", 2, "", pixels);
    add(w, "b", 2, "", moved.pixels);
    cf_image_fini(&moved);
    cells = finish(w, "moved.cells");
    r = checked(&cells, NULL, 1);
    assert_int_equal(r.n_near, 1);
    assert_string_equal(cf_align_words(&r.duplicates[0].map, SIDE, SIDE, words), "shifted 4 -3 px");
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

/* ---- damaged and odd images ---- */

static void changed_pixels_are_damage(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES];
    char path[CF_PATH_MAX], id[16];
    cf_cells_writer *w = begin("damaged.cells");
    for (int i = 0; i < 3; i++) {
        paint(0, i, pixels);
        snprintf(id, sizeof id, "%d", i);
        add(w, id, 0, "", pixels);
    }
    cf_cells cells = finish(w, "damaged.cells");
    long at = (long)(cf_cells_image(&cells, 1) - cells.map.bytes) + 1000;
    uint8_t byte = (uint8_t)(cells.map.bytes[at] ^ 1);
    cf_cells_close(&cells);
    must(cf_path_join(path, sizeof path, folder, "damaged.cells"));
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(&byte, 1, 1, f), 1);
    fclose(f);
    must(cf_cells_open(path, &cells));
    cf_check_result r = checked(&cells, NULL, 2);
    assert_int_equal(r.n_damaged, 1);
    assert_true(r.damaged[1]);
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

static void fill(uint8_t *pixels, int r, int g, int b)
{
    for (int k = 0; k < SIDE * SIDE; k++) {
        pixels[3 * k] = (uint8_t)r;
        pixels[3 * k + 1] = (uint8_t)g;
        pixels[3 * k + 2] = (uint8_t)b;
    }
}

/* Means of 7 x 7 px: out of focus. */
static void smear(const uint8_t *in, uint8_t *out)
{
    enum { REACH = 3 };
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++) {
                int sum = 0, n = 0;
                for (int v = y - REACH; v <= y + REACH; v++)
                    for (int u = x - REACH; u <= x + REACH; u++)
                        if (u >= 0 && v >= 0 && u < SIDE && v < SIDE) {
                            sum += in[3 * (v * SIDE + u) + c];
                            n++;
                        }
                out[3 * (y * SIDE + x) + c] = (uint8_t)(sum / n);
            }
}

/* Makes an image that one rule is for out of an ordinary one. */
static void spoil(enum cf_odd rule, const uint8_t *in, uint8_t *out)
{
    memcpy(out, in, BYTES);
    if (rule == CF_ODD_FLAT) fill(out, 180, 120, 160);
    if (rule == CF_ODD_BARS) memset(out, 128, BYTES / 4);
    if (rule == CF_ODD_BLURRED) smear(in, out);
    for (int k = 0; k < BYTES; k++) {
        int v = out[k];
        if (rule == CF_ODD_DARK) v /= 12;
        if (rule == CF_ODD_BRIGHT) v = 255 - (255 - v) / 40;
        if (rule == CF_ODD_FAINT) v = 150 + (v - 150) / 10;
        if (rule == CF_ODD_GREY) v = in[k / 3 * 3 + 1];
        if (rule == CF_ODD_COLOR && k % 3 == 2) v /= 3; /* blue gone */
        out[k] = (uint8_t)v;
    }
}

static void odd_images_are_named_by_rule(void **state)
{
    (void)state;
    enum { USUAL = 60 };
    static const unsigned rules[] = {CF_ODD_FLAT, CF_ODD_DARK, CF_ODD_BRIGHT,  CF_ODD_FAINT,
                                     CF_ODD_GREY, CF_ODD_BARS, CF_ODD_BLURRED, CF_ODD_COLOR};
    static uint8_t pixels[BYTES], odd[BYTES];
    char id[16], words[160];
    cf_cells_writer *w = begin("odd.cells");
    for (int i = 0; i < USUAL + 8; i++) {
        paint(0, i, pixels); /* one class: its pictures are about equally sharp */
        if (i >= USUAL) spoil((enum cf_odd)rules[i - USUAL], pixels, odd);
        snprintf(id, sizeof id, "%d", i);
        add(w, id, 0, "", i < USUAL ? pixels : odd);
    }
    cf_cells cells = finish(w, "odd.cells");
    cf_check_result r = checked(&cells, NULL, 2);
    for (int i = 0; i < USUAL; i++)
        if (r.odd[i]) fail_msg("usual image %d: %s", i, cf_odd_words(r.odd[i], words));
    for (int i = 0; i < 8; i++) {
        print_message("%s\n", cf_odd_words(r.odd[USUAL + i], words));
        assert_true((r.odd[USUAL + i] & rules[i]) != 0);
    }
    assert_string_equal(cf_odd_words(CF_ODD_FLAT | CF_ODD_DARK, words), "one colour; nearly black");
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

/* A data set of blank images must end, quickly and without a pair that is not equal. */
static void blank_images_are_no_near_duplicates(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES];
    char id[16];
    cf_cells_writer *w = begin("blank.cells");
    for (int i = 0; i < 300; i++) {
        fill(pixels, 200, i % 100, 200);
        snprintf(id, sizeof id, "%d", i);
        add(w, id, 0, "", pixels);
    }
    cf_cells cells = finish(w, "blank.cells");
    cf_check_result r = checked(&cells, NULL, 2);
    assert_int_equal(r.n_exact, 200);
    assert_int_equal(r.n_near, 0);
    assert_int_equal(r.n_odd, 300);
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

/* ---- sites ---- */

/* Two sites whose images are one-coloured but for a pattern: site "b" is 20 levels redder. All
 * second moments are equal, so the Frechet distance is that of the means: 20, of the effect size
 * the SD of the means, which is that of 0..9 (n - 1): 3.03. */
static void site_distances_are_what_they_should_be(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES];
    char id[16];
    cf_cells_writer *w = begin("sites.cells");
    for (int i = 0; i < 20; i++) {
        int red = 100 + i % 10 + (i < 10 ? 0 : 20);
        for (int k = 0; k < SIDE * SIDE; k++) {
            int wave = k / SIDE / 8 % 2 ? 30 : -30;
            pixels[3 * k] = (uint8_t)(red + wave);
            pixels[3 * k + 1] = (uint8_t)(120 + wave);
            pixels[3 * k + 2] = (uint8_t)(140 + wave);
        }
        snprintf(id, sizeof id, "%d", i);
        add(w, id, 0, i < 10 ? "a" : "b", pixels);
    }
    cf_cells cells = finish(w, "sites.cells");
    cf_check_result r = checked(&cells, NULL, 1);
    assert_int_equal(r.sites.n, 2);
    assert_int_equal(r.sites.n_pairs, 1);
    assert_true(fabs(r.sites.colors[0].mean[0] - 104.5) < 1e-4); /* floats an image */
    assert_true(fabs(r.sites.colors[1].mean[0] - 124.5) < 1e-4);
    assert_true(fabs(r.sites.colors[0].within[1] - 30) < 1e-4);
    assert_true(fabs(r.sites.pairs[0].frechet - 20) < 1e-3);
    assert_true(fabs(r.sites.pairs[0].effect - 20 / sqrt(55.0 / 6)) < 1e-3);
    assert_true(isnan(r.sites.pairs[0].stain_angle));
    /* sRGB (104.5, 120, 140) and (124.5, 120, 140) by the CIE's formulas, in a few lines of Python
     */
    assert_true(fabs(r.sites.colors[0].lab[0] - 49.8567) < 1e-3);
    assert_true(fabs(r.sites.colors[0].lab[1] + 0.9643) < 1e-3);
    assert_true(fabs(r.sites.colors[0].lab[2] + 12.7694) < 1e-3);
    assert_true(fabs(r.sites.pairs[0].delta_e - 7.4772) < 1e-3);
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

/* Site b's images stand between those of site a; site c has none, as a file of another's making
 * may.
 */
static void images_are_put_in_order_of_their_sites(void **state)
{
    (void)state;
    int32_t sites[5] = {0, 2, 0, 2, 0};
    char *names[3] = {"a", "c", "b"};
    const cf_cells cells = {.n = 5, .sites = sites, .site_names = {.items = names, .n = 3}};
    const int32_t expected[5] = {0, 2, 4, 1, 3};
    const int64_t begin[4] = {0, 3, 3, 5};
    cf_site_order order;
    must(cf_site_order_init(&cells, &order));
    assert_memory_equal(order.images, expected, sizeof expected);
    assert_memory_equal(order.begin, begin, sizeof begin);
    cf_site_order_fini(&order);
}

/* ---- files ---- */

static void files_are_written_and_old_sheets_removed(void **state)
{
    (void)state;
    static uint8_t pixels[BYTES];
    char out[CF_PATH_MAX], path[CF_PATH_MAX];
    cf_cells_writer *w = begin("files.cells");
    paint(0, 1, pixels);
    add(w, "=1+1", 0, "", pixels);
    add(w, "b,\"c\"", 1, "", pixels);
    cf_cells cells = finish(w, "files.cells");
    const uint8_t folds[2] = {0, 1};
    const cf_check_options o = {.cells = &cells, .fold_of = folds};
    cf_check_result r = checked(&cells, folds, 1);
    must(cf_path_join(out, sizeof out, folder, "out"));
    must(cf_dir_make(out));
    must(cf_path_join(path, sizeof path, out, "pairs-07.png"));
    must(cf_file_save(path, "old", 3));
    must(cf_check_write(&o, &r, out));
    assert_false(cf_path_exists(path));
    must(cf_path_join(path, sizeof path, out, "pairs-01.png"));
    assert_true(cf_path_exists(path));
    cf_csv csv;
    must(cf_path_join(path, sizeof path, out, "duplicates.csv"));
    must(cf_csv_read(path, 1 << 20, &csv));
    assert_int_equal(csv.n_rows, 2);
    assert_string_equal(cf_csv_cell(&csv, 1, cf_csv_column(&csv, "id_a")), "=1+1");
    assert_string_equal(cf_csv_cell(&csv, 1, cf_csv_column(&csv, "id_b")), "b,\"c\"");
    assert_string_equal(cf_csv_cell(&csv, 1, cf_csv_column(&csv, "kind")), "exact");
    assert_string_equal(cf_csv_cell(&csv, 1, cf_csv_column(&csv, "transform")), "same place");
    assert_string_equal(cf_csv_cell(&csv, 1, cf_csv_column(&csv, "fold_b")), "1");
    cf_csv_fini(&csv);
    char *text;
    size_t n;
    must(cf_file_read(path, 1 << 20, &text, &n));
    assert_non_null(strstr(text, "'=1+1")); /* a spreadsheet takes it for text */
    free(text);
    static const char *const tables[] = {"counts.csv", "odd.csv", "sites.csv", "site_pairs.csv"};
    for (int i = 0; i < 4; i++) {
        must(cf_path_join(path, sizeof path, out, tables[i]));
        must(cf_csv_read(path, 1 << 20, &csv)); /* rows of one length */
        cf_csv_fini(&csv);
    }
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_duplicates_are_found),
        cmocka_unit_test(two_pictures_of_one_cell_are_found),
        cmocka_unit_test(one_picture_is_enough_to_check),
        cmocka_unit_test(transforms_are_told),
        cmocka_unit_test(changed_pixels_are_damage),
        cmocka_unit_test(odd_images_are_named_by_rule),
        cmocka_unit_test(blank_images_are_no_near_duplicates),
        cmocka_unit_test(site_distances_are_what_they_should_be),
        cmocka_unit_test(images_are_put_in_order_of_their_sites),
        cmocka_unit_test(files_are_written_and_old_sheets_removed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
