/* report.html and its plots: hostile names, no network, pictures, the same bytes again. */
#include "coordinator/report.h"
#include "tests/support/font_leaks.h"
#include "tests/support/markup.h"
#include "tests/support/run_folders.h"

static const char HOSTILE[] = "name: h\n"
                              "title: \"</title><script>alert(1)</script>\"\n"
                              "classes:\n"
                              "  - {code: A, name: \"<script>alert(1)</script>\"}\n"
                              "  - {code: B, name: \"=cmd()|' /C calc'!A0\"}\n"
                              "  - {code: C, name: \"a \\\"quoted\\\" & <b>bold</b> name\"}\n"
                              "tolerance:\n"
                              "  - [A, B]\n"
                              "questions:\n"
                              "  \"<img src=x onerror=alert(1)>\": [A]\n";

/* *text: a file of the run folder; owned by the caller. */
static void read_back(const char *run, const char *name, char **text)
{
    char path[CF_PATH_MAX];
    size_t n = 0;
    in_folder(path, run, name);
    assert_int_equal(cf_file_read(path, 1 << 24, text, &n), CF_OK);
}

static void write_page(const cf_scheme *s, const char *run, const cf_report_source *source)
{
    char path[CF_PATH_MAX];
    cf_buf table = {0};
    in_folder(path, run, "");
    cf_err err = cf_report_run(path, s, source, 100, &table);
    if (err != CF_OK) print_message("%s\n", cf_err_text());
    assert_int_equal(err, CF_OK);
    cf_buf_fini(&table);
}

static void assert_sound(const char *page)
{
    markup m;
    const char *fault = markup_check(&m, page);
    if (fault[0]) print_message("%s\n", fault);
    assert_string_equal(fault, "");
}

/* Ids, sites and names of a hostile run, and what the other files of its folder say. */
static void make_hostile(const cf_scheme *s, const char *run)
{
    static const char embed[] = "id,fold,label,predicted,x,y\n"
                                "</script><script>alert(1)</script>,0,A,A,0,1\n"
                                "\"a\"\"b\",0,,B,1.5,-2e3\n";
    static const char log[] = "{\"event\": \"epoch\", \"seconds\": 1, \"fold\": 0, \"epoch\": 1, "
                              "\"step\": 1, \"loss\": 2.5, \"accuracy\": 0.5}\n"
                              "{\"event\": \"epoch\", \"seconds\": 2, \"fold\": 0, \"epoch\": 2, "
                              "\"step\": 2, \"loss\": 1.5, \"accuracy\": 0.7}\n"
                              "{\"event\": \"epoch\", \"seconds\": 3, \"fold\": 2, \"epoch\": 1, "
                              "\"step\": 1, \"loss\": 1e400}\n"
                              "{\"event\": \"epoch\", \"fold\": 1, \"epoch\": 1, \"lo";
    static const char yaml[] =
        "# cytofold <1>\n# configuration: &\ndata:\n"
        "  cells: \"/home/<me>/x.cells\"\n  scheme: "
        "\"/home/<me>/s.yaml\"\nmodel:\n  init: \"/home/<me>/w.safetensors\"\n"
        "train:\n  epochs: 2\n"
        "run:\n  threads: 77\n";
    char path[CF_PATH_MAX];
    cf_predictions p;
    in_folder(path, run, "fold-0");
    assert_int_equal(cf_dir_make(path), CF_OK);
    assert_int_equal(cf_predictions_init(&p, 6, s->n_classes), CF_OK);
    for (int i = 0; i < 6; i++) {
        set_row(&p, i, 0, i % 3, i == 4 ? 2 : i % 3);
        free(p.ids[i]);
        assert_int_equal(cf_strdup(i == 4   ? "<script>alert(1)</script>"
                                   : i == 5 ? "'\"&"
                                            : &"xyz"[i % 3],
                                   &p.ids[i]),
                         CF_OK);
        assert_int_equal(cf_strdup(i % 2 ? "\"><script>" : "=1+1", &p.sites[i]), CF_OK);
    }
    free(p.ids[3]);
    assert_int_equal(cf_strdup("plain", &p.ids[3]), CF_OK);
    in_folder(path, run, "fold-0/predictions.csv");
    assert_int_equal(cf_predictions_write(path, s, &p), CF_OK);
    cf_predictions_fini(&p);
    in_folder(path, run, "embed.csv");
    assert_int_equal(cf_file_save(path, embed, strlen(embed)), CF_OK);
    in_folder(path, run, "log.jsonl");
    assert_int_equal(cf_file_save(path, log, strlen(log)), CF_OK);
    in_folder(path, run, "run.yaml");
    assert_int_equal(cf_file_save(path, yaml, strlen(yaml)), CF_OK);
}

/* Two script elements of its own: the map's data and the program. */
static void page_is_sound_whatever_the_names(void **state)
{
    (void)state;
    cf_scheme s;
    parse_scheme(HOSTILE, &s);
    make_hostile(&s, "hostile");
    write_page(&s, "hostile", NULL);
    char *page = NULL;
    read_back("hostile", "report.html", &page);
    assert_sound(page);
    int scripts = 0;
    for (const char *at = page; (at = strstr(at, "<script")) != NULL; at++) scripts++;
    assert_int_equal(scripts, 2);
    assert_contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;");
    assert_contains(page, "\"\\u003c/script\\u003e\\u003cscript\\u003ealert(1)");
    assert_lacks(page, "<img src=x");
    assert_lacks(page, "<b>bold");
    assert_lacks(page, "/home/"); /* this machine's folders are no part of a result */
    assert_lacks(page, "threads: 77");
    assert_contains(page, "x.cells");
    free(page);
    cf_scheme_fini(&s);
}

static void page_forbids_the_network_and_asks_for_nothing(void **state)
{
    (void)state;
    cf_scheme s;
    parse_scheme(HOSTILE, &s);
    make_hostile(&s, "alone");
    write_page(&s, "alone", NULL);
    char *page = NULL;
    read_back("alone", "report.html", &page);
    assert_contains(page, "default-src &#39;none&#39;");
    assert_contains(page, "script-src &#39;sha256-");
    static const char *const calls[] = {"src=\"http", "href=\"http", "src=\"//",      "url(",
                                        "@import",    "fetch(",      "XMLHttpRequest"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) assert_lacks(page, calls[i]);
    assert_contains(page, "No pictures: ");
    free(page);
    cf_scheme_fini(&s);
}

static cf_err begin_none(void *context, const char *run_dir, const char **absent)
{
    (void)context, (void)run_dir;
    *absent = NULL;
    return CF_OK;
}

/* Image "plain" is damaged, "xyz" unknown; all others have three bytes. */
static cf_err fake_picture(void *context, const char *id, int side, cf_buf *jpeg)
{
    int *n = context;
    assert_in_range(side, 16, 256);
    if (strcmp(id, "plain") == 0) return cf_fail(CF_E_DATA, "plain is damaged");
    if (strcmp(id, "xyz") == 0) return CF_OK;
    (*n)++;
    cf_buf_add(jpeg, "foo", 3);
    return CF_OK;
}

static void errors_are_shown_with_their_pictures(void **state)
{
    (void)state;
    int n = 0;
    const cf_report_source source = {&n, begin_none, fake_picture};
    cf_scheme s;
    parse_scheme(HOSTILE, &s);
    make_hostile(&s, "pictures");
    write_page(&s, "pictures", &source);
    char *page = NULL;
    read_back("pictures", "report.html", &page);
    assert_sound(page);
    assert_int_equal(n, 1 + 2); /* one error, two points of the map */
    assert_contains(page, "src=\"data:image/jpeg;base64,Zm9v\"");
    assert_contains(page, "alt=\"&lt;script&gt;alert(1)&lt;/script&gt;, labelled B, predicted C\"");
    assert_lacks(page, "No pictures: ");
    free(page);
    cf_scheme_fini(&s);
}

static void page_and_plots_have_the_same_bytes_again(void **state)
{
    (void)state;
    static const char *const files[] = {"report.html", "plots/confusion.svg", "plots/roc.svg",
                                        "plots/learning-loss.svg", "plots/reliability.svg"};
    cf_scheme s;
    parse_scheme(HOSTILE, &s);
    make_hostile(&s, "again");
    write_page(&s, "again", NULL);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *first = NULL;
        read_back("again", files[i], &first);
        write_page(&s, "again", NULL);
        char *second = NULL;
        read_back("again", files[i], &second);
        assert_string_equal(first, second);
        free(first);
        free(second);
    }
    cf_scheme_fini(&s);
}

/* Of the log's cut line, and of a fold without a whole line, there is no curve. */
static void learning_curves_come_from_whole_lines(void **state)
{
    (void)state;
    cf_scheme s;
    parse_scheme(HOSTILE, &s);
    make_hostile(&s, "curves");
    write_page(&s, "curves", NULL);
    char *svg = NULL;
    read_back("curves", "plots/learning-loss.svg", &svg);
    assert_contains(svg, "<title>fold 0</title>");
    assert_lacks(svg, "fold 1");
    assert_contains(svg, ">2.5<"); /* where the axis ends: 1e400 is no point of it */
    free(svg);
    cf_scheme_fini(&s);
}

static void damaged_map_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *row, *says;
    } bad[] = {{"b,0,A,A,nan,1\n", "embed.csv:3:5: \"nan\" is not a number"},
               {"b,0,A,A,0,1e400\n", "embed.csv:3:6: \"1e400\" is not a number"},
               {"b,0,A,A,-1e308,1\n", "embed.csv:3:5: \"-1e308\" is no place"}};
    char path[CF_PATH_MAX];
    cf_scheme s;
    cf_buf table = {0};
    parse_scheme(HOSTILE, &s);
    make_hostile(&s, "map");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cf_buf embed = {0};
        cf_buf_printf(&embed, "id,fold,label,predicted,x,y\na,0,A,A,-1e9,1\n%s", bad[i].row);
        in_folder(path, "map", "embed.csv");
        assert_int_equal(cf_file_save(path, cf_buf_text(&embed), embed.len), CF_OK);
        in_folder(path, "map", "");
        assert_int_equal(cf_report_run(path, &s, NULL, 0, &table), CF_E_DATA);
        assert_contains(cf_err_text(), bad[i].says);
        cf_buf_fini(&embed);
    }
    cf_buf_fini(&table);
    cf_scheme_fini(&s);
}

/* embed.json tells only whether the map is of earlier weights. */
static void a_page_does_without_what_a_map_is_of(void **state)
{
    (void)state;
    char path[CF_PATH_MAX], *page = NULL;
    cf_scheme s;
    parse_scheme(HOSTILE, &s);
    make_hostile(&s, "cut");
    in_folder(path, "cut", "embed.json");
    assert_int_equal(cf_file_save(path, "{", 1), CF_OK);
    write_page(&s, "cut", NULL);
    read_back("cut", "report.html", &page);
    assert_contains(page, "map-canvas");
    assert_lacks(page, "earlier weights");
    free(page);
    cf_scheme_fini(&s);
}

/* Kappa of labels AABB and predictions ABAA: (1/4 - 1/2) / (1/2). */
static void a_negative_figure_is_written_as_in_the_tables(void **state)
{
    (void)state;
    static const int predicted[] = {0, 1, 0, 0};
    char path[CF_PATH_MAX], *page = NULL;
    cf_scheme s;
    cf_predictions p;
    parse_scheme(HOSTILE, &s);
    in_folder(path, "kappa", "fold-0");
    assert_int_equal(cf_dir_make(path), CF_OK);
    assert_int_equal(cf_predictions_init(&p, 4, s.n_classes), CF_OK);
    for (int i = 0; i < 4; i++) {
        set_row(&p, i, 0, i / 2, predicted[i]);
        assert_int_equal(cf_strdup("", &p.sites[i]), CF_OK);
    }
    in_folder(path, "kappa", "fold-0/predictions.csv");
    assert_int_equal(cf_predictions_write(path, &s, &p), CF_OK);
    write_page(&s, "kappa", NULL);
    read_back("kappa", "report.html", &page);
    assert_contains(page, ">-.500<");
    assert_lacks(page, "-0.500");
    free(page);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
}

/* The paper's figures beside ours, in columns of their own. */
static void page_has_the_published_figures(void **state)
{
    (void)state;
    cf_scheme s;
    assert_int_equal(cf_scheme_read(CYTOFOLD_SOURCE "/configs/schemes/matek2021.yaml", &s), CF_OK);
    make_fold(&s, "published", 0, 0);
    write_page(&s, "published", NULL);
    char *page = NULL;
    read_back("published", "report.html", &page);
    assert_sound(page);
    assert_contains(page, "<span class=\"publ\">.02 ± .03</span>");
    assert_contains(page, "Published: Matek et al. 2021");
    free(page);
    cf_scheme_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_sound_whatever_the_names),
        cmocka_unit_test(page_forbids_the_network_and_asks_for_nothing),
        cmocka_unit_test(errors_are_shown_with_their_pictures),
        cmocka_unit_test(page_and_plots_have_the_same_bytes_again),
        cmocka_unit_test(learning_curves_come_from_whole_lines),
        cmocka_unit_test(damaged_map_is_refused_with_its_place),
        cmocka_unit_test(a_page_does_without_what_a_map_is_of),
        cmocka_unit_test(a_negative_figure_is_written_as_in_the_tables),
        cmocka_unit_test(page_has_the_published_figures),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
