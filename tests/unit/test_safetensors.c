/* Safetensors files: what is written is read, to the byte; what is unsound is refused by name. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kernels/math/half.h"
#include "proto/safetensors.h"
#include "tests/support/scratch.h"

enum { DATA = 16 }; /* bytes behind the headers of the hostile cases */

/* A file of this header and n zero bytes of data, in memory; owned by the caller. */
static uint8_t *compose(const char *header, size_t n_header, size_t n_data, size_t *n)
{
    *n = 8 + n_header + n_data;
    uint8_t *bytes = calloc(*n, 1);
    assert_non_null(bytes);
    uint64_t length = n_header;
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + 8, header, n_header);
    return bytes;
}

static cf_err parse(const char *header, size_t n_data, cf_safetensors *f, uint8_t **bytes)
{
    size_t n = 0;
    *bytes = compose(header, strlen(header), n_data, &n);
    return cf_safetensors_parse("w.safetensors", *bytes, n, f);
}

static void written_tensors_are_read_again(void **state)
{
    (void)state;
    char folder[CF_PATH_MAX], path[CF_PATH_MAX];
    static const float weight[6] = {0.0f, -1.5f, 3.25e-20f, 1e30f, -0.0f, 7.0f};
    static const int64_t tracked = 12345678901;
    static const uint16_t half[2] = {0x3c00, 0xc000};
    const cf_safetensor items[] = {
        {"fc.weight", CF_SAFETENSOR_F32, 2, {2, 3}, 6, weight},
        {"bn1.num_batches_tracked", CF_SAFETENSOR_I64, 0, {0}, 1, &tracked},
        {"half", CF_SAFETENSOR_F16, 1, {2}, 2, half},
        {"empty", CF_SAFETENSOR_F32, 2, {0, 4}, 0, weight},
    };
    const cf_safetensor_note notes[] = {{"format", "pt"}, {"classes", "[\"a\\b\", \"µ\"]\n"}};
    assert_true(scratch_make(folder));
    assert_int_equal(cf_path_join(path, sizeof path, folder, "w.safetensors"), CF_OK);
    assert_int_equal(cf_safetensors_write(path, items, 4, notes, 2), CF_OK);
    cf_safetensors f;
    assert_int_equal(cf_safetensors_open(path, &f), CF_OK);
    assert_int_equal(f.n, 4);
    assert_int_equal(f.n_notes, 2);
    assert_string_equal(cf_safetensors_note(&f, "classes"), notes[1].value);
    assert_null(cf_safetensors_note(&f, "none"));
    assert_null(cf_safetensors_find(&f, "fc"));
    for (int i = 0; i < 4; i++) {
        const cf_safetensor *t = cf_safetensors_find(&f, items[i].name);
        assert_non_null(t);
        assert_int_equal(t->type, items[i].type);
        assert_int_equal(t->rank, items[i].rank);
        assert_int_equal(t->count, items[i].count);
        assert_memory_equal(t->dim, items[i].dim, sizeof t->dim);
        assert_memory_equal(t->data, items[i].data,
                            (size_t)t->count * cf_safetensor_type_bytes(t->type));
        assert_int_equal((uintptr_t)t->data % cf_safetensor_type_bytes(t->type), 0);
    }
    cf_safetensors_close(&f);
    scratch_remove(folder);
}

static void the_order_given_does_not_change_the_bytes(void **state)
{
    (void)state;
    char folder[CF_PATH_MAX], path[2][CF_PATH_MAX];
    static const float a[2] = {1, 2}, b[1] = {3};
    const cf_safetensor items[2][2] = {
        {{"a", CF_SAFETENSOR_F32, 1, {2}, 2, a}, {"b", CF_SAFETENSOR_F32, 1, {1}, 1, b}},
        {{"b", CF_SAFETENSOR_F32, 1, {1}, 1, b}, {"a", CF_SAFETENSOR_F32, 1, {2}, 2, a}}};
    const cf_safetensor_note notes[2][2] = {{{"x", "1"}, {"y", "2"}}, {{"y", "2"}, {"x", "1"}}};
    uint64_t hash[2];
    assert_true(scratch_make(folder));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cf_path_join(path[i], CF_PATH_MAX, folder, i ? "1" : "0"), CF_OK);
        assert_int_equal(cf_safetensors_write(path[i], items[i], 2, notes[i], 2), CF_OK);
        assert_int_equal(cf_safetensors_hash(path[i], &hash[i]), CF_OK);
    }
    assert_true(hash[0] == hash[1]);
    scratch_remove(folder);
}

static void names_that_could_not_be_read_are_not_written(void **state)
{
    (void)state;
    char folder[CF_PATH_MAX], path[CF_PATH_MAX];
    static const float a[1] = {1};
    assert_true(scratch_make(folder));
    assert_int_equal(cf_path_join(path, sizeof path, folder, "w"), CF_OK);
    static const char *const names[] = {"", "a\nb", "__metadata__"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const cf_safetensor item = {names[i], CF_SAFETENSOR_F32, 1, {1}, 1, a};
        assert_int_equal(cf_safetensors_write(path, &item, 1, NULL, 0), CF_E_USAGE);
    }
    const cf_safetensor twice[2] = {{"a", CF_SAFETENSOR_F32, 1, {1}, 1, a},
                                    {"a", CF_SAFETENSOR_I32, 1, {1}, 1, a}};
    assert_int_equal(cf_safetensors_write(path, twice, 2, NULL, 0), CF_E_USAGE);
    assert_false(cf_path_exists(path));
    scratch_remove(folder);
}

static void halves_become_floats(void **state)
{
    (void)state;
    cf_safetensors f;
    uint8_t *bytes;
    float out[2];
    assert_int_equal(parse("{\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                           "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[4,8]},"
                           "\"i\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[8,16]}} ",
                           16, &f, &bytes),
                     CF_OK);
    uint16_t half[4] = {cf_bf16_from_float(-2.5f), cf_bf16_from_float(3e38f),
                        cf_f16_from_float(0.1f), 0x7c00};
    memcpy((uint8_t *)(uintptr_t)f.items[0].data, half, sizeof half);
    assert_int_equal(cf_safetensors_floats(&f, cf_safetensors_find(&f, "b"), out), CF_OK);
    assert_true(out[0] == -2.5f && out[1] == cf_bf16_to_float(half[1]));
    assert_int_equal(cf_safetensors_floats(&f, cf_safetensors_find(&f, "h"), out), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "\"h\": element 1 is inf"));
    assert_true(out[0] == cf_f16_to_float(half[2]));
    assert_int_equal(cf_safetensors_floats(&f, cf_safetensors_find(&f, "i"), out), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "\"i\" is of type I32"));
    cf_safetensors_close(&f);
    free(bytes);
}

/* A sound tensor of 16 bytes, to be spoilt. */
#define SOUND "\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}"

static const struct {
    const char *header, *message;
} hostile[] = {
    {"", "header, byte 8"},
    {"{", "header, byte"},
    {"null", "header, byte 12"},
    {"[]", "no JSON object"},
    {"\"a\"", "header, byte 11"},
    {"{" SOUND "} x", "end of file expected"},
    {"{" SOUND "}{}", "end of file expected"},
    {"{" SOUND ",}", "header, byte"},
    {"{a:1}", "header, byte"},
    {"{'a':1}", "header, byte"},
    {"{" SOUND "} // comment", "end of file expected"},
    {"{" SOUND "," SOUND "}", "duplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}",
     "duplicate"},
    {"{\"\\ud800\":1}", "header, byte"},
    {"{\"\xff\":1}", "header, byte"},
    {"{\"a\\u0000b\":1}", "header, byte"},
    {"{\"\":{}}", "expected a name"},
    {"{\"a\\nb\":{}}", "expected a name"},
    {"{\"a\":1}", "expected an object"},
    {"{\"a\":[]}", "expected an object"},
    {"{\"a\":{}}", "dtype is not there"},
    {"{\"a\":{\"dtype\":3,\"shape\":[4],\"data_offsets\":[0,16]}}", "dtype is not there"},
    {"{\"a\":{\"dtype\":\"F31\",\"shape\":[4],\"data_offsets\":[0,16]}}", "\"F31\" is not known"},
    {"{\"a\":{\"dtype\":\"f32\",\"shape\":[4],\"data_offsets\":[0,16]}}", "\"f32\" is not known"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}}", "shape is not there"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,16]}}", "shape is not there"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}", "dimension 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,4.0],\"data_offsets\":[0,16]}}", "dimension 1"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"4\"],\"data_offsets\":[0,16]}}", "dimension 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,4],\"data_offsets\":[0,16]}}",
     "9 dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,16]}}",
     "more elements"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}",
     "hold 4 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}",
     "too big"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4]}}", "not two byte offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":16}}", "not two byte offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0]}}", "not two byte offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,8,16]}}", "not two byte"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[-16,0]}}", "not two byte"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,1.6e1]}}", "not two byte"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}", "do not lie in 16"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[1,17]}}", "do not lie in 16"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}",
     "do not lie in 16"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,16]}}", "needs 12"},
    {"{\"a\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,16]}}", "needs 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":1}}",
     "\"x\" is not known"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "the tensors end at 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}", "a gap before them"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
     "\"b\": data begin at 8, expected 4: a gap"},
    {"{" SOUND ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}",
     "\"b\": data begin at 12, expected 16: they overlap"},
    {"{" SOUND ",\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", "they overlap"},
    {"{}", "the tensors end at 0"},
    {"{\"__metadata__\":1," SOUND "}", "__metadata__ is no object"},
    {"{\"__metadata__\":{\"a\":1}," SOUND "}", "__metadata__ \"a\" is no text"},
    {"{\"__metadata__\":{\"a\":{}}," SOUND "}", "__metadata__ \"a\" is no text"},
};

static void hostile_headers_are_refused_by_name(void **state)
{
    (void)state;
    cf_safetensors f;
    uint8_t *bytes;
    assert_int_equal(parse("{" SOUND "}", DATA, &f, &bytes), CF_OK);
    cf_safetensors_close(&f);
    free(bytes);
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        cf_err err = parse(hostile[i].header, DATA, &f, &bytes);
        if (err != CF_E_CHECKPOINT || strstr(cf_err_text(), hostile[i].message) == NULL)
            fail_msg("%s: %d, '%s'; expected '%s'", hostile[i].header, (int)err,
                     err == CF_OK ? "" : cf_err_text(), hostile[i].message);
        assert_non_null(strstr(cf_err_text(), "w.safetensors: "));
        assert_null(f.items);
        free(bytes);
    }
}

/* The header's length is the first thing a file can lie about. */
static void lengths_of_the_header_are_held_to_the_file(void **state)
{
    (void)state;
    cf_safetensors f;
    static const uint64_t lengths[] = {1, 7, 60, 1000, 1u << 31, (uint64_t)1 << 63, UINT64_MAX};
    size_t n = 0;
    static const char header[] = "{" SOUND "}";
    uint8_t *bytes = compose(header, sizeof header - 1, DATA, &n);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        memcpy(bytes, &lengths[i], sizeof lengths[i]);
        assert_int_equal(cf_safetensors_parse("x", bytes, n, &f), CF_E_CHECKPOINT);
    }
    uint64_t sound = sizeof header - 1;
    memcpy(bytes, &sound, sizeof sound);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(cf_safetensors_parse("x", bytes, cut, &f), CF_E_CHECKPOINT);
    assert_int_equal(cf_safetensors_parse("x", bytes, n, &f), CF_OK);
    cf_safetensors_close(&f);
    free(bytes);
}

static void headers_too_long_or_deep_are_refused(void **state)
{
    (void)state;
    cf_safetensors f;
    size_t n = 0, n_header = (size_t)CF_SAFETENSORS_MAX_HEADER + 1;
    char *header = malloc(n_header);
    assert_non_null(header);
    memset(header, ' ', n_header);
    uint8_t *bytes = compose(header, n_header, 0, &n);
    assert_int_equal(cf_safetensors_parse("x", bytes, n, &f), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "1048577 bytes, at most 1048576"));
    free(bytes);
    memset(header, '[', n_header);
    bytes = compose(header, n_header - 1, 0, &n);
    assert_int_equal(cf_safetensors_parse("x", bytes, n, &f), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "depth"));
    free(bytes);
    free(header);
}

static void too_many_tensors_are_refused(void **state)
{
    (void)state;
    cf_safetensors f;
    cf_buf header = {0};
    for (int i = 0; i <= CF_SAFETENSORS_MAX_TENSORS; i++)
        cf_buf_printf(&header, "%s\"%d\":0", i > 0 ? "," : "{", i);
    cf_buf_printf(&header, "}");
    uint8_t *bytes;
    assert_int_equal(parse(cf_buf_text(&header), 0, &f, &bytes), CF_E_CHECKPOINT);
    assert_non_null(strstr(cf_err_text(), "16385 tensors"));
    free(bytes);
    cf_buf_fini(&header);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    cf_safetensors f;
    uint64_t hash;
    assert_int_equal(cf_safetensors_open("/nowhere/w.safetensors", &f), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "/nowhere/w.safetensors"));
    assert_int_equal(cf_safetensors_hash("/nowhere/w.safetensors", &hash), CF_E_DATA);
}

/* The first bytes as these programs write them, padded; each says what it is and what to do. */
static void files_of_other_programs_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *message;
    } files[] = {
#define FILE_OF(bytes, message) {bytes, sizeof(bytes) - 1, message}
        FILE_OF("\x08\x08\x12\x08"
                "cytofold",
                "w: an ONNX file; expected safetensors: load its weights"),
        FILE_OF("PK\3\4\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0e\0\x12\0model/data.pkl",
                "w: a PyTorch file; expected safetensors: save it with "
                "safetensors.torch.save_file("),
        FILE_OF("\x80\x02\x8a\nl\xfc\x9c"
                "F\xf9 j\xa8P\x19.",
                "w: a PyTorch file; "),
        FILE_OF("\x80\x04\x95\x0b\0\0\0\0\0\0\0}", "w: a Python pickle; "),
        FILE_OF("\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08", "w: an HDF5 file, as Keras writes them; "),
        FILE_OF("PK\3\4\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0d\0\0\0metadata.json",
                "w: a Keras file; "),
        FILE_OF("PK\3\4\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0w.npy",
                "w: a NumPy file; "),
        /* a member's name that would reach behind the end */
        FILE_OF("PK\3\4\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0a",
                "w: a zip archive; "),
        FILE_OF("PK\3\4\x14\0\0\0\0", "w: a zip archive; "),
        FILE_OF("\x93NUMPY\1\0v\0{'descr'", "w: a NumPy file; "),
        FILE_OF("CYTOCKPT\1\0",
                "w: a checkpoint of cytofold; expected safetensors: `cytofold export"),
        FILE_OF("# cytofold 1\nmodel:", "w: no safetensors file, or cut short: a header of "),
#undef FILE_OF
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        cf_safetensors f;
        uint8_t *bytes = malloc(files[i].n); /* its own block: a byte too far is noticed */
        assert_non_null(bytes);
        memcpy(bytes, files[i].bytes, files[i].n);
        assert_int_equal(cf_safetensors_parse("w", bytes, files[i].n, &f), CF_E_CHECKPOINT);
        if (strncmp(cf_err_text(), files[i].message, strlen(files[i].message)) != 0)
            fail_msg("file %zu: %s", i, cf_err_text());
        free(bytes);
    }
}

static int allocations_left;

static void *allocate_while_some_are_left(size_t n)
{
    return allocations_left-- > 0 ? malloc(n) : NULL;
}

/* jansson's own lexer takes a string that it has no room for as a wrong one ("expected near"): all
 * other lack of memory is said to be that. */
static void short_memory_is_no_fault_of_the_file(void **state)
{
    (void)state;
    static const char header[] =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
        "\"__metadata__\":{\"format\":\"pt\"}}";
    cf_safetensors f;
    cf_err err = CF_E_UNEXPECTED;
    int n = 0, n_said = 0;
    for (; err != CF_OK && n < 1000; n++) {
        uint8_t *bytes;
        allocations_left = n;
        json_set_alloc_funcs(allocate_while_some_are_left, free);
        err = parse(header, DATA, &f, &bytes);
        json_set_alloc_funcs(malloc, free);
        if (err == CF_OK) cf_safetensors_close(&f);
        n_said += err == CF_E_UNEXPECTED;
        if (err == CF_E_CHECKPOINT && strstr(cf_err_text(), " near '") == NULL)
            fail_msg("allocation %d: %s", n, cf_err_text());
        free(bytes);
    }
    assert_int_equal(err, CF_OK);
    assert_true(n > 10);
    assert_true(2 * n_said > n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_tensors_are_read_again),
        cmocka_unit_test(the_order_given_does_not_change_the_bytes),
        cmocka_unit_test(names_that_could_not_be_read_are_not_written),
        cmocka_unit_test(halves_become_floats),
        cmocka_unit_test(hostile_headers_are_refused_by_name),
        cmocka_unit_test(lengths_of_the_header_are_held_to_the_file),
        cmocka_unit_test(headers_too_long_or_deep_are_refused),
        cmocka_unit_test(too_many_tensors_are_refused),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
        cmocka_unit_test(files_of_other_programs_are_named),
        cmocka_unit_test(short_memory_is_no_fault_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
