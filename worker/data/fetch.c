#include "worker/data/fetch.h"

#include "kernels/base/hash.h"

static cf_err decode(const cf_cells *cells, int64_t i, cf_image *room)
{
    /* The limit that pack has: it bounds what a decoder takes beside the image. */
    const int64_t most = CF_IMAGE_DEFAULT_LIMIT, own = (int64_t)cells->height * cells->width;
    size_t n;
    const uint8_t *bytes = cf_cells_encoded(cells, i, &n);
    CF_TRY(cf_where(cf_image_decode_again(cells->ids[i], bytes, n, own > most ? own : most, room),
                    "cells file is damaged"));
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
