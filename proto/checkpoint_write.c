#include <stdlib.h>
#include <string.h>

#include "checkpoint.pb-c.h"
#include "kernels/base/hash.h"
#include "kernels/base/hasher.h"
#include "kernels/base/mem.h"
#include "proto/checkpoint.h"
#include "proto/checkpoint_layout.h"
#include "proto/wire.h"

/* The header's arrays, and the file they go to. */
typedef struct writer {
    const char *path;
    const cf_checkpoint *c;
    cf_file file;
    cf_hasher *hasher; /* owned: of all bytes written so far */
    cf_buf header, flat_names, entry_names;
    uint32_t flat_lengths[CF_CHECKPOINT_MAX_TENSORS], crcs[CF_CHECKPOINT_MAX_TENSORS];
    uint64_t counts[CF_CHECKPOINT_MAX_TENSORS], offsets[CF_CHECKPOINT_MAX_TENSORS];
    uint32_t *entry_lengths, *entry_flats, *entry_ranks; /* owned, [n_entries] */
    uint64_t *entry_offsets;                             /* owned, [n_entries] */
    uint64_t *entry_dims;                                /* owned, [4 * n_entries] */
    size_t n_dims;
} writer;

static cf_err fill_flats(writer *w)
{
    const cf_checkpoint *c = w->c;
    if (c->n_flats < 0 || c->n_flats > CF_CHECKPOINT_MAX_TENSORS) {
        return cf_fail(CF_E_UNEXPECTED, "%s: %d tensors, expected at most %d", w->path, c->n_flats,
                       CF_CHECKPOINT_MAX_TENSORS);
    }
    for (int i = 0; i < c->n_flats; i++) {
        const cf_flat *f = &c->flats[i];
        size_t bytes = 0;
        if (f->count < 0 || (f->count > 0 && !f->data) ||
            !cf_size_mul((size_t)f->count, sizeof(float), &bytes)) {
            return cf_fail(CF_E_UNEXPECTED, "%s: tensor %s of %lld elements", w->path, f->name,
                           (long long)f->count);
        }
        w->flat_lengths[i] = (uint32_t)strlen(f->name);
        cf_buf_add(&w->flat_names, f->name, w->flat_lengths[i]);
        w->counts[i] = (uint64_t)f->count;
        w->crcs[i] = cf_crc32c(0, f->data, bytes);
    }
    return cf_buf_check(&w->flat_names);
}

/* The flat buffer that an entry names, which must hold all of the entry. */
static cf_err find_flat(const writer *w, const cf_tensor_entry *e, uint32_t *flat)
{
    int64_t count = 1;
    bool fits = e->rank >= 1 && e->rank <= 4 && e->offset >= 0;
    for (int d = 0; fits && d < e->rank; d++) {
        fits = e->dim[d] >= 1 && !__builtin_mul_overflow(count, e->dim[d], &count);
    }
    for (int i = 0; i < w->c->n_flats; i++) {
        const cf_flat *f = &w->c->flats[i];
        if (strcmp(f->name, e->flat) != 0) continue;
        *flat = (uint32_t)i;
        if (fits && e->offset <= f->count && count <= f->count - e->offset) return CF_OK;
    }
    return cf_fail(CF_E_UNEXPECTED, "%s: entry %s does not lie in a tensor %s", w->path, e->name,
                   e->flat);
}

static cf_err fill_entries(writer *w)
{
    size_t n = w->c->n_entries > 0 ? (size_t)w->c->n_entries : 0;
    CF_TRY(cf_new(&w->entry_lengths, n, sizeof *w->entry_lengths));
    CF_TRY(cf_new(&w->entry_flats, n, sizeof *w->entry_flats));
    CF_TRY(cf_new(&w->entry_ranks, n, sizeof *w->entry_ranks));
    CF_TRY(cf_new(&w->entry_offsets, n, sizeof *w->entry_offsets));
    CF_TRY(cf_new(&w->entry_dims, n, 4 * sizeof *w->entry_dims));
    for (size_t i = 0; i < n; i++) {
        const cf_tensor_entry *e = &w->c->entries[i];
        CF_TRY(find_flat(w, e, &w->entry_flats[i]));
        w->entry_lengths[i] = (uint32_t)strlen(e->name);
        cf_buf_add(&w->entry_names, e->name, w->entry_lengths[i]);
        w->entry_ranks[i] = (uint32_t)e->rank;
        w->entry_offsets[i] = (uint64_t)e->offset;
        for (int d = 0; d < e->rank; d++) w->entry_dims[w->n_dims++] = (uint64_t)e->dim[d];
    }
    return cf_buf_check(&w->entry_names);
}

static ProtobufCBinaryData buf_bytes(const cf_buf *b)
{
    return (ProtobufCBinaryData){.len = b->len, .data = (uint8_t *)b->data};
}

/* The message borrows everything from the writer. */
static void fill_message(writer *w, Cf__CheckpointHeader *h)
{
    const cf_checkpoint *c = w->c;
    h->program_version = cf_wire_bytes(c->program_version);
    h->fold = (uint32_t)c->fold;
    h->step = (uint64_t)c->step;
    h->epoch = (uint64_t)c->epoch;
    h->steps_per_epoch = (uint64_t)c->steps_per_epoch;
    h->total_steps = (uint64_t)c->total_steps;
    h->loss_sum = c->loss_sum;
    h->correct_sum = c->correct_sum;
    h->summed_steps = (uint64_t)c->summed_steps;
    h->config_hash = c->config_hash;
    h->data_hash = c->data_hash;
    h->config = cf_wire_bytes(c->config);
    h->flat_names = buf_bytes(&w->flat_names);
    h->flat_name_bytes = w->flat_lengths;
    h->flat_counts = w->counts;
    h->flat_offsets = w->offsets;
    h->flat_crcs = w->crcs;
    h->n_flat_name_bytes = h->n_flat_counts = h->n_flat_offsets = h->n_flat_crcs =
        (size_t)c->n_flats;
    h->entry_names = buf_bytes(&w->entry_names);
    h->entry_name_bytes = w->entry_lengths;
    h->entry_flats = w->entry_flats;
    h->entry_ranks = w->entry_ranks;
    h->entry_offsets = w->entry_offsets;
    h->n_entry_name_bytes = h->n_entry_flats = h->n_entry_ranks = h->n_entry_offsets =
        (size_t)c->n_entries;
    h->entry_dims = w->entry_dims;
    h->n_entry_dims = w->n_dims;
}

/* Offsets are fixed-width on the wire, so the header's size is known before they are. *total
 * receives the size of the whole file. */
static cf_err make_header(writer *w, size_t *total)
{
    Cf__CheckpointHeader h = CF__CHECKPOINT_HEADER__INIT;
    fill_message(w, &h);
    size_t at = CF_CHECKPOINT_PREAMBLE_BYTES + protobuf_c_message_get_packed_size(&h.base);
    for (int i = 0; i < w->c->n_flats; i++) {
        at = cf_checkpoint_align(at);
        w->offsets[i] = at;
        at += (size_t)w->c->flats[i].count * sizeof(float);
    }
    *total = cf_checkpoint_align(at) + CF_CHECKPOINT_FOOTER_BYTES;
    return cf_where(cf_wire_pack(&h.base, CF_CHECKPOINT_MAX_HEADER_BYTES, &w->header), "%s",
                    w->path);
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static cf_err put(writer *w, const void *bytes, size_t n)
{
    cf_hasher_add(w->hasher, bytes, n);
    return cf_file_write(&w->file, bytes, n);
}

static cf_err put_padding(writer *w)
{
    static const uint8_t zeros[CF_CHECKPOINT_ALIGN];
    return put(w, zeros, cf_checkpoint_align(w->file.offset) - w->file.offset);
}

static cf_err put_all(writer *w, size_t total)
{
    uint8_t preamble[CF_CHECKPOINT_PREAMBLE_BYTES] = CF_CHECKPOINT_MAGIC;
    cf_put_u32(preamble + CF_CHECKPOINT_AT_VERSION, CF_CHECKPOINT_VERSION);
    cf_put_u32(preamble + CF_CHECKPOINT_AT_HEADER_BYTES, (uint32_t)w->header.len);
    cf_put_u32(preamble + CF_CHECKPOINT_AT_HEADER_CRC, cf_crc32c(0, w->header.data, w->header.len));
    CF_TRY(put(w, preamble, sizeof preamble));
    CF_TRY(put(w, w->header.data, w->header.len));
    for (int i = 0; i < w->c->n_flats; i++) {
        const cf_flat *f = &w->c->flats[i];
        CF_TRY(put_padding(w));
        CF_TRY(put(w, f->data, (size_t)f->count * sizeof(float)));
    }
    CF_TRY(put_padding(w));
    uint8_t footer[CF_CHECKPOINT_FOOTER_BYTES];
    cf_put_u64(footer, total);
    cf_hasher_add(w->hasher, footer, CF_CHECKPOINT_FOOTER_AT_HASH);
    cf_put_u64(footer + CF_CHECKPOINT_FOOTER_AT_HASH, cf_hasher_value(w->hasher));
    memcpy(footer + CF_CHECKPOINT_FOOTER_AT_MAGIC, CF_CHECKPOINT_END, 8);
    return cf_file_write(&w->file, footer, sizeof footer);
}

static cf_err check_place(const cf_checkpoint *c, const char *path)
{
    if (c->fold >= 0 && c->step >= 0 && c->epoch >= 0 && c->steps_per_epoch >= 0 &&
        c->total_steps >= 0 && c->n_entries >= 0) {
        return CF_OK;
    }
    return cf_fail(CF_E_UNEXPECTED, "%s: fold %d, step %lld of %lld: negative", path, c->fold,
                   (long long)c->step, (long long)c->total_steps);
}

cf_err cf_checkpoint_write(const char *path, const cf_checkpoint *c)
{
    writer w = {.path = path, .c = c, .file = {.fd = -1}};
    size_t total = 0;
    cf_err err = CF_OK;
    CF_TRY_GOTO(check_place(c, path), out);
    CF_TRY_GOTO(fill_flats(&w), out);
    CF_TRY_GOTO(fill_entries(&w), out);
    CF_TRY_GOTO(make_header(&w, &total), out);
    CF_TRY_GOTO(cf_hasher_create(&w.hasher), out);
    CF_TRY_GOTO(cf_file_create(path, &w.file), out);
    CF_TRY_GOTO(put_all(&w, total), out);
    err = cf_file_commit(&w.file);
out:
    if (err == CF_E_DISK) err = cf_where(err, "checkpoint of %zu bytes", total);
    cf_file_abandon(&w.file);
    cf_hasher_destroy(w.hasher);
    free(w.entry_lengths);
    free(w.entry_flats);
    free(w.entry_ranks);
    free(w.entry_offsets);
    free(w.entry_dims);
    cf_buf_fini(&w.header);
    cf_buf_fini(&w.flat_names);
    cf_buf_fini(&w.entry_names);
    return err;
}
