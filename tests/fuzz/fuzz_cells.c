/* Cells files. The input is 2 bytes that say how many bytes of images there are (and in their
 * highest bit whether those are encoded), then the header: the preamble round it and its checksum
 * are put right, since a checksum would keep nearly all inputs out. Then the same again with the
 * header's own hash put right. */
#include <string.h>

#include "kernels/base/hash.h"
#include "proto/cells.h"
#include "proto/cells_layout.h"
#include "proto/wire.h"
#include "tests/fuzz/fuzz.h"

static void require_sound(const cf_cells *c)
{
    uint64_t sum = 0;
    size_t image = (size_t)c->height * (size_t)c->width * 3;
    FUZZ_REQUIRE(c->n >= 0 && c->height > 0 && c->width > 0 && c->site_names.n > 0);
    for (int64_t i = 0; i < c->n; i++) {
        FUZZ_REQUIRE(c->ids[i][0] != '\0');
        FUZZ_REQUIRE(c->labels[i] >= CF_LABEL_UNKNOWN && c->labels[i] < c->scheme.n_classes);
        FUZZ_REQUIRE(c->sites[i] >= 0 && (size_t)c->sites[i] < c->site_names.n);
        FUZZ_REQUIRE(c->patients[i] >= -1 && c->patients[i] < (int)c->patient_names.n);
        if (c->given) FUZZ_REQUIRE((size_t)c->given[i] < c->given_names.n);
        size_t n_kept = image;
        const uint8_t *bytes = c->starts ? cf_cells_encoded(c, i, &n_kept) : cf_cells_image(c, i);
        sum += cf_hash64(bytes, n_kept);
    }
    if (sum == 1) fputs("a sum of one\n", stderr); /* the pixels are looked at */
}

static void read_file(const uint8_t *file, size_t n)
{
    cf_cells cells;
    const char *path = fuzz_file(file, n, "");
    cf_err err = cf_cells_open_any(path, &cells);
    FUZZ_REQUIRE(err == CF_OK || err == CF_E_DATA);
    if (err == CF_OK) {
        require_sound(&cells);
        bool whole = cells.n_unknown == 0;
        cf_cells_close(&cells);
        FUZZ_REQUIRE(cf_cells_open(path, &cells) == (whole ? CF_OK : CF_E_DATA));
    }
    cf_cells_close(&cells);
}

static void put(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* A whole file round a header. */
static void read_header(const uint8_t *header, size_t n, size_t pixels, uint32_t version)
{
    size_t at = CF_CELLS_DATA_OFFSET + pixels;
    uint8_t *file = calloc(at + n + 1, 1);
    FUZZ_REQUIRE(file);
    memcpy(file, CF_CELLS_MAGIC, 8);
    put(file + CF_CELLS_AT_VERSION, version, 4);
    put(file + CF_CELLS_AT_HEADER_BYTES, n, 4);
    put(file + CF_CELLS_AT_DATA_OFFSET, CF_CELLS_DATA_OFFSET, 8);
    put(file + CF_CELLS_AT_HEADER_OFFSET, at, 8);
    put(file + CF_CELLS_AT_HEADER_CRC, cf_crc32c(0, header, n), 4);
    memset(file + CF_CELLS_DATA_OFFSET, 123, pixels);
    memcpy(file + at, header, n);
    read_file(file, at + n);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3) return 0;
    size_t pixels = (size_t)(data[0] | (data[1] & 127) << 8);
    uint32_t version = data[1] & 128 ? CF_CELLS_VERSION_ENCODED : CF_CELLS_VERSION;
    cf_budget budget;
    read_header(data + 2, n - 2, pixels, version);
    cf_budget_init(&budget, n - 2);
    Cf__CellsHeader *h = cf__cells_header__unpack(&budget.allocator, n - 2, data + 2);
    if (!h) return 0;
    h->content_hash = cf_cells_header_hash(h);
    size_t n_packed = cf__cells_header__get_packed_size(h);
    uint8_t *packed = malloc(n_packed + 1);
    FUZZ_REQUIRE(packed);
    cf__cells_header__pack(h, packed);
    cf__cells_header__free_unpacked(h, &budget.allocator);
    if (n_packed > 0) read_header(packed, n_packed, pixels, version);
    free(packed);
    return 0;
}

static void write_cells(const cf_scheme *scheme, int n, bool more, bool encoded)
{
    cf_cells_writer *w;
    uint8_t pixels[2 * 3 * 3];
    memset(pixels, 123, sizeof pixels);
    FUZZ_REQUIRE(cf_cells_create(fuzz_scratch(), scheme, 2, 3, 0.1, &w) == CF_OK);
    for (int i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof id, "A/%d.png", i);
        cf_stain stain = {0};
        cf_cells_entry e = {.id = id,
                            .label = more && i == 1 ? CF_LABEL_UNKNOWN : i % 2,
                            .site = i % 3 ? "Munich" : "",
                            .patient = i % 4 ? "p1" : "",
                            .given = more ? "Blast" : NULL,
                            .stain = more ? &stain : NULL,
                            .encoded = encoded ? "any bytes" : NULL,
                            .n_encoded = (size_t)(encoded ? 1 + i : 0),
                            .pixels = pixels};
        FUZZ_REQUIRE(cf_cells_add(w, &e) == CF_OK);
    }
    FUZZ_REQUIRE(cf_cells_finish(w) == CF_OK);
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const char *const codes[] = {"A", "B"};
    cf_scheme scheme;
    FUZZ_REQUIRE(cf_scheme_from_codes(codes, 2, &scheme) == CF_OK);
    for (int k = 0; k < 8; k++) {
        bool encoded = k >= 4;
        write_cells(&scheme, 1 + 4 * (k / 2 % 2), k % 2, encoded);
        size_t n;
        uint8_t *file = fuzz_load(fuzz_scratch(), &n);
        size_t at = (size_t)cf_get_u64(file + CF_CELLS_AT_HEADER_OFFSET);
        uint8_t *input = malloc(n - at + 2);
        FUZZ_REQUIRE(input);
        put(input, (at - CF_CELLS_DATA_OFFSET) | (encoded ? 1u << 15 : 0), 2);
        memcpy(input + 2, file + at, n - at);
        take(context, input, n - at + 2);
        free(input);
        free(file);
    }
    cf_scheme_fini(&scheme);
}
