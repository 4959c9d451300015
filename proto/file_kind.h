/* What a file is that was given where another was expected, by its first bytes: for messages that
 * say more than "no safetensors file". Threads: any. */
#ifndef CF_PROTO_FILE_KIND_H
#define CF_PROTO_FILE_KIND_H

#include <stddef.h>
#include <stdint.h>

typedef struct cf_file_kind {
    const char *name;    /* "an ONNX file" */
    const char *weights; /* how its weights become safetensors; NULL where nobody could say */
} cf_file_kind;

/* bytes: [n], the file's beginning; its first 256 are enough. NULL for a file of no known kind,
 * safetensors among them. Borrowed, static. Sources: the formats' own documentation (ONNX
 * IR: ModelProto; Python: pickle, zipfile; HDF5: superblock; NumPy: format 1.0). */
const cf_file_kind *cf_file_kind_find(const uint8_t *bytes, size_t n);

#endif
