/* ONNX models: what protobuf cannot hold is refused before it is written, and the bytes of a small
 * one are the format's. What runtimes make of models is tests/parity's business. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/file.h"
#include "proto/onnx.h"
#include "tests/support/scratch.h"

static void two_gigabytes_are_refused(void **state)
{
    (void)state;
    char folder[CF_PATH_MAX], path[CF_PATH_MAX];
    static const float one = 1.0f; /* not read: the size is known before */
    const int64_t dim[] = {1 << 15, 1 << 14};
    cf_onnx *m = NULL;
    assert_true(scratch_make(folder));
    assert_int_equal(cf_path_join(path, sizeof path, folder, "m.onnx"), CF_OK);
    assert_int_equal(cf_onnx_create("large", "", &m), CF_OK);
    cf_onnx_floats(m, "w", dim, 2, &one);
    assert_int_equal(cf_onnx_write(m, path), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "less than 2 GiB: export fewer folds (--fold K)"));
    assert_false(cf_path_exists(path));
    cf_onnx_destroy(m);
    scratch_remove(folder);
}

/* A product of dimensions that wraps to nothing would be a small tensor. */
static void sizes_that_cannot_be_counted_are_refused(void **state)
{
    (void)state;
    char folder[CF_PATH_MAX], path[CF_PATH_MAX];
    static const float one = 1.0f; /* not read */
    const int64_t dim[] = {(int64_t)1 << 32, (int64_t)1 << 31};
    cf_onnx *m = NULL;
    assert_true(scratch_make(folder));
    assert_int_equal(cf_path_join(path, sizeof path, folder, "m.onnx"), CF_OK);
    assert_int_equal(cf_onnx_create("wrapping", "", &m), CF_OK);
    cf_onnx_floats(m, "w", dim, 2, &one);
    assert_int_equal(cf_onnx_write(m, path), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "m.onnx: tensor w has more bytes than can be counted"));
    assert_false(cf_path_exists(path));
    cf_onnx_destroy(m);
    scratch_remove(folder);
}

/* Field numbers are the format's: a node with an attribute of nought, which must be written. */
static void a_small_model_has_the_formats_bytes(void **state)
{
    (void)state;
    char folder[CF_PATH_MAX], path[CF_PATH_MAX], *bytes = NULL;
    static const char node[] = "\x0a\x1f"           /* graph, field 1: a node of 31 bytes */
                               "\x0a\x01x\x12\x01y" /* input, output */
                               "\x1a\x01y\x22\x07"
                               "Softmax" /* name, op_type */
                               "\x2a\x0b"
                               "\x0a\x04"
                               "axis"
                               "\x18\x00"
                               "\xa0\x01\x02";
    static const char tail[] = "\x42\x04\x0a\x00\x10\x11"      /* opset 17 of the empty domain */
                               "\x72\x08\x0a\x01k\x12\x03v w"; /* metadata */
    const int64_t dim[] = {CF_ONNX_ANY, 2};
    const char *const inputs[] = {"x"};
    size_t n = 0;
    cf_onnx *m = NULL;
    assert_true(scratch_make(folder));
    assert_int_equal(cf_path_join(path, sizeof path, folder, "m.onnx"), CF_OK);
    assert_int_equal(cf_onnx_create("g", "d", &m), CF_OK);
    cf_onnx_input(m, "x", CF_ONNX_FLOAT, dim, 2);
    cf_onnx_node(m, "Softmax", "y", inputs, 1);
    cf_onnx_set_int(m, "axis", 0);
    cf_onnx_output(m, "y", CF_ONNX_FLOAT, dim, 2);
    cf_onnx_property(m, "k", "v w");
    assert_int_equal(cf_onnx_write(m, path), CF_OK);
    assert_int_equal(cf_file_read(path, 1000, &bytes, &n), CF_OK);
    assert_memory_equal(bytes,
                        "\x08\x08\x12\x08"
                        "cytofold",
                        12); /* IR version 8, producer */
    assert_non_null(memmem(bytes, n, node, sizeof node - 1));
    assert_true(n > sizeof tail - 1);
    assert_memory_equal(bytes + n - (sizeof tail - 1), tail, sizeof tail - 1);
    free(bytes);
    cf_onnx_destroy(m);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_gigabytes_are_refused),
        cmocka_unit_test(sizes_that_cannot_be_counted_are_refused),
        cmocka_unit_test(a_small_model_has_the_formats_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
