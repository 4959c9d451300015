/* A data set of phantom cells as PNG files in a folder per class: for demonstrations, tests and
 * scale. Synthetic: see phantom.h. Threads: one caller. */
#ifndef CF_WORKER_DATA_SYNTH_H
#define CF_WORKER_DATA_SYNTH_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/scheme.h"

typedef struct cf_synth_options {
    const char *folder; /* borrowed; made when missing, must be empty */
    int64_t n_images;   /* in all, spread evenly over the classes */
    int size;           /* height and width, px */
    uint64_t seed;
    /* Called after each image; false stops. NULL: none. */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} cf_synth_options;

/* Writes <folder>/<CODE>/<CODE>_00001.png and so on. Picture k of a class is a function of (seed,
 * class, k, size): more images leave the others as they are. Errors: CF_E_USAGE when the folder is
 * not empty or there are fewer images than classes, CF_E_DISK. */
CF_CHECKED cf_err cf_synth_write(const cf_synth_options *options, const cf_scheme *scheme);
/* One picture. pixels: uint8 [size][size][3]; scratch: [2 * size * size * 3] floats. */
void cf_synth_paint(const cf_scheme *scheme, int class_index, int64_t k, int size, uint64_t seed,
                    float *scratch, uint8_t *pixels);

#endif
