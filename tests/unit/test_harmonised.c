#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/cells.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"
#include "worker/data/pack.h"

/* Every label of a public set, and the classes it becomes: "-" where its images are left out. */
typedef struct mapped {
    const char *label, *of_11, *of_5;
} mapped;

static const mapped marrow[] = {
    {"NGB", "NGB", "NEU"}, {"NGS", "NGS", "NEU"}, {"LYT", "LYT", "LYT"}, {"MON", "MON", "MON"},
    {"EOS", "EOS", "EOS"}, {"BAS", "BAS", "BAS"}, {"MMZ", "MMZ", "-"},   {"MYB", "MYB", "-"},
    {"PMO", "PMO", "-"},   {"BLA", "-", "-"},     {"PLM", "-", "-"},     {"KSC", "-", "-"},
    {"OTH", "-", "-"},     {"ART", "-", "-"},     {"NIF", "-", "-"},     {"PEB", "-", "-"},
    {"EBO", "EBO", "-"},   {"HAC", "-", "-"},     {"ABE", "-", "-"},     {"LYI", "-", "-"},
    {"FGC", "-", "-"},
};
static const mapped aml[] = {
    {"BAS", "BAS", "BAS"}, {"EBO", "EBO", "-"},   {"EOS", "EOS", "EOS"}, {"KSC", "-", "-"},
    {"LYA", "-", "-"},     {"LYT", "LYT", "LYT"}, {"MMZ", "MMZ", "-"},   {"MOB", "MON", "-"},
    {"MON", "MON", "MON"}, {"MYB", "MYB", "-"},   {"MYO", "MYO", "-"},   {"NGB", "NGB", "NEU"},
    {"NGS", "NGS", "NEU"}, {"PMB", "-", "-"},     {"PMO", "PMO", "-"},
};
static const mapped mll23[] = {
    {"basophil", "BAS", "BAS"},
    {"eosinophil", "EOS", "EOS"},
    {"hairy_cell", "-", "-"},
    {"lymphocyte", "LYT", "LYT"},
    {"lymphocyte_large_granular", "-", "-"},
    {"lymphocyte_neoplastic", "-", "-"},
    {"lymphocyte_reactive", "-", "-"},
    {"metamyelocyte", "MMZ", "-"},
    {"monocyte", "MON", "MON"},
    {"myeloblast", "MYO", "-"},
    {"myelocyte", "MYB", "-"},
    {"neutrophil_band", "NGB", "NEU"},
    {"neutrophil_segmented", "NGS", "NEU"},
    {"normoblast", "EBO", "-"},
    {"plasma_cell", "-", "-"},
    {"promyelocyte", "PMO", "-"},
    {"promyelocyte_atypical", "-", "-"},
    {"smudge_cell", "-", "-"},
};
static const mapped acevedo[] = {
    {"basophil", "BAS", "BAS"}, {"eosinophil", "EOS", "EOS"}, {"erythroblast", "EBO", "-"},
    {"ig", "-", "-"},           {"lymphocyte", "LYT", "LYT"}, {"monocyte", "MON", "MON"},
    {"neutrophil", "-", "NEU"}, {"platelet", "-", "-"},       {"BNE", "NGB", "NEU"},
    {"SNE", "NGS", "NEU"},      {"MMY", "MMZ", "-"},          {"MY", "MYB", "-"},
    {"PMY", "PMO", "-"},
};
static const mapped bccd[] = {
    {"Neutrophil", "NGS", "NEU"}, {"Eosinophil", "EOS", "EOS"}, {"Lymphocyte", "LYT", "LYT"},
    {"Monocyte", "MON", "MON"},   {"Basophil", "BAS", "BAS"},
};

static cf_scheme shipped(const char *name)
{
    cf_scheme s;
    if (cf_scheme_read(name, &s) != CF_OK) fail_msg("%s", cf_err_text());
    return s;
}

static void assert_maps(const cf_scheme *s, const char *label, const char *code)
{
    int c = cf_scheme_find(s, label);
    const char *found = c >= 0 ? s->classes[c].code : c == -1 ? "-" : "unknown";
    if (strcmp(found, code) != 0)
        fail_msg("%s: %s is %s, expected %s", s->name, label, found, code);
}

static void every_label_of_the_public_sets_is_decided(void **state)
{
    (void)state;
    static const struct {
        const mapped *labels;
        size_t n;
    } sets[] = {{marrow, sizeof marrow / sizeof marrow[0]},
                {aml, sizeof aml / sizeof aml[0]},
                {mll23, sizeof mll23 / sizeof mll23[0]},
                {acevedo, sizeof acevedo / sizeof acevedo[0]},
                {bccd, sizeof bccd / sizeof bccd[0]}};
    cf_scheme of_11 = shipped("harmonised11"), of_5 = shipped("harmonised5");
    assert_int_equal(of_11.n_classes, 11);
    assert_int_equal(of_5.n_classes, 5);
    for (size_t k = 0; k < sizeof sets / sizeof sets[0]; k++)
        for (size_t i = 0; i < sets[k].n; i++) {
            assert_maps(&of_11, sets[k].labels[i].label, sets[k].labels[i].of_11);
            assert_maps(&of_5, sets[k].labels[i].label, sets[k].labels[i].of_5);
        }
    /* what stands in no list is refused, not guessed */
    assert_maps(&of_11, "Neutrophils (banded)", "unknown");
    cf_scheme_fini(&of_11);
    cf_scheme_fini(&of_5);
}

/* Both real folders as two centres of one file. */
static void two_real_centres_pack_into_one_file(void **state)
{
    (void)state;
    char dir[CF_PATH_MAX], output[CF_PATH_MAX], crops[CF_PATH_MAX], originals[CF_PATH_MAX];
    snprintf(crops, sizeof crops, "%s/bccd", CYTOFOLD_DATA);
    snprintf(originals, sizeof originals, "%s/bm7-original", CYTOFOLD_DATA);
    if (!*CYTOFOLD_DATA || !cf_path_is_dir(crops)) {
        print_message("skipped: no bccd below CYTOFOLD_DATA \"%s\"\n", CYTOFOLD_DATA);
        skip();
    }
    assert_true(scratch_make(dir));
    assert_int_equal(cf_path_join(output, sizeof output, dir, "x.cells"), CF_OK);
    const cf_source sources[2] = {{.path = crops, .site = "BCCD", .name = "BCCD"},
                                  {.path = originals, .site = "MLL", .name = "MLL"}};
    cf_pack_options options = {.sources = sources,
                               .n_sources = 2,
                               .scheme = "harmonised5",
                               .output = output,
                               .cut = {.size = 32},
                               .max_pixels = 1 << 20};
    cf_pack_result result;
    if (cf_pack(&options, &result) != CF_OK) fail_msg("%s", cf_err_text());
    static const struct {
        const char *code;
        int n;
    } expected[] = {
        {"NEU", 207 + 30}, {"EOS", 88 + 30}, {"BAS", 3}, {"MON", 20 + 30}, {"LYT", 33 + 30}};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(result.counts[cf_scheme_find(&result.scheme, expected[i].code)],
                         expected[i].n);
    assert_int_equal(result.n_dropped, 90); /* BLA, NIF and PMO */
    cf_pack_result_fini(&result);
    cf_cells cells;
    assert_int_equal(cf_cells_open(output, &cells), CF_OK);
    assert_int_equal(cells.n, 351 + 120);
    int64_t n_bccd = 0;
    for (int64_t i = 0; i < cells.n; i++)
        n_bccd += strcmp(cells.site_names.items[cells.sites[i]], "BCCD") == 0;
    assert_int_equal(n_bccd, 351);
    cf_cells_close(&cells);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_label_of_the_public_sets_is_decided),
        cmocka_unit_test(two_real_centres_pack_into_one_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
