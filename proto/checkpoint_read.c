/* Reading: from the outside in. Each part is verified before its word is taken for the next:
 * preamble, header checksum, table of tensors against the file's length, padding, tensor checksums,
 * footer. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint.pb-c.h"
#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "proto/checkpoint.h"
#include "proto/checkpoint_layout.h"
#include "proto/wire.h"

typedef struct reader {
    const char *path;
    cf_map map;
    size_t header_bytes;
    size_t offsets[CF_CHECKPOINT_MAX_TENSORS]; /* of the blocks in the file */
    size_t footer;                             /* offset */
} reader;

static cf_err damaged_bytes(const reader *r, size_t at, const char *what)
{
    return cf_fail(CF_E_CHECKPOINT, "%s: damaged at byte %zu: %s", r->path, at, what);
}

static cf_err check_version(const reader *r)
{
    uint32_t version = cf_get_u32(r->map.bytes + CF_CHECKPOINT_AT_VERSION);
    if (version == CF_CHECKPOINT_VERSION) return CF_OK;
    return cf_fail(CF_E_CHECKPOINT,
                   "%s: byte %d: checkpoint of format version %u (%s); this program reads %u",
                   r->path, CF_CHECKPOINT_AT_VERSION, version,
                   version > CF_CHECKPOINT_VERSION ? "newer" : "older", CF_CHECKPOINT_VERSION);
}

static cf_err check_preamble(reader *r)
{
    const size_t least = CF_CHECKPOINT_PREAMBLE_BYTES + CF_CHECKPOINT_FOOTER_BYTES;
    size_t n = r->map.n_bytes, seen = n < 8 ? n : 8;
    if (seen > 0 && memcmp(r->map.bytes, CF_CHECKPOINT_MAGIC, seen) != 0) {
        return damaged_bytes(r, 0, "expected \"" CF_CHECKPOINT_MAGIC "\"");
    }
    if (n < least) {
        return cf_fail(CF_E_CHECKPOINT, "%s: truncated at byte %zu: expected at least %zu bytes",
                       r->path, n, least);
    }
    CF_TRY(check_version(r));
    if (cf_get_u32(r->map.bytes + CF_CHECKPOINT_AT_ZERO) != 0) {
        return damaged_bytes(r, CF_CHECKPOINT_AT_ZERO, "expected zero");
    }
    r->header_bytes = cf_get_u32(r->map.bytes + CF_CHECKPOINT_AT_HEADER_BYTES);
    if (r->header_bytes > CF_CHECKPOINT_MAX_HEADER_BYTES) {
        return damaged_bytes(r, CF_CHECKPOINT_AT_HEADER_BYTES, "size of the header out of range");
    }
    if (r->header_bytes > n - least) {
        return cf_fail(CF_E_CHECKPOINT,
                       "%s: truncated at byte %zu: the header at byte %d has %zu bytes", r->path, n,
                       CF_CHECKPOINT_PREAMBLE_BYTES, r->header_bytes);
    }
    uint32_t found = cf_crc32c(0, r->map.bytes + CF_CHECKPOINT_PREAMBLE_BYTES, r->header_bytes);
    if (found != cf_get_u32(r->map.bytes + CF_CHECKPOINT_AT_HEADER_CRC)) {
        return damaged_bytes(r, CF_CHECKPOINT_PREAMBLE_BYTES, "checksum of the header");
    }
    return CF_OK;
}

/* ---- header -----------------------------------------------------------------------------------
 */

static cf_err damaged_header(const reader *r, const char *what)
{
    return cf_fail(CF_E_CHECKPOINT, "%s: header at byte %d: %s", r->path,
                   CF_CHECKPOINT_PREAMBLE_BYTES, what);
}

static cf_err take_place(const reader *r, const Cf__CheckpointHeader *h, cf_checkpoint *c)
{
    const uint64_t numbers[] = {h->step, h->epoch, h->steps_per_epoch, h->total_steps,
                                h->summed_steps};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i] > INT64_MAX) return damaged_header(r, "step or epoch out of range");
    }
    if (h->fold > INT32_MAX) return damaged_header(r, "fold out of range");
    if (!cf_wire_text(&h->program_version, c->program_version, sizeof c->program_version)) {
        return damaged_header(r, "program version is no text of its size");
    }
    if (!cf_wire_text(&h->config, c->config, sizeof c->config)) {
        return damaged_header(r, "configuration is no text of its size");
    }
    c->fold = (int)h->fold;
    c->step = (int64_t)h->step;
    c->epoch = (int64_t)h->epoch;
    c->steps_per_epoch = (int64_t)h->steps_per_epoch;
    c->total_steps = (int64_t)h->total_steps;
    c->loss_sum = h->loss_sum;
    c->correct_sum = h->correct_sum;
    c->summed_steps = (int64_t)h->summed_steps;
    c->config_hash = h->config_hash;
    c->data_hash = h->data_hash;
    return CF_OK;
}

static bool take_flat_name(void *user, size_t i, const char *bytes, size_t n)
{
    cf_checkpoint *c = user;
    if (n == 0) return false;
    memcpy(c->flats[i].name, bytes, n);
    c->flats[i].name[n] = '\0';
    for (size_t j = 0; j < i; j++) {
        if (strcmp(c->flats[i].name, c->flats[j].name) == 0) return false;
    }
    return true;
}

/* The blocks must lie exactly where the writer puts them: then every byte of the file has one
 * meaning. */
static cf_err take_flats(reader *r, const Cf__CheckpointHeader *h, cf_checkpoint *c)
{
    size_t n = h->n_flat_name_bytes, at = CF_CHECKPOINT_PREAMBLE_BYTES + r->header_bytes;
    if (n > CF_CHECKPOINT_MAX_TENSORS || h->n_flat_counts != n || h->n_flat_offsets != n ||
        h->n_flat_crcs != n) {
        return damaged_header(r, "table of tensors");
    }
    if (!cf_wire_strings(&h->flat_names, h->flat_name_bytes, n, sizeof c->flats[0].name - 1,
                         take_flat_name, c)) {
        return damaged_header(r, "names of tensors");
    }
    c->n_flats = (int)n;
    for (size_t i = 0; i < n; i++) {
        at = cf_checkpoint_align(at);
        if (h->flat_offsets[i] != at) {
            return cf_fail(CF_E_CHECKPOINT, "%s: tensor %s: expected at byte %zu, found %llu",
                           r->path, c->flats[i].name, at, (unsigned long long)h->flat_offsets[i]);
        }
        if (at > r->map.n_bytes || h->flat_counts[i] > (r->map.n_bytes - at) / sizeof(float)) {
            return cf_fail(CF_E_CHECKPOINT,
                           "%s: truncated at byte %zu: tensor %s has %llu elements at byte %zu",
                           r->path, r->map.n_bytes, c->flats[i].name,
                           (unsigned long long)h->flat_counts[i], at);
        }
        c->flats[i].count = (int64_t)h->flat_counts[i];
        r->offsets[i] = at;
        at += (size_t)h->flat_counts[i] * sizeof(float);
    }
    r->footer = cf_checkpoint_align(at);
    if (r->footer + CF_CHECKPOINT_FOOTER_BYTES == r->map.n_bytes) return CF_OK;
    return cf_fail(CF_E_CHECKPOINT, "%s: %s at byte %zu: expected %zu bytes", r->path,
                   r->footer + CF_CHECKPOINT_FOOTER_BYTES > r->map.n_bytes ? "truncated"
                                                                           : "damaged",
                   r->map.n_bytes, r->footer + CF_CHECKPOINT_FOOTER_BYTES);
}

static bool take_entry_name(void *user, size_t i, const char *bytes, size_t n)
{
    cf_tensor_entry *entries = user;
    if (n == 0) return false;
    memcpy(entries[i].name, bytes, n);
    entries[i].name[n] = '\0';
    return true;
}

/* One entry; *n_dims counts the dimensions used so far. False when it does not lie in its tensor.
 */
static bool take_entry(const Cf__CheckpointHeader *h, size_t i, const cf_checkpoint *c,
                       size_t *n_dims)
{
    cf_tensor_entry *e = &c->entries[i];
    uint64_t count = 1;
    uint32_t rank = h->entry_ranks[i];
    if (h->entry_flats[i] >= (uint32_t)c->n_flats || rank < 1 || rank > 4 ||
        rank > h->n_entry_dims - *n_dims) {
        return false;
    }
    const cf_flat *f = &c->flats[h->entry_flats[i]];
    memcpy(e->flat, f->name, sizeof e->flat);
    e->rank = (int)rank;
    for (uint32_t d = 0; d < rank; d++) {
        uint64_t dim = h->entry_dims[(*n_dims)++];
        if (dim < 1 || dim > INT64_MAX || __builtin_mul_overflow(count, dim, &count)) return false;
        e->dim[d] = (int64_t)dim;
    }
    e->offset = (int64_t)h->entry_offsets[i];
    return h->entry_offsets[i] <= (uint64_t)f->count &&
           count <= (uint64_t)f->count - h->entry_offsets[i];
}

static cf_err take_entries(const reader *r, const Cf__CheckpointHeader *h, cf_checkpoint *c)
{
    size_t n = h->n_entry_name_bytes, n_dims = 0;
    if (h->n_entry_flats != n || h->n_entry_ranks != n || h->n_entry_offsets != n) {
        return damaged_header(r, "table of entries");
    }
    CF_TRY(cf_new(&c->entries, n, sizeof *c->entries));
    if (!cf_wire_strings(&h->entry_names, h->entry_name_bytes, n, sizeof c->entries[0].name - 1,
                         take_entry_name, c->entries)) {
        return damaged_header(r, "names of entries");
    }
    for (size_t i = 0; i < n; i++) {
        if (take_entry(h, i, c, &n_dims)) continue;
        return cf_fail(CF_E_CHECKPOINT, "%s: header: entry %s does not lie in its tensor", r->path,
                       c->entries[i].name);
    }
    c->n_entries = (int)n;
    return n_dims == h->n_entry_dims ? CF_OK : damaged_header(r, "dimensions of entries");
}

/* ---- tensors and footer -----------------------------------------------------------------------
 */

static cf_err check_zeros(const reader *r, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (r->map.bytes[i] != 0) return damaged_bytes(r, i, "expected zero");
    }
    return CF_OK;
}

static cf_err check_tensors(const reader *r, const Cf__CheckpointHeader *h, const cf_checkpoint *c)
{
    size_t end = CF_CHECKPOINT_PREAMBLE_BYTES + r->header_bytes;
    for (int i = 0; i < c->n_flats; i++) {
        size_t at = r->offsets[i], bytes = (size_t)c->flats[i].count * sizeof(float);
        CF_TRY(check_zeros(r, end, at));
        uint32_t found = cf_crc32c(0, r->map.bytes + at, bytes);
        if (found != h->flat_crcs[i]) {
            return cf_fail(CF_E_CHECKPOINT,
                           "%s: tensor %s (bytes %zu to %zu): expected checksum %08x, found %08x",
                           r->path, c->flats[i].name, at, at + bytes, h->flat_crcs[i], found);
        }
        end = at + bytes;
    }
    return check_zeros(r, end, r->footer);
}

static cf_err check_footer(const reader *r)
{
    const uint8_t *footer = r->map.bytes + r->footer;
    size_t hashed = r->footer + CF_CHECKPOINT_FOOTER_AT_HASH;
    if (cf_get_u64(footer) != r->map.n_bytes) {
        return damaged_bytes(r, r->footer, "length in the footer");
    }
    if (cf_get_u64(footer + CF_CHECKPOINT_FOOTER_AT_HASH) != cf_hash64(r->map.bytes, hashed)) {
        return damaged_bytes(r, hashed, "hash in the footer");
    }
    if (memcmp(footer + CF_CHECKPOINT_FOOTER_AT_MAGIC, CF_CHECKPOINT_END, 8) != 0) {
        return damaged_bytes(r, r->footer + CF_CHECKPOINT_FOOTER_AT_MAGIC,
                             "expected \"" CF_CHECKPOINT_END "\"");
    }
    return CF_OK;
}

/* One block for all tensors, each 64-byte aligned as in the file. */
static cf_err copy_tensors(const reader *r, cf_checkpoint *c)
{
    size_t first = c->n_flats > 0 ? r->offsets[0] : r->footer;
    CF_TRY(cf_new_aligned(&c->storage, r->footer - first, 1));
    for (int i = 0; i < c->n_flats; i++) {
        char *to = (char *)c->storage + (r->offsets[i] - first);
        memcpy(to, r->map.bytes + r->offsets[i], (size_t)c->flats[i].count * sizeof(float));
        c->flats[i].data = (float *)(void *)to;
    }
    return CF_OK;
}

static cf_err take_header(reader *r, const Cf__CheckpointHeader *h, cf_checkpoint *c)
{
    CF_TRY(take_place(r, h, c));
    CF_TRY(take_flats(r, h, c));
    CF_TRY(take_entries(r, h, c));
    CF_TRY(check_tensors(r, h, c));
    CF_TRY(check_footer(r));
    return copy_tensors(r, c);
}

static cf_err read_mapped(reader *r, cf_checkpoint *c)
{
    cf_budget budget;
    CF_TRY(check_preamble(r));
    cf_budget_init(&budget, r->header_bytes);
    Cf__CheckpointHeader *h = cf__checkpoint_header__unpack(
        &budget.allocator, r->header_bytes, r->map.bytes + CF_CHECKPOINT_PREAMBLE_BYTES);
    if (!h) return damaged_header(r, cf_budget_fault(&budget));
    cf_err err = take_header(r, h, c);
    cf__checkpoint_header__free_unpacked(h, &budget.allocator);
    return err;
}

cf_err cf_checkpoint_read(const char *path, cf_checkpoint *c)
{
    reader r = {.path = path};
    memset(c, 0, sizeof *c);
    cf_err err = cf_map_open(path, &r.map);
    /* A file that is there but cannot be read says nothing about the checkpoint. */
    if (err != CF_OK)
        return cf_fail(cf_path_exists(path) ? CF_E_DISK : CF_E_CHECKPOINT, "%s", cf_err_text());
    err = read_mapped(&r, c);
    cf_map_close(&r.map);
    if (err != CF_OK) {
        free(c->entries);
        free(c->storage);
        memset(c, 0, sizeof *c);
    }
    return err;
}

void cf_checkpoint_fini(cf_checkpoint *c)
{
    if (c->storage) free(c->entries); /* without storage it was made for writing: borrowed */
    free(c->storage);
    memset(c, 0, sizeof *c);
}
