/* Cells files: what is packed comes back; damage is refused before its word is taken for anything.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/hash.h"
#include "kernels/math/philox.h"
#include "proto/cells.h"
#include "tests/support/peak.h"
#include "tests/support/scratch.h"

enum { SEED = 99, HEIGHT = 3, WIDTH = 5, IMAGE = HEIGHT * WIDTH * 3, DATA = 4096 };

static char folder[CF_PATH_MAX]; /* made by the group's setup */
static char path[CF_PATH_MAX];

static void make_scheme(cf_scheme *s)
{
    static const char *const codes[] = {"BLA", "NGB", "LYT"};
    assert_int_equal(cf_scheme_from_codes(codes, 3, s), CF_OK);
}

static void fill_pixels(int i, uint8_t pixels[IMAGE])
{
    cf_rng r = cf_rng_at(SEED, 0, 0, (uint32_t)i, CF_PURPOSE_TEST);
    for (int k = 0; k < IMAGE; k++) pixels[k] = (uint8_t)cf_rng_u32(&r);
}

static const struct {
    const char *id;
    int label;
    const char *site, *patient;
} rows[] = {{"BLA/1.png", 0, "Munich", "p1"},
            {"NGB/with \"quote\",\n.png", 1, "", ""},
            {"LYT/\xc3\xa9.png", 2, "Munich", "p2"},
            {"BLA/2.png", 0, "Augsburg", "p1"}};
enum { N_ROWS = sizeof rows / sizeof *rows };

static cf_cells_writer *begin(void)
{
    cf_scheme scheme;
    cf_cells_writer *w = NULL;
    make_scheme(&scheme);
    assert_int_equal(cf_cells_create(path, &scheme, HEIGHT, WIDTH, 0.085, &w), CF_OK);
    cf_scheme_fini(&scheme); /* the writer keeps its own copy */
    return w;
}

static cf_err add(cf_cells_writer *w, const char *id, int label, const char *site,
                  const char *patient, const uint8_t *pixels)
{
    cf_cells_entry e = {
        .id = id, .label = label, .site = site, .patient = patient, .pixels = pixels};
    return cf_cells_add(w, &e);
}

static void write_sample(void)
{
    uint8_t pixels[IMAGE];
    cf_cells_writer *w = begin();
    for (int i = 0; i < N_ROWS; i++) {
        fill_pixels(i, pixels);
        assert_int_equal(add(w, rows[i].id, rows[i].label, rows[i].site, rows[i].patient, pixels),
                         CF_OK);
    }
    assert_false(cf_path_exists(path)); /* not under its name before it is whole */
    assert_int_equal(cf_cells_finish(w), CF_OK);
}

static void load_file(uint8_t **bytes, size_t *n)
{
    assert_int_equal(cf_file_read(path, 1 << 26, (char **)bytes, n), CF_OK);
}

static void save_file(const uint8_t *bytes, size_t n)
{
    unlink(path);
    assert_int_equal(cf_file_save(path, bytes, n), CF_OK);
}

static void assert_refused(const char *what)
{
    cf_cells cells;
    cf_err err = cf_cells_open(path, &cells);
    if (err != CF_E_DATA) print_error("%s: code %d\n", what, (int)err);
    assert_int_equal(err, CF_E_DATA);
    assert_null(cells.map.bytes);
    assert_non_null(strstr(cf_err_text(), path));
}

static void cells_come_back_as_packed(void **state)
{
    (void)state;
    cf_cells cells;
    int64_t counts[3];
    uint8_t pixels[IMAGE];
    unlink(path);
    write_sample();
    assert_int_equal(cf_cells_open(path, &cells), CF_OK);
    assert_int_equal(cells.n, N_ROWS);
    assert_int_equal(cells.height, HEIGHT);
    assert_int_equal(cells.width, WIDTH);
    assert_true(cells.um_per_px == 0.085);
    assert_int_equal(cells.scheme.n_classes, 3);
    assert_string_equal(cells.scheme.classes[1].code, "NGB");
    assert_int_equal(cells.site_names.n, 3);
    assert_int_equal(cells.patient_names.n, 2);
    for (int i = 0; i < N_ROWS; i++) {
        assert_string_equal(cells.ids[i], rows[i].id);
        assert_int_equal(cells.labels[i], rows[i].label);
        assert_string_equal(cells.site_names.items[cells.sites[i]], rows[i].site);
        if (*rows[i].patient) {
            assert_string_equal(cells.patient_names.items[cells.patients[i]], rows[i].patient);
        } else {
            assert_int_equal(cells.patients[i], -1);
        }
        fill_pixels(i, pixels);
        assert_memory_equal(cf_cells_image(&cells, i), pixels, IMAGE);
        assert_true(cells.hashes[i] == cf_hash64(pixels, IMAGE));
    }
    cf_cells_count(&cells, counts);
    assert_int_equal(counts[0], 2);
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 1);
    cf_cells_close(&cells);
}

static void same_cells_are_the_same_bytes(void **state)
{
    (void)state;
    uint8_t *first = NULL, *second = NULL;
    size_t n = 0, m = 0;
    unlink(path);
    write_sample();
    load_file(&first, &n);
    unlink(path);
    write_sample();
    load_file(&second, &m);
    assert_int_equal(n, m);
    assert_memory_equal(first, second, n);
    free(first);
    free(second);
}

static uint64_t content_hash_of(int changed, const char *id, int label, const char *patient,
                                int pixel)
{
    cf_cells cells;
    uint8_t pixels[IMAGE] = {0};
    unlink(path);
    cf_cells_writer *w = begin();
    for (int i = 0; i < 3; i++) {
        bool this = i == changed;
        char name[16];
        snprintf(name, sizeof name, "id%d", i);
        pixels[7] = (uint8_t)(this ? pixel : 1);
        assert_int_equal(
            add(w, this ? id : name, this ? label : 1, "s", this ? patient : "p", pixels), CF_OK);
    }
    assert_int_equal(cf_cells_finish(w), CF_OK);
    assert_int_equal(cf_cells_open(path, &cells), CF_OK);
    uint64_t hash = cells.content_hash;
    cf_cells_close(&cells);
    return hash;
}

static void content_hash_tells_every_change(void **state)
{
    (void)state;
    uint64_t base = content_hash_of(-1, "", 0, "", 0);
    assert_true(content_hash_of(-1, "", 0, "", 0) == base);
    assert_true(content_hash_of(1, "id1", 1, "p", 1) == base);
    assert_true(content_hash_of(1, "id9", 1, "p", 1) != base);
    assert_true(content_hash_of(1, "id1", 2, "p", 1) != base);
    assert_true(content_hash_of(1, "id1", 1, "q", 1) != base);
    assert_true(content_hash_of(1, "id1", 1, "", 1) != base);
    assert_true(content_hash_of(1, "id1", 1, "p", 2) != base);
}

/* Beyond the first reservation of every growing array. */
static void ten_thousand_cells_come_back(void **state)
{
    (void)state;
    enum { N = 10000 };
    cf_cells cells;
    char id[32], patient[32];
    uint8_t pixels[IMAGE] = {0};
    unlink(path);
    cf_cells_writer *w = begin();
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof id, "image-%d", i * 7919);
        snprintf(patient, sizeof patient, "%d", i / 3);
        memcpy(pixels, &i, sizeof i);
        assert_int_equal(add(w, id, i % 3, "", patient, pixels), CF_OK);
    }
    assert_int_equal(cf_cells_finish(w), CF_OK);
    assert_int_equal(cf_cells_open(path, &cells), CF_OK);
    assert_int_equal(cells.n, N);
    assert_int_equal(cells.patient_names.n, (N + 2) / 3);
    for (int i = 0; i < N; i++) {
        snprintf(id, sizeof id, "image-%d", i * 7919);
        assert_string_equal(cells.ids[i], id);
        assert_int_equal(cells.patients[i], i / 3);
        assert_memory_equal(cf_cells_image(&cells, i), &i, sizeof i);
    }
    cf_cells_close(&cells);
}

/* Three images: given labels and stains where asked for, the last without a class. */
static void write_optional(bool given, float density)
{
    uint8_t pixels[IMAGE] = {0};
    unlink(path);
    cf_cells_writer *w = begin();
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "id%d", i);
        cf_stain stain = {{{density, 0.5f, 0.25f}, {0.1f, (float)i, 0.3f}}, {1.0f, 2.0f}};
        cf_cells_entry e = {.id = id,
                            .label = i == 2 ? CF_LABEL_UNKNOWN : i,
                            .site = "",
                            .patient = "",
                            .given = given ? (i == 1 ? "Neutrophil" : "Basophil") : NULL,
                            .stain = density > 0.0f ? &stain : NULL,
                            .pixels = pixels};
        assert_int_equal(cf_cells_add(w, &e), CF_OK);
    }
    assert_int_equal(cf_cells_finish(w), CF_OK);
}

static void stains_given_and_missing_labels_come_back(void **state)
{
    (void)state;
    cf_cells cells;
    write_optional(true, 0.75f);
    assert_int_equal(cf_cells_open(path, &cells), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "1 of 3 images have no label"));
    assert_int_equal(cf_cells_open_any(path, &cells), CF_OK);
    assert_int_equal(cells.n_unknown, 1);
    assert_int_equal(cells.labels[2], CF_LABEL_UNKNOWN);
    assert_int_equal(cells.given_names.n, 2);
    assert_string_equal(cells.given_names.items[cells.given[1]], "Neutrophil");
    assert_int_equal(cells.given[0], cells.given[2]);
    assert_true(cells.stains[0].od[0][0] == 0.75f && cells.stains[2].od[1][1] == 2.0f &&
                cells.stains[1].max[1] == 2.0f);
    int64_t counts[3];
    cf_cells_count(&cells, counts);
    assert_int_equal(counts[0] + counts[1] + counts[2], 2);
    uint64_t hash = cells.content_hash;
    cf_cells_close(&cells);
    write_optional(false, 0.5f);
    assert_int_equal(cf_cells_open_any(path, &cells), CF_OK);
    assert_null(cells.given);
    assert_true(cells.content_hash != hash); /* stain augmentation would differ */
    cf_cells_close(&cells);
    write_optional(false, 0.0f);
    assert_int_equal(cf_cells_open_any(path, &cells), CF_OK);
    assert_null(cells.stains);
    cf_cells_close(&cells);
    write_optional(true, INFINITY);
    assert_int_equal(cf_cells_open_any(path, &cells), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "stain"));
}

/* A short file must not make its reader decode into gigabytes. */
static void encoded_images_of_impossible_size_are_refused(void **state)
{
    (void)state;
    cf_scheme scheme;
    cf_cells cells;
    cf_cells_writer *w = NULL;
    const uint64_t hash = 1;
    make_scheme(&scheme);
    for (int side = 8000; side <= 9000; side += 1000) {
        unlink(path);
        assert_int_equal(cf_cells_create(path, &scheme, side, side, 0, &w), CF_OK);
        cf_cells_entry e = {.id = "bomb",
                            .site = "",
                            .patient = "",
                            .hash = &hash,
                            .encoded = (const uint8_t *)"png",
                            .n_encoded = 3};
        assert_int_equal(cf_cells_add(w, &e), CF_OK);
        assert_int_equal(cf_cells_finish(w), CF_OK);
        cf_err err = cf_cells_open(path, &cells);
        assert_int_equal(err, side == 8000 ? CF_OK : CF_E_DATA); /* 64 million pixels are allowed */
        if (err == CF_OK) cf_cells_close(&cells);
    }
    assert_non_null(strstr(cf_err_text(), "9000 x 9000 px, expected at most 64000000 pixels"));
    assert_int_equal(cf_cells_create(path, &scheme, 30000, 30000, 0, &w), CF_E_DATA);
    cf_scheme_fini(&scheme);
}

static void writer_refuses_what_a_reader_would(void **state)
{
    (void)state;
    cf_scheme scheme;
    cf_cells_writer *w = NULL;
    uint8_t pixels[IMAGE] = {0};
    char longest[5000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    unlink(path);
    const struct {
        const char *id;
        int label;
    } bad[] = {{"", 0}, {"a", 3}, {"a", -2}, {longest, 0}, {"twice", 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        w = begin();
        assert_int_equal(add(w, "twice", 0, "", "", pixels), CF_OK);
        assert_int_equal(add(w, bad[i].id, bad[i].label, "", "", pixels), CF_E_DATA);
        cf_cells_abandon(w);
    }
    assert_non_null(strstr(cf_err_text(), "twice"));
    w = begin();
    assert_int_equal(cf_cells_finish(w), CF_E_DATA); /* no images */
    make_scheme(&scheme);
    assert_int_equal(cf_cells_create(path, &scheme, 0, 5, 0, &w), CF_E_DATA);
    assert_int_equal(cf_cells_create(path, &scheme, 5, 70000, 0, &w), CF_E_DATA);
    assert_int_equal(cf_cells_create(path, &scheme, 5, 5, -1, &w), CF_E_DATA);
    assert_int_equal(cf_cells_create("/nowhere/x.cells", &scheme, 5, 5, 0, &w), CF_E_DISK);
    assert_null(w);
    cf_cells_abandon(NULL);
    cf_scheme_fini(&scheme);
    cf_strings left = {0};
    assert_int_equal(cf_dir_list(folder, &left), CF_OK);
    assert_int_equal(left.n, 0); /* no temporaries */
    cf_strings_fini(&left);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    size_t n = 0;
    cf_cells cells;
    unlink(path);
    write_sample();
    load_file(&bytes, &n);
    for (off_t size = (off_t)n - 1; size >= 0; size--) {
        if (size < DATA && size > 100 && size % 512 != 0) continue; /* zeros: all alike */
        assert_int_equal(truncate(path, size), 0);
        cf_err err = cf_cells_open(path, &cells);
        bool told = strstr(cf_err_text(), size < 8 ? "not a cells file" : "truncated") != NULL;
        if (err != CF_E_DATA || !told) {
            fail_msg("%lld bytes: code %d, %s", (long long)size, (int)err, cf_err_text());
        }
    }
    free(bytes);
}

/* All of the preamble and the header; pixels have their own hashes, which nobody checks at open. */
static void every_flipped_bit_outside_the_pixels_is_refused(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    size_t n = 0, bits = 0;
    cf_cells cells;
    unlink(path);
    write_sample();
    load_file(&bytes, &n);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    setbuf(f, NULL);
    for (size_t at = 0; at < n; at++) {
        if (at == 40) at = DATA + (size_t)N_ROWS * IMAGE;
        for (int bit = 0; bit < 8; bit++, bits++) {
            fseek(f, (long)at, SEEK_SET);
            fputc(bytes[at] ^ 1 << bit, f);
            cf_err err = cf_cells_open(path, &cells);
            if (err != CF_E_DATA) fail_msg("bit %d of byte %zu: code %d", bit, at, (int)err);
        }
        fseek(f, (long)at, SEEK_SET);
        fputc(bytes[at], f);
    }
    fclose(f);
    print_message("%zu bits, all refused\n", bits);
    assert_int_equal(cf_cells_open(path, &cells), CF_OK);
    cf_cells_close(&cells);
    free(bytes);
}

static void other_versions_are_refused_by_number(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    size_t n = 0;
    unlink(path);
    write_sample();
    load_file(&bytes, &n);
    bytes[8] = 7;
    save_file(bytes, n);
    assert_refused("version 7");
    assert_non_null(strstr(cf_err_text(), "version 7 (newer); this program reads 1"));
    free(bytes);
}

/* A file of right shape and checksum around a header that lies. */
static void save_header(const uint8_t *header, size_t n, size_t pixel_bytes)
{
    size_t offset = DATA + pixel_bytes, total = offset + n;
    uint8_t *bytes = calloc(total, 1);
    const uint32_t words[] = {1, (uint32_t)n}, crc = cf_crc32c(0, header, n);
    const uint64_t offsets[] = {DATA, offset};
    memcpy(bytes, "CYTOCELL", 8);
    memcpy(bytes + 8, words, sizeof words);
    memcpy(bytes + 16, offsets, sizeof offsets);
    memcpy(bytes + 32, &crc, sizeof crc);
    memcpy(bytes + offset, header, n);
    save_file(bytes, total);
    free(bytes);
}

static void hostile_headers_are_refused_within_their_memory(void **state)
{
    (void)state;
    enum { MOST = 2 << 20 };
    static const uint8_t patterns[][6] = {
        {2, 0x9a, 0x00},                   /* half a tag: varints that run into each other */
        {2, 0x7a, 0x00},                   /* site_name_bytes, empty pieces */
        {2, 0x3a, 0x00},                   /* ids again and again */
        {3, 0x9a, 0x06, 0x00},             /* unknown field 99, empty */
        {1, 0x0b},                         /* groups in groups */
        {5, 0x7a, 0xfa, 0xff, 0x7f, 0x7a}, /* messages in messages */
        {2, 0x48, 0x02},                   /* labels one by one, not packed */
        {1, 0xff},
    };
    uint8_t *header = malloc(MOST);
    size_t before = peak_bytes();
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        for (size_t i = 0; i < MOST; i++) header[i] = patterns[p][1 + i % patterns[p][0]];
        save_header(header, MOST, 12);
        assert_refused("pattern");
    }
    /* A million images of 65,535 x 65,535 px claimed in 12 bytes of pixels. */
    save_header((const uint8_t *)"\x08\xff\xff\x03\x10\xff\xff\x03\x20\xc0\x84\x3d", 12, 12);
    assert_refused("claimed size");
    save_header((const uint8_t *)"\x3a\xff\xff\xff\xff\x0f", 6, 12);
    assert_refused("length past the end");
    free(header);
    size_t used = peak_bytes() - before;
    print_message("hostile headers took %zu KiB at most\n", used / 1024);
    if (peak_is_ours()) assert_true(used < (size_t)2 * MOST + (size_t)64 * 1000 * 1000);
}

static void files_that_are_no_cells_are_refused(void **state)
{
    (void)state;
    cf_cells cells;
    save_file((const uint8_t *)"CYTOCKPT and more", 17);
    assert_refused("checkpoint");
    assert_non_null(strstr(cf_err_text(), "not a cells file"));
    save_file((const uint8_t *)"", 0);
    assert_refused("empty");
    unlink(path);
    assert_refused("missing");
    assert_int_equal(cf_cells_open(folder, &cells), CF_E_DATA);
}

static int make_folder(void **state)
{
    (void)state;
    if (!scratch_make(folder)) return -1;
    return cf_path_join(path, sizeof path, folder, "a.cells") == CF_OK ? 0 : -1;
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
        cmocka_unit_test(cells_come_back_as_packed),
        cmocka_unit_test(same_cells_are_the_same_bytes),
        cmocka_unit_test(content_hash_tells_every_change),
        cmocka_unit_test(ten_thousand_cells_come_back),
        cmocka_unit_test(stains_given_and_missing_labels_come_back),
        cmocka_unit_test(encoded_images_of_impossible_size_are_refused),
        cmocka_unit_test(writer_refuses_what_a_reader_would),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_outside_the_pixels_is_refused),
        cmocka_unit_test(other_versions_are_refused_by_number),
        cmocka_unit_test(hostile_headers_are_refused_within_their_memory),
        cmocka_unit_test(files_that_are_no_cells_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
