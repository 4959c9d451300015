/* The reader: the header's JSON is jansson's business, what it says is checked here. */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "kernels/math/half.h"
#include "proto/file_kind.h"
#include "proto/safetensors.h"
#include "proto/text.h"
#include "proto/wire.h"

enum { PREAMBLE = 8 };

/* In the order of enum cf_safetensor_type. */
static const struct {
    const char *word;
    size_t bytes;
} types[CF_N_SAFETENSOR_TYPES] = {
    {"F64", 8}, {"F32", 4}, {"F16", 2},  {"BF16", 2},    {"I64", 8},
    {"I32", 4}, {"I16", 2}, {"I8", 1},   {"U64", 8},     {"U32", 4},
    {"U16", 2}, {"U8", 1},  {"BOOL", 1}, {"F8_E5M2", 1}, {"F8_E4M3", 1},
};

const char *cf_safetensor_type_name(cf_safetensor_type type)
{
    return types[type].word;
}

size_t cf_safetensor_type_bytes(cf_safetensor_type type)
{
    return types[type].bytes;
}

/* What is known while a header is read. */
typedef struct reader {
    cf_safetensors *f;   /* borrowed */
    const uint8_t *data; /* first byte behind the header */
    size_t n_data;
} reader;

/* ---- one tensor -------------------------------------------------------------------------------
 */

CF_PRINTF(3, 4) static cf_err bad(const reader *r, const char *tensor, const char *fmt, ...)
{
    char what[256], quoted[CF_QUOTE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return cf_fail(CF_E_CHECKPOINT, "%s: tensor %s: %s", r->f->path, cf_text_quote(tensor, quoted),
                   what);
}

static cf_err take_type(const reader *r, const json_t *value, cf_safetensor *t)
{
    char quoted[CF_QUOTE_MAX];
    if (!json_is_string(value)) return bad(r, t->name, "dtype is not there as a text");
    for (int i = 0; i < CF_N_SAFETENSOR_TYPES; i++) {
        if (strcmp(json_string_value(value), types[i].word) != 0) continue;
        t->type = (cf_safetensor_type)i;
        return CF_OK;
    }
    return bad(r, t->name, "dtype %s is not known",
               cf_text_quote(json_string_value(value), quoted));
}

static cf_err take_shape(const reader *r, const json_t *value, cf_safetensor *t)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value)) return bad(r, t->name, "shape is not there as a list");
    if (n > CF_SAFETENSORS_MAX_RANK)
        return bad(r, t->name, "shape has %zu dimensions, at most %d are taken", n,
                   (int)CF_SAFETENSORS_MAX_RANK);
    t->rank = (int)n;
    t->count = 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(value, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return bad(r, t->name, "dimension %zu of shape is no count", i);
        t->dim[i] = json_integer_value(dim);
        if (__builtin_mul_overflow(t->count, t->dim[i], &t->count))
            return bad(r, t->name, "shape has more elements than can be counted");
    }
    return CF_OK;
}

static bool take_offset(const json_t *list, size_t i, size_t *offset)
{
    const json_t *value = json_array_get(list, i);
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *offset = (size_t)json_integer_value(value);
    return true;
}

static cf_err take_place(const reader *r, const json_t *value, cf_safetensor *t)
{
    size_t begin = 0, end = 0, wanted = 0;
    if (!json_is_array(value) || json_array_size(value) != 2 || !take_offset(value, 0, &begin) ||
        !take_offset(value, 1, &end))
        return bad(r, t->name, "data_offsets are not two byte offsets");
    if (begin > end || end > r->n_data)
        return bad(r, t->name, "data_offsets [%zu, %zu] do not lie in %zu bytes of data", begin,
                   end, r->n_data);
    if (!cf_size_mul((size_t)t->count, types[t->type].bytes, &wanted) || wanted != end - begin)
        return bad(r, t->name, "data_offsets [%zu, %zu] hold %zu bytes, %s of its shape needs %zu",
                   begin, end, end - begin, types[t->type].word, wanted);
    t->data = r->data + begin;
    return CF_OK;
}

static cf_err take_tensor(reader *r, const char *name, const json_t *value)
{
    static const char *const known[] = {"dtype", "shape", "data_offsets"};
    char quoted[CF_QUOTE_MAX];
    cf_safetensor *t = &r->f->items[r->f->n];
    char *copy = NULL;
    const char *key;
    json_t *member;
    if (name[0] == '\0' || strlen(name) > CF_SAFETENSORS_MAX_NAME || !cf_text_is_plain(name))
        return bad(r, name, "expected a name of 1 to %d bytes on one line",
                   (int)CF_SAFETENSORS_MAX_NAME);
    if (!json_is_object(value)) return bad(r, name, "expected an object");
    json_object_foreach((json_t *)(uintptr_t)value, key, member) /* only read */
    {
        if (strcmp(key, known[0]) != 0 && strcmp(key, known[1]) != 0 && strcmp(key, known[2]) != 0)
            return bad(r, name, "%s is not known", cf_text_quote(key, quoted));
    }
    CF_TRY(cf_strdup(name, &copy));
    t->name = copy;
    r->f->n++;
    CF_TRY(take_type(r, json_object_get(value, known[0]), t));
    CF_TRY(take_shape(r, json_object_get(value, known[1]), t));
    return take_place(r, json_object_get(value, known[2]), t);
}

/* ---- all of them ------------------------------------------------------------------------------
 */

static cf_err take_notes(reader *r, const json_t *value)
{
    cf_safetensors *f = r->f;
    const char *key;
    json_t *text;
    if (!json_is_object(value))
        return cf_fail(CF_E_CHECKPOINT, "%s: __metadata__ is no object", f->path);
    CF_TRY(cf_new(&f->notes, json_object_size(value), sizeof *f->notes));
    json_object_foreach((json_t *)(uintptr_t)value, key, text) /* only read */
    {
        char quoted[CF_QUOTE_MAX], *copy = NULL;
        if (!json_is_string(text))
            return cf_fail(CF_E_CHECKPOINT, "%s: __metadata__ %s is no text", f->path,
                           cf_text_quote(key, quoted));
        cf_safetensor_note *note = &f->notes[f->n_notes++];
        CF_TRY(cf_strdup(key, &copy));
        note->key = copy;
        CF_TRY(cf_strdup(json_string_value(text), &copy));
        note->value = copy;
    }
    return CF_OK;
}

static int compare_places(const void *a, const void *b)
{
    const cf_safetensor *x = a, *y = b;
    const char *p = x->data, *q = y->data;
    if (p != q) return p < q ? -1 : 1;
    bool empty_x = x->count == 0, empty_y = y->count == 0; /* before those that begin there too */
    return empty_x != empty_y ? (int)empty_y - (int)empty_x : strcmp(x->name, y->name);
}

/* Sorted by place, each begins where the one before ends, and the last where the file does. */
static cf_err check_cover(reader *r)
{
    cf_safetensors *f = r->f;
    size_t at = 0;
    qsort(f->items, (size_t)f->n, sizeof *f->items, compare_places);
    for (int i = 0; i < f->n; i++) {
        const cf_safetensor *t = &f->items[i];
        size_t begin = (size_t)((const uint8_t *)t->data - r->data);
        if (begin != at)
            return bad(r, t->name, "data begin at %zu, expected %zu: %s", begin, at,
                       begin < at ? "they overlap the tensor's before" : "a gap before them");
        at += (size_t)t->count * types[t->type].bytes;
    }
    if (at == r->n_data) return CF_OK;
    return cf_fail(CF_E_CHECKPOINT, "%s: %zu bytes of data, the tensors end at %zu", f->path,
                   r->n_data, at);
}

static cf_err take_header(reader *r, const json_t *root)
{
    cf_safetensors *f = r->f;
    size_t n = json_object_size(root);
    const char *key;
    json_t *value;
    if (n > CF_SAFETENSORS_MAX_TENSORS)
        return cf_fail(CF_E_CHECKPOINT, "%s: %zu tensors, at most %d are taken", f->path, n,
                       (int)CF_SAFETENSORS_MAX_TENSORS);
    CF_TRY(cf_new(&f->items, n, sizeof *f->items));
    json_object_foreach((json_t *)(uintptr_t)root, key, value) /* only read */
    {
        if (strcmp(key, "__metadata__") == 0)
            CF_TRY(take_notes(r, value));
        else
            CF_TRY(take_tensor(r, key, value));
    }
    return check_cover(r);
}

/* jansson names the fault, or a lack of memory, or, where that befell it elsewhere, nothing. */
static bool is_exhausted(const json_error_t *fault)
{
    return fault->text[0] == '\0' || json_error_code(fault) == json_error_out_of_memory;
}

static cf_err parse_header(cf_safetensors *f, const uint8_t *bytes, size_t n_header, json_t **root)
{
    json_error_t fault = {0};
    *root = json_loadb((const char *)bytes + PREAMBLE, n_header, JSON_REJECT_DUPLICATES, &fault);
    if (*root == NULL && is_exhausted(&fault))
        return cf_fail(CF_E_UNEXPECTED, "%s: out of memory for a header of %zu bytes", f->path,
                       n_header);
    if (*root == NULL)
        return cf_fail(CF_E_CHECKPOINT, "%s: header, byte %d: %s", f->path,
                       fault.position + PREAMBLE, fault.text);
    if (json_is_object(*root)) return CF_OK;
    return cf_fail(CF_E_CHECKPOINT, "%s: the header is no JSON object", f->path);
}

/* Where the length is none: files of other programs say what they are. */
static cf_err check_length(const cf_safetensors *f, const uint8_t *bytes, size_t n,
                           uint64_t n_header)
{
    if (n_header <= n - PREAMBLE && n_header <= CF_SAFETENSORS_MAX_HEADER) return CF_OK;
    const cf_file_kind *kind = cf_file_kind_find(bytes, n);
    if (kind != NULL)
        return cf_fail(CF_E_CHECKPOINT, "%s: %s; expected safetensors%s%s", f->path, kind->name,
                       kind->weights != NULL ? ": " : "",
                       kind->weights != NULL ? kind->weights : "");
    if (n_header > n - PREAMBLE)
        return cf_fail(CF_E_CHECKPOINT,
                       "%s: no safetensors file, or cut short: a header of %llu bytes, %zu bytes "
                       "are left",
                       f->path, (unsigned long long)n_header, n - PREAMBLE);
    return cf_fail(CF_E_CHECKPOINT, "%s: a header of %llu bytes, at most %d are taken", f->path,
                   (unsigned long long)n_header, (int)CF_SAFETENSORS_MAX_HEADER);
}

static cf_err parse(cf_safetensors *f, const uint8_t *bytes, size_t n)
{
    json_t *root = NULL;
    if (n < PREAMBLE)
        return cf_fail(CF_E_CHECKPOINT, "%s: %zu bytes are no safetensors file", f->path, n);
    uint64_t n_header = cf_get_u64(bytes);
    CF_TRY(check_length(f, bytes, n, n_header));
    reader r = {
        .f = f, .data = bytes + PREAMBLE + n_header, .n_data = n - PREAMBLE - (size_t)n_header};
    cf_err err = parse_header(f, bytes, (size_t)n_header, &root);
    if (err == CF_OK) err = take_header(&r, root);
    json_decref(root);
    return err;
}

cf_err cf_safetensors_parse(const char *name, const uint8_t *bytes, size_t n, cf_safetensors *f)
{
    *f = (cf_safetensors){0};
    cf_err err = cf_strdup(name, &f->path);
    if (err == CF_OK) err = parse(f, bytes, n);
    if (err != CF_OK) cf_safetensors_close(f);
    return err;
}

cf_err cf_safetensors_open(const char *path, cf_safetensors *f)
{
    cf_map map;
    *f = (cf_safetensors){0};
    CF_TRY(cf_map_open(path, &map));
    cf_err err = cf_safetensors_parse(path, map.bytes, map.n_bytes, f);
    if (err == CF_OK)
        f->map = map; /* moved */
    else
        cf_map_close(&map);
    return err;
}

void cf_safetensors_close(cf_safetensors *f)
{
    for (int i = 0; i < f->n; i++) free((char *)(uintptr_t)f->items[i].name); /* owned here */
    for (int i = 0; i < f->n_notes; i++) {
        free((char *)(uintptr_t)f->notes[i].key);
        free((char *)(uintptr_t)f->notes[i].value);
    }
    free(f->notes);
    free(f->items);
    free(f->path);
    if (f->map.bytes != NULL) cf_map_close(&f->map);
    *f = (cf_safetensors){0};
}

/* ---- what is in it ----------------------------------------------------------------------------
 */

const cf_safetensor *cf_safetensors_find(const cf_safetensors *f, const char *name)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->items[i].name, name) == 0) return &f->items[i];
    return NULL;
}

const char *cf_safetensors_note(const cf_safetensors *f, const char *key)
{
    for (int i = 0; i < f->n_notes; i++)
        if (strcmp(f->notes[i].key, key) == 0) return f->notes[i].value;
    return NULL;
}

static float element(const cf_safetensor *t, int64_t i)
{
    uint16_t half;
    float whole;
    if (t->type == CF_SAFETENSOR_F32) {
        memcpy(&whole, (const char *)t->data + i * (int64_t)sizeof whole, sizeof whole);
        return whole;
    }
    memcpy(&half, (const char *)t->data + i * (int64_t)sizeof half, sizeof half);
    return t->type == CF_SAFETENSOR_F16 ? cf_f16_to_float(half) : cf_bf16_to_float(half);
}

cf_err cf_safetensors_check_type(const cf_safetensors *f, const cf_safetensor *t)
{
    char quoted[CF_QUOTE_MAX];
    if (t->type == CF_SAFETENSOR_F32 || t->type == CF_SAFETENSOR_F16 ||
        t->type == CF_SAFETENSOR_BF16)
        return CF_OK;
    return cf_fail(CF_E_CHECKPOINT, "%s: tensor %s is of type %s; expected F32, F16 or BF16",
                   f->path, cf_text_quote(t->name, quoted), types[t->type].word);
}

cf_err cf_safetensors_floats(const cf_safetensors *f, const cf_safetensor *t, float *out)
{
    char quoted[CF_QUOTE_MAX];
    CF_TRY(cf_safetensors_check_type(f, t));
    for (int64_t i = 0; i < t->count; i++) {
        out[i] = element(t, i);
        if (!isfinite(out[i]))
            return cf_fail(CF_E_CHECKPOINT, "%s: tensor %s: element %lld is %g", f->path,
                           cf_text_quote(t->name, quoted), (long long)i, (double)out[i]);
    }
    return CF_OK;
}

void cf_safetensor_print(const cf_safetensor *t, cf_buf *out)
{
    cf_buf_printf(out, "%s [", t->name);
    for (int d = 0; d < t->rank; d++)
        cf_buf_printf(out, "%s%lld", d > 0 ? ", " : "", (long long)t->dim[d]);
    cf_buf_printf(out, "]");
}

cf_err cf_safetensors_hash(const char *path, uint64_t *hash)
{
    cf_map map;
    CF_TRY(cf_map_open(path, &map));
    *hash = cf_hash64(map.n_bytes > 0 ? (const char *)map.bytes : "", map.n_bytes);
    if (map.n_bytes > 0) cf_map_close(&map);
    return CF_OK;
}
