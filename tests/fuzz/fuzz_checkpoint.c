/* Checkpoints. The input is 2 bytes that say how long the header is, the header, then tensors: the
 * preamble and footer round them and the footer's hash are put right, since they would keep nearly
 * all inputs out; for the same reason every CRC32C is 0 in this program, writer and reader alike
 * (the linker puts __wrap_cf_crc32c in its place). */
#include <string.h>

#include "kernels/base/hash.h"
#include "proto/checkpoint.h"
#include "proto/checkpoint_layout.h"
#include "proto/wire.h"
#include "tests/fuzz/fuzz.h"

uint32_t __wrap_cf_crc32c(uint32_t crc, const void *bytes, size_t n);
uint32_t __wrap_cf_crc32c(uint32_t crc, const void *bytes, size_t n)
{
    (void)crc, (void)bytes, (void)n;
    return 0;
}

static void put(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static void require_sound(const cf_checkpoint *c)
{
    FUZZ_REQUIRE(c->n_flats >= 0 && c->n_flats <= CF_CHECKPOINT_MAX_TENSORS && c->n_entries >= 0);
    for (int i = 0; i < c->n_flats; i++) {
        const cf_flat *f = &c->flats[i];
        FUZZ_REQUIRE(f->count >= 0 && (uintptr_t)f->data % CF_CHECKPOINT_ALIGN == 0);
        if (f->count > 0 && cf_hash64(f->data, (size_t)f->count * 4) == 1) fputs("one\n", stderr);
    }
    for (int i = 0; i < c->n_entries; i++) {
        const cf_tensor_entry *e = &c->entries[i];
        int64_t count = 1, room = -1;
        for (int d = 0; d < e->rank; d++) count *= e->dim[d];
        for (int k = 0; k < c->n_flats; k++)
            if (strcmp(c->flats[k].name, e->flat) == 0) room = c->flats[k].count;
        FUZZ_REQUIRE(e->rank >= 1 && e->rank <= 4 && count >= 1 && e->offset >= 0);
        FUZZ_REQUIRE(e->offset <= room && count <= room - e->offset);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static cf_checkpoint c;
    if (n < 3) return 0;
    size_t header = (size_t)(data[0] | data[1] << 8);
    if (header > n - 2) header = n - 2;
    size_t tensors = n - 2 - header, at = CF_CHECKPOINT_PREAMBLE_BYTES + header;
    size_t begin = cf_checkpoint_align(at), footer = cf_checkpoint_align(begin + tensors);
    if (tensors == 0) footer = begin;
    size_t total = footer + CF_CHECKPOINT_FOOTER_BYTES;
    uint8_t *file = calloc(total, 1);
    FUZZ_REQUIRE(file);
    memcpy(file, CF_CHECKPOINT_MAGIC, 8);
    put(file + CF_CHECKPOINT_AT_VERSION, CF_CHECKPOINT_VERSION, 4);
    put(file + CF_CHECKPOINT_AT_HEADER_BYTES, header, 4);
    memcpy(file + CF_CHECKPOINT_PREAMBLE_BYTES, data + 2, header);
    memcpy(file + begin, data + 2 + header, tensors);
    put(file + footer, total, 8);
    put(file + footer + CF_CHECKPOINT_FOOTER_AT_HASH,
        cf_hash64(file, footer + CF_CHECKPOINT_FOOTER_AT_HASH), 8);
    memcpy(file + footer + CF_CHECKPOINT_FOOTER_AT_MAGIC, CF_CHECKPOINT_END, 8);
    cf_err err = cf_checkpoint_read(fuzz_file(file, total, ""), &c);
    FUZZ_REQUIRE(err == CF_OK || err == CF_E_CHECKPOINT);
    if (err == CF_OK) require_sound(&c);
    cf_checkpoint_fini(&c);
    free(file);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static cf_checkpoint c;
    static float weights[40], state[3];
    static cf_tensor_entry entries[2] = {
        {.name = "stem.weight", .flat = "weights", .rank = 4, .dim = {2, 2, 1, 2}, .offset = 32},
        {.name = "stem.mean", .flat = "state", .rank = 2, .dim = {3, 1}}};
    for (int k = 0; k < 2; k++) {
        c = (cf_checkpoint){.program_version = "0.1.0",
                            .fold = 4,
                            .step = 1234567890123,
                            .config = "train:\n  epochs: 20\n",
                            .n_flats = 2 * k,
                            .entries = entries,
                            .n_entries = 2 * k};
        c.flats[0] = (cf_flat){.name = "weights", .count = 40, .data = weights};
        c.flats[1] = (cf_flat){.name = "state", .count = 3, .data = state};
        FUZZ_REQUIRE(cf_checkpoint_write(fuzz_scratch(), &c) == CF_OK);
        size_t n;
        uint8_t *file = fuzz_load(fuzz_scratch(), &n), *input = malloc(n);
        FUZZ_REQUIRE(input);
        size_t header = cf_get_u32(file + CF_CHECKPOINT_AT_HEADER_BYTES);
        size_t begin = cf_checkpoint_align(CF_CHECKPOINT_PREAMBLE_BYTES + header);
        size_t tensors = n - CF_CHECKPOINT_FOOTER_BYTES - begin;
        put(input, header, 2);
        memcpy(input + 2, file + CF_CHECKPOINT_PREAMBLE_BYTES, header);
        memcpy(input + 2 + header, file + begin, tensors);
        take(context, input, 2 + header + tensors);
        free(input);
        free(file);
    }
}
