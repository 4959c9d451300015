/* Where things stand in a checkpoint, shared by its reader and writer. Internal to proto/. */
#ifndef CF_PROTO_CHECKPOINT_LAYOUT_H
#define CF_PROTO_CHECKPOINT_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define CF_CHECKPOINT_MAGIC "CYTOCKPT"
#define CF_CHECKPOINT_END   "CYTOEND1"

/* Byte offsets in the preamble and in the footer. */
enum {
    CF_CHECKPOINT_AT_VERSION = 8,
    CF_CHECKPOINT_AT_HEADER_BYTES = 12,
    CF_CHECKPOINT_AT_HEADER_CRC = 16,
    CF_CHECKPOINT_AT_ZERO = 20,
    CF_CHECKPOINT_PREAMBLE_BYTES = 24,
    CF_CHECKPOINT_FOOTER_AT_HASH = 8,
    CF_CHECKPOINT_FOOTER_AT_MAGIC = 16,
    CF_CHECKPOINT_FOOTER_BYTES = 24
};

enum { CF_CHECKPOINT_ALIGN = 64, CF_CHECKPOINT_MAX_HEADER_BYTES = 1 << 20 };

static inline size_t cf_checkpoint_align(size_t at)
{
    return (at + CF_CHECKPOINT_ALIGN - 1) / CF_CHECKPOINT_ALIGN * CF_CHECKPOINT_ALIGN;
}

#endif
