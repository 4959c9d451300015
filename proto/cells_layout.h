/* Where things stand in a cells file, shared by its reader and writer. Internal to proto/. */
#ifndef CF_PROTO_CELLS_LAYOUT_H
#define CF_PROTO_CELLS_LAYOUT_H

#include <stdint.h>

#include "cells.pb-c.h"

#define CF_CELLS_MAGIC    "CYTOCELL"
#define CF_CELLS_NO_LABEL UINT32_MAX

/* Byte offsets of the preamble, and where pixel data starts. */
enum {
    CF_CELLS_AT_VERSION = 8,
    CF_CELLS_AT_HEADER_BYTES = 12,
    CF_CELLS_AT_DATA_OFFSET = 16,
    CF_CELLS_AT_HEADER_OFFSET = 24,
    CF_CELLS_AT_HEADER_CRC = 32,
    CF_CELLS_AT_ZERO = 36,
    CF_CELLS_PREAMBLE_BYTES = 40,
    CF_CELLS_DATA_OFFSET = 4096
};

enum {
    CF_CELLS_MAX_SIDE = 65535,      /* px */
    CF_CELLS_MAX_NAME_BYTES = 4096, /* of an id, site or patient */
    CF_CELLS_MAX_HEADER_BYTES = 1 << 30,
    CF_CELLS_MAX_IMAGES = INT32_MAX - 1
};

/* The content hash that belongs to a header's columns. */
uint64_t cf_cells_header_hash(const Cf__CellsHeader *h);

#endif
