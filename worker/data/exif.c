/* The one field of EXIF that changes what an image shows. */
#include <stdbool.h>
#include <string.h>

#include "worker/data/decoders.h"

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY_BYTES = 12 };

/* A bounds-checked little- or big-endian read; anything outside reads as 0. */
static uint32_t get(const uint8_t *t, size_t n, size_t at, int width, bool big)
{
    if (at > n || n - at < (size_t)width) return 0;
    uint32_t v = 0;
    for (int i = 0; i < width; i++) v = v << 8 | t[at + (size_t)(big ? i : width - 1 - i)];
    return v;
}

int cf_exif_orientation(const uint8_t *bytes, size_t n)
{
    if (n < 6 || memcmp(bytes, "Exif\0\0", 6) != 0) return 1;
    return cf_exif_tiff_orientation(bytes + 6, n - 6);
}

int cf_exif_tiff_orientation(const uint8_t *t, size_t n)
{
    if (n < 8) return 1;
    bool big = t[0] == 'M' && t[1] == 'M';
    if (!big && !(t[0] == 'I' && t[1] == 'I')) return 1;
    size_t ifd = get(t, n, 4, 4, big);
    size_t n_entries = get(t, n, ifd, 2, big);
    for (size_t i = 0; i < n_entries; i++) {
        size_t at = ifd + 2 + i * ENTRY_BYTES;
        if (at >= n) break;
        if (get(t, n, at, 2, big) != TAG_ORIENTATION || get(t, n, at + 2, 2, big) != TYPE_SHORT)
            continue;
        uint32_t o = get(t, n, at + 8, 2, big);
        return o >= 1 && o <= 8 ? (int)o : 1;
    }
    return 1;
}
