/* Cells files that keep encoded images: the same pixels, hashes and batches as of decoded ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/math/philox.h"
#include "proto/wire.h"
#include "tests/support/pictures.h"
#include "tests/support/scratch.h"
#include "worker/data/fetch.h"
#include "worker/data/loader.h"
#include "worker/data/pack.h"

enum { SIDE = 24, N = 12, BYTES = SIDE * SIDE * 3, AT_VERSION = 8, AT_HEADER_OFFSET = 24 };

typedef struct fixture {
    char dir[CF_PATH_MAX], images[CF_PATH_MAX];
    char decoded[CF_PATH_MAX], encoded[CF_PATH_MAX];
    cf_source source;
    cf_pack_options options;
    cf_pack_result result;
} fixture;

static void join(char *path, const char *a, const char *b)
{
    assert_int_equal(cf_path_join(path, CF_PATH_MAX, a, b), CF_OK);
}

/* Picture i: baseline, progressive, turned by EXIF, grey; every fifth a PNG. */
static picture picture_of(int i)
{
    static const uint8_t turned[] =
        "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
        "\0\0\0";
    static uint8_t pixels[BYTES];
    static uint8_t *rows[SIDE];
    cf_rng rng = cf_rng_at(17, 0, 0, (uint32_t)i, CF_PURPOSE_TEST);
    int slope = 1 + (int)cf_rng_below(&rng, 7);
    for (int k = 0; k < BYTES; k++)
        pixels[k] = (uint8_t)(slope * (k % (3 * SIDE)) / 3 + k / (3 * SIDE) * 3 +
                              (int)cf_rng_below(&rng, 30));
    if (i % 5 == 4) {
        for (int y = 0; y < SIDE; y++) rows[y] = pixels + 3 * SIDE * y;
        png_form png = {
            .width = SIDE, .height = SIDE, .depth = 8, .color_type = PNG_COLOR_TYPE_RGB};
        return picture_png(&png, rows);
    }
    bool grey = i % 5 == 3;
    jpeg_form jpeg = {.width = SIDE,
                      .height = SIDE,
                      .channels = grey ? 1 : 3,
                      .space = grey ? JCS_GRAYSCALE : JCS_RGB,
                      .progressive = i % 5 == 1,
                      .app1 = i % 5 == 2 ? turned : NULL,
                      .n_app1 = sizeof turned - 1};
    return picture_jpeg(&jpeg, pixels);
}

static cf_err pack(fixture *f, enum cf_pack_store store)
{
    f->options.store = store;
    f->options.output = store == CF_PACK_ENCODED ? f->encoded : f->decoded;
    cf_err err = cf_pack(&f->options, &f->result);
    cf_pack_result_fini(&f->result);
    return err;
}

static void fixture_init(fixture *f)
{
    assert_true(scratch_make(f->dir));
    join(f->images, f->dir, "images");
    join(f->decoded, f->dir, "decoded.cells");
    join(f->encoded, f->dir, "encoded.cells");
    for (int i = 0; i < N; i++) {
        char folder[CF_PATH_MAX], path[CF_PATH_MAX], name[32];
        join(folder, f->images, i % 3 ? "A" : "B");
        assert_int_equal(cf_dir_make(folder), CF_OK);
        snprintf(name, sizeof name, "%02d.jpg", i);
        join(path, folder, name);
        picture p = picture_of(i);
        assert_int_equal(cf_file_save(path, p.bytes, p.n), CF_OK);
        free(p.bytes);
    }
    f->source = (cf_source){.path = f->images, .site = "", .name = ""};
    f->options = (cf_pack_options){.sources = &f->source,
                                   .n_sources = 1,
                                   .scheme = "auto",
                                   .threads = 3,
                                   .max_pixels = 1 << 20};
}

static void fixture_packed(fixture *f, cf_cells *decoded, cf_cells *encoded)
{
    fixture_init(f);
    if (pack(f, CF_PACK_DECODED) != CF_OK) fail_msg("%s", cf_err_text());
    if (pack(f, CF_PACK_ENCODED) != CF_OK) fail_msg("%s", cf_err_text());
    if (cf_cells_open(f->decoded, decoded) != CF_OK) fail_msg("%s", cf_err_text());
    if (cf_cells_open(f->encoded, encoded) != CF_OK) fail_msg("%s", cf_err_text());
}

static void fixture_fini(fixture *f, cf_cells *decoded, cf_cells *encoded)
{
    cf_cells_close(decoded);
    cf_cells_close(encoded);
    scratch_remove(f->dir);
}

static void encoded_file_has_the_decoded_files_pixels_and_hashes(void **state)
{
    (void)state;
    fixture f;
    cf_cells decoded, encoded;
    cf_image room = {0};
    fixture_packed(&f, &decoded, &encoded);
    assert_int_equal(cf_get_u32(decoded.map.bytes + AT_VERSION), 1);
    assert_int_equal(cf_get_u32(encoded.map.bytes + AT_VERSION), 2);
    assert_true(decoded.content_hash == encoded.content_hash);
    for (int i = 0; i < N; i++) {
        const uint8_t *pixels, *borrowed;
        char path[CF_PATH_MAX], *bytes;
        size_t n, n_kept;
        assert_string_equal(decoded.ids[i], encoded.ids[i]);
        assert_int_equal(cf_cells_fetch(&encoded, i, &room, &pixels), CF_OK);
        assert_int_equal(cf_cells_fetch(&decoded, i, &room, &borrowed), CF_OK);
        assert_ptr_equal(borrowed, cf_cells_image(&decoded, i));
        assert_memory_equal(pixels, borrowed, BYTES);
        assert_int_equal(cf_cells_verify(&encoded, i, pixels), CF_OK);
        join(path, f.images, encoded.ids[i]);
        assert_int_equal(cf_file_read(path, 1 << 20, &bytes, &n), CF_OK);
        const uint8_t *kept = cf_cells_encoded(&encoded, i, &n_kept);
        assert_int_equal(n, n_kept);
        assert_memory_equal(bytes, kept, n);
        free(bytes);
    }
    cf_image_fini(&room);
    fixture_fini(&f, &decoded, &encoded);
}

static cf_err room_alloc(void *ctx, size_t bytes, void **out)
{
    (void)ctx;
    *out = malloc(bytes);
    return *out ? CF_OK : cf_fail(CF_E_UNEXPECTED, "no memory");
}

static void room_free(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

static void batches_of_both_files_are_the_same(void **state)
{
    (void)state;
    fixture f;
    cf_cells cells[2];
    cf_config config;
    int64_t images[N], wait;
    fixture_packed(&f, &cells[0], &cells[1]);
    cf_config_defaults(&config);
    config.model_image_size = 16;
    config.augment_rotation = 90;
    config.run_loader_threads = 3;
    for (int i = 0; i < N; i++) images[i] = (5 * i + 1) % N;
    for (int raw = 0; raw < 2; raw++) {
        cf_loader *loaders[2];
        cf_prepared batch[2];
        const cf_raw_room room = {.alloc_host = room_alloc, .free_host = room_free};
        for (int k = 0; k < 2; k++) {
            cf_err err = raw ? cf_loader_create_raw(&cells[k], &config, N, &room, &loaders[k])
                             : cf_loader_create(&cells[k], &config, N, &loaders[k]);
            assert_int_equal(err, CF_OK);
            cf_request r = {.images = images, .n_images = N, .augment = 1, .epoch = 3};
            assert_int_equal(cf_loader_request(loaders[k], &r), CF_OK);
            if (cf_loader_next(loaders[k], &batch[k], &wait) != CF_OK)
                fail_msg("%s", cf_err_text());
        }
        for (int i = 0; i < N && raw; i++) {
            assert_int_equal(batch[1].raw[i].offset, -1);
            assert_memory_equal(batch[0].raw[i].pixels, batch[1].raw[i].pixels, BYTES);
        }
        if (!raw)
            assert_memory_equal(batch[0].images, batch[1].images, N * 16 * 16 * 3 * sizeof(float));
        for (int k = 0; k < 2; k++) cf_loader_destroy(loaders[k]);
    }
    fixture_fini(&f, &cells[0], &cells[1]);
}

/* Every byte of one image: its decoder or its hash names it, or the pixels are untouched. */
static void damage_to_an_encoded_image_is_named(void **state)
{
    (void)state;
    fixture f;
    cf_cells decoded, encoded;
    cf_image room = {0};
    fixture_packed(&f, &decoded, &encoded);
    int n_found = 0, n_harmless = 0;
    size_t n = encoded.map.n_bytes, n_image;
    uint8_t *copy = malloc(n);
    assert_non_null(copy);
    memcpy(copy, encoded.map.bytes, n);
    cf_cells damaged = encoded;
    damaged.map.bytes = copy;
    const uint8_t *pixels;
    uint8_t *image = copy + (cf_cells_encoded(&encoded, 5, &n_image) - encoded.map.bytes);
    for (size_t k = 0; k < n_image; k++) {
        image[k] ^= 0x10;
        cf_err err = cf_cells_fetch(&damaged, 5, &room, &pixels);
        if (err == CF_OK) err = cf_cells_verify(&damaged, 5, pixels);
        if (err == CF_OK) {
            assert_memory_equal(pixels, cf_cells_image(&decoded, 5), BYTES);
            n_harmless++;
        } else {
            assert_int_equal(err, CF_E_DATA);
            if (!strstr(cf_err_text(), encoded.ids[5])) fail_msg("%s", cf_err_text());
            if (!strstr(cf_err_text(), "damaged")) fail_msg("%s", cf_err_text());
            n_found++;
        }
        image[k] ^= 0x10;
    }
    print_message("%zu bytes: %d named, %d touch no pixel\n", n_image, n_found, n_harmless);
    /* a third is APP0, tables' entries that no pixel uses and the like */
    assert_true(n_found > 2 * n_harmless);
    cf_image_fini(&room);
    free(copy);
    fixture_fini(&f, &decoded, &encoded);
}

static void assert_header_refused(const char *path, const uint8_t *bytes, size_t n,
                                  const char *words)
{
    cf_cells cells;
    assert_int_equal(cf_file_save(path, bytes, n), CF_OK);
    assert_int_equal(cf_cells_open(path, &cells), CF_E_DATA);
    if (!strstr(cf_err_text(), words)) fail_msg("\"%s\" is not in: %s", words, cf_err_text());
}

static void version_and_lengths_must_agree(void **state)
{
    (void)state;
    fixture f;
    cf_cells cells[2];
    char path[CF_PATH_MAX];
    fixture_packed(&f, &cells[0], &cells[1]);
    join(path, f.dir, "odd.cells");
    for (int k = 0; k < 2; k++) { /* each says that it is the other */
        size_t n = cells[k].map.n_bytes;
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, cells[k].map.bytes, n);
        copy[AT_VERSION] = (uint8_t)(2 - k);
        assert_header_refused(path, copy, n, "lengths of encoded images in format version");
        copy[AT_VERSION] = 3;
        assert_header_refused(path, copy, n, "format version 3 (newer)");
        free(copy);
    }
    /* four bytes that belong to no image */
    size_t n = cells[1].map.n_bytes, header = (size_t)cells[1].starts[N];
    uint8_t *longer = malloc(n + 4);
    assert_non_null(longer);
    memcpy(longer, cells[1].map.bytes, header);
    memset(longer + header, 0, 4);
    memcpy(longer + header + 4, cells[1].map.bytes + header, n - header);
    cf_put_u64(longer + AT_HEADER_OFFSET, header + 4);
    assert_header_refused(path, longer, n + 4, "encoded images end at byte");
    /* four too few */
    memcpy(longer + header - 4, cells[1].map.bytes + header, n - header);
    cf_put_u64(longer + AT_HEADER_OFFSET, header - 4);
    assert_header_refused(path, longer, n - 4, "header: image 11:");
    free(longer);
    fixture_fini(&f, &cells[0], &cells[1]);
}

static void assert_cut_refused(fixture *f, const char *words)
{
    assert_int_equal(pack(f, CF_PACK_ENCODED), CF_E_USAGE);
    if (!strstr(cf_err_text(), words)) fail_msg("\"%s\" is not in: %s", words, cf_err_text());
    assert_false(cf_path_exists(f->encoded));
}

static void what_would_change_pixels_is_refused(void **state)
{
    (void)state;
    fixture f;
    char path[CF_PATH_MAX];
    const char *rows = "path,label,x,y\nimages/A/01.jpg,A,3,4\n";
    fixture_init(&f);
    f.options.cut.size = 16;
    assert_cut_refused(&f, "--size would change");
    f.options.cut.size = 0;
    f.options.cut.crop_um = 4.0;
    f.source.um_per_px = 0.5;
    assert_cut_refused(&f, "--crop-um would change");
    f.options.cut.crop_um = 0.0;
    f.options.cut.patch = 8;
    join(path, f.dir, "cells.csv");
    assert_int_equal(cf_file_save(path, rows, strlen(rows)), CF_OK);
    f.source.path = path;
    assert_cut_refused(&f, "line 2 asks for a cell cut out of");
    scratch_remove(f.dir);
}

/* A decoder's own memory is bounded by the limit on pixels: an image that was packed under the
 * usual one is read under it too, however much a progressive one takes. */
static void image_that_was_packed_is_fetched(void **state)
{
    (void)state;
    enum { WIDE = 1200 };
    fixture f;
    cf_cells cells;
    cf_image room = {0};
    char folder[CF_PATH_MAX], path[CF_PATH_MAX];
    const uint8_t *pixels;
    jpeg_form form = {.width = WIDE,
                      .height = WIDE,
                      .channels = 3,
                      .space = JCS_RGB,
                      .stored = JCS_RGB, /* no subsampling: 6 bytes a pixel */
                      .n_scans = 30};
    fixture_init(&f);
    join(f.images, f.dir, "wide");
    join(folder, f.images, "A");
    join(path, folder, "wide.jpg");
    assert_int_equal(cf_dir_make(folder), CF_OK);
    uint8_t *grey = calloc(WIDE * WIDE, 3);
    picture p = picture_jpeg(&form, grey);
    assert_int_equal(cf_file_save(path, p.bytes, p.n), CF_OK);
    free(p.bytes);
    free(grey);
    f.options.max_pixels = CF_IMAGE_DEFAULT_LIMIT;
    if (pack(&f, CF_PACK_ENCODED) != CF_OK) fail_msg("%s", cf_err_text());
    if (cf_cells_open(f.encoded, &cells) != CF_OK) fail_msg("%s", cf_err_text());
    if (cf_cells_fetch(&cells, 0, &room, &pixels) != CF_OK) fail_msg("%s", cf_err_text());
    cf_image_fini(&room);
    cf_cells_close(&cells);
    scratch_remove(f.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoded_file_has_the_decoded_files_pixels_and_hashes),
        cmocka_unit_test(batches_of_both_files_are_the_same),
        cmocka_unit_test(damage_to_an_encoded_image_is_named),
        cmocka_unit_test(version_and_lengths_must_agree),
        cmocka_unit_test(what_would_change_pixels_is_refused),
        cmocka_unit_test(image_that_was_packed_is_fetched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
