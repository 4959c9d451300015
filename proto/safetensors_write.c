#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/safetensors.h"
#include "proto/text.h"
#include "proto/wire.h"

enum { ALIGNMENT = 8 };

static int compare_for_file(const void *a, const void *b)
{
    const cf_safetensor *x = a, *y = b;
    size_t p = cf_safetensor_type_bytes(x->type), q = cf_safetensor_type_bytes(y->type);
    if (p != q) return p > q ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int compare_notes(const void *a, const void *b)
{
    return strcmp(((const cf_safetensor_note *)a)->key, ((const cf_safetensor_note *)b)->key);
}

/* A name twice, or one that the reader refuses; items are sorted. */
static cf_err check_names(const char *path, const cf_safetensor *items, int n)
{
    if (n > CF_SAFETENSORS_MAX_TENSORS)
        return cf_fail(CF_E_USAGE, "%s: %d tensors, at most %d fit", path, n,
                       (int)CF_SAFETENSORS_MAX_TENSORS);
    for (int i = 0; i < n; i++) {
        char quoted[CF_QUOTE_MAX];
        const char *name = items[i].name;
        bool sound = name[0] != '\0' && strlen(name) <= CF_SAFETENSORS_MAX_NAME &&
                     cf_text_is_plain(name) && strcmp(name, "__metadata__") != 0;
        for (int j = 0; sound && j < n; j++) sound = j == i || strcmp(items[j].name, name) != 0;
        if (!sound)
            return cf_fail(CF_E_USAGE, "%s: tensor %s: a name that is taken or cannot be written",
                           path, cf_text_quote(name, quoted));
    }
    return CF_OK;
}

static void write_tensor(cf_json *j, const cf_safetensor *t, int64_t *at)
{
    int64_t end = *at + t->count * (int64_t)cf_safetensor_type_bytes(t->type);
    cf_json_object(j, t->name);
    cf_json_string(j, "dtype", cf_safetensor_type_name(t->type));
    cf_json_array(j, "shape");
    for (int d = 0; d < t->rank; d++) cf_json_integer(j, NULL, t->dim[d]);
    cf_json_end_array(j);
    cf_json_array(j, "data_offsets");
    cf_json_integer(j, NULL, *at);
    cf_json_integer(j, NULL, end);
    cf_json_end_array(j);
    cf_json_end_object(j);
    *at = end;
}

/* The preamble and the header behind it. */
static cf_err write_header(const char *path, const cf_safetensor *items, int n,
                           const cf_safetensor_note *notes, int n_notes, cf_buf *out)
{
    cf_json j;
    uint8_t preamble[ALIGNMENT] = {0};
    int64_t at = 0;
    cf_buf_add(out, preamble, sizeof preamble);
    cf_json_begin(&j, out, true);
    cf_json_object(&j, NULL);
    if (n_notes > 0) {
        cf_json_object(&j, "__metadata__");
        for (int i = 0; i < n_notes; i++) cf_json_string(&j, notes[i].key, notes[i].value);
        cf_json_end_object(&j);
    }
    for (int i = 0; i < n; i++) write_tensor(&j, &items[i], &at);
    cf_json_end_object(&j);
    while (out->len % ALIGNMENT != 0 && !out->failed) cf_buf_add(out, " ", 1);
    CF_TRY(cf_buf_check(out));
    if (out->len - sizeof preamble > CF_SAFETENSORS_MAX_HEADER)
        return cf_fail(CF_E_USAGE, "%s: a header of %zu bytes, at most %d fit", path,
                       out->len - sizeof preamble, (int)CF_SAFETENSORS_MAX_HEADER);
    cf_put_u64((uint8_t *)out->data, out->len - sizeof preamble);
    return CF_OK;
}

static cf_err write_all(const char *path, const cf_buf *header, const cf_safetensor *items, int n)
{
    cf_file file;
    CF_TRY(cf_file_create(path, &file));
    cf_err err = cf_file_write(&file, header->data, header->len);
    for (int i = 0; i < n && err == CF_OK; i++) {
        size_t bytes = (size_t)items[i].count * cf_safetensor_type_bytes(items[i].type);
        if (bytes > 0) err = cf_file_write(&file, items[i].data, bytes);
    }
    if (err == CF_OK) return cf_file_commit(&file);
    cf_file_abandon(&file);
    return err;
}

cf_err cf_safetensors_write(const char *path, const cf_safetensor *items, int n,
                            const cf_safetensor_note *notes, int n_notes)
{
    cf_safetensor *sorted = NULL;
    cf_safetensor_note *lines = NULL;
    cf_buf header = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&sorted, (size_t)n, sizeof *sorted), out);
    CF_TRY_GOTO(cf_new(&lines, (size_t)n_notes, sizeof *lines), out);
    if (n > 0) memcpy(sorted, items, (size_t)n * sizeof *sorted);
    if (n_notes > 0) memcpy(lines, notes, (size_t)n_notes * sizeof *lines);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_for_file);
    qsort(lines, (size_t)n_notes, sizeof *lines, compare_notes);
    CF_TRY_GOTO(check_names(path, sorted, n), out);
    CF_TRY_GOTO(write_header(path, sorted, n, lines, n_notes, &header), out);
    CF_TRY_GOTO(write_all(path, &header, sorted, n), out);
out:
    cf_buf_fini(&header);
    free(lines);
    free(sorted);
    return err;
}
