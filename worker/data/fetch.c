#include "worker/data/fetch.h"

#include <assert.h>

#include "kernels/base/hash.h"

static cf_err decode(const cf_cells *cells, int64_t i, cf_image *room)
{
    /* The limit that pack had: it bounds what a decoder takes beside the image. */
    static_assert(CF_CELLS_MAX_ENCODED_PIXELS == CF_IMAGE_DEFAULT_LIMIT, "one limit for both");
    size_t n;
    const uint8_t *bytes = cf_cells_encoded(cells, i, &n);
    cf_err err = cf_image_decode_again(cells->ids[i], bytes, n, CF_IMAGE_DEFAULT_LIMIT, room);
    if (err == CF_E_DATA) return cf_where(err, "cells file is damaged");
    CF_TRY(err);
    if (room->height == cells->height && room->width == cells->width) return CF_OK;
    return cf_fail(CF_E_DATA, "cells file is damaged: %s is %d x %d px, expected %d x %d",
                   cells->ids[i], room->width, room->height, cells->width, cells->height);
}

cf_err cf_cells_fetch(const cf_cells *cells, int64_t i, cf_image *room, const uint8_t **pixels)
{
    if (cells->starts == NULL) {
        *pixels = cf_cells_image(cells, i);
        return CF_OK;
    }
    CF_TRY(decode(cells, i, room));
    *pixels = room->pixels;
    return CF_OK;
}

cf_err cf_cells_verify(const cf_cells *cells, int64_t i, const uint8_t *pixels)
{
    uint64_t found = cf_hash64(pixels, (size_t)cells->height * (size_t)cells->width * 3);
    if (found == cells->hashes[i]) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "cells file is damaged: pixels of %s have hash %016llx, expected %016llx",
                   cells->ids[i], (unsigned long long)found, (unsigned long long)cells->hashes[i]);
}
