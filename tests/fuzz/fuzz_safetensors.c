/* Safetensors: every tensor that is taken lies in the file, and what is written again is read the
 * same. */
#include <string.h>

#include "proto/safetensors.h"
#include "tests/fuzz/fuzz.h"

static void require_same(const cf_safetensors *a, const cf_safetensors *b)
{
    FUZZ_REQUIRE(a->n == b->n && a->n_notes == b->n_notes);
    for (int i = 0; i < a->n; i++) {
        const cf_safetensor *x = &a->items[i], *y = cf_safetensors_find(b, x->name);
        FUZZ_REQUIRE(y != NULL && x->type == y->type && x->rank == y->rank);
        FUZZ_REQUIRE(x->count == y->count && memcmp(x->dim, y->dim, sizeof x->dim) == 0);
        size_t bytes = (size_t)x->count * cf_safetensor_type_bytes(x->type);
        FUZZ_REQUIRE(bytes == 0 || memcmp(x->data, y->data, bytes) == 0);
    }
    for (int i = 0; i < a->n_notes; i++) {
        const char *value = cf_safetensors_note(b, a->notes[i].key);
        FUZZ_REQUIRE(value != NULL && strcmp(value, a->notes[i].value) == 0);
    }
}

static void require_inside(const cf_safetensors *f, const uint8_t *data, size_t n)
{
    for (int i = 0; i < f->n; i++) {
        const cf_safetensor *t = &f->items[i];
        size_t at = (size_t)((const uint8_t *)t->data - data);
        FUZZ_REQUIRE(at <= n && (uint64_t)t->count * cf_safetensor_type_bytes(t->type) <= n - at);
        float *values = calloc((size_t)t->count + 1, sizeof *values);
        FUZZ_REQUIRE(values != NULL);
        cf_err err = cf_safetensors_floats(f, t, values);
        FUZZ_REQUIRE(err == CF_OK || err == CF_E_CHECKPOINT);
        free(values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    cf_safetensors f, again;
    cf_err err = cf_safetensors_parse("input", data, n, &f);
    FUZZ_REQUIRE(err == CF_OK || err == CF_E_CHECKPOINT);
    if (err != CF_OK) return 0;
    require_inside(&f, data, n);
    const char *path = fuzz_scratch();
    FUZZ_REQUIRE(cf_safetensors_write(path, f.items, f.n, f.notes, f.n_notes) == CF_OK);
    FUZZ_REQUIRE(cf_safetensors_open(path, &again) == CF_OK);
    require_same(&f, &again);
    cf_safetensors_close(&again);
    cf_safetensors_close(&f);
    return 0;
}

static void take_header(fuzz_take *take, void *context, const char *header, size_t n_data)
{
    uint8_t bytes[1024] = {0};
    uint64_t length = strlen(header);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < n_data; i++) bytes[8 + length + i] = (uint8_t)(i * 37);
    take(context, bytes, 8 + length + n_data);
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const float values[6] = {1, 2, 3, -4, 5e-8f, 6};
    static const int64_t tracked[1] = {7};
    const cf_safetensor items[] = {
        {"conv1.weight", CF_SAFETENSOR_F32, 4, {1, 3, 1, 2}, 6, values},
        {"bn1.num_batches_tracked", CF_SAFETENSOR_I64, 0, {0}, 1, tracked},
    };
    const cf_safetensor_note notes[] = {{"format", "pt"}, {"scheme", "name: \"bm7\"\n"}};
    const char *path = fuzz_scratch();
    size_t n = 0;
    FUZZ_REQUIRE(cf_safetensors_write(path, items, 2, notes, 2) == CF_OK);
    uint8_t *bytes = fuzz_load(path, &n);
    take(context, bytes, n);
    free(bytes);
    take_header(take, context, "{}", 0);
    take_header(take, context,
                "{\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2]},"
                "\"b\":{\"dtype\":\"F16\",\"shape\":[2,0],\"data_offsets\":[2,2]},"
                "\"\\u00b5\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[2,5]}}   ",
                5);
}
