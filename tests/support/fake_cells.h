/* A cells file that exists in memory only: labels as given, random pixels. */
#ifndef CF_TESTS_SUPPORT_FAKE_CELLS_H
#define CF_TESTS_SUPPORT_FAKE_CELLS_H

#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/hash.h"
#include "kernels/math/philox.h"
#include "proto/cells.h"

/* side 0: no pixels. Classes are called "A", "B" and so on; at most 26. False on a failure. */
static inline bool fake_cells_init(cf_cells *cells, const int32_t *labels, int64_t n, int n_classes,
                                   int side)
{
    static const char *const codes[26] = {"A", "B", "C", "D", "E", "F", "G", "H", "I",
                                          "J", "K", "L", "M", "N", "O", "P", "Q", "R",
                                          "S", "T", "U", "V", "W", "X", "Y", "Z"};
    *cells = (cf_cells){.n = n, .height = side, .width = side, .content_hash = 12345};
    if (cf_scheme_from_codes(codes, n_classes, &cells->scheme) != CF_OK) return false;
    size_t count = (size_t)n, image = (size_t)side * (size_t)side * 3;
    uint8_t *pixels = malloc(count * image + 1);
    cells->ids = calloc(count + 1, sizeof *cells->ids);
    cells->labels = calloc(count + 1, sizeof *cells->labels);
    cells->hashes = calloc(count + 1, sizeof *cells->hashes);
    cf_rng rng = cf_rng_at(99, 0, 0, 0, CF_PURPOSE_TEST);
    for (size_t i = 0; i < count * image; i++) pixels[i] = (uint8_t)cf_rng_below(&rng, 256);
    for (size_t i = 0; i < count; i++) {
        char id[64];
        snprintf(id, sizeof id, "%s/image_%zu.png", codes[labels[i]], i);
        cells->ids[i] = strdup(id);
        cells->labels[i] = labels[i];
        cells->hashes[i] = cf_hash64(pixels + i * image, image);
    }
    cells->map = (cf_map){pixels, count * image};
    return true;
}

/* Writable pixels of image i. */
static inline uint8_t *fake_cells_pixels(cf_cells *cells, int64_t i)
{
    return (uint8_t *)(uintptr_t)cells->map.bytes +
           (size_t)i * (size_t)(cells->height * cells->width * 3);
}

static inline void fake_cells_fini(cf_cells *cells)
{
    for (int64_t i = 0; i < cells->n; i++) free(cells->ids[i]);
    free(cells->ids);
    free(cells->labels);
    free(cells->hashes);
    free(fake_cells_pixels(cells, 0));
    cf_scheme_fini(&cells->scheme);
}

#endif
