/* PNG files, as they are and with every chunk's checksum put right. */
#include <string.h>

#include "tests/fuzz/image.h"
#include "tests/support/pictures.h"

enum { SIGNATURE = 8, LENGTH = 4, KIND = 4, CHECKSUM = 4 };

/* CRC-32 of PNG, annex D. */
static uint32_t crc32_of(const uint8_t *bytes, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    return ~crc;
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void repair(uint8_t *bytes, size_t n)
{
    for (size_t at = SIGNATURE; at + LENGTH + KIND + CHECKSUM <= n;) {
        size_t length = get_u32(bytes + at), room = n - at - LENGTH - KIND - CHECKSUM;
        if (length > room) return;
        uint32_t crc = crc32_of(bytes + at + LENGTH, KIND + length);
        uint8_t *end = bytes + at + LENGTH + KIND + length;
        for (int i = 0; i < 4; i++) end[i] = (uint8_t)(crc >> (24 - 8 * i));
        at += LENGTH + KIND + length + CHECKSUM;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_decode(data, n);
    if (n <= SIGNATURE) return 0;
    uint8_t *copy = malloc(n);
    FUZZ_REQUIRE(copy);
    memcpy(copy, data, n);
    repair(copy, n);
    fuzz_decode(copy, n);
    free(copy);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const png_color palette[4] = {{1, 2, 3}, {250, 128, 7}, {0, 255, 90}, {9, 9, 9}};
    static const struct {
        int depth, type;
    } kinds[] = {{8, PNG_COLOR_TYPE_RGB},  {8, PNG_COLOR_TYPE_RGBA},    {16, PNG_COLOR_TYPE_RGB},
                 {1, PNG_COLOR_TYPE_GRAY}, {16, PNG_COLOR_TYPE_GRAY},   {8, PNG_COLOR_TYPE_GA},
                 {4, PNG_COLOR_TYPE_GRAY}, {2, PNG_COLOR_TYPE_PALETTE}, {16, PNG_COLOR_TYPE_RGBA}};
    uint8_t row[9 * 8], *rows[7];
    for (size_t i = 0; i < sizeof row; i++) row[i] = (uint8_t)(i * 29);
    for (int y = 0; y < 7; y++) rows[y] = row;
    for (size_t k = 0; k < 2 * sizeof kinds / sizeof kinds[0]; k++) {
        png_form f = {9, 7, kinds[k / 2].depth, kinds[k / 2].type, k % 2, NULL, 0, 100 * (k % 2)};
        if (f.color_type == PNG_COLOR_TYPE_PALETTE) f.palette = palette, f.n_palette = 4;
        picture p = picture_png(&f, rows);
        take(context, p.bytes, p.n);
        free(p.bytes);
    }
}
