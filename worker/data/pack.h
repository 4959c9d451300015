/* Packing: image files into one cells file. Decoders run on several threads with a few images in
 * flight; the file is written in order of id, so its bytes depend neither on threads nor on the
 * file system. Threads: one caller. Read first: cf_pack. */
#ifndef CF_WORKER_DATA_PACK_H
#define CF_WORKER_DATA_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/file.h"
#include "proto/scheme.h"

enum cf_pack_damaged { CF_PACK_STOP, CF_PACK_SKIP };

typedef struct cf_pack_options {
    const char *const *sources; /* borrowed, [n_sources] folders of class folders */
    int n_sources;
    const char *scheme;           /* name, path, or "auto" */
    const char *output;           /* path of the cells file */
    const char *site;             /* of all images; "" for none */
    int size;                     /* side to resize to, px; 0: as stored */
    int threads;                  /* decoders; 0: one a core */
    int64_t max_pixels;           /* of one image file */
    enum cf_pack_damaged damaged; /* what to do about images that cannot be read */
    /* Called after each image from the caller's thread; false stops the packing. NULL: none. */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} cf_pack_options;

typedef struct cf_pack_result {
    cf_scheme scheme; /* owned */
    int64_t *counts;  /* owned, [scheme.n_classes] images packed */
    int64_t n_packed;
    int64_t n_found;     /* image files, damaged ones too, dropped ones not */
    int64_t n_dropped;   /* of classes that the scheme drops on purpose */
    int64_t n_ignored;   /* files that are no images by their name */
    char *first_ignored; /* owned; NULL when there is none */
    cf_strings damaged;  /* owned: "path: reason", in order */
    int height, width;   /* of the packed images */
    bool interrupted;    /* progress() said stop; the error is then CF_E_UNEXPECTED */
} cf_pack_result;

/* Packs. The output is there whole or not at all. The result is filled as far as it went, also on
 * errors, and is released by the caller. Errors: CF_E_DATA: damaged images (all of them are in
 * result->damaged), images of different sizes without `size` (two are named), none left; what
 * cf_listing_folders says. CF_E_DISK. */
CF_CHECKED cf_err cf_pack(const cf_pack_options *options, cf_pack_result *result);
void cf_pack_result_fini(cf_pack_result *result);

#endif
