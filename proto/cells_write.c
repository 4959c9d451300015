/* Writing: pixels go to the file as they come, the header after the last of them, and only then the
 * preamble that points to it; the file gets its name when all of it is on disk. */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "proto/cells.h"
#include "proto/cells_layout.h"
#include "proto/names.h"
#include "proto/wire.h"

enum { WRITEBACK_BYTES = 32 << 20 };

struct cf_cells_writer {
    cf_file file;
    uint64_t asked;                  /* bytes that the system was asked to put on disk */
    char *scheme_name, *scheme_text; /* owned */
    int n_classes;
    int height, width;
    double um_per_px;
    size_t pixel_bytes; /* of an image, decoded */
    cf_names ids, sites, patients, givens;
    uint32_t *labels, *site_of, *patient_of; /* owned, [capacity]; patient_of is 0 for none */
    uint32_t *given_of;                      /* owned, [capacity] */
    uint64_t *hashes;                        /* owned, [capacity] */
    cf_stain *stains;                        /* owned, [capacity] */
    uint32_t *image_bytes;                   /* owned, [capacity]; of encoded images */
    bool has_given, has_stains, is_encoded;  /* as the first image */
    size_t capacity;
};

static void destroy(cf_cells_writer *w)
{
    cf_file_abandon(&w->file); /* does nothing after a commit */
    cf_names_fini(&w->ids);
    cf_names_fini(&w->sites);
    cf_names_fini(&w->patients);
    cf_names_fini(&w->givens);
    free(w->labels);
    free(w->site_of);
    free(w->patient_of);
    free(w->given_of);
    free(w->hashes);
    free(w->stains);
    free(w->image_bytes);
    free(w->scheme_name);
    free(w->scheme_text);
    free(w);
}

void cf_cells_abandon(cf_cells_writer *w)
{
    if (w) destroy(w);
}

static cf_err check_create(const char *path, const cf_scheme *scheme, int height, int width,
                           double um_per_px)
{
    if (height < 1 || width < 1 || height > CF_CELLS_MAX_SIDE || width > CF_CELLS_MAX_SIDE) {
        return cf_fail(CF_E_DATA, "%s: images of %d x %d px, expected 1 to %d a side", path, height,
                       width, CF_CELLS_MAX_SIDE);
    }
    if ((int64_t)height * width > CF_CELLS_MAX_PIXELS) {
        return cf_fail(CF_E_DATA, "%s: images of %d x %d px, expected at most %lld pixels", path,
                       height, width, (long long)CF_CELLS_MAX_PIXELS);
    }
    if (!isfinite(um_per_px) || um_per_px < 0) {
        return cf_fail(CF_E_DATA, "%s: %g um per px, expected a size, or 0 for not known", path,
                       um_per_px);
    }
    if (!scheme->text || scheme->n_classes < 1) {
        return cf_fail(CF_E_UNEXPECTED, "%s: scheme %s has no text", path, scheme->name);
    }
    return CF_OK;
}

cf_err cf_cells_create(const char *path, const cf_scheme *scheme, int height, int width,
                       double um_per_px, cf_cells_writer **out)
{
    static const uint8_t zeros[CF_CELLS_DATA_OFFSET];
    cf_cells_writer *w = NULL;
    cf_err err = CF_OK;
    *out = NULL;
    CF_TRY(check_create(path, scheme, height, width, um_per_px));
    CF_TRY(cf_new(&w, 1, sizeof *w));
    w->file.fd = -1;
    w->n_classes = scheme->n_classes;
    w->height = height;
    w->width = width;
    w->um_per_px = um_per_px;
    w->pixel_bytes = (size_t)3 * (size_t)height * (size_t)width;
    CF_TRY_GOTO(cf_strdup(scheme->name, &w->scheme_name), out);
    CF_TRY_GOTO(cf_strdup(scheme->text, &w->scheme_text), out);
    CF_TRY_GOTO(cf_file_create(path, &w->file), out);
    CF_TRY_GOTO(cf_file_write(&w->file, zeros, sizeof zeros), out);
    *out = w;
    return CF_OK;
out:
    destroy(w);
    return err;
}

static cf_err reserve(cf_cells_writer *w)
{
    if (w->ids.n < w->capacity) return CF_OK;
    size_t capacity = w->capacity ? 2 * w->capacity : 1024;
    CF_TRY(cf_resize(&w->labels, capacity, sizeof *w->labels));
    CF_TRY(cf_resize(&w->site_of, capacity, sizeof *w->site_of));
    CF_TRY(cf_resize(&w->patient_of, capacity, sizeof *w->patient_of));
    CF_TRY(cf_resize(&w->given_of, capacity, sizeof *w->given_of));
    CF_TRY(cf_resize(&w->hashes, capacity, sizeof *w->hashes));
    CF_TRY(cf_resize(&w->stains, capacity, sizeof *w->stains));
    CF_TRY(cf_resize(&w->image_bytes, capacity, sizeof *w->image_bytes));
    w->capacity = capacity;
    return CF_OK;
}

static cf_err check_names(const cf_cells_writer *w, const cf_cells_entry *e)
{
    const char *names[] = {e->id, e->site, e->patient, e->given ? e->given : ""};
    if (!*e->id) return cf_fail(CF_E_DATA, "%s: image %zu has an empty id", w->file.path, w->ids.n);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i]) <= CF_CELLS_MAX_NAME_BYTES) continue;
        return cf_fail(CF_E_DATA, "%s: expected names of at most %d bytes, found %.60s...",
                       w->file.path, CF_CELLS_MAX_NAME_BYTES, names[i]);
    }
    return CF_OK;
}

static cf_err check_entry(const cf_cells_writer *w, const cf_cells_entry *e)
{
    CF_TRY(check_names(w, e));
    if (e->label != CF_LABEL_UNKNOWN && (e->label < 0 || e->label >= w->n_classes)) {
        return cf_fail(CF_E_DATA, "%s: %s: class %d, expected 0 to %d", w->file.path, e->id,
                       e->label, w->n_classes - 1);
    }
    if (w->ids.n >= CF_CELLS_MAX_IMAGES) {
        return cf_fail(CF_E_DATA, "%s: expected at most %d images", w->file.path,
                       CF_CELLS_MAX_IMAGES);
    }
    if (e->encoded && (e->n_encoded == 0 || e->n_encoded > UINT32_MAX)) {
        return cf_fail(CF_E_DATA, "%s: %s: an encoded image of %zu bytes", w->file.path, e->id,
                       e->n_encoded);
    }
    if (w->ids.n > 0 &&
        (w->has_given != (e->given != NULL) || w->has_stains != (e->stain != NULL) ||
         w->is_encoded != (e->encoded != NULL))) {
        return cf_fail(CF_E_UNEXPECTED, "%s: %s: stains, labels or encoding unlike those before it",
                       w->file.path, e->id);
    }
    return CF_OK;
}

/* The number of a name, which may be new. */
static cf_err name_number(cf_names *names, const char *name, uint32_t *number)
{
    bool added = false;
    return cf_names_add(names, name, strlen(name), number, &added);
}

/* Asks the system to begin with what has come since the last time, so that the disk works while
 * images are decoded and not only in the fsync at the end. Advice: what it returns does not
 * matter, a real failure comes with fsync. */
static void start_writeback(cf_cells_writer *w)
{
    uint64_t n = w->file.offset - w->asked;
    if (n < WRITEBACK_BYTES) return;
    (void)sync_file_range(w->file.fd, (off_t)w->asked, (off_t)n, SYNC_FILE_RANGE_WRITE);
    w->asked += n;
}

cf_err cf_cells_add(cf_cells_writer *w, const cf_cells_entry *e)
{
    uint32_t number = 0, site = 0, patient = 0, given = 0;
    bool added = false;
    CF_TRY(check_entry(w, e));
    CF_TRY(reserve(w));
    if (w->ids.n == 0) {
        w->has_given = e->given != NULL;
        w->has_stains = e->stain != NULL;
        w->is_encoded = e->encoded != NULL;
    }
    CF_TRY(name_number(&w->sites, e->site, &site));
    if (*e->patient) {
        CF_TRY(name_number(&w->patients, e->patient, &patient));
        patient++;
    }
    if (e->given) CF_TRY(name_number(&w->givens, e->given, &given));
    CF_TRY(cf_names_add(&w->ids, e->id, strlen(e->id), &number, &added));
    if (!added) {
        return cf_fail(CF_E_DATA, "%s: two images have the id \"%s\"", w->file.path, e->id);
    }
    w->labels[number] = e->label == CF_LABEL_UNKNOWN ? CF_CELLS_NO_LABEL : (uint32_t)e->label;
    w->site_of[number] = site;
    w->patient_of[number] = patient;
    w->given_of[number] = given;
    if (e->stain) w->stains[number] = *e->stain;
    w->hashes[number] = e->hash ? *e->hash : cf_hash64(e->pixels, w->pixel_bytes);
    if (e->encoded) w->image_bytes[number] = (uint32_t)e->n_encoded;
    CF_TRY(cf_file_write(&w->file, e->encoded ? e->encoded : e->pixels,
                         e->encoded ? e->n_encoded : w->pixel_bytes));
    start_writeback(w);
    return CF_OK;
}

void cf_cells_set_um_per_px(cf_cells_writer *w, double um_per_px)
{
    w->um_per_px = um_per_px;
}

static ProtobufCBinaryData names_bytes(const cf_names *names)
{
    return (ProtobufCBinaryData){.len = names->n_bytes, .data = (uint8_t *)names->bytes};
}

/* The header borrows all of the writer's columns. */
static void fill_header(const cf_cells_writer *w, Cf__CellsHeader *h)
{
    h->height = (uint32_t)w->height;
    h->width = (uint32_t)w->width;
    h->um_per_px = w->um_per_px;
    h->n_images = w->ids.n;
    h->scheme_name = cf_wire_bytes(w->scheme_name);
    h->scheme_text = cf_wire_bytes(w->scheme_text);
    h->ids = names_bytes(&w->ids);
    h->id_bytes = w->ids.lengths;
    h->labels = w->labels;
    h->sites = w->site_of;
    h->patients = w->patient_of;
    h->pixel_hashes = w->hashes;
    h->n_id_bytes = h->n_labels = h->n_sites = h->n_patients = h->n_pixel_hashes = w->ids.n;
    h->site_names = names_bytes(&w->sites);
    h->site_name_bytes = w->sites.lengths;
    h->n_site_name_bytes = w->sites.n;
    h->patient_names = names_bytes(&w->patients);
    h->patient_name_bytes = w->patients.lengths;
    h->n_patient_name_bytes = w->patients.n;
    if (w->has_given) {
        h->given = w->given_of;
        h->n_given = w->ids.n;
        h->given_names = names_bytes(&w->givens);
        h->given_name_bytes = w->givens.lengths;
        h->n_given_name_bytes = w->givens.n;
    }
    if (w->has_stains) {
        h->stains = w->stains[0].od[0];
        h->n_stains = w->ids.n * (sizeof *w->stains / sizeof(float));
    }
    if (w->is_encoded) {
        h->image_bytes = w->image_bytes;
        h->n_image_bytes = w->ids.n;
    }
    h->content_hash = cf_cells_header_hash(h);
}

static cf_err write_ends(cf_cells_writer *w, cf_buf *header)
{
    Cf__CellsHeader h = CF__CELLS_HEADER__INIT;
    uint8_t preamble[CF_CELLS_PREAMBLE_BYTES] = CF_CELLS_MAGIC;
    fill_header(w, &h);
    CF_TRY(cf_where(cf_wire_pack(&h.base, CF_CELLS_MAX_HEADER_BYTES, header), "%s", w->file.path));
    cf_put_u32(preamble + CF_CELLS_AT_VERSION,
               w->is_encoded ? CF_CELLS_VERSION_ENCODED : CF_CELLS_VERSION);
    cf_put_u32(preamble + CF_CELLS_AT_HEADER_BYTES, (uint32_t)header->len);
    cf_put_u64(preamble + CF_CELLS_AT_DATA_OFFSET, CF_CELLS_DATA_OFFSET);
    cf_put_u64(preamble + CF_CELLS_AT_HEADER_OFFSET, w->file.offset);
    cf_put_u32(preamble + CF_CELLS_AT_HEADER_CRC, cf_crc32c(0, header->data, header->len));
    CF_TRY(cf_file_write(&w->file, header->data, header->len));
    return cf_file_write_at(&w->file, 0, preamble, sizeof preamble);
}

cf_err cf_cells_finish(cf_cells_writer *w)
{
    cf_buf header = {0};
    cf_err err = CF_OK;
    if (w->ids.n == 0) CF_TRY_GOTO(cf_fail(CF_E_DATA, "%s: no images", w->file.path), out);
    CF_TRY_GOTO(write_ends(w, &header), out);
    err = cf_file_commit(&w->file);
out:
    cf_buf_fini(&header);
    destroy(w);
    return err;
}
