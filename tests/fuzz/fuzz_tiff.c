/* TIFF files. */
#include "tests/fuzz/image.h"
#include "tests/support/tiffs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_decode(data, n);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const tiff_form forms[] = {
        {.samples = 3, .bits = 8, .photometric = PHOTOMETRIC_RGB},
        {.samples = 4, .bits = 16, .photometric = PHOTOMETRIC_RGB, .tiled = true},
        {.samples = 3, .bits = 8, .photometric = PHOTOMETRIC_RGB, .separate = true},
        {.samples = 3, .bits = 8, .photometric = PHOTOMETRIC_RGB, .compression = COMPRESSION_LZW},
        {.samples = 1, .bits = 4, .photometric = PHOTOMETRIC_PALETTE},
        {.samples = 1, .bits = 1, .photometric = PHOTOMETRIC_MINISWHITE},
        {.samples = 1, .bits = 1, .compression = COMPRESSION_CCITTFAX4},
        {.samples = 3, .bits = 8, .photometric = PHOTOMETRIC_RGB, .compression = COMPRESSION_JPEG},
        {.samples = 4, .bits = 8, .photometric = PHOTOMETRIC_SEPARATED},
        {.samples = 3, .bits = 8, .photometric = PHOTOMETRIC_CIELAB},
        {.samples = 3,
         .bits = 8,
         .photometric = PHOTOMETRIC_RGB,
         .compression = COMPRESSION_ADOBE_DEFLATE,
         .mode = "wb"},
        {.samples = 3, .bits = 8, .photometric = PHOTOMETRIC_RGB, .mode = "w8", .orientation = 6},
    };
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
        picture p = tiff_make(&forms[k]);
        take(context, p.bytes, p.n);
        free(p.bytes);
    }
}
