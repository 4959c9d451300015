#include "proto/wire.h"

#include <stdlib.h>

enum { BLOCK_OVERHEAD = 32 }; /* what malloc itself may take for a small block */

static void *budget_alloc(void *user, size_t n)
{
    cf_budget *b = user;
    if (n >= b->left || b->left - n < BLOCK_OVERHEAD) {
        b->refused = true;
        return NULL;
    }
    b->left -= n + BLOCK_OVERHEAD;
    void *block = malloc(n > 0 ? n : 1);
    b->exhausted = b->exhausted || block == NULL;
    return block;
}

static void budget_free(void *user, void *block)
{
    (void)user;
    free(block);
}

void cf_budget_init(cf_budget *b, size_t input_bytes)
{
    const size_t extra = 64u * 1000 * 1000;
    size_t twice = input_bytes > (SIZE_MAX - extra) / 2 ? SIZE_MAX - extra : 2 * input_bytes;
    *b = (cf_budget){.allocator = {budget_alloc, budget_free, NULL}, .left = twice + extra};
    b->allocator.allocator_data = b;
}

const char *cf_budget_fault(const cf_budget *b)
{
    return b->refused     ? "needs more than twice its size and 64 MB of memory"
           : b->exhausted ? "cannot be read: out of memory"
                          : "is no valid message";
}

typedef struct sink {
    ProtobufCBuffer base;
    cf_buf *out;
} sink;

static void sink_append(ProtobufCBuffer *buffer, size_t n, const uint8_t *bytes)
{
    cf_buf_add(((sink *)buffer)->out, bytes, n);
}

cf_err cf_wire_pack(const ProtobufCMessage *m, size_t max_bytes, cf_buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    if (n > max_bytes) {
        return cf_fail(CF_E_UNEXPECTED, "%s: expected at most %zu bytes, found %zu",
                       m->descriptor->short_name, max_bytes, n);
    }
    sink s = {.base = {.append = sink_append}, .out = out};
    protobuf_c_message_pack_to_buffer(m, &s.base);
    return cf_buf_check(out);
}

bool cf_wire_text(const ProtobufCBinaryData *from, char *to, size_t room)
{
    if (from->len >= room) return false;
    if (from->len > 0) {
        if (memchr(from->data, 0, from->len)) return false;
        memcpy(to, from->data, from->len);
    }
    to[from->len] = '\0';
    return true;
}

ProtobufCBinaryData cf_wire_bytes(const char *text)
{
    ProtobufCBinaryData b = {.len = text ? strlen(text) : 0, .data = NULL};
    /* protobuf-c's field is not const, though packing only reads. */
    if (b.len > 0) b.data = (uint8_t *)(uintptr_t)text;
    return b;
}

bool cf_wire_strings(const ProtobufCBinaryData *bytes, const uint32_t *lengths, size_t n,
                     size_t max_bytes, cf_wire_each each, void *user)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = lengths[i];
        if (length > max_bytes || length > bytes->len - at) return false;
        const char *text = length > 0 ? (const char *)bytes->data + at : "";
        if (length > 0 && memchr(text, 0, length)) return false;
        if (!each(user, i, text, length)) return false;
        at += length;
    }
    return at == bytes->len;
}
