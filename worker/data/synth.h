/* A data set of phantom cells as image files in a folder per class: for demonstrations, tests and
 * scale. Synthetic: see phantom.h. Threads: one caller; painters run on several threads. Read
 * first: cf_synth_options. */
#ifndef CF_WORKER_DATA_SYNTH_H
#define CF_WORKER_DATA_SYNTH_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/scheme.h"

enum cf_synth_share { CF_SYNTH_EVEN, CF_SYNTH_PUBLISHED };
enum cf_synth_format { CF_SYNTH_PNG, CF_SYNTH_JPEG };
enum { CF_SYNTH_MAX_SITES = 4 };

typedef struct cf_synth_options {
    const char *folder;          /* borrowed; made when missing, must be empty */
    int64_t n_images;            /* in all */
    enum cf_synth_share share;   /* of classes: even, or in proportion to the scheme's
                                    published_count, at least one each */
    int size;                    /* height and width, px */
    enum cf_synth_format format; /* JPEG: quality 85 */
    int n_sites;                 /* 0 and 1: one; others differ in lamp, stain and pixel size */
    int64_t n_patients;          /* of all sites together, at least one each; 0: not known */
    int threads;                 /* painters; 0: one a core */
    uint64_t seed;
    /* Called now and then from the caller's thread; false stops. NULL: none. */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} cf_synth_options;

/* Writes <folder>/<CODE>/<CODE>_00001.png and so on; with sites or patients also
 * <folder>/manifest.csv (path,label,site,patient,um_per_px). Picture k of a class, its patient and
 * its site are functions of (seed, class, k, size, n_sites, n_patients): more images leave the
 * others as they are. Errors: CF_E_USAGE when the folder is not empty, there are fewer images than
 * classes, fewer patients than sites, or a scheme without published counts is to give the shares;
 * CF_E_DISK. */
CF_CHECKED cf_err cf_synth_write(const cf_synth_options *options, const cf_scheme *scheme);
/* Images of each class; counts: [n_classes], summing up to n_images. */
CF_CHECKED cf_err cf_synth_counts(const cf_synth_options *options, const cf_scheme *scheme,
                                  int64_t *counts);
/* One picture of the first site. pixels: uint8 [size][size][3]; scratch: [2 * size * size * 3]
 * floats. */
void cf_synth_paint(const cf_scheme *scheme, int class_index, int64_t k, int size, uint64_t seed,
                    float *scratch, uint8_t *pixels);

#endif
