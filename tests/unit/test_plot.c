/* Plots: colours that can be told apart, hostile text, the same bytes again, what stands where. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/html.h"
#include "coordinator/plot.h"
#include "kernels/base/file.h"
#include "tests/support/font_leaks.h"
#include "tests/support/markup.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"

static char folder[CF_PATH_MAX];

static void encode(const cf_canvas *c, cf_canvas_form form, cf_buf *out)
{
    assert_int_equal(cf_canvas_encode(c, form, out), CF_OK);
}

static void assert_sound(const cf_buf *svg)
{
    markup m;
    const char *fault = markup_check(&m, cf_buf_text(svg));
    if (fault[0]) print_message("%s\n", fault);
    assert_string_equal(fault, "");
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part)) n++;
    return n;
}

/* ---- colours: WCAG 2.1's contrast, computed here on its own ---- */

static double channel(uint32_t value)
{
    double v = value / 255.0;
    return v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
}

static double luminance(uint32_t rgb)
{
    return 0.2126 * channel(rgb >> 16 & 255) + 0.7152 * channel(rgb >> 8 & 255) +
           0.0722 * channel(rgb & 255);
}

static double contrast(cf_paint a, cf_paint b, cf_paper paper)
{
    double x = luminance(cf_paint_rgb(a, paper)), y = luminance(cf_paint_rgb(b, paper));
    return (fmax(x, y) + 0.05) / (fmin(x, y) + 0.05);
}

static void text_and_lines_contrast_with_their_paper(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) {
        cf_paper paper = (cf_paper)p;
        assert_true(contrast(CF_PAINT_INK, CF_PAINT_PAPER, paper) >= 7);
        assert_true(contrast(CF_PAINT_MUTED, CF_PAINT_PAPER, paper) >= 4.5);
        for (int s = 0; s < CF_N_SERIES_COLORS; s++)
            assert_true(contrast(cf_paint_series(s), CF_PAINT_PAPER, paper) >= 3);
        for (int h = 0; h < CF_HEAT_STEPS; h++)
            assert_true(contrast((cf_paint)(CF_PAINT_HEAT_INK + h), (cf_paint)(CF_PAINT_HEAT + h),
                                 paper) >= 4.5);
    }
}

/* In grey only lightness is left: heat rises step by step, series keep apart. */
static void colours_are_ordered_by_lightness(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) {
        double sign = p == CF_PAPER_LIGHT ? -1 : 1;
        for (int h = 1; h < CF_HEAT_STEPS; h++)
            assert_true(
                sign * (luminance(cf_paint_rgb((cf_paint)(CF_PAINT_HEAT + h), (cf_paper)p)) -
                        luminance(cf_paint_rgb((cf_paint)(CF_PAINT_HEAT + h - 1), (cf_paper)p))) >
                0);
        for (int s = 1; s < CF_N_SERIES_COLORS; s++)
            assert_true(-sign * (luminance(cf_paint_rgb(cf_paint_series(s), (cf_paper)p)) -
                                 luminance(cf_paint_rgb(cf_paint_series(s - 1), (cf_paper)p))) >
                        0.01);
    }
}

/* Colour, dash and mark of the first 24 series are never all the same. */
static void two_dozen_series_look_different(void **state)
{
    (void)state;
    for (int i = 0; i < 24; i++)
        for (int k = 0; k < i; k++) {
            cf_pen a, b;
            cf_mark x, y;
            cf_plot_style(i, &a, &x);
            cf_plot_style(k, &b, &y);
            assert_true(a.stroke != b.stroke || (a.dash != b.dash && x != y));
        }
}

static void heat_shows_a_single_image(void **state)
{
    (void)state;
    assert_int_equal(cf_paint_heat_step(0), 0);
    assert_int_equal(cf_paint_heat_step((double)NAN), 0);
    assert_int_equal(cf_paint_heat_step(1e-6), 1);
    assert_int_equal(cf_paint_heat_step(1), CF_HEAT_STEPS - 1);
    assert_int_equal(cf_paint_heat_step(7), CF_HEAT_STEPS - 1);
}

/* ---- text ---- */

static const char HOSTILE[] = "<script>alert(\"1\")</script>&'\x01\xff\xe2\x80\xae";

static void text_is_escaped_for_markup(void **state)
{
    (void)state;
    cf_buf out = {0};
    cf_html_text(&out, HOSTILE);
    assert_string_equal(cf_buf_text(&out), "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;"
                                           "&#39; \xef\xbf\xbd\xef\xbf\xbd");
    cf_buf_fini(&out);
}

static void text_is_escaped_for_json_in_a_script(void **state)
{
    (void)state;
    cf_buf out = {0};
    cf_html_json(&out, "</script><!--\"\\\n\xe2\x80\xa8 Gr\xc3\xb6\xc3\x9f"
                       "e");
    assert_string_equal(cf_buf_text(&out), "\"\\u003c/script\\u003e\\u003c!--\\u0022\\u005c "
                                           "\\u2028 Gr\xc3\xb6\xc3\x9f"
                                           "e\"");
    cf_buf_fini(&out);
}

/* RFC 4648, 10. */
static void base64_as_the_standard_says(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        cf_buf out = {0};
        cf_html_base64(&out, pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(cf_buf_text(&out), pairs[i][1]);
        cf_buf_fini(&out);
    }
}

static void long_text_is_cut_with_an_ellipsis(void **state)
{
    (void)state;
    const cf_font font = {.size = 12, .paint = CF_PAINT_INK, .max_width = 60};
    cf_canvas *c;
    cf_buf svg = {0};
    assert_int_equal(cf_canvas_create(100, 100, "t", &c), CF_OK);
    cf_canvas_text(c, 10, 50, "Segmentkernige Granulozyten", &font);
    cf_canvas_text(c, 10, 70, "kurz", &font);
    encode(c, CF_CANVAS_SVG, &svg);
    assert_non_null(strstr(cf_buf_text(&svg), "\xe2\x80\xa6</text>"));
    assert_non_null(strstr(cf_buf_text(&svg), ">kurz</text>"));
    assert_null(strstr(cf_buf_text(&svg), "Granulozyten"));
    cf_buf_fini(&svg);
    cf_canvas_destroy(c);
}

/* ---- figures ---- */

static cf_canvas *hostile_matrix(void)
{
    static const char *const names[] = {HOSTILE, "=cmd()|' /C calc'!A0", "]]>-->"};
    static const int64_t counts[] = {90, 10, 0, 1, 4000, 2, 0, 0, 0};
    cf_plot_matrix m = {.title = HOSTILE,
                        .n_rows = 3,
                        .n_columns = 3,
                        .row_names = names,
                        .column_names = names,
                        .counts = counts};
    cf_canvas *c;
    assert_int_equal(cf_plot_confusion(&m, &c), CF_OK);
    return c;
}

static cf_canvas *curves(void)
{
    static const double x[] = {0, 0.5, 1}, y[] = {0, 0.9, 1}, gap[] = {0.1, (double)NAN, 1.2};
    const cf_plot_series series[] = {{HOSTILE, x, y, 3, 0, false}, {"b", x, gap, 3, 7, true}};
    const double bars[] = {0.5, 0.2, 0};
    cf_plot_figure f = {.title = "Curves",
                        .x = {"x", 0, 1, true},
                        .y = {"y", 0, 1, false},
                        .series = series,
                        .n_series = 2,
                        .diagonal = true,
                        .bars = bars,
                        .n_bars = 3};
    cf_canvas *c;
    assert_int_equal(cf_plot_lines(&f, &c), CF_OK);
    return c;
}

static cf_canvas *bars(void)
{
    static const char *const names[] = {HOSTILE, "b"};
    static const double values[] = {0, 12345}, others[] = {3, 0};
    cf_plot_bars b = {.title = "Bars",
                      .axis = "images",
                      .n = 2,
                      .names = names,
                      .values = values,
                      .others = others,
                      .value_name = "label",
                      .other_name = "predicted"};
    cf_canvas *c;
    assert_int_equal(cf_plot_bar_chart(&b, &c), CF_OK);
    return c;
}

static cf_canvas *cloud(void)
{
    static const char *const names[] = {"a", HOSTILE};
    enum { N = 300 };
    static double x[N], y[N];
    static int32_t group[N];
    for (int i = 0; i < N; i++) {
        x[i] = cos(i) * i;
        y[i] = i == 7 ? (double)NAN : sin(i) * i;
        group[i] = i % 3 - 1;
    }
    cf_plot_cloud p = {
        .title = "Map", .n = N, .x = x, .y = y, .group = group, .n_groups = 2, .names = names};
    cf_canvas *c;
    assert_int_equal(cf_plot_scatter(&p, &c), CF_OK);
    return c;
}

static cf_canvas *(*const figures[])(void) = {hostile_matrix, curves, bars, cloud};

static void figures_are_sound_markup_whatever_the_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        cf_canvas *c = figures[i]();
        for (int form = CF_CANVAS_SVG; form <= CF_CANVAS_INLINE; form++) {
            cf_buf svg = {0};
            encode(c, (cf_canvas_form)form, &svg);
            assert_sound(&svg);
            assert_null(strstr(cf_buf_text(&svg), "<script"));
            assert_null(strstr(cf_buf_text(&svg), "nan"));
            cf_buf_fini(&svg);
        }
        cf_canvas_destroy(c);
    }
}

static void figures_have_the_same_bytes_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        for (int form = 0; form < CF_N_CANVAS_FORMS; form++) {
            cf_buf first = {0}, second = {0};
            cf_canvas *a = figures[i](), *b = figures[i]();
            encode(a, (cf_canvas_form)form, &first);
            encode(b, (cf_canvas_form)form, &second);
            assert_int_equal(first.len, second.len);
            assert_memory_equal(first.data, second.data, first.len);
            cf_buf_fini(&first);
            cf_buf_fini(&second);
            cf_canvas_destroy(a);
            cf_canvas_destroy(b);
        }
}

static void inline_figures_carry_no_colour_of_their_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        cf_canvas *c = figures[i]();
        cf_buf svg = {0};
        encode(c, CF_CANVAS_INLINE, &svg);
        assert_null(strstr(cf_buf_text(&svg), "=\"#"));
        assert_non_null(strstr(cf_buf_text(&svg), "role=\"img\" aria-label=\""));
        cf_buf_fini(&svg);
        cf_canvas_destroy(c);
    }
}

static void png_decodes_at_twice_the_size(void **state)
{
    (void)state;
    char path[CF_PATH_MAX], *bytes;
    size_t n;
    cf_image image;
    cf_canvas *c = hostile_matrix();
    assert_int_equal(cf_plot_save(c, folder, "confusion"), CF_OK);
    assert_int_equal(cf_path_join(path, sizeof path, folder, "confusion.svg"), CF_OK);
    assert_true(cf_path_exists(path));
    assert_int_equal(cf_path_join(path, sizeof path, folder, "confusion.png"), CF_OK);
    assert_int_equal(cf_file_read(path, 1 << 24, &bytes, &n), CF_OK);
    assert_int_equal(cf_image_decode(path, (uint8_t *)bytes, n, CF_IMAGE_DEFAULT_LIMIT, &image),
                     CF_OK);
    assert_int_equal(image.width, (int)ceil(2 * cf_canvas_width(c)));
    assert_int_equal(image.height, (int)ceil(2 * cf_canvas_height(c)));
    cf_image_fini(&image);
    free(bytes);
    cf_canvas_destroy(c);
}

static void cells_show_percent_of_their_row_and_counts(void **state)
{
    (void)state;
    cf_buf svg = {0};
    cf_canvas *c = hostile_matrix();
    encode(c, CF_CANVAS_SVG, &svg);
    const char *text = cf_buf_text(&svg);
    assert_int_equal(count(text, ">90.0</text>"), 1);
    assert_int_equal(count(text, ">10.0</text>"), 1);
    assert_int_equal(count(text, ">99.9</text>"), 1);
    assert_int_equal(count(text, ">&lt;.1</text>"), 2);
    assert_int_equal(count(text, ">4003</text>"), 1); /* the row's sum */
    cf_buf_fini(&svg);
    cf_canvas_destroy(c);
}

static void a_gap_breaks_the_line(void **state)
{
    (void)state;
    cf_buf svg = {0};
    cf_canvas *c;
    const double xy[] = {0, 0, 1, 1, (double)NAN, 2, 3, 3, 4, 4};
    const cf_pen pen = {.stroke = CF_PAINT_INK, .width = 1};
    assert_int_equal(cf_canvas_create(10, 10, "gap", &c), CF_OK);
    cf_canvas_line(c, xy, 5, &pen);
    encode(c, CF_CANVAS_SVG, &svg);
    assert_non_null(strstr(cf_buf_text(&svg), "d=\"M0 0L1 1M3 3L4 4\""));
    cf_buf_fini(&svg);
    cf_canvas_destroy(c);
}

/* The canvas grows with the legend up to 60 entries; of the others their number is told. Returns
 * how many names stand in it. */
static int legend_names(const cf_canvas *c)
{
    cf_buf svg = {0};
    double height = 0;
    int n = 0;
    encode(c, CF_CANVAS_SVG, &svg);
    const char *box = strstr(cf_buf_text(&svg), "viewBox=\"0 0 ");
    assert_non_null(box);
    assert_int_equal(sscanf(box, "viewBox=\"0 0 %*f %lf\"", &height), 1);
    for (const char *at = cf_buf_text(&svg); (at = strstr(at, "<text x")) != NULL; at++) {
        const char *y = strstr(at, " y=\""), *end = strstr(at, "</text>");
        assert_true(y != NULL && end != NULL && y < end);
        assert_true(strtod(y + 4, NULL) <= height - 2); /* a descender's room */
        n += end[-1] == '_';                            /* only names end so */
    }
    cf_buf_fini(&svg);
    return n;
}

static void a_long_legend_stays_on_the_canvas(void **state)
{
    (void)state;
    static const int numbers[] = {20, 22, 59, 60, 61, 1024};
    static char texts[1024][24];
    static const char *names[1024];
    static cf_plot_series series[1024];
    static const double x[2] = {0, 1};
    const int32_t group[2] = {0, 1};
    for (int i = 0; i < 1024; i++) {
        snprintf(texts[i], sizeof texts[i], "class %d_", i);
        names[i] = texts[i];
        series[i] = (cf_plot_series){names[i], x, x, 2, i, false};
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int n = numbers[i], shown = n < 60 ? n : 60;
        const cf_plot_figure f = {
            .x = {"x", 0, 1, false}, .y = {"y", 0, 1, false}, .series = series, .n_series = n};
        const cf_plot_cloud g = {
            .n = 2, .x = x, .y = x, .group = group, .n_groups = n, .names = names};
        cf_canvas *c = NULL;
        assert_int_equal(cf_plot_lines(&f, &c), CF_OK);
        assert_int_equal(legend_names(c), shown);
        cf_canvas_destroy(c);
        assert_int_equal(cf_plot_scatter(&g, &c), CF_OK);
        assert_int_equal(legend_names(c), shown + 2); /* the groups' own names */
        cf_buf png = {0};
        encode(c, CF_CANVAS_PNG, &png); /* no picture is too high */
        cf_buf_fini(&png);
        cf_canvas_destroy(c);
    }
}

/* A curve of 100,000 images is no larger than what can be seen of it. */
static void long_curves_stay_small(void **state)
{
    (void)state;
    enum { N = 100000 };
    double *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y);
    assert_true(x && y);
    for (int i = 0; i < N; i++) {
        x[i] = (double)i / (N - 1);
        y[i] = sqrt(x[i]);
    }
    const cf_plot_series s = {"s", x, y, N, 0, false};
    cf_plot_figure f = {
        .x = {"x", 0, 1, false}, .y = {"y", 0, 1, false}, .series = &s, .n_series = 1};
    cf_canvas *c;
    cf_buf svg = {0};
    assert_int_equal(cf_plot_lines(&f, &c), CF_OK);
    encode(c, CF_CANVAS_SVG, &svg);
    assert_in_range(svg.len, 1000, 200000);
    cf_buf_fini(&svg);
    cf_canvas_destroy(c);
    free(x);
    free(y);
}

static void impossible_figures_are_refused(void **state)
{
    (void)state;
    cf_canvas *c;
    cf_plot_figure f = {.x = {"x", 1, 1, false}, .y = {"y", 0, 1, false}};
    assert_int_equal(cf_plot_lines(&f, &c), CF_E_USAGE);
    assert_null(c);
    cf_plot_matrix m = {0};
    assert_int_equal(cf_plot_confusion(&m, &c), CF_E_USAGE);
    assert_int_equal(cf_canvas_create(1e9, 10, "", &c), CF_E_USAGE);
    cf_plot_bars b = {0};
    assert_int_equal(cf_plot_bar_chart(&b, &c), CF_E_USAGE);
}

static int make_folder(void **state)
{
    (void)state;
    return scratch_make(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_lines_contrast_with_their_paper),
        cmocka_unit_test(colours_are_ordered_by_lightness),
        cmocka_unit_test(two_dozen_series_look_different),
        cmocka_unit_test(heat_shows_a_single_image),
        cmocka_unit_test(text_is_escaped_for_markup),
        cmocka_unit_test(text_is_escaped_for_json_in_a_script),
        cmocka_unit_test(base64_as_the_standard_says),
        cmocka_unit_test(long_text_is_cut_with_an_ellipsis),
        cmocka_unit_test(figures_are_sound_markup_whatever_the_names),
        cmocka_unit_test(figures_have_the_same_bytes_again),
        cmocka_unit_test(inline_figures_carry_no_colour_of_their_own),
        cmocka_unit_test(png_decodes_at_twice_the_size),
        cmocka_unit_test(cells_show_percent_of_their_row_and_counts),
        cmocka_unit_test(a_gap_breaks_the_line),
        cmocka_unit_test(a_long_legend_stays_on_the_canvas),
        cmocka_unit_test(long_curves_stay_small),
        cmocka_unit_test(impossible_figures_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
