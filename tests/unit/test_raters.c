/* Files of raters that are refused, and agreements that can be worked out by hand. Random ones
 * stand beside other programs' in tests/parity/raters_reference.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "coordinator/raters.h"
#include "kernels/base/mem.h"

static char path[] = "/tmp/cytofold-test-raters-XXXXXX";
static cf_scheme scheme;

static int set_up(void **state)
{
    (void)state;
    static const char text[] = "name: tiny\nclasses:\n  - {code: A, name: Alpha}\n  - {code: B}\n"
                               "  - {code: C}\naliases: {Beta: B}\ndropped: [Delta]\n";
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0) return 1;
    return cf_scheme_parse("tiny", text, sizeof text - 1, &scheme) != CF_OK;
}

static int tear_down(void **state)
{
    (void)state;
    cf_scheme_fini(&scheme);
    return unlink(path);
}

static cf_err read_text(const char *text, cf_raters *r)
{
    assert_int_equal(cf_file_save(path, text, strlen(text)), CF_OK);
    return cf_raters_read(path, &scheme, r);
}

static cf_raters must_read(const char *text)
{
    cf_raters r;
    if (read_text(text, &r) != CF_OK) fail_msg("%s", cf_err_text());
    return r;
}

#define HEAD "id,rater,label,round\n"

static const struct {
    const char *text, *message; /* behind the path */
} bad[] = {
    {"", ":1:1: no header row"},
    {HEAD, ":1:1: a header without rows"},
    {"rater,label\nR,A\n", ":1:2: no column \"id\""},
    {"id,label\nx,A\n", ":1:2: no column \"rater\""},
    {"id,rater\nx,R\n", ":1:2: no column \"label\""},
    {"id,rater,label,id\nx,R,A,x\n", ":1:4: column \"id\" stands twice"},
    {"id;rater;label\nx;R;A\n",
     ":1:1: no column \"id\"; the file seems to be separated by semicolons, expected commas"},
    {HEAD "x,J\xf6rgen,A,1\n", ":2:2: rater is not UTF-8 at its byte 2; save the file as UTF-8"},
    {HEAD "x\xfc,R,A,1\n", ":2:1: id is not UTF-8 at its byte 2; save the file as UTF-8"},
    {HEAD ",R,A,1\n", ":2:1: an empty id"},
    {HEAD "x,,A,1\n", ":2:2: an empty rater"},
    {HEAD "x,R,,1\n", ":2:3: an empty label; leave the row out where none was given"},
    {HEAD "x,R,D,1\n", ":2:3: label \"D\" is no class of scheme tiny"},
    {HEAD "x,R,Delta,1\n", ":2:3: label \"Delta\" is left out by scheme tiny"},
    {HEAD "x,R,A,0\n", ":2:4: round is \"0\"; expected a whole number from 1 to 1000"},
    {HEAD "x,R,A,1001\n", ":2:4: round is \"1001\"; expected a whole number from 1 to 1000"},
    {HEAD "x,R,A,1.0\n", ":2:4: round is \"1.0\"; expected a whole number from 1 to 1000"},
    {HEAD "x,R,A,first\n", ":2:4: round is \"first\"; expected a whole number from 1 to 1000"},
    {HEAD "x,R,A,1\ny,R,A,1\nx,R,B,2\nx,R,B,\n",
     ":5:1: rater \"R\" labels image \"x\" a second time in round 1, before in line 2"},
    {"id,rater,label\nx,R,A\nx,S,A\nx,R,A\n",
     ":4:1: rater \"R\" labels image \"x\" a second time in round 1, before in line 2; a column "
     "round tells repeats apart"},
    {HEAD "x,R,A\n", ":2:3: a row of 3 cells; expected 4 as in the header"},
};

static void bad_files_are_refused_with_line_and_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cf_raters r;
        cf_err err = read_text(bad[i].text, &r);
        if (err != CF_E_DATA) fail_msg("code %d; expected a refusal of\n%s", err, bad[i].text);
        assert_memory_equal(cf_err_text(), path, strlen(path));
        assert_string_equal(cf_err_text() + strlen(path), bad[i].message);
        assert_null(r.items);
    }
}

static void too_many_raters_are_refused(void **state)
{
    (void)state;
    cf_buf text = {0};
    cf_raters r;
    cf_buf_printf(&text, "id,rater,label\n");
    for (int i = 0; i <= CF_MAX_RATERS; i++) cf_buf_printf(&text, "x,R%d,A\n", i);
    assert_int_equal(read_text(cf_buf_text(&text), &r), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), ":66:2: more than 64 raters"));
    cf_buf_fini(&text);
}

/* Columns in any order, others passed over, names and aliases for codes; sorted by image, rater,
 * round. */
static void labels_are_sorted_by_image_rater_and_round(void **state)
{
    (void)state;
    static const cf_rating want[] = {{0, 0, 1, 1}, {0, 1, 1, 2}, {0, 1, 3, 0}, {1, 0, 2, 0}};
    cf_raters r = must_read("note,label,round,rater,id\n,B,1,R,x\nwell,Alpha,3,S,x\n,C,,S,x\n"
                            ",A,2,R,\"y, z\"\n");
    assert_int_equal(r.n, 4);
    assert_memory_equal(r.items, want, sizeof want);
    assert_int_equal(r.names.n, 2);
    assert_string_equal(r.names.items[1], "S");
    assert_string_equal(r.ids.items[1], "y, z");
    cf_raters_fini(&r);
}

/* Images i0, i1, ...; letters are labels and predictions, '.' is none. */
static void make_predictions(const char *labels, const char *predicted, cf_predictions *p)
{
    int64_t n = (int64_t)strlen(labels);
    assert_int_equal(cf_predictions_init(p, n, 3), CF_OK);
    for (int64_t i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof id, "i%lld", (long long)i);
        assert_int_equal(cf_strdup(id, &p->ids[i]), CF_OK);
        p->labels[i] = labels[i] == '.' ? CF_LABEL_UNKNOWN : labels[i] - 'A';
        p->predicted[i] = predicted[i] - 'A';
    }
}

static cf_raters make_raters(int n, const char *const *labels)
{
    cf_buf text = {0};
    cf_buf_printf(&text, "id,rater,label\n");
    for (int r = 0; r < n; r++)
        for (int i = 0; labels[r][i]; i++)
            if (labels[r][i] != '.') cf_buf_printf(&text, "i%d,R%d,%c\n", i, r, labels[r][i]);
    cf_raters raters = must_read(cf_buf_text(&text));
    cf_buf_fini(&text);
    return raters;
}

static const cf_rater_pair *find(const cf_rater_study *s, int rows, int columns)
{
    for (int i = 0; i < s->n_pairs; i++)
        if (s->pairs[i].rows == rows && s->pairs[i].columns == columns) return &s->pairs[i];
    fail_msg("no comparison of %d with %d", rows, columns);
    return NULL;
}

/* Two raters, ten images: 7 equal. By chance: A .5*.6, B .5*.4: .5. kappa = (.7 - .5) / .5. */
static void agreement_beyond_chance_of_a_worked_example(void **state)
{
    (void)state;
    const char *const labels[] = {"AAAAABBBBB", "AAAABBBBAA"};
    cf_predictions p;
    cf_rater_study s;
    cf_raters r = make_raters(2, labels);
    make_predictions("AAAAAAAAAA", "AAAAABBBBB", &p);
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 0, 1, &s), CF_OK);
    const cf_rater_pair *pair = find(&s, 0, 1);
    assert_int_equal(pair->n, 10);
    assert_true(fabs(pair->agreement.value - 0.7) < 1e-15 && isnan(pair->agreement.low));
    assert_true(fabs(pair->kappa.value - 0.4) < 1e-15);
    assert_int_equal(pair->counts[0 * 3 + 1], 1);
    assert_int_equal(pair->counts[1 * 3 + 0], 2);
    const cf_rater_pair *network = find(&s, 0, CF_WHO_NETWORK);
    assert_true(network->agreement.value == 1 && network->kappa.value == 1);
    /* labels that are all one class leave nothing to agree on: kappa is 0 or not defined */
    assert_true(find(&s, CF_WHO_TRUTH, 0)->kappa.value == 0);
    assert_true(find(&s, CF_WHO_TRUTH, CF_WHO_NETWORK)->agreement.value == 0.5);
    /* alpha: 20 labels, 11 A and 9 B; 3 images differ: 1 - 19 * 6 / (2 * 99) */
    assert_true(fabs(s.alpha.value - (1 - 19.0 * 6 / 198)) < 1e-15);
    assert_int_equal(s.n_alpha, 10);
    cf_rater_study_fini(&s);
    cf_predictions_fini(&p);
    cf_raters_fini(&r);
}

static void repeats_are_compared_with_the_first_round(void **state)
{
    (void)state;
    cf_predictions p;
    cf_rater_study s;
    cf_raters r = must_read(HEAD "i0,R,A,2\ni0,R,B,1\ni0,R,B,7\ni1,R,C,3\ni1,R,C,2\n");
    make_predictions("AA", "BC", &p);
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 0, 1, &s), CF_OK);
    const cf_rater_pair *self = find(&s, 0, 0);
    assert_int_equal(self->n, 3); /* B-A, B-B, C-C */
    assert_int_equal(self->counts[1 * 3 + 0], 1);
    assert_int_equal(self->counts[1 * 3 + 1], 1);
    assert_int_equal(self->counts[2 * 3 + 2], 1);
    assert_true(find(&s, 0, CF_WHO_NETWORK)->agreement.value == 1); /* first rounds: B and C */
    assert_true(isnan(s.alpha.value) && s.n_alpha == 0);            /* one rater alone */
    cf_rater_study_fini(&s);
    cf_predictions_fini(&p);
    cf_raters_fini(&r);
}

/* The same from the same seed; another from another; ends around the figure; wider by patient,
 * where each patient's images are all right or all wrong (8 units instead of 40). */
static void intervals_are_drawn_from_the_seed_and_by_patient(void **state)
{
    (void)state;
    char labels[41] = "", guesses[41] = "";
    const char *const raters[] = {labels};
    for (int i = 0; i < 40; i++) {
        labels[i] = (char)('A' + i % 3);
        guesses[i] = (char)('A' + (i % 3 + (i / 5) % 2) % 3);
    }
    cf_predictions p;
    cf_rater_study a, b, c, d;
    cf_raters r = make_raters(1, raters);
    make_predictions(labels, guesses, &p);
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 1000, 1, &a), CF_OK);
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 1000, 1, &b), CF_OK);
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 1000, 2, &c), CF_OK);
    assert_int_equal(cf_new(&p.patients, (size_t)p.n, sizeof *p.patients), CF_OK);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i / 5);
        assert_int_equal(cf_strdup(name, &p.patients[i]), CF_OK);
    }
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 1000, 1, &d), CF_OK);
    cf_rated_figure x = find(&a, 0, CF_WHO_NETWORK)->kappa, y = find(&b, 0, CF_WHO_NETWORK)->kappa;
    cf_rated_figure z = find(&c, 0, CF_WHO_NETWORK)->kappa, w = find(&d, 0, CF_WHO_NETWORK)->kappa;
    assert_memory_equal(&x, &y, sizeof x);
    assert_true(x.value == z.value && (x.low != z.low || x.high != z.high));
    assert_true(x.low < x.value && x.value < x.high);
    assert_true(x.value == w.value && w.high - w.low > 1.5 * (x.high - x.low));
    assert_int_equal(d.n_patients, 8);
    cf_rater_study *const all[] = {&a, &b, &c, &d};
    for (int i = 0; i < 4; i++) cf_rater_study_fini(all[i]);
    cf_predictions_fini(&p);
    cf_raters_fini(&r);
}

/* More values than are held at once: the resamples are drawn again for the figures that are left,
 * and are the same as those of a study of one rater. */
static void many_resamples_of_many_figures_are_the_same_ones(void **state)
{
    (void)state;
    static const char *const labels[] = {"ABCA", "ABBA", "CBCA"};
    enum { RESAMPLES = 400000 };
    cf_predictions p;
    cf_rater_study few, many;
    cf_raters one = make_raters(1, labels), three = make_raters(3, labels);
    make_predictions("ABCA", "ABAA", &p);
    assert_int_equal(cf_raters_compare(&scheme, &p, &one, RESAMPLES, 1, &few), CF_OK);
    assert_int_equal(cf_raters_compare(&scheme, &p, &three, RESAMPLES, 1, &many), CF_OK);
    for (int who = CF_WHO_NETWORK; who <= 0; who++) {
        const cf_rater_pair *a = find(&few, CF_WHO_TRUTH, who);
        const cf_rater_pair *b = find(&many, CF_WHO_TRUTH, who);
        assert_memory_equal(&a->agreement, &b->agreement, sizeof a->agreement);
        assert_memory_equal(&a->kappa, &b->kappa, sizeof a->kappa);
    }
    assert_true(many.alpha.low < many.alpha.value && many.alpha.value < many.alpha.high);
    cf_rater_study_fini(&many);
    cf_rater_study_fini(&few);
    cf_predictions_fini(&p);
    cf_raters_fini(&three);
    cf_raters_fini(&one);
}

static void a_table_of_too_many_classes_is_named(void **state)
{
    (void)state;
    enum { CLASSES = 41 };
    cf_buf yaml = {0}, csv = {0}, text = {0};
    cf_scheme wide;
    cf_predictions p;
    cf_rater_study s;
    cf_raters r;
    cf_buf_printf(&yaml, "name: wide\nclasses:\n");
    cf_buf_printf(&csv, "id,rater,label\n");
    assert_int_equal(cf_predictions_init(&p, CLASSES, CLASSES), CF_OK);
    for (int i = 0; i < CLASSES; i++) {
        char id[16];
        cf_buf_printf(&yaml, "  - {code: C%d}\n", i);
        cf_buf_printf(&csv, "i%d,R,C%d\n", i, i);
        snprintf(id, sizeof id, "i%d", i);
        assert_int_equal(cf_strdup(id, &p.ids[i]), CF_OK);
        p.labels[i] = p.predicted[i] = i;
    }
    assert_int_equal(cf_scheme_parse("wide", cf_buf_text(&yaml), yaml.len, &wide), CF_OK);
    assert_int_equal(cf_file_save(path, cf_buf_text(&csv), csv.len), CF_OK);
    assert_int_equal(cf_raters_read(path, &wide, &r), CF_OK);
    assert_int_equal(cf_raters_compare(&wide, &p, &r, 0, 1, &s), CF_OK);
    assert_int_equal(cf_rater_study_markdown(&s, &text), CF_OK);
    assert_non_null(strstr(cf_buf_text(&text), "Rows R, columns network: 41 classes are too many"));
    cf_rater_study_fini(&s);
    cf_raters_fini(&r);
    cf_predictions_fini(&p);
    cf_scheme_fini(&wide);
    cf_buf_fini(&text);
    cf_buf_fini(&csv);
    cf_buf_fini(&yaml);
}

static void foreign_images_and_images_in_two_folds_are_refused(void **state)
{
    (void)state;
    cf_predictions p;
    cf_rater_study s;
    cf_raters r = must_read("id,rater,label\nother,R,A\n");
    make_predictions("AB", "AB", &p);
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 0, 1, &s), CF_E_DATA);
    assert_string_equal(cf_err_text(),
                        "none of the 1 rated images is in the predictions; the first is other");
    cf_rater_study_fini(&s);
    p.ids[1][1] = '0';
    p.folds[1] = 3;
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 0, 1, &s), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "image i0 is predicted in several folds"));
    cf_rater_study_fini(&s);
    cf_predictions_fini(&p);
    cf_raters_fini(&r);
}

static void tables_name_everybody_and_escape_them(void **state)
{
    (void)state;
    cf_predictions p;
    cf_rater_study s;
    cf_buf text = {0}, json = {0};
    cf_raters r = must_read("id,rater,label\ni0,<b>|x,A\ni1,<b>|x,B\ni0,S,A\ni1,S,A\n");
    make_predictions(".B", "AB", &p);
    assert_int_equal(cf_raters_compare(&scheme, &p, &r, 8, 1, &s), CF_OK);
    assert_int_equal(cf_rater_study_markdown(&s, &text), CF_OK);
    assert_int_equal(cf_rater_study_json(&s, &json), CF_OK);
    assert_non_null(strstr(text.data,
                           "2 images labelled by 2 raters, 4 labels; intervals: 95 %, of 8 "
                           "resamples of the images."));
    assert_non_null(strstr(text.data, "| &lt;b&gt;\\|x | S "));
    assert_null(strstr(text.data, "<b>"));
    assert_non_null(strstr(text.data, "Rows S, columns network:"));
    assert_non_null(strstr(json.data, "\"rater\": \"<b>|x\""));
    assert_non_null(strstr(json.data, "\"pairs\": 2,"));
    assert_non_null(strstr(json.data, "\"krippendorff_alpha\""));
    cf_buf_fini(&json);
    cf_buf_fini(&text);
    cf_rater_study_fini(&s);
    cf_predictions_fini(&p);
    cf_raters_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused_with_line_and_column),
        cmocka_unit_test(too_many_raters_are_refused),
        cmocka_unit_test(labels_are_sorted_by_image_rater_and_round),
        cmocka_unit_test(agreement_beyond_chance_of_a_worked_example),
        cmocka_unit_test(repeats_are_compared_with_the_first_round),
        cmocka_unit_test(intervals_are_drawn_from_the_seed_and_by_patient),
        cmocka_unit_test(many_resamples_of_many_figures_are_the_same_ones),
        cmocka_unit_test(a_table_of_too_many_classes_is_named),
        cmocka_unit_test(foreign_images_and_images_in_two_folds_are_refused),
        cmocka_unit_test(tables_name_everybody_and_escape_them),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
