/* Safetensors files (a format of Hugging Face): named tensors, for and from other programs.
 *
 * Layout (little endian): u64 bytes of the header; the header, a JSON object that gives for each
 * tensor's name its "dtype", "shape" and "data_offsets" ([begin, end) in the data), and under
 * "__metadata__" an object of texts; the data. Taken is only what leaves no byte without a meaning:
 * tensors that cover the data without a gap or an overlap, each as long as its shape says. Threads:
 * an open file is read-only. Read first: cf_safetensor, cf_safetensors_open. */
#ifndef CF_PROTO_SAFETENSORS_H
#define CF_PROTO_SAFETENSORS_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/base/file.h"

enum {
    CF_SAFETENSORS_MAX_HEADER = 1 << 20, /* bytes; a JSON tree of it takes some 50 times as much */
    CF_SAFETENSORS_MAX_TENSORS = 16384,
    CF_SAFETENSORS_MAX_RANK = 8,
    CF_SAFETENSORS_MAX_NAME = 255 /* bytes */
};

/* In the order of the table of words and sizes in safetensors_read.c. */
typedef enum cf_safetensor_type {
    CF_SAFETENSOR_F64,
    CF_SAFETENSOR_F32,
    CF_SAFETENSOR_F16,
    CF_SAFETENSOR_BF16,
    CF_SAFETENSOR_I64,
    CF_SAFETENSOR_I32,
    CF_SAFETENSOR_I16,
    CF_SAFETENSOR_I8,
    CF_SAFETENSOR_U64,
    CF_SAFETENSOR_U32,
    CF_SAFETENSOR_U16,
    CF_SAFETENSOR_U8,
    CF_SAFETENSOR_BOOL,
    CF_SAFETENSOR_F8_E5M2,
    CF_SAFETENSOR_F8_E4M3,
    CF_N_SAFETENSOR_TYPES
} cf_safetensor_type;

const char *cf_safetensor_type_name(cf_safetensor_type type); /* "F32" */
size_t cf_safetensor_type_bytes(cf_safetensor_type type);

typedef struct cf_safetensor {
    const char *name; /* reading: owned by the file; writing: borrowed */
    cf_safetensor_type type;
    int rank; /* 0 for a scalar */
    int64_t dim[CF_SAFETENSORS_MAX_RANK];
    int64_t count;    /* elements */
    const void *data; /* borrowed, row-major, not always aligned; count * size of the type */
} cf_safetensor;

/* A line of the metadata. */
typedef struct cf_safetensor_note {
    const char *key, *value;
} cf_safetensor_note;

typedef struct cf_safetensors {
    cf_map map;           /* owned; empty when parsed from memory */
    char *path;           /* owned, for messages */
    cf_safetensor *items; /* owned, [n], in the order of their data */
    int n;
    cf_safetensor_note *notes; /* owned, [n_notes] */
    int n_notes;
} cf_safetensors;

/* Opens a file; its tensors point into it. Errors: CF_E_DATA where it cannot be read,
 * CF_E_CHECKPOINT where it is no sound file, with the byte or tensor; *f is then empty. */
CF_CHECKED cf_err cf_safetensors_open(const char *path, cf_safetensors *f);
/* The same from memory, which must stay; `name` stands for the path in messages. */
CF_CHECKED cf_err cf_safetensors_parse(const char *name, const uint8_t *bytes, size_t n,
                                       cf_safetensors *f);
void cf_safetensors_close(cf_safetensors *f); /* accepts an empty one */

/* The tensor of that name, or NULL; the value of a line of the metadata, or NULL. Borrowed. */
const cf_safetensor *cf_safetensors_find(const cf_safetensors *f, const char *name);
const char *cf_safetensors_note(const cf_safetensors *f, const char *key);
/* F32, F16 and BF16 are taken; CF_E_CHECKPOINT names a tensor of another type. */
CF_CHECKED cf_err cf_safetensors_check_type(const cf_safetensors *f, const cf_safetensor *t);
/* out: [t->count]. CF_E_CHECKPOINT as above, and for an element that is not finite. */
CF_CHECKED cf_err cf_safetensors_floats(const cf_safetensors *f, const cf_safetensor *t,
                                        float *out);
/* Appends "name [64, 3, 7, 7]". */
void cf_safetensor_print(const cf_safetensor *t, cf_buf *out);

/* Writes atomically: wide types first, so that every tensor is aligned, then by name; the header is
 * padded to eight bytes. The same tensors and notes give the same bytes in any order of `items`.
 * Errors: CF_E_USAGE for what the reader would refuse, CF_E_DISK. */
CF_CHECKED cf_err cf_safetensors_write(const char *path, const cf_safetensor *items, int n,
                                       const cf_safetensor_note *notes, int n_notes);

/* XXH3 of the whole file, whatever is in it: a run's initial weights are known by it. CF_E_DATA. */
CF_CHECKED cf_err cf_safetensors_hash(const char *path, uint64_t *hash);

#endif
