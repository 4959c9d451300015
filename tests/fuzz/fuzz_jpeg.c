/* JPEG files. */
#include "tests/fuzz/image.h"
#include "tests/support/pictures.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_decode(data, n);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    enum { W = 19, H = 11 };
    static const uint8_t exif[] = "Exif\0\0MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0";
    const jpeg_form forms[] = {
        {.channels = 3, .space = JCS_RGB},
        {.channels = 3, .space = JCS_RGB, .progressive = 1},
        {.channels = 3, .space = JCS_RGB, .n_scans = 20},
        {.channels = 3, .space = JCS_RGB, .app1 = exif, .n_app1 = sizeof exif - 1},
        {.channels = 1, .space = JCS_GRAYSCALE},
        {.channels = 4, .space = JCS_CMYK},
        {.channels = 4, .space = JCS_CMYK, .stored = JCS_YCCK, .progressive = 1},
    };
    uint8_t pixels[W * H * 4];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 5 + i / 64 * 11);
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
        jpeg_form f = forms[k];
        f.width = W;
        f.height = H;
        picture p = picture_jpeg(&f, pixels);
        take(context, p.bytes, p.n);
        free(p.bytes);
    }
}
