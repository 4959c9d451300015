/* Schemes: the shipped ones against the published facts, malformed ones refused by line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "proto/scheme.h"

static cf_scheme shipped(const char *name)
{
    cf_scheme s;
    if (cf_scheme_read(name, &s) != CF_OK) fail_msg("%s", cf_err_text());
    return s;
}

static int count_pairs(const cf_scheme *s)
{
    int n = 0;
    for (int i = 0; i < s->n_classes; i++) {
        assert_int_equal(s->tolerant[i * s->n_classes + i], 0);
        for (int j = 0; j < s->n_classes; j++) {
            assert_int_equal(s->tolerant[i * s->n_classes + j], s->tolerant[j * s->n_classes + i]);
            n += s->tolerant[i * s->n_classes + j];
        }
    }
    return n / 2;
}

static bool is_pair(const cf_scheme *s, const char *a, const char *b)
{
    return s->tolerant[cf_scheme_find(s, a) * s->n_classes + cf_scheme_find(s, b)] == 1;
}

/* What every shipped scheme keeps: codes, colours apart, texts whole. */
static void check_shipped(const cf_scheme *s)
{
    assert_true(s->title[0] != '\0' && s->citation[0] != '\0');
    for (int i = 0; i < s->n_classes; i++) {
        const cf_class *c = &s->classes[i];
        assert_int_equal(strlen(c->code), 3);
        assert_int_equal(strlen(c->color), 7);
        assert_true(c->lineage[0] != '\0' && strcmp(c->name, c->code) != 0);
        assert_int_equal(cf_scheme_find(s, c->code), i);
        assert_int_equal(cf_scheme_find(s, c->name), i);
        for (int j = 0; j < i; j++) assert_string_not_equal(c->color, s->classes[j].color);
    }
}

static void marrow_scheme_is_the_papers(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"BLA", "PMO"}, {"PMO", "MYB"}, {"MYB", "MMZ"},
                                           {"MMZ", "NGB"}, {"NGB", "NGS"}, {"PEB", "EBO"},
                                           {"LYT", "HAC"}, {"LYT", "LYI"}};
    cf_scheme s = shipped("matek2021");
    check_shipped(&s);
    assert_int_equal(s.n_classes, 21);
    assert_int_equal(s.n_nodes, 22);
    assert_int_equal(count_pairs(&s), 8);
    for (size_t i = 0; i < 8; i++) assert_true(is_pair(&s, pairs[i][0], pairs[i][1]));
    int64_t images = 0;
    for (int i = 0; i < s.n_classes; i++) images += s.classes[i].published_count;
    assert_int_equal(images, 171374);
    const cf_class *faggot = &s.classes[cf_scheme_find(&s, "FGC")];
    assert_true(faggot->recall_strict.known);
    assert_true(faggot->recall_strict.mean == 0.63 && faggot->recall_strict.sd == 0.27);
    assert_int_equal(cf_scheme_find(&s, "Neutrophil"), cf_scheme_find(&s, "NGS"));
    assert_int_equal(cf_scheme_find(&s, "XYZ"), -2);
    cf_scheme_fini(&s);
}

/* FACTS 1: balanced accuracy is the mean recall: .689 strict and .762 tolerant, of figures with two
 * decimals (so within .005). A class without a tolerance pair has the same figures twice; one with
 * a pair gains by it. Together these are what the pairs were deduced from. */
static void marrow_pairs_agree_with_the_published_figures(void **state)
{
    (void)state;
    cf_scheme s = shipped("matek2021");
    double strict = 0, tolerant = 0;
    for (int i = 0; i < s.n_classes; i++) {
        const cf_class *c = &s.classes[i];
        int n = 0;
        for (int j = 0; j < s.n_classes; j++) n += s.tolerant[i * s.n_classes + j];
        bool gains = c->precision_tolerant.mean > c->precision_strict.mean ||
                     c->recall_tolerant.mean > c->recall_strict.mean;
        /* Lymphocytes' precision rests at .90: their kin are too few to move it, their recall
         * moves. */
        if (gains != (n > 0))
            fail_msg("%s: %d pairs, figures %s", c->code, n, gains ? "differ" : "agree");
        strict += c->recall_strict.mean / s.n_classes;
        tolerant += c->recall_tolerant.mean / s.n_classes;
    }
    assert_true(strict > 0.684 && strict < 0.694);
    assert_true(tolerant > 0.757 && tolerant < 0.767);
    cf_scheme_fini(&s);
}

static void aml_scheme_is_the_papers(void **state)
{
    (void)state;
    static const char *const atypical[] = {"EBO", "LYA", "MMZ", "MOB", "MYB", "MYO", "PMO"};
    cf_scheme s = shipped("matek2019");
    check_shipped(&s);
    assert_int_equal(s.n_classes, 15);
    assert_int_equal(s.n_nodes, 16);
    assert_int_equal(count_pairs(&s), 0);
    int64_t images = 0;
    for (int i = 0; i < s.n_classes; i++) images += s.classes[i].published_count;
    assert_int_equal(images, 18365);
    assert_int_equal(s.n_questions, 2);
    assert_string_equal(s.questions[0].name, "blast");
    assert_string_equal(s.questions[1].name, "atypical");
    int n_blast = 0, n_atypical = 0;
    for (int i = 0; i < s.n_classes; i++) {
        n_blast += s.questions[0].positive[i];
        n_atypical += s.questions[1].positive[i];
    }
    assert_int_equal(n_blast, 2);
    assert_true(s.questions[0].positive[cf_scheme_find(&s, "MYO")]);
    assert_true(s.questions[0].positive[cf_scheme_find(&s, "MOB")]);
    assert_int_equal(n_atypical, 7);
    for (size_t i = 0; i < 7; i++)
        assert_true(s.questions[1].positive[cf_scheme_find(&s, atypical[i])]);
    cf_scheme_fini(&s);
}

static void seven_class_scheme_is_a_part_of_the_marrow_scheme(void **state)
{
    (void)state;
    cf_scheme s = shipped("bm7"), all = shipped("matek2021");
    check_shipped(&s);
    assert_int_equal(s.n_classes, 7);
    assert_int_equal(s.n_nodes, 7);
    for (int i = 0; i < s.n_classes; i++) {
        int a = cf_scheme_find(&all, s.classes[i].code);
        assert_true(a >= 0);
        assert_string_equal(s.classes[i].name, all.classes[a].name);
        for (int j = 0; j < s.n_classes;
             j++) /* every pair of the large scheme that exists here, no other */
            assert_int_equal(is_pair(&s, s.classes[i].code, s.classes[j].code),
                             is_pair(&all, s.classes[i].code, s.classes[j].code));
    }
    assert_int_equal(count_pairs(&s), 1);
    assert_int_equal(cf_scheme_find(&s, "Neutrophil"), cf_scheme_find(&s, "NGS"));
    assert_int_equal(cf_scheme_find(&s, "Basophil"), -1);
    cf_scheme_fini(&s);
    cf_scheme_fini(&all);
}

static void classes_of_no_confidence_are_named(void **state)
{
    (void)state;
    cf_scheme s;
    assert_int_equal(cf_scheme_read("matek2021", &s), CF_OK);
    assert_int_equal(s.n_no_confident, 2);
    for (int i = 0; i < s.n_classes; i++)
        assert_int_equal(s.no_confident[i], strcmp(s.classes[i].code, "ART") == 0 ||
                                                strcmp(s.classes[i].code, "NIF") == 0);
    cf_scheme_fini(&s);
    assert_int_equal(cf_scheme_read("matek2019", &s), CF_OK); /* it has no such class */
    assert_int_equal(s.n_no_confident, 0);
    cf_scheme_fini(&s);
}

static void merged_nodes_add_up(void **state)
{
    (void)state;
    cf_scheme s = shipped("matek2021");
    double nodes[22], classes[21];
    int erythroblast = cf_scheme_find(&s, "EBO"), n_merged = 0;
    for (int o = 0; o < s.n_nodes; o++) nodes[o] = (double)(1 << o); /* sums of powers are exact */
    cf_scheme_merge(&s, nodes, classes);
    for (int c = 0; c < s.n_classes; c++) {
        double expected = 0;
        for (int o = 0; o < s.n_nodes; o++)
            if (s.class_of[o] == c) expected += nodes[o];
        assert_true(classes[c] == expected && expected > 0);
    }
    for (int o = 0; o < s.n_nodes; o++) {
        bool merged = strncmp(s.node_names[o], "EBO_", 4) == 0;
        assert_int_equal(s.class_of[o] == erythroblast, merged);
        if (!merged) assert_string_equal(s.node_names[o], s.classes[s.class_of[o]].code);
        n_merged += merged;
    }
    assert_int_equal(n_merged, 2);
    cf_scheme_fini(&s);
}

/* The text is stored in cells files: parsing it again gives the same scheme. */
static void stored_text_reads_back(void **state)
{
    (void)state;
    cf_scheme s = shipped("matek2019"), again;
    assert_int_equal(cf_scheme_parse("stored", s.text, strlen(s.text), &again), CF_OK);
    assert_int_equal(again.n_classes, s.n_classes);
    assert_memory_equal(again.classes, s.classes, (size_t)s.n_classes * sizeof *s.classes);
    assert_memory_equal(again.class_of, s.class_of, (size_t)s.n_nodes * sizeof *s.class_of);
    assert_string_equal(again.text, s.text);
    cf_scheme_fini(&again);
    cf_scheme_fini(&s);
}

static void codes_make_a_scheme(void **state)
{
    (void)state;
    cf_scheme s;
    static const char *const fine[] = {"NGS", "it's", "=cmd()", "<b>", "a: b #c", "no", " blank "};
    assert_int_equal(cf_scheme_from_codes(fine, 7, &s), CF_OK);
    assert_int_equal(s.n_classes, 7);
    assert_int_equal(s.n_nodes, 7);
    for (int i = 0; i < 7; i++) assert_string_equal(s.classes[i].code, fine[i]);
    assert_int_equal(count_pairs(&s), 0);
    cf_scheme again;
    assert_int_equal(cf_scheme_parse("stored", s.text, strlen(s.text), &again), CF_OK);
    assert_int_equal(again.n_classes, 7);
    cf_scheme_fini(&again);
    cf_scheme_fini(&s);
}

static void unsafe_codes_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",     ".",    "..",       "a/b",     "<b>x</b>", "../../etc/passwd",
        "/abs", "a\nb", "a\x1b[2J", "\xff\xfe"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *codes[] = {"NGS", bad[i]};
        cf_scheme s;
        if (cf_scheme_from_codes(codes, 2, &s) != CF_E_USAGE)
            fail_msg("code number %zu was not refused", i);
        assert_null(s.classes);
    }
    const char *twice[] = {"NGS", "NGS"};
    cf_scheme s;
    assert_int_equal(cf_scheme_from_codes(twice, 2, &s), CF_E_USAGE);
}

typedef struct malformed {
    const char *text;
    int line, column;
    const char *mentions;
} malformed;

#define TWO "name: x\nclasses:\n  - {code: A}\n  - {code: B, name: Bee}\n" /* four lines */

static const malformed cases[] = {
    {"classes:\n  - {code: A}\n", 1, 1, "without a name"},
    {"name: x\n", 1, 1, "without classes"},
    {"name: ../x\nclasses: [{code: A}]\n", 1, 7, "a folder"},
    {"name: x\nclasses: []\n", 2, 10, "0 classes"},
    {"name: x\nclasses: A\n", 2, 10, "a list"},
    {"name: x\nclasses: [A]\n", 2, 11, "a map"},
    {"name: x\nclasses:\n  - {name: A}\n", 3, 5, "without a code"},
    {"name: x\nclasses:\n  - {code: a/b}\n", 3, 12, "a folder"},
    {"name: x\nclasses:\n  - {code: ..}\n", 3, 12, "a folder"},
    {"name: x\nclasses:\n  - {code: A}\n  - {code: A}\n", 4, 5, "another"},
    {"name: x\nclasses:\n  - {code: A}\n  - {code: B, name: A}\n", 4, 5, "another"},
    {"name: x\nclasses:\n  - {code: A, colour: \"#000000\"}\n", 3, 15, "did you mean \"color\""},
    {"name: x\nclasses:\n  - {code: A, color: red}\n", 3, 22, "#rrggbb"},
    {"name: x\nclasses:\n  - code: A\n    color: #ff0000\n", 4, 11, "in quotes"},
    {"name: x\nclasses:\n  - {code: A, published: {images: -1}}\n", 3, 35, "-1"},
    {"name: x\nclasses:\n  - {code: A, published: {recall_strict: 0.5}}\n", 3, 42, "a list"},
    {"name: x\nclasses:\n  - {code: A, published: {recall_strict: [0.5]}}\n", 3, 42, "expected 2"},
    {"name: x\nclasses:\n  - {code: A, published: {recall_strict: [50, 3]}}\n", 3, 43, "\"50\""},
    {"name: x\nclasses:\n  - {code: A, published: {recal: [1, 0]}}\n", 3, 27, "recal"},
    {TWO "tolerence: []\n", 5, 1, "did you mean \"tolerance\""},
    {TWO "tolerance: [A, B]\n", 5, 13, "a list"},
    {TWO "tolerance: [[A, B, A]]\n", 5, 13, "3 classes"},
    {TWO "tolerance: [[A, C]]\n", 5, 17, "\"C\""},
    {TWO "tolerance: [[A, Bee]]\n", 5, 17, "\"Bee\""},
    {TWO "tolerance: [[A, A]]\n", 5, 13, "itself"},
    {TWO "tolerance: [[A, B], [B, A]]\n", 5, 21, "twice"},
    {TWO "questions: {q: []}\n", 5, 16, "0 of 2"},
    {TWO "questions: {q: [A, B]}\n", 5, 16, "2 of 2"},
    {TWO "questions: {q: [A, A]}\n", 5, 20, "twice"},
    {TWO "questions: {q: [C]}\n", 5, 17, "\"C\""},
    {TWO "no_confident: [C]\n", 5, 16, "\"C\""},
    {TWO "no_confident: [A, A]\n", 5, 19, "twice"},
    {TWO "no_confident: [A, B]\n", 5, 15, "all classes"},
    {TWO "merged_nodes: {C: [c1, c2]}\n", 5, 16, "\"C\""},
    {TWO "merged_nodes: {A: [a1]}\n", 5, 19, "fewer than two"},
    {TWO "merged_nodes: {A: [a1, a1]}\n", 5, 24, "twice"},
    {TWO "merged_nodes: {A: [a1, B]}\n", 5, 24, "another class"},
    {TWO "merged_nodes: {A: a1}\n", 5, 19, "a list"},
    {TWO "aliases: {Other: C}\n", 5, 18, "\"C\""},
    {TWO "aliases: {A: B}\n", 5, 11, "already"},
    {TWO "aliases: {Bee: A}\n", 5, 11, "already"},
    {TWO "aliases: {c: A}\ndropped: [c]\n", 6, 11, "already"},
    {TWO "aliases: &a {c: A}\n", 5, 10, "anchor"},
    {TWO "title: [x]\n", 5, 8, "a list"},
};

static void malformed_schemes_are_refused_by_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char prefix[64];
        cf_scheme s;
        const malformed *m = &cases[i];
        snprintf(prefix, sizeof prefix, "s.yaml:%d:%d: ", m->line, m->column);
        cf_err err = cf_scheme_parse("s.yaml", m->text, strlen(m->text), &s);
        if (err != CF_E_USAGE || strncmp(cf_err_text(), prefix, strlen(prefix)) != 0 ||
            !strstr(cf_err_text(), m->mentions))
            fail_msg("code %d \"%s\"; expected \"%s...%s\" of\n%s", err, cf_err_text(), prefix,
                     m->mentions, m->text);
        assert_null(s.classes);
    }
}

static void unknown_scheme_names_those_there_are(void **state)
{
    (void)state;
    cf_scheme s;
    assert_int_equal(cf_scheme_read("nosuch", &s), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "\"nosuch\""));
    assert_non_null(strstr(cf_err_text(), " bm7"));
    assert_int_equal(cf_scheme_read("", &s), CF_E_USAGE);
    assert_int_equal(cf_scheme_read("/nonexistent/x.yaml", &s), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "/nonexistent/x.yaml"));
}

static void own_share_folder_comes_first(void **state)
{
    (void)state;
    char folder[] = "/tmp/cf-scheme-XXXXXX", path[512];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/configs/schemes", folder);
    assert_int_equal(cf_dir_make(path), CF_OK);
    snprintf(path, sizeof path, "%s/configs/schemes/bm7.yaml", folder);
    assert_int_equal(cf_file_save(path, TWO, strlen(TWO)), CF_OK);
    setenv("CYTOFOLD_SHARE", folder, 1);
    cf_scheme s = shipped("bm7");
    assert_int_equal(s.n_classes, 2);
    cf_scheme_fini(&s);
    s = shipped("matek2021"); /* not there: found in its usual place */
    assert_int_equal(s.n_classes, 21);
    cf_scheme_fini(&s);
    unsetenv("CYTOFOLD_SHARE");
    remove(path);
    for (int i = 0; i < 3; i++) { /* the two folders, then the one above them */
        *strrchr(path, '/') = '\0';
        remove(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marrow_scheme_is_the_papers),
        cmocka_unit_test(marrow_pairs_agree_with_the_published_figures),
        cmocka_unit_test(aml_scheme_is_the_papers),
        cmocka_unit_test(seven_class_scheme_is_a_part_of_the_marrow_scheme),
        cmocka_unit_test(classes_of_no_confidence_are_named),
        cmocka_unit_test(merged_nodes_add_up),
        cmocka_unit_test(stored_text_reads_back),
        cmocka_unit_test(codes_make_a_scheme),
        cmocka_unit_test(unsafe_codes_are_refused),
        cmocka_unit_test(malformed_schemes_are_refused_by_line),
        cmocka_unit_test(unknown_scheme_names_those_there_are),
        cmocka_unit_test(own_share_folder_comes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
