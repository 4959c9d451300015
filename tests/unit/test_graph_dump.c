#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "worker/models.h"

/* Golden dumps: a change of shapes, names, parameters or the memory plan must be meant. After a
 * meant one: CYTOFOLD_GOLDEN=write ctest -R graph_dump, and look at the difference. */
static void assert_golden(const char *name, const cf_buf *dump)
{
    char path[CF_PATH_MAX];
    assert_int_equal(cf_buf_check(dump), CF_OK);
    assert_int_equal(cf_path_join(path, sizeof path, CYTOFOLD_SOURCE "/tests/golden", name), CF_OK);
    const char *mode = getenv("CYTOFOLD_GOLDEN");
    if (mode && strcmp(mode, "write") == 0) {
        assert_int_equal(cf_file_save(path, cf_buf_text(dump), dump->len), CF_OK);
    }
    char *expected = NULL;
    size_t n = 0;
    assert_int_equal(cf_file_read(path, 1 << 20, &expected, &n), CF_OK);
    int line = 1;
    for (size_t i = 0; i < n && i < dump->len; i++) {
        if (expected[i] != dump->data[i]) fail_msg("%s differs in line %d", path, line);
        line += expected[i] == '\n';
    }
    assert_int_equal(dump->len, n);
    free(expected);
}

static void small_network_with_its_plan(void **state)
{
    (void)state;
    int class_of[7] = {0, 1, 2, 3, 4, 5, 6};
    cf_scheme scheme = {.name = "bm7", .n_classes = 7, .n_nodes = 7, .class_of = class_of};
    cf_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    cf_config_defaults(config);
    config->model_image_size = 64;
    config->model_stem = CF_STEM_SMALL;
    config->model_depths = (cf_int_list){{1, 2, 2, 1}, 4};
    config->model_cardinality = 8;
    config->model_group_width = 8;
    config->train_label_smoothing = 0.1;
    cf_graph *g = NULL;
    cf_memory_plan plan;
    cf_buf dump = {0};
    assert_int_equal(cf_model_build(config, &scheme, 32, &g), CF_OK);
    assert_int_equal(cf_graph_plan(g, CF_MODE_TRAIN, CF_BF16, &plan), CF_OK);
    cf_graph_dump(g, &plan, &dump);
    assert_golden("graph-bm7-small.txt", &dump);
    cf_buf_fini(&dump);
    cf_memory_plan_fini(&plan);
    cf_graph_destroy(g);
    free(config);
}

static void paper_network(void **state)
{
    (void)state;
    cf_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    cf_config_defaults(config);
    config->model_variant = CF_VARIANT_PAPER;
    config->model_outputs = 22;
    cf_graph *g = NULL;
    cf_buf dump = {0};
    assert_int_equal(cf_model_build(config, NULL, 32, &g), CF_OK);
    cf_graph_dump(g, NULL, &dump);
    assert_golden("graph-resnext50.txt", &dump);
    cf_buf_fini(&dump);
    cf_graph_destroy(g);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_network_with_its_plan),
        cmocka_unit_test(paper_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
