/* Reading: the preamble and header are checked whole before anything is allocated by their word;
 * pixels are left to whoever reads them. */
#include "proto/cells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "proto/cells_layout.h"
#include "proto/names.h"
#include "proto/wire.h"

uint64_t cf_cells_header_hash(const Cf__CellsHeader *h)
{
    const uint64_t parts[] = {
        h->height,
        h->width,
        h->n_images,
        cf_hash64(h->scheme_text.data, h->scheme_text.len),
        cf_hash64(h->ids.data, h->ids.len),
        cf_hash64(h->id_bytes, h->n_id_bytes * sizeof *h->id_bytes),
        cf_hash64(h->labels, h->n_labels * sizeof *h->labels),
        cf_hash64(h->sites, h->n_sites * sizeof *h->sites),
        cf_hash64(h->patients, h->n_patients * sizeof *h->patients),
        cf_hash64(h->pixel_hashes, h->n_pixel_hashes * sizeof *h->pixel_hashes),
        cf_hash64(h->site_names.data, h->site_names.len),
        cf_hash64(h->site_name_bytes, h->n_site_name_bytes * sizeof *h->site_name_bytes),
        cf_hash64(h->patient_names.data, h->patient_names.len),
        cf_hash64(h->patient_name_bytes, h->n_patient_name_bytes * sizeof *h->patient_name_bytes),
    };
    uint64_t hash = cf_hash64(parts, sizeof parts);
    if (h->n_stains == 0) return hash; /* as before there were stains */
    const uint64_t all[] = {hash, cf_hash64(h->stains, h->n_stains * sizeof *h->stains)};
    return cf_hash64(all, sizeof all);
}

enum { STAIN_FLOATS = sizeof(cf_stain) / sizeof(float) };

static cf_err check_version(const char *path, uint32_t version)
{
    if (version == CF_CELLS_VERSION || version == CF_CELLS_VERSION_ENCODED) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%s: cells file of format version %u (%s); this program reads %u and %u", path,
                   version, version > CF_CELLS_VERSION_ENCODED ? "newer" : "older",
                   CF_CELLS_VERSION, CF_CELLS_VERSION_ENCODED);
}

/* Finds the header in the mapping; its bytes are what was written. */
static cf_err find_header(const char *path, const cf_map *map, ProtobufCBinaryData *header)
{
    const uint8_t *b = map->bytes;
    const size_t magic_bytes = sizeof CF_CELLS_MAGIC - 1;
    if (map->n_bytes < magic_bytes || memcmp(b, CF_CELLS_MAGIC, magic_bytes) != 0) {
        return cf_fail(CF_E_DATA, "%s: not a cells file: expected \"%s\" at byte 0", path,
                       CF_CELLS_MAGIC);
    }
    if (map->n_bytes < CF_CELLS_DATA_OFFSET) {
        return cf_fail(CF_E_DATA, "%s: truncated: expected at least %d bytes, found %zu", path,
                       CF_CELLS_DATA_OFFSET, map->n_bytes);
    }
    CF_TRY(check_version(path, cf_get_u32(b + CF_CELLS_AT_VERSION)));
    uint64_t bytes = cf_get_u32(b + CF_CELLS_AT_HEADER_BYTES);
    uint64_t data = cf_get_u64(b + CF_CELLS_AT_DATA_OFFSET);
    uint64_t offset = cf_get_u64(b + CF_CELLS_AT_HEADER_OFFSET);
    if (data != CF_CELLS_DATA_OFFSET || offset < data || offset > INT64_MAX || bytes == 0 ||
        bytes > CF_CELLS_MAX_HEADER_BYTES || cf_get_u32(b + CF_CELLS_AT_ZERO) != 0) {
        return cf_fail(CF_E_DATA,
                       "%s: damaged: data at %llu and a header of %llu bytes at %llu in %zu bytes",
                       path, (unsigned long long)data, (unsigned long long)bytes,
                       (unsigned long long)offset, map->n_bytes);
    }
    if (offset + bytes != map->n_bytes) {
        return cf_fail(CF_E_DATA, "%s: %s: expected %llu bytes, found %zu", path,
                       offset + bytes > map->n_bytes ? "truncated" : "damaged",
                       (unsigned long long)(offset + bytes), map->n_bytes);
    }
    uint32_t expected = cf_get_u32(b + CF_CELLS_AT_HEADER_CRC);
    uint32_t found = cf_crc32c(0, b + offset, bytes);
    if (expected != found) {
        return cf_fail(CF_E_DATA, "%s: header at byte %llu: expected checksum %08x, found %08x",
                       path, (unsigned long long)offset, expected, found);
    }
    header->data = (uint8_t *)(uintptr_t)(b + offset);
    header->len = bytes;
    return CF_OK;
}

static cf_err check_columns(const char *path, const Cf__CellsHeader *h)
{
    const struct {
        const char *name;
        size_t n;
    } columns[] = {{"id_bytes", h->n_id_bytes},
                   {"labels", h->n_labels},
                   {"sites", h->n_sites},
                   {"patients", h->n_patients},
                   {"pixel_hashes", h->n_pixel_hashes},
                   {"given", h->n_given ? h->n_given : (size_t)h->n_images},
                   {"image_bytes", h->n_image_bytes ? h->n_image_bytes : (size_t)h->n_images}};
    if (h->n_images == 0 || h->n_images > CF_CELLS_MAX_IMAGES) {
        return cf_fail(CF_E_DATA, "%s: header: %llu images, expected 1 to %d", path,
                       (unsigned long long)h->n_images, CF_CELLS_MAX_IMAGES);
    }
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        if (columns[i].n == h->n_images) continue;
        return cf_fail(CF_E_DATA, "%s: header: column %s: expected %llu rows, found %zu", path,
                       columns[i].name, (unsigned long long)h->n_images, columns[i].n);
    }
    if (h->n_stains != 0 && h->n_stains != STAIN_FLOATS * h->n_images) {
        return cf_fail(CF_E_DATA, "%s: header: column stains: expected %llu numbers, found %zu",
                       path, (unsigned long long)(STAIN_FLOATS * h->n_images), h->n_stains);
    }
    if (h->n_site_name_bytes == 0) return cf_fail(CF_E_DATA, "%s: header: no site", path);
    return CF_OK;
}

/* The header's image size and count account for every byte between the preamble and the header. */
static cf_err check_pixels(const char *path, const Cf__CellsHeader *h, size_t header_offset)
{
    size_t bytes = 0, image = (size_t)3 * h->height;
    if (h->height == 0 || h->width == 0 || h->height > CF_CELLS_MAX_SIDE ||
        h->width > CF_CELLS_MAX_SIDE) {
        return cf_fail(CF_E_DATA, "%s: header: images of %u x %u px, expected 1 to %d a side", path,
                       h->height, h->width, CF_CELLS_MAX_SIDE);
    }
    image *= h->width;
    int64_t most = h->n_image_bytes ? CF_CELLS_MAX_ENCODED_PIXELS : CF_CELLS_MAX_PIXELS;
    if ((int64_t)h->height * h->width > most) {
        return cf_fail(CF_E_DATA, "%s: header: images of %u x %u px, expected at most %lld pixels",
                       path, h->height, h->width, (long long)most);
    }
    if (h->n_image_bytes) return CF_OK; /* take_starts */
    if (!cf_size_mul(image, (size_t)h->n_images, &bytes) ||
        bytes != header_offset - CF_CELLS_DATA_OFFSET) {
        return cf_fail(CF_E_DATA, "%s: %llu images of %u x %u px do not fill %zu bytes", path,
                       (unsigned long long)h->n_images, h->height, h->width,
                       header_offset - CF_CELLS_DATA_OFFSET);
    }
    return CF_OK;
}

/* ---- columns ----------------------------------------------------------------------------------
 */

/* Pointers and texts in one block: a million ids are one allocation. */
typedef struct ids_builder {
    char **ids;
    char *next;
    cf_names seen;
    const char *twice; /* an id that came twice */
    cf_err err;
} ids_builder;

static bool add_id(void *user, size_t i, const char *bytes, size_t n)
{
    ids_builder *b = user;
    uint32_t number = 0;
    bool added = false;
    memcpy(b->next, bytes, n);
    b->next[n] = '\0';
    b->ids[i] = b->next;
    b->next += n + 1;
    b->err = cf_names_add(&b->seen, bytes, n, &number, &added);
    if (b->err == CF_OK && !added) b->twice = b->ids[i];
    return b->err == CF_OK && added && n > 0;
}

static cf_err take_ids(const char *path, const Cf__CellsHeader *h, cf_cells *cells)
{
    size_t n = (size_t)h->n_images;
    CF_TRY(cf_new(&cells->ids, n * sizeof(char *) + h->ids.len + n, 1));
    ids_builder b = {.ids = cells->ids, .next = (char *)(cells->ids + n)};
    bool whole = cf_wire_strings(&h->ids, h->id_bytes, n, CF_CELLS_MAX_NAME_BYTES, add_id, &b);
    cf_names_fini(&b.seen);
    if (b.err != CF_OK) return b.err;
    if (b.twice) return cf_fail(CF_E_DATA, "%s: header: id \"%s\" twice", path, b.twice);
    if (!whole) return cf_fail(CF_E_DATA, "%s: header: ids and their lengths do not agree", path);
    return CF_OK;
}

static bool add_name(void *user, size_t i, const char *bytes, size_t n)
{
    (void)i;
    char text[CF_CELLS_MAX_NAME_BYTES + 1];
    memcpy(text, bytes, n);
    text[n] = '\0';
    return cf_strings_add(user, text) == CF_OK;
}

static cf_err take_names(const char *path, const Cf__CellsHeader *h, cf_cells *cells)
{
    if (!cf_wire_strings(&h->site_names, h->site_name_bytes, h->n_site_name_bytes,
                         CF_CELLS_MAX_NAME_BYTES, add_name, &cells->site_names)) {
        return cf_fail(CF_E_DATA, "%s: header: site names are damaged", path);
    }
    if (!cf_wire_strings(&h->patient_names, h->patient_name_bytes, h->n_patient_name_bytes,
                         CF_CELLS_MAX_NAME_BYTES, add_name, &cells->patient_names)) {
        return cf_fail(CF_E_DATA, "%s: header: patient names are damaged", path);
    }
    if (!cf_wire_strings(&h->given_names, h->given_name_bytes, h->n_given_name_bytes,
                         CF_CELLS_MAX_NAME_BYTES, add_name, &cells->given_names)) {
        return cf_fail(CF_E_DATA, "%s: header: the sources' labels are damaged", path);
    }
    return CF_OK;
}

static cf_err take_stains(const char *path, const Cf__CellsHeader *h, cf_cells *cells)
{
    if (h->n_stains == 0) return CF_OK;
    for (size_t i = 0; i < h->n_stains; i++) {
        if (!isfinite(h->stains[i])) {
            return cf_fail(CF_E_DATA, "%s: image %zu: stain vector of %g", path, i / STAIN_FLOATS,
                           (double)h->stains[i]);
        }
    }
    CF_TRY(cf_new(&cells->stains, (size_t)h->n_images, sizeof *cells->stains));
    memcpy(cells->stains, h->stains, h->n_stains * sizeof *h->stains);
    return CF_OK;
}

static cf_err take_given(const char *path, const Cf__CellsHeader *h, cf_cells *cells)
{
    if (h->n_given == 0) return CF_OK;
    CF_TRY(cf_new(&cells->given, h->n_given, sizeof *cells->given));
    for (size_t i = 0; i < h->n_given; i++) {
        if (h->given[i] >= cells->given_names.n) {
            return cf_fail(CF_E_DATA, "%s: image %zu: given label %u of %zu", path, i, h->given[i],
                           cells->given_names.n);
        }
        cells->given[i] = (int32_t)h->given[i];
    }
    return CF_OK;
}

/* Encoded images fill the bytes between the preamble and the header, and only version 2 has them.
 */
static cf_err take_starts(const char *path, const Cf__CellsHeader *h, cf_cells *cells)
{
    const uint8_t *b = cells->map.bytes;
    uint32_t version = cf_get_u32(b + CF_CELLS_AT_VERSION);
    uint64_t end = cf_get_u64(b + CF_CELLS_AT_HEADER_OFFSET), at = CF_CELLS_DATA_OFFSET;
    if ((version == CF_CELLS_VERSION_ENCODED) != (h->n_image_bytes != 0))
        return cf_fail(CF_E_DATA, "%s: header: %zu lengths of encoded images in format version %u",
                       path, h->n_image_bytes, version);
    if (h->n_image_bytes == 0) return CF_OK;
    CF_TRY(cf_new(&cells->starts, h->n_image_bytes + 1, sizeof *cells->starts));
    for (size_t i = 0; i < h->n_image_bytes; i++) {
        cells->starts[i] = at;
        if (h->image_bytes[i] == 0 || h->image_bytes[i] > end - at)
            return cf_fail(
                CF_E_DATA, "%s: header: image %zu: %u bytes at byte %llu, expected 1 to %llu", path,
                i, h->image_bytes[i], (unsigned long long)at, (unsigned long long)(end - at));
        at += h->image_bytes[i];
    }
    cells->starts[h->n_image_bytes] = at;
    if (at != end)
        return cf_fail(CF_E_DATA, "%s: encoded images end at byte %llu, expected %llu", path,
                       (unsigned long long)at, (unsigned long long)end);
    return CF_OK;
}

static cf_err take_indices(const char *path, const Cf__CellsHeader *h, cf_cells *cells)
{
    size_t n = (size_t)h->n_images;
    CF_TRY(cf_new(&cells->labels, n, sizeof *cells->labels));
    CF_TRY(cf_new(&cells->sites, n, sizeof *cells->sites));
    CF_TRY(cf_new(&cells->patients, n, sizeof *cells->patients));
    CF_TRY(cf_new(&cells->hashes, n, sizeof *cells->hashes));
    for (size_t i = 0; i < n; i++) {
        bool known = h->labels[i] != CF_CELLS_NO_LABEL;
        if ((known && h->labels[i] >= (uint32_t)cells->scheme.n_classes) ||
            h->sites[i] >= cells->site_names.n || h->patients[i] > cells->patient_names.n) {
            return cf_fail(CF_E_DATA,
                           "%s: image %zu: class %u of %d, site %u of %zu, patient %u of %zu", path,
                           i, h->labels[i], cells->scheme.n_classes, h->sites[i],
                           cells->site_names.n, h->patients[i], cells->patient_names.n);
        }
        cells->labels[i] = known ? (int32_t)h->labels[i] : CF_LABEL_UNKNOWN;
        cells->n_unknown += !known;
        cells->sites[i] = (int32_t)h->sites[i];
        cells->patients[i] = (int32_t)h->patients[i] - 1;
        cells->hashes[i] = h->pixel_hashes[i];
    }
    return CF_OK;
}

static cf_err take_scheme(const char *path, const Cf__CellsHeader *h, cf_cells *cells)
{
    char name[sizeof cells->scheme.name];
    if (!cf_wire_text(&h->scheme_name, name, sizeof name)) {
        return cf_fail(CF_E_DATA, "%s: header: scheme name is damaged", path);
    }
    cf_err err = cf_scheme_parse(name, (const char *)h->scheme_text.data, h->scheme_text.len,
                                 &cells->scheme);
    /* A scheme inside a data file is data: its faults are not the user's configuration. */
    if (err == CF_E_USAGE) err = CF_E_DATA;
    return cf_where(err, "%s: scheme in the header", path);
}

static cf_err take_header(const char *path, const Cf__CellsHeader *h, cf_cells *cells)
{
    CF_TRY(check_columns(path, h));
    CF_TRY(check_pixels(path, h, cf_get_u64(cells->map.bytes + CF_CELLS_AT_HEADER_OFFSET)));
    uint64_t found = cf_cells_header_hash(h);
    if (found != h->content_hash) {
        return cf_fail(CF_E_DATA, "%s: header: expected content hash %016llx, found %016llx", path,
                       (unsigned long long)h->content_hash, (unsigned long long)found);
    }
    cells->n = (int64_t)h->n_images;
    cells->height = (int)h->height;
    cells->width = (int)h->width;
    cells->um_per_px = h->um_per_px;
    cells->content_hash = found;
    cells->data_offset = CF_CELLS_DATA_OFFSET;
    CF_TRY(take_scheme(path, h, cells));
    CF_TRY(take_ids(path, h, cells));
    CF_TRY(take_names(path, h, cells));
    CF_TRY(take_stains(path, h, cells));
    CF_TRY(take_given(path, h, cells));
    CF_TRY(take_starts(path, h, cells));
    return take_indices(path, h, cells);
}

cf_err cf_cells_open_any(const char *path, cf_cells *cells)
{
    ProtobufCBinaryData bytes = {0};
    cf_budget budget;
    *cells = (cf_cells){0};
    CF_TRY(cf_map_open(path, &cells->map));
    cf_err err = find_header(path, &cells->map, &bytes);
    if (err != CF_OK) goto out;
    cf_budget_init(&budget, bytes.len);
    Cf__CellsHeader *h = cf__cells_header__unpack(&budget.allocator, bytes.len, bytes.data);
    if (h) {
        err = take_header(path, h, cells);
        cf__cells_header__free_unpacked(h, &budget.allocator);
    } else {
        err = cf_fail(budget.exhausted ? CF_E_UNEXPECTED : CF_E_DATA, "%s: header %s", path,
                      cf_budget_fault(&budget));
    }
out:
    if (err != CF_OK) cf_cells_close(cells);
    return err;
}

cf_err cf_cells_open(const char *path, cf_cells *cells)
{
    CF_TRY(cf_cells_open_any(path, cells));
    if (cells->n_unknown == 0) return CF_OK;
    cf_err err = cf_fail(CF_E_DATA, "%s: %lld of %lld images have no label: for prediction only",
                         path, (long long)cells->n_unknown, (long long)cells->n);
    cf_cells_close(cells);
    return err;
}

void cf_cells_close(cf_cells *cells)
{
    free(cells->ids);
    free(cells->labels);
    free(cells->sites);
    free(cells->patients);
    free(cells->hashes);
    free(cells->stains);
    free(cells->starts);
    free(cells->given);
    cf_strings_fini(&cells->given_names);
    cf_strings_fini(&cells->site_names);
    cf_strings_fini(&cells->patient_names);
    cf_scheme_fini(&cells->scheme);
    cf_map_close(&cells->map);
    *cells = (cf_cells){0};
}

const uint8_t *cf_cells_image(const cf_cells *cells, int64_t i)
{
    size_t image = (size_t)3 * (size_t)cells->height * (size_t)cells->width;
    return cells->map.bytes + cells->data_offset + image * (size_t)i;
}

const uint8_t *cf_cells_encoded(const cf_cells *cells, int64_t i, size_t *n)
{
    *n = (size_t)(cells->starts[i + 1] - cells->starts[i]);
    return cells->map.bytes + cells->starts[i];
}

void cf_cells_count(const cf_cells *cells, int64_t *counts)
{
    for (int k = 0; k < cells->scheme.n_classes; k++) counts[k] = 0;
    for (int64_t i = 0; i < cells->n; i++)
        if (cells->labels[i] != CF_LABEL_UNKNOWN) counts[cells->labels[i]]++;
}
