/* The cells file: all images of a data set in one file that is read by mmap.
 *
 * Layout (little endian): 8-byte magic "CYTOCELL", u32 version, u32 header bytes, u64 data offset
 * (4096), u64 header offset, u32 CRC32C of the header, u32 zero; from the data offset on pixels;
 * after the last of them the protobuf header (cells.proto: columns as packed arrays), which ends
 * the file. It stands last so that packing streams: its size is known only after the last image.
 * Images are decoded RGB, 8 bits, height x width x 3, all of one size: version 1. Version 2 keeps
 * the files they came from, byte after byte in a row, which decode to images of that one size; a
 * program that reads version 1 only refuses it. Both have the same hashes, so the same results.
 * Threads: an open file is read-only and may be read by any thread. Read first: cf_cells. */
#ifndef CF_PROTO_CELLS_H
#define CF_PROTO_CELLS_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/file.h"
#include "kernels/math/stain.h"
#include "proto/scheme.h"

#define CF_CELLS_VERSION         1u
#define CF_CELLS_VERSION_ENCODED 2u

/* Most pixels of an image: decoded ones are mapped, encoded ones take memory when they are read. */
#define CF_CELLS_MAX_PIXELS         (500LL * 1000 * 1000)
#define CF_CELLS_MAX_ENCODED_PIXELS (64LL * 1000 * 1000)

typedef struct cf_cells {
    int64_t n;             /* images */
    int height, width;     /* of every image, px */
    double um_per_px;      /* 0: not known */
    char **ids;            /* owned, [n], one block with the texts: unique, "BLA/BLA_00001.jpg" */
    int32_t *labels;       /* owned, [n]: class index in scheme, or CF_LABEL_UNKNOWN */
    int64_t n_unknown;     /* images without a label; 0 unless opened by cf_cells_open_any */
    int32_t *sites;        /* owned, [n]: index in site_names */
    int32_t *patients;     /* owned, [n]: index in patient_names; -1: not known */
    uint64_t *hashes;      /* owned, [n]: XXH3 of the decoded pixels */
    cf_stain *stains;      /* owned, [n]; NULL: the file has none */
    uint64_t *starts;      /* owned, [n + 1]: where encoded images stand; NULL: decoded pixels */
    int32_t *given;        /* owned, [n]: index in given_names; NULL: the file has none */
    cf_strings site_names; /* at least one */
    cf_strings patient_names;
    cf_strings given_names; /* labels as the sources wrote them, before any map */
    cf_scheme scheme;       /* parsed from the text stored in the file */
    uint64_t content_hash;  /* XXH3 over ids, labels, sites, patients, pixel hashes, stains and
                               scheme text: what a result depends on */
    cf_map map;             /* the whole file */
    uint64_t data_offset;
} cf_cells;

/* Opens and verifies magic, version, header bounds and column lengths; pixels are not read. Errors:
 * CF_E_DATA naming the file and what was found (truncated: bytes expected and found). */
CF_CHECKED cf_err cf_cells_open(const char *path, cf_cells *cells);
/* The same for files in which images may lack a label, which cf_cells_open refuses (CF_E_DATA): for
 * prediction. */
CF_CHECKED cf_err cf_cells_open_any(const char *path, cf_cells *cells);
void cf_cells_close(cf_cells *cells);
/* Pixels of image i of a file that keeps them decoded: uint8 [height][width][3], in the mapping;
 * borrowed. worker/data/fetch.h reads both kinds of file. */
const uint8_t *cf_cells_image(const cf_cells *cells, int64_t i);
/* Image i of a file that keeps them encoded (starts is not NULL): *n bytes, borrowed. */
const uint8_t *cf_cells_encoded(const cf_cells *cells, int64_t i, size_t *n);
/* Images of each class, those without a label apart; counts: [n_classes]. */
void cf_cells_count(const cf_cells *cells, int64_t *counts);

/* Writing. Pixels go to the file as they come, so memory does not grow with the data set but for
 * the columns. */
typedef struct cf_cells_writer cf_cells_writer;
CF_CHECKED cf_err cf_cells_create(const char *path, const cf_scheme *scheme, int height, int width,
                                  double um_per_px, cf_cells_writer **out);
/* One image and what is known of it. All borrowed for the call. */
typedef struct cf_cells_entry {
    const char *id;        /* unique */
    int label;             /* class index, or CF_LABEL_UNKNOWN */
    const char *site;      /* "" for none */
    const char *patient;   /* "" for none */
    const char *given;     /* the source's own label; NULL: not kept. All images alike */
    const cf_stain *stain; /* NULL: not separated. All images alike */
    const uint8_t *pixels; /* uint8 [height][width][3] */
    const uint64_t *hash;  /* cf_hash64 of the pixels; NULL: computed here */
    const void *encoded; /* [n_encoded] kept instead of the pixels; NULL: those. All images alike */
    size_t n_encoded;
} cf_cells_entry;

/* CF_E_DATA for an id that was added before, names of more than 4096 bytes, a label outside the
 * scheme. After an error only abandon may follow. */
CF_CHECKED cf_err cf_cells_add(cf_cells_writer *w, const cf_cells_entry *entry);
/* Instead of what cf_cells_create was told: it may depend on the images. */
void cf_cells_set_um_per_px(cf_cells_writer *w, double um_per_px);
/* Writes the header, then commits; the writer is destroyed in any case. */
CF_CHECKED cf_err cf_cells_finish(cf_cells_writer *w);
void cf_cells_abandon(cf_cells_writer *w);

#endif
