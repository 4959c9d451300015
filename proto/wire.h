/* What every protobuf codec of this room needs: a bounded allocator for unpacking, packing into a
 * buffer, text out of bytes fields, little-endian words.
 *
 * protobuf-c expands hostile input many times in memory, so unpacking gets a budget. Internal to
 * proto/. Threads: any. Read first: cf_budget. */
#ifndef CF_PROTO_WIRE_H
#define CF_PROTO_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "files are little endian, as this code is");

static inline void cf_put_u32(uint8_t *to, uint32_t v)
{
    memcpy(to, &v, sizeof v);
}
static inline void cf_put_u64(uint8_t *to, uint64_t v)
{
    memcpy(to, &v, sizeof v);
}
static inline uint32_t cf_get_u32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return v;
}
static inline uint64_t cf_get_u64(const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof v);
    return v;
}

/* Memory for one unpacking: 2 x input + 64 MB in all its allocations, what was freed between
 * included. */
typedef struct cf_budget {
    ProtobufCAllocator allocator; /* for ..__unpack and ..__free_unpacked */
    size_t left;                  /* bytes */
    bool refused;                 /* an allocation was over the budget */
    bool exhausted;               /* the machine had no memory: no fault of the message */
} cf_budget;
/* The budget must not move between unpacking and freeing. */
void cf_budget_init(cf_budget *b, size_t input_bytes);
/* Why unpacking gave nothing: "needs more memory than ...", "is no valid message", out of memory.
 */
const char *cf_budget_fault(const cf_budget *b);

/* Appends the wire form; at most max_bytes, else CF_E_UNEXPECTED. */
CF_CHECKED cf_err cf_wire_pack(const ProtobufCMessage *m, size_t max_bytes, cf_buf *out);

/* Copies a bytes field as text. False when it does not fit `room` with its NUL or holds a NUL. */
bool cf_wire_text(const ProtobufCBinaryData *from, char *to, size_t room);
/* A bytes field that borrows `text` (NULL counts as ""). */
ProtobufCBinaryData cf_wire_bytes(const char *text);

/* A column of strings on the wire is all their bytes in a row and their lengths, so that unpacking
 * takes no more memory than the file. Calls `each` for every string, in order; false when the
 * lengths do not cover the bytes exactly, a string holds a NUL or is longer than max_bytes, or
 * `each` is false. */
typedef bool (*cf_wire_each)(void *user, size_t i, const char *bytes, size_t n);
bool cf_wire_strings(const ProtobufCBinaryData *bytes, const uint32_t *lengths, size_t n,
                     size_t max_bytes, cf_wire_each each, void *user);

#endif
