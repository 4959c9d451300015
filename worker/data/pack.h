/* Packing: image files into one cells file. Decoders run on several threads with a few images in
 * flight; the file is written in order of id, so its bytes depend neither on threads nor on the
 * file system. A field that many cells are cut out of is decoded once. Threads: one caller. Read
 * first: cf_pack. */
#ifndef CF_WORKER_DATA_PACK_H
#define CF_WORKER_DATA_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/file.h"
#include "proto/scheme.h"
#include "worker/data/listing.h"
#include "worker/data/pack_cut.h"

enum cf_pack_stains { CF_PACK_STAINS, CF_PACK_NO_STAINS };
enum cf_pack_damaged { CF_PACK_STOP, CF_PACK_SKIP };
enum cf_pack_store { CF_PACK_DECODED, CF_PACK_ENCODED };

typedef struct cf_pack_options {
    const cf_source *sources; /* borrowed, [n_sources] */
    int n_sources;
    const char *scheme; /* name, path, or "auto" */
    const char *output; /* path of the cells file */
    cf_cut cut;
    enum cf_unmapped unmapped;    /* what to do about labels that the scheme does not know */
    int threads;                  /* decoders; 0: one a core */
    int64_t max_pixels;           /* of one image file */
    enum cf_pack_damaged damaged; /* what to do about images that cannot be read */
    enum cf_pack_store store;     /* pixels, or the image files as they are: then nothing is cut */
    enum cf_pack_stains stains;   /* whether stains are separated (cf_stain_estimate) */
    /* Called after each image from the caller's thread; false stops the packing. NULL: none. */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} cf_pack_options;

typedef struct cf_pack_result {
    cf_scheme scheme; /* owned */
    int64_t *counts;  /* owned, [scheme.n_classes] images packed */
    int64_t n_packed;
    int64_t n_found;         /* image files, damaged ones too, dropped ones not */
    int64_t n_damaged;       /* images that cannot be read; several may be cells of one field */
    int64_t n_dropped;       /* of classes that the scheme drops on purpose */
    int64_t n_unlabelled;    /* packed without a class (CF_UNMAPPED_KEEP) */
    int64_t n_unmapped;      /* of labels that the scheme does not know, left out on request */
    int64_t n_ignored;       /* files that are no images by their name */
    char *first_ignored;     /* owned; NULL when there is none */
    cf_strings damaged;      /* owned: "path: reason", a file each, in order */
    cf_strings notes;        /* owned: what the listing remarks */
    int height, width;       /* of the packed images */
    double um_per_px;        /* of the packed images; 0: not known, or not the same for all */
    char folds[CF_PATH_MAX]; /* the folds file that was written; "": none */
    bool written;            /* the cells file is there, even where its folds file failed */
    bool interrupted;        /* progress() said stop; the error is then CF_E_UNEXPECTED */
} cf_pack_result;

/* Packs. The output is there whole or not at all. Where every image has a split (a manifest's
 * column), folds of the packed images are written beside it, "x.folds.csv" for "x.cells". The
 * result is filled as far as it went, also on errors, and is released by the caller. Errors:
 * CF_E_DATA: damaged images (all of them are in result->damaged), images of different sizes without
 * `size` (two are named), none left; what cf_listing_read, cf_cut_check and cf_cut_check_none say.
 * CF_E_DISK. */
CF_CHECKED cf_err cf_pack(const cf_pack_options *options, cf_pack_result *result);
void cf_pack_result_fini(cf_pack_result *result);

#endif
