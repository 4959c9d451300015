#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/class_map.h"

static cf_scheme scheme;

static int set_up(void **state)
{
    (void)state;
    return cf_scheme_read("bm7", &scheme) == CF_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    cf_scheme_fini(&scheme);
    return 0;
}

static int code(const char *text)
{
    return cf_scheme_find(&scheme, text);
}

static void labels_go_by_the_map_then_by_the_scheme(void **state)
{
    (void)state;
    static const char text[] = "seg: NGS\nlymph: Lymphocytes\nN: Neutrophil\nMonocyte: ~\nB:\n";
    cf_class_map map;
    assert_int_equal(cf_class_map_parse("m.yaml", text, strlen(text), &scheme, &map), CF_OK);
    assert_int_equal(cf_class_map_find(&map, &scheme, "seg"), code("NGS"));
    assert_int_equal(cf_class_map_find(&map, &scheme, "lymph"), code("LYT"));
    assert_int_equal(cf_class_map_find(&map, &scheme, "N"), code("NGS")); /* through an alias */
    assert_int_equal(cf_class_map_find(&map, &scheme, "Monocyte"), CF_LABEL_UNKNOWN);
    assert_int_equal(cf_class_map_find(NULL, &scheme, "Monocyte"), code("MON"));
    assert_int_equal(cf_class_map_find(&map, &scheme, "B"), CF_LABEL_UNKNOWN);
    assert_int_equal(cf_class_map_find(&map, &scheme, "EOS"), code("EOS"));
    assert_int_equal(cf_class_map_find(&map, &scheme, "Blobs"), CF_LABEL_UNKNOWN);
    assert_int_equal(cf_class_map_find(NULL, &scheme, "Basophil"), CF_LABEL_UNKNOWN); /* dropped */
    assert_int_equal(cf_class_map_find(NULL, &scheme, ""), CF_LABEL_UNKNOWN);
    cf_class_map_fini(&map);
}

static void faults_are_named_by_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where, *what;
    } cases[] = {
        {"a: NGS\nb: XYZ\n", "m.yaml:2:4: ", "\"XYZ\" is no class of scheme bm7"},
        {"a: NGS\nb: Basophil\n", "m.yaml:2:4: ", "\"Basophil\""},
        {"a: NGS\na: EOS\n", "m.yaml:2:1: ", "twice"},
        {"- NGS\n", "m.yaml:1:1: ", "a map"},
        {"a: [NGS]\n", "m.yaml:1:4: ", "a list"},
        {"a: '~'\n", "m.yaml:1:4: ", "\"~\""},
        {"a: {b: NGS\n", "m.yaml:", ""},
        {"", "m.yaml:1:1: ", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cf_class_map map;
        cf_err err =
            cf_class_map_parse("m.yaml", cases[i].text, strlen(cases[i].text), &scheme, &map);
        if (err != CF_E_USAGE || strstr(cf_err_text(), cases[i].where) != cf_err_text() ||
            !strstr(cf_err_text(), cases[i].what))
            fail_msg("case %zu: %d, %s", i, (int)err, cf_err_text());
        cf_class_map_fini(&map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_go_by_the_map_then_by_the_scheme),
        cmocka_unit_test(faults_are_named_by_line_and_column),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
